//! One worker's counters: plain cells on the hot path, flushed periodically into the shared recorder.

mod commands;
mod meter;
mod rest;
mod rows;

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, counter, gauge, histogram};

use super::gap::Gaps;
use super::label::{
    Admission, Direction, EarlyClose, FailureScope, GroupOutcome, HoldOutcome, KillOutcome, RequestClass, ResolutionOutcome,
    RestEndpoint, RetryKind, Side, TtlOutcome, UpstreamState, key,
};
use super::latency::{GroupLatencies, Latencies};
use super::names;
use super::totals::{Totals, WorkerLoad};
pub use commands::OTHER;

use commands::Commands;
use meter::{Level, Meter};
use rest::RestRequests;
use rows::Rows;

/// What one worker has counted since the last flush. Counting costs an addition: no atomics, no lock, no clock, no allocation.
///
/// Dropping it flushes it.
#[derive(Debug)]
pub struct WorkerMetrics {
    commands: Commands,
    latencies: [Latencies; RequestClass::ALL.len()],
    totals: Arc<Totals>,
    bytes: [[Meter; Direction::ALL.len()]; Side::ALL.len()],
    admissions: [Meter; Admission::ALL.len()],
    clients: Level,
    upstream: [Level; UpstreamState::ALL.len()],
    failures: [Meter; FailureScope::ALL.len()],
    timeouts: Meter,
    out_of_sync: Meter,
    reconnects: Meter,
    refused: Meter,
    panics: Meter,
    resolutions: [Meter; ResolutionOutcome::ALL.len()],
    early_closes: [Meter; EarlyClose::ALL.len()],
    retries: [Meter; RetryKind::ALL.len()],
    retries_refused: [Meter; RetryKind::ALL.len()],
    kills: [Meter; KillOutcome::ALL.len()],
    kept: Level,
    /// How many of them the level has been told of.
    kept_told: Cell<i64>,
    groups: RefCell<Rows<{ GroupOutcome::ALL.len() }>>,
    holds: RefCell<Rows<{ HoldOutcome::ALL.len() }>>,
    gaps: RefCell<Gaps>,
    group_latencies: RefCell<GroupLatencies>,
    ttl_checks: RefCell<Rows<{ TtlOutcome::ALL.len() }>>,
    /// The row of each group in force.
    group_rows: RefCell<Vec<usize>>,
    /// Where there is a REST front.
    rest: OnceCell<RestRequests>,
}

impl WorkerMetrics {
    /// metrics at zero, in a process whose recorder is installed.
    ///
    /// `command_names` are the labels by command index; index [`OTHER`] stands for what has no name.
    /// The totals are those of the [`super::exposition::Exposition`] that will show them.
    pub fn new(command_names: &[Arc<str>], totals: Arc<Totals>) -> WorkerMetrics {
        WorkerMetrics {
            commands: Commands::new(command_names),
            latencies: Default::default(),
            totals,
            bytes: Side::ALL.map(|side| {
                Direction::ALL.map(|direction| {
                    Meter::at_zero(counter!(names::BYTES_TOTAL,
                        key::SIDE => side.as_str(), key::DIRECTION => direction.as_str()))
                })
            }),
            admissions: Admission::ALL
                .map(|outcome| Meter::at_zero(counter!(names::CLIENT_CONNECTIONS_TOTAL, key::OUTCOME => outcome.as_str()))),
            clients: Level::at_zero(gauge!(names::CLIENTS)),
            upstream: UpstreamState::ALL
                .map(|state| Level::at_zero(gauge!(names::UPSTREAM_CONNECTIONS, key::STATE => state.as_str()))),
            failures: FailureScope::ALL
                .map(|scope| Meter::at_zero(counter!(names::PARTIAL_FAILURES_TOTAL, key::WHERE => scope.as_str()))),
            timeouts: Meter::at_zero(counter!(names::TIMEOUTS_TOTAL)),
            out_of_sync: Meter::at_zero(counter!(names::OUT_OF_SYNC_TOTAL)),
            reconnects: Meter::at_zero(counter!(names::UPSTREAM_RECONNECTS_TOTAL)),
            panics: Meter::at_zero(counter!(names::PANICS_TOTAL)),
            refused: Meter::at_zero(counter!(names::BREAKER_REFUSED_TOTAL)),
            resolutions: ResolutionOutcome::ALL
                .map(|outcome| Meter::at_zero(counter!(names::RESOLUTIONS_TOTAL, key::OUTCOME => outcome.as_str()))),
            early_closes: EarlyClose::ALL
                .map(|why| Meter::at_zero(counter!(names::CLIENTS_CLOSED_TOTAL, key::REASON => why.as_str()))),
            retries: RetryKind::ALL.map(|kind| Meter::at_zero(counter!(names::RETRIES_TOTAL, key::KIND => kind.as_str()))),
            retries_refused: RetryKind::ALL
                .map(|kind| Meter::at_zero(counter!(names::RETRIES_REFUSED_TOTAL, key::KIND => kind.as_str()))),
            kills: KillOutcome::ALL
                .map(|outcome| Meter::at_zero(counter!(names::UPSTREAM_KILLS_TOTAL, key::OUTCOME => outcome.as_str()))),
            kept: Level::at_zero(gauge!(names::KEPT_BYTES)),
            kept_told: Cell::new(0),
            groups: RefCell::default(),
            holds: RefCell::default(),
            gaps: RefCell::default(),
            group_latencies: RefCell::default(),
            ttl_checks: RefCell::default(),
            group_rows: RefCell::default(),
            rest: OnceCell::new(),
        }
    }

