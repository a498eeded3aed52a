//! The nodes of a cluster, as GET /status tells them.

use serde_json::{Value, json};

use crate::net::topology::cluster::Cluster;
use respguard_engine::route::slots::SLOTS;

/// Who serves what, and who answers.
pub(super) fn describe(cluster: &Cluster) -> Value {
    let map = cluster.view();
    let nodes: Vec<Value> = map
        .shards
        .iter()
        .map(|shard| {
            json!({
                "id": shard.id,
                "address": shard.address.to_string(),
                "slots": shard.slots,
                "available": !map.silent.contains(&shard.address),
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
