//! Decides what happens to a request that is too large to be buffered whole, from its beginning.

use super::plan::Answer;
use super::slot::Role;
use crate::command::{ConnectionEffect, Lane, PinReason, Spec, Transaction};
use crate::session::Session;
use crate::session::affinity::Reason;
use crate::session::transaction::Transaction as SessionTransaction;

/// What becomes of the request.
#[derive(Debug)]
pub enum Large {
    /// It is passed on as it comes, over a connection of the client's own.
    PassThrough(PassThrough),
    /// It changes its connection unseen, so that the client keeps that one, and all that follows is passed on unread.
    Tunnel,
    /// Nothing of it is sent.
    Discard(Answer),
    /// Nothing of it is sent, and what aborts the client's own MULTI goes out in its place.
    AbortTransaction(&'static str),
}

/// How a request is cut through.
#[derive(Debug)]
pub struct PassThrough {
    /// Why the client has a connection of its own.
    pub reason: Reason,
    /// What its reply means.
    pub role: Role,
    /// The server answers when it likes.
    pub waits: bool,
    change: Change,
}

/// What the request changes about the session once it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    Watches,
    Subscribes,
    /// The server queues it.
    Queued,
}

const TOO_LONG: &str = "ERR respguard: the command is too long to be read whole, and was not sent";

impl PassThrough {
    fn plain(reason: Reason) -> Large {
        Large::PassThrough(PassThrough { reason, role: Role::Plain, waits: reason == Reason::Blocking, change: Change::Nothing })
    }

    fn queued(reason: Reason, change: Change) -> Large {
        Large::PassThrough(PassThrough { reason, role: Role::Queued, waits: false, change })
    }

    /// The request is on its way.
    pub fn begin(&self, session: &mut Session) {
        session.affinity.pin(self.reason);
        match self.change {
            Change::Nothing => {}
            Change::Watches => session.transaction.watch(),
            Change::Subscribes => session.subscriptions.sent(),
            Change::Queued => session.queue.commands = session.queue.commands.saturating_add(1),
        }
    }
}

/// What becomes of a request for this command, with so many arguments, its name among them.
pub fn decide(session: &Session, spec: &Spec, arguments: usize) -> Large {
    let is_unknown = spec.connection == ConnectionEffect::Pin(PinReason::Unknown);
    let is_refused = !is_unknown && !spec.takes_arguments(arguments);
    match session.transaction {
        SessionTransaction::Lost { open: true } => Large::Discard(Answer::Queued),
        SessionTransaction::Idle | SessionTransaction::Watching | SessionTransaction::Lost { open: false }
            if session.missed.any() =>
        {
            Large::Discard(Answer::Refuse(session.missed.text()))
        }
        SessionTransaction::Open if is_refused => PassThrough::queued(Reason::Large, Change::Nothing),
        SessionTransaction::Open => decide_queued(spec.connection, spec.present),
        // The server answers an error, which changes nothing.
        _ if is_refused || !spec.present => PassThrough::plain(Reason::Large),
        _ => decide_effect(session, spec.connection, arguments),
    }
}

fn decide_effect(session: &Session, effect: ConnectionEffect, arguments: usize) -> Large {
    match effect {
        ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) => {
            let frames = u32::try_from(arguments.saturating_sub(1)).unwrap_or(u32::MAX);
            let (reason, role) = (Reason::Subscription, Role::Subscription { frames, confirmed: 0 });
            Large::PassThrough(PassThrough { reason, role, waits: false, change: Change::Subscribes })
        }
        _ if session.in_subscribe_mode() => PassThrough::plain(Reason::Large),
        ConnectionEffect::Transaction(Transaction::Watch) => {
            let (reason, role) = (Reason::Transaction, Role::Plain);
            Large::PassThrough(PassThrough { reason, role, waits: false, change: Change::Watches })
        }
        ConnectionEffect::None | ConnectionEffect::Transaction(_) | ConnectionEffect::Spare => PassThrough::plain(Reason::Large),
        // A number so long is none.
        ConnectionEffect::Pin(PinReason::Wait) | ConnectionEffect::Lane(Lane::Select) => PassThrough::plain(Reason::Large),
        ConnectionEffect::Blocking => PassThrough::plain(Reason::Blocking),
        ConnectionEffect::ClientCommand(_) | ConnectionEffect::Lane(_) => Large::Discard(Answer::Refuse(TOO_LONG)),
        ConnectionEffect::Monitor
        | ConnectionEffect::Quit
        | ConnectionEffect::Reset
        | ConnectionEffect::Pin(PinReason::Replication | PinReason::Shutdown) => Large::Tunnel,
        ConnectionEffect::Pin(_) => PassThrough::plain(Reason::Exclusive),
    }
}

