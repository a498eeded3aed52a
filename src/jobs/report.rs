//! The report of an audit; only here are keys shown, to requests with the token.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use strum::IntoStaticStr;

use super::stop::Stop;
use super::wanted::RunRequest;
use crate::telemetry::label::AuditOutcome;
use crate::telemetry::record::{rfc3339, unix_ms};
use respguard_engine::pipeline::violation::Kind;
use respguard_engine::policy::Relation;
use respguard_engine::policy::relation::{Subject, Target, Topology, Verdict};
use respguard_engine::policy::rule::Word;

/// Bytes of all that is kept of what was found in one relation.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a repair stops at: so large a part of what was walked.
pub(super) const BROKEN_SHARE: f64 = 0.1;

/// One relation's part of a run.
pub(super) struct RelationReport {
    pub(super) relation: Arc<str>,
    run: String,
    needs: Vec<Arc<str>>,
    repair: &'static str,
    /// Whether a repair may remove something.
    pub(super) may_remove: bool,
    pub(super) started: SystemTime,
    pub(super) finished: Option<SystemTime>,
    pub(super) outcome: AuditOutcome,
    pub(super) reason: Option<String>,
    /// Keys and elements that were looked at.
    pub(super) walked: u64,
    /// Too long to be looked at.
    pub(super) skipped: u64,
    pub(super) orphans: u64,
    pub(super) lifetimes: u64,
    pub(super) findings: Vec<Finding>,
    keep_max: usize,
    kept_bytes: usize,
    /// Keys and references that were removed.
    pub(super) removed: u64,
    pub(super) orphans_repaired: u64,
    pub(super) applied: bool,
}

/// Something that is broken.
pub(super) struct Finding {
    pub(super) subject: Subject,
    pub(super) kind: Kind,
    /// The needs that are not there, or the one whose lifetime is wrong.
    pub(super) absent: u16,
    /// What a repair did with it.
    pub(super) result: Option<RepairResult>,
    pub(super) ids: Vec<String>,
}

/// What a repair did with one finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum RepairResult {
    Removed,
    /// Somebody was quicker: it is no longer broken, or no longer there.
    Fixed,
    /// It changes too often.
    Changing,
    /// Too large to be kept.
    TooLarge,
    /// The server does not let this user.
    Denied,
    /// The connection was lost in between.
    Unknown,
}

impl RepairResult {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}

impl RelationReport {
    pub(super) fn new(relation: &Relation, topology: Topology, run: &str, keep_max: usize, may_remove: bool) -> RelationReport {
        RelationReport {
            relation: Arc::clone(&relation.name),
            run: run.to_owned(),
            needs: relation.need_texts(),
            repair: relation.repair_on(topology).as_str(),
            may_remove,
            started: SystemTime::now(),
            finished: None,
            outcome: AuditOutcome::Cancelled,
            reason: None,
            walked: 0,
            skipped: 0,
            orphans: 0,
            lifetimes: 0,
            findings: Vec::new(),
            keep_max,
            kept_bytes: 0,
            removed: 0,
            orphans_repaired: 0,
            applied: false,
        }
    }

    /// Takes what is broken for good; what finds no room is only counted.
    pub(super) fn take(&mut self, subject: Subject, verdict: &Verdict) {
        let (kind, absent) = match verdict {
            Verdict::Missing(absent) => (Kind::Orphan, *absent),
            Verdict::Lifetime(number) => (Kind::RelationTtl, 1 << number),
            _ => return,
        };
        match kind {
            Kind::Orphan => self.orphans += 1,
            _ => self.lifetimes += 1,
        }
        self.kept_bytes += subject.bytes();
        if self.findings.len() < self.keep_max && self.kept_bytes <= KEPT_BYTES_MAX {
            self.findings.push(Finding { subject, kind, absent, result: None, ids: Vec::new() });
        }
    }

    /// The walk came to its end.
    pub(super) fn conclude(&mut self) {
        self.outcome = if self.orphans + self.lifetimes == 0 { AuditOutcome::Clean } else { AuditOutcome::Drift };
    }

    /// It did not.
    pub(super) fn stop(&mut self, stop: Stop) {
        (self.outcome, self.reason) = match stop {
            Stop::Cancelled => (AuditOutcome::Cancelled, None),
            Stop::LockLost => (AuditOutcome::Failed, Some("another proxy has taken the lock".to_owned())),
            Stop::Failed(reason) => (AuditOutcome::Failed, Some(reason)),
            Stop::Unknown(reason) => (AuditOutcome::Unknown, Some(reason)),
        };
    }

