//! When the server was last seen to answer, on any connection of the worker.

use std::cell::Cell;
use std::time::Instant;

/// What tells a connection that does not move from a server that is busy: whether what was asked later was answered
/// elsewhere.
#[derive(Debug, Default)]
pub struct LastAnswered {
    asked_at: Cell<Option<Instant>>,
}

impl LastAnswered {
    /// A question of that time has been answered.
    pub fn answered(&self, asked_at: Instant) {
        if self.asked_at.get() < Some(asked_at) {
            self.asked_at.set(Some(asked_at));
        }
    }

    /// The time of the latest question that has been answered.
    pub fn asked_at(&self) -> Option<Instant> {
        self.asked_at.get()
    }
}
