//! Audits one relation after the other, and repairs what is wanted.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tracing::{info, warn};

use super::audit::audit;
use super::repair::repair;
use super::report::{RelationReport, report};
use super::run::Run;
use super::stop::Stop;
use super::wanted::{REMOVED_MAX, RepairRequest, RunRequest};
use crate::telemetry::audits;
use crate::telemetry::label::AuditOutcome;
use respguard_engine::policy::Relation;
use respguard_engine::policy::rule::{Mode, Repair};

/// A part of `every` for which no scheduled run is needed behind one.
const DONE_SHARE: f64 = 0.75;

/// What a run came to.
pub(super) struct Done {
    pub(super) report: Value,
    pub(super) by_relation: Vec<(Arc<str>, Value)>,
}

impl Run {
    /// Audits one relation after the other, and repairs what is wanted. With a refusal all of them are unknown.
    pub(super) async fn all(mut self, relations: &[Arc<Relation>], wanted: &RunRequest, refusal: Option<String>) -> Done {
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
            self.log(&report, wanted, is_news && !is_said);
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

    async fn one(&mut self, relation: &Arc<Relation>, wanted: Option<RepairRequest>) -> RelationReport {
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
    fn log(&self, report: &RelationReport, wanted: &RunRequest, is_news: bool) {
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
}
