//! The last hour, minute by minute: requests and their latency, violations, and seconds without a server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::latency::Snapshot;
use super::record::unix_ms;
use respguard_engine::pipeline::violation::{Kind, Violation};

/// Minutes that are kept, the one under way among them.
pub const MINUTES: u64 = 60;

const MINUTE_MS: u64 = 60_000;

/// The last hour. Cheap to clone; takes a lock for a moment, once a second and for each violation.
#[derive(Clone, Debug, Default)]
pub struct History {
    state: Arc<Mutex<State>>,
}

/// What happened in one minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since 1970.
    pub number: u64,
    /// The requests that were answered, by their time.
    pub requests: Snapshot,
    /// Seconds that were looked at, and those of them without a server or with a breaker that was not closed.
    pub seconds: u32,
    pub seconds_down: u32,
    pub seconds_open: u32,
}

/// The count of one kind of violation of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViolationCount {
    pub kind: Kind,
    pub rule: Option<Arc<str>>,
    /// By minute since 1970; minutes without any are left out.
    pub minutes: VecDeque<(u64, u64)>,
    /// When it was last told.
    pub last: SystemTime,
}

/// The last hour at one moment.
#[derive(Clone, Debug, Default)]
pub struct Hour {
    /// The newest last; without gaps while the process was looked at.
    pub minutes: Vec<Minute>,
    pub told: Vec<ViolationCount>,
}

/// What is looked at once a second.
#[derive(Clone, Copy, Debug)]
pub struct SecondSample<'a> {
    pub at: SystemTime,
    /// The latencies of all requests since the start.
    pub requests: &'a Snapshot,
    pub is_down: bool,
    pub is_open: bool,
}

#[derive(Debug, Default)]
struct State {
    minutes: VecDeque<Minute>,
    /// All requests when the newest minute began.
    before: Snapshot,
    /// By kind and rule: as many as there are rules and kinds, at most.
    told: BTreeMap<(Kind, Option<Arc<str>>), ViolationCount>,
}

impl History {
    /// Adds a second to its minute.
    pub fn look(&self, look: SecondSample<'_>) {
        self.lock().look(look);
    }

    /// Adds a violation to its minute.
    pub fn violation(&self, violation: &Violation, at: SystemTime) {
        self.lock().violation(violation, at);
    }

    /// What is kept of the hour before `now`.
    pub fn hour(&self, now: SystemTime) -> Hour {
        let mut state = self.lock();
        state.forget(minute(now));
        Hour { minutes: state.minutes.iter().cloned().collect(), told: state.told.values().cloned().collect() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self, look: SecondSample<'_>) {
        // A clock that was put back goes on in the newest minute.
        let number = self.minutes.back().map_or(0, |newest| newest.number).max(minute(look.at));
        if self.minutes.back().is_none_or(|newest| newest.number < number) {
            // Requests of a minute that ends are those up to the last look at it.
            if let Some(ended) = self.minutes.back() {
                self.before.add(&ended.requests);
            }
            self.minutes.push_back(Minute { number, ..Minute::default() });
            self.forget(number);
        }
        let Some(newest) = self.minutes.back_mut() else { return };
        newest.requests = look.requests.since(&self.before);
        newest.seconds += 1;
        newest.seconds_down += u32::from(look.is_down);
        newest.seconds_open += u32::from(look.is_open);
    }

    fn violation(&mut self, violation: &Violation, at: SystemTime) {
        let key = (violation.kind, violation.rule.clone());
        let (kind, rule) = key.clone();
        let told = self.told.entry(key).or_insert_with(|| ViolationCount { kind, rule, minutes: VecDeque::new(), last: at });
        told.last = at;
        let number = told.minutes.back().map_or(0, |(newest, _)| *newest).max(minute(at));
        match told.minutes.back_mut() {
            Some((newest, count)) if *newest == number => *count += 1,
            _ => told.minutes.push_back((number, 1)),
        }
        told.forget(number);
    }

    fn forget(&mut self, now: u64) {
        while self.minutes.front().is_some_and(|oldest| oldest.number + MINUTES <= now) {
            self.minutes.pop_front();
        }
        self.told.values_mut().for_each(|told| told.forget(now));
        self.told.retain(|_, told| !told.minutes.is_empty());
        debug_assert!(self.minutes.len() as u64 <= MINUTES);
    }
}

impl ViolationCount {
    fn forget(&mut self, now: u64) {
        while self.minutes.front().is_some_and(|(oldest, _)| oldest + MINUTES <= now) {
            self.minutes.pop_front();
        }
        debug_assert!(self.minutes.len() as u64 <= MINUTES);
    }
}

fn minute(at: SystemTime) -> u64 {
    unix_ms(at) / MINUTE_MS
}

/// The first millisecond of a minute since 1970.
pub fn begin_ms(minute: u64) -> u64 {
    minute * MINUTE_MS
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(minute: u64, second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(minute * 60 + second)
    }

    fn look(at: SystemTime, requests: &Snapshot) -> SecondSample<'_> {
        SecondSample { at, requests, is_down: false, is_open: false }
    }

