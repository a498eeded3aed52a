//! A PING of our own on a silent connection, so that a dead one is found before a client needs it.

use crate::engine::pipeline::resolve::{Fault, Part};
use crate::engine::session::subscription::Arrival;

use super::{Admitted, Recipient};

/// <https://redis.io/docs/latest/commands/ping/>
pub(super) const REQUEST: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Whoever is owed the answer. Any answer will do, also that a password is wanted or a dataset is
/// being loaded: the connection is alive.
pub(super) struct Heartbeat;

impl Recipient for Heartbeat {
    fn admit(&self, _piece: &[u8], _part: Part) -> Admitted {
        Admitted::default()
    }

    fn fault(&self, _frames: u32, _fault: Fault) {}

    fn settle_late(&self, _frames: u32) {}

    fn cut(&self) {}

    fn classify(&self, _head: &[u8]) -> Arrival {
        Arrival::Reply
    }

    fn push(&self, _piece: &[u8]) {}

    fn lease_lost(&self) {}

    fn mark(&self) -> bool {
        false
    }

    fn flush(&self) {}

    fn is_congested(&self) -> bool {
        false
    }
}
