// The last hour by the minute: rate, latency, violations, whether there was a server; and violations by kind.

import { ago, ask } from "./ask.js";
import { Chart, places, sparkBars, strip } from "./chart.js";
import { at, count, element, head, minuteOf, rate, row, say, seconds, span } from "./dom.js";

let charts = null;
// What was last answered.
let told = [], hour = [];

export async function refreshHour(signal) {
  const answer = await (await ask("/history", signal)).json();
  hour = places(answer.now_ms);
  told = answer.violations;
  showCharts(answer);
  showKinds();
}

// Violations of the hour that are wanted, by the minute, and how many there were.
export function perMinute(wanted) {
  const counts = new Map();
  for (const one of told.filter(wanted)) for (const [minute, n] of one.minutes) counts.set(minute, (counts.get(minute) ?? 0) + n);
  return hour.map(minute => counts.get(minute) ?? 0);
}

export const toldOf = wanted => told.filter(wanted);

const sum = values => values.reduce((all, n) => all + n, 0);

function showCharts({ minutes }) {
  charts ??= {
    rate: new Chart(at("chart-rate"), "Requests per second", rate),
    latency: new Chart(at("chart-latency"), "Latency", us => seconds(us / 1e6)),
    violations: new Chart(at("chart-violations"), "Violations per minute", count),
  };
  const known = new Map(minutes.map(one => [one.at_ms, one]));
  const values = take => hour.map(minute => known.has(minute) ? take(known.get(minute)) : null);
  charts.rate.show(hour, [{ values: values(one => one.requests / one.seconds), kind: "main" }]);
  charts.latency.show(hour, [
    { name: "p50", values: values(one => one.p50_us), kind: "main" },
    { name: "p99", values: values(one => one.p99_us), kind: "second" },
  ]);
  charts.violations.show(hour, [{ values: perMinute(() => true), kind: "bad", form: "bars" }]);
  showUpstream(values(one => one), minutes);
}

const UPSTREAM = [
  ["none", one => one === null], ["bad", one => one.seconds_down === one.seconds], ["warn", one => one.seconds_down + one.seconds_breaker_open > 0],
  ["good", () => true],
];

function showUpstream(values, minutes) {
  const kinds = values.map(one => UPSTREAM.find(([, is]) => is(one))[0]);
  const [down, open] = [sum(minutes.map(one => one.seconds_down)), sum(minutes.map(one => one.seconds_breaker_open))];
  const last = minutes.findLast(one => one.seconds_down + one.seconds_breaker_open > 0);
  const parts = [down ? `down for ${span(down)}` : "", open ? `breaker not closed for ${span(open)}` : ""].filter(Boolean);
  const said = parts.length ? `${parts.join(", ")}; last at ${minuteOf(last.at_ms)}` : "connected throughout";
  const caption = element("figcaption");
  caption.append(element("strong", "Upstream"), element("span", said, parts.length ? "value bad" : "value good"));
  const axis = element("p", "", "axis quiet");
  axis.append(element("span", minuteOf(hour[0])), element("span", "now"));
  at("chart-upstream").replaceChildren(caption, strip(kinds), axis);
}

function showKinds() {
  const kinds = [...new Set(told.map(one => one.kind))].map(kind => {
    const minutes = perMinute(one => one.kind === kind), all = told.filter(one => one.kind === kind);
    return { kind, minutes, count: sum(minutes), rules: all.map(one => one.rule ?? "no rule"), last: Math.max(...all.map(one => one.last_ms)) };
  }).filter(one => one.count > 0).sort((a, b) => b.count - a.count);
  at("kinds").hidden = kinds.length === 0;
  say("kinds-note", kinds.length ? "" : "No violations in the last hour.");
  at("kinds").tBodies[0].replaceChildren(...kinds.map(one => {
    const chart = element("td", "", "sparks");
    chart.append(sparkBars(one.minutes, "bad"));
    const rules = one.rules.slice(0, 5).join(", ") + (one.rules.length > 5 ? `, ${one.rules.length - 5} more` : "");
    return row("", head(one.kind), element("td", count(one.count), "number"), chart, element("td", rules, "names"), element("td", ago(one.last), "when"));
  }));
}
