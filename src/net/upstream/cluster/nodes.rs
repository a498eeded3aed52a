//! The nodes of a cluster, as one worker sees them, and its connections to each; `upkeep` maintains them.

mod upkeep;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::ClusterConnection;
use super::core::Core;
use super::half_moved::HalfMoved;
use super::inquiry::LostConnections;
use super::node::{Node, Used};
use super::pieces::Pieces;
use super::scripts::{ScriptNeeds, Scripts};
use super::settings::{Announced, ClusterSettings, NodeName};
use super::times::Times;
use super::together::Together;
use super::unsettled::Unsettled;
use crate::net::address::Address;
use crate::net::clock;
use crate::net::context::Context;
use crate::net::health::Health;
use crate::net::last_answered::LastAnswered;
use crate::net::stable_map::StableMap;
use crate::net::topology::Primary;
use crate::net::topology::cluster::{Cluster, SlotMap};
use crate::net::upstream::connect::OpenError;
use crate::net::upstream::connection::{Link, Phase};
use crate::net::upstream::connections::Connections;
use crate::net::upstream::lane::{Lane, LaneKey, Leases};
use crate::net::upstream::{Settings, WorkerSettings};
use respguard_engine::command::{CommandId, Table};
use respguard_engine::link::handshake::{ConnectParams, Refusal, ServerInfo, Step};
use respguard_engine::route::place::{Route, Routes};
use respguard_engine::route::slots::SlotSet;
use respguard_resp::encode;

/// How long a request waits for the connection to a node that is not there, before it is looked at again where it goes.
const NODE_QUEUE_TIMEOUT: Duration = Duration::from_millis(50);
/// How often the cluster is asked anew because something could not be sent.
const DOUBT_PAUSE: Duration = Duration::from_millis(25);
/// A node that serves no slot any more and has been silent for so long is not waited for.
const SILENCE: Duration = Duration::from_millis(100);
/// The same of a connection that a client has to itself, which the node ends or answers itself if it is well.
const SILENCE_OF_LEASES: Duration = Duration::from_secs(1);
/// Redis' own text.
const NO_DATABASES: &[u8] = b"-ERR SELECT is not allowed in cluster mode\r\n";

/// All nodes, for one worker.
pub struct Nodes {
    me: Weak<Nodes>,
    pub(super) context: Rc<Context>,
    pub(super) settings: Settings,
    shared: Arc<ClusterSettings>,
    pub(super) map: RefCell<SlotMap>,
    /// The names of its shards.
    names: RefCell<Vec<NodeName>>,
    nodes: RefCell<StableMap<NodeName, Node>>,
    leases: Rc<Leases>,
    pub(super) connections: RefCell<Vec<Weak<Core>>>,
    routes: RefCell<(usize, Rc<Routes>)>,
    doubted_at: Cell<Option<Instant>>,
    /// How often the map has changed.
    version: Cell<u64>,
    /// How often something has changed by which a connection is chosen.
    changes: Cell<u64>,
    /// What one client is sending.
    pub(super) pieces: RefCell<Pieces>,
    /// Of what was read last.
    pub(super) times: Cell<Option<Times>>,
    /// Clients of whom something has come and more is about to.
    pub(super) together: Rc<Together<Core>>,
    /// Primaries by their ids, as a walk goes over them.
    primaries: RefCell<Rc<[NodeName]>>,
    /// Connections to nodes with which groups were lost.
    pub(super) lost: LostConnections,
    /// What has changed of late.
    pub(super) unsettled: Unsettled,
    pub(super) half_moved: HalfMoved,
    /// A request waits for room.
    pub(super) room_is_wanted: Cell<bool>,
    /// When one of those that wait for room has gone, or was refused, last.
    pub(super) room_changed_at: Cell<Option<Instant>>,
    /// The slots whose node has not been there for long, if any.
    unserved: RefCell<Option<Rc<SlotSet>>>,
}

