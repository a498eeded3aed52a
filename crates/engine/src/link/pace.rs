//! Limits the rate of the proxy's own questions, and pauses them while the server gets slower.

use std::time::{Duration, Instant};

/// What may be asked at once behind a pause: so much of a second's allowance.
const BURST: f64 = 0.05;
/// Answers count as slower when they take so many times as long as usual, and so much beside.
const RISE: u32 = 3;
const RISE_LEAST: Duration = Duration::from_millis(5);
/// How much one answer moves what is usual, where it is slower.
const USUAL_SHARE: u32 = 32;
/// How much it moves what is recent.
const RECENT_SHARE: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A token bucket, and a measure of how quickly the server answers.
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    /// Below zero: what has been asked beyond the allowance.
    tokens: f64,
    since: Option<Instant>,
    usual: Option<Duration>,
    recent: Duration,
    pause: Duration,
}

impl Pace {
    /// So many things a second.
    pub fn new(per_second: u32) -> Pace {
        let per_second = f64::from(per_second.max(1));
        let (recent, pause) = (Duration::ZERO, Duration::ZERO);
        Pace { per_second, tokens: per_second * BURST, since: None, usual: None, recent, pause }
    }

    /// How many questions to send at once.
    pub fn batch(&self) -> usize {
        ((self.per_second * BURST) as usize).clamp(1, 100)
    }

    /// How long to wait before checking this many things, which are then counted.
    pub fn take(&mut self, things: f64, now: Instant) -> Duration {
        let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.since = Some(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_second).min(self.per_second * BURST) - things;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / self.per_second) }
    }

    /// Records how long an answer took; returns how long to pause.
    pub fn answered(&mut self, took: Duration) -> Duration {
        let usual = self.usual.unwrap_or(took);
        self.recent = match self.usual {
            Some(_) => moved(self.recent, took, RECENT_SHARE),
            None => took,
        };
        let rises = self.recent > usual * RISE + RISE_LEAST;
        self.usual = Some(if took < usual { moved(usual, took, RECENT_SHARE) } else { moved(usual, took, USUAL_SHARE) });
        self.pause = if rises { (self.pause * 2).clamp(PAUSE, PAUSE_MAX) } else { Duration::ZERO };
        self.pause
    }
}

fn moved(from: Duration, to: Duration, share: u32) -> Duration {
    (from * (share - 1) + to) / share
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn no_more_is_taken_in_a_second_than_is_allowed() {
        let start = Instant::now();
        let mut pace = Pace::new(1000);
        let (mut now, mut taken) = (start, 0.0);
        while now < start + Duration::from_secs(10) {
            now += pace.take(30.0, now);
            taken += 30.0;
        }
        assert!((9_900.0..=10_100.0).contains(&taken), "{taken}");
        assert_eq!(pace.batch(), 50);
    }

    #[test]
    fn a_long_silence_saves_up_no_more_than_a_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(1000);
        assert_eq!(pace.take(0.0, start), Duration::ZERO);
        let later = start + Duration::from_secs(3600);
        assert_eq!(pace.take(50.0, later), Duration::ZERO);
        assert_eq!(pace.take(100.0, later), 100 * MS);
    }

    #[test]
    fn a_pause_begins_when_answers_get_slow_grows_and_ends_with_it() {
        let mut pace = Pace::new(1000);
        (0..100).for_each(|_| assert_eq!(pace.answered(MS), Duration::ZERO));
        let slow: Vec<_> = (0..8).map(|_| pace.answered(60 * MS)).collect();
        assert_eq!(slow[..4], [PAUSE, PAUSE * 2, PAUSE * 4, PAUSE * 8], "{slow:?}");
        assert!(slow.iter().all(|pause| *pause <= PAUSE_MAX));
        let calm = (0..20).map(|_| pace.answered(MS)).position(|pause| pause.is_zero());
        assert!(calm.is_some_and(|answers| answers < 20), "{calm:?}");
    }

    #[test]
    fn one_slow_answer_among_many_or_a_slow_server_from_the_start_is_no_rise() {
        let mut pace = Pace::new(10);
        (0..100).for_each(|_| assert_eq!(pace.answered(50 * MS), Duration::ZERO));
        assert_eq!(pace.answered(200 * MS), Duration::ZERO);
        assert_eq!(Pace::new(1).batch(), 1);
    }
}
