// What to do about a violation: what fits its error where there is one, else what fits its kind and rule.

import { groupOf } from "./groups.js";
import { KINDS } from "./kinds.js";

// From so many held beginnings on, none of which was completed, waiting longer is not worth trying.
const HELD_MIN = 3;

// What the error of a command says about its cause, whatever the rule.
const ERRORS = {
  WRONGTYPE: "A key holds another type than the command works on: something else writes to it, or two uses share its name. TYPE shows what it is. No retry helps before that is put right.",
  NOPERM: "The client's user may not run one of the commands, or not on that key: give it the right with ACL SETUSER. No setting of respguard helps.",
  OOM: "The server is at its maxmemory and evicts nothing that would make room: INFO memory shows it. Raise maxmemory, choose a maxmemory-policy that evicts, or delete what is not needed.",
  NOSCRIPT: "EVALSHA named a script that the server does not have: it was restarted, has failed over, or SCRIPT FLUSH was run. In a pipeline no library can fall back to EVAL by itself: load scripts first, or send EVAL.",
  READONLY: "The server is a replica, or has become one in a failover. See who the primary is, and that [upstream] names it; with sentinels respguard follows by itself.",
  MISCONF: "The server cannot save to disk and therefore takes no writes: its log says why (space, rights, fork). INFO persistence shows the last save.",
  NOREPLICAS: "The server has fewer replicas than min-replicas-to-write wants: bring them back, or lower it.",
  CROSSSLOT: "The keys are in different slots of the cluster. Give them a common {hash tag}; `respguard check` names one that would do.",
  BUSY: "A script of the server runs for too long. SCRIPT KILL ends one that has not written; respguard lets it pass.",
  NOAUTH: "The connection is not logged in: see the client's password and, where respguard logs in itself, [upstream] username and password_env.",
  EXECABORT: "The server refused a command when it was queued: the first error of the transaction says which and why.",
};

// Errors that a preflight finds before anything is applied.
const FORESEEN = new Set(["WRONGTYPE", "OOM", "NOPERM"]);

const TELLING = new Set(["partial_failure", "aborted", "expectation", "unwrapped"]);

// `{ what, todo, config }` of a violation as /violations shows it; the lines of configuration only where they would help.
export function adviceOn(one) {
  const kind = KINDS[one.kind];
  if (!kind) return { what: "This page does not know the kind; docs/violations.md does.", todo: "" };
  const what = kind.what(one);
  const ofError = TELLING.has(one.kind) ? ERRORS[one.error] : undefined;
  if (one.kind === "split" && !one.reason) return { what, ...onSplit(one) };
  if (one.kind === "expectation" && groupOf(one.rule)) {
    return { what, todo: "Look at the member's expect and at what the command found. To tell the client too, by -PARTIAL on every member:", config: ofGroup(one, 'on_partial = "fail"') };
  }
  if (!ofError) return { what, todo: kind.todo(one), config: kind.config?.(one) };
  if (one.kind === "partial_failure" && one.rule && FORESEEN.has(one.error)) {
    return { what, todo: `${ofError} To have such groups refused before anything is applied:`, config: ofGroup(one, 'atomic = "guarded"') };
  }
  return { what, todo: ofError };
}

const ofGroup = (one, line) => `[[group]]\nname = "${one.rule}"\n${line}`;

// Whether the rest came late, or never on this connection, is seen from how other beginnings of the group ended.
function onSplit(one) {
  const group = groupOf(one.rule);
  if (group && group.held >= HELD_MIN && group.split === group.held) {
    return {
      todo: `The rest came over another connection, or not at all: of ${group.held} beginnings that were held none was completed. Calls that run at the same time each take a connection of the pool: `
        + "asyncio.gather with redis-py, Promise.all over a pool, goroutines. Send the members with the library's pipeline. A larger hold_ms does not help.",
    };
  }
  const gap = group && group.held > group.split ? group.hold_gap.median_us : null;
  const seen = gap ? `Half of the clients that sent more did so within ${gap / 1000} ms. ` : "";
  return {
    todo: "Send the members in one pipeline. If they are sent at the same time over a pool (asyncio.gather, goroutines), the rest came over another connection, and no setting helps. "
      + `${seen}If the client is only slow to write, wait longer for the rest:`,
    config: "[pipeline]\nhold_ms = 10\nhold_max_ms = 100",
  };
}
