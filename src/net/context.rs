//! What all tasks of one worker share: settings, rules, counters, buffers.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::net::health::{Health, SharedBreaker};
use crate::net::last_answered::LastAnswered;
use crate::net::memory_budget::MemoryBudget;
use crate::net::offenders::Offenders;
use crate::net::recording::Tap;
use crate::net::retries::Retries;
use crate::net::server_limits::ServerLimits;
use crate::net::splice::SplicePipes;
use crate::net::watch::Watch;
use crate::net::whole_limits::WholeLimits;
use crate::telemetry::label::KillOutcome;
use crate::telemetry::readiness::Readiness;
use crate::telemetry::report::Reporter;
use crate::telemetry::slow::SlowLog;
use crate::telemetry::worker_metrics::WorkerMetrics;
use respguard_engine::command::Table;
use respguard_engine::link::handshake::{ClientFields, Kill};
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::group_pool::GroupPool;
use respguard_engine::policy::Policy;
use respguard_engine::preflight::Names;

/// Bytes that a buffer for reading holds at least: what one read takes at the most.
pub const READ_BYTES: usize = 64 * 1024;
/// A buffer that grew beyond this is not kept.
const BUFFER_BYTES_MAX: usize = 256 * 1024;
/// Buffers of each kind that are kept while nobody needs them.
const KEPT_MAX: usize = 64;
/// What was not needed for so many seconds goes. If less counted, clients of whom more are busy in one second than in the next
/// would make buffers anew all the time.
const TRIM_SECONDS: u32 = 10;

/// One worker's own; its tasks run on one thread.
#[derive(Debug)]
pub struct Context {
    /// The worker's number, from 0.
    pub worker: usize,
    pub metrics: WorkerMetrics,
    pub reporter: Reporter,
    pub readiness: Readiness,
    pub health: Health,
    /// What is seen of the nodes of a cluster, for no breaker.
    pub nodes_health: Health,
    pub kept: MemoryBudget,
    /// When the server was last seen to answer.
    pub last_answered: LastAnswered,
    /// Whether somebody looks at the heads of connections.
    pub watch: Watch,
    /// What may still be sent once more.
    pub retries: Retries,
    table: RefCell<Arc<Table>>,
    policy: RefCell<Arc<Policy>>,
    policy_number: Cell<u64>,
    pub read_buffers: Buffers<BytesMut>,
    pub write_buffers: Buffers<Vec<u8>>,
    pub batches: Buffers<Box<Batch>>,
    /// Seconds since these were trimmed.
    untrimmed: Cell<u32>,
    pub splice_pipes: SplicePipes,
    pub group_pool: Rc<GroupPool>,
    /// No new request is read any more.
    pub draining: Cell<bool>,
    /// While it drains: how long clients that asked to be told have from its beginning on; zero when that is over.
    pub notice: Cell<Duration>,
    /// Names for the guards of groups.
    pub guards: Names,
    /// Second looks at TTLs that are pending.
    pub rechecks: Cell<usize>,
    /// What the server tells about a client.
    pub client_fields: Cell<ClientFields>,
    /// Where the clients' bytes are recorded, while somebody records.
    pub tap: Tap,
    /// Commands over which the server has ended connections.
    pub offenders: Offenders,
    /// When the request was read that is being answered.
    pub answering: Cell<Option<Instant>>,
    /// Where requests that take long are told of.
    pub slow: SlowLog,
    /// What the server takes on one connection.
    pub limits: Arc<ServerLimits>,
    /// Up to which length requests are held whole.
    pub whole_limits: WholeLimits,
}

impl Context {
    pub fn new(
        worker: usize,
        metrics: WorkerMetrics,
        reporter: Reporter,
        readiness: Readiness,
        breaker: SharedBreaker,
        table: Arc<Table>,
        policy: Arc<Policy>,
    ) -> Context {
        Context {
            worker,
            metrics,
            reporter,
            health: Health::new(breaker, readiness.clone()),
            nodes_health: Health::new(SharedBreaker::default(), Readiness::default()),
            kept: MemoryBudget::default(),
            retries: Retries::default(),
            last_answered: LastAnswered::default(),
            watch: Watch::default(),
            readiness,
            table: RefCell::new(table),
            policy: RefCell::new(policy),
            policy_number: Cell::new(0),
            read_buffers: Buffers::default(),
            write_buffers: Buffers::default(),
            batches: Buffers::default(),
            untrimmed: Cell::new(0),
            splice_pipes: SplicePipes::default(),
            group_pool: Rc::default(),
            draining: Cell::new(false),
            notice: Cell::new(Duration::ZERO),
            guards: Names { instance: fastrand::u64(..), used: Cell::new(0) },
            rechecks: Cell::new(0),
            client_fields: Cell::default(),
            tap: Tap::default(),
            offenders: Offenders::default(),
            answering: Cell::new(None),
            slow: SlowLog::default(),
            limits: Arc::default(),
            whole_limits: WholeLimits::in_force(),
        }
    }

