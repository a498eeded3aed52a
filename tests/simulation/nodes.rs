//! A cluster of model servers: which node serves which slot, as each of them knows it, and what it says of what it does not
//! serve.
//!
//! All of them work on one model, so that there is one history. A key that has left for another node is known by name.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use respguard_engine::route::slots::{SLOTS, key_slot};

use crate::redis::{Model, Session};
use crate::wire::Reply;

/// Where nodes say that they are reached; their hosts are their names.
pub const PORT: u16 = 7000;

/// Who serves what.
#[derive(Debug, Clone)]
pub struct View {
    pub epoch: u64,
    owners: Rc<[usize]>,
}

/// A slot on its way to another node.
#[derive(Debug)]
struct Leaving {
    to: usize,
    /// All of its keys have left.
    is_empty: bool,
}

#[derive(Debug)]
struct Node {
    view: View,
    leaving: BTreeMap<u16, Leaving>,
    coming: BTreeSet<u16>,
    /// It was started anew, and has heard of nobody yet.
    is_unsure: bool,
}

/// All nodes: of two side by side one is the primary, the other its replica.
pub struct Nodes {
    nodes: RefCell<Vec<Node>>,
    now: RefCell<View>,
    /// Keys that have left for the node to which their slot is on its way.
    moved: RefCell<BTreeSet<String>>,
    /// A shard has no primary, and all serve nobody until it has.
    pub is_down: Cell<bool>,
    /// As servers before 7.2: where some keys have left, they point to where the others are not.
    points_anyway: bool,
    /// What no proxy may do.
    pub breaches: RefCell<Vec<String>>,
}

/// What a node is called.
pub fn name(node: usize) -> String {
    format!("n{node}")
}

