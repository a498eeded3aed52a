// Rates and latencies of the last ten seconds, of clients and of the REST endpoint.

import { at, count, rate, say, seconds } from "./dom.js";
import { quantile } from "./metrics.js";

const WINDOW_MS = 10000;

let samples = [];

export function showNow(sample) {
  // A process that has started again counts from 0.
  if (samples.length && sample.commands < samples.at(-1).commands) samples = [];
  samples = samples.filter(old => sample.at - old.at <= WINDOW_MS);
  samples.push(sample);
  const before = samples[0];
  if (before === sample) return;
  say("rate", rate((sample.commands - before.commands) / (sample.at - before.at) * 1000));
  say("p50", written(quantile(0.5, before, sample)));
  say("p99", written(quantile(0.99, before, sample)));
  showRest(before, sample);
}

function written(found) {
  if (found === null) return "–";
  const [time, isLonger] = found;
  return isLonger ? `over ${seconds(time)}` : seconds(time);
}

function showRest(before, sample) {
  at("rest").hidden = sample.rest === null;
  if (sample.rest === null || before.rest === null) return;
  say("rest-rate", rate((sample.rest.requests - before.rest.requests) / (sample.at - before.at) * 1000));
  say("rest-p99", written(quantile(0.99, before.rest, sample.rest)));
  say("rest-errors", count(sample.rest.errors), sample.rest.errors ? "warn" : "");
}
