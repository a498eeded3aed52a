//! Counts what goes to each node of a cluster, over all workers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net::address::Address;
use crate::net::upstream::connections::Connections;

/// Nodes that are remembered: more come and go only where something is wrong.
const NODES_MAX: usize = 1024;

/// By where the nodes are reached. Cold: workers ask when they get to know a node.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<HashMap<Address, Arc<NodeTraffic>>>);

#[derive(Debug)]
pub struct NodeTraffic {
    /// The connections to it, which count among those of the process.
    pub connections: Arc<Connections>,
    replies: AtomicU64,
}

impl Traffic {
    /// What goes to the node at this address.
    pub(super) fn of(&self, address: &Address, all: &Arc<Connections>) -> Arc<NodeTraffic> {
        let mut nodes = self.nodes();
        if nodes.len() >= NODES_MAX {
            nodes.retain(|_, node| Arc::strong_count(node) > 1);
        }
        let new = || Arc::new(NodeTraffic { connections: Connections::among(all), replies: AtomicU64::new(0) });
        Arc::clone(nodes.entry(address.clone()).or_insert_with(new))
    }

    /// The open connections to the node at this address, and the number of its replies.
    pub fn seen(&self, address: &Address) -> (usize, u64) {
        let seen = |node: &Arc<NodeTraffic>| (node.connections.open(), node.replies.load(Ordering::Relaxed));
        self.nodes().get(address).map(seen).unwrap_or_default()
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<Address, Arc<NodeTraffic>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeTraffic {
    /// So many replies have come.
    pub(super) fn count(&self, replies: u32) {
        if replies > 0 {
            self.replies.fetch_add(u64::from(replies), Ordering::Relaxed);
        }
    }
}
