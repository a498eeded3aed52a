//! The lanes of one worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::Settings;
use super::connection::Link;
use super::lane::{Lane, LaneKey, Leases, Mending, NoLease};
use super::probe::Probe;
use crate::net::clock;
use crate::net::context::Context;
use respguard_engine::link::handshake::{Opening, Refusal};
use respguard_resp::Protocol;

/// Every lane that a client of this worker has used.
pub struct Pool {
    context: Rc<Context>,
    pub settings: Rc<Settings>,
    lanes: RefCell<HashMap<LaneKey, Rc<Lane>>>,
    leases: Rc<Leases>,
    first: Rc<Lane>,
}

impl Pool {
    /// A pool with the lane of clients that have said nothing yet; its connection is opened at once.
    pub fn new(context: &Rc<Context>, settings: Settings) -> Pool {
        let settings = Rc::new(settings);
        let leases = Rc::<Leases>::default();
        let key = LaneKey { login: settings.login.clone(), db: 0, protocol: Protocol::Resp2 };
        let first = Lane::new(context, &settings, &leases, key.clone());
        let lanes = RefCell::new(HashMap::from([(key, Rc::clone(&first))]));
        Pool { context: Rc::clone(context), settings, lanes, leases, first }
    }

    /// The lane of clients that have said nothing yet.
    pub fn first(&self) -> &Rc<Lane> {
        &self.first
    }

    /// The lane of a key that the server has accepted before; `None` if it has to be asked.
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
        let opening = Opening { login: key.login.clone(), protocol: key.protocol, db: key.db };
        let link = Link::spawn(&self.context, &self.settings, opening, false, old.ghosts());
        let opened = match tokio::time::timeout(self.settings.queue_timeout, link.opened()).await {
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

    /// Looks after all lanes; called every few milliseconds.
    pub fn tend(&self) {
        if self.context.health.tell(clock::now()) {
            Probe::send(&self.context, &self.first);
        }
        self.leases.tend();
        self.lanes.borrow_mut().retain(|_, lane| {
            lane.tend();
            let keep = !lane.is_forsaken();
            if !keep {
                lane.close();
            }
            keep
        });
    }

    /// The server may be another one now: what it has refused is asked again.
    pub fn forget_refusals(&self) {
        for lane in self.lanes.borrow().values() {
            lane.probes.set(true);
            lane.mending.set(Mending::Unknown);
        }
    }

    /// Closes everything.
    pub fn close(&self) {
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
    /// The worker's leases are all taken.
    Taken(NoLease),
}
