//! Decides what happens to a client's own transaction, command by command.

use super::{Answer, Barrier, Decision};
use crate::command::{ClientCommand, ConnectionEffect, PinReason, Spec, Transaction};
use crate::pipeline::plan::Planner;
use crate::pipeline::refuse::SPOILER;
use crate::pipeline::slot::Role;
use crate::session::Queue;
use crate::session::affinity::Reason;
use crate::session::lane::LaneChange;
use crate::session::reply_mode::ReplyMode;
use crate::session::transaction::Transaction as SessionTransaction;
use respguard_resp::encode;
use respguard_resp::request::Args;

impl Planner<'_> {
    pub(super) fn decide_transaction(&mut self, at: usize, what: Transaction) -> Decision {
        let pinned = self.session.affinity.is_pinned();
        match what {
            Transaction::Multi if pinned => {
                self.session.transaction.multi();
                self.session.queue = Queue::default();
                Decision::Send(Role::Multi)
            }
            // Each attempt would cost everybody on the shared connection what is in flight.
            Transaction::Multi if !self.rules.transactions => Decision::Barrier(Barrier::Pin(Reason::Transaction)),
            Transaction::Multi => match self.own_transaction(at) {
                OwnTransaction::Whole(commands) => Decision::Transaction(commands),
                OwnTransaction::Unfinished if self.more => Decision::Barrier(Barrier::Wait),
                OwnTransaction::Unfinished | OwnTransaction::Mixed => Decision::Barrier(Barrier::Pin(Reason::Transaction)),
            },
            Transaction::Watch if pinned => {
                self.session.transaction.watch();
                Decision::Send(Role::Plain)
            }
            Transaction::Watch => Decision::Barrier(Barrier::Pin(Reason::Transaction)),
            Transaction::Unwatch => {
                self.session.transaction.unwatch();
                Decision::Send(Role::Plain)
            }
            // Outside of MULTI they are errors without effect.
            Transaction::Exec | Transaction::Discard => Decision::Send(Role::Plain),
        }
    }

    /// Whether the client's MULTI can ride on a shared connection: all of it is there, up to its
    /// EXEC or DISCARD, and nothing in it does anything but to read or write keys.
    fn own_transaction(&self, at: usize) -> OwnTransaction {
        for place in at + 1..self.batch.len() {
            let (spec, args) = (self.spec(place), self.args(place));
            match spec.connection {
                ConnectionEffect::Transaction(Transaction::Exec | Transaction::Discard) if spec.arity_fits(args) => {
                    return OwnTransaction::Whole(place + 1 - at);
                }
                _ if !spec.is_plain_keyed(args) => return OwnTransaction::Mixed,
                _ => {}
            }
        }
        OwnTransaction::Unfinished
    }

    pub(in super::super) fn role_of_end(&self, at: usize) -> Role {
        match self.spec(at).connection {
            ConnectionEffect::Transaction(Transaction::Exec | Transaction::Discard) => Role::Exec,
            _ => Role::Queued,
        }
    }

    /// The connection with the client's WATCH or MULTI is gone: the client keeps its own, and learns
    /// at EXEC that nothing was applied.
    pub(super) fn decide_lost(&mut self, open: bool, effect: ConnectionEffect, well_formed: bool) -> Option<Decision> {
        match effect {
            ConnectionEffect::Quit => Some(Decision::Barrier(Barrier::Quit)),
            ConnectionEffect::Reset => Some(Decision::Barrier(Barrier::Reset)),
            ConnectionEffect::Transaction(Transaction::Multi) => {
                self.session.transaction = SessionTransaction::Lost { open: true };
                Some(Decision::Answer(Answer::Ok))
            }
            ConnectionEffect::Transaction(Transaction::Exec) if open => {
                self.session.transaction.forget();
                Some(Decision::Answer(Answer::ExecAbort))
            }
            ConnectionEffect::Transaction(Transaction::Discard) if open => {
                self.session.transaction.forget();
                Some(Decision::Answer(Answer::Ok))
            }
            ConnectionEffect::Transaction(Transaction::Unwatch) if !open => {
                self.session.transaction.forget();
                Some(Decision::Answer(Answer::Ok))
            }
            // Nothing will be applied anyway, and a connection that watches would outlast the transaction.
            ConnectionEffect::Transaction(Transaction::Watch) if !open && well_formed => Some(Decision::Answer(Answer::Ok)),
            _ => open.then_some(Decision::Answer(Answer::Queued)),
        }
    }

    /// Within the client's own MULTI, on a lease: everything is passed on.
    pub(super) fn decide_queued(&mut self, at: usize, spec: &Spec, args: Args<'_>) -> Decision {
        let effect = spec.connection_effect(args);
        // An EXEC with conditions ends the transaction where the server knows them, and where it does not.
        if !spec.arity_fits(args) && effect != ConnectionEffect::Transaction(Transaction::Exec) {
            return Decision::Send(Role::Queued);
        }
        if effect == ConnectionEffect::ClientCommand(ClientCommand::ClientReply) && ReplyMode::read(args).is_some() {
            return Decision::Answer(Answer::Refuse(REPLY_IN_MULTI));
        }
        // The server refuses these two without giving the transaction up, and queues all else.
        if !matches!(effect, ConnectionEffect::Transaction(Transaction::Multi | Transaction::Watch)) {
            self.session.queue.commands = self.session.queue.commands.saturating_add(1);
            self.session.queue.slow |= spec.slow;
        }
        match effect {
            ConnectionEffect::Transaction(Transaction::Exec) => {
                if self.session.queue.answers > 0 {
                    return Decision::Barrier(Barrier::Exec);
                }
                self.session.transaction.end();
                Decision::Send(Role::Exec)
            }
            ConnectionEffect::ClientCommand(command) if spec.present || command == ClientCommand::ClientMaintNotifications => {
                self.session.queue.answers = self.session.queue.answers.saturating_add(1);
                Decision::Barrier(Barrier::ClientCommand(command))
            }
            ConnectionEffect::Transaction(Transaction::Discard) => {
                self.session.transaction.end();
                self.undecided.clear();
                Decision::Send(Role::Exec)
            }
            ConnectionEffect::Quit => Decision::Barrier(Barrier::Quit),
            ConnectionEffect::Reset => Decision::Barrier(Barrier::Reset),
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) | ConnectionEffect::Pin(PinReason::Replication)
                if !self.rules.policy.is_empty() =>
            {
                self.abort_transaction(at, UNREADABLE_IN_MULTI)
            }
            // Their replies would not be one for each request (redis-semantics: confirmations inside EXEC).
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) | ConnectionEffect::Pin(PinReason::Replication) => {
                self.on_tunnel()
            }
            ConnectionEffect::None
            | ConnectionEffect::Transaction(_)
            | ConnectionEffect::Blocking
            | ConnectionEffect::Spare
            | ConnectionEffect::Monitor => Decision::Send(Role::Queued),
            // The server would take the client's login, which is meant for the proxy, for one of its own.
            ConnectionEffect::Lane(lane) if self.is_login(lane, args) => Decision::Answer(Answer::Refuse(LOGIN_IN_MULTI)),
            // What it changes is known when EXEC has been answered.
            ConnectionEffect::Lane(lane) if spec.present && LaneChange::read(lane, args).is_some() => {
                self.session.affinity.pin(Reason::Exclusive);
                self.session.queue.answers = self.session.queue.answers.saturating_add(1);
                Decision::Barrier(Barrier::Lane)
            }
            ConnectionEffect::ClientCommand(_) | ConnectionEffect::Lane(_) | ConnectionEffect::Pin(_) => {
                self.session.affinity.pin(Reason::Exclusive);
                Decision::Send(Role::Queued)
            }
        }
    }

    /// What aborts the transaction goes out in the command's place.
    fn abort_transaction(&mut self, at: usize, text: &str) -> Decision {
        self.plan.rewrites.push((at, SPOILER.to_vec()));
        Decision::Send(Role::Refused(Box::new(encode::error_reply(text))))
    }
}

enum OwnTransaction {
    Whole(usize),
    Unfinished,
    Mixed,
}

/// Redis itself would break off in the middle of the array that EXEC answers.
const REPLY_IN_MULTI: &str = "ERR respguard: CLIENT REPLY inside MULTI is not possible; the command was not queued";
const LOGIN_IN_MULTI: &str = "ERR respguard: logging in to the proxy inside MULTI is not possible; the command was not queued";

const UNREADABLE_IN_MULTI: &str =
    "ERR respguard: the command is refused inside MULTI while there are rules: they could not look at what follows it";
