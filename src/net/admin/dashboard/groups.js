// What became of each group: a bar of its outcomes, and the counts in words.

import { ago } from "./ask.js";
import { at, count, element, say } from "./dom.js";
import { ruleOf } from "./rules.js";

// Every outcome, with the colour that it has: whether the data is as the client meant it to be, untouched, or in doubt.
export const OUTCOMES = {
  applied: "good", committed: "good", observed: "plain",
  refused: "calm", aborted: "calm", rolled_back: "calm", duplicate: "calm",
  failed: "warn", unknown: "warn",
  torn: "bad", unguarded: "bad", unwrapped: "bad",
};

export const EXPLAINED = {
  applied: "all members were applied",
  committed: "applied, but the replies were lost with their connection",
  observed: "only looked at, and nothing failed",
  refused: "nothing was applied, because a member would have failed",
  aborted: "nothing was applied",
  rolled_back: "a member failed, and all is as it was before",
  duplicate: "applied before, and not again",
  failed: "every member failed",
  unknown: "nobody knows whether it was applied",
  torn: "some members were applied and others failed",
  unguarded: "applied although its preflight did not run",
  unwrapped: "passed without its transaction",
};

// From here on a filter is worth its place.
const MANY = 10;

export function outcomeBar(group) {
  const bar = element("div", "", "outcomes");
  bar.ariaHidden = "true";
  for (const [outcome, kind] of Object.entries(OUTCOMES)) {
    if (!group[outcome]) continue;
    const part = element("span", "", kind);
    part.style.flexGrow = group[outcome];
    bar.append(part);
  }
  return bar;
}

const word = outcome => outcome.replace("_", " ");

// Only what has occurred, but always what is applied.
export function counts(group, expectations) {
  if (!isSeen(group)) return [element("span", "never seen", "quiet")];
  const seen = Object.entries(OUTCOMES).filter(([outcome]) => group[outcome] > 0 || outcome === "applied");
  const parts = [element("span", `${count(group.matched)} matched`)];
  parts.push(...seen.map(([outcome, kind]) => titled(`${count(group[outcome])} ${word(outcome)}`, group[outcome] ? kind : "quiet", EXPLAINED[outcome])));
  if (expectations) parts.push(titled(`${count(expectations)} not as expected`, "bad", "violations of the kind expectation"));
  if (group.held) parts.push(titled(`${count(group.held)} held`, "quiet", "their beginning waited for the rest"));
  if (group.split) parts.push(titled(`${count(group.split)} split`, "bad", "the rest did not come in time"));
  return parts;
}

function titled(text, kind, title) {
  return Object.assign(element("span", text, kind), { title });
}

// Those with the most trouble first, then the busiest.
const trouble = group => group.torn + group.unguarded + group.unwrapped + group.unknown + group.failed + group.split;
const worstFirst = (a, b) => trouble(b) - trouble(a) || b.matched - a.matched || a.name.localeCompare(b.name, "en", { numeric: true });

let groups = [];

export const groupOf = name => groups.find(group => group.name === name);

export const expectationsOf = (name, sample) => sample.violations.get(`expectation ${name}`) ?? 0;

export function showGroups(answer, sample) {
  groups = answer.groups;
  say("groups-note", groups.length ? "Counted since the start, those with trouble first. Open one for its rule, its violations and advice."
    : "No groups are declared: no pipeline is protected. docs/rules.md says how to write one.");
  at("groups-filter").hidden = groups.length <= MANY;
  const text = at("groups-text").value.toLowerCase();
  const shown = groups.filter(group => group.name.toLowerCase().includes(text)).sort(worstFirst);
  const focused = document.activeElement?.closest?.("#groups a")?.dataset.name;
  // Many that were never seen are named one behind the other.
  const seen = groups.length > MANY ? shown.filter(isSeen) : shown, unseen = shown.filter(group => !seen.includes(group));
  at("groups").replaceChildren(...seen.map(group => item(group, sample)), ...(unseen.length ? [allUnseen(unseen)] : []));
  // A list that is drawn anew must not lose the keyboard's place.
  if (focused !== undefined) linkTo(focused)?.focus({ preventScroll: true });
}

const isSeen = group => group.matched > 0 || group.held > 0;

export const linkTo = name => at("groups").querySelector(`a[data-name="${CSS.escape(name)}"]`);

function linked(group) {
  const link = element("a", group.name);
  link.dataset.name = group.name;
  link.href = `#group=${encodeURIComponent(group.name)}`;
  return link;
}

function allUnseen(groups) {
  const line = element("li", "", "unseen");
  line.append(element("span", `${count(groups.length)} never seen:`, "quiet"), ...groups.map(linked));
  return line;
}

function item(group, sample) {
  const line = element("li"), name = element("p", "", "name");
  const rule = ruleOf("group", group.name);
  name.append(linked(group), element("span", group.in_force ? rule?.action ?? "" : "no longer in force", "quiet"));
  if (rule?.mode === "observe") name.append(element("span", "observes", "warn"));
  const counted = element("p", "", "counts");
  counted.append(...counts(group, expectationsOf(group.name, sample)));
  line.append(name, outcomeBar(group), counted, element("p", group.last_seen_ms === null ? "" : ago(group.last_seen_ms), "when quiet"));
  return line;
}
