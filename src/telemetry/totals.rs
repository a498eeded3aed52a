//! The sums over all workers, for readers within the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::gap;
use super::label::{GroupOutcome, HoldOutcome, RequestClass, UpstreamState};
use super::latency::{LatencyTotals, Snapshot};

/// Workers add to it when they flush.
#[derive(Debug, Default)]
pub struct Totals {
    pub latencies: [LatencyTotals; RequestClass::ALL.len()],
    groups: Mutex<BTreeMap<Arc<str>, GroupTotals>>,
    upstream: [AtomicI64; UpstreamState::ALL.len()],
    workers: Mutex<BTreeMap<usize, WorkerLoad>>,
}

/// How much one worker has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerLoad {
    /// Time since the start in which it did not wait.
    pub busy: Duration,
    pub clients: usize,
}

/// The outcomes of one group since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupTotals {
    pub outcomes: [u64; GroupOutcome::ALL.len()],
    pub holds: [u64; HoldOutcome::ALL.len()],
    /// How long its rest was waited for, each time that more came.
    pub gaps: gap::Counts,
    /// How long they took.
    pub latency: Snapshot,
    /// When a worker last told something of it, which it does every second.
    pub last_seen: Option<SystemTime>,
}

impl GroupTotals {
    /// How often it came to this.
    pub fn outcome(&self, outcome: GroupOutcome) -> u64 {
        self.outcomes[outcome.index()]
    }

    /// How often waiting for its rest came to this.
    pub fn hold(&self, outcome: HoldOutcome) -> u64 {
        self.holds[outcome.index()]
    }
}

impl Totals {
    /// Adds the outcome of a group.
    pub fn add_group(&self, name: &Arc<str>, outcome: GroupOutcome, count: u64) {
        self.change(name, |totals| totals.outcomes[outcome.index()] += count);
    }

    /// Adds what came of waiting for its rest.
    pub fn add_hold(&self, name: &Arc<str>, outcome: HoldOutcome, count: u64) {
        self.change(name, |totals| totals.holds[outcome.index()] += count);
    }

    /// Adds how long its rest was waited for.
    pub fn add_gaps(&self, name: &Arc<str>, counts: gap::Counts) {
        self.change(name, |totals| totals.gaps.iter_mut().zip(counts).for_each(|(total, count)| *total += count));
    }

    /// Adds how long some took.
    pub fn add_group_latency(&self, name: &Arc<str>, seen: &Snapshot) {
        self.change(name, |totals| totals.latency.add(seen));
    }

    /// These groups are in force: there is something to show of them, be it nothing.
    pub fn name_groups(&self, names: &[Arc<str>]) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            groups.entry(Arc::clone(name)).or_default();
        }
    }

    /// How long all requests took.
    pub fn all_latencies(&self) -> Snapshot {
        let mut all = Snapshot::default();
        self.latencies.iter().for_each(|totals| all.add(&totals.snapshot()));
        all
    }

    /// Some connections to the upstream have changed their state.
    pub fn shift_upstream(&self, state: UpstreamState, by: i64) {
        self.upstream[state.index()].fetch_add(by, Ordering::Relaxed);
    }

    /// Every group of which something was counted, by name.
    pub fn groups(&self) -> BTreeMap<Arc<str>, GroupTotals> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the load of a worker.
    pub fn set_worker(&self, number: usize, load: WorkerLoad) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).insert(number, load);
    }

    /// The latest load of each worker, by number.
    pub fn workers(&self) -> BTreeMap<usize, WorkerLoad> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections to the upstream in this state.
    pub fn upstream(&self, state: UpstreamState) -> i64 {
        self.upstream[state.index()].load(Ordering::Relaxed)
    }

    fn change(&self, name: &Arc<str>, change: impl FnOnce(&mut GroupTotals)) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = groups.entry(Arc::clone(name)).or_default();
        change(totals);
        totals.last_seen = Some(SystemTime::now());
    }
}
