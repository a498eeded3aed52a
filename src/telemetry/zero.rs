//! Exports the counters of violations as 0 before their first event: `increase` cannot see a series that is not there.

use std::sync::Arc;

use metrics::counter;

use super::label::{BreakerState, Redirected, ReloadOutcome, TopologyChange, key};
use super::{audits, compressed, names};
use respguard_engine::pipeline::violation::Kind;
use respguard_engine::policy::{Policy, TtlAction, TtlRule};

/// What can go wrong with a group.
const OF_GROUPS: [Kind; 11] = [
    Kind::PartialFailure,
    Kind::Split,
    Kind::Sequential,
    Kind::Aborted,
    Kind::Unguarded,
    Kind::Unwrapped,
    Kind::UnknownOutcome,
    Kind::Expectation,
    Kind::Degraded,
    Kind::TooLarge,
    Kind::NearMiss,
];
/// What can go wrong with the transaction of a write that is fixed.
const OF_FIXES: [Kind; 3] = [Kind::Aborted, Kind::Unwrapped, Kind::UnknownOutcome];

/// Counters that have no rule, for a process that has just started.
pub fn show_process() {
    violations(&Arc::from(""), [Kind::PartialFailure]);
    for kind in Kind::ALL.iter().copied() {
        counter!(names::VIOLATIONS_LOG_SUPPRESSED_TOTAL, key::KIND => kind.as_str()).increment(0);
    }
    for outcome in ReloadOutcome::ALL {
        counter!(names::CONFIG_RELOAD_TOTAL, key::OUTCOME => outcome.as_str()).increment(0);
    }
    for to in BreakerState::ALL {
        counter!(names::BREAKER_TRANSITIONS_TOTAL, key::TO => to.as_str()).increment(0);
    }
    for kind in TopologyChange::ALL {
        counter!(names::TOPOLOGY_CHANGES_TOTAL, key::KIND => kind.as_str()).increment(0);
    }
    for kind in Redirected::ALL {
        counter!(names::REDIRECTS_TOTAL, key::KIND => kind.as_str()).increment(0);
    }
    for name in [names::LOGINS_REFUSED_TOTAL, names::TLS_HANDSHAKES_FAILED_TOTAL, names::VIOLATIONS_FILE_LOST_TOTAL] {
        counter!(name).increment(0);
    }
}

/// Violations of these rules, by each kind that they can have. A counter that is there stays as it is.
pub fn show_violations(policy: &Policy, is_cluster: bool) {
    policy.groups().iter().for_each(|rule| violations(&rule.name, OF_GROUPS));
    if is_cluster {
        policy.groups().iter().for_each(|rule| violations(&rule.name, [Kind::CrossSlot]));
    }
    let once = policy.groups().iter().filter(|rule| rule.once.is_some());
    once.for_each(|rule| violations(&rule.name, [Kind::Duplicate]));
    policy.ttl_rules().iter().for_each(|rule| violations(&rule.name, of_ttl(rule)));
    policy.expects().iter().for_each(|rule| violations(&rule.name, [Kind::Expectation, Kind::TooLarge]));
    policy.guards().iter().for_each(|rule| violations(&rule.name, [Kind::Guard, Kind::TooLarge]));
    for relation in policy.relations() {
        violations(&relation.name, [Kind::Orphan, Kind::RelationTtl]);
        audits::show(&relation.name);
    }
    policy.compress_rules().iter().for_each(|rule| compressed::show(&rule.name));
    policy.degrade_rules().iter().for_each(|rule| violations(&rule.name, [Kind::Degraded]));
}

fn of_ttl(rule: &TtlRule) -> Vec<Kind> {
    let mut kinds = vec![Kind::TtlMissing, Kind::TtlLate, Kind::TtlDropped, Kind::TooLarge];
    kinds.extend(rule.max.map(|_| Kind::TtlTooLong));
    match rule.action {
        TtlAction::Flag => {}
        TtlAction::Reject => kinds.push(Kind::TtlRejected),
        TtlAction::Fix => kinds.extend(OF_FIXES),
    }
    kinds
}

fn violations(rule: &Arc<str>, kinds: impl IntoIterator<Item = Kind>) {
    for kind in kinds {
        counter!(names::VIOLATIONS_TOTAL, key::KIND => kind.as_str(), key::RULE => Arc::clone(rule)).increment(0);
    }
}
