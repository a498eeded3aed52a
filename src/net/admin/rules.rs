//! GET /rules: every rule in force, with what it does and whether it is enforced.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::AdminState;
use crate::telemetry::label::RuleKind;
use respguard_engine::policy::rule::Word;
use respguard_engine::policy::{Mode, Policy};

pub(super) async fn rules(State(state): State<AdminState>) -> Json<Value> {
    let policy = state.policy.load();
    Json(json!({ "mode": policy.mode.as_str(), "rules": all(&policy) }))
}

fn all(policy: &Policy) -> Vec<Value> {
    let rule = |kind: RuleKind, name: &str, own: Option<Mode>, action: &str| json!({ "kind": kind.as_str(), "name": name, "mode": policy.mode_of(own).as_str(), "action": action });
    let groups = policy.groups().iter().map(|group| rule(RuleKind::Group, &group.name, group.mode, group.atomic.as_str()));
    let ttls = policy.ttl_rules().iter().map(|ttl| rule(RuleKind::Ttl, &ttl.name, ttl.mode, ttl.action.as_str()));
    let expects = policy.expects().iter().map(|expect| rule(RuleKind::Expect, &expect.name, expect.mode, expect.action.as_str()));
    let guards = policy.guards().iter().map(|guard| rule(RuleKind::Guard, &guard.name, guard.mode, guard.action.as_str()));
    let degrades = policy.degrade_rules().iter().map(|degrade| {
        let action = match (degrade.reads_nil, degrade.writes_ok) {
            (true, true) => "reads nil, writes OK",
            (true, false) => "reads nil",
            _ => "writes OK",
        };
        rule(RuleKind::Degrade, &degrade.name, None, action)
    });
    let relations = policy
        .relations()
        .iter()
        .map(|relation| rule(RuleKind::Relation, &relation.name, relation.mode, relation.repair.as_str()));
    let compresses = policy.compress_rules().iter().map(|compress| {
        let action = if compress.write { "reads and writes" } else { "reads" };
        rule(RuleKind::Compress, &compress.name, compress.mode, action)
    });
    groups.chain(ttls).chain(expects).chain(guards).chain(degrades).chain(relations).chain(compresses).collect()
}
