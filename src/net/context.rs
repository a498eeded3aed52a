//! What all tasks of one worker share: settings, rules, counters, buffers.

use std::cell::{Cell, Ref, RefCell};
use std::sync::Arc;

use bytes::BytesMut;

use crate::engine::command::Table;
use crate::engine::link::handshake::Kill;
use crate::engine::policy::Policy;
use crate::engine::preflight::Names;
use crate::net::health::{Health, SharedBreaker};
use crate::net::kept::Kept;
use crate::net::recording::Tap;
use crate::net::retries::Retries;
use crate::telemetry::label::KillOutcome;
use crate::telemetry::readiness::Readiness;
use crate::telemetry::report::Reporter;
use crate::telemetry::tally::Tally;

/// Bytes that a buffer for reading holds at least: what one read takes at the most.
pub const READ_BYTES: usize = 64 * 1024;
/// A buffer that grew beyond this is not kept.
const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Buffers of each kind that are kept while nobody needs them.
const KEPT_MAX: usize = 64;

/// One worker's own; its tasks run on one thread.
#[derive(Debug)]
pub struct Context {
    /// The worker's number, from 0.
    pub worker: usize,
    pub tally: Tally,
    pub reporter: Reporter,
    pub readiness: Readiness,
    pub health: Health,
    pub kept: Kept,
    /// What may still be sent once more.
    pub retries: Retries,
    table: RefCell<Arc<Table>>,
    policy: RefCell<Arc<Policy>>,
    policy_number: Cell<u64>,
    pub read_buffers: Buffers<BytesMut>,
    pub write_buffers: Buffers<Vec<u8>>,
    /// No new request is read any more.
    pub draining: Cell<bool>,
    /// Names for the guards of groups.
    pub guards: Names,
    /// Second looks at TTLs that are pending.
    pub rechecks: Cell<usize>,
    /// Where the clients' bytes are recorded, while somebody records.
    pub tap: Tap,
}

impl Context {
    pub fn new(
        worker: usize,
        tally: Tally,
        reporter: Reporter,
        readiness: Readiness,
        breaker: SharedBreaker,
        table: Arc<Table>,
        policy: Arc<Policy>,
    ) -> Context {
        Context {
            worker,
            tally,
            reporter,
            health: Health::new(breaker, readiness.clone()),
            kept: Kept::default(),
            retries: Retries::default(),
            readiness,
            table: RefCell::new(table),
            policy: RefCell::new(policy),
            policy_number: Cell::new(0),
            read_buffers: Buffers::default(),
            write_buffers: Buffers::default(),
            draining: Cell::new(false),
            guards: Names { instance: fastrand::u64(..), used: Cell::new(0) },
            rechecks: Cell::new(0),
            tap: Tap::default(),
        }
    }

    /// Counts what came of ending a lost connection.
    pub fn killed(&self, kill: Kill) {
        self.tally.killed(match kill {
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
        self.tally.rename_rules(&names, &ttl_names);
        self.policy.replace(policy);
        self.policy_number.set(self.policy_number.get() + 1);
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
}

impl Buffers<BytesMut> {
    /// An empty buffer with room for one read.
    pub fn take(&self) -> BytesMut {
        let mut buffer = self.kept.borrow_mut().pop().unwrap_or_default();
        buffer.reserve(READ_BYTES);
        buffer
    }

    /// Takes a buffer back; what is in it is forgotten.
    pub fn give(&self, mut buffer: BytesMut) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT_MAX && buffer.capacity() <= KEPT_BYTES_MAX {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

impl Buffers<Vec<u8>> {
    /// An empty buffer.
    pub fn take(&self) -> Vec<u8> {
        self.kept.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back; what is in it is forgotten.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT_MAX && buffer.capacity() <= KEPT_BYTES_MAX && buffer.capacity() > 0 {
            buffer.clear();
            kept.push(buffer);
        }
    }
}
