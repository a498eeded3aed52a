//! Kills, through another connection, the server's side of connections that were lost with replies outstanding.

use std::rc::Rc;

use super::{Link, Phase};
use crate::net::upstream::call::{Answer, call};
use crate::telemetry::label::KillOutcome;
use respguard_engine::link::handshake::{Kill, OrphanedConnection};

/// Lost connections that one link ends; one that is lost meanwhile is left to the server.
const ORPHANS_MAX: usize = 64;

impl Link {
    /// The connection that was lost last, while there is no other.
    pub fn lost_connection(&self) -> Option<OrphanedConnection> {
        if let Some(orphan) = &*self.head_orphan.borrow() {
            return Some(orphan.clone());
        }
        let state = self.state.borrow();
        if state.phase == Phase::Ready { None } else { state.info.orphan() }
    }

    /// Connections that were lost and have not been ended yet.
    pub fn orphans(&self) -> Vec<OrphanedConnection> {
        self.orphans.borrow().iter().chain(&*self.orphan_kills.borrow()).cloned().collect()
    }

    /// Those that it has not begun to end, or not come to the end of, are ended by another one, too.
    pub fn give_orphans_to(&self, other: &Rc<Link>) {
        let begun = self.orphan_kills.borrow().clone();
        let left = self.orphans.take();
        left.into_iter().chain(begun).for_each(|orphan| other.kill_orphan(orphan));
    }

    /// How to kill this connection, which is abandoned with replies outstanding, at the server.
    pub fn orphan(&self) -> Option<OrphanedConnection> {
        let state = self.state.borrow();
        let owes = state.phase == Phase::Ready && !state.inflight.is_empty();
        owes.then(|| state.info.orphan()).flatten()
    }

    /// Ends a connection that was lost, before anything more is sent on this one.
    pub fn kill_orphan(self: &Rc<Self>, orphan: OrphanedConnection) {
        if self.phase() != Phase::Ready {
            return self.keep_orphan(orphan);
        }
        if self.orphan_kills.borrow().contains(&orphan) {
            return;
        }
        let mut request = Vec::new();
        orphan.kill(&mut request);
        self.orphan_kills.borrow_mut().push(orphan.clone());
        let link = Rc::downgrade(self);
        call(self, &request, self.settings.request_timeout, move |answer| {
            if let Some(link) = link.upgrade() {
                link.note_orphan_kill(orphan, answer);
            }
        });
    }

    /// What came of the request that ends one: it is made again where it may not have come through.
    fn note_orphan_kill(&self, orphan: OrphanedConnection, answer: Answer<'_>) {
        self.end_orphan_kill(&orphan);
        match answer {
            Answer::Reply(reply) => self.context.killed(Kill::read(reply)),
            Answer::Lost | Answer::NotSent => {
                self.context.metrics.killed(KillOutcome::Unanswered);
                self.keep_orphan(orphan);
            }
        }
    }

    /// What the server was told in vain to end, it is told again.
    pub(super) fn kill_orphan_again(self: &Rc<Self>) {
        if self.orphans.borrow().is_empty() || self.phase() != Phase::Ready || !self.shared.get() {
            return;
        }
        self.orphans.take().into_iter().for_each(|orphan| self.kill_orphan(orphan));
    }

    /// What a new connection is to end first.
    pub(super) fn begin_orphan_kills(&self) -> Vec<OrphanedConnection> {
        // What was being ended when the link's task panicked is begun again.
        self.orphan_kills.take().into_iter().for_each(|orphan| self.keep_orphan(orphan));
        self.orphan_kills.replace(self.orphans.take());
        self.orphan_kills.borrow().clone()
    }

    /// A new connection has ended these, or `failed` to.
    pub(super) fn end_orphan_kills(&self, orphans: Vec<OrphanedConnection>, failed: bool) {
        for orphan in orphans {
            self.end_orphan_kill(&orphan);
            if failed {
                self.keep_orphan(orphan);
            }
        }
    }

    fn end_orphan_kill(&self, orphan: &OrphanedConnection) {
        self.orphan_kills.borrow_mut().retain(|orphan_ended| orphan_ended != orphan);
    }

    pub(super) fn keep_orphan(&self, orphan: OrphanedConnection) {
        let mut orphans = self.orphans.borrow_mut();
        // A lease brings back what it was given.
        if orphans.len() < ORPHANS_MAX && !orphans.contains(&orphan) {
            orphans.push(orphan);
        }
    }
}