    /// Counts a command by its index; one beyond the table is [`OTHER`].
    pub fn command(&self, index: usize) {
        self.commands(index, 1);
    }

    /// Counts so many of it.
    pub fn commands(&self, index: usize, requests: usize) {
        self.commands.add(index, requests as u64);
    }

    /// Counts `n` requests of one class that took `elapsed` each.
    pub fn observe_request(&self, class: RequestClass, elapsed: Duration, n: u32) {
        self.latencies[class.index()].observe(elapsed, n);
    }

    /// Counts how long a group took, by its row.
    pub fn observe_group(&self, row: usize, elapsed: Duration) {
        self.group_latencies.borrow().observe(row, elapsed);
    }

    /// Counts bytes read or written on one side.
    pub fn add_bytes(&self, side: Side, direction: Direction, bytes: usize) {
        self.bytes[side.index()][direction.index()].add(bytes as u64);
    }

    /// Counts `n` requests answered `-TIMEOUT`.
    pub fn add_timeouts(&self, n: u32) {
        self.timeouts.add(u64::from(n));
    }

    /// Counts an upstream reply that nobody awaited.
    pub fn out_of_sync(&self) {
        self.out_of_sync.add(1);
    }

    /// Counts an attempt to replace a lost upstream connection.
    pub fn upstream_reconnect(&self) {
        self.reconnects.add(1);
    }

    /// Counts a task that panicked.
    pub fn panicked(&self) {
        self.panics.add(1);
    }

    /// Counts `n` requests that the breaker refused.
    pub fn add_refused(&self, n: u32) {
        self.refused.add(u64::from(n));
    }

    /// Counts what was found out about a group whose connection was lost.
    pub fn resolution(&self, outcome: ResolutionOutcome) {
        self.resolutions[outcome.index()].add(1);
    }

    /// Counts a client that was closed for what would have had to be kept for it.
    pub fn closed_early(&self, why: EarlyClose) {
        self.early_closes[why.index()].add(1);
    }

    /// Counts `n` requests that were sent once more.
    pub fn retried(&self, kind: RetryKind, n: u32) {
        self.retries[kind.index()].add(u64::from(n));
    }

    /// Counts `n` requests that the budget did not let be sent once more.
    pub fn retry_refused(&self, kind: RetryKind, n: u32) {
        self.retries_refused[kind.index()].add(u64::from(n));
    }

    /// Counts what came of ending a connection that was lost.
    pub fn killed(&self, outcome: KillOutcome) {
        self.kills[outcome.index()].add(1);
    }

    /// So many bytes are kept for this worker's clients now.
    pub fn kept_bytes(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.kept.shift(bytes - self.kept_told.replace(bytes));
    }

    /// Counts something of which some commands failed and others did not.
    pub fn partial_failure(&self, scope: FailureScope) {
        self.failures[scope.index()].add(1);
    }

    /// A client was taken in.
    pub fn client_accepted(&self) {
        self.admissions[Admission::Accepted.index()].add(1);
        self.clients.shift(1);
    }

    /// A client that had been accepted is gone.
    pub fn client_closed(&self) {
        self.clients.shift(-1);
    }

    /// An upstream connection passes from one state to another; `None` is before its birth and after its end.
    pub fn upstream_moved(&self, from: Option<UpstreamState>, to: Option<UpstreamState>) {
        if let Some(state) = from {
            self.upstream[state.index()].shift(-1);
        }
        if let Some(state) = to {
            self.upstream[state.index()].shift(1);
        }
    }

    /// Names the groups and TTL rules in force, in the order of their places. A name keeps its row for good: what is
    /// still under way when the rules change is counted under the name that it had.
    pub fn rename_rules(&self, groups: &[Arc<str>], ttl_rules: &[Arc<str>]) {
        self.group_rows.replace(self.groups.borrow_mut().rows_of(groups));
        self.holds.borrow_mut().rows_of(groups);
        self.gaps.borrow_mut().name(groups);
        self.group_latencies.borrow_mut().name(groups);
        self.totals.name_groups(groups);
        self.ttl_checks.borrow_mut().rows_of(ttl_rules);
        self.groups.borrow().show(group_counter);
        self.holds.borrow().show(hold_counter);
        self.ttl_checks.borrow().show(ttl_counter);
    }