    /// Whether everything was walked.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.outcome, AuditOutcome::Clean | AuditOutcome::Drift | AuditOutcome::Repaired | AuditOutcome::Stopped)
    }

    /// Whether so much looks broken that the rule may be wrong.
    pub(super) fn looks_wrong(&self) -> bool {
        self.orphans as f64 > self.walked as f64 * BROKEN_SHARE
    }

    /// Why something is told, in the words of the rule.
    pub(super) fn why(&self, kind: Kind, absent: u16) -> String {
        let names: Vec<&str> = numbers(absent).filter_map(|number| self.needs.get(number).map(|need| &**need)).collect();
        match kind {
            Kind::RelationTtl => format!("its lifetime is not as that of {}", names.join(", ")),
            _ => format!("without {}", names.join(", ")),
        }
    }

    pub(super) fn shown(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(|finding| self.finding(finding)).collect();
        let (found, kept) = (self.orphans + self.lifetimes, self.findings.len() as u64);
        json!({
            "relation": &*self.relation,
            "run": self.run,
            "outcome": self.outcome.as_str(),
            "reason": self.reason,
            "started_at": rfc3339(self.started),
            "started_at_ms": unix_ms(self.started),
            "finished_at": self.finished.map(rfc3339),
            "finished_at_ms": self.finished.map(unix_ms),
            "walked": self.walked,
            "skipped": self.skipped,
            "orphans": self.orphans,
            "relation_ttl": self.lifetimes,
            "repair": self.repair,
            "applied": self.applied,
            "removed": self.removed,
            "findings": findings,
            "findings_left_out": found - kept.min(found),
        })
    }

    fn finding(&self, finding: &Finding) -> Value {
        let Finding { subject, kind, absent, result, ids } = finding;
        let missing: Vec<Value> = numbers(*absent).filter_map(|number| subject.needs.get(number)).map(place).collect();
        let action = (self.may_remove && *kind == Kind::Orphan).then_some(self.repair);
        let mut shown = place(&subject.source);
        shown["kind"] = kind.as_str().into();
        shown["needs"] = missing.into();
        shown["reason"] = self.why(*kind, *absent).into();
        shown["action"] = action.into();
        shown["result"] = result.map(RepairResult::as_str).into();
        shown["id"] = ids.first().cloned().into();
        shown["ids"] = ids.clone().into();
        shown
    }
}

/// The whole run.
pub(super) fn report(progress: &Value, wanted: &RunRequest, relations: &[RelationReport]) -> Value {
    let worst = relations.iter().map(|report| report.outcome).max_by_key(|outcome| outcome.index());
    let sum = |number: fn(&RelationReport) -> u64| relations.iter().map(number).sum::<u64>();
    json!({
        "id": progress["id"],
        "kind": progress["kind"],
        "scheduled": wanted.is_scheduled,
        "apply": wanted.repair.is_some_and(|repair| repair.apply),
        "outcome": worst.map(AuditOutcome::as_str),
        "started_at": progress["started_at"],
        "finished_at": rfc3339(SystemTime::now()),
        "walked": sum(|report| report.walked),
        "orphans": sum(|report| report.orphans),
        "relation_ttl": sum(|report| report.lifetimes),
        "removed": sum(|report| report.removed),
        "relations": relations.iter().map(RelationReport::shown).collect::<Vec<_>>(),
    })
}

fn numbers(bits: u16) -> impl Iterator<Item = usize> {
    (0..16).filter(move |number| bits & (1 << number) != 0)
}

fn place(target: &Target) -> Value {
    json!({ "place": target.kind.as_str(), "key": text(&target.key), "element": target.element.as_deref().map(text) })
}

/// As it is where it is printable UTF-8, else with `\x` and two digits for each byte that is not.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => c.to_string().bytes().for_each(|byte| text.push_str(&format!("\\x{byte:02x}"))),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_so_that_none_looks_like_another() {
        assert_eq!(text("blöbs:7".as_bytes()), "blöbs:7");
        assert_eq!(text(b"a\xff\x00\n\\x"), "a\\xff\\x00\\x0a\\\\x");
    }
}
