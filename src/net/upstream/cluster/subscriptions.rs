//! What a client is subscribed to, and on which nodes: a channel or pattern on any one node, because messages go to all of them;
//! a sharded channel on the node of its slot; channels that begin with `__key`, and patterns that cover some of these, on every
//! primary, because keyspace events do not leave their node. What else such a pattern covers every node tells: it is heard from
//! one.
//!
//! Each node is asked for each name by itself. A name is heard on its old node until the new one has confirmed it, so that no
//! message comes twice.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Instant;

use super::core::Core;
use super::entry::{Kind as EntryKind, Lease, Phase};
use super::listener::{Listener, ended_by_node, message_of};
use super::messages::confirm;
use super::replies::NextStep;
use super::retry::Retry;
use super::settings::NodeName;
use super::state::State;
use crate::net::clock;
use crate::net::upstream::Recipient;
use crate::net::upstream::connection::Phase as LinkPhase;
use respguard_engine::command::SubscriptionKind as Kind;
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;
use respguard_engine::route::key_events::{KEY_EVENTS, pattern_covers_key_events};
use respguard_engine::route::redirect::Redirect;
use respguard_engine::route::slots::key_slot;
use respguard_resp::value;

/// A channel or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) kind: Kind,
    pub(super) text: Box<[u8]>,
}

impl Name {
    fn slot(&self) -> Option<u16> {
        (self.kind == Kind::Shard).then(|| key_slot(&self.text))
    }

    fn is_everywhere(&self) -> bool {
        match self.kind {
            Kind::Channel => self.text.starts_with(KEY_EVENTS),
            Kind::Pattern => pattern_covers_key_events(&self.text),
            Kind::Shard => false,
        }
    }

    /// It may be about more than what becomes of keys.
    fn covers_more(&self) -> bool {
        self.kind == Kind::Pattern && !self.text.starts_with(KEY_EVENTS)
    }
}

/// A (un)subscribe command on its way.
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) on: bool,
    pub(super) names: Vec<Box<[u8]>>,
    /// The nodes have been asked for it.
    pub(super) is_begun: bool,
}

/// A name that the client has subscribed to.
#[derive(Default)]
struct SubscribedName {
    /// Its client has been told.
    is_confirmed: bool,
    /// The connections that count; what every node tells counts on the first.
    heard_on: Vec<u64>,
    /// What a node has said to the client's own request for it.
    error: Option<Vec<u8>>,
    /// No node has it.
    missing_since: Option<Instant>,
}

/// One node's connection, and the names that it was asked for.
struct NodeSubscription {
    address: NodeName,
    lease: Lease,
    listener: Rc<Listener>,
    names: BTreeSet<Name>,
}

/// All of a client's.
#[derive(Default)]
pub(super) struct Subscriptions {
    wanted: BTreeMap<Name, SubscribedName>,
    listening: Vec<NodeSubscription>,
    last_id: u64,
    /// Names whose nodes are to be looked for.
    unsettled: BTreeSet<Name>,
    /// The map that they were settled by.
    version: u64,
    retry: Retry,
}

impl Subscriptions {
    /// How many the client knows of, as confirmations of this kind count them.
    fn count(&self, kind: Kind) -> i64 {
        let counts = |name: &Name| (name.kind == Kind::Shard) == (kind == Kind::Shard);
        self.wanted.iter().filter(|(name, wanted)| wanted.is_confirmed && counts(name)).count() as i64
    }

    pub(super) fn wants(&self, name: &Name) -> bool {
        self.wanted.contains_key(name)
    }

    pub(super) fn any(&self) -> bool {
        self.wanted.values().any(|wanted| wanted.is_confirmed)
    }

    pub(super) fn is_settled(&self, version: u64) -> bool {
        self.unsettled.is_empty()
            && (self.version == version || self.wanted.is_empty())
            && !self.listening.iter().any(|listening| listening.listener.is_lost.get())
    }

    /// Connections that were lost are let go; what lay on them is looked for anew.
    fn drop_lost(&mut self, now: Instant, returning: &mut Vec<(Lease, bool)>) {
        let is_lost = |one: &NodeSubscription| one.listener.is_lost.get() || one.lease.link.phase() == LinkPhase::Closed;
        for lost in self.listening.extract_if(.., |one| is_lost(one)) {
            self.retry.pause(now);
            for name in lost.names {
                if let Some(wanted) = self.wanted.get_mut(&name) {
                    wanted.stop_listening(lost.listener.id, now);
                    self.unsettled.insert(name);
                }
            }
            returning.push((lost.lease, false));
        }
    }

