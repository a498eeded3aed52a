// Places in the page, and how numbers and times are written. Everything is set as text, never as markup.

export const at = id => document.getElementById(id);

export const element = (name, text, kind) =>
  Object.assign(document.createElement(name), { textContent: text ?? "", className: kind ?? "" });

export function say(id, text, kind) {
  const place = at(id);
  // The same text is not set again: screen readers would read it again.
  if (place.textContent !== text) place.textContent = text;
  if (kind !== undefined && place.className !== kind) place.className = kind;
}

// Elements one after the other, with text between them.
export function row(kind, ...cells) {
  const made = element("tr", "", kind);
  made.append(...cells);
  return made;
}

export function head(text) {
  const made = element("th");
  made.scope = "row";
  made.append(text);
  return made;
}

export const wait = ms => new Promise(done => setTimeout(done, ms));

export const count = n => n.toLocaleString("en");

export const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

export const rate = perSecond => perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond));

export const clock = ms => new Date(ms).toLocaleTimeString([], { hour12: false });

export const minuteOf = ms => new Date(ms).toLocaleTimeString([], { hour12: false, hour: "2-digit", minute: "2-digit" });

export const span = s =>
  s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;

export function seconds(s) {
  const [n, unit] = s < 0.001 ? [s * 1e6, "µs"] : s < 1 ? [s * 1e3, "ms"] : [s, "s"];
  return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${unit}`;
}

// A cell that names itself where its row is a block.
export function labelled(label, text, kind) {
  const cell = element("td", text, kind);
  cell.dataset.label = label;
  return cell;
}
