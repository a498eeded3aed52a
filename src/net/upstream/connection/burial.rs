//! The end of connections that were lost while they owed replies, which the server is told on another one.

use std::rc::{Rc, Weak};

use super::{Link, Phase};
use crate::engine::link::handshake::{Ghost, Kill};
use crate::engine::pipeline::finding::Fault;
use crate::engine::pipeline::resolve::Part;
use crate::net::clock;
use crate::net::upstream::{Admitted, Recipient};
use crate::telemetry::label::KillOutcome;

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
        self.ghosts.borrow().clone()
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
        let mut request = Vec::new();
        ghost.kill(&mut request);
        let now = clock::now();
        let burial = Burial { link: Rc::downgrade(self), ghost };
        self.burials.set(self.burials.get() + 1);
        // A link that is ready takes what it is given.
        let _ = self.send(Rc::new(burial), &[&request], 1, now, Some(now + self.settings.request_timeout));
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
            link.burials.set(link.burials.get().saturating_sub(1));
        }
        Admitted::default()
    }

    fn fault(&self, _frames: u32, _fault: Fault) {
        if let Some(link) = self.link.upgrade() {
            link.context.tally.killed(KillOutcome::Unanswered);
            link.keep_ghost(self.ghost.clone());
            link.burials.set(link.burials.get().saturating_sub(1));
        }
    }
}
