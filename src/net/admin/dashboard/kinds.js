// What each kind of violation means in plain words, and the lines of configuration that would help.

const named = (table, rule, line) => `[[${table}]]\nname = "${rule ?? "..."}"\n${line}`;

export const KINDS = {
  partial_failure: {
    what: v => v.rule
      ? "Some members of the group failed and the others were applied: the data may be half written."
      : "Some commands of one pipeline failed and the others were applied: the data may be half written.",
    todo: v => v.rule
      ? "Repair what the failed command should have written. Redis does not roll back; this tells the client that it happened:"
      : "Repair what the failed command should have written. Declared as a group, with your keys as patterns, the commands are refused together where one is refused:",
    config: v => v.rule
      ? named("group", v.rule, 'on_partial = "fail"')
      : named("group", "a-name", `commands = [\n${v.commands.filter(name => name !== "...").map(name => `  "${name.toUpperCase()} your:{key} ...",\n`).join("")}]`),
  },
  split: {
    what: () => "The beginning of a group went to the server alone: its members were not one transaction, and others could see it half done.",
    todo: () => "Send the members in one pipeline, with nothing between them that touches their keys.",
  },
  sequential: {
    what: () => "This client sends the members of a group one by one, each after the reply to the one before. No proxy can join them.",
    todo: () => "Use the client library's pipeline or transaction for these commands. No setting helps.",
  },
  aborted: {
    what: () => "The group was refused as a whole. Nothing of it was applied, and the client has been told so.",
    todo: () => "Look at the error: it is the server's own. The rule did what it is for; no setting needs to change.",
  },
  unguarded: {
    what: () => "The group was applied although its preflight did not run: it may be applied in part.",
    todo: () => "See whether scripting was switched off meanwhile, and check the data. No setting helps.",
  },
  unwrapped: {
    what: () => "A whole group passed without its transaction: it may be applied in part, and others may see it half done.",
    todo: () => "Let the client's user run MULTI and EXEC (ACL SETUSER name +multi +exec). If it must not, say that the group is only watched:",
    config: v => named("group", v.rule, 'atomic = "observe"'),
  },
  unknown_outcome: {
    what: () => "The connection to the server was lost, or its reply overdue, after the commands had been sent. Nobody knows whether they were applied.",
    todo: () => "Read the data before trying again. If the server is only slow, wait longer for replies:",
    config: () => "[upstream]\nrequest_timeout_ms = 3000",
  },
  duplicate: {
    what: () => "A group came again that had been applied before. Nothing was applied again, and the client has been told so.",
    todo: () => "The rule did what it is for: a client or a library sends again what it got no reply to. To answer such a group as the first time:",
    config: v => named("group", v.rule, 'on_duplicate = "replay"'),
  },
  cross_slot: {
    what: v => `The keys of a group lie in several slots of the cluster${v.reason ? `: ${v.reason}` : ""}. A transaction can only have keys of one.`,
    todo: () => "Give all of its keys the same hash tag (respguard check says which). To let such groups pass without a transaction:",
    config: v => named("group", v.rule, 'on_cross_slot = "observe"'),
  },
  ttl_missing: {
    what: () => "A key that must expire has no lifetime: it stays for ever.",
    todo: v => (v.commands.some(name => name.startsWith("incr"))
      ? "Set the lifetime in the same pipeline, or, where the server has it (Redis 8.8, Valkey 9.2), with INCREX .. EX .. ENX. "
      : "Set the lifetime in the same command or pipeline. ") + "Or let respguard set one:",
    config: v => named("ttl", v.rule, 'action = "fix"\ndefault = "7d"'),
  },
  ttl_late: {
    what: () => "A key that must expire got its lifetime only some time after the write. A client that fails in between leaves it without.",
    todo: () => "Set the lifetime in the same command or pipeline. Or let respguard set one with the write:",
    config: v => named("ttl", v.rule, 'action = "fix"\ndefault = "7d"'),
  },
  ttl_dropped: {
    what: () => "A key had a lifetime, and a write took it away: it stays for ever.",
    todo: () => "Use KEEPTTL in the command, or let respguard add it:",
    config: v => named("ttl", v.rule, "keep = true"),
  },
  ttl_too_long: {
    what: () => "A key's lifetime is longer than its rule allows.",
    todo: () => "Shorten it in the client. If it is meant to be so long, say so:",
    config: v => named("ttl", v.rule, 'max = "90d"'),
  },
  ttl_rejected: {
    what: () => "A write was not sent: it would have left its key without a lifetime, or with a longer one than its rule allows.",
    todo: () => "Give the key a lifetime in the same command. To report such writes instead of refusing them:",
    config: v => named("ttl", v.rule, 'action = "flag"'),
  },
  expectation: {
    what: () => "A reply was not what its rule expects: the commands ran, but not with the effect that was meant.",
    todo: () => "Look at the rule and at what the command found. To tell the client too:",
    config: v => named("expect", v.rule, 'action = "fail"'),
  },
  guard: {
    what: () => "A client sent a command that a rule does not want to pass.",
    todo: () => "Find the client by its address. To refuse the command instead of reporting it:",
    config: v => named("guard", v.rule, 'action = "reject"'),
  },
  degraded: {
    what: v => v.reason
      ? "A guarded group went out as a plain transaction: nobody sees it half done, but a member that fails leaves it torn."
      : "There was no server, and a rule answered in its place: the client got a stand-in, nothing was read or written.",
    todo: v => v.reason
      ? "Give the user, or the server, what is missing. To refuse such groups instead:"
      : "Bring the server back. Where a stand-in does harm, let the rule be about fewer keys; for the others clients are told an error:",
    config: v => v.reason
      ? named("group", v.rule, 'on_unsupported = "refuse"')
      : named("degrade", v.rule, 'keys = ["only-these:*"]'),
  },
  near_miss: {
    what: v => `The commands of one write would have been the group but for one thing: ${v.reason ?? "see the rule"}. They went out one by one.`,
    todo: () => "Make the client or the rule say what the other does. A capture, as {name}, must be the same wherever it stands; `*` stands for anything. If members may come in any order, say so:",
    config: v => named("group", v.rule, 'order = "any"'),
  },
  orphan: {
    what: v => `An audit found something ${v.reason ?? "without what it needs"}, also at a second and a third look.`,
    todo: () => "`respguard audit` shows the keys, `respguard repair` what it would remove. To let a repair remove what is left:",
    config: v => named("relation", v.rule, 'repair = "delete"   # of members, fields, items: "remove"'),
  },
  relation_ttl: {
    what: v => `An audit found something that does not live as long as it should: ${v.reason ?? "see the rule"}.`,
    todo: () => "Set both lifetimes in the same group. Where the difference is meant, leave ttl out of the relation.",
  },
  too_large: {
    what: () => "A request or group was beyond a size limit and was not checked as a whole.",
    todo: () => "Make it smaller. The limit is no setting.",
  },
};
