// The dashboard: asks the endpoints of this listener every two seconds, and listens for violations.

import { ANSWER_MS, ask } from "./ask.js";
import { showCompressed } from "./compressed.js";
import { at, clock, say, wait } from "./dom.js";
import { followAddress, readRule, showGroup } from "./group.js";
import { showGroups } from "./groups.js";
import { refreshHour } from "./hour.js";
import { readMetrics } from "./metrics.js";
import { showNodes } from "./nodes.js";
import { showNow } from "./now.js";
import { prepareRules, showRules } from "./rules.js";
import { showStatus } from "./server.js";
import { followForEver, onToken, prepareLogin } from "./stream.js";
import { prepareList } from "./violations.js";

const EVERY_MS = 2000;

let lastAnswer = Date.now();
// What was answered last, for what is drawn between two answers.
let last = null;

async function refresh() {
  try {
    const signal = AbortSignal.timeout(ANSWER_MS);
    const json = async path => (await ask(path, signal)).json();
    const [status, groups, rules, metrics] = await Promise.all([
      json("/status"), json("/groups"), json("/rules"), ask("/metrics", signal).then(answer => answer.text()), refreshHour(signal),
    ]);
    last = { groups, rules, sample: readMetrics(metrics) };
    showStatus(status);
    showNodes(status.upstream.cluster);
    showNow(last.sample);
    showCompressed(metrics);
    show();
    lastAnswer = Date.now();
    at("alarm").hidden = true;
  } catch {
    say("alarm", `respguard does not answer. What is shown is of ${clock(lastAnswer)}.`);
    at("alarm").hidden = false;
    say("state", "no answer", "pill bad");
  }
}

function show() {
  if (!last) return;
  showRules(last.rules, last.sample);
  showGroups(last.groups, last.sample);
  showGroup(last.sample);
}

async function refreshForEver() {
  for (;;) {
    if (!document.hidden) await refresh();
    await wait(EVERY_MS);
  }
}

function goTo() {
  followAddress();
  show();
}

prepareList();
prepareLogin();
prepareRules(show);
onToken(readRule);
addEventListener("hashchange", goTo);
at("groups-text").addEventListener("input", show);
followAddress();
refreshForEver();
followForEver();
