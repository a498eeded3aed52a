//! How long the beginning of a group waits for its rest, and with which clients waiting is in vain.

use std::time::{Duration, Instant};

/// So many times in a row the next member came only after a reply: the client is sequential.
const STRIKES_MAX: u8 = 3;

/// Waiting for the rest of a group on one client's connection.
///
/// ```text
///   Calm -- a prefix stands at the end --> Holding -- the rest came ------> Calm
///    ^                                       |
///    |                                       +------- the wait is over ---> Expired
///    +-- three strikes: never held again,                                     |
///        until a whole group comes in one go <-- the next member came late ---+
/// ```
#[derive(Debug, Default)]
pub struct Patience {
    state: State,
    strikes: u8,
    sequential: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Calm,
    /// Since when, and of which group how many members.
    Holding { since: Instant, group: usize, members: usize },
    /// The members that went out alone, for comparison with what comes next.
    Expired { group: usize, members: usize, bytes: Box<[u8]> },
}

/// A prefix whose rest has not come in time.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired {
    pub group: usize,
    pub members: usize,
}

impl Patience {
    /// True when prefixes are worth waiting with.
    pub fn is_willing(&self) -> bool {
        !self.sequential
    }

    /// A prefix stands at the end of what was read: how long to wait for more bytes; zero when the
    /// longest wait is over. `gap` runs anew with every read, `max` does not.
    pub fn hold(&mut self, now: Instant, group: usize, members: usize, gap: Duration, max: Duration) -> Duration {
        let since = match self.state {
            State::Holding { since, group: held, .. } if held == group => since,
            _ => now,
        };
        self.state = State::Holding { since, group, members };
        gap.min((since + max).saturating_duration_since(now))
    }

    /// The prefix goes out alone: `bytes` are its members.
    pub fn expire(&mut self, bytes: &[u8]) -> Option<Expired> {
        let State::Holding { group, members, .. } = self.state else { return None };
        self.state = State::Expired { group, members, bytes: bytes.into() };
        Some(Expired { group, members })
    }

    /// What was held went on with everything else; the group that was waited for, if one was.
    pub fn end_hold(&mut self) -> Option<usize> {
        let State::Holding { group, .. } = self.state else { return None };
        self.state = State::Calm;
        Some(group)
    }

    /// The members that went out alone last, with their group and number.
    pub fn last_expired(&mut self) -> Option<(usize, usize, Box<[u8]>)> {
        match std::mem::take(&mut self.state) {
            State::Expired { group, members, bytes } => Some((group, members, bytes)),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The rules have changed: what was held is held for nothing.
    pub fn forget(&mut self) {
        self.state = State::Calm;
    }

    /// The next member came only after the reply to the one before; true when this makes the client
    /// sequential.
    pub fn strike(&mut self) -> bool {
        self.strikes = self.strikes.saturating_add(1);
        let now_sequential = !self.sequential && self.strikes >= STRIKES_MAX;
        self.sequential |= now_sequential;
        now_sequential
    }

    /// A whole group came in one go: the client is not sequential after all.
    pub fn forgive(&mut self) {
        self.strikes = 0;
        self.sequential = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(2);
    const MAX: Duration = Duration::from_millis(5);

    #[test]
    fn the_gap_runs_anew_with_every_read_and_the_longest_wait_does_not() {
        let (start, mut patience) = (Instant::now(), Patience::default());
        assert_eq!(patience.hold(start, 0, 1, GAP, MAX), GAP);
        assert_eq!(patience.hold(start + GAP, 0, 2, GAP, MAX), GAP);
        assert_eq!(patience.hold(start + GAP * 2, 0, 2, GAP, MAX), Duration::from_millis(1));
        assert_eq!(patience.hold(start + MAX, 0, 2, GAP, MAX), Duration::ZERO);
    }

    #[test]
    fn what_was_held_is_told_once() {
        let mut patience = Patience::default();
        assert_eq!(patience.expire(b"x"), None, "nothing was held");
        patience.hold(Instant::now(), 3, 2, GAP, MAX);
        assert_eq!(patience.expire(b"x"), Some(Expired { group: 3, members: 2 }));
        assert_eq!(patience.expire(b"x"), None);
        assert_eq!(patience.last_expired(), Some((3, 2, b"x".as_slice().into())));
        assert_eq!(patience.last_expired(), None);
    }

    #[test]
    fn what_was_held_under_other_rules_is_forgotten() {
        let mut patience = Patience::default();
        patience.hold(Instant::now(), 3, 2, GAP, MAX);
        patience.forget();
        assert_eq!((patience.end_hold(), patience.expire(b"x"), patience.last_expired()), (None, None, None));
    }

    #[test]
    fn the_third_strike_makes_a_client_sequential_and_a_pipeline_forgives() {
        let mut patience = Patience::default();
        assert_eq!([patience.strike(), patience.strike(), patience.strike(), patience.strike()], [false, false, true, false]);
        assert!(!patience.is_willing());
        patience.forgive();
        assert!(patience.is_willing() && !patience.strike());
    }
}
