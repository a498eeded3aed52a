//! The nodes of a cluster, as shown by GET /status.

use serde_json::{Value, json};

use crate::net::upstream::cluster::nodes::ClusterSettings;
use respguard_engine::route::slots::SLOTS;

/// Who serves what, and who answers.
pub(super) fn describe(settings: &ClusterSettings) -> Value {
    let map = settings.cluster.view();
    let nodes: Vec<Value> = map
        .shards
        .iter()
        .map(|shard| {
            let (connections, replies) = settings.traffic.seen(&shard.address);
            json!({
                "id": shard.id,
                "address": shard.address.to_string(),
                "slots": shard.slots,
                "available": !map.silent.contains(&shard.address),
                "connections": connections,
                "replies": replies,
                "answered_in_us": map.answered_in(&shard.address).map(|took| took.as_micros() as u64),
            })
        })
        .collect();
    json!({
        "epoch": map.epoch,
        "since_seconds": map.since.elapsed().as_secs(),
        "slots_unserved": SLOTS - map.reachable(),
        "nodes": nodes,
        "replicas": map.replicas.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
