// Violations one by one, newest first: those that are kept, and each as it comes.

import { adviceOn } from "./advice.js";
import { at, clock, count, element, say } from "./dom.js";
import { KINDS } from "./kinds.js";

// As many as the process keeps.
export const KEPT_MAX = 1000;
const SHOWN_MAX = 200;

// Newest first.
let violations = [], total = 0, heldAt = 0, isHeld = false;
// What stands beside the list while there is nothing to wait for.
let hint = "";

export const lastSequence = () => total;
export const keptOf = (wanted, limit) => violations.filter(wanted).slice(0, limit);

export function keep(news, newTotal) {
  violations = [...news.filter(one => one.sequence > total), ...violations].slice(0, KEPT_MAX);
  total = Math.max(total, newTotal ?? 0, ...news.map(one => one.sequence));
  showSoon();
}

// Empties the list: what is in it is from a process that has ended, or for eyes that have shown a token.
export function forget() {
  [violations, total, heldAt] = [[], 0, 0];
  at("list").replaceChildren();
}

export function hintAt(text) {
  hint = text;
  showList();
}

export function item(one) {
  const { what, todo, config } = adviceOn(one);
  const line = element("li"), details = element("details"), summary = element("summary"), more = element("div");
  line.dataset.sequence = one.sequence;
  const time = element("time", clock(one.at_ms));
  time.dateTime = one.at;
  summary.append(time, element("span", one.kind, "kind"), element("span", one.rule ?? ""), element("code", one.commands.join(" ")));
  if (one.error) summary.append(element("span", one.error, "bad"));
  const where = [
    one.place && `It was command ${one.place} of ${one.commands.length}${one.commands.includes("...") ? " or more" : ""}.`,
    one.reason && `Why: ${one.reason}.`, one.key_pattern && `Keys like ${one.key_pattern}.`, one.key && `Key ${one.key}.`, `Client ${one.client}.`,
  ];
  more.append(element("p", what), element("p", where.filter(Boolean).join(" "), "quiet"), element("p", todo));
  if (config) more.append(element("pre", config));
  details.append(summary, more);
  line.append(details);
  return line;
}

// Shows the newest of these in a list. What stays is not moved, so that it keeps the focus and stays open.
export function fill(list, shown) {
  const old = new Map([...list.children].map(line => [Number(line.dataset.sequence), line]));
  const kept = new Set(shown.map(one => one.sequence));
  for (const [sequence, line] of old) if (!kept.has(sequence)) line.remove();
  let place = list.firstElementChild;
  for (const one of shown) {
    if (place && Number(place.dataset.sequence) === one.sequence) place = place.nextElementSibling;
    else list.insertBefore(old.get(one.sequence) ?? item(one), place);
  }
}

function showList() {
  const kind = at("kind").value, wanted = violations.filter(one => !kind || one.kind === kind);
  if (!isHeld) fill(at("list"), wanted.slice(0, SHOWN_MAX));
  const newer = wanted.filter(one => one.sequence > heldAt).length;
  const waiting = isHeld ? `${count(newer)} newer ${newer === 1 ? "is" : "are"} not shown. ` : "";
  const cut = wanted.length > SHOWN_MAX ? `The newest ${SHOWN_MAX} of ${count(wanted.length)}.` : "";
  say("live-note", hint || waiting + (wanted.length ? cut : "None yet."));
}

// At most four times a second, however many come.
let planned = false;
function showSoon() {
  if (planned) return;
  planned = true;
  setTimeout(() => { planned = false; showList(); }, 250);
}

export function prepareList() {
  for (const kind of Object.keys(KINDS)) at("kind").append(element("option", kind));
  at("kind").addEventListener("change", () => {
    at("list").replaceChildren();
    const was = isHeld;
    isHeld = false;
    showList();
    isHeld = was;
  });
  at("hold").addEventListener("click", () => {
    isHeld = !isHeld;
    heldAt = total;
    at("hold").setAttribute("aria-pressed", String(isHeld));
    showList();
  });
}
