//! The end of connections that were lost while they owed replies, which the server is told on another one.

use std::rc::{Rc, Weak};

use super::{Link, Phase};
use crate::net::clock;
use crate::net::upstream::{Admitted, Recipient};
use crate::telemetry::label::KillOutcome;
use respguard_engine::link::handshake::{Ghost, Kill};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::resolve::Part;

/// Lost connections that one link ends; one that is lost meanwhile is left to the server.
const GHOSTS_MAX: usize = 64;

impl Link {
    /// The connection that was lost last, while there is no other.
    pub fn lost_connection(&self) -> Option<Ghost> {
        let state = self.state.borrow();
        if state.phase == Phase::Ready { None } else { state.facts.ghost() }
    }

    /// Connections that were lost and have not been ended yet.
    pub fn ghosts(&self) -> Vec<Ghost> {
        self.ghosts.borrow().iter().chain(&*self.burials.borrow()).cloned().collect()
    }

    /// How the server ends this connection, which is given up although it still owes replies.
    pub fn ghost(&self) -> Option<Ghost> {
        let state = self.state.borrow();
        let owes = state.phase == Phase::Ready && !state.inflight.is_empty();
        owes.then(|| state.facts.ghost()).flatten()
    }

    /// Ends a connection that was lost, before anything more is sent on this one.
    pub fn bury(self: &Rc<Self>, ghost: Ghost) {
        if self.phase() != Phase::Ready {
            return self.keep_ghost(ghost);
        }
        if self.burials.borrow().contains(&ghost) {
            return;
        }
        let mut request = Vec::new();
        ghost.kill(&mut request);
        let now = clock::now();
        self.burials.borrow_mut().push(ghost.clone());
        let burial = Burial { link: Rc::downgrade(self), ghost };
        // A link that is ready takes what it is given.
        let _ = self.send(Rc::new(burial), &[&request], 1, now, Some(now + self.settings.request_timeout));
    }

    /// What the server was told in vain to end, it is told again.
    pub(super) fn bury_again(self: &Rc<Self>) {
        if self.ghosts.borrow().is_empty() || self.phase() != Phase::Ready || !self.shared.get() {
            return;
        }
        self.ghosts.take().into_iter().for_each(|ghost| self.bury(ghost));
    }

    /// What a new connection is to end first.
    pub(super) fn begin_burials(&self) -> Vec<Ghost> {
        // What was being ended when the link's task panicked is begun again.
        self.burials.take().into_iter().for_each(|ghost| self.keep_ghost(ghost));
        self.burials.replace(self.ghosts.take());
        self.burials.borrow().clone()
    }

    /// A new connection has ended these, or `failed` to.
    pub(super) fn end_burials(&self, ghosts: Vec<Ghost>, failed: bool) {
        for ghost in ghosts {
            self.end_burial(&ghost);
            if failed {
                self.keep_ghost(ghost);
            }
        }
    }

    fn end_burial(&self, ghost: &Ghost) {
        self.burials.borrow_mut().retain(|buried| buried != ghost);
    }

    pub(super) fn keep_ghost(&self, ghost: Ghost) {
        let mut ghosts = self.ghosts.borrow_mut();
        // A lease brings back what it was given.
        if ghosts.len() < GHOSTS_MAX && !ghosts.contains(&ghost) {
            ghosts.push(ghost);
        }
    }
}

/// Whoever is owed the answer to the request that ends one: it is made again where it may not have come through.
struct Burial {
    link: Weak<Link>,
    ghost: Ghost,
}

impl Recipient for Burial {
    fn admit(&self, piece: &[u8], part: Part) -> Admitted {
        if part.first
            && let Some(link) = self.link.upgrade()
        {
            link.context.killed(Kill::read(piece));
            link.end_burial(&self.ghost);
        }
        Admitted::default()
    }

    fn fault(&self, _frames: u32, _fault: Fault) {
        if let Some(link) = self.link.upgrade() {
            link.context.tally.killed(KillOutcome::Unanswered);
            link.end_burial(&self.ghost);
            link.keep_ghost(self.ghost.clone());
        }
    }
}
