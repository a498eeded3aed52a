//! The pauses between attempts to reconnect: exponential, capped, jittered.

use std::time::Duration;

/// The shortest pause, before jitter.
const FIRST: Duration = Duration::from_millis(25);
/// The longest pause, before jitter.
const LONGEST: Duration = Duration::from_secs(2);

/// Counts failed attempts in a row and says how long to wait before the next one.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt succeeded: the next failure starts from the shortest pause again.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed: the pause before the next one.
    ///
    /// `jitter` is a random number in `0.0..1.0`; the pause lies between half and the whole of the
    /// exponential step, so that many connections that were lost together do not return together.
    pub fn failed(&mut self, jitter: f64) -> Duration {
        let step = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        jittered(step, jitter)
    }
}

/// The pause where another connection to the same server has just succeeded: the shortest one, so that a server that ends
/// each connection at once is not asked in a loop by several that tell each other. `jitter` is as in [`Backoff::failed`].
pub fn shortest(jitter: f64) -> Duration {
    jittered(FIRST, jitter)
}

fn jittered(step: Duration, jitter: f64) -> Duration {
    step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..10).map(|_| backoff.failed(1.0)).collect();
        assert_eq!(pauses[0], FIRST);
        assert_eq!(pauses[1], FIRST * 2);
        assert_eq!(pauses[9], LONGEST);
    }

    #[test]
    fn jitter_halves_a_pause_at_most() {
        assert_eq!(Backoff::default().failed(0.0), FIRST / 2);
        assert_eq!(Backoff::default().failed(7.0), FIRST);
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = Backoff::default();
        backoff.failed(1.0);
        backoff.failed(1.0);
        backoff.succeeded();
        assert_eq!(backoff.failed(1.0), FIRST);
    }
}