fn decide_queued(effect: ConnectionEffect, present: bool) -> Large {
    match effect {
        _ if !present => PassThrough::queued(Reason::Large, Change::Queued),
        // The server refuses these two without giving the transaction up.
        ConnectionEffect::Transaction(Transaction::Multi | Transaction::Watch) => {
            PassThrough::queued(Reason::Large, Change::Nothing)
        }
        ConnectionEffect::None
        | ConnectionEffect::Transaction(_)
        | ConnectionEffect::Blocking
        | ConnectionEffect::Spare
        | ConnectionEffect::Lane(Lane::Select)
        | ConnectionEffect::Monitor => PassThrough::queued(Reason::Large, Change::Queued),
        ConnectionEffect::ClientCommand(_) | ConnectionEffect::Lane(_) => Large::AbortTransaction(TOO_LONG),
        ConnectionEffect::Subscribe(_)
        | ConnectionEffect::Unsubscribe(_)
        | ConnectionEffect::Quit
        | ConnectionEffect::Reset
        | ConnectionEffect::Pin(PinReason::Replication) => Large::Tunnel,
        ConnectionEffect::Pin(_) => PassThrough::queued(Reason::Exclusive, Change::Queued),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Table;

    fn decided(session: &Session, name: &str, arguments: usize) -> Large {
        let table = Table::builtin();
        let spec = table.by_name(name).map(|id| table.spec(id)).expect("it is in the table");
        decide(session, spec, arguments)
    }

    fn in_multi() -> Session {
        Session { transaction: SessionTransaction::Open, ..Session::default() }
    }

    #[test]
    fn within_multi_what_the_server_queues_counts_and_nothing_else() {
        for (name, arguments, commands) in [("set", 3, 1), ("set", 2, 0), ("watch", 2, 0), ("blpop", 3, 1), ("exec", 2, 0)] {
            let mut session = in_multi();
            let Large::PassThrough(through) = decided(&session, name, arguments) else { panic!("{name} is cut through") };
            through.begin(&mut session);
            assert!(through.role.is_queued() && session.queue.commands == commands, "{name}");
        }
        assert!(matches!(decided(&in_multi(), "client|setname", 3), Large::AbortTransaction(_)));
    }

    #[test]
    fn a_database_of_so_many_digits_is_none_and_the_server_says_so() {
        let mut session = Session::default();
        let Large::PassThrough(through) = decided(&session, "select", 2) else { panic!("it is cut through") };
        through.begin(&mut session);
        assert!(matches!(through.role, Role::Plain) && session.transaction.is_idle());
    }

    #[test]
    fn what_would_be_queued_on_a_lost_connection_is_not_sent() {
        let session = Session { transaction: SessionTransaction::Lost { open: true }, ..Session::default() };
        assert!(matches!(decided(&session, "set", 3), Large::Discard(Answer::Queued)));
    }

    #[test]
    fn a_large_watch_watches_and_one_with_wrong_arguments_does_not() {
        for (name, arguments, watches) in [("watch", 2, true), ("watch", 1, false)] {
            let mut session = Session::default();
            let Large::PassThrough(through) = decided(&session, name, arguments) else { panic!("{name} is cut through") };
            through.begin(&mut session);
            assert_eq!(!session.transaction.is_idle(), watches, "{arguments}");
        }
    }

    #[test]
    fn a_large_subscription_waits_for_each_confirmation() {
        let mut session = Session::default();
        let Large::PassThrough(through) = decided(&session, "subscribe", 4) else { panic!("it is cut through") };
        through.begin(&mut session);
        assert!(matches!(through.role, Role::Subscription { frames: 3, .. }));
        assert!(session.subscriptions.is_changing());
    }
}
