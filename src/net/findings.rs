//! Passes findings from replies to the counters, the log and the TTL recheck.

use std::rc::Rc;

use crate::net::clock;
use crate::net::context::Context;
use crate::net::recheck::{Recheck, violation};
use crate::net::upstream::lane::{Lane, TtlFixPermission};
use crate::telemetry::compressed;
use crate::telemetry::label::{RetryKind, TtlOutcome};
use respguard_engine::pipeline::finding::{Finding, Outcome, Resolution, TtlState};
use respguard_engine::pipeline::permission::Permission;
use respguard_engine::pipeline::probe::Probe;
use respguard_engine::pipeline::violation::Kind;

/// Reports everything in `found` about the client at `peer`; true when the upstream connection must
/// be closed.
pub fn conclude(context: &Rc<Context>, peer: &str, lane: &Rc<Lane>, found: &mut Vec<Finding>) -> bool {
    let mut close = false;
    for finding in found.drain(..) {
        match finding {
            Finding::Violation(violation) => context.reporter.violation(violation, &peer),
            Finding::Group { index, outcome } => conclude_group(context, index, outcome),
            Finding::PartialFailure(place) => context.metrics.partial_failure(place),
            Finding::Ttl { probe, state } => conclude_ttl(context, peer, lane, probe, state),
            Finding::TtlFixRefused { permission, rule } => stop_ttl_fix(context, lane, permission, &rule),
            Finding::Resolution(resolution) => {
                if resolution == Resolution::Resent {
                    context.metrics.retried(RetryKind::Group, 1);
                }
                context.metrics.resolution(resolution);
            }
            Finding::Killed(kill) => context.killed(kill),
            Finding::RetryRefused => context.metrics.retry_refused(RetryKind::Group, 1),
            Finding::CloseUpstream => close = true,
            Finding::Packed { rule, direction, original, stored } => {
                compressed::count_value(&rule, direction, original, stored);
            }
            Finding::Corrupt { rule } => {
                tracing::warn!(rule = %rule, "a compressed value cannot be decompressed");
                compressed::count_failed(&rule, 1);
            }
            Finding::CompressRefused { rule } => compressed::count_refused(&rule, 1),
            // The exchange has seen to it, which knows the connection.
            Finding::GuardLost | Finding::FollowUp { .. } => {}
        }
    }
    close
}

/// Counts what has become of a group, by its row.
pub fn conclude_group(context: &Context, index: usize, outcome: Outcome) {
    context.metrics.group(index, outcome);
    if let Some(read_at) = context.answering.get() {
        context.metrics.observe_group(index, clock::now().saturating_duration_since(read_at));
    }
}

fn conclude_ttl(context: &Rc<Context>, peer: &str, lane: &Rc<Lane>, probe: Probe, state: TtlState) {
    if probe.before {
        return;
    }
    let outcome = match state {
        TtlState::Fine => TtlOutcome::Present,
        TtlState::TooLong => {
            context.reporter.violation(violation(Kind::TtlTooLong, &probe, context), &peer);
            TtlOutcome::TooLong
        }
        TtlState::Refused => {
            if lane.probes.replace(false) {
                tracing::warn!(user = %String::from_utf8_lossy(lane.key.user()), rule = %probe.rule.name, "this user may not run PTTL: its keys are no longer checked");
            }
            TtlOutcome::Denied
        }
        TtlState::Unknown => TtlOutcome::Unanswered,
        TtlState::None { dropped } => {
            let index = probe.index;
            Recheck { probe, dropped, peer: peer.into() }.schedule(context, lane);
            context.metrics.ttl_check(index, TtlOutcome::Rechecked);
            return;
        }
    };
    context.metrics.ttl_check(probe.index, outcome);
}

/// What a TTL rule makes of writes is refused to this lane's user, and they with it: they go out as they are from now on.
pub fn stop_ttl_fix(context: &Context, lane: &Lane, permission: Permission, rule: &str) {
    if lane.permission(permission).replace(TtlFixPermission::Refused) != TtlFixPermission::Refused {
        let (command, so) = match permission {
            Permission::Expire => ("PEXPIRE", "its writes are no longer fixed, only checked"),
            Permission::Set => ("SET", "its SETNX are not fixed, only checked"),
        };
        tracing::warn!(user = %String::from_utf8_lossy(lane.key.user()), rule, "this user may not run {command}: {so}");
        context.metrics.ttl_check(context.metrics.ttl_row(rule), TtlOutcome::Unfixed);
    }
}