    fn requests(count: u64) -> Snapshot {
        let mut requests = Snapshot::default();
        requests.buckets[3] = count;
        requests
    }

    #[test]
    fn each_minute_has_the_requests_that_were_counted_while_it_lasted() {
        let history = History::default();
        for (minute, second, counted) in [(100, 0, 0), (100, 59, 7), (101, 0, 9), (101, 30, 12), (102, 0, 12)] {
            history.look(look(at(minute, second), &requests(counted)));
        }
        let hour = history.hour(at(102, 1));
        let counted: Vec<_> = hour.minutes.iter().map(|minute| (minute.number, minute.requests.count())).collect();
        assert_eq!(counted, [(100, 7), (101, 5), (102, 0)]);
        assert_eq!(hour.minutes.iter().map(|minute| minute.seconds).collect::<Vec<_>>(), [2, 2, 1]);
    }

    #[test]
    fn seconds_without_a_server_are_counted_in_their_minute() {
        let (history, none) = (History::default(), Snapshot::default());
        history.look(look(at(5, 0), &none));
        history.look(SecondSample { is_down: true, is_open: true, ..look(at(5, 1), &none) });
        history.look(SecondSample { is_down: true, ..look(at(6, 0), &none) });
        let hour = history.hour(at(6, 0));
        let down: Vec<_> = hour.minutes.iter().map(|minute| (minute.seconds_down, minute.seconds_open)).collect();
        assert_eq!(down, [(1, 1), (1, 0)]);
    }

    #[test]
    fn sixty_minutes_are_kept() {
        let (history, none) = (History::default(), Snapshot::default());
        for minute in 0..200 {
            history.look(look(at(minute, 0), &none));
            history.violation(&Violation::new(Kind::Split), at(minute, 0));
        }
        let hour = history.hour(at(199, 0));
        assert_eq!(hour.minutes.iter().map(|minute| minute.number).collect::<Vec<_>>(), (140..200).collect::<Vec<_>>());
        assert_eq!(hour.told[0].minutes, (140..200).map(|minute| (minute, 1)).collect::<Vec<_>>());
        let later = history.hour(at(260, 0));
        assert!(later.minutes.is_empty() && later.told.is_empty(), "what is older than an hour is forgotten");
    }

    #[test]
    fn violations_are_counted_by_kind_rule_and_minute() {
        let (history, rule) = (History::default(), Arc::from("login"));
        for (minute, second) in [(1, 0), (1, 59), (3, 0)] {
            history.violation(&Violation::new(Kind::Split).rule(&rule), at(minute, second));
        }
        history.violation(&Violation::new(Kind::Split), at(3, 1));
        let told = history.hour(at(3, 2)).told;
        assert_eq!(told.len(), 2);
        let of_rule = told.iter().find(|told| told.rule.is_some()).expect("told");
        assert_eq!((of_rule.kind, &of_rule.minutes), (Kind::Split, &VecDeque::from([(1, 2), (3, 1)])));
        assert_eq!(of_rule.last, at(3, 0));
    }

    #[test]
    fn a_clock_that_is_put_back_goes_on_in_the_newest_minute() {
        let (history, none) = (History::default(), Snapshot::default());
        history.look(look(at(10, 0), &none));
        history.look(look(at(4, 0), &none));
        history.violation(&Violation::new(Kind::Guard), at(10, 0));
        history.violation(&Violation::new(Kind::Guard), at(4, 0));
        let hour = history.hour(at(4, 0));
        assert_eq!((hour.minutes.len(), hour.minutes[0].seconds), (1, 2));
        assert_eq!(hour.told[0].minutes, [(10, 2)]);
    }
}
