//! Asks a server that has failed too often whether it serves again.

use std::rc::Rc;

use super::lane::Lane;
use super::{Admitted, PING, Recipient};
use crate::net::clock;
use crate::net::context::Context;
use respguard_engine::link::breaker::is_state_error;
use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::resolve::Part;

/// Whoever is owed the answer.
pub struct Probe {
    context: Rc<Context>,
}

impl Probe {
    /// Sends the question over the lane's shared connection.
    pub fn send(context: &Rc<Context>, lane: &Lane) {
        let probe = Rc::new(Probe { context: Rc::clone(context) });
        if !lane.ask(Rc::<Probe>::clone(&probe), PING) {
            probe.conclude(false);
        }
    }

    fn conclude(&self, served: bool) {
        self.context.health.conclude(served, clock::now());
    }
}

impl Recipient for Probe {
    /// Any answer will do that is not about the server's state: who may not PING is told so by a server that serves.
    fn admit(&self, _to: ReplyTo, piece: &[u8], part: Part) -> Admitted {
        if part.first {
            self.conclude(!is_state_error(piece));
        }
        Admitted::default()
    }

    fn fault(&self, _owed: Owed, _fault: Fault) {
        self.conclude(false);
    }
}
