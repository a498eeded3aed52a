// One group by itself: its rule, what became of it, how long its rest was waited for, its violations, and advice.

import { adviceOn } from "./advice.js";
import { askGuarded } from "./ask.js";
import { sparkBars } from "./chart.js";
import { at, count, element, head, plural, row, say } from "./dom.js";
import { EXPLAINED, OUTCOMES, expectationsOf, groupOf, linkTo, outcomeBar } from "./groups.js";
import { perMinute, toldOf } from "./hour.js";
import { ruleOf } from "./rules.js";
import { fill, keptOf } from "./violations.js";

const SHOWN_MAX = 50;

let open = null, scrolled = 0;

// The name behind `#group=`.
function wanted() {
  const found = /^#group=(.+)$/.exec(location.hash);
  return found ? decodeURIComponent(found[1]) : null;
}

// Shows the group that the address names in place of everything else, or everything.
export function followAddress() {
  const name = wanted();
  if (open === null && name !== null) scrolled = scrollY;
  const was = open;
  open = name;
  at("overview").hidden = name !== null;
  at("group").hidden = name === null;
  if (name !== null) {
    at("group-list").replaceChildren();
    say("group-rule", "");
    say("group-name", name);
    scrollTo(0, 0);
    at("group-name").focus();
    readRule();
  } else if (was !== null) {
    scrollTo(0, scrolled);
    linkTo(was)?.focus({ preventScroll: true });
  }
}

// What names a thing comes first.
const NAMING = ["name", "match"];
const entries = table => Object.entries(table).sort(([a], [b]) => NAMING.includes(b) - NAMING.includes(a));

// A value as TOML writes it.
function toml(value) {
  if (Array.isArray(value)) return value.length > 1 ? `[\n${value.map(one => `  ${toml(one)},\n`).join("")}]` : `[${value.map(toml).join("")}]`;
  if (value !== null && typeof value === "object") return `{ ${entries(value).map(([key, one]) => `${key} = ${toml(one)}`).join(", ")} }`;
  return JSON.stringify(value);
}

// The rule as the configuration in force has it, which wants the token.
export async function readRule() {
  const name = open;
  if (name === null) return;
  const answer = await askGuarded("/config").catch(() => null);
  if (open !== name) return;
  if (!answer?.ok) {
    say("group-rule", answer?.status === 401 ? "# Rules are shown to those who have given the token, at the violations." : "# The configuration cannot be read now.");
    return;
  }
  const rule = (await answer.json()).config.group?.find(group => group.name === name);
  const lines = entries(rule ?? {}).map(([key, value]) => `${key} = ${toml(value)}`);
  say("group-rule", rule ? `[[group]]\n${lines.join("\n")}` : "# No such rule is in force.");
}

export function showGroup(sample) {
  if (open === null) return;
  const group = groupOf(open), rule = ruleOf("group", open);
  at("group-known").hidden = !group;
  say("group-state", group ? rule ? `${rule.action}, ${rule.mode === "observe" ? "observes" : "enforced"}` : "no longer in force" : "There is no group of this name.");
  if (!group) return;
  showOutcomes(group, sample);
  showHolds(group);
  showHour();
  showRecent();
}

function showOutcomes(group, sample) {
  at("group-bar").replaceChildren(outcomeBar(group));
  const seen = Object.entries(OUTCOMES).filter(([outcome]) => group[outcome] > 0);
  const rows = seen.map(([outcome, kind]) => [outcome, group[outcome], EXPLAINED[outcome], kind]);
  const expectations = expectationsOf(group.name, sample);
  if (expectations) rows.push(["expectation", expectations, "a reply was not what the rule expects", "bad"]);
  say("group-outcomes-note", rows.length ? "" : "It has not been seen yet.");
  at("group-outcomes").hidden = rows.length === 0;
  at("group-outcomes").tBodies[0].replaceChildren(...rows.map(([name, n, meaning, kind]) =>
    row("", head(element("span", name, kind)), element("td", count(n), "number"), element("td", meaning))));
}

function showHolds(group) {
  const more = group.hold_gap.buckets.reduce((all, one) => all + one.count, 0);
  say("group-holds-note", group.held === 0 ? "No beginning of it had to wait for its rest."
    : `${plural(group.held, "beginning", "beginnings")} waited for the rest; ${count(group.split)} went out without it. While one waited the client sent more ${plural(more, "time", "times")}, after this long:`);
  const most = Math.max(...group.hold_gap.buckets.map(one => one.count), 1);
  at("group-gaps").hidden = more === 0;
  at("group-gaps").replaceChildren(...group.hold_gap.buckets.filter(one => one.count > 0).map(({ up_to_us: bound, count: n }) => {
    const line = element("li"), bar = element("span", "", "gap");
    bar.style.inlineSize = `${Math.max(1, 100 * n / most)}%`;
    const track = element("span", "", "track");
    track.append(bar);
    line.append(element("span", bound === null ? "longer" : `up to ${bound / 1000} ms`), track, element("span", count(n), "number"));
    return line;
  }));
}

function showHour() {
  const all = toldOf(one => one.rule === open);
  say("group-hour-note", all.length ? "" : "No violations in the last hour.");
  at("group-hour").hidden = all.length === 0;
  at("group-hour").tBodies[0].replaceChildren(...all.map(({ kind }) => {
    const chart = element("td", "", "sparks"), minutes = perMinute(one => one.rule === open && one.kind === kind);
    chart.append(sparkBars(minutes, "bad"));
    return row("", head(kind), element("td", count(minutes.reduce((sum, n) => sum + n, 0)), "number"), chart);
  }));
}

function showRecent() {
  const recent = keptOf(one => one.rule === open, SHOWN_MAX);
  fill(at("group-list"), recent);
  // Each piece of advice once, that on what came last first.
  const advice = [...new Map(recent.map(one => [adviceOn(one).todo, one])).values()].map(one => [one, adviceOn(one)]).filter(([, { todo }]) => todo);
  at("group-advice").replaceChildren(...advice.map(([one, { todo, config }]) => {
    const line = element("li");
    line.append(element("p", `${one.kind}${one.error ? ` ${one.error}` : ""}`, "kind"), element("p", todo));
    if (config) line.append(element("pre", config));
    return line;
  }));
  say("group-list-note", recent.length ? "" : "None is kept, or the token was not given.");
  say("group-advice-note", advice.length ? "" : "There is nothing to advise: no violation of it is known here.");
}
