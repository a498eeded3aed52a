//! The circuit breaker: decides from recent failures whether requests are sent to a server.

use std::time::{Duration, Instant};

use crate::words;

/// Pieces that the sampling window is made of: what was counted is forgotten piece by piece.
const PIECES: usize = 10;
/// A breaker that has just opened stays so for this long, whatever sign of life comes.
const SHORTEST_BREAK: Duration = Duration::from_millis(100);

/// When the breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// It opens when so large a part of the window's requests failed, from above 0 to 1.
    pub failure_ratio: f64,
    /// With fewer requests in the window it does not open.
    pub throughput_min: u32,
    /// Over which requests are counted.
    pub sampling: Duration,
    /// The longest time between opening and the next probe.
    pub longest_break: Duration,
}

words! {
    /// The state of the breaker.
    State {
        /// Requests pass.
        Closed = "closed",
        /// Requests are refused.
        Open = "open",
        /// Requests are refused until the probe that is under way has shown what the server does.
        HalfOpen = "half_open",
    }
}

/// What was seen of the server since the last time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Replies that came in time and are no state error.
    pub answered: u32,
    /// Connections lost or refused, requests that timed out or waited in vain, state errors.
    pub failed: u32,
    /// A connection was opened, or something came in on one.
    pub alive: bool,
}

/// ```text
///   Closed -- enough requests, too many failures --> Open
///   Open ---- its time is over, or a sign of life --> HalfOpen (one probe)
///   HalfOpen -- the probe is answered --> Closed
///   HalfOpen -- the probe fails --------> Open
/// ```
#[derive(Debug)]
pub struct Breaker {
    thresholds: Thresholds,
    phase: Phase,
    window: Window,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed,
    Open { since: Instant, alive: bool },
    HalfOpen { since: Instant },
}

impl Breaker {
    /// A closed breaker that has seen nothing yet.
    pub fn new(thresholds: Thresholds, now: Instant) -> Breaker {
        Breaker { thresholds, phase: Phase::Closed, window: Window::new(thresholds.sampling, now) }
    }

    /// Its state.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Counts what was seen. What comes in while the breaker is open tells only that the server is alive.
    pub fn record(&mut self, sample: Sample, now: Instant) {
        match &mut self.phase {
            Phase::Closed => {
                self.window.add(sample, now);
                // A sample without failures never opens, however bad the window is.
                if sample.failed > 0 && self.window.is_bad(&self.thresholds) {
                    self.open(now);
                }
            }
            Phase::Open { alive, .. } => *alive |= sample.alive || sample.answered > 0,
            Phase::HalfOpen { .. } => {}
        }
    }

    /// True when the caller is to send a probe now and to tell `conclude` what came of it.
    ///
    /// A probe of which nothing was heard for the longest break is given up.
    pub fn begin_probe(&mut self, now: Instant) -> bool {
        let due = match self.phase {
            Phase::Closed => false,
            Phase::Open { since, alive } => {
                let pause = if alive { SHORTEST_BREAK.min(self.thresholds.longest_break) } else { self.thresholds.longest_break };
                now.saturating_duration_since(since) >= pause
            }
            Phase::HalfOpen { since } => now.saturating_duration_since(since) >= self.thresholds.longest_break,
        };
        if due {
            self.phase = Phase::HalfOpen { since: now };
        }
        due
    }

    /// The probe was answered as by a server that serves, or not.
    pub fn conclude(&mut self, served: bool, now: Instant) {
        match (self.phase, served) {
            (Phase::HalfOpen { .. }, true) => {
                self.phase = Phase::Closed;
                self.window = Window::new(self.thresholds.sampling, now);
            }
            (Phase::HalfOpen { .. }, false) => self.open(now),
            // It was given up before, and another one has told.
            (Phase::Closed | Phase::Open { .. }, _) => {}
        }
    }

    /// Another server is used from now on: observations of the previous one no longer count.
    pub fn forget(&mut self, now: Instant) {
        *self = Breaker::new(self.thresholds, now);
    }

    fn open(&mut self, now: Instant) {
        self.phase = Phase::Open { since: now, alive: false };
    }
}

/// Requests of the last while, in pieces by age.
#[derive(Debug)]
struct Window {
    piece: Duration,
    /// When the newest piece began.
    start: Instant,
    newest: usize,
    pieces: [(u64, u64); PIECES],
}

impl Window {
    fn new(sampling: Duration, now: Instant) -> Window {
        let piece = (sampling / u32::try_from(PIECES).unwrap_or(1)).max(Duration::from_millis(1));
        Window { piece, start: now, newest: 0, pieces: [(0, 0); PIECES] }
    }

