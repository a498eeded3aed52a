// Every rule in force: whether it acts, how often it applied, and what it found.

import { perMinute } from "./hour.js";
import { at, count, element, head, row, say, labelled } from "./dom.js";

// The metric that counts what a kind of rule looked at, in which unit. For the others a hit is a violation.
const LOOKED_AT = {
  group: ["respguard_groups_total", "matched"],
  ttl: ["respguard_ttl_checks_total", "lifetimes checked"],
  relation: ["respguard_audit_keys_total", "looked at by audits"],
  compress: ["respguard_compress_bytes_total", "bytes of values"],
};

// So many are shown at first, those with violations before the others.
const SHOWN = 15;

let rules = [], isWhole = false;

export const ruleOf = (kind, name) => rules.find(rule => rule.kind === kind && rule.name === name);

export function showRules(answer, sample) {
  ({ rules } = answer);
  at("rules").hidden = rules.length === 0;
  say("rules-note", rules.length ? "Counted since the start." : "No rules are in force: nothing is changed and nothing is looked for.");
  const counted = rules.map(rule => ({
    rule, found: violationsOf(rule.name, sample), recent: perMinute(one => one.rule === rule.name).reduce((all, n) => all + n, 0),
  }));
  const sorted = rules.length > SHOWN ? counted.sort((a, b) => b.recent - a.recent || b.found - a.found) : counted;
  at("rules").tBodies[0].replaceChildren(...sorted.slice(0, isWhole ? rules.length : SHOWN).map(one => rowOf(one, sample)));
  at("rules-all").hidden = rules.length <= SHOWN;
  say("rules-all", isWhole ? `Show ${SHOWN}` : `Show all ${rules.length} rules`);
}

export function prepareRules(show) {
  at("rules-all").addEventListener("click", () => { isWhole = !isWhole; show(); });
}

function rowOf({ rule, found, recent }, sample) {
  const observes = rule.mode === "observe";
  return row("",
    head(nameOf(rule)), element("td", rule.kind), element("td", rule.action),
    element("td", rule.mode, observes ? "warn" : ""), labelled("hits", hitsOf(rule, sample, found), "number"),
    labelled("violations", count(found), found ? "number some" : "number none"),
    labelled("last hour", count(recent), recent ? "number some" : "number none"));
}

// Where there is no room for the table's head, the cell says what it counts.

function nameOf(rule) {
  if (rule.kind !== "group") return rule.name;
  const link = element("a", rule.name);
  link.href = `#group=${encodeURIComponent(rule.name)}`;
  return link;
}

function hitsOf(rule, sample, found) {
  const [metric, unit] = LOOKED_AT[rule.kind] ?? [];
  return metric ? `${count(sample.hits.get(`${metric} ${rule.name}`) ?? 0)} ${unit}` : count(found);
}

// All kinds of violations of the rule since the start.
export function violationsOf(name, sample) {
  let all = 0;
  for (const [key, n] of sample.violations) if (key.slice(key.indexOf(" ") + 1) === name) all += n;
  return all;
}
