//! The request that ends a lost connection: it is made again where it may not have come through.

use std::rc::Weak;

use super::Link;
use crate::engine::link::handshake::{Ghost, Kill};
use crate::engine::pipeline::finding::Fault;
use crate::engine::pipeline::resolve::Part;
use crate::net::upstream::{Admitted, Recipient};
use crate::telemetry::label::KillOutcome;

/// Whoever is owed the answer to such a request.
pub(super) struct Burial {
    pub(super) link: Weak<Link>,
    pub(super) ghost: Ghost,
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
