//! The preflight of one group on the wire: its answers, and whether the group may be sent once more.

use crate::engine::preflight::{Preflight, Verdict};
use crate::engine::resp::value;

/// How often a group is sent at most while other clients change its keys.
const ATTEMPTS_MAX: u32 = 3;

/// Frames before the one of MULTI: WATCH and EVAL.
pub(super) const LEAD: u32 = 2;

/// What precedes a group's transaction, and what it said.
#[derive(Debug)]
pub struct Guard {
    preflight: Preflight,
    /// Everything that was sent for the group; empty where it is too long to be kept.
    request: Vec<u8>,
    attempts: u32,
    watched: bool,
    verdict: Verdict,
    /// What WATCH or EVAL answered instead.
    error: Option<Box<[u8]>>,
    again: bool,
}

impl Guard {
    /// A preflight that is sent now, as a part of `request`.
    pub fn new(preflight: Preflight, request: Vec<u8>) -> Guard {
        Guard { preflight, request, attempts: 1, watched: false, verdict: Verdict::Missing, error: None, again: false }
    }

    /// Takes the answer of WATCH or of EVAL.
    pub(super) fn admit(&mut self, place: u32, frame: &[u8]) {
        if place == 0 {
            self.watched = frame == b"+OK\r\n";
        } else {
            self.verdict = self.preflight.verdict(frame);
        }
        if value::is_error(frame) {
            self.error.get_or_insert_with(|| frame.into());
        }
    }

    /// What the preflight said; missing also where nothing would have come of it.
    pub(super) fn verdict(&self) -> &Verdict {
        if self.watched { &self.verdict } else { &Verdict::Missing }
    }

    /// The error of what did not run.
    pub(super) fn error(&self) -> Option<&[u8]> {
        self.error.as_deref()
    }

    /// EXEC answered null: true when the group goes out again, because another client was the reason. `alone` says that
    /// nothing that its client has sent behind it could be overtaken.
    pub(super) fn tries_again(&mut self, alone: bool) -> bool {
        let may = alone && self.attempts < ATTEMPTS_MAX && !self.request.is_empty() && *self.verdict() == Verdict::Fine;
        if may {
            self.attempts += 1;
            self.watched = false;
            self.verdict = Verdict::Missing;
            self.error = None;
            self.again = true;
        }
        may
    }

    /// What is to be sent once more.
    pub(super) fn take_again(&mut self) -> Option<&[u8]> {
        std::mem::take(&mut self.again).then_some(&self.request)
    }

    /// How often it has been sent.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }
}
