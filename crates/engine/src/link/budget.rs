//! The retry budget: limits retries to a share of recent answers, so that they never overload the server.

use std::time::{Duration, Instant};

/// Seconds that are looked back upon.
const WINDOW: usize = 10;

/// How much may be sent once more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// For each request that was answered.
    pub share: f64,
    /// And so many a second whatever was answered.
    pub per_second: f64,
}

/// What was answered and what was sent once more, by the second.
#[derive(Debug)]
pub struct Budget {
    allowance: Allowance,
    /// The second that is counted now began here.
    since: Option<Instant>,
    /// The newest at `newest`, the others before it, round about.
    seconds: [Second; WINDOW],
    newest: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Second {
    answered: u64,
    retried: u64,
}

impl Budget {
    /// Nothing counted yet.
    pub fn new(allowance: Allowance) -> Budget {
        Budget { allowance, since: None, seconds: Default::default(), newest: 0 }
    }

    /// So many requests were answered.
    pub fn record(&mut self, answered: u32, now: Instant) {
        self.turn_to(now);
        self.seconds[self.newest].answered += u64::from(answered);
    }

    /// Whether this many more requests may be retried, all of them or none; if so they are counted.
    pub fn withdraw(&mut self, requests: u32, now: Instant) -> bool {
        self.turn_to(now);
        let (answered, retried) = self
            .seconds
            .iter()
            .fold((0, 0), |(answered, retried), second| (answered + second.answered, retried + second.retried));
        let allowed = answered as f64 * self.allowance.share + WINDOW as f64 * self.allowance.per_second;
        let is_allowed = (retried + u64::from(requests)) as f64 <= allowed;
        if is_allowed {
            self.seconds[self.newest].retried += u64::from(requests);
        }
        is_allowed
    }

    fn turn_to(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since).as_secs();
        if passed >= WINDOW as u64 {
            self.seconds = Default::default();
        } else {
            for _ in 0..passed {
                self.newest = (self.newest + 1) % WINDOW;
                self.seconds[self.newest] = Second::default();
            }
        }
        self.since = Some(since + Duration::from_secs(passed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &mut Budget, now: Instant) -> usize {
        std::iter::repeat_with(|| budget.withdraw(1, now)).take(10_000).take_while(|allowed| *allowed).count()
    }

    #[test]
    fn a_share_of_what_was_answered_may_be_sent_again_and_a_few_beside() {
        let start = Instant::now();
        let mut budget = Budget::new(Allowance { share: 0.2, per_second: 1.0 });
        assert_eq!(spent(&mut budget, start), 10);
        budget.record(1000, start);
        assert_eq!(spent(&mut budget, start), 200);
        assert!(!budget.withdraw(1, start + Duration::from_secs(9)), "nothing is forgotten yet");
    }

    #[test]
    fn what_is_long_ago_counts_for_nothing() {
        let start = Instant::now();
        let mut budget = Budget::new(Allowance { share: 0.5, per_second: 0.0 });
        budget.record(10, start);
        budget.record(10, start + Duration::from_secs(5));
        assert_eq!(spent(&mut budget, start + Duration::from_secs(11)), 5);
        assert_eq!(spent(&mut budget, start + Duration::from_secs(15)), 0);
        budget.record(2, start + Duration::from_secs(3600));
        assert_eq!(spent(&mut budget, start + Duration::from_secs(3600)), 1);
    }

    #[test]
    fn what_is_refused_takes_nothing_from_the_budget() {
        let start = Instant::now();
        let mut budget = Budget::new(Allowance { share: 0.0, per_second: 1.0 });
        assert!(!budget.withdraw(11, start));
        assert!(budget.withdraw(4, start));
        assert_eq!(spent(&mut budget, start), 6);
    }

    #[test]
    fn nothing_at_all_may_be_sent_again_where_nothing_is_allowed() {
        let mut budget = Budget::new(Allowance { share: 0.0, per_second: 0.0 });
        budget.record(u32::MAX, Instant::now());
        assert!(!budget.withdraw(1, Instant::now()));
    }
}
