//! The clock of a connection, which stops while its client does not read: that time is not the server's.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::net::clock;

/// Why nothing is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The client at the head is behind, and nobody else is owed anything: it may take as long as it likes.
    Alone,
    /// Others wait behind it: only for a moment.
    Awaited,
}

/// What a connection remembers of it.
#[derive(Debug, Default)]
pub(super) struct HeldUp {
    stopped: Cell<Option<(Stop, Instant)>>,
    /// For how long the time has stood still so far.
    still: Cell<Duration>,
}

impl HeldUp {
    /// Nothing is read from now on.
    pub(super) fn stop(&self, why: Stop) {
        if self.stopped.get().is_some_and(|(before, _)| before == why) {
            return;
        }
        self.go_on();
        self.stopped.set(Some((why, clock::now())));
    }

    /// It is read again.
    pub(super) fn go_on(&self) {
        if self.stopped.get().is_some() {
            self.still.set(self.still(clock::now()));
            self.stopped.set(None);
        }
    }

    /// Why nothing is read now, if so.
    pub(super) fn why(&self) -> Option<Stop> {
        self.stopped.get().map(|(why, _)| why)
    }

    fn still(&self, now: Instant) -> Duration {
        match self.stopped.get() {
            Some((Stop::Alone, since)) => self.still.get() + now.saturating_duration_since(since),
            _ => self.still.get(),
        }
    }

    /// A moment as the connection counts it.
    #[inline]
    pub(super) fn own_time(&self, at: Instant) -> Instant {
        if self.stopped.get().is_none() && self.still.get().is_zero() { at } else { self.delayed(at) }
    }

    fn delayed(&self, at: Instant) -> Instant {
        let still = self.still(clock::now());
        if still.is_zero() { at } else { at.checked_sub(still).unwrap_or(at) }
    }

    /// The moment that the connection counts so.
    pub(super) fn real_time(&self, own: Instant) -> Instant {
        own + self.still(clock::now())
    }
}