impl Nodes {
    pub fn new(shards: usize, points_anyway: bool) -> Nodes {
        let owners: Vec<usize> = (0..SLOTS).map(|slot| slot * shards / SLOTS * 2).collect();
        let view = View { epoch: 1, owners: owners.into() };
        let node = |_| Node { view: view.clone(), leaving: BTreeMap::new(), coming: BTreeSet::new(), is_unsure: false };
        Nodes {
            nodes: RefCell::new((0..shards * 2).map(node).collect()),
            now: RefCell::new(view),
            moved: RefCell::default(),
            is_down: Cell::new(false),
            points_anyway,
            breaches: RefCell::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.nodes.borrow().len()
    }

    /// What the node says of the request instead of running it, if so.
    pub fn look(&self, node: usize, session: &mut Session, asking: bool, words: &[String], model: &mut Model) -> Option<Reply> {
        let name = words[0].to_uppercase();
        match &*name {
            "CLUSTER" => return Some(self.tell(node, words)),
            "ASKING" | "READONLY" | "READWRITE" => return Some(Reply::Simple("OK".to_owned())),
            _ => {}
        }
        let keys = if name == "EXEC" { session.queued().iter().flat_map(|words| keys(words)).collect() } else { keys(words) };
        // What is queued is looked at once more when it runs.
        let runs = name == "EXEC" || !session.is_in_multi();
        let refusal = self.refusal(node, &keys, (asking, runs), model)?;
        if name == "EXEC" {
            session.end_multi();
        } else {
            session.refuse_multi();
        }
        Some(Reply::Error(refusal))
    }

    fn refusal(&self, number: usize, keys: &[String], (asking, runs): (bool, bool), model: &mut Model) -> Option<String> {
        let keys: BTreeSet<&String> = keys.iter().collect();
        let slot = key_slot(keys.first()?.as_bytes());
        if keys.iter().any(|key| key_slot(key.as_bytes()) != slot) {
            return Some("CROSSSLOT Keys in request don't hash to the same slot".to_owned());
        }
        let nodes = self.nodes.borrow();
        let node = &nodes[number];
        if self.is_down.get() || node.is_unsure {
            return Some("CLUSTERDOWN The cluster is down".to_owned());
        }
        let mut moved = self.moved.borrow_mut();
        let try_again = || Some("TRYAGAIN Multiple keys request during rehashing of slot".to_owned());
        let owner = node.view.owner(slot);
        if owner == number {
            let leaving = node.leaving.get(&slot)?;
            let is_here = |key: &&&String| !leaving.is_empty && !moved.contains(&***key) && model.has(key);
            return match keys.iter().filter(is_here).count() {
                here if here == keys.len() => None,
                1.. if !self.points_anyway => try_again(),
                _ => Some(format!("ASK {slot} {}:{PORT}", name(leaving.to))),
            };
        }
        if !asking || !node.coming.contains(&slot) {
            return Some(format!("MOVED {slot} {}:{PORT}", name(owner)));
        }
        let is_here = |key: &&&String| moved.contains(&***key) && model.has(key);
        if keys.len() > 1 && keys.iter().filter(is_here).count() < keys.len() {
            return try_again();
        }
        if !runs {
            return None;
        }
        if let Some(key) = keys.iter().find(|key| !moved.contains(&***key) && model.has(key)) {
            self.breaches.borrow_mut().push(format!("node {number} was asked for {key}, which the other node still has"));
        }
        moved.extend(keys.into_iter().cloned());
        None
    }

    /// What a client is told that waits for a key whose slot the node serves no more.
    pub fn end_of_wait(&self, number: usize, key: &str) -> Option<String> {
        let (nodes, slot) = (self.nodes.borrow(), key_slot(key.as_bytes()));
        let owner = nodes[number].view.owner(slot);
        if self.is_down.get() {
            return Some("CLUSTERDOWN The cluster is down".to_owned());
        }
        let is_served = owner == number || nodes[number].coming.contains(&slot);
        (!is_served).then(|| format!("MOVED {slot} {}:{PORT}", name(owner)))
    }

    /// True where such a key is, or would be, at this node.
    pub fn is_here(&self, number: usize, key: &str) -> bool {
        let (nodes, slot) = (self.nodes.borrow(), key_slot(key.as_bytes()));
        let has_moved = self.moved.borrow().contains(key);
        match nodes[number].leaving.get(&slot) {
            Some(leaving) => !leaving.is_empty && !has_moved,
            None => nodes[number].view.owner(slot) == number || has_moved,
        }
    }

    fn tell(&self, number: usize, words: &[String]) -> Reply {
        let nodes = self.nodes.borrow();
        let node = &nodes[number];
        match &*words[1].to_uppercase() {
            "INFO" => {
                let state = if self.is_down.get() || node.is_unsure { "fail" } else { "ok" };
                let epoch = node.view.epoch;
                Reply::bulk(format!(
                    "cluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_current_epoch:{epoch}\r\n"
                ))
            }
            "SLOTS" => {
                let told = |of: usize| {
                    let id = format!("{of:040}");
                    Reply::Array(vec![
                        Reply::bulk(name(of)),
                        Reply::Integer(i64::from(PORT)),
                        Reply::bulk(id),
                        Reply::Array(vec![]),
                    ])
                };
                let mut ranges = Vec::new();
                let mut first = 0;
                for range in node.view.owners.chunk_by(|a, b| a == b) {
                    let (start, end) = (first, first + range.len() as i64 - 1);
                    first = end + 1;
                    let both = [told(range[0]), told(range[0] ^ 1)];
                    ranges.push(Reply::Array([Reply::Integer(start), Reply::Integer(end)].into_iter().chain(both).collect()));
                }
                Reply::Array(ranges)
            }
            other => Reply::Error(format!("ERR unknown subcommand '{other}'")),
        }
    }

    /// Nodes that serve slots.
    pub fn primaries(&self) -> Vec<usize> {
        let now = self.now.borrow();
        (0..self.len()).filter(|node| now.owners.contains(node)).collect()
    }

    /// Who serves the slot, as nobody may know yet.
    pub fn owner(&self, slot: u16) -> usize {
        self.now.borrow().owner(slot)
    }

    /// True for a key of a slot that this node serves, and that has not left it.
    pub fn has(&self, node: usize, key: &str) -> bool {
        self.owner(key_slot(key.as_bytes())) == node && !self.moved.borrow().contains(key)
    }

    /// The slot begins to move; false where it does already, or somebody does not know yet that it has.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) -> bool {
        let mut nodes = self.nodes.borrow_mut();
        let owner = self.owner(slot);
        if nodes.iter().any(|node| node.leaving.contains_key(&slot) || node.view.owner(slot) != owner) {
            return false;
        }
        nodes[to].coming.insert(slot);
        nodes[from].leaving.insert(slot, Leaving { to, is_empty: false });
        true
    }