    fn add(&mut self, sample: Sample, now: Instant) {
        let mut passed = 0;
        while now.saturating_duration_since(self.start) >= self.piece && passed < PIECES {
            self.start += self.piece;
            self.newest = (self.newest + 1) % PIECES;
            self.pieces[self.newest] = (0, 0);
            passed += 1;
        }
        if passed == PIECES {
            self.start = now;
        }
        let (answered, failed) = &mut self.pieces[self.newest];
        *answered += u64::from(sample.answered);
        *failed += u64::from(sample.failed);
    }

    fn is_bad(&self, thresholds: &Thresholds) -> bool {
        let (answered, failed) = self.pieces.iter().fold((0, 0), |sum, piece| (sum.0 + piece.0, sum.1 + piece.1));
        let all = answered + failed;
        // Far below the 2^53 that a float holds exactly.
        all >= u64::from(thresholds.throughput_min) && failed as f64 >= all as f64 * thresholds.failure_ratio
    }
}

/// True for errors that say that the server serves no requests now, through no fault of the client.
pub fn is_state_error(reply: &[u8]) -> bool {
    [&b"-LOADING "[..], b"-MASTERDOWN ", b"-BUSY ", b"-CLUSTERDOWN "].iter().any(|word| reply.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        failure_ratio: 0.5,
        throughput_min: 5,
        sampling: Duration::from_secs(60),
        longest_break: Duration::from_secs(30),
    };

    fn at(ms: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_millis(ms)
    }

    fn sample(answered: u32, failed: u32) -> Sample {
        Sample { answered, failed, alive: false }
    }

    fn after(samples: &[(u32, u32, u64)]) -> Breaker {
        let mut breaker = Breaker::new(THRESHOLDS, at(0));
        for (answered, failed, ms) in samples {
            breaker.record(sample(*answered, *failed), at(*ms));
        }
        breaker
    }

    #[test]
    fn it_opens_at_the_ratio_and_not_below() {
        assert_eq!(after(&[(5, 0, 0), (0, 4, 1)]).state(), State::Closed);
        assert_eq!(after(&[(5, 0, 0), (0, 5, 1)]).state(), State::Open);
    }

    #[test]
    fn fewer_requests_than_the_least_never_open_it() {
        assert_eq!(after(&[(0, 4, 0)]).state(), State::Closed);
        assert_eq!(after(&[(0, 4, 0), (0, 1, 1)]).state(), State::Open);
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        assert_eq!(after(&[(0, 4, 0), (0, 1, 53_999)]).state(), State::Open);
        assert_eq!(after(&[(0, 4, 0), (0, 1, 60_000)]).state(), State::Closed);
        assert_eq!(after(&[(100, 0, 0), (0, 5, 3_600_000)]).state(), State::Open, "after a long silence too");
    }

    #[test]
    fn successes_alone_never_open_it() {
        assert_eq!(after(&[(0, 4, 0), (1, 0, 1)]).state(), State::Closed);
    }

    #[test]
    fn one_probe_is_sent_when_the_break_is_over() {
        let mut breaker = after(&[(0, 5, 0)]);
        assert!(!breaker.begin_probe(at(29_999)));
        assert!(breaker.begin_probe(at(30_000)));
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(!breaker.begin_probe(at(30_001)), "one is enough");
        assert!(breaker.begin_probe(at(60_000)), "unless nothing is ever heard of it");
    }

    #[test]
    fn a_sign_of_life_brings_the_probe_forward() {
        let mut breaker = after(&[(0, 5, 0)]);
        breaker.record(Sample { alive: true, ..Sample::default() }, at(1));
        assert!(!breaker.begin_probe(at(99)), "but not at once");
        assert!(breaker.begin_probe(at(100)));
    }

    #[test]
    fn failures_are_no_sign_of_life() {
        let mut breaker = after(&[(0, 5, 0), (0, 5, 50)]);
        assert!(!breaker.begin_probe(at(1000)));
    }

    #[test]
    fn an_answered_probe_closes_it_and_forgets_the_failures() {
        let mut breaker = after(&[(0, 5, 0)]);
        assert!(breaker.begin_probe(at(30_000)));
        breaker.conclude(true, at(30_001));
        assert_eq!(breaker.state(), State::Closed);
        breaker.record(sample(0, 4), at(30_002));
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_another_break() {
        let mut breaker = after(&[(0, 5, 0)]);
        assert!(breaker.begin_probe(at(30_000)));
        breaker.conclude(false, at(31_000));
        assert_eq!(breaker.state(), State::Open);
        assert!(!breaker.begin_probe(at(60_999)));
        assert!(breaker.begin_probe(at(61_000)));
    }

    #[test]
    fn a_users_error_is_no_state() {
        assert!(is_state_error(b"-LOADING Redis is loading the dataset in memory\r\n"));
        for reply in ["-WRONGTYPE x\r\n", "-ERR x\r\n", "-BUSYGROUP x\r\n", "-READONLY x\r\n", "-OOM x\r\n", "+LOADING \r\n"] {
            assert!(!is_state_error(reply.as_bytes()), "{reply}");
        }
    }
}
