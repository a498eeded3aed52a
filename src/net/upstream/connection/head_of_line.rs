//! Head-of-line blocking: whether a new request would wait behind a large or unread reply, or behind one that does not come.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::net::clock;

/// After so long what is still to come had better go over another connection.
pub(super) const LONG: Duration = Duration::from_millis(5);
/// After so long there is none, and those who wait get what they are owed as it comes.
const VERY_LONG: Duration = Duration::from_millis(50);
/// A head that has been waited for so long, while the server answered on another connection, does not move.
const STILL: Duration = Duration::from_millis(3);

/// What a connection remembers of it.
#[derive(Debug, Default)]
pub(super) struct HeadOfLine {
    /// Since when a large reply has been passing, or the client at the head has been behind.
    since: Cell<Option<Instant>>,
    /// The wait for the head, by its beginning, during which the server was seen to answer elsewhere.
    overtaken: Cell<Option<Instant>>,
    /// The head does not move.
    is_still: Cell<bool>,
}

impl HeadOfLine {
    /// The client at the head is behind, or its reply is large.
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

    /// Something has come.
    pub(super) fn moves(&self) {
        self.is_still.set(false);
    }

    /// The head has been waited for since then, and what was asked elsewhere at `asked_at` has been answered. Only what is
    /// still so when it is looked at again counts: both answers may have come together.
    pub(super) fn look(&self, since: Instant, asked_at: Option<Instant>) {
        let is_overtaken = asked_at > Some(since) && clock::now().saturating_duration_since(since) >= STILL;
        if is_overtaken && self.overtaken.get() == Some(since) {
            self.is_still.set(true);
        }
        self.overtaken.set(is_overtaken.then_some(since));
    }

    /// True when the head does not move although the server answers.
    pub(super) fn is_still(&self) -> bool {
        self.is_still.get()
    }

    /// True when no other connection has been found for those who wait.
    pub(super) fn is_very_long(&self) -> bool {
        self.lasts(VERY_LONG)
    }

    fn lasts(&self, time: Duration) -> bool {
        self.since.get().is_some_and(|since| clock::now().saturating_duration_since(since) >= time)
    }

    /// True when what is sent now would wait.
    pub(super) fn is_long(&self) -> bool {
        self.is_still() || self.lasts(LONG)
    }
}
