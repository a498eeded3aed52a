//! Where violations go: the counter, the log, and the last thousand in memory.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use metrics::counter;
use tokio::sync::watch;

use super::durable::Sink;
use super::history::History;
use super::label::key;
use super::names;
use super::record::Record;
use respguard_engine::pipeline::violation::{Kind, Violation};

/// Violations kept in memory.
pub const KEPT_MAX: usize = 1000;
/// Log events per kind and second; the rest is counted and told with the next event of that kind.
pub const LOGGED_PER_SECOND_MAX: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);

/// Takes every violation. Cheap to clone; takes a lock for a moment, so not for the path of commands that go well.
#[derive(Clone, Debug)]
pub struct Reporter {
    state: Arc<Mutex<State>>,
    /// The number of the newest violation.
    news: watch::Sender<u64>,
    /// Counts them by the minute.
    history: History,
    /// The file that keeps them for good.
    sink: Option<Sink>,
}

/// A filter for violations.
#[derive(Clone, Debug, Default)]
pub struct ViolationFilter {
    pub kind: Option<Kind>,
    pub rule: Option<Box<str>>,
    pub since: Option<SystemTime>,
    /// Only those with a smaller number.
    pub before: Option<u64>,
    /// Only those with a greater number.
    pub after: Option<u64>,
}

impl ViolationFilter {
    fn is_met_by(&self, record: &Record) -> bool {
        self.kind.is_none_or(|kind| record.violation.kind == kind)
            && self.rule.as_deref().is_none_or(|rule| record.violation.rule.as_deref().unwrap_or_default() == rule)
            && self.since.is_none_or(|since| record.at >= since)
            && self.before.is_none_or(|before| record.sequence < before)
            && self.after.is_none_or(|after| record.sequence > after)
    }
}

/// The violations in memory at one moment.
#[derive(Clone, Debug)]
pub struct Recent {
    /// Newest first.
    pub records: Vec<Arc<Record>>,
    /// Older violations that are no longer in memory.
    pub lost: u64,
    /// All violations up to now.
    pub total: u64,
    /// As many as can be in memory.
    pub kept_max: usize,
}

impl Default for Reporter {
    fn default() -> Reporter {
        Reporter::new(KEPT_MAX)
    }
}

impl Reporter {
    /// A reporter that keeps the last `kept_max` violations.
    pub fn new(kept_max: usize) -> Reporter {
        let ring = Ring { kept: VecDeque::new(), kept_max, taken: 0 };
        let state = State { ring, windows: Default::default() };
        Reporter { state: Arc::new(Mutex::new(state)), news: watch::Sender::new(0), history: History::default(), sink: None }
    }

    /// Keeps them in a file too.
    pub fn with_file(self, sink: Sink) -> Reporter {
        Reporter { sink: Some(sink), ..self }
    }

    /// The last hour, which violations are added to.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Tells when there is a new violation.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Counts, keeps and logs a violation of the client at the address `client`.
    pub fn violation(&self, violation: Violation, client: &dyn Display) {
        count(&violation);
        let client = client.to_string().into_boxed_str();
        let (record, admitted) = self.keep(violation, client);
        match admitted {
            Admitted::Logged { suppressed } => log(&record, suppressed),
            Admitted::Suppressed => suppress(record.violation.kind),
        }
    }

    /// The newest violations, at most `limit`.
    pub fn recent(&self, limit: usize) -> Recent {
        self.select(&ViolationFilter::default(), limit)
    }

    /// The newest violations that match, at most `limit`.
    pub fn select(&self, wanted: &ViolationFilter, limit: usize) -> Recent {
        self.lock().ring.recent(wanted, limit)
    }

    fn keep(&self, violation: Violation, client: Box<str>) -> (Arc<Record>, Admitted) {
        let mut state = self.lock();
        let admitted = state.windows[violation.kind.index()].admit(Instant::now());
        let record = state.ring.push(violation, client);
        self.history.violation(&record.violation, record.at);
        // Under the lock, so that the file has them in order.
        if let Some(sink) = &self.sink {
            sink.take(&record);
        }
        self.news.send_replace(record.sequence);
        (record, admitted)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    ring: Ring,
    windows: [Window; Kind::ALL.len()],
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Arc<Record>>,
    kept_max: usize,
    taken: u64,
}

impl Ring {
    fn push(&mut self, violation: Violation, client: Box<str>) -> Arc<Record> {
        self.taken += 1;
        let record = Arc::new(Record { sequence: self.taken, at: SystemTime::now(), client, violation });
        self.kept.push_back(Arc::clone(&record));
        if self.kept.len() > self.kept_max {
            self.kept.pop_front();
        }
        debug_assert!(self.kept.len() <= self.kept_max);
        record
    }

    fn recent(&self, wanted: &ViolationFilter, limit: usize) -> Recent {
        let records = self.kept.iter().rev().filter(|record| wanted.is_met_by(record)).take(limit).cloned().collect();
        Recent { records, lost: self.taken - self.kept.len() as u64, total: self.taken, kept_max: self.kept_max }
    }
}

/// The log events of one kind in the second that began at `since`.
#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    logged: u32,
    suppressed: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Admitted {
    /// To be logged, with the number of those of its kind that were not since the last event.
    Logged {
        suppressed: u64,
    },
    Suppressed,
}

impl Window {
    fn admit(&mut self, now: Instant) -> Admitted {
        let is_over = self.since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND);
        if is_over {
            self.since = Some(now);
            self.logged = 0;
        }
        if self.logged == LOGGED_PER_SECOND_MAX {
            self.suppressed += 1;
            return Admitted::Suppressed;
        }
        self.logged += 1;
        Admitted::Logged { suppressed: std::mem::take(&mut self.suppressed) }
    }
}

