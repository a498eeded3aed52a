//! A connection that is stuck, and another one that takes its place: who goes on there, and who keeps the old one.

use std::rc::Rc;

use tracing::debug;

use super::held_up::Stop;
use super::{Link, Phase};
use crate::net::upstream::Recipient;
use respguard_engine::link::inflight::Owner;

impl Link {
    /// True while a new request would wait behind unread replies, a large reply, or a reply that does not come.
    pub fn is_stuck(&self) -> bool {
        self.head_of_line.is_long()
    }

    /// True while its head does not move although the server answers on another connection.
    pub fn is_still(&self) -> bool {
        self.head_of_line.is_still()
    }

    /// True while nothing is read because the client at the head does not read, and the other clients have moved.
    pub fn is_stuck_alone(&self) -> bool {
        self.retired.get() && self.held_up.why() == Some(Stop::Alone)
    }

    /// The client at the head may want the connection for itself.
    pub(super) fn mark_alone(&self) {
        if self.is_stuck_alone()
            && let Owner::Recipient(who, _) = self.state.borrow().inflight.owner()
        {
            who.stands_alone();
        }
    }

    /// What was shared becomes this client's own, if nobody else is owed anything here; true if so. It stays one that others
    /// have left: it is never given to anybody else.
    pub(in super::super) fn take_over(&self, owner: Rc<dyn Recipient>) -> bool {
        let is_alone = self.state.borrow().inflight.recipients().all(|who| Rc::ptr_eq(who, &owner) || who.is_gone());
        if !is_alone || !self.is_stuck_alone() || !self.may_be_left() || self.phase() != Phase::Ready {
            return false;
        }
        self.shared.set(false);
        self.paced.set(None);
        self.hands_on.set(false);
        self.set_owner(Some(owner));
        true
    }

    /// True when all outstanding replies belong to clients that have left, and all of their requests have been sent.
    pub fn is_for_nobody(&self) -> bool {
        let state = self.state.borrow();
        state.is_written() && state.inflight.recipients().all(|who| who.is_gone())
    }

    /// True when its lane has another one for what is still to come.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// How often another one has taken its place: while it had, its clients went on elsewhere.
    pub fn retirements(&self) -> u32 {
        self.retirements.get()
    }

    /// True when what a client sends over another connection cannot overtake what it has sent here, once it is owed
    /// nothing: no connection that was lost waits for its end.
    pub fn may_be_left(&self) -> bool {
        self.over.get()
            || self.phase() != Phase::Connecting && self.orphan_kills.borrow().is_empty() && self.orphans.borrow().is_empty()
    }

    /// Whether the server has yet to answer what was sent for the client that this recipient is, be it too late.
    pub fn owes(&self, who: &Rc<dyn Recipient>) -> bool {
        let is_theirs = |recipient: &Rc<dyn Recipient>| std::ptr::eq(recipient.sender(), who.sender());
        self.state.borrow().inflight.owes(is_theirs) || self.owes_late(who)
    }

    /// Whether a node may still run what was given up for this client: nothing of that is owed here any more.
    pub(super) fn owes_late(&self, who: &Rc<dyn Recipient>) -> bool {
        self.at_once.borrow().as_ref().is_some_and(|cluster| cluster.owes_late(who.sender()))
    }

    /// Retires the connection: only clients with outstanding replies on it still send on it.
    pub fn retire(&self) {
        debug!(upstream = %self.server(), "a reply is stuck: what comes goes over another connection");
        self.retired.set(true);
        self.retirements.set(self.retirements.get().wrapping_add(1));
        self.show_phase();
        // Who is owed nothing here goes on over the other one.
        self.state.borrow_mut().waiting_for_room.wake_all();
    }

    /// It was replaced; if its head never moved again, as a lost one is.
    pub fn note_abandoned(&self) {
        if self.head_of_line.is_still() {
            self.context.metrics.upstream_reconnect();
        }
    }
}
