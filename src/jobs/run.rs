//! One run of a job: paced questions that survive a lost connection, the lock, and the progress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::asking::AskError;
use super::audit::audit;
use super::lock::{Lock, Locking};
use super::repair::repair;
use super::report::{RelationReport, report, told};
use super::servers::{At, Servers};
use super::{REMOVED_MAX, Refused, RepairWanted, Settings, Shared, Wanted};
use crate::net::address::Address;
use crate::net::upstream;
use crate::net::upstream::connect::OpenError;
use crate::telemetry::audits;
use crate::telemetry::label::{AuditOutcome, BreakerState};
use crate::telemetry::record::{rfc3339, unix_ms};
use respguard_engine::link::pace::Pace;
use respguard_engine::policy::Relation;
use respguard_engine::policy::rule::{Mode, Repair};

/// How long a server may be away before a run gives up.
pub(super) const AWAY_MAX: Duration = Duration::from_secs(300);
/// How long something is tried whose slot is on its way to another node, and the pause between two attempts.
pub(super) const MOVING_MAX: Duration = Duration::from_secs(10);
pub(super) const MOVING_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two attempts to reach it, and between two looks at the breaker.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// The longest answers to one pipeline of questions.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often the log says how far a run is.
const TOLD: Duration = Duration::from_secs(60);
/// A part of `every` for which no scheduled run is needed behind one.
const DONE_SHARE: f64 = 0.75;

/// Why a run ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    Cancelled,
    LockLost,
    Failed(String),
    /// The server does not let this user find out.
    Unknown(String),
}

/// How far a run is.
pub(crate) struct Progress {
    id: String,
    kind: &'static str,
    started: SystemTime,
    relation: Mutex<Option<Arc<str>>>,
    /// Of the relation: keys and elements that were looked at, keys that SCAN passed over, and all that it will.
    pub(super) walked: AtomicU64,
    pub(super) visited: AtomicU64,
    pub(super) total: AtomicU64,
    pub(super) found: AtomicU64,
}

impl Progress {
    pub(super) fn shown(&self) -> Value {
        let relation = self.relation.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let [walked, visited, total, found] =
            [&self.walked, &self.visited, &self.total, &self.found].map(|number| number.load(Ordering::Relaxed));
        let percent = (total > 0).then(|| (visited * 100 / total).min(100));
        json!({
            "id": self.id, "kind": self.kind, "started_at": rfc3339(self.started), "started_at_ms": unix_ms(self.started),
            "relation": relation.as_deref(), "walked": walked, "percent": percent, "found": found
        })
    }

    fn begin(&self, relation: &Arc<str>) {
        *self.relation.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(relation));
        [&self.walked, &self.visited, &self.total, &self.found].iter().for_each(|number| number.store(0, Ordering::Relaxed));
    }
}

/// A run with what it needs.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) id: String,
    pub(super) progress: Arc<Progress>,
    pub(super) servers: Servers,
    lock: Lock,
    pub(super) pace: Pace,
    cancel: CancellationToken,
    told_at: Instant,
}

/// What a run came to.
pub(super) struct Done {
    pub(super) report: Value,
    pub(super) by_relation: Vec<(Arc<str>, Value)>,
}

impl Run {
    pub(super) fn new(
        shared: Arc<Shared>,
        on: (Settings, upstream::Settings),
        cancel: CancellationToken,
        kind: &'static str,
    ) -> Run {
        let (settings, upstream) = on;
        let started = SystemTime::now();
        let id = format!("{:x}-{:04x}", unix_ms(started), fastrand::u16(..));
        let (walked, visited, total, found) = Default::default();
        let relation = Mutex::default();
        let progress = Arc::new(Progress { id: id.clone(), kind, started, relation, walked, visited, total, found });
        let lock = Lock::new(&shared.policy.load().guard_prefix, &id);
        let servers = Servers::new(upstream);
        let pace = Pace::new(settings.keys_per_second);
        Run { shared, settings, id, progress, servers, lock, pace, cancel, told_at: Instant::now() }
    }

