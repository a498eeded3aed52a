//! When the server was last seen to answer, on any connection of the worker.

use std::cell::Cell;
use std::time::Instant;

/// What tells a connection that does not move from a server that is busy: whether what was asked later was answered
/// elsewhere.
#[derive(Debug, Default)]
pub struct Signs {
    asked_at: Cell<Option<Instant>>,
}

impl Signs {
    /// What was asked then has been answered.
    pub fn answered(&self, asked_at: Instant) {
        if self.asked_at.get() < Some(asked_at) {
            self.asked_at.set(Some(asked_at));
        }
    }

    /// When the question was asked, of all that were answered, that was asked last.
    pub fn asked_at(&self) -> Option<Instant> {
        self.asked_at.get()
    }
}