    /// The name is not needed there.
    fn leave(&mut self, name: &Name, is_left: impl Fn(&NodeSubscription) -> bool) {
        let now = clock::now();
        for one in self.listening.iter_mut().filter(|one| is_left(one)) {
            if one.names.remove(name) && !one.names.is_empty() {
                let request = one.listener.request(name, false);
                let who: Rc<dyn Recipient> = Rc::<Listener>::clone(&one.listener);
                let _ = one.lease.link.send(who, &[&request], Owed::questions(0, 1), Times::unlimited(now));
            }
        }
    }

    fn close_unneeded(&mut self, returning: &mut Vec<(Lease, bool)>) {
        let unneeded = self.listening.extract_if(.., |one| one.names.is_empty());
        returning.extend(unneeded.map(|one| (one.lease, false)));
    }

    /// Nobody wants the name any more.
    fn forget(&mut self, name: &Name) -> bool {
        self.unsettled.remove(name);
        let was_known = self.wanted.remove(name).is_some_and(|wanted| wanted.is_confirmed);
        self.leave(name, |_| true);
        was_known
    }

    pub(super) fn close(&mut self) -> impl Iterator<Item = Lease> {
        self.listening.drain(..).map(|one| one.lease)
    }
}

impl SubscribedName {
    /// Whether a message on this channel counts that has come on this connection.
    fn counts(&self, id: u64, channel: &[u8]) -> bool {
        self.heard_on.first() == Some(&id) || channel.starts_with(KEY_EVENTS) && self.heard_on.contains(&id)
    }

    fn stop_listening(&mut self, id: u64, now: Instant) {
        self.heard_on.retain(|on| *on != id);
        if self.heard_on.is_empty() {
            self.missing_since.get_or_insert(now);
        }
    }
}

impl Core {
    /// Begins a (un)subscribe command, or goes on with it; 0 while it waits.
    pub(super) fn change_subscriptions(&self, state: &mut State, place: usize, now: Instant) -> usize {
        let EntryKind::Subscribe(change) = &mut state.queue[place].kind else { return 0 };
        let is_begun = std::mem::replace(&mut change.is_begun, true);
        if !change.on {
            self.unsubscribe(state, place);
            return 1;
        }
        if !is_begun {
            let names: Vec<Name> = change.names();
            let subscriptions = state.subscriptions.get_or_insert_default();
            for name in names {
                if !subscriptions.wanted.contains_key(&name) {
                    subscriptions
                        .wanted
                        .insert(name.clone(), SubscribedName { missing_since: Some(now), ..SubscribedName::default() });
                    subscriptions.unsettled.insert(name);
                }
            }
        }
        self.settle_subscriptions(state, now);
        usize::from(self.conclude_subscribe(state, place))
    }

