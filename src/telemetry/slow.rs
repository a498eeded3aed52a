//! Slow requests, kept for display: whose they were, and where the time went.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Requests kept in memory.
pub const KEPT_MAX: usize = 256;
/// Beyond this number per second they are only counted.
pub const KEPT_PER_SECOND_MAX: u32 = 100;

const SECOND: Duration = Duration::from_secs(1);

/// Takes requests that took long. Cheap to clone; takes a lock for a moment, so only for those.
#[derive(Clone, Debug)]
pub struct SlowLog {
    /// What takes so long is taken; `None`: nothing is.
    threshold: Option<Duration>,
    ring: Arc<Mutex<Ring>>,
}

/// Whose request it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestOwner {
    pub id: u64,
    pub address: Box<str>,
    pub name: Box<str>,
    pub library: Box<str>,
    pub user: Box<str>,
    /// The command that it is to be answered next.
    pub command: Box<str>,
}

/// Where the time went, from the reading of the request to its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// In respguard, before it was written to the server.
    pub proxy: Duration,
    /// On the connection, behind replies to what was written before it.
    pub behind: Duration,
    /// Until the server answered.
    pub server: Duration,
}

/// One request that took long.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Counts those of this process from 1.
    pub sequence: u64,
    pub at: SystemTime,
    pub request_owner: RequestOwner,
    /// The command; of a transaction all of them.
    pub command: Box<str>,
    /// What its first key begins with, the rest as `*`.
    pub key_pattern: Option<Box<str>>,
    pub waited: Timings,
    /// It was answered -TIMEOUT.
    pub timed_out: bool,
    /// Requests behind it on its connection that took long because of it.
    pub delayed: u64,
}

/// Those in memory at one moment.
#[derive(Clone, Debug)]
pub struct Recent {
    /// Newest first.
    pub slow: Vec<Slow>,
    pub total: u64,
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Slow>,
    total: u64,
    /// Of the second that began then.
    since: Option<Instant>,
    taken: u32,
}

impl SlowLog {
    /// A log of requests that take at least this long.
    pub fn new(threshold: Option<Duration>) -> SlowLog {
        SlowLog { threshold, ring: Arc::default() }
    }

    /// The time from which a request is slow.
    pub fn threshold(&self) -> Option<Duration> {
        self.threshold
    }

    /// Whether this time is slow.
    pub fn is_slow(&self, time: Duration) -> bool {
        self.threshold.is_some_and(|threshold| time >= threshold)
    }

    /// Takes one, and numbers it.
    pub fn take(&self, mut slow: Slow) -> u64 {
        let mut ring = self.lock();
        ring.total += 1;
        slow.sequence = ring.total;
        let now = Instant::now();
        if ring.since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND) {
            (ring.since, ring.taken) = (Some(now), 0);
        }
        if ring.taken < KEPT_PER_SECOND_MAX {
            ring.taken += 1;
            ring.kept.push_back(slow);
            if ring.kept.len() > KEPT_MAX {
                ring.kept.pop_front();
            }
        }
        ring.total
    }

    /// One more took long because of this one.
    pub fn delay(&self, sequence: u64) {
        let mut ring = self.lock();
        if let Some(slow) = ring.kept.iter_mut().rev().find(|slow| slow.sequence == sequence) {
            slow.delayed += 1;
        }
    }

    /// The newest that match, at most `limit`.
    pub fn recent(&self, limit: usize, is_wanted: impl Fn(&Slow) -> bool) -> Recent {
        let ring = self.lock();
        let slow = ring.kept.iter().rev().filter(|slow| is_wanted(slow)).take(limit).cloned().collect();
        Recent { slow, total: ring.total }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timings {
    /// Of a request that was read, written and could be answered at these times, and is answered now.
    pub fn between(read_at: Instant, written_at: Instant, free_at: Instant, now: Instant) -> Timings {
        let free_at = free_at.max(written_at);
        Timings {
            proxy: written_at.saturating_duration_since(read_at),
            behind: free_at.saturating_duration_since(written_at),
            server: now.saturating_duration_since(free_at),
        }
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        self.proxy + self.behind + self.server
    }
}

impl Default for SlowLog {
    fn default() -> SlowLog {
        SlowLog::new(None)
    }
}

/// What is shown of a key: its first part, where that is a plain word with a separator behind it.
pub fn key_pattern(key: &[u8]) -> Box<str> {
    let is_word = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-');
    let word = key.iter().take_while(|byte| is_word(byte)).count();
    match key.get(word) {
        Some(b':' | b'/' | b'.' | b'|') if (1..=32).contains(&word) => {
            format!("{}*", String::from_utf8_lossy(&key[..=word])).into_boxed_str()
        }
        _ => "*".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(command: &str) -> Slow {
        Slow {
            sequence: 0,
            at: SystemTime::now(),
            request_owner: RequestOwner::default(),
            command: command.into(),
            key_pattern: None,
            waited: Timings::default(),
            timed_out: false,
            delayed: 0,
        }
    }

    #[test]
    fn only_so_many_a_second_are_kept_and_all_are_counted() {
        let log = SlowLog::new(Some(Duration::ZERO));
        for _ in 0..KEPT_PER_SECOND_MAX + 5 {
            log.take(slow("keys"));
        }
        let recent = log.recent(1000, |_| true);
        assert_eq!(recent.total, u64::from(KEPT_PER_SECOND_MAX + 5));
        assert!(recent.slow.len() >= KEPT_PER_SECOND_MAX as usize);
        assert!(recent.slow.windows(2).all(|pair| pair[0].sequence > pair[1].sequence));
    }

    #[test]
    fn who_is_delayed_counts_with_the_one_that_delays() {
        let log = SlowLog::new(Some(Duration::ZERO));
        let (first, second) = (log.take(slow("keys")), log.take(slow("sort")));
        [first, first, second, 99].into_iter().for_each(|sequence| log.delay(sequence));
        let delayed: Vec<_> = log.recent(9, |_| true).slow.iter().map(|slow| slow.delayed).collect();
        assert_eq!(delayed, [1, 2]);
        assert_eq!(log.recent(9, |slow| &*slow.command == "sort").slow.len(), 1);
    }

    #[test]
    fn a_request_waits_for_the_proxy_for_those_before_it_and_for_the_server() {
        let read = Instant::now();
        let at = |ms| read + Duration::from_millis(ms);
        let waited = Timings::between(read, at(2), at(7), at(10));
        assert_eq!([waited.proxy, waited.behind, waited.server].map(|time| time.as_millis()), [2, 5, 3]);
        let alone = Timings::between(read, at(2), at(1), at(10));
        assert_eq!([alone.proxy, alone.behind, alone.server].map(|time| time.as_millis()), [2, 0, 8]);
        assert_eq!(alone.total(), Duration::from_millis(10));
    }

    #[test]
    fn of_a_key_only_its_first_word_is_shown() {
        for (key, pattern) in [
            ("sess:42:cart", "sess:*"),
            ("rate-limit/10.0.0.1", "rate-limit/*"),
            ("alice", "*"),
            ("42:sess", "*"),
            ("a@b.c:x", "*"),
            (":x", "*"),
            ("", "*"),
        ] {
            assert_eq!(&*key_pattern(key.as_bytes()), pattern, "{key}");
        }
        assert_eq!(&*key_pattern(&[b'a'; 99]), "*");
    }
}
