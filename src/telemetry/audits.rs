//! Metrics of audits and repairs of relations.

use std::sync::Arc;

use metrics::{counter, gauge};

use super::label::{AuditOutcome, RepairAction, key};
use super::names;

/// Counts an audit by what it came to.
pub fn count_run(relation: &Arc<str>, outcome: AuditOutcome) {
    run(relation, outcome, 1);
}

/// Counts what an audit has looked at.
pub fn count_keys(relation: &Arc<str>, keys: u64) {
    counter!(names::AUDIT_KEYS_TOTAL, key::RELATION => Arc::clone(relation)).increment(keys);
}

/// Shows how many orphans there are.
pub fn set_orphans(relation: &Arc<str>, orphans: u64) {
    gauge!(names::RELATION_ORPHANS, key::RELATION => Arc::clone(relation)).set(orphans as f64);
}

/// Counts what a repair removed or put back.
pub fn count_repaired(relation: &Arc<str>, action: RepairAction, things: u64) {
    counter!(names::REPAIRED_TOTAL, key::RELATION => Arc::clone(relation), key::ACTION => action.as_str()).increment(things);
}

/// Shows all of a relation before it counts.
pub fn show(relation: &Arc<str>) {
    AuditOutcome::ALL.into_iter().for_each(|outcome| run(relation, outcome, 0));
    RepairAction::ALL.into_iter().for_each(|action| count_repaired(relation, action, 0));
    count_keys(relation, 0);
    // What an audit has found stays.
    gauge!(names::RELATION_ORPHANS, key::RELATION => Arc::clone(relation)).increment(0.0);
}

fn run(relation: &Arc<str>, outcome: AuditOutcome, count: u64) {
    counter!(names::AUDIT_RUNS_TOTAL, key::RELATION => Arc::clone(relation), key::OUTCOME => outcome.as_str()).increment(count);
}
