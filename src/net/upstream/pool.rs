//! The lanes of one worker.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::cluster::nodes::Nodes;
use super::connection::Link;
use super::connections::{Full, Permit};
use super::lane::{Lane, LaneKey, Leases, NoLease, TtlFixPermission};
use super::spare::Spares;
use super::{Settings, WorkerSettings, probe};
use crate::net::clock;
use crate::net::context::Context;
use crate::net::stable_map::StableMap;
use respguard_engine::link::handshake::{Refusal, Selects};
use respguard_engine::route::slots::SlotSet;
use respguard_resp::Protocol;

/// Lanes without clients that a worker keeps: a client that goes from one to the next leaves no more behind.
const UNUSED_LANES_MAX: usize = 16;
/// How long is waited for a connection that nobody needs to end, and how often is looked.
const ROOM_WAIT: Duration = Duration::from_millis(250);
const ROOM_PAUSE: Duration = Duration::from_millis(2);

/// Every lane that a client of this worker has used.
pub struct Pool {
    context: Rc<Context>,
    pub settings: Rc<WorkerSettings>,
    lanes: RefCell<StableMap<LaneKey, Rc<Lane>>>,
    /// Room for the lanes that are looked at, so that none is allocated each time.
    watched: RefCell<Vec<Rc<Lane>>>,
    leases: Rc<Leases>,
    first: Rc<Lane>,
    /// For what a server in trouble is to be told.
    pub spares: Rc<Spares>,
}

impl Pool {
    /// A pool with the lane of clients that have not logged in or changed anything; its connection is opened at once.
    pub fn new(context: &Rc<Context>, settings: Settings) -> Pool {
        let with_nodes = match settings.cluster.clone() {
            Some(cluster) => {
                let own = Nodes::virtual_settings(&settings);
                WorkerSettings { settings: own, nodes: Some(Nodes::new(context, settings, cluster)), health: None }
            }
            None => WorkerSettings::server(settings),
        };
        let settings = Rc::new(with_nodes);
        let leases = Rc::<Leases>::default();
        let key = LaneKey { login: settings.login.clone(), selects: Selects::Itself, db: 0, protocol: Protocol::Resp2 };
        let first = Lane::first(context, &settings, &leases, key.clone());
        let lanes = RefCell::new(StableMap::from_iter([(key, Rc::clone(&first))]));
        let spares = Spares::new(context, &settings);
        Pool { context: Rc::clone(context), settings, lanes, watched: RefCell::default(), leases, first, spares }
    }

    /// The lane of clients that have not logged in or changed anything.
    pub fn first(&self) -> &Rc<Lane> {
        &self.first
    }

    /// Of a cluster: the slots whose node has not been there for long, if any, and rules say what is answered then.
    pub fn unserved(&self) -> Option<Rc<SlotSet>> {
        self.settings.nodes.as_ref()?.unserved()
    }

    /// Whether it is a cluster.
    pub fn is_cluster(&self) -> bool {
        self.settings.nodes.is_some()
    }

    /// The lane of a key that the server has already accepted; `None` if it has to be asked.
    pub fn known(&self, key: &LaneKey) -> Option<Rc<Lane>> {
        self.lanes.borrow().get(key).cloned()
    }

    /// Opens a connection with this key, and so learns whether the server accepts it for whoever
    /// asks: a lane is never joined by a user's name alone.
    ///
    /// What the client has lost on its `old` lane is ended first.
    ///
    /// # Errors
    /// The server refuses, or there is no connection.
    pub async fn verify(&self, key: LaneKey, old: &Lane) -> Result<Rc<Lane>, NoLane> {
        if self.context.health.refuses() {
            return Err(NoLane::Unavailable);
        }
        let _reserved = self.leases.reserve(&self.settings).map_err(NoLane::Taken)?;
        self.close_unused(UNUSED_LANES_MAX);
        let permit = self.make_room().await.map_err(|full| NoLane::Taken(full.into()))?;
        let link = Link::spawn(&self.context, &self.settings, key.params(), permit, false, old.orphans());
        let opened = match tokio::time::timeout(self.settings.patience(), link.opened()).await {
            Ok(opened) => opened,
            Err(_) => Err(None),
        };
        if let Err(refusal) = opened {
            link.close();
            return Err(refusal.map_or(NoLane::Unavailable, NoLane::Refused));
        }
        if let Some(lane) = self.known(&key) {
            lane.adopt(&link);
            return Ok(lane);
        }
        link.share();
        let lane = Lane::over(&self.context, &self.settings, &self.leases, key.clone(), link);
        self.lanes.borrow_mut().insert(key, Rc::clone(&lane));
        Ok(lane)
    }

