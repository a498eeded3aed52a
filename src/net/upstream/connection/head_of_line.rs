//! For how long those behind the head of a connection have waited because of a reply that is large or not taken.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::net::clock;

/// After so long what is still to come had better go over another connection.
const LONG: Duration = Duration::from_millis(5);

/// What a connection remembers of it.
#[derive(Debug, Default)]
pub(super) struct HeadOfLine {
    /// Since when a large reply has been passing, or nothing is read.
    since: Cell<Option<Instant>>,
}

impl HeadOfLine {
    /// Nothing is read, because the client at the head is behind.
    pub(super) fn hold(&self) {
        self.since.set(self.since.get().or_else(|| Some(clock::now())));
    }

    /// Nobody is waited for; what is read next may still belong to a large reply.
    pub(super) fn go_on(&self, is_inside_large: bool) {
        match is_inside_large {
            true => self.hold(),
            false => self.since.set(None),
        }
    }

    /// True when what is sent now would wait.
    pub(super) fn is_long(&self) -> bool {
        self.since.get().is_some_and(|since| clock::now().saturating_duration_since(since) >= LONG)
    }
}
