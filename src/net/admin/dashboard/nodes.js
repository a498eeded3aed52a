// The primaries of a cluster: which slots each serves, whether it answers, and what goes to it.

import { at, count, element, head, labelled, plural, rate, row, say, seconds, span } from "./dom.js";

const WINDOW_MS = 10000;

// Replies of each node at several moments.
let samples = [];

export function showNodes(cluster) {
  at("nodes").hidden = !cluster;
  if (!cluster) return;
  const before = remember(cluster.nodes);
  const served = cluster.slots_unserved ? `${plural(cluster.slots_unserved, "slot is", "slots are")} served by no node.` : "All slots are served.";
  say("nodes-served", served, cluster.slots_unserved ? "bad" : "");
  say("nodes-note", `${plural(cluster.nodes.length, "primary", "primaries")}, ${plural(cluster.replicas.length, "replica", "replicas")}; epoch ${count(cluster.epoch)}; `
    + `unchanged for ${span(cluster.since_seconds)}. Replies are those of the last ten seconds; how long a node took is said of the last question of respguard's own.`);
  const nodes = [...cluster.nodes].sort((a, b) => a.address.localeCompare(b.address, "en", { numeric: true }));
  at("node-rows").tBodies[0].replaceChildren(...nodes.map(node => shown(node, before)));
}

function shown(node, before) {
  const state = labelled("", node.available ? "answers" : "silent", node.available ? "good" : "bad");
  const name = head(element("span", node.address));
  name.title = `node ${node.id}`;
  return row("", name, state,
    labelled("slots", count(node.slots), "number"), labelled("replies/s", perSecond(node, before), "number"),
    labelled("took", node.answered_in_us === null ? "–" : seconds(node.answered_in_us / 1e6), "number"),
    labelled("connections", count(node.connections), "number"));
}

// The sample to compare with. A process that has started again counts from 0.
function remember(nodes) {
  const now = { at: performance.now(), replies: new Map(nodes.map(node => [node.address, node.replies])) };
  const isOlder = old => [...now.replies].every(([address, replies]) => replies >= (old.replies.get(address) ?? 0));
  samples = samples.filter(old => now.at - old.at <= WINDOW_MS && isOlder(old));
  samples.push(now);
  return samples[0] === now ? null : { seconds: (now.at - samples[0].at) / 1000, replies: samples[0].replies };
}

function perSecond(node, before) {
  const earlier = before?.replies.get(node.address);
  return earlier === undefined ? "–" : rate((node.replies - earlier) / before.seconds);
}
