//! A connection with a client's unread replies becomes that client's own: commands that would have to wait until they are read
//! are sent behind them, and the server buffers the replies, as for a direct client.
//!
//! Who writes everything before it reads anything would wait for ever otherwise, once no more replies can be kept for it.

use std::rc::Rc;

use super::connection::Connection;
use super::lease::Lease;
use crate::net::exchange::Exchange;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::session::affinity::Reason;

impl Connection {
    /// The fence before a lease: nothing is owed any more, or the connection on which it is owed is the client's own now. False
    /// as behind any other fence.
    pub(super) async fn drained_before(&mut self, reason: Reason) -> bool {
        if self.is_behind_unread() {
            return true;
        }
        // What ends the order of requests and replies, or what they mean, has to wait for the last of them.
        self.may_take_over = matches!(reason, Reason::Transaction | Reason::Large | Reason::Blocking | Reason::Bulky);
        let is_drained = self.drained().await;
        let may_take_over = std::mem::take(&mut self.may_take_over) && self.exchange.ended().is_none();
        is_drained || may_take_over && self.take_over()
    }

    /// SELECT behind replies that the client does not take: its own connection changes the db, and what follows goes out
    /// behind that without waiting for an answer. False where nothing is stuck.
    pub(super) async fn selects_behind_unread(&mut self) -> bool {
        let has_missed = self.exchange.state.borrow().session.missed.any();
        let Some((change, false)) = self.read_change() else { return false };
        let Some(db) = change.db.filter(|_| change.login.is_none() && change.protocol.is_none() && !has_missed) else {
            return false;
        };
        let goes_on = self.drained_before(Reason::Transaction).await;
        if !goes_on || !self.is_behind_unread() || self.exchange.ended().is_some() || self.exchange.is_drained() {
            return false;
        }
        let words: Vec<Box<[u8]>> = self.input.args(0).iter().map(Into::into).collect();
        // It can serve nobody else afterwards.
        self.exchange.state.borrow_mut().session.affinity.pin(Reason::Exclusive);
        let id = self.id();
        self.consume_one();
        self.ask(id, Role::Plain, &words);
        // The server nearly always agrees; that it did not, the client alone learns in time.
        self.note(None, Some(db), None, None);
        true
    }

    /// The client's own connection is one on which its replies were stuck: what follows need not wait for them.
    pub(super) fn is_behind_unread(&self) -> bool {
        self.lease.link().is_some_and(|link| link.is_retired())
    }

    fn take_over(&mut self) -> bool {
        if self.lease.is_held() {
            return false;
        }
        let (lane, link) = (self.exchange.lane(), self.exchange.link());
        let is_its_own = lane.take_over(&link, Rc::<Exchange>::clone(&self.exchange));
        if is_its_own {
            self.lease = Lease::of(lane, link);
        }
        is_its_own
    }
}