impl Nodes {
    pub fn new(context: &Rc<Context>, settings: Settings, shared: Arc<ClusterSettings>) -> Rc<Nodes> {
        let nodes = Rc::new_cyclic(|me| Nodes {
            me: Weak::clone(me),
            context: Rc::clone(context),
            settings,
            shared,
            map: RefCell::default(),
            names: RefCell::default(),
            nodes: RefCell::default(),
            leases: Rc::default(),
            connections: RefCell::default(),
            routes: RefCell::default(),
            doubted_at: Cell::new(None),
            version: Cell::new(0),
            changes: Cell::new(0),
            pieces: RefCell::default(),
            times: Cell::new(None),
            together: Rc::default(),
            primaries: RefCell::new(Rc::from([])),
            lost: LostConnections::default(),
            unsettled: Unsettled::default(),
            half_moved: HalfMoved::default(),
            room_is_wanted: Cell::new(false),
            room_changed_at: Cell::new(None),
            unserved: RefCell::default(),
        });
        nodes.apply(&nodes.shared.cluster.view());
        nodes
    }

    /// What a client's connection to the whole cluster is bounded by: only those to nodes count.
    pub fn virtual_settings(settings: &Settings) -> Settings {
        Settings { connections: Connections::new(usize::MAX / 2), leases_max: usize::MAX / 4, ..settings.clone() }
    }

    pub(super) fn announced(&self) -> &Announced {
        &self.shared.announced
    }

    pub(super) fn has_databases(&self) -> bool {
        self.shared.databases
    }

    pub(super) fn splits_writes(&self) -> bool {
        self.shared.split_writes
    }

    pub(super) fn route(&self, table: &Table, id: CommandId) -> Route {
        self.routes(table).get(id.index())
    }

    /// The routes of all commands.
    pub(super) fn routes(&self, table: &Table) -> Rc<Routes> {
        let mut routes = self.routes.borrow_mut();
        if routes.0 != table.len() {
            *routes = (table.len(), Rc::new(Routes::of(table)));
        }
        Rc::clone(&routes.1)
    }

    /// Something could not be sent: the cluster is to be asked.
    pub(super) fn doubt(&self, now: Instant) {
        self.doubt_after(DOUBT_PAUSE, now);
    }

    /// The same, unless that was less than `pause` ago.
    fn doubt_after(&self, pause: Duration, now: Instant) {
        if self.doubted_at.get().is_none_or(|at| now.saturating_duration_since(at) >= pause) {
            self.doubted_at.set(Some(now));
            self.shared.cluster.doubt();
        }
    }

    /// A node has not got all keys of the slot that it serves.
    pub(super) fn note_half_moved(&self, slot: u16) {
        let now = clock::now();
        self.unsettled.note(slot, now);
        self.half_moved.note(slot, now);
    }

    /// A node has said whose the slot is.
    pub(super) fn moved(&self, slot: u16, address: &NodeName) {
        let is_news = self.map.borrow_mut().moved(slot, address);
        self.note_names();
        if is_news {
            self.half_moved.forget(slot);
            self.note_change();
            self.version.set(self.version.get() + 1);
            self.doubt(clock::now());
        }
    }

    pub(super) fn owner(&self, slot: u16) -> Option<NodeName> {
        let number = self.map.borrow().owner(slot)?;
        self.names.borrow().get(number).cloned()
    }

    /// The number of the shard that serves the slot, as long as nothing changes.
    #[inline]
    pub(super) fn shard_of(&self, slot: u16) -> Option<usize> {
        self.map.borrow().owner(slot)
    }

    /// The number of the last change by which a connection is chosen otherwise.
    #[inline]
    pub(super) fn changes(&self) -> u64 {
        self.changes.get()
    }

