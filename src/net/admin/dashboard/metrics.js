// What /metrics says: all commands, the histograms of latency, and counts by rule.

const SERIES = /^(\w+)(?:\{(.*)\})? (\S+)$/, LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

// Series whose sums by rule are shown.
const BY_RULE = {
  respguard_groups_total: "group", respguard_ttl_checks_total: "rule", respguard_audit_keys_total: "relation",
  respguard_compress_bytes_total: "rule",
};

export function readMetrics(text) {
  const sample = {
    at: performance.now(), commands: 0, buckets: [], rest: null,
    // By metric and name of a rule; violations by kind and name of a rule.
    hits: new Map(), violations: new Map(),
  };
  const rest = { requests: 0, errors: 0, bounds: new Map() };
  for (const line of text.split("\n")) {
    const [, name, list, number] = SERIES.exec(line) ?? [];
    if (!name?.startsWith("respguard_")) continue;
    const value = Number(number), labels = readLabels(list);
    const add = (map, key) => map.set(key, (map.get(key) ?? 0) + value);
    if (name === "respguard_commands_total") sample.commands += value;
    if (name === "respguard_request_seconds_bucket") sample.buckets.push([bound(labels.le), value]);
    if (name === "respguard_violations_total") add(sample.violations, `${labels.kind} ${labels.rule}`);
    if (BY_RULE[name]) add(sample.hits, `${name} ${labels[BY_RULE[name]]}`);
    if (name === "respguard_rest_requests_total") {
      rest.requests += value;
      if (!labels.code.startsWith("2")) rest.errors += value;
      sample.rest = rest;
    }
    if (name === "respguard_rest_request_seconds_bucket") add(rest.bounds, bound(labels.le));
  }
  // Those of all endpoints together.
  rest.buckets = [...rest.bounds].sort(([one], [other]) => one - other);
  return sample;
}

const bound = le => le === "+Inf" ? Infinity : Number(le);

function readLabels(list) {
  const labels = {};
  for (const [, name, value] of (list ?? "").matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/g, (_, c) => c === "n" ? "\n" : c);
  }
  return labels;
}

// The time within which so large a part of the requests since `before` was answered, taken to be spread evenly between two
// bounds: `[seconds, whether it was longer]`, or null without requests.
export function quantile(part, before, after) {
  const counts = after.buckets.map(([bound, n], i) => [bound, n - (before.buckets[i]?.[1] ?? 0)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let [low, below] = [0, 0];
  for (const [bound, n] of counts) {
    if (n >= all * part && n > below) return bound === Infinity ? [low, true] : [low + (bound - low) * (all * part - below) / (n - below), false];
    [low, below] = [bound, n];
  }
  return null;
}
