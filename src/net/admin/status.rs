//! GET /status and GET /groups: the state of the process, and the outcomes of each group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{AdminState, StatusSource, nodes};
use crate::telemetry::gap;
use crate::telemetry::label::{GroupOutcome, HoldOutcome, UpstreamState};
use crate::telemetry::record::unix_ms;
use crate::telemetry::totals::GroupTotals;
use respguard_engine::policy::rule::Word;

pub(super) async fn status(State(state): State<AdminState>) -> Json<Value> {
    state.flushes.flush_all().await;
    let StatusSource { started, workers, upstream, sentinels, cluster, registry, breaker, totals, mode_is_switched } =
        &state.status;
    let reasons: Vec<_> = state.readiness.reasons().into_iter().map(|reason| reason.as_str()).collect();
    let connections: serde_json::Map<_, _> =
        UpstreamState::ALL.into_iter().map(|kind| (kind.as_str().to_owned(), totals.upstream(kind).into())).collect();
    let node = upstream.view().node;
    let mut shown = json!({
        "address": node.as_ref().map(|node| node.address.to_string()),
        "available": state.readiness.has_upstream(),
        "connections": connections,
    });
    if let Some(sentinels) = sentinels {
        shown["service"] = (&*sentinels.service).into();
        shown["since_seconds"] = node.as_ref().map(|node| node.since.elapsed().as_secs()).into();
        shown["named_by"] = node.and_then(|node| Some(node.named_by.as_ref()?.to_string())).into();
        shown["sentinels"] = sentinels.describe();
    }
    if let Some(cluster) = cluster {
        shown["cluster"] = nodes::describe(cluster);
    }
    Json(json!({
        "version": env!("RESPGUARD_VERSION"),
        "process": std::process::id(),
        "uptime_seconds": started.elapsed().as_secs(),
        "mode": state.policy.load().mode.as_str(),
        "mode_is_switched": mode_is_switched.load(Ordering::Relaxed),
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "workers": workers,
        "clients": registry.len(),
        "upstream": shown,
        "breaker": breaker.state(),
        "audit": state.jobs.summary(),
    }))
}

pub(super) async fn groups(State(state): State<AdminState>) -> Json<Value> {
    state.flushes.flush_all().await;
    let counted = state.status.totals.groups();
    let in_force: BTreeSet<_> = state.policy.load().groups().iter().map(|group| Arc::clone(&group.name)).collect();
    let seen = counted.iter().filter(|(_, totals)| totals.last_seen.is_some()).map(|(name, _)| name);
    let names: BTreeSet<_> = seen.chain(&in_force).collect();
    let none = GroupTotals::default();
    let groups = names.into_iter().map(|name| group(name, in_force.contains(name), counted.get(name).unwrap_or(&none)));
    Json(json!({ "groups": groups.collect::<Vec<_>>() }))
}

fn group(name: &str, in_force: bool, totals: &GroupTotals) -> Value {
    let matched: u64 = totals.outcomes.iter().sum();
    let bare = totals.outcome(GroupOutcome::Unwrapped) + totals.outcome(GroupOutcome::Observed);
    let bounds = gap::BOUNDS_US.into_iter().map(Some).chain([None]);
    let gaps: Vec<Value> = bounds.zip(totals.gaps).map(|(bound, count)| json!({ "up_to_us": bound, "count": count })).collect();
    let mut shown = json!({
        "name": name,
        "in_force": in_force,
        "matched": matched,
        "wrapped": matched - bare,
        "held": totals.holds.iter().sum::<u64>(),
        "split": totals.hold(HoldOutcome::Expired),
        "hold_gap": { "buckets": gaps, "median_us": gap::median_us(&totals.gaps) },
        "last_seen_ms": totals.last_seen.map(unix_ms),
    });
    for outcome in GroupOutcome::ALL {
        shown[outcome.as_str()] = totals.outcome(outcome).into();
    }
    shown
}