    fn unsubscribe(&self, state: &mut State, place: usize) {
        let protocol = self.key.borrow().protocol;
        let State { queue, subscriptions, returning, .. } = state;
        let EntryKind::Subscribe(change) = &queue[place].kind else { return };
        let (kind, mut names) = (change.kind, change.names());
        let mut out = Vec::new();
        if let Some(subscriptions) = subscriptions {
            if names.is_empty() {
                names = subscriptions.wanted.keys().filter(|name| name.kind == kind).cloned().collect();
            }
            let mut count = subscriptions.count(kind);
            for name in &names {
                count -= i64::from(subscriptions.forget(name));
                confirm(&mut out, protocol, kind, false, Some(&name.text), count);
            }
            if names.is_empty() {
                confirm(&mut out, protocol, kind, false, None, count);
            }
            subscriptions.close_unneeded(returning);
        } else if names.is_empty() {
            confirm(&mut out, protocol, kind, false, None, 0);
        } else {
            names.iter().for_each(|name| confirm(&mut out, protocol, kind, false, Some(&name.text), 0));
        }
        if subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.wanted.is_empty()) {
            *subscriptions = None;
        }
        queue[place].reply = out;
        state.finish(place, Phase::Done);
    }

    /// Sees to it that each name is asked for where it belongs.
    pub(super) fn settle_subscriptions(&self, state: &mut State, now: Instant) {
        let State { subscriptions, returning, .. } = state;
        let Some(subscriptions) = subscriptions else { return };
        subscriptions.drop_lost(now, returning);
        let version = self.nodes.version();
        if subscriptions.version != version {
            subscriptions.version = version;
            subscriptions.unsettled = subscriptions.wanted.keys().cloned().collect();
        }
        if subscriptions.retry.is_due(now) {
            for name in std::mem::take(&mut subscriptions.unsettled) {
                if !self.settle(subscriptions, &name, now) {
                    subscriptions.unsettled.insert(name);
                }
            }
            if !subscriptions.unsettled.is_empty() {
                self.nodes.doubt(now);
            }
            subscriptions.close_unneeded(returning);
        }
        let longest = self.nodes.settings.request_timeout;
        let is_lost = |wanted: &SubscribedName| {
            wanted.is_confirmed && wanted.missing_since.is_some_and(|since| now.saturating_duration_since(since) > longest)
        };
        if subscriptions.wanted.values().any(is_lost) {
            tracing::info!("closed: no node of the cluster serves its subscriptions");
            state.is_closed = true;
        }
    }

    /// False where a node of its is still to be found.
    fn settle(&self, subscriptions: &mut Subscriptions, name: &Name, now: Instant) -> bool {
        let asked = subscriptions.listening.iter().filter(|one| one.names.contains(name));
        let targets: Vec<NodeName> = match name.slot() {
            Some(slot) => self.nodes.owner(slot).into_iter().collect(),
            None if name.is_everywhere() => self.nodes.primaries().to_vec(),
            // Wherever it is, as long as that is a node of the cluster.
            None => match asked.map(|one| &one.address).find(|address| self.nodes.is_member(address)) {
                Some(_) => return true,
                None => self.home_node().into_iter().collect(),
            },
        };
        let asked = targets.iter().filter(|target| self.ask_for(subscriptions, name, target, now)).count();
        let is_asked = asked == targets.len();
        if name.is_everywhere() && is_asked {
            // A replica tells of what it repeats, too.
            subscriptions.leave(name, |one| !targets.contains(&one.address));
            let Subscriptions { wanted, listening, .. } = subscriptions;
            let is_there = |id: &u64| listening.iter().any(|one| one.listener.id == *id && one.names.contains(name));
            if let Some(wanted) = wanted.get_mut(name) {
                wanted.heard_on.retain(is_there);
            }
        }
        is_asked && !targets.is_empty()
    }

    /// Asks a node for the name, unless it was.
    fn ask_for(&self, subscriptions: &mut Subscriptions, name: &Name, address: &NodeName, now: Instant) -> bool {
        let known = subscriptions.listening.iter().position(|one| one.address == *address);
        let at = match known.or_else(|| self.open_listener(subscriptions, address)) {
            Some(at) => at,
            None => return false,
        };
        let one = &mut subscriptions.listening[at];
        if one.names.contains(name) {
            return true;
        }
        let who: Rc<dyn Recipient> = Rc::<Listener>::clone(&one.listener);
        let request = one.listener.request(name, true);
        let deadline = now + self.nodes.settings.request_timeout;
        if !one.lease.link.send(who, &[&request], Owed::questions(0, 1), Times::until(now, deadline)) {
            one.listener.is_lost.set(true);
            return false;
        }
        one.names.insert(name.clone())
    }

    fn open_listener(&self, subscriptions: &mut Subscriptions, address: &NodeName) -> Option<usize> {
        let (address, lane) = self.lane_at(NodeName::clone(address))?;
        let link = self.lease(&lane)?;
        subscriptions.last_id += 1;
        self.note_link(&link);
        let listener = Listener::new(self, subscriptions.last_id);
        let who: Rc<dyn Recipient> = Rc::<Listener>::clone(&listener);
        link.set_owner(Some(who));
        let names = BTreeSet::new();
        subscriptions.listening.push(NodeSubscription { address, lease: Lease { lane, link }, listener, names });
        Some(subscriptions.listening.len() - 1)
    }

    /// All nodes may have said to a SUBSCRIBE what they have to say; true when it is over.
    fn conclude_subscribe(&self, state: &mut State, place: usize) -> bool {
        let protocol = self.key.borrow().protocol;
        let State { queue, subscriptions, .. } = state;
        let (EntryKind::Subscribe(change), Some(subscriptions)) = (&queue[place].kind, subscriptions) else { return false };
        let (kind, names) = (change.kind, change.names());
        let error = names.iter().find_map(|name| subscriptions.wanted.get(name)?.error.clone());
        if let Some(error) = error {
            self.revert_subscribe(state, place);
            state.queue[place].reply = error;
            state.finish(place, Phase::Done);
            return true;
        }
        if !names.iter().all(|name| self.is_heard(subscriptions, name)) {
            return false;
        }
        let mut out = Vec::new();
        let mut count = subscriptions.count(kind);
        for name in &names {
            if let Some(wanted) = subscriptions.wanted.get_mut(name) {
                count += i64::from(!std::mem::replace(&mut wanted.is_confirmed, true));
            }
            confirm(&mut out, protocol, kind, true, Some(&name.text), count);
        }
        queue[place].reply = out;
        state.finish(place, Phase::Done);
        true
    }

    /// Whether its client may be told that it is subscribed. Where a pattern covers more than what becomes of keys, nodes that do
    /// not answer are not waited for.
    fn is_heard(&self, subscriptions: &Subscriptions, name: &Name) -> bool {
        let Some(wanted) = subscriptions.wanted.get(name) else { return false };
        if wanted.is_confirmed || !name.is_everywhere() || wanted.heard_on.is_empty() {
            return wanted.is_confirmed || !wanted.heard_on.is_empty();
        }
        let hears = |node: &NodeName| {
            let mut there = subscriptions.listening.iter().filter(|one| one.address == *node);
            there.any(|one| wanted.heard_on.contains(&one.listener.id))
        };
        self.nodes.primaries().iter().all(|node| hears(node) || name.covers_more() && self.nodes.is_silent(node))
    }

    /// A SUBSCRIBE has failed: what it alone has asked for is not wanted.
    pub(super) fn revert_subscribe(&self, state: &mut State, place: usize) {
        let State { queue, subscriptions, returning, .. } = state;
        let (EntryKind::Subscribe(change), Some(known)) = (&queue[place].kind, &mut *subscriptions) else { return };
        for name in change.names() {
            if known.wanted.get(&name).is_some_and(|wanted| !wanted.is_confirmed) {
                known.forget(&name);
            }
        }
        known.close_unneeded(returning);
        if known.wanted.is_empty() {
            *subscriptions = None;
        }
    }

    /// A node has answered for one name.
    pub(super) fn subscription_answered(&self, id: u64, name: &Name, on: bool, answer: &[u8]) {
        let mut borrowed = self.state.borrow_mut();
        let state = &mut *borrowed;
        if on {
            self.note_subscribed(state, id, name, answer);
        }
        if matches!(state.queue.front().map(|entry| &entry.kind), Some(EntryKind::Subscribe(change)) if change.is_begun) {
            self.conclude_subscribe(state, 0);
        }
        drop(borrowed);
        self.has_news.set(true);
        self.wake();
    }

    fn note_subscribed(&self, state: &mut State, id: u64, name: &Name, answer: &[u8]) {
        let Some(subscriptions) = &mut state.subscriptions else { return };
        let Some(wanted) = subscriptions.wanted.get_mut(name) else { return };
        if !value::is_error(answer) {
            (wanted.missing_since, subscriptions.retry) = (None, Retry::default());
            if name.is_everywhere() {
                wanted.heard_on.push(id);
            } else {
                wanted.heard_on = vec![id];
                subscriptions.leave(name, |one| one.listener.id != id);
            }
            return;
        }
        let from = subscriptions.listening.iter_mut().find(|one| one.listener.id == id).map(|one| {
            one.names.remove(name);
            NodeName::clone(&one.address)
        });
        subscriptions.retry.pause(clock::now());
        subscriptions.unsettled.insert(name.clone());
        match Redirect::read(answer, name.slot()) {
            // Half of a slot's keys mean nothing to its channels.
            Some(redirect) => drop::<NextStep>(self.follow(&redirect, name.slot(), from.as_ref())),
            None if !wanted.is_confirmed => wanted.error = Some(answer.to_vec()),
            None => {}
        }
    }

    /// A frame that nobody asked for has come on this connection.
    pub(super) fn message_came(&self, id: u64, frame: &[u8]) {
        let state = &mut *self.state.borrow_mut();
        let Some(subscriptions) = &mut state.subscriptions else { return };
        if let Some((name, channel)) = message_of(frame) {
            if subscriptions.wanted.get(&name).is_some_and(|wanted| wanted.counts(id, channel)) {
                state.pass_message(name, frame, self.key.borrow().protocol);
            }
            return;
        }
        let Some(name) = ended_by_node(frame) else { return };
        let Some(wanted) = subscriptions.wanted.get_mut(&name) else { return };
        wanted.stop_listening(id, clock::now());
        subscriptions.listening.iter_mut().filter(|one| one.listener.id == id).for_each(|one| {
            one.names.remove(&name);
        });
        subscriptions.unsettled.insert(name);
        self.nodes.doubt(clock::now());
        self.has_news.set(true);
    }
}

impl Change {
    fn names(&self) -> Vec<Name> {
        self.names.iter().map(|text| Name { kind: self.kind, text: text.clone() }).collect()
    }
}