    /// The row of the group at this place among those in force.
    pub fn group_row(&self, place: usize) -> usize {
        self.group_rows.borrow().get(place).copied().unwrap_or(usize::MAX)
    }

    /// The row of the TTL rule of this name.
    pub fn ttl_row(&self, name: &str) -> usize {
        self.ttl_checks.borrow().row_of(name).unwrap_or(usize::MAX)
    }

    /// Counts the outcome of a group, by its row. A group that was never named is not counted.
    pub fn group(&self, row: usize, outcome: GroupOutcome) {
        self.groups.borrow().add(row, outcome.index());
    }

    /// Counts what came of waiting for the rest of a group, by its row.
    pub fn hold(&self, row: usize, outcome: HoldOutcome) {
        self.holds.borrow().add(row, outcome.index());
    }

    /// Counts the members of a group that began to wait for the rest.
    pub fn hold_prefix(&self, members: usize) {
        histogram!(names::HOLD_PREFIX_MEMBERS).record(members as f64);
    }

    /// Counts how long the rest of a group was waited for before more came.
    pub fn hold_gap(&self, gap: Duration) {
        histogram!(names::HOLD_GAP_SECONDS).record(gap);
    }

    /// Likewise, of one group, by its row.
    pub fn group_gap(&self, row: usize, gap: Duration) {
        self.gaps.borrow().observe(row, gap);
    }

    /// Counts the members that had come of a group that passed split.
    pub fn split(&self, members: usize) {
        histogram!(names::SPLIT_MEMBERS).record(members as f64);
    }

    /// Counts what a look at a TTL found, by its rule's row. A rule that was never named is not counted.
    pub fn ttl_check(&self, row: usize, outcome: TtlOutcome) {
        self.ttl_checks.borrow().add(row, outcome.index());
    }

    /// There is a REST front: what is counted of it is in the output from now on.
    pub fn show_rest(&self) {
        self.rest.get_or_init(RestRequests::at_zero);
    }

    /// Counts a REST request by the HTTP status that it is answered.
    pub fn rest_request(&self, endpoint: RestEndpoint, status: u16, elapsed: Duration) {
        self.rest.get_or_init(RestRequests::at_zero).add(endpoint, status, elapsed);
    }

    /// Counts a REST request that its client marked as sent again.
    pub fn rest_resent(&self) {
        self.rest.get_or_init(RestRequests::at_zero).add_resent();
    }

    /// Records the load of the worker with this number.
    pub fn load(&self, number: usize, load: WorkerLoad) {
        self.totals.set_worker(number, load);
    }

    /// Moves everything counted since the last call into the recorder.
    pub fn flush(&self) {
        self.commands.flush();
        self.latencies.iter().zip(&self.totals.latencies).for_each(|(seen, totals)| seen.flush(totals));
        self.bytes.iter().flatten().for_each(Meter::flush);
        self.admissions.iter().for_each(Meter::flush);
        self.clients.flush();
        for (state, level) in UpstreamState::ALL.into_iter().zip(&self.upstream) {
            self.totals.shift_upstream(state, level.flush());
        }
        self.failures.iter().for_each(Meter::flush);
        for meter in [&self.timeouts, &self.out_of_sync, &self.reconnects, &self.refused, &self.panics] {
            meter.flush();
        }
        self.resolutions
            .iter()
            .chain(&self.retries)
            .chain(&self.early_closes)
            .chain(&self.retries_refused)
            .chain(&self.kills)
            .for_each(Meter::flush);
        self.kept.flush();
        self.groups.borrow().each(|group, outcome, count| self.totals.add_group(group, GroupOutcome::ALL[outcome], count));
        self.group_latencies.borrow().take(|group, seen| self.totals.add_group_latency(group, seen));
        self.gaps.borrow().take(|group, counts| self.totals.add_gaps(group, counts));
        self.holds.borrow().each(|group, outcome, count| self.totals.add_hold(group, HoldOutcome::ALL[outcome], count));
        self.groups.borrow().flush(group_counter);
        self.holds.borrow().flush(hold_counter);
        self.ttl_checks.borrow().flush(ttl_counter);
        if let Some(rest) = self.rest.get() {
            rest.flush();
        }
    }
}

fn group_counter(group: Arc<str>, outcome: usize) -> Counter {
    counter!(names::GROUPS_TOTAL, key::GROUP => group, key::OUTCOME => GroupOutcome::ALL[outcome].as_str())
}

fn hold_counter(group: Arc<str>, outcome: usize) -> Counter {
    counter!(names::HOLDS_TOTAL, key::GROUP => group, key::OUTCOME => HoldOutcome::ALL[outcome].as_str())
}

fn ttl_counter(rule: Arc<str>, outcome: usize) -> Counter {
    counter!(names::TTL_CHECKS_TOTAL, key::RULE => rule, key::OUTCOME => TtlOutcome::ALL[outcome].as_str())
}

impl Drop for WorkerMetrics {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
