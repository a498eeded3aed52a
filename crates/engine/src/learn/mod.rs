//! Proposes rules from observed traffic, as configuration text.
//!
//! | file | holds |
//! |---|---|
//! | `client` | one client's bytes, cut into bursts: what it sends without a pause |
//! | `seen` | what is kept of all clients, within bounds |
//! | `segment`, `family` | which words of a key are the same for many keys, and which name one of them |
//! | `template` | a command without what differs from one time to the next |
//! | `unit`, `group` | what belongs together within bursts, and the groups that this makes |
//! | `single` | rules about single keys and commands |
//! | `samples`, `compress` | by how much values would shrink, and the families for which that pays |
//! | `relation`, `parts` | the relations that follow from groups, by what their members write |
//! | `text`, `number` | the proposals as text |
//!
//! Values never leave it: of data only the length is told and how much less it could take, and of keys the words that many keys have in common.

mod client;
mod compress;
mod family;
mod group;
mod number;
mod parts;
mod relation;
mod samples;
mod seen;
mod segment;
mod single;
mod template;
mod text;
mod unit;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::command::Table;
use crate::policy::rule::WrittenRelation;
pub use relation::relations;
pub use text::{BEGINNING, Counted, relation as relation_text};

use client::Client;
use family::Families;
use seen::Seen;
use template::Templates;
use unit::Order;

/// Clients that are watched at the same time.
const CLIENTS_MAX: usize = 10_000;
/// Clients beyond them that are known by their number, so that each is counted once and none is taken in half-way.
const CLIENTS_BEYOND_MAX: usize = 100_000;
/// Bytes of requests that are not whole, and of bursts under way, of all clients together.
const BYTES_KEPT_MAX: usize = 32 * 1024 * 1024;

/// What follows from what was seen.
pub struct Learned {
    /// All rules but relations, as configuration text.
    pub text: String,
    /// The relations that were seen to hold.
    pub relations: Vec<WrittenRelation>,
}

/// Watches clients, and proposes rules in the end.
pub struct Learner {
    table: Table,
    clients: HashMap<u64, Client>,
    clients_beyond: HashSet<u64>,
    clients_seen: u64,
    clients_forgotten: u64,
    bytes_kept: usize,
    bytes_lost: u64,
    seen: Seen,
}

impl Learner {
    /// A learner that has seen nothing; `table` tells the commands apart.
    pub fn new(table: Table) -> Learner {
        let (clients, clients_beyond, seen) = (HashMap::new(), HashSet::new(), Seen::default());
        Learner { table, clients, clients_beyond, clients_seen: 0, clients_forgotten: 0, bytes_kept: 0, bytes_lost: 0, seen }
    }

    /// A read has brought these bytes of a client, so long after the beginning; its first begin a request.
    pub fn read(&mut self, client: u64, at: Duration, bytes: &[u8]) {
        if !self.clients.contains_key(&client) && !self.takes_in(client) {
            return;
        }
        let of = self.clients.entry(client).or_insert_with(Client::new);
        self.bytes_kept -= of.kept_bytes();
        of.read(at, bytes, &self.table, &mut self.seen);
        self.bytes_kept += of.kept_bytes();
        if self.bytes_kept > BYTES_KEPT_MAX {
            self.end_bursts();
        }
        if self.bytes_kept > BYTES_KEPT_MAX
            && let Some(of) = self.clients.get_mut(&client)
        {
            self.bytes_kept -= of.kept_bytes();
            of.forget(&self.table, &mut self.seen);
            self.clients_forgotten += 1;
        }
    }

    /// Whether there is room for one more client.
    fn takes_in(&mut self, client: u64) -> bool {
        if self.clients_beyond.contains(&client) {
            return false;
        }
        self.clients_seen += 1;
        let has_room = self.clients.len() < CLIENTS_MAX;
        if !has_room {
            self.clients_forgotten += 1;
            if self.clients_beyond.len() < CLIENTS_BEYOND_MAX {
                self.clients_beyond.insert(client);
            }
        }
        has_room
    }

    /// Whatever clients were sending without a pause ends here, in their order.
    fn end_bursts(&mut self) {
        let mut clients: Vec<(&u64, &mut Client)> = self.clients.iter_mut().collect();
        clients.sort_by_key(|(client, _)| **client);
        for (_, of) in &mut clients {
            of.end_burst(&self.table, &mut self.seen);
        }
        self.bytes_kept = clients.iter().map(|(_, of)| of.kept_bytes()).sum();
    }

    /// Bytes of the client are missing here; it goes on with a new request.
    pub fn lost(&mut self, client: u64, bytes: u64) {
        self.bytes_lost += bytes;
        if let Some(of) = self.clients.get_mut(&client) {
            self.bytes_kept -= of.kept_bytes();
            of.begin_anew(&self.table, &mut self.seen);
        }
    }

    /// The client has gone.
    pub fn left(&mut self, client: u64) {
        self.clients_beyond.remove(&client);
        if let Some(mut of) = self.clients.remove(&client) {
            self.bytes_kept -= of.kept_bytes();
            of.end_burst(&self.table, &mut self.seen);
        }
    }

    /// Commands seen so far.
    pub fn commands(&self) -> u64 {
        self.seen.commands
    }

    /// The configuration text that follows from what was seen. The same reads give the same text.
    pub fn propose(self) -> String {
        let Learned { mut text, relations } = self.conclude();
        relations.iter().for_each(|relation| text += &relation_text(relation, Some(Counted::Not)));
        text
    }

    /// The same, with the relations that follow apart: whether they hold can be looked up.
    pub fn conclude(mut self) -> Learned {
        let mut clients: Vec<(u64, Client)> = self.clients.drain().collect();
        clients.sort_by_key(|(client, _)| *client);
        clients.iter_mut().for_each(|(_, of)| of.end_burst(&self.table, &mut self.seen));
        let (seen, table) = (&self.seen, &self.table);
        let families = Families::of(&seen.keys, &seen.bursts, table);
        let mut templates = Templates::default();
        let mut order = Order::default();
        let mut bursts = Vec::new();
        for burst in &seen.bursts {
            let items: Vec<_> = burst.commands.iter().map(|command| templates.place(command, &families, table)).collect();
            order.note(&items);
            bursts.push(items);
        }
        let mut units = BTreeMap::new();
        bursts.into_iter().for_each(|items| unit::collect(items, &order, &templates.all, &mut units));
        let groups = group::propose(units, &templates.all, table);
        let watched = text::Watched {
            clients: self.clients_seen,
            commands: seen.commands,
            bursts: seen.bursts_seen,
            bursts_beyond: seen.bursts_beyond,
            bytes_lost: self.bytes_lost,
            keys_beyond: seen.keys_beyond,
            long: seen.long,
            forgotten: self.clients_forgotten,
        };
        let (lifetimes, guards) = (single::lifetimes(seen, &families, table), single::guards(seen, &families, table));
        let compressing = compress::rules(&seen.samples, &families, table);
        let rules: Vec<_> = groups.proposed.iter().map(|proposal| proposal.rule.clone()).collect();
        Learned {
            text: text::write(&watched, &groups, &lifetimes, &guards, &compressing),
            relations: relations(&rules, &[], table),
        }
    }
}

#[cfg(test)]
mod tests;
