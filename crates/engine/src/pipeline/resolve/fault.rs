//! What a client is answered in place of replies that will not come.

use crate::command::{ConnectionEffect, Transaction};
use crate::link::owed::{Owed, ReplyTo, Seq};
use crate::pipeline::finding::{Fault, Finding};
use crate::pipeline::reading::{ClientSide, Context, Findings};
use crate::pipeline::sequencer::Sequencer;
use crate::pipeline::slot::{Role, Slot};
use crate::session::Session;
use respguard_resp::encode;

/// At the end of a transaction of which nothing was sent.
const EXEC_UNSENT: &[u8] =
    b"-EXECABORT Transaction discarded because of previous errors. respguard: it was not sent, the server is unavailable, nothing was applied\r\n";

impl Sequencer {
    /// The upstream will never give what is `owed`: the requests are answered with what is known.
    pub fn fault(&mut self, owed: Owed, fault: Fault, client: &mut ClientSide<'_>) {
        let frames = owed.frames() as usize;
        self.owed = self.owed.saturating_sub(frames);
        self.late += if fault == Fault::Timeout { frames } else { 0 };
        match owed {
            Owed::Each { first, requests, .. } => {
                for request in 0..requests {
                    self.fault_one(first.plus(request), fault, client);
                }
            }
            Owed::All { to, .. } => self.fault_one(to, fault, client),
        }
        self.check();
    }

    fn fault_one(&mut self, to: ReplyTo, fault: Fault, client: &mut ClientSide<'_>) {
        match to {
            ReplyTo::Request(seq) => self.fault_request(seq, fault, client),
            ReplyTo::Question(number) => self.abandon_answer(number, client.found),
        }
    }

    fn fault_request(&mut self, seq: Seq, fault: Fault, client: &mut ClientSide<'_>) {
        self.forget_gathered(seq);
        if self.ahead.bytes() > 0 {
            match fault {
                Fault::Timeout => drop(self.end_read_ahead(seq)),
                // One that is to be sent again in any case is so when its connection is lost.
                _ if !self.settle_read_ahead(seq, true) => return,
                _ => {}
            }
        }
        let Some(slot) = self.slot(seq) else { return };
        if matches!(slot.role, Role::Group(_)) {
            return self.fault_group(seq, fault, client);
        }
        let (command, tracker, silent) = (slot.command, slot.tracker, slot.silent);
        let mut given_up = 0;
        let role = match std::mem::replace(&mut slot.role, Role::ProxyReply) {
            // Nobody has seen what has come of it.
            Role::Buffered(early) => match early.rest {
                Some(rest) => {
                    given_up = early.reply.len();
                    rest
                }
                None => return slot.role = Role::Buffered(early),
            },
            role => role,
        };
        self.waits_longer(given_up, 0);
        let reply = match role {
            Role::Discard => Vec::new(),
            Role::Refused(error) => *error,
            role => self.fault_command(Slot { role, command, tracker, silent }, fault, client),
        };
        self.fill(seq, reply, client.out);
    }

    /// One command of the client's is answered with an error, and what its reply would have told is given up.
    fn fault_command(&mut self, slot: Slot, fault: Fault, client: &mut ClientSide<'_>) -> Vec<u8> {
        let ClientSide { session, found, context, .. } = client;
        let mut reply = Vec::new();
        match fault_in_transaction(&slot, fault, session, context) {
            Some(text) => reply.extend_from_slice(text),
            None => encode::error(&mut reply, &fault.of_command(&context.table.spec(slot.command).shown())),
        }
        if let Some(tracker) = slot.tracker.and_then(|id| self.tracker(id)) {
            tracker.abandon(slot.command);
            self.forget_trackers();
        }
        match slot.role {
            Role::Subscription { .. } | Role::UnsubscribeAll(_) => session.subscriptions.answered(),
            Role::Queued | Role::QueuedChecked(_) => self.rare.make_mut().exec_checks.lose(),
            _ => {}
        }
        if fault == Fault::Timeout && changes_lease(&slot.role, session) {
            found.push(Finding::CloseUpstream);
        }
        reply
    }

    fn fault_group(&mut self, seq: Seq, fault: Fault, client: &mut ClientSide<'_>) {
        let ClientSide { out, found, context, .. } = client;
        let further = self.write_group(seq, out, |group, sink| {
            if group.abandon_take_back(sink) {
                return (true, 0);
            }
            if fault == Fault::Lost && group.lose() {
                return (false, group.remaining());
            }
            let known = found.len();
            let findings = &mut Findings { table: context.table, found };
            group.reply_fault(fault, sink, findings);
            group.name_keys(&mut found[known..]);
            (true, 0)
        });
        self.owed += further.unwrap_or_default() as usize;
    }
}

/// What is answered within a transaction that cannot be applied any more, or of which nothing was sent: the client
/// goes on to send the rest of it, and none of that may run by itself. Its end says that nothing was applied.
fn fault_in_transaction(slot: &Slot, fault: Fault, session: &Session, context: &Context<'_>) -> Option<&'static [u8]> {
    let is_unsent = matches!(fault, Fault::Unavailable | Fault::Refused);
    let is_open = session.transaction.is_open();
    match slot.role {
        // Without its answer the connection is given up.
        Role::Multi if is_unsent || is_open => Some(b"+OK\r\n"),
        Role::Queued | Role::QueuedChecked(_) if is_unsent || is_open && fault == Fault::Lost => Some(b"+QUEUED\r\n"),
        Role::Exec if is_unsent => match context.table.spec(slot.command).connection {
            ConnectionEffect::Transaction(Transaction::Discard) => Some(b"+OK\r\n"),
            _ => Some(EXEC_UNSENT),
        },
        _ => None,
    }
}

/// True when the request, if it still runs, leaves the lease in a state that nobody reckons with any more.
/// A lease that serves one client for good passes to nobody, and may only not get confirmations late.
fn changes_lease(role: &Role, session: &Session) -> bool {
    let affinity = session.affinity;
    match role {
        Role::Subscription { .. } | Role::UnsubscribeAll(_) => true,
        // It is not known whether what comes next would be queued.
        Role::Multi => affinity.is_pinned() && (affinity.is_passing() || session.transaction.is_open()),
        Role::Exec => affinity.is_pinned() && affinity.is_passing(),
        _ => false,
    }
}