    /// Takes the lock, once. `Some`: why the server does not let this user audit anything.
    pub(super) async fn lock(&mut self, is_scheduled: bool) -> Result<Option<String>, Refused> {
        let begun = Instant::now();
        let locking = loop {
            match self.lock.lock(&mut self.servers, is_scheduled).await {
                Err(AskError::Moving(_)) if begun.elapsed() < MOVING_MAX => tokio::time::sleep(MOVING_PAUSE).await,
                locking => break locking,
            }
        };
        match locking {
            Ok(Locking::Locked) => Ok(None),
            Ok(Locking::Held) => Err(Refused::Locked),
            Ok(Locking::Done) => Err(Refused::Done),
            Ok(Locking::Refused(error)) if is_about_rights(&error) => {
                Ok(Some(format!("{} at the lock key {}", told(error.as_bytes()), self.lock.key())))
            }
            Ok(Locking::Refused(error)) => Err(Refused::Server(format!("the lock key {}: {error}", self.lock.key()))),
            Err(AskError::Open(error @ OpenError::Refused { .. })) => Ok(Some(error.to_string())),
            Err(error) => Err(Refused::Server(error.to_string())),
        }
    }

    /// Audits one relation after the other, and repairs what is wanted. With a refusal all of them are unknown.
    pub(super) async fn all(mut self, relations: &[Arc<Relation>], wanted: &Wanted, refusal: Option<String>) -> Done {
        let repairs = wanted.repair.is_some_and(|repair| repair.apply);
        info!(run = self.id, relations = relations.len(), repairs, scheduled = wanted.is_scheduled, "an audit has begun");
        let mut reports: Vec<RelationReport> = Vec::new();
        let (mut is_over, mut is_said) = (false, false);
        for relation in relations {
            self.progress.begin(&relation.name);
            let report = match &refusal {
                Some(reason) => self.unknown(relation, reason),
                None => self.one(relation, wanted.repair).await,
            };
            is_over = matches!(report.outcome, AuditOutcome::Cancelled | AuditOutcome::Failed);
            let unknown = report.reason.as_deref().filter(|_| report.outcome == AuditOutcome::Unknown);
            let is_news = self.shared.is_news(&report.relation, unknown);
            // One refusal of everything is said once, not for each relation.
            self.tell(&report, wanted, is_news && !is_said);
            is_said = refusal.is_some() && (is_said || is_news);
            reports.push(report);
            if is_over {
                break;
            }
        }
        let is_done = wanted.is_scheduled && !is_over && refusal.is_none();
        let done_for = self.settings.every.filter(|_| is_done).map(|every| every.mul_f64(DONE_SHARE));
        if let Err(error) = self.lock.unlock(&mut self.servers, done_for).await {
            warn!(run = self.id, %error, "the lock of audits is left to expire");
        }
        let by_relation = reports.iter().map(|report| (Arc::clone(&report.relation), report.shown())).collect();
        Done { report: report(&self.progress.shown(), wanted, &reports), by_relation }
    }

    fn unknown(&self, relation: &Relation, reason: &str) -> RelationReport {
        let mut report = RelationReport::new(relation, self.servers.topology(), &self.id, 0, self.may_remove(relation));
        report.stop(Stop::Unknown(reason.to_owned()));
        report.finished = Some(SystemTime::now());
        report
    }

    async fn one(&mut self, relation: &Arc<Relation>, wanted: Option<RepairWanted>) -> RelationReport {
        let may_remove = self.may_remove(relation);
        let keep = wanted.map_or(0, |wanted| wanted.max).max(REMOVED_MAX);
        let mut report = RelationReport::new(relation, self.servers.topology(), &self.id, keep, may_remove);
        match audit(self, relation, &mut report).await {
            Ok(()) => {
                report.conclude();
                if let Some(wanted) = wanted {
                    repair(self, relation, &mut report, wanted).await;
                }
            }
            Err(stop) => report.stop(stop),
        }
        report.finished = Some(SystemTime::now());
        report
    }

    /// Observing wins, as with every rule.
    fn may_remove(&self, relation: &Relation) -> bool {
        let is_enforced = self.shared.policy.load().mode_of(relation.mode) == Mode::Enforce;
        is_enforced && relation.repair_on(self.servers.topology()) != Repair::Report
    }

    /// `is_news`: that it is unknown, and why, has not been said before.
    fn tell(&self, report: &RelationReport, wanted: &Wanted, is_news: bool) {
        let relation = &report.relation;
        audits::count_run(relation, report.outcome);
        audits::count_keys(relation, report.walked);
        if report.is_whole() {
            audits::set_orphans(relation, report.orphans.saturating_sub(report.orphans_repaired));
        }
        let (outcome, reason) = (report.outcome.as_str(), report.reason.as_deref());
        let RelationReport { walked, orphans, lifetimes, removed, .. } = report;
        let is_quiet = match report.outcome {
            AuditOutcome::Clean | AuditOutcome::Cancelled | AuditOutcome::Repaired => true,
            AuditOutcome::Unknown => !is_news,
            AuditOutcome::Drift | AuditOutcome::Stopped | AuditOutcome::Failed => false,
        };
        let (run, scheduled) = (&self.id, wanted.is_scheduled);
        macro_rules! audited {
            ($level:ident) => {
                $level!(
                    run,
                    relation = &**relation,
                    outcome,
                    reason,
                    walked,
                    orphans,
                    lifetimes,
                    removed,
                    scheduled,
                    "a relation was audited"
                )
            };
        }
        if is_quiet { audited!(info) } else { audited!(warn) }
    }

