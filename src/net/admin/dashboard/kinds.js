// What each kind of violation means in plain words, and the lines of configuration that would help.

const named = (table, rule, line) => `[[${table}]]\nname = "${rule ?? "..."}"\n${line}`;

export const KINDS = {
  partial_failure: {
    what: v => v.rule
      ? "Some members of the group failed and the others were applied: the data may be half written."
      : "Some commands of one pipeline failed and the others were applied: the data may be half written.",
    todo: v => v.rule
      ? "Repair what the failed command should have written. Redis does not roll back; this tells the client that it happened:"
      : "Repair what the failed command should have written. If you declare the commands as a group, with your keys as patterns, they are refused together when one is refused:",
    config: v => v.rule
      ? named("group", v.rule, 'on_partial = "fail"')
      : named("group", "a-name", `commands = [\n${v.commands.filter(name => name !== "...").map(name => `  "${name.toUpperCase()} your:{key} ...",\n`).join("")}]`),
  },
  split: {
    what: () => "The beginning of a group was sent to the server alone: its members were not one transaction, and others could see it half done.",
    todo: () => "Send the members in one pipeline, with nothing between them that touches their keys.",
  },
  sequential: {
    what: () => "This client sends the members of a group one by one, waiting for each reply. No proxy can join them.",
    todo: () => "Use the client library's pipeline or transaction for these commands. No setting helps.",
  },
  aborted: {
    what: () => "The group was refused as a whole. Nothing of it was applied, and the client got an error.",
    todo: () => "Look at the error: it is the server's own. The rule worked as intended; no setting needs to change.",
  },
  unguarded: {
    what: () => "The group was applied although its preflight did not run: it may be applied in part.",
    todo: () => "Check whether scripting was switched off at the time, and check the data. No setting helps.",
  },
  unwrapped: {
    what: () => "A complete group was sent without its transaction: it may be applied in part, and others may see it half done.",
    todo: () => "Let the client's user run MULTI and EXEC (ACL SETUSER name +multi +exec). If it must not, let the rule only observe the group:",
    config: v => named("group", v.rule, 'atomic = "observe"'),
  },
  unknown_outcome: {
    what: () => "The connection to the server was lost, or a reply was overdue, after the commands had been sent. They may or may not have been applied.",
    todo: () => "Read the data before trying again. If the server is only slow, wait longer for replies:",
    config: () => "[upstream]\nrequest_timeout_ms = 3000",
  },
  duplicate: {
    what: () => "A group arrived again that had already been applied. Nothing was applied again, and the client got an error.",
    todo: () => "The rule worked as intended: a client or a library re-sends when it gets no reply. To return the replies of the first time instead:",
    config: v => named("group", v.rule, 'on_duplicate = "replay"'),
  },
  cross_slot: {
    what: v => `The keys of a group lie in several slots of the cluster${v.reason ? `: ${v.reason}` : ""}. A transaction can only have keys of one.`,
    todo: () => "Give all of its keys the same hash tag (respguard check says which). To let such groups pass without a transaction:",
    config: v => named("group", v.rule, 'on_cross_slot = "observe"'),
  },
  ttl_missing: {
    what: () => "A key that must expire has no TTL: it stays for ever.",
    todo: v => (v.commands.some(name => name.startsWith("incr"))
      ? "Set the lifetime in the same pipeline, or, where the server has it (Redis 8.8, Valkey 9.2), with INCREX .. EX .. ENX. "
      : "Set the lifetime in the same command or pipeline. ") + "Or let respguard set one:",
    config: v => named("ttl", v.rule, 'action = "fix"\ndefault = "7d"'),
  },
  ttl_late: {
    what: () => "A key that must expire got its TTL only some time after the write. A client that fails in between leaves it without one.",
    todo: () => "Set the lifetime in the same command or pipeline. Or let respguard set one with the write:",
    config: v => named("ttl", v.rule, 'action = "fix"\ndefault = "7d"'),
  },
  ttl_dropped: {
    what: () => "A key had a TTL, and a write removed it: it stays for ever.",
    todo: () => "Use KEEPTTL in the command, or let respguard add it:",
    config: v => named("ttl", v.rule, "keep = true"),
  },
  ttl_too_long: {
    what: () => "A key's lifetime is longer than its rule allows.",
    todo: () => "Shorten it in the client. If it is meant to be that long, raise the maximum:",
    config: v => named("ttl", v.rule, 'max = "90d"'),
  },
  ttl_rejected: {
    what: () => "A write was not sent: it would have left its key without a lifetime, or with a longer one than its rule allows.",
    todo: () => "Give the key a lifetime in the same command. To report such writes instead of refusing them:",
    config: v => named("ttl", v.rule, 'action = "flag"'),
  },
  expectation: {
    what: () => "A reply was not what its rule expects: the commands ran, but without the intended effect.",
    todo: () => "Look at the rule and at what the command found. To tell the client too:",
    config: v => named("expect", v.rule, 'action = "fail"'),
  },
  guard: {
    what: () => "A client sent a command that a guard forbids.",
    todo: () => "Find the client by its address. To refuse the command instead of reporting it:",
    config: v => named("guard", v.rule, 'action = "reject"'),
  },
  degraded: {
    what: v => v.reason
      ? "A guarded group was sent as a plain transaction: nobody sees it half done, but a member that fails leaves it torn."
      : "The server was unreachable, and a rule answered in its place: the client got a substitute reply, and nothing was read or written.",
    todo: v => v.reason
      ? "Give the user, or the server, what is missing. To refuse such groups instead:"
      : "Bring the server back. If a substitute reply does harm, narrow the rule to fewer keys; for others clients get an error:",
    config: v => v.reason
      ? named("group", v.rule, 'on_unsupported = "refuse"')
      : named("degrade", v.rule, 'keys = ["only-these:*"]'),
  },
  near_miss: {
    what: v => `The commands of one write would have been the group but for one thing: ${v.reason ?? "see the rule"}. They were sent one by one.`,
    todo: () => "Change the client or the rule so that they agree. A capture such as {name} must be the same everywhere; `*` stands for anything. If members may come in any order:",
    config: v => named("group", v.rule, 'order = "any"'),
  },
  orphan: {
    what: v => `An audit found something ${v.reason ?? "without what it needs"}, and again at a second and a third check.`,
    todo: () => "`respguard audit` shows the keys, `respguard repair` what it would remove. To let a repair remove what is left:",
    config: v => named("relation", v.rule, 'repair = "delete"   # of members, fields, items: "remove"'),
  },
  relation_ttl: {
    what: v => `An audit found something that does not live as long as it should: ${v.reason ?? "see the rule"}.`,
    todo: () => "Set both lifetimes in the same group. If the difference is intended, remove ttl from the relation.",
  },
  too_large: {
    what: () => "A request or group was beyond a size limit and was not checked as a whole.",
    todo: () => "Make it smaller. The limit cannot be configured.",
  },
};
