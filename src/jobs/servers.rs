//! The servers that a job asks: the single server, or the primaries of a cluster.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::server_connection::{QueryError, ServerConnection};
use super::units::{Unit, units};
use crate::net::address::Address;
use crate::net::topology::Primary;
use crate::net::topology::cluster::{Cluster, SlotMap};
use crate::net::upstream::Settings;
use crate::net::upstream::connect::OpenError;
use respguard_engine::policy::relation::Topology;
use respguard_engine::route::redirect::Redirect;
use respguard_engine::route::slots::key_slot;

/// How often a question is sent where a node says that it belongs.
const REDIRECTS_MAX: usize = 8;
/// Connections to nodes that are kept.
const NODES_MAX: usize = 256;
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// Where a question goes on a cluster.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    /// To whoever serves the slot of this key. All keys of the request have that slot.
    Key(&'a [u8]),
    Node(&'a Address),
}

/// Connections of the proxy's own user.
pub(super) struct Servers {
    settings: Settings,
    /// Where it is no cluster.
    one: ServerConnection,
    nodes: Option<Nodes>,
}

struct Nodes {
    cluster: Cluster,
    /// What all of the process know, and the same with what nodes have said to this run.
    known: Arc<SlotMap>,
    map: SlotMap,
    connections: HashMap<Address, ServerConnection>,
    /// Grows when a node is another process than before, or serves another slot.
    changes: u64,
}

impl Servers {
    pub(super) fn new(settings: Settings) -> Servers {
        let nodes = settings.cluster.as_ref().map(|shared| {
            let (cluster, connections) = (shared.cluster.clone(), HashMap::new());
            Nodes { known: Arc::default(), map: SlotMap::default(), cluster, connections, changes: 0 }
        });
        Servers { one: ServerConnection::new(settings.clone()), nodes, settings }
    }

    pub(super) fn topology(&self) -> Topology {
        if self.nodes.is_some() { Topology::Cluster } else { Topology::OneServer }
    }

    /// Grows when another server may answer than before: cursors of before mean nothing then.
    pub(super) fn generation(&self) -> u64 {
        match &self.nodes {
            Some(nodes) => nodes.changes,
            None => self.one.generation,
        }
    }

    /// The same of one node.
    pub(super) fn generation_of(&self, node: &Address) -> u64 {
        let asking = self.nodes.as_ref().and_then(|nodes| nodes.connections.get(node));
        asking.map_or(0, |asking| asking.generation)
    }

    /// The node that serves the slot; `None` where it is no cluster, or nobody does.
    pub(super) fn owner(&mut self, slot: u16) -> Option<Address> {
        self.nodes.as_mut()?.owner(slot)
    }

    /// All nodes that serve slots.
    pub(super) fn primaries(&mut self) -> Vec<Address> {
        let Some(nodes) = &mut self.nodes else { return Vec::new() };
        nodes.refresh();
        let serving = nodes.map.shards.iter().filter(|shard| shard.slots > 0);
        serving.map(|shard| shard.address.clone()).collect()
    }

    /// A node is not what it should be.
    pub(super) fn doubt(&self) {
        if let Some(nodes) = &self.nodes {
            nodes.cluster.doubt();
        }
    }

    /// The replies to one pipeline. With [`QueryError::Moving`] nothing of it has been applied.
    pub(super) async fn ask(
        &mut self,
        at: At<'_>,
        requests: &[u8],
        replies: usize,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, QueryError> {
        let Some(nodes) = &mut self.nodes else { return self.one.ask(requests, replies, bytes_max).await };
        let (address, slot) = match at {
            At::Node(address) => (address.clone(), None),
            At::Key(key) => {
                let slot = key_slot(key);
                (nodes.owner(slot).ok_or(QueryError::Open(OpenError::NoCluster))?, Some(slot))
            }
        };
        let answered = nodes.ask_node(&self.settings, &address, requests, replies, bytes_max).await?;
        let Some(slot) = slot else { return Ok(answered) };
        match answered.iter().find_map(|reply| Redirect::read(reply, Some(slot))) {
            None => Ok(answered),
            Some(redirect) => {
                if let Redirect::Moved { slot, host, port } = redirect {
                    nodes.moved(slot, &resolved(host, port, &address));
                }
                // It may watch something, or be in a transaction.
                nodes.connections.entry(address).and_modify(ServerConnection::close);
                Err(QueryError::Moving(slot))
            }
        }
    }

    /// The replies to questions that only read, each about keys of one slot, wherever these are.
    pub(super) async fn read(&mut self, requests: &[u8], replies: usize, bytes_max: usize) -> Result<Vec<Bytes>, QueryError> {
        let Some(nodes) = &mut self.nodes else { return self.one.ask(requests, replies, bytes_max).await };
        let mut left = units(requests)?;
        let mut answered = vec![Bytes::new(); replies];
        for _ in 0..REDIRECTS_MAX {
            left = nodes.read(&self.settings, requests, left, &mut answered, bytes_max).await?;
            if left.is_empty() {
                return Ok(answered);
            }
        }
        Err(QueryError::Moving(left[0].slot))
    }
}

impl Nodes {
    fn refresh(&mut self) {
        let known = self.cluster.view();
        if Arc::ptr_eq(&known, &self.known) {
            return;
        }
        self.changes += u64::from(!known.is_like(&self.map));
        self.map = SlotMap::clone(&known);
        self.known = known;
        if self.connections.len() > NODES_MAX {
            let is_known = |address: &Address| self.map.shards.iter().any(|shard| shard.address == *address);
            self.connections.retain(|address, _| is_known(address));
        }
    }

    fn owner(&mut self, slot: u16) -> Option<Address> {
        self.refresh();
        let owner = self.map.owner(slot).and_then(|number| self.map.shards.get(number)).map(|shard| shard.address.clone());
        if owner.is_none() {
            self.cluster.doubt();
        }
        owner
    }

    fn moved(&mut self, slot: u16, address: &Address) {
        if self.map.moved(slot, address) {
            self.changes += 1;
            self.cluster.doubt();
        }
    }

    async fn ask_node(
        &mut self,
        settings: &Settings,
        address: &Address,
        requests: &[u8],
        replies: usize,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, QueryError> {
        let node = || Settings { primary: Primary::fixed(address.clone()), cluster: None, is_node: true, ..settings.clone() };
        let asking = self.connections.entry(address.clone()).or_insert_with(|| ServerConnection::new(node()));
        let before = asking.generation;
        let answered = asking.ask(requests, replies, bytes_max).await;
        self.changes += asking.generation - before;
        if answered.is_err() {
            self.cluster.doubt();
        }
        answered
    }

    /// Asks each node for its part; what belongs elsewhere is left.
    async fn read(
        &mut self,
        settings: &Settings,
        requests: &[u8],
        units: Vec<Unit>,
        answered: &mut [Bytes],
        bytes_max: usize,
    ) -> Result<Vec<Unit>, QueryError> {
        let mut by_way: HashMap<(Address, bool), Vec<Unit>> = HashMap::new();
        for mut unit in units {
            let way = match unit.asks.take() {
                Some(address) => (address, true),
                None => (self.owner(unit.slot).ok_or(QueryError::Open(OpenError::NoCluster))?, false),
            };
            by_way.entry(way).or_default().push(unit);
        }
        let mut left = Vec::new();
        for ((address, asks), units) in by_way {
            let (mut request, mut frames) = (Vec::new(), 0);
            for unit in &units {
                if asks {
                    request.extend_from_slice(ASKING);
                    frames += 1;
                }
                request.extend_from_slice(&requests[unit.bytes.clone()]);
                frames += unit.frames;
            }
            let replies = self.ask_node(settings, &address, &request, frames, bytes_max).await?;
            let mut replies = replies.into_iter();
            for mut unit in units {
                if asks {
                    replies.next();
                }
                let own: Vec<Bytes> = replies.by_ref().take(unit.frames).collect();
                let redirect = own.iter().find_map(|reply| Redirect::read(reply, Some(unit.slot)));
                match redirect {
                    None => answered[unit.first..].iter_mut().zip(own).for_each(|(place, reply)| *place = reply),
                    Some(Redirect::Moved { slot, host, port }) => {
                        self.moved(slot, &resolved(host, port, &address));
                        left.push(unit);
                    }
                    Some(Redirect::Ask { host, port, .. }) => {
                        unit.asks = Some(resolved(host, port, &address));
                        left.push(unit);
                    }
                    // Its keys are here and there: it can be asked when the slot is whole again.
                    Some(Redirect::TryAgain | Redirect::Down) => return Err(QueryError::Moving(unit.slot)),
                }
            }
        }
        Ok(left)
    }
}

/// A node that names no host means the one at which it was asked.
fn resolved(host: &str, port: u16, asked: &Address) -> Address {
    let host = match (host, asked) {
        ("" | "?", Address::Tcp { host, .. }) => host.clone(),
        _ => host.to_owned(),
    };
    Address::Tcp { host, port }
}