    /// A lane that the server has accepted on a spare connection, for there is none of its own to be had now.
    ///
    /// # Errors
    /// There are as many connections as there may be.
    pub fn open_accepted(&self, key: LaneKey) -> Result<Rc<Lane>, Full> {
        if let Some(lane) = self.known(&key) {
            return Ok(lane);
        }
        let permit = self.settings.connections.take()?;
        let link = Link::spawn(&self.context, &self.settings, key.params(), permit, true, Vec::new());
        link.set_struggling();
        let lane = Lane::over(&self.context, &self.settings, &self.leases, key.clone(), link);
        self.lanes.borrow_mut().insert(key, Rc::clone(&lane));
        Ok(lane)
    }

    /// Room for one more connection: those that nobody needs are closed for it, on every worker.
    ///
    /// # Errors
    /// There are as many as there may be, and all are needed.
    pub async fn make_room(&self) -> Result<Permit, Full> {
        let connections = &self.settings.connections;
        let first = connections.take();
        if first.is_ok() {
            return first;
        }
        let _waiting = connections.wait();
        self.close_unneeded();
        let deadline = clock::now() + ROOM_WAIT.min(self.settings.queue_timeout);
        loop {
            tokio::time::sleep(ROOM_PAUSE).await;
            let taken = connections.take();
            if taken.is_ok() || clock::now() >= deadline {
                return taken;
            }
        }
    }

    /// Looks after all lanes; called every few milliseconds. Returns those that the server does not take any more: their
    /// clients are to be closed, then they.
    #[must_use]
    pub fn on_tick(&self) -> Vec<Rc<Lane>> {
        if self.context.health.report(clock::now()) {
            probe::send(&self.context, &self.first);
        }
        if let Some(nodes) = &self.settings.nodes {
            nodes.on_tick();
        }
        self.leases.on_tick();
        self.spares.on_tick();
        self.ping_when_silent();
        let mut revoked = Vec::new();
        self.lanes.borrow_mut().retain(|_, lane| {
            lane.on_tick();
            lane.resolve_doubt(&self.first);
            if lane.is_revoked() {
                revoked.push(Rc::clone(lane));
                return false;
            }
            let keep = !lane.is_forsaken();
            if !keep {
                lane.close();
            }
            keep
        });
        if self.settings.connections.is_waited_for() {
            self.close_unneeded();
        }
        self.close_unused(UNUSED_LANES_MAX);
        revoked
    }

    /// Another server has become the primary, or none: all look whether they may go on.
    pub fn follow_primary(&self) {
        self.lanes.borrow().values().for_each(|lane| lane.wake());
        self.leases.wake();
    }

    /// Looks whether a connection keeps others waiting; true while there is something to look at.
    pub fn watch(&self) -> bool {
        self.ping_when_silent();
        // A lane that is looked at may come to the pool for a connection: the map is not borrowed meanwhile.
        let mut lanes = self.watched.take();
        lanes.extend(self.lanes.borrow().values().cloned());
        let is_owed = lanes.iter().fold(false, |owed, lane| lane.watch() | owed);
        self.context.watch.note_still(lanes.iter().any(|lane| lane.still().is_some()));
        lanes.clear();
        self.watched.replace(lanes);
        is_owed
    }

    /// Where a connection keeps its head waiting, looks whether the server answers on another one.
    fn ping_when_silent(&self) {
        let least = self.spares.least_silence();
        let shared = self.lanes.borrow().values().filter_map(|lane| lane.waits_for(least)).min();
        if let Some(silent) = shared.into_iter().chain(self.leases.waits_for(least)).min() {
            self.spares.ping_when_silent(&self.context, silent);
        }
    }

    /// Closes what no client has.
    fn close_unneeded(&self) {
        self.close_unused(0);
        self.lanes.borrow().values().for_each(|lane| lane.close_idle());
    }

    /// Of the lanes without clients, so many that were left last stay.
    fn close_unused(&self, most: usize) {
        let mut lanes = self.lanes.borrow_mut();
        if lanes.len() <= most {
            return;
        }
        let mut unused: Vec<_> = lanes.iter().filter_map(|(key, lane)| Some((lane.unused_since()?, key.clone()))).collect();
        unused.sort_unstable_by_key(|(since, _)| *since);
        for (_, key) in unused.iter().take(unused.len().saturating_sub(most)) {
            if let Some(lane) = lanes.remove(key) {
                lane.close();
            }
        }
    }

    /// Another server may have taken its place: earlier refusals no longer count.
    pub fn forget_refusals(&self) {
        for lane in self.lanes.borrow().values() {
            lane.probes.set(true);
            lane.ttl_fix.set(TtlFixPermission::Unknown);
            lane.setnx_fix.set(TtlFixPermission::Unknown);
        }
    }

    /// Closes everything.
    pub fn close(&self) {
        self.spares.close();
        if let Some(nodes) = &self.settings.nodes {
            nodes.close();
        }
        for (_, lane) in self.lanes.borrow_mut().drain() {
            lane.close();
        }
    }
}

/// Why a client cannot move to another lane.
#[derive(Debug)]
pub enum NoLane {
    /// The server does not take the user, protocol or db.
    Refused(Refusal),
    /// There is no server to ask.
    Unavailable,
    /// There may be no further connection.
    Taken(NoLease),
}
