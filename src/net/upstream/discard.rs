//! The proxy's own requests whose replies are discarded.

use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::reading::Part;

use super::{Admitted, Recipient};

/// Whoever is owed such an answer. To a PING any answer will do, also that a password is wanted or a
/// dataset is being loaded: the connection is alive.
pub struct Discard;

impl Recipient for Discard {
    fn admit(&self, _to: ReplyTo, _piece: &[u8], _part: Part) -> Admitted {
        Admitted::default()
    }

    fn is_gone(&self) -> bool {
        true
    }

    fn fault(&self, _owed: Owed, _fault: Fault) {}
}