    /// Counts what came of ending a lost connection.
    pub fn killed(&self, kill: Kill) {
        self.metrics.killed(match kill {
            Kill::Ended => KillOutcome::Ended,
            Kill::Gone => KillOutcome::Gone,
            Kill::Denied => KillOutcome::Denied,
        });
    }

    /// The commands as the server knows them.
    pub fn table(&self) -> Ref<'_, Arc<Table>> {
        self.table.borrow()
    }

    /// The rules in force.
    pub fn policy(&self) -> Ref<'_, Arc<Policy>> {
        self.policy.borrow()
    }

    /// Counts how often the rules have changed.
    pub fn policy_number(&self) -> u64 {
        self.policy_number.get()
    }

    /// From now on commands are planned with these rules. What is under way keeps its own.
    pub fn set_policy(&self, policy: Arc<Policy>) {
        let names: Vec<_> = policy.groups().iter().map(|group| Arc::clone(&group.name)).collect();
        let ttl_names: Vec<_> = policy.ttl_rules().iter().map(|rule| Arc::clone(&rule.name)).collect();
        self.metrics.rename_rules(&names, &ttl_names);
        self.policy.replace(policy);
        self.policy_number.set(self.policy_number.get() + 1);
    }

    /// Lets go of buffers that nobody has needed for a while; called every second.
    pub fn trim(&self) {
        self.untrimmed.set((self.untrimmed.get() + 1) % TRIM_SECONDS);
        if self.untrimmed.get() > 0 {
            return;
        }
        self.read_buffers.trim();
        self.write_buffers.trim();
        self.batches.trim();
        self.splice_pipes.trim();
        self.group_pool.trim();
    }

    /// The server turned out to know other commands than the built-in table.
    pub fn set_table(&self, table: Arc<Table>) {
        self.table.replace(table);
    }
}

/// Buffers that nobody uses now, so that idle connections hold none.
#[derive(Debug, Default)]
pub struct Buffers<B> {
    kept: RefCell<Vec<B>>,
    /// The fewest that were here since [`Buffers::trim`]: so many were not needed.
    fewest: Cell<usize>,
}

impl<B> Buffers<B> {
    /// Lets go of what was not needed since the last call; what a burst has left goes with the second one.
    pub fn trim(&self) {
        let mut kept = self.kept.borrow_mut();
        // Those at the front were given back first, and are taken last.
        kept.drain(..self.fewest.get());
        self.fewest.set(kept.len());
    }

    fn pop(&self) -> Option<B> {
        let mut kept = self.kept.borrow_mut();
        let buffer = kept.pop();
        self.fewest.set(self.fewest.get().min(kept.len()));
        buffer
    }
}

impl Buffers<BytesMut> {
    /// An empty buffer with room for one read.
    pub fn take(&self) -> BytesMut {
        let mut buffer = self.pop().unwrap_or_default();
        buffer.reserve(READ_BYTES);
        buffer
    }

    /// Takes a buffer back; what is in it is forgotten.
    pub fn give(&self, mut buffer: BytesMut) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT_MAX && buffer.capacity() <= BUFFER_BYTES_MAX {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

impl Buffers<Box<Batch>> {
    /// A blank batch.
    pub fn take(&self) -> Box<Batch> {
        self.pop().unwrap_or_default()
    }

    /// Takes a blank batch back.
    pub fn give(&self, batch: Box<Batch>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT_MAX && (1..=BUFFER_BYTES_MAX).contains(&batch.capacity_bytes()) {
            kept.push(batch);
        }
    }
}

impl Buffers<Vec<u8>> {
    /// An empty buffer.
    pub fn take(&self) -> Vec<u8> {
        self.pop().unwrap_or_default()
    }

    /// Takes a buffer back; what is in it is forgotten.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT_MAX && buffer.capacity() <= BUFFER_BYTES_MAX && buffer.capacity() > 0 {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(count: usize) -> Buffers<Vec<u8>> {
        let buffers = Buffers::<Vec<u8>>::default();
        (0..count).for_each(|_| buffers.give(Vec::with_capacity(1)));
        buffers
    }

    #[test]
    fn buffers_that_nobody_needed_between_two_looks_are_let_go() {
        let buffers = with(8);
        buffers.trim();
        assert_eq!(buffers.kept.borrow().len(), 8, "nobody could need them yet");
        let taken = [buffers.take(), buffers.take()];
        taken.into_iter().for_each(|buffer| buffers.give(buffer));
        buffers.trim();
        assert_eq!(buffers.kept.borrow().len(), 2, "two were needed at once");
        buffers.trim();
        assert_eq!(buffers.kept.borrow().len(), 0);
    }

    #[test]
    fn a_buffer_that_grew_too_large_or_was_never_used_is_not_kept() {
        let buffers = Buffers::<Vec<u8>>::default();
        buffers.give(Vec::with_capacity(BUFFER_BYTES_MAX + 1));
        buffers.give(Vec::new());
        assert_eq!(buffers.kept.borrow().len(), 0);
        buffers.give(Vec::with_capacity(BUFFER_BYTES_MAX));
        assert_eq!(buffers.kept.borrow().len(), 1);
    }
}
