//! Maintains the connections to the nodes: closes unused ones, replaces lost ones, and notices silent nodes.

use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::super::node::{Node, NodeEvent, Used};
use super::Nodes;
use crate::net::clock;
use crate::net::upstream::cluster::settings::NodeName;
use crate::net::upstream::lane::LaneKey;
use respguard_engine::link::handshake::Selects;
use respguard_engine::route::slots::{SLOTS, SlotSet};
use respguard_resp::Protocol;
use tracing::{info, warn};

/// Connections to a node that nobody has used for so long are closed.
const UNUSED_MAX: Duration = Duration::from_secs(60);
/// A primary that owes replies and has been silent for so long may be replaced soon: the others are asked, again and again.
const QUIET: Duration = Duration::from_millis(200);
/// After that it is not likely any more.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// Between two such questions.
const QUIET_PAUSE: Duration = Duration::from_millis(30);
/// A node that is silent may soon be replaced, but not for ever.
const SILENCE_MAX: Duration = Duration::from_secs(60);

impl Nodes {
    /// The slots whose node has not been there for long, if any, and rules say what is answered then.
    pub fn unserved(&self) -> Option<Rc<SlotSet>> {
        self.unserved.borrow().clone()
    }

    /// Slots without a node count from the moment on at which nobody serves them.
    fn note_unserved(&self) {
        if self.context.policy().degrade_rules().is_empty() {
            self.unserved.replace(None);
            return;
        }
        let (map, nodes, names) = (self.map.borrow(), self.nodes.borrow(), self.names.borrow());
        let is_down = |name: &NodeName| {
            // The connection that shows when it is back is new.
            if nodes.get(name).is_some_and(Node::is_given_up) {
                return true;
            }
            let links = nodes.get(name).into_iter().flat_map(|node| node.lanes.values()).map(|used| used.lane.shared());
            links.filter_map(|link| link.down_for()).any(|down| down >= self.settings.queue_timeout)
        };
        let down: Vec<bool> = names.iter().map(is_down).collect();
        if !down.contains(&true) && map.served() == SLOTS {
            self.unserved.replace(None);
            return;
        }
        let mut unserved = SlotSet::default();
        let is_unserved = |slot: &u16| map.owner(*slot).is_none_or(|number| down.get(number).copied().unwrap_or(false));
        (0..SLOTS as u16).filter(is_unserved).for_each(|slot| unserved.insert(slot));
        self.unserved.replace(Some(Rc::new(unserved)));
    }

    pub(super) fn wake_unsent(&self) {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|core| core.strong_count() > 0);
        for core in connections.iter().filter_map(Weak::upgrade).filter(|core| core.has_unsent()) {
            core.has_news.set(true);
            core.wake();
        }
    }

    /// Looks after all connections; called every few milliseconds.
    pub fn on_tick(&self) {
        self.leases.on_tick();
        if self.together.look_for_missed_wakeup() {
            self.context.metrics.missed_wakeup();
        }
        let now = clock::now();
        let mut revoked = Vec::new();
        for node in self.nodes.borrow().values() {
            let others =
                node.lanes.iter().find(|(key, _)| key.login == self.settings.login).map(|(_, used)| Rc::clone(&used.lane));
            for lane in node.lanes.values().map(|used| &used.lane) {
                lane.on_tick();
                lane.watch();
                // Without others nobody can tell whether only this user's connections were ended.
                lane.resolve_doubt(others.as_ref().unwrap_or(lane));
                if lane.is_revoked() {
                    revoked.push(lane.key.clone());
                }
            }
        }
        self.look_for_silent(now);
        for node in self.nodes.borrow_mut().values_mut() {
            // Its connection shows when it is back.
            let is_given_up = node.is_given_up();
            let is_used = |key: &LaneKey, used: &Rc<Used>| {
                let is_unused = now.saturating_duration_since(used.at.get()) >= UNUSED_MAX && used.lane.shared().is_clean();
                let is_unused = is_unused && !is_given_up;
                let keep = !revoked.contains(key) && !is_unused;
                if !keep {
                    self.note_change();
                }
                keep
            };
            node.close_lanes(is_used);
        }
        if !revoked.is_empty() {
            let connections: Vec<_> = self.connections.borrow().iter().filter_map(Weak::upgrade).collect();
            connections.iter().filter(|core| revoked.contains(&*core.key.borrow())).for_each(|core| core.close());
        }
        self.half_moved.forget_old(now);
        self.note_unserved();
        self.look_for_room();
        self.wake_unsent();
    }

    /// Nodes that are silent for too long lose their connections, but for one that shows when they are back.
    fn look_for_silent(&self, now: Instant) {
        let (mut given_up, mut is_quiet) = (Vec::new(), false);
        for (address, node) in self.nodes.borrow_mut().iter_mut() {
            is_quiet |= node.is_quiet(QUIET, QUIET_MAX);
            let event = node.look(now, self.settings.request_timeout);
            if node.silent_for(now).is_some_and(|silent| silent < SILENCE_MAX) {
                self.unsettled.note_all(now);
            }
            match event {
                NodeEvent::None => {}
                NodeEvent::Back => info!(node = %address, "a node of the cluster answers again"),
                NodeEvent::GivenUp => {
                    warn!(node = %address, "a node of the cluster does not answer: its requests are refused until it does");
                    node.close_lanes(|_, _| false);
                    given_up.push(NodeName::clone(address));
                    self.note_change();
                }
            }
        }
        if is_quiet {
            self.doubt_after(QUIET_PAUSE, now);
        }
        if given_up.is_empty() {
            return;
        }
        let (login, protocol) = (self.settings.login.clone(), Protocol::Resp2);
        let key = LaneKey { login, selects: Selects::Itself, db: 0, protocol };
        for address in given_up.iter().filter(|address| self.primaries.borrow().contains(address)) {
            self.lane(address, &key);
        }
    }
}
