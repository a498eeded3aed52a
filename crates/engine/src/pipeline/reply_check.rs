//! Checks the reply to one command against the rules, while it passes.

use std::borrow::Cow;
use std::sync::Arc;

use super::finding::Finding;
use super::named_keys;
use super::permission::Permission;
use super::reading::{Findings, Part};
use super::setnx;
use super::unpack::{Reader, Unpack};
use super::violation::{Kind, Violation};
use crate::command::{CommandId, Table};
use crate::policy::rule::ExpectAction;
use crate::policy::{ExpectRule, GuardRule, Member, Mode, Policy};
use respguard_resp::encode;
use respguard_resp::head::Head;

/// The rules about one reply, and how much of it has come.
#[derive(Debug)]
pub struct ReplyCheck {
    command: CommandId,
    /// Each with whether the client gets an error where it is not met.
    expects: Vec<(Arc<ExpectRule>, bool)>,
    /// Those that limit the reply's length.
    guards: Vec<Arc<GuardRule>>,
    bytes: u64,
    /// The client has got an error in the reply's place.
    replaced: bool,
    /// Values in it may be compressed.
    unpack: Option<Box<Unpack>>,
    /// SET was sent for SETNX.
    turned: Option<ConvertedReply>,
    /// The command's key, where violations name it.
    key: Option<Box<str>>,
}

/// A reply that is turned back into that of SETNX, and what has come of it.
#[derive(Debug)]
struct ConvertedReply {
    rule: Arc<str>,
    reply: Vec<u8>,
}

impl ReplyCheck {
    /// The rules about the reply to a command; nothing, for most commands.
    ///
    /// `turned` is the rule for which a SETNX goes out as SET.
    pub(super) fn of(policy: &Policy, table: &Table, command: Member<'_>, turned: Option<&Arc<str>>) -> Option<Box<ReplyCheck>> {
        let fails = |rule: &ExpectRule| rule.action == ExpectAction::Fail && policy.mode_of(rule.mode) == Mode::Enforce;
        let expects: Vec<_> = policy.expects_of(table, command).map(|rule| (Arc::clone(rule), fails(rule))).collect();
        let guards = policy.guards_of(table, command).filter(|rule| rule.reply_bytes_max.is_some());
        let guards: Vec<_> = guards.map(Arc::clone).collect();
        let unpack = Unpack::of(policy, table, command);
        if expects.is_empty() && guards.is_empty() && turned.is_none() && unpack.is_none() {
            return None;
        }
        let turned = turned.map(|rule| ConvertedReply { rule: Arc::clone(rule), reply: Vec::new() });
        let key = named_keys::of_command(policy, table, command);
        Some(Box::new(ReplyCheck { command: command.id, expects, guards, bytes: 0, replaced: false, unpack, turned, key }))
    }

    /// Takes a piece of the command's reply, and gives the client what it gets in its place.
    pub(super) fn admit(&mut self, piece: &[u8], part: Part, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        if let Some(unpack) = &mut self.unpack {
            let may_write = findings.table.spec(self.command).may_write();
            if let Some((read, part)) = unpack.admit(may_write, piece, part, findings.found) {
                self.judge(read, part, out, findings);
            }
            return;
        }
        let Some(turned) = &mut self.turned else { return self.judge(piece.into(), part, out, findings) };
        turned.reply.extend_from_slice(piece);
        if !part.last {
            return;
        }
        let ConvertedReply { rule, reply } =
            std::mem::replace(turned, ConvertedReply { rule: Arc::clone(&turned.rule), reply: Vec::new() });
        if reply.starts_with(b"-NOPERM ") {
            findings.found.push(Finding::TtlFixRefused { permission: Permission::Set, rule });
        }
        let part = Part { first: true, ..part };
        self.judge(setnx::turned(&reply).into(), part, out, findings);
    }

    /// What reads the values in the reply, where some may be compressed.
    pub(super) fn into_unpack(self) -> Option<Box<Unpack>> {
        self.unpack
    }

    pub(super) fn unpacks(&self) -> bool {
        self.unpack.is_some()
    }

    /// What reads the values in it, while nothing of it has been passed on.
    pub(super) fn reader(&self) -> Option<&Arc<Reader>> {
        self.unpack.as_ref()?.awaits()
    }

    /// What reads its compressed values.
    pub(super) fn unpack(&mut self) -> Option<&mut Unpack> {
        self.unpack.as_deref_mut()
    }

    fn judge(&mut self, piece: Cow<'_, [u8]>, part: Part, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        if part.first {
            self.begin(Head::read(&piece), out, findings);
        }
        self.bytes += piece.len() as u64;
        match piece {
            _ if self.replaced => {}
            // Copying a value of some megabytes is what others would wait for.
            Cow::Owned(piece) if out.is_empty() => *out = piece,
            piece => out.extend_from_slice(&piece),
        }
        if part.last {
            let long = self.guards.iter().filter(|rule| rule.reply_bytes_max.is_some_and(|max| self.bytes > max));
            findings.found.extend(long.map(|rule| self.violation(Kind::Guard, &rule.name, findings.table)));
        }
    }

    fn begin(&mut self, head: Head<'_>, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        for (rule, fails) in &self.expects {
            if rule.reply.is_met_by(head) {
                continue;
            }
            findings.found.push(self.violation(Kind::Expectation, &rule.name, findings.table));
            // An error says more than that it was not expected.
            if *fails && !self.replaced && head != Head::Error {
                self.replaced = true;
                let name = findings.table.spec(self.command).shown();
                let text = format!(
                    "PARTIAL respguard: {name} was applied, but answered {head}, expected {} (rule {})",
                    rule.reply, rule.name
                );
                encode::error(out, &text);
            }
        }
    }

    fn violation(&self, kind: Kind, rule: &Arc<str>, table: &Table) -> Finding {
        Finding::Violation(Violation::new(kind).rule(rule).commands([table.spec(self.command).name()]).key(self.key.clone()))
    }
}
