// What compress rules save, since the start: one row for each rule, by what /metrics counts of values.

import { at, count, head, labelled, row } from "./dom.js";

const METRICS = {
  respguard_compress_bytes_total: "bytes", respguard_compress_refused_total: "refused", respguard_compress_failed_total: "failed",
};
const SERIES = /^(\w+)\{(.*)\} (\S+)$/, LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export function showCompressed(metrics) {
  const rules = readCompressed(metrics);
  at("compressed").hidden = rules.size === 0;
  at("compressed-rules").tBodies[0].replaceChildren(...[...rules].map(([name, sums]) => row("", head(name),
    labelled("stored of written", part(sums, "write"), "number"), labelled("stored of read", part(sums, "read"), "number"),
    labelled("saved by writes", bytes(saved(sums)), "number"),
    labelled("refused", count(sums.refused ?? 0), sums.refused ? "number some" : "number none"),
    labelled("not read", count(sums.failed ?? 0), sums.failed ? "number some" : "number none"))));
}

export function readCompressed(metrics) {
  const rules = new Map();
  for (const line of metrics.split("\n")) {
    const [, metric, list, number] = SERIES.exec(line) ?? [], what = METRICS[metric];
    if (!what) continue;
    const labels = Object.fromEntries([...list.matchAll(LABEL)].map(([, name, value]) => [name, value]));
    const sums = rules.get(labels.rule) ?? {};
    const key = what === "bytes" ? `${labels.direction} ${labels.form}` : what;
    sums[key] = (sums[key] ?? 0) + Number(number);
    rules.set(labels.rule, sums);
  }
  return rules;
}

// What is stored, of what clients have written or read.
function part(sums, direction) {
  const original = sums[`${direction} original`] ?? 0;
  return original ? `${Math.round(100 * (sums[`${direction} stored`] ?? 0) / original)} %` : "–";
}

const saved = sums => Math.max(0, (sums["write original"] ?? 0) - (sums["write stored"] ?? 0));

function bytes(n) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let place = 0;
  while (n >= 1000 && place + 1 < units.length) [n, place] = [n / 1000, place + 1];
  return `${n < 10 && place ? n.toFixed(1) : Math.round(n)} ${units[place]}`;
}
