//! How long a connection has been silent while the server answered on another one.
//!
//! A server that works on one long command answers nobody: that is no stalled connection. So each answer elsewhere, to what
//! was asked later, counts for the time since the one before it, but not for more than a little.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// What one answer elsewhere counts for at most.
pub(super) const SIGN_MAX: Duration = Duration::from_millis(250);

/// What a connection remembers of it.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Since when the head is waited for.
    since: Cell<Option<Instant>>,
    /// The last answer elsewhere that was counted, by when it was asked for.
    seen: Cell<Option<Instant>>,
    counted: Cell<Duration>,
}

impl Silence {
    /// The head has been waited for since then, and what was asked elsewhere at `asked_at` has been answered: for how long
    /// the connection has been silent while the server was not.
    pub(super) fn note(&self, since: Instant, asked_at: Option<Instant>) -> Duration {
        if self.since.replace(Some(since)) != Some(since) {
            self.seen.set(None);
            self.counted.set(Duration::ZERO);
        }
        let seen = self.seen.get().unwrap_or(since);
        if let Some(asked_at) = asked_at.filter(|asked_at| *asked_at > seen) {
            self.counted.set(self.counted.get() + (asked_at - seen).min(SIGN_MAX));
            self.seen.set(Some(asked_at));
        }
        self.counted.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_counts_in_which_the_server_answers_elsewhere() {
        let (silence, begin) = (Silence::default(), Instant::now());
        let after = |ms| begin + Duration::from_millis(ms);
        let at = |ms| Some(after(ms));
        assert_eq!(silence.note(begin, Some(begin)), Duration::ZERO, "what was asked no later says nothing");
        assert_eq!(silence.note(begin, at(100)), Duration::from_millis(100));
        assert_eq!(silence.note(begin, at(100)), Duration::from_millis(100), "the same answer counts once");
        assert_eq!(silence.note(begin, at(60_000)), Duration::from_millis(350), "a minute in which nobody was answered");
        assert_eq!(silence.note(after(60_001), at(60_000)), Duration::ZERO, "it has answered here");
    }
}
