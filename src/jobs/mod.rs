//! Background jobs: audits of relations, repairs, and undoing repairs.
//!
//! A run has a connection of its own, with `[upstream] probe` as its user where that is given. One run is under way at a
//! time, over all proxies of a server: a lock key that expires says so.

mod answers;
mod audit;
mod checks;
mod lock;
mod owners;
mod progress;
mod relations;
mod repair;
pub mod repair_log;
mod report;
mod run;
mod sample;
pub mod schedule;
mod server_connection;
mod servers;
mod shared;
mod stop;
mod undo;
mod units;
mod walk;
mod wanted;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::net::health::SharedBreaker;
use crate::net::upstream;
use crate::telemetry::audits;
use crate::telemetry::label::AuditOutcome;
use crate::telemetry::report::Reporter;
use repair_log::RepairLog;
use respguard_engine::policy::rule::Repair;
use respguard_engine::policy::{Policy, Relation};
use run::Run;
use shared::{Shared, State};

pub use repair_log::Selection;
pub use sample::{SAMPLE_KEYS_MAX, Sampled};
pub use wanted::{REMOVED_LIMIT, REMOVED_MAX, Refused, RepairRequest, RunRequest, Settings};

/// The way to audits and repairs. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
}

/// A run that has begun.
pub struct RunHandle {
    pub report: oneshot::Receiver<Value>,
    /// Ends it before its time.
    pub cancel: CancellationToken,
}

impl Jobs {
    /// Nothing runs yet.
    pub fn new(
        settings: Option<Settings>,
        upstream: upstream::Settings,
        policy: Arc<ArcSwap<Policy>>,
        breaker: SharedBreaker,
        reporter: Reporter,
        shutdown: CancellationToken,
    ) -> Jobs {
        let log = settings.as_ref().and_then(|settings| settings.repair_log.clone()).map(RepairLog::new);
        let (turn, state) = (Arc::new(Semaphore::new(1)), Mutex::default());
        let on = settings.map(|settings| (settings, upstream.clone()));
        let upstream = Some(upstream);
        Jobs { shared: Arc::new(Shared { on, upstream, policy, breaker, reporter, log, turn, state, shutdown }) }
    }

    /// Nothing is ever audited.
    pub fn off() -> Jobs {
        let (on, upstream, policy, breaker, reporter, log) = Default::default();
        let (turn, state, shutdown) = (Arc::new(Semaphore::new(1)), Mutex::default(), CancellationToken::new());
        Jobs { shared: Arc::new(Shared { on, upstream, policy, breaker, reporter, log, turn, state, shutdown }) }
    }

    /// Begins an audit or a repair; whoever drops what it gives does not end it.
    ///
    /// # Errors
    /// It cannot be, or not now.
    pub async fn begin(&self, wanted: RunRequest) -> Result<RunHandle, Refused> {
        let on = self.shared.on.clone().ok_or(Refused::Off)?;
        let relations = self.relations(wanted.relation.as_deref())?;
        let removes = |relation: &Arc<Relation>| relation.repair != Repair::Report;
        if wanted.repair.is_some_and(|repair| repair.apply) && relations.iter().any(removes) {
            let log = self.shared.log.as_ref().ok_or(Refused::NoLog)?;
            log.open().await.map_err(|error| Refused::Log(error.to_string()))?;
        }
        let turn = self.turn()?;
        let cancel = self.shared.shutdown.child_token();
        let kind = if wanted.repair.is_some() { "repair" } else { "audit" };
        let mut run = Run::new(Arc::clone(&self.shared), on, cancel.clone(), kind);
        let refusal = run.lock(wanted.is_scheduled).await?;
        self.lock().running = Some((Arc::clone(&run.progress), cancel.clone()));
        let (sender, report) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let done = run.all(&relations, &wanted, refusal).await;
            shared.end(done.by_relation, turn);
            // Whoever asked may have gone.
            let _ = sender.send(done.report);
        });
        Ok(RunHandle { report, cancel })
    }

    /// Puts back what a repair removed: one thing, or all of a run.
    ///
    /// # Errors
    /// It cannot be, or not now.
    pub async fn undo(&self, which: Selection) -> Result<RunHandle, Refused> {
        let on = self.shared.on.clone().ok_or(Refused::Off)?;
        let log = self.shared.log.clone().ok_or(Refused::NoLog)?;
        let found = log.find(&which).await.map_err(|error| Refused::Log(error.to_string()))?;
        if found.is_empty() {
            return Err(Refused::NoSuchId);
        }
        let turn = self.turn()?;
        let cancel = self.shared.shutdown.child_token();
        let mut run = Run::new(Arc::clone(&self.shared), on, cancel.clone(), "undo");
        self.lock().running = Some((Arc::clone(&run.progress), cancel.clone()));
        let (sender, report) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let done = undo::undo(&mut run, &log, found).await;
            shared.end(Vec::new(), turn);
            let _ = sender.send(done);
        });
        Ok(RunHandle { report, cancel })
    }

    /// How often all relations are audited by themselves, and whether that repairs; `None`: only when asked.
    pub fn schedule(&self) -> Option<(Duration, bool)> {
        let (settings, _) = self.shared.on.as_ref()?;
        Some((settings.every?, settings.repair))
    }

    /// Counts an audit of all relations that could not even begin.
    fn count_failed(&self) {
        let policy = self.shared.policy.load();
        policy.relations().iter().for_each(|relation| audits::count_run(&relation.name, AuditOutcome::Failed));
    }

    /// Ends what is under way; false when nothing is.
    pub fn cancel(&self) -> bool {
        let state = self.lock();
        state.running.as_ref().inspect(|(_, cancel)| cancel.cancel()).is_some()
    }

    /// How far what is under way is; null when nothing is. Without keys.
    pub fn progress(&self) -> Value {
        self.lock().running.as_ref().map_or(Value::Null, |(progress, _)| progress.shown())
    }

    /// Whether audits are on, what is under way, and the last report of each relation.
    pub fn shown(&self) -> Value {
        let running = self.progress();
        let reports: Vec<Value> = self.lock().reports.values().cloned().collect();
        json!({ "on": self.shared.on.is_some(), "running": running, "relations": reports })
    }

    /// The same without keys; null where audits are off.
    pub fn summary(&self) -> Value {
        if self.shared.on.is_none() {
            return Value::Null;
        }
        const TOLD: [&str; 6] = ["relation", "outcome", "finished_at_ms", "walked", "orphans", "relation_ttl"];
        let of = |report: &Value| Value::Object(TOLD.map(|key| (key.to_owned(), report[key].clone())).into_iter().collect());
        let relations: Vec<Value> = self.lock().reports.values().map(of).collect();
        json!({ "running": self.progress(), "relations": relations })
    }

    fn relations(&self, name: Option<&str>) -> Result<Vec<Arc<Relation>>, Refused> {
        let policy = self.shared.policy.load();
        let wanted = policy.relations().iter().filter(|relation| name.is_none_or(|name| *relation.name == *name));
        let relations: Vec<_> = wanted.cloned().collect();
        match (relations.is_empty(), name) {
            (false, _) => Ok(relations),
            (true, Some(_)) => Err(Refused::NoSuchRelation),
            (true, None) => Err(Refused::NoRelations),
        }
    }

    fn turn(&self) -> Result<OwnedSemaphorePermit, Refused> {
        Arc::clone(&self.shared.turn).try_acquire_owned().map_err(|_| Refused::Busy)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}