    /// The replies to questions that only read: after a loss they are asked again.
    pub(super) async fn read(&mut self, requests: &[u8], replies: usize) -> Result<Vec<Bytes>, Stop> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            let asked = Instant::now();
            let cancel = self.cancel.clone();
            let answer = tokio::select! {
                () = cancel.cancelled() => return Err(Stop::Cancelled),
                answer = self.servers.read(requests, replies, REPLY_BYTES_MAX) => answer,
            };
            match answer {
                Ok(answer) => {
                    let pause = self.pace.answered(asked.elapsed());
                    self.sleep(pause).await?;
                    return Ok(answer);
                }
                Err(AskError::Open(error @ OpenError::Refused { .. })) => return Err(Stop::Unknown(error.to_string())),
                Err(error @ AskError::TooLong(_)) => return Err(Stop::Failed(error.to_string())),
                Err(error) if begun.elapsed() >= AWAY_MAX => return Err(Stop::Failed(error.to_string())),
                Err(AskError::Moving(_)) => self.sleep(MOVING_PAUSE).await?,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!(run = self.id, %error, "an audit waits for the server");
                    }
                    self.sleep(PAUSE).await?;
                }
            }
        }
    }

    /// The replies of one node of a cluster, which may as well be about no key; `None` where it is not there.
    pub(super) async fn read_at(&mut self, node: &Address, requests: &[u8], replies: usize) -> Result<Option<Vec<Bytes>>, Stop> {
        let asked = Instant::now();
        let cancel = self.cancel.clone();
        let answer = tokio::select! {
            () = cancel.cancelled() => return Err(Stop::Cancelled),
            answer = self.servers.ask(At::Node(node), requests, replies, REPLY_BYTES_MAX) => answer,
        };
        match answer {
            Ok(answer) => {
                let pause = self.pace.answered(asked.elapsed());
                self.sleep(pause).await?;
                Ok(Some(answer))
            }
            Err(AskError::Open(error @ OpenError::Refused { .. })) => Err(Stop::Unknown(error.to_string())),
            Err(error @ AskError::TooLong(_)) => Err(Stop::Failed(error.to_string())),
            Err(_) => Ok(None),
        }
    }

    /// Waits until so many things may be looked at, and until the server is well.
    pub(super) async fn breathe(&mut self, things: f64) -> Result<(), Stop> {
        while self.shared.breaker.state().is_some_and(|state| state != BreakerState::Closed.as_str()) {
            self.sleep(PAUSE).await?;
        }
        if self.lock.is_due() {
            self.renew().await?;
        }
        if self.told_at.elapsed() >= TOLD {
            self.told_at = Instant::now();
            info!(run = self.id, progress = %self.progress.shown(), "an audit is under way");
        }
        let wait = self.pace.take(things, Instant::now());
        self.sleep(wait).await
    }

    /// SCAN has passed over so many keys.
    pub(super) fn count_visited(&self, keys: usize) {
        self.progress.visited.fetch_add(keys as u64, Ordering::Relaxed);
    }

    /// How the proxy's own keys begin.
    pub(super) fn guard_prefix(&self) -> std::sync::Arc<str> {
        self.shared.policy.load().guard_prefix.clone()
    }

    async fn renew(&mut self) -> Result<(), Stop> {
        let begun = Instant::now();
        loop {
            match self.lock.renew(&mut self.servers).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Stop::LockLost),
                Err(error) if begun.elapsed() >= AWAY_MAX => return Err(Stop::Failed(error.to_string())),
                Err(_) => self.sleep(PAUSE).await?,
            }
        }
    }

    /// Ends early when the run is cancelled.
    pub(super) async fn sleep(&self, time: Duration) -> Result<(), Stop> {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if time.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}

/// Whether the server refuses the user, and not what it is asked.
fn is_about_rights(error: &str) -> bool {
    ["NOPERM", "NOAUTH", "WRONGPASS"].iter().any(|word| error.starts_with(word))
}