fn count(violation: &Violation) {
    let rule = violation.rule.clone().unwrap_or_default();
    counter!(names::VIOLATIONS_TOTAL, key::KIND => violation.kind.as_str(), key::RULE => rule).increment(1);
}

fn suppress(kind: Kind) {
    counter!(names::VIOLATIONS_LOG_SUPPRESSED_TOTAL, key::KIND => kind.as_str()).increment(1);
}

fn log(record: &Record, suppressed: u64) {
    // A key is not for the log.
    let Violation { kind, rule, commands, place, error, key_pattern, key: _, reason } = &record.violation;
    tracing::warn!(
        target: "respguard::violation",
        kind = kind.as_str(),
        rule = rule.as_deref(),
        commands = commands.join(" "),
        place,
        error = error.as_deref(),
        client = &*record.client,
        key_pattern = key_pattern.as_deref(),
        reason = reason.as_deref(),
        sequence = record.sequence,
        suppressed = (suppressed > 0).then_some(suppressed),
        "violation"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::exposition::Exposition;

    fn sequences(recent: &Recent) -> Vec<u64> {
        recent.records.iter().map(|record| record.sequence).collect()
    }

    #[test]
    fn the_ring_keeps_its_size_and_counts_what_it_loses() {
        let reporter = Reporter::new(3);
        for _ in 0..3 {
            reporter.violation(Violation::new(Kind::Split), &"127.0.0.1:1");
        }
        let full = reporter.recent(10);
        assert_eq!((sequences(&full), full.lost), (vec![3, 2, 1], 0));

        reporter.violation(Violation::new(Kind::Guard), &"127.0.0.1:2");
        let moved_on = reporter.recent(10);
        assert_eq!((sequences(&moved_on), moved_on.lost), (vec![4, 3, 2], 1));
        assert_eq!(moved_on.records[0].violation.kind, Kind::Guard);
        assert_eq!(&*moved_on.records[0].client, "127.0.0.1:2");
        assert_eq!(sequences(&reporter.recent(1)), [4]);
    }

    #[test]
    fn only_what_is_wanted_is_given() {
        let reporter = Reporter::default();
        let rule = Arc::from("login");
        reporter.violation(Violation::new(Kind::Split).rule(&rule), &"a");
        reporter.violation(Violation::new(Kind::Aborted).rule(&rule), &"a");
        reporter.violation(Violation::new(Kind::Split), &"a");
        let given = |wanted| sequences(&reporter.select(&wanted, 10));
        assert_eq!(given(ViolationFilter { kind: Some(Kind::Split), ..ViolationFilter::default() }), [3, 1]);
        assert_eq!(given(ViolationFilter { rule: Some("login".into()), ..ViolationFilter::default() }), [2, 1]);
        assert_eq!(given(ViolationFilter { rule: Some("".into()), ..ViolationFilter::default() }), [3]);
        assert_eq!(given(ViolationFilter { before: Some(3), after: Some(1), ..ViolationFilter::default() }), [2]);
        let later = SystemTime::now() + Duration::from_secs(60);
        assert!(given(ViolationFilter { since: Some(later), ..ViolationFilter::default() }).is_empty());
        assert_eq!(*reporter.news().borrow(), 3);
    }

    #[test]
    fn a_window_admits_its_number_and_the_next_second_tells_what_was_suppressed() {
        let mut window = Window::default();
        let start = Instant::now();
        for _ in 0..LOGGED_PER_SECOND_MAX {
            assert_eq!(window.admit(start), Admitted::Logged { suppressed: 0 });
        }
        let just_before = start + SECOND - Duration::from_nanos(1);
        assert_eq!(window.admit(just_before), Admitted::Suppressed);
        assert_eq!(window.admit(just_before), Admitted::Suppressed);
        assert_eq!(window.admit(start + SECOND), Admitted::Logged { suppressed: 2 });
        assert_eq!(window.admit(start + SECOND), Admitted::Logged { suppressed: 0 });
    }

    #[test]
    fn each_violation_is_counted_even_where_its_log_event_is_suppressed() {
        let (recorder, exposition) = Exposition::build();
        let rule = Arc::from("login");
        metrics::with_local_recorder(&recorder, || {
            let reporter = Reporter::default();
            for _ in 0..LOGGED_PER_SECOND_MAX + 5 {
                reporter.violation(Violation::new(Kind::Aborted).rule(&rule), &"unix");
            }
            reporter.violation(Violation::new(Kind::PartialFailure), &"unix");
        });
        let text = exposition.render();
        let wanted = "respguard_violations_total{kind=\"aborted\",rule=\"login\"} 15\n";
        assert!(text.contains(wanted), "{text}");
        let wanted = "respguard_violations_total{kind=\"partial_failure\",rule=\"\"} 1\n";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("respguard_violations_log_suppressed_total{kind=\"aborted\"}"));
    }
}
