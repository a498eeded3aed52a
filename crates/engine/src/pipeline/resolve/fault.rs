//! What a client is answered in the place of replies that the upstream will not give.

use std::sync::Arc;

use super::Context;
use crate::command::{CommandId, ConnectionEffect, Transaction};
use crate::pipeline::finding::{Fault, Finding, Outcome};
use crate::pipeline::slot::{Role, Slot, Slots};
use crate::pipeline::violation::Kind;
use crate::session::Session;
use respguard_resp::encode;

/// At the end of a transaction of which nothing was sent.
const EXEC_UNSENT: &[u8] =
    b"-EXECABORT Transaction discarded because of: respguard: it was not sent, the server is unavailable, nothing was applied\r\n";

impl Slots {
    /// The upstream will never fill the next `frames` frames: their requests are answered with what is known.
    pub fn fault(
        &mut self,
        mut frames: u32,
        fault: Fault,
        session: &mut Session,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) {
        // A group that is in doubt keeps its place: what stands behind it are questions of our own.
        let mut at = 0;
        while frames > 0 {
            let Some(&slot) = self.queue.get(at) else { break };
            let lacking = self.lacking(slot);
            frames = frames.saturating_sub(lacking);
            self.owed = self.owed.saturating_sub(lacking as usize);
            self.late += if fault == Fault::Timeout { lacking as usize } else { 0 };
            if slot.role == Role::Group && self.stays_in_doubt(fault) {
                at += 1;
                continue;
            }
            if at > 0 {
                self.fault_behind(at, slot.role, found);
                continue;
            }
            let ((), replies) = self.write_at_head(out, |slots, sink| match slot.role {
                Role::Probe => slots.forgo_probe(found),
                Role::Group => slots.fault_group(fault, sink, context, found),
                Role::Discard => {}
                Role::Refused => sink.extend_from_slice(slots.refused.front().map(Vec::as_slice).unwrap_or_default()),
                _ => slots.fault_command(slot, fault, session, sink, context, found),
            });
            self.leave(slot.role, replies, out);
        }
        self.check();
    }

    /// Frames that the slot is still owed.
    fn lacking(&self, slot: Slot) -> u32 {
        match slot.role {
            Role::Subscription { frames } if self.confirmed > 0 => frames.saturating_sub(self.confirmed).max(1),
            Role::Group => self.groups.front().map_or(1, |group| group.remaining()),
            _ => 1,
        }
    }

    /// One command of the client's is answered with an error, and what its reply would have told is given up.
    fn fault_command(
        &mut self,
        slot: Slot,
        fault: Fault,
        session: &mut Session,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) {
        match self.fault_in_transaction(slot, fault, session, context) {
            Some(reply) => out.extend_from_slice(reply),
            None => encode::error(out, &fault_text(fault, context.table.spec(slot.command).name())),
        }
        if slot.scored {
            self.forgo_score(slot.command);
        }
        match slot.role {
            Role::Subscription { .. } | Role::UnsubscribeAll(_) => {
                self.confirmed = 0;
                session.subscriptions.answered();
            }
            Role::Queued | Role::QueuedChecked => {
                self.exec_checks.lose();
                if slot.role == Role::QueuedChecked {
                    self.checks.pop_front();
                }
            }
            _ => {}
        }
        if fault == Fault::Timeout && changes_lease(slot.role, session) {
            found.push(Finding::CloseUpstream);
        }
    }

    /// What is answered within a transaction that cannot be applied any more, or of which nothing was sent: the client
    /// goes on to send the rest of it, and none of that may run by itself. Its end says that nothing was applied.
    fn fault_in_transaction(&self, slot: Slot, fault: Fault, session: &Session, context: &Context<'_>) -> Option<&'static [u8]> {
        let is_unsent = matches!(fault, Fault::Unavailable | Fault::Refused);
        let is_open = session.transaction.is_open();
        match slot.role {
            // Without its answer the connection is given up.
            Role::Multi if is_unsent || is_open => Some(b"+OK\r\n"),
            Role::Queued | Role::QueuedChecked if is_unsent || is_open && fault == Fault::Lost => Some(b"+QUEUED\r\n"),
            Role::Exec if is_unsent => match context.table.spec(slot.command).connection {
                ConnectionEffect::Transaction(Transaction::Discard) => Some(b"+OK\r\n"),
                _ => Some(EXEC_UNSENT),
            },
            _ => None,
        }
    }

    fn fault_group(&mut self, fault: Fault, out: &mut Vec<u8>, context: &Context<'_>, found: &mut Vec<Finding>) {
        let Some(group) = self.groups.front_mut() else { return };
        if group.forgo_take_back(out) {
            return;
        }
        if group.is_in_doubt() {
            return group.give_up(out, context.table, found);
        }
        let rule = Arc::clone(group.name());
        let (text, outcome) = match fault {
            Fault::Unavailable | Fault::Refused => (
                format!(
                    "EXECABORT Transaction discarded because of previous errors. respguard: group {rule} was not sent: {}",
                    fault.reason()
                ),
                Outcome::Aborted,
            ),
            Fault::Timeout | Fault::Lost => {
                (format!("TIMEOUT respguard: outcome of group {rule} unknown: {}", fault.reason()), Outcome::Unknown)
            }
        };
        group.reply_fault(out, &text);
        let kind = if outcome == Outcome::Unknown { Kind::UnknownOutcome } else { Kind::Aborted };
        found.push(Finding::Violation(group.violation(kind, context.table)));
        found.push(Finding::Group { index: group.index(), outcome });
    }

    fn forgo_score(&mut self, command: CommandId) {
        if self.scores.front_mut().is_some_and(|score| score.forgo(command)) {
            self.scores.pop_front();
        }
    }
}

/// True when the request, if it still runs, leaves the lease in a state that nobody reckons with any more.
/// A lease that serves one client for good passes to nobody, and may only not get confirmations late.
fn changes_lease(role: Role, session: &Session) -> bool {
    let affinity = session.affinity;
    match role {
        Role::Subscription { .. } | Role::UnsubscribeAll(_) => true,
        // It is not known whether what comes next would be queued.
        Role::Multi => affinity.is_pinned() && (affinity.is_passing() || session.transaction.is_open()),
        Role::Exec => affinity.is_pinned() && affinity.is_passing(),
        _ => false,
    }
}

fn fault_text(fault: Fault, command: &str) -> String {
    let command = command.replace('|', " ").to_uppercase();
    match fault {
        Fault::Timeout | Fault::Lost => format!("TIMEOUT respguard: outcome of {command} unknown: {}", fault.reason()),
        Fault::Unavailable | Fault::Refused => format!("ERR respguard: {command} was not sent: {}", fault.reason()),
    }
}
