// Charts over the last hour, one place for each minute, as SVG.

import { element, minuteOf } from "./dom.js";

export const MINUTES = 60, MINUTE_MS = 60000;

// The namespace of the page's own empty drawing: nothing here names an address.
const SVG = document.querySelector("svg").namespaceURI;
const WIDE = 10, HIGH = 100;

// The places of the hour that ends with the minute of `now`.
export function places(now) {
  const last = Math.floor(now / MINUTE_MS) * MINUTE_MS;
  return Array.from({ length: MINUTES }, (_, i) => last - (MINUTES - 1 - i) * MINUTE_MS);
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function canvas(kind) {
  return shape("svg", { viewBox: `0 0 ${MINUTES * WIDE} ${HIGH}`, preserveAspectRatio: "none", class: kind, "aria-hidden": "true" });
}

const high = (value, max) => HIGH - (HIGH - 4) * value / max;

// A line over the values; where there is none it is broken.
function line(values, max, kind) {
  const drawn = [];
  let piece = "";
  values.forEach((value, i) => {
    if (value === null) { piece = ""; return; }
    // A minute alone is a short line.
    drawn.push(piece === "" ? `M${i * WIDE} ${high(value, max)}h${WIDE}` : `L${i * WIDE + WIDE / 2} ${high(value, max)}`);
    piece = "on";
  });
  return shape("path", { d: drawn.join(""), class: `line ${kind}` });
}

function bars(values, max, kind) {
  const drawn = values.map((value, i) => value ? `M${i * WIDE + 1} ${HIGH}V${high(value, max)}h${WIDE - 2}V${HIGH}z` : "");
  return shape("path", { d: drawn.join(""), class: `bars ${kind}` });
}

// Small bars without words, for a row of a table.
export function sparkBars(values, kind = "") {
  const drawn = canvas("spark");
  drawn.append(bars(values, Math.max(...values, 1), kind));
  return drawn;
}

// A cell for each minute, in the colour of its class.
export function strip(kinds) {
  const drawn = canvas("strip");
  kinds.forEach((kind, i) => drawn.append(shape("rect", { x: i * WIDE, y: 0, width: WIDE - 1, height: HIGH, class: `cell ${kind}` })));
  return drawn;
}

// One figure: `series` are `{ name, values, kind, form }`, `write` says a value in words.
export class Chart {
  constructor(figure, title, write) {
    Object.assign(this, { figure, title, write, pointed: null });
    this.caption = element("figcaption");
    this.plot = element("div", "", "plot");
    this.axis = element("p", "", "axis quiet");
    figure.append(this.caption, this.plot, this.axis);
    this.plot.addEventListener("pointermove", event => this.point(event));
    this.plot.addEventListener("pointerleave", () => { this.pointed = null; this.tell(); });
  }

  show(at, series) {
    Object.assign(this, { at, series });
    const known = series.flatMap(one => one.values).filter(value => value !== null);
    const max = Math.max(...known, 0);
    const drawn = canvas("chart");
    for (const one of series) drawn.append((one.form === "bars" ? bars : line)(one.values, max || 1, one.kind));
    this.cursor = shape("path", { class: "cursor" });
    drawn.append(this.cursor);
    this.plot.replaceChildren(element("span", known.length ? this.write(max) : "", "most quiet"), drawn);
    this.axis.replaceChildren(element("span", minuteOf(at[0])), element("span", "now"));
    this.tell();
  }

  point(event) {
    const box = this.plot.getBoundingClientRect();
    this.pointed = Math.min(MINUTES - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * MINUTES)));
    this.tell();
  }

  // The values of the minute that is pointed at, else of the newest.
  tell() {
    if (!this.series) return;
    const place = this.pointed ?? MINUTES - 1;
    const said = this.series.map(({ name, values, kind }) => {
      const value = values[place] === null ? "–" : this.write(values[place]);
      return element("span", name ? `${name} ${value}` : value, `value ${kind}`);
    });
    const when = this.pointed === null ? "this minute" : minuteOf(this.at[place]);
    this.caption.replaceChildren(element("strong", this.title), ...said, element("span", when, "quiet"));
    this.cursor.setAttribute("d", this.pointed === null ? "" : `M${place * WIDE + WIDE / 2} 0V${HIGH}`);
  }
}
