//! One node of a cluster, as one worker sees it: its connections, whether it answers, and which scripts it has.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::scripts::{Digest, ScriptNeeds};
use super::traffic::NodeTraffic;
use crate::net::clock;
use crate::net::stable_map::StableMap;
use crate::net::upstream::WorkerSettings;
use crate::net::upstream::connection::Phase;
use crate::net::upstream::lane::{Lane, LaneKey};
use respguard_engine::link::handshake::OrphanedConnection;

/// Of those that were lost with a node, so many are ended.
const ORPHANS_MAX: usize = 64;

pub(super) struct Node {
    pub(super) settings: Rc<WorkerSettings>,
    pub(super) lanes: StableMap<LaneKey, Rc<Used>>,
    /// Since when nothing but failures has come of it.
    silent_since: Cell<Option<Instant>>,
    is_given_up: Cell<bool>,
    /// Since when it is no primary and does not answer.
    left_at: Cell<Option<Instant>>,
    given: RefCell<LoadedScripts>,
    /// Connections that were closed while it owed something on them, and it has no other: the next one ends them first.
    orphans: RefCell<Vec<OrphanedConnection>>,
    traffic: Arc<NodeTraffic>,
}

/// The connections for clients of one kind, and when they were used last.
pub(super) struct Used {
    pub(super) lane: Rc<Lane>,
    pub(super) at: Cell<Instant>,
}

/// What a node was given, over connections that were opened at this time: one that was started anew has lost it.
#[derive(Default)]
struct LoadedScripts {
    opened_at: Option<Instant>,
    scripts: HashSet<Digest>,
    /// The libraries of this number.
    libraries: u64,
}

/// What a look at a node has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeEvent {
    None,
    GivenUp,
    Back,
}

impl Used {
    pub(super) fn now(lane: Rc<Lane>) -> Rc<Used> {
        Rc::new(Used { lane, at: Cell::new(clock::now()) })
    }
}

impl Node {
    pub(super) fn new(settings: Rc<WorkerSettings>, traffic: Arc<NodeTraffic>) -> Node {
        let (lanes, silent_since, is_given_up, left_at, given, orphans) = Default::default();
        Node { settings, lanes, silent_since, is_given_up, left_at, given, orphans, traffic }
    }

    /// What a new connection to it is to end first.
    pub(super) fn orphans(&self) -> Vec<OrphanedConnection> {
        self.orphans.borrow().clone()
    }

    /// Closes those of its connections that are not to be kept. What it has not answered on them it may still read: that is
    /// ended before anything more is sent to it.
    pub(super) fn close_lanes(&mut self, mut keep: impl FnMut(&LaneKey, &Rc<Used>) -> bool) {
        let mut left = Vec::new();
        self.lanes.retain(|key, used| {
            let is_kept = keep(key, used);
            if !is_kept {
                left.extend(used.lane.abandon());
            }
            is_kept
        });
        if self.lanes.is_empty() {
            let orphans = self.orphans.get_mut();
            orphans.extend(left);
            let surplus = orphans.len().saturating_sub(ORPHANS_MAX);
            orphans.drain(..surplus);
        } else {
            self.lanes.values().for_each(|used| left.iter().for_each(|orphan| used.lane.shared().kill_orphan(orphan.clone())));
        }
    }

    /// Those that it was to end have been, once a connection is there that was opened behind them.
    fn forget_orphans(&self) {
        let is_there = |used: &Rc<Used>| {
            let link = used.lane.shared();
            link.phase() == Phase::Ready && link.may_be_left()
        };
        if !self.orphans.borrow().is_empty() && self.lanes.values().any(is_there) {
            self.orphans.take();
        }
    }

    /// True when it has a connection, and nothing speaks against it.
    pub(super) fn is_there(&self) -> bool {
        let is_ready = |used: &Rc<Used>| used.lane.shared().phase() == Phase::Ready;
        self.silent_since.get().is_none() && self.lanes.values().any(is_ready)
    }

    /// It has been silent for longer than a request waits: what is for it is not to wait for it, too.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.get()
    }

    /// How long nothing but failures has come of it.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        self.silent_since.get().map(|since| now.saturating_duration_since(since))
    }

    /// It owes something and has said nothing for so long, but not for longer than `most`.
    pub(super) fn is_quiet(&self, least: Duration, most: Duration) -> bool {
        let mut waits = self.lanes.values().filter_map(|used| used.lane.waits_for(least));
        waits.any(|silent| silent < most)
    }

    /// Takes note of what its connections have seen.
    pub(super) fn look(&self, now: Instant, longest: Duration) -> NodeEvent {
        self.forget_orphans();
        let Some(health) = &self.settings.health else { return NodeEvent::None };
        let (answered, is_alive, has_failed) = health.take_seen();
        self.traffic.count(answered);
        if is_alive || self.lanes.is_empty() {
            self.silent_since.set(None);
        } else if has_failed {
            self.silent_since.set(Some(self.silent_since.get().unwrap_or(now)));
        }
        let is_given_up = self.silent_since.get().is_some_and(|since| now.saturating_duration_since(since) >= longest);
        match (self.is_given_up.replace(is_given_up), is_given_up) {
            (false, true) => NodeEvent::GivenUp,
            (true, false) => NodeEvent::Back,
            _ => NodeEvent::None,
        }
    }

    /// How long it has been no primary, without an answer.
    pub(super) fn has_left_for(&self, has_left: bool, now: Instant) -> Option<Duration> {
        let left_at = has_left.then(|| self.left_at.get().unwrap_or(now));
        self.left_at.set(left_at);
        left_at.map(|at| now.saturating_duration_since(at))
    }

    /// It has answered what it was asked then, over a connection that is not the worker's.
    pub(super) fn answered(&self, asked_at: Instant) {
        self.settings.last_answered.iter().for_each(|last| last.answered(asked_at));
    }

    /// True when it was not given this script yet; it is now.
    pub(super) fn lacks_script(&self, opened_at: Option<Instant>, digest: &Digest) -> bool {
        self.given(opened_at).scripts.insert(*digest)
    }

    /// All of this was given to it over that connection, or cannot be.
    pub(super) fn was_given(&self, opened_at: Option<Instant>, needs: &ScriptNeeds, version: u64) -> bool {
        let given = self.given(opened_at);
        let has_scripts = needs.scripts.iter().all(|digest| given.scripts.contains(digest));
        has_scripts && (!needs.functions || given.libraries == version)
    }

    /// The same for libraries of functions.
    pub(super) fn lacks_libraries(&self, opened_at: Option<Instant>, version: u64) -> bool {
        let mut given = self.given(opened_at);
        std::mem::replace(&mut given.libraries, version) != version
    }

    /// It has lost what it was given.
    pub(super) fn forget_loaded(&self) {
        self.given.replace(LoadedScripts::default());
    }

    fn given(&self, opened_at: Option<Instant>) -> std::cell::RefMut<'_, LoadedScripts> {
        let mut given = self.given.borrow_mut();
        if given.opened_at != opened_at {
            *given = LoadedScripts { opened_at, ..LoadedScripts::default() };
        }
        given
    }
}
