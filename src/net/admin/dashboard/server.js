// How the process stands: ready or why not, the rules' mode, the server behind it, the breaker.

import { at, count, plural, say, span } from "./dom.js";

const BREAKER = {
  closed: ["closed", "good", ""],
  open: ["open", "bad", "Requests are answered with an error at once instead of each waiting for its timeout. "],
  half_open: ["half open", "warn", "The breaker lets a few requests through to see whether the server answers again. "],
};

export function showStatus(status) {
  const { upstream } = status;
  say("state", status.ready ? "ready" : `not ready: ${status.reasons.join(", ")}`, status.ready ? "pill good" : "pill bad");
  say("about", `version ${status.version}, up ${span(status.uptime_seconds)}, ${plural(status.workers, "worker", "workers")}`);
  showMode(status);
  say("clients", count(status.clients));
  say("address", upstream.address ? `Upstream ${upstream.address}` : "Upstream");
  say("upstream", upstream.available ? "connected" : "down", upstream.available ? "good" : "bad");
  const [word, kind, note] = BREAKER[status.breaker] ?? ["off", "", ""];
  say("breaker", word, kind);
  const connections = Object.entries(upstream.connections).filter(([, n]) => n > 0).map(([state, n]) => `${count(n)} ${state}`);
  say("connections", connections.join(", ") || "none");
  const lost = upstream.available ? "" : `respguard cannot reach ${upstream.address ?? "a server"}. Clients keep their connections and are told that their commands were not sent. `
    + "See whether the server runs, and whether [upstream] address is right; respguard connects again by itself.";
  say("server-note", note + lost);
  at("server-note").hidden = !(note + lost);
}

function showMode(status) {
  const observes = status.mode === "observe";
  at("mode").hidden = !observes && !status.mode_is_switched;
  const whose = status.mode_is_switched ? "An operator has switched the mode; the next reload takes it back." : "The configuration says mode = \"observe\".";
  say("mode", `${observes ? "Rules only observe: none of them changes traffic." : "Rules are enforced."} ${whose}`);
}