    /// Moves one key of the slot; false when there is none left, or the slot moves no more.
    pub fn move_key(&self, slot: u16, from: usize, model: &mut Model) -> bool {
        if !self.is_leaving(slot, from) {
            return false;
        }
        let mut moved = self.moved.borrow_mut();
        let next = model.keys().find(|key| key_slot(key.as_bytes()) == slot && !moved.contains(*key)).cloned();
        if let Some(key) = &next {
            model.touch(key);
            moved.insert(key.clone());
        }
        next.is_some()
    }

    pub fn is_leaving(&self, slot: u16, from: usize) -> bool {
        self.nodes.borrow()[from].leaving.contains_key(&slot)
    }

    /// All of the slot has left; what is to be told to all.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) -> View {
        self.nodes.borrow_mut()[from].leaving.entry(slot).and_modify(|leaving| leaving.is_empty = true);
        self.reassign(|at, owner| if at == slot { to } else { owner })
    }

    /// The replica takes the place of the primary; what is to be told to all.
    pub fn promote(&self, gone: usize) -> View {
        self.reassign(|_, owner| if owner == gone { gone ^ 1 } else { owner })
    }

    fn reassign(&self, owner: impl Fn(u16, usize) -> usize) -> View {
        let mut now = self.now.borrow_mut();
        let owners: Vec<usize> = (0..).zip(now.owners.iter()).map(|(slot, now)| owner(slot, *now)).collect();
        *now = View { epoch: now.epoch + 1, owners: owners.into() };
        now.clone()
    }

    /// The node has died: what was moving to or from it stays where it was.
    pub fn forget_moves(&self, gone: usize) {
        let mut nodes = self.nodes.borrow_mut();
        let mut stopped: BTreeSet<u16> = nodes[gone].leaving.keys().copied().collect();
        stopped.append(&mut nodes[gone].coming.clone());
        for node in nodes.iter_mut() {
            node.leaving.retain(|slot, leaving| !stopped.contains(slot) || leaving.is_empty);
            node.coming.retain(|slot| !stopped.contains(slot));
        }
        self.moved.borrow_mut().retain(|key| !stopped.contains(&key_slot(key.as_bytes())));
    }

    /// The node hears who serves what.
    pub fn hear(&self, number: usize, view: &View) {
        let mut nodes = self.nodes.borrow_mut();
        let node = &mut nodes[number];
        if view.epoch <= node.view.epoch {
            return;
        }
        node.view = view.clone();
        let moved = &mut *self.moved.borrow_mut();
        node.leaving.retain(|slot, _| {
            let stays = view.owner(*slot) == number;
            if !stays {
                moved.retain(|key| key_slot(key.as_bytes()) != *slot);
            }
            stays
        });
        node.coming.retain(|slot| view.owner(*slot) != number);
    }

    /// It is there again, with what it knew.
    pub fn start_anew(&self, node: usize) {
        self.nodes.borrow_mut()[node].is_unsure = true;
    }

    /// It has heard of the others.
    pub fn join(&self, node: usize) {
        let now = self.now.borrow().clone();
        self.hear(node, &now);
        self.nodes.borrow_mut()[node].is_unsure = false;
    }
}

impl View {
    fn owner(&self, slot: u16) -> usize {
        self.owners[usize::from(slot)]
    }
}

/// The keys of a request.
fn keys(words: &[String]) -> Vec<String> {
    let name = words[0].to_uppercase();
    match &*name {
        "PING" | "ECHO" | "HELLO" | "SELECT" | "CLIENT" | "MULTI" | "EXEC" | "DISCARD" | "UNWATCH" | "PUBLISH" | "SUBSCRIBE"
        | "UNSUBSCRIBE" | "INFO" | "COMMAND" | "ROLE" | "QUIT" => Vec::new(),
        "EVAL" => {
            let count = words.get(2).and_then(|count| count.parse().ok()).unwrap_or(0);
            words.iter().skip(3).take(count).cloned().collect()
        }
        "BLPOP" => words[1..words.len() - 1].to_vec(),
        "DEL" | "EXISTS" | "MGET" | "WATCH" => words[1..].to_vec(),
        _ => words.get(1).into_iter().cloned().collect(),
    }
}