    fn note_change(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    pub(super) fn is_owner(&self, slot: u16, address: &NodeName) -> bool {
        let number = self.map.borrow().owner(slot);
        number.and_then(|number| self.names.borrow().get(number).map(|name| name == address)).unwrap_or(false)
    }

    /// Keeps one name for each shard of the map, so that a request's way needs no copy of it.
    fn note_names(&self) {
        let (map, mut names) = (self.map.borrow(), self.names.borrow_mut());
        names.truncate(map.shards.len());
        for (at, shard) in map.shards.iter().enumerate() {
            match names.get_mut(at) {
                Some(name) if **name == shard.address => {}
                Some(name) => *name = NodeName::new(shard.address.clone()),
                None => names.push(NodeName::new(shard.address.clone())),
            }
        }
    }

    /// All that serve slots, in the order of their ids.
    pub(super) fn primaries(&self) -> Rc<[NodeName]> {
        Rc::clone(&self.primaries.borrow())
    }

    /// The number of what is known of the cluster now.
    pub(super) fn version(&self) -> u64 {
        self.version.get()
    }

    /// True for a primary to which there is a connection, and that answers as far as is known.
    pub(super) fn is_there(&self, address: &NodeName) -> bool {
        let is_known = self.primaries.borrow().contains(address) && !self.map.borrow().silent.contains(address);
        is_known && self.nodes.borrow().get(address).is_some_and(Node::is_there)
    }

    /// True for a node that is no primary any more and to which there is no connection.
    pub(super) fn is_gone(&self, address: &NodeName) -> bool {
        !self.primaries.borrow().contains(address) && !self.nodes.borrow().get(address).is_some_and(Node::is_there)
    }

    /// True for a node that has been silent for longer than a request waits.
    pub(super) fn is_given_up(&self, address: &NodeName) -> bool {
        self.nodes.borrow().get(address).is_some_and(Node::is_given_up)
    }

    /// True for a node of which nothing but failures has come of late.
    pub(super) fn is_silent(&self, address: &NodeName) -> bool {
        self.nodes.borrow().get(address).is_some_and(|node| node.silent_for(clock::now()).is_some())
    }

    /// What has to go before something that needs these scripts and functions, for the node has not got it yet: requests,
    /// and how many. `None` where nothing has.
    pub(super) fn missing(&self, address: &NodeName, opened_at: Option<Instant>, needs: &ScriptNeeds) -> Option<(Vec<u8>, u32)> {
        let nodes = self.nodes.borrow();
        let node = nodes.get(address)?;
        let (mut requests, mut count) = (Vec::new(), 0);
        for digest in &needs.scripts {
            if node.lacks_script(opened_at, digest)
                && let Some(body) = self.shared.scripts.body(digest)
            {
                encode::request(&mut requests, &[b"SCRIPT", b"LOAD", &body]);
                count += 1;
            }
        }
        if needs.functions && node.lacks_libraries(opened_at, self.shared.scripts.version()) {
            count += self.shared.scripts.write_libraries(&mut requests);
        }
        (count > 0).then_some((requests, count))
    }

    /// Whether the node may not have got something of that.
    pub(super) fn may_lack(&self, address: &NodeName, opened_at: Option<Instant>, needs: &ScriptNeeds) -> bool {
        let nodes = self.nodes.borrow();
        nodes.get(address).is_none_or(|node| !node.was_given(opened_at, needs, self.shared.scripts.version()))
    }

    /// The node has lost what it was given.
    pub(super) fn forget_loaded(&self, address: &NodeName) {
        if let Some(node) = self.nodes.borrow().get(address) {
            node.forget_loaded();
        }
    }

    /// What was loaded through the proxy.
    pub(super) fn scripts(&self) -> &Scripts {
        &self.shared.scripts
    }

    /// True for a node of the cluster that is known to be well, primary or not.
    pub(super) fn is_member(&self, address: &NodeName) -> bool {
        let is_known = self.primaries.borrow().contains(address) || self.map.borrow().replicas.contains(address);
        is_known && !self.is_given_up(address) && !self.map.borrow().silent.contains(address)
    }

    /// The node for what is about no key: of those that are there the one with this number.
    pub(super) fn home(&self, number: usize) -> Option<NodeName> {
        let primaries = self.primaries();
        let is_there = |address: &&NodeName| self.is_there(address);
        // Those to which there is no connection yet come before those that do not answer.
        let may_be_there = |address: &&NodeName| self.is_member(address);
        let count = primaries.len().max(1);
        let (before, from) = primaries.split_at(if primaries.is_empty() { 0 } else { number % count });
        let in_order = || from.iter().chain(before);
        in_order().find(is_there).or_else(|| in_order().find(may_be_there)).or_else(|| in_order().next()).cloned()
    }

    /// The connections to a node for such clients; `None` where there may be no more of them.
    pub(super) fn lane(&self, address: &NodeName, key: &LaneKey) -> Option<Rc<Lane>> {
        self.used(address, key).map(|used| Rc::clone(&used.lane))
    }

    /// The same, to be told of each use.
    pub(super) fn used(&self, address: &NodeName, key: &LaneKey) -> Option<Rc<Used>> {
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes.entry(NodeName::clone(address)).or_insert_with(|| self.node(address));
        if let Some(used) = node.lanes.get(key) {
            used.at.set(clock::now());
            return Some(Rc::clone(used));
        }
        let permit = node.settings.connections.take().ok()?;
        let link = Link::spawn(&self.context, &node.settings, key.params(), permit, true, node.orphans());
        let lane = Lane::over(&self.context, &node.settings, &self.leases, key.clone(), link);
        let used = Used::now(lane);
        node.lanes.insert(key.clone(), Rc::clone(&used));
        self.note_change();
        Some(used)
    }

    /// A client goes on over connections of this key: what was lost on others is ended before anything is sent on these.
    pub fn end_orphans(&self, key: &LaneKey) {
        let nodes = self.nodes.borrow();
        let others = |node: &Node| {
            let lanes = node.lanes.iter().filter(|(other, _)| *other != key);
            lanes.flat_map(|(_, used)| used.lane.orphans()).collect::<Vec<_>>()
        };
        let lost: Vec<_> = nodes.iter().map(|(address, node)| (NodeName::clone(address), others(node))).collect();
        drop(nodes);
        for (address, orphans) in lost.into_iter().filter(|(_, orphans)| !orphans.is_empty()) {
            if let Some(lane) = self.lane(&address, key) {
                orphans.into_iter().for_each(|orphan| lane.shared().kill_orphan(orphan));
            }
        }
    }

    fn node(&self, address: &NodeName) -> Node {
        let traffic = self.shared.traffic.of(address, &self.settings.connections);
        let settings = Settings {
            primary: Primary::fixed(Address::clone(address)),
            connections: Arc::clone(&traffic.connections),
            queue_timeout: NODE_QUEUE_TIMEOUT,
            retry_reads: false,
            cluster: None,
            is_node: true,
            ..self.settings.clone()
        };
        let (health, last_answered) = (Some(Health::default()), Some(LastAnswered::default()));
        Node::new(Rc::new(WorkerSettings { settings, nodes: None, health, last_answered }), traffic)
    }

    /// A client's connection to the cluster, once a node takes its login and protocol.
    ///
    /// # Errors
    /// No node does, or none is there.
    pub async fn connect(&self, params: &ConnectParams) -> Result<(ClusterConnection, ServerInfo), OpenError> {
        if params.db != 0 && !self.has_databases() {
            let refusal = Refusal { step: Step::Select, reply: NO_DATABASES.into() };
            return Err(OpenError::Refused { address: "the cluster".to_owned(), refusal });
        }
        let Some(nodes) = self.me.upgrade() else { return Err(OpenError::NoCluster) };
        let ConnectParams { login, selects, protocol, db } = params.clone();
        let key = LaneKey { login, selects, db, protocol };
        // Whoever logs in himself is asked about each time: his password may be another one by now.
        let is_own = key.login == self.settings.login;
        let info = match self.known(&key).filter(|_| is_own) {
            Some(info) => info,
            None => self.verify(&key, params).await?,
        };
        let core = Core::new(&nodes, key);
        self.connections.borrow_mut().push(Rc::downgrade(&core));
        let info = ServerInfo { client_id: None, address: None, state: None, kills: Vec::new(), ..info };
        Ok((ClusterConnection(core), info))
    }

    /// What a node has said that has taken such a connection.
    fn known(&self, key: &LaneKey) -> Option<ServerInfo> {
        let nodes = self.nodes.borrow();
        let mut lanes = nodes.values().filter_map(|node| node.lanes.get(key)).map(|used| used.lane.shared());
        lanes.find(|link| link.phase() == Phase::Ready).map(|link| link.info())
    }

    /// Opens a connection to one node after the other, until one is there.
    pub(super) async fn verify(&self, key: &LaneKey, params: &ConnectParams) -> Result<ServerInfo, OpenError> {
        let primaries = self.primaries();
        let (there, others): (Vec<_>, Vec<_>) = primaries.iter().partition(|address| self.is_there(address));
        for address in there.into_iter().chain(others) {
            let (settings, orphans) = {
                let mut nodes = self.nodes.borrow_mut();
                let node = nodes.entry(NodeName::clone(address)).or_insert_with(|| self.node(address));
                (Rc::clone(&node.settings), node.orphans())
            };
            let link = Link::spawn(&self.context, &settings, params.clone(), settings.connections.insist(), false, orphans);
            match link.opened().await {
                Ok(info) => {
                    let mut nodes = self.nodes.borrow_mut();
                    let node = nodes.entry(NodeName::clone(address)).or_insert_with(|| self.node(address));
                    if let Some(used) = node.lanes.get(key) {
                        used.lane.adopt(&link);
                    } else {
                        link.share();
                        let lane = Lane::over(&self.context, &settings, &self.leases, key.clone(), link);
                        node.lanes.insert(key.clone(), Used::now(lane));
                    }
                    return Ok(info);
                }
                Err(Some(refusal)) => return Err(OpenError::Refused { address: address.to_string(), refusal }),
                Err(None) => self.doubt(clock::now()),
            }
        }
        Err(OpenError::NoCluster)
    }

    /// Takes what the nodes say, which is nothing new most of the time.
    pub fn apply(&self, map: &SlotMap) {
        let is_news = {
            let known = self.map.borrow();
            let is_told = known.epoch == map.epoch && known.replicas == map.replicas && known.silent == map.silent;
            !is_told || !known.is_like(map)
        };
        if is_news {
            self.apply_news(map);
        }
        let (primaries, now) = (self.primaries(), clock::now());
        for (address, node) in self.nodes.borrow_mut().iter_mut() {
            let has_left = !primaries.contains(address) && map.answered_in(address).is_none();
            if node.has_left_for(has_left, now) >= Some(SILENCE_OF_LEASES) {
                self.leases.lose(address);
            }
            if let Some(asked_at) = map.asked_at.filter(|_| map.answered_in(address).is_some()) {
                node.answered(asked_at);
            }
            if primaries.contains(address) {
                continue;
            }
            // What it was sent before it was replaced it may never answer.
            node.close_lanes(|_, used| used.lane.shared().phase() == Phase::Ready && used.lane.waits_for(SILENCE).is_none());
        }
        self.wake_unsent();
    }

    /// Connections are chosen anew.
    fn apply_news(&self, map: &SlotMap) {
        self.version.set(self.version.get() + 1);
        self.unsettled.note_moved(&self.map.borrow(), map, clock::now());
        self.half_moved.forget_moved(&self.map.borrow(), map);
        let mut shards: Vec<_> = map.shards.iter().filter(|shard| shard.slots > 0).collect();
        shards.sort_by(|a, b| (&a.id, a.address.to_string()).cmp(&(&b.id, b.address.to_string())));
        self.primaries.replace(shards.iter().map(|shard| NodeName::new(shard.address.clone())).collect());
        self.map.replace(map.clone());
        self.note_names();
        self.note_change();
    }

    /// Returns when the cluster has been asked anew, with what it says.
    pub fn cluster(&self) -> Cluster {
        self.shared.cluster.clone()
    }

    /// Closes everything.
    pub fn close(&self) {
        for (_, node) in self.nodes.borrow_mut().drain() {
            node.lanes.values().for_each(|used| used.lane.close());
        }
    }
}
