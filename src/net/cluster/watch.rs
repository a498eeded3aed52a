//! Asks all nodes of a cluster which node serves what, and decides which report to believe.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::session::{Session, SessionError};
use crate::net::address::Address;
use crate::net::topology::cluster::{Shard, SlotMap, SlotMapPublisher};
use crate::net::topology::{Node, PrimaryPublisher};
use crate::net::upstream::Settings;
use crate::telemetry::gauge;
use crate::telemetry::label::TopologyChange;
use respguard_engine::route::assignment::Assignment;
use respguard_engine::route::slots::SLOTS;

/// How often the nodes are asked that nobody doubts.
const PERIOD: Duration = Duration::from_secs(1);
/// The same while slots have no owner, the node that stands for all is not there, or a node suspects a primary.
const PERIOD_OF_NEED: Duration = Duration::from_millis(100);
/// A primary that has been suspected for so long and was not replaced is not likely to be.
const SUSPICION_MAX: Duration = Duration::from_secs(60);
/// Between two questions at least,
const PAUSE: Duration = Duration::from_millis(20);
/// and for each node that is asked so much: of a large cluster the answers are long, and many.
const PAUSE_PER_NODE: Duration = Duration::from_millis(2);
/// How long is waited for the others once a node has answered; later answers are taken when they come.
const GRACE: Duration = Duration::from_millis(30);
/// And for the first of them.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Nodes that are asked.
const NODES_MAX: usize = 256;

/// Whoever decides.
pub struct Watch {
    seeds: Vec<Address>,
    settings: Settings,
    slot_map_publisher: SlotMapPublisher,
    /// One that answers stands for all where any will do.
    primary_publisher: PrimaryPublisher,
    sessions: HashMap<String, Session>,
    replicas: Vec<Address>,
    /// Questions under way, each with the number of its round.
    asking: JoinSet<(u64, Answered)>,
    /// Who was asked and has not answered yet: nobody is asked twice at a time.
    asked: BTreeSet<String>,
    round: Round,
    /// Since when a node suspects a primary.
    suspected_since: Option<Instant>,
    /// No node serves anything, by their own word.
    is_down: bool,
    /// What was told last of each node whose last answer was none.
    told: BTreeMap<String, String>,
}

/// What has been answered to the questions of one time.
#[derive(Default)]
struct Round {
    number: u64,
    asked_at: Option<Instant>,
    /// So many have not answered yet.
    waiting: usize,
    answers: Vec<(Address, Assignment)>,
    took: Vec<(Address, Duration)>,
}

/// Who was asked, and the answer with the time that it took.
type Answered = (Address, Result<(Session, Assignment, Duration), SessionError>);

impl Watch {
    pub fn new(
        seeds: Vec<Address>,
        settings: Settings,
        slot_map_publisher: SlotMapPublisher,
        primary_publisher: PrimaryPublisher,
    ) -> Watch {
        let (sessions, replicas, asking, asked, round) = Default::default();
        let (suspected_since, is_down, told) = Default::default();
        Watch {
            seeds,
            settings,
            slot_map_publisher,
            primary_publisher,
            sessions,
            replicas,
            asking,
            asked,
            round,
            suspected_since,
            is_down,
            told,
        }
    }

    /// Never returns. Dropping the future ends all connections.
    pub async fn run(mut self) {
        loop {
            self.look().await;
            let is_whole = self.slot_map_publisher.current().served() == SLOTS && self.is_represented();
            tokio::time::sleep(pause(self.addresses().len())).await;
            let is_suspected = self.suspected_since.is_some_and(|since| since.elapsed() < SUSPICION_MAX);
            let until = Instant::now() + if is_whole && !is_suspected { PERIOD } else { PERIOD_OF_NEED };
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(until) => break,
                    () = self.slot_map_publisher.doubted() => break,
                    Some(answered) = self.asking.join_next() => {
                        self.note(answered);
                        self.take();
                    }
                }
            }
        }
    }

    /// Asks all, and takes what has come soon.
    async fn look(&mut self) {
        self.round = Round { number: self.round.number + 1, asked_at: Some(Instant::now()), ..Round::default() };
        for address in self.addresses() {
            if self.asked.insert(address.to_string()) {
                let (settings, number) = (self.settings.clone(), self.round.number);
                let session = self.sessions.remove(&address.to_string());
                self.asking.spawn(async move { (number, ask(settings, address, session).await) });
                self.round.waiting += 1;
            }
        }
        let mut deadline = Instant::now() + ANSWER_TIMEOUT.min(self.settings.connect_timeout);
        while self.round.waiting > 0
            && let Ok(Some(answered)) = tokio::time::timeout_at(deadline, self.asking.join_next()).await
        {
            let is_first = self.round.answers.is_empty();
            self.note(answered);
            if is_first && !self.round.answers.is_empty() {
                deadline = deadline.min(Instant::now() + GRACE);
            }
        }
        self.take();
    }

    /// What a node says counts if it was asked in this round; that it answers, always.
    fn note(&mut self, answered: Result<(u64, Answered), JoinError>) {
        let Ok((round, (address, answer))) = answered else {
            // Which node that was about is not known: all are asked anew.
            (self.asking, self.round.waiting) = (JoinSet::new(), 0);
            return self.asked.clear();
        };
        self.asked.remove(&address.to_string());
        self.round.waiting -= usize::from(round == self.round.number);
        match answer {
            Ok((session, assignment, time)) => {
                self.sessions.insert(address.to_string(), session);
                self.told.remove(&address.to_string());
                if round == self.round.number {
                    self.round.took.push((address.clone(), time));
                    self.round.answers.push((address, assignment));
                }
            }
            Err(error) => self.log_once(&address, error.to_string()),
        }
    }

    /// Seeds, primaries and replicas, each once.
    fn addresses(&self) -> Vec<Address> {
        let current = self.slot_map_publisher.current();
        let mut all: Vec<Address> = current.shards.iter().map(|shard| shard.address.clone()).collect();
        all.extend(self.replicas.iter().chain(&self.seeds).cloned());
        let mut seen = Vec::new();
        for address in all {
            if !seen.contains(&address) && seen.len() < NODES_MAX {
                seen.push(address);
            }
        }
        seen
    }

    fn log_once(&mut self, address: &Address, error: String) {
        let told = self.told.insert(address.to_string(), error.clone());
        if told.as_ref() != Some(&error) {
            warn!(node = %address, error, "a node of the cluster does not report which node serves which slots");
        }
        while self.told.len() > NODES_MAX {
            self.told.pop_first();
        }
    }

    /// Told when all that serve slots begin to refuse, and when one serves again.
    fn log_refusing(&mut self, map: &SlotMap) {
        let is_down = !map.refusing.is_empty() && map.reachable() == 0;
        if std::mem::replace(&mut self.is_down, is_down) == is_down {
            return;
        }
        if is_down {
            error!(
                primaries = map.shards.len(),
                refusing = map.refusing.len(),
                "the nodes take the cluster to be down: they refuse every request (cluster_state:fail, see cluster-require-full-coverage)"
            );
        } else {
            info!("the cluster is not down any more");
        }
    }

    fn take(&mut self) {
        let before = self.slot_map_publisher.current();
        let answers = self.round.answers.clone();
        let answering: Vec<Address> = answers.iter().map(|(address, _)| address.clone()).collect();
        let is_suspected = answers.iter().any(|(_, said)| said.suspects);
        self.suspected_since = is_suspected.then(|| self.suspected_since.unwrap_or_else(Instant::now));
        let down: Vec<Address> = answers.iter().filter(|(_, said)| !said.is_ok).map(|(address, _)| address.clone()).collect();
        // A node that does not know where it is reached means the address at which it was asked.
        let resolved = answers.into_iter().map(|(address, assignment)| resolve(&address, assignment)).collect();
        let Some(chosen) = Assignment::choose(resolved) else {
            // Nobody answers: what was known of the slots stands.
            let mut map = SlotMap::clone(&before);
            map.took.clear();
            map.refusing.clear();
            self.show_silent(&mut map);
            self.slot_map_publisher.take(map);
            return;
        };
        self.replicas = chosen.replicas.iter().map(|(host, port)| Address::Tcp { host: host.clone(), port: *port }).collect();
        let shards = chosen.shards.iter().map(|shard| {
            let address = Address::Tcp { host: shard.host.clone(), port: shard.port };
            (Shard { address, id: shard.id.clone(), slots: 0 }, shard.ranges.clone())
        });
        let mut map = SlotMap::new(chosen.epoch, shards);
        map.replicas.clone_from(&self.replicas);
        (map.took, map.asked_at) = (self.round.took.clone(), self.round.asked_at.map(Instant::into_std));
        let refusing = map.shards.iter().filter(|shard| down.contains(&shard.address));
        map.refusing = refusing.map(|shard| shard.address.clone()).collect();
        self.show_silent(&mut map);
        self.log_refusing(&map);
        for gone in before.shards.iter().filter(|old| !old.id.is_empty() && !map.shards.iter().any(|new| new.id == old.id)) {
            gauge::set_node_up(&gone.id, false);
        }
        self.represent(&map, &answering);
        let (shards, served, epoch) = (map.shards.len(), map.served(), map.epoch);
        if self.slot_map_publisher.take(map) {
            gauge::count_topology_change(TopologyChange::Slots);
            info!(primaries = shards, served, epoch, "slots of the cluster have moved to other nodes");
            if served < SLOTS {
                warn!(without = SLOTS - served, "no node serves some slots of the cluster");
            }
        }
    }

    /// Primaries whose last answer was none are silent; of those that have not answered yet nothing new is known.
    fn show_silent(&self, map: &mut SlotMap) {
        let is_silent = |shard: &&Shard| self.told.contains_key(&shard.address.to_string());
        map.silent = map.shards.iter().filter(is_silent).map(|shard| shard.address.clone()).collect();
        gauge::set_slots_unserved(SLOTS - map.reachable());
        for shard in &map.shards {
            gauge::set_node_up(&shard.id, !map.silent.contains(&shard.address));
        }
    }

    /// True where the node that stands for all serves slots, and has answered.
    fn is_represented(&self) -> bool {
        let map = self.slot_map_publisher.current();
        self.primary_publisher.current().is_some_and(|node| {
            map.shards.iter().any(|shard| shard.address == node.address) && !map.silent.contains(&node.address)
        })
    }

    /// Any node that answers will do for questions about no key.
    fn represent(&self, map: &SlotMap, answering: &[Address]) {
        let current = self.primary_publisher.current();
        let is_good = |address: &Address| answering.contains(address) && map.shards.iter().any(|shard| shard.address == *address);
        if current.is_some_and(|node| is_good(&node.address)) {
            return;
        }
        let next = map.shards.iter().map(|shard| &shard.address).find(|address| is_good(address));
        if let Some(address) = next {
            self.primary_publisher.decide(Some(Node {
                address: address.clone(),
                since: Instant::now().into_std(),
                named_by: None,
            }));
        }
    }
}

/// What a node has said that was asked at this address: where it names no host it means that one.
pub fn resolve(asked: &Address, mut assignment: Assignment) -> Assignment {
    let Address::Tcp { host: own, .. } = asked else { return assignment };
    assignment.shards.iter_mut().filter(|shard| shard.host.is_empty()).for_each(|shard| shard.host.clone_from(own));
    assignment.replicas.iter_mut().filter(|(host, _)| host.is_empty()).for_each(|(host, _)| host.clone_from(own));
    assignment
}

/// How long nodes are left alone that so many are asked with.
fn pause(nodes: usize) -> Duration {
    PAUSE.max(PAUSE_PER_NODE * u32::try_from(nodes).unwrap_or(u32::MAX))
}

async fn ask(settings: Settings, address: Address, session: Option<Session>) -> Answered {
    let longest = ANSWER_TIMEOUT.min(settings.connect_timeout);
    let since = Instant::now();
    if let Some(mut session) = session
        && let Ok(assignment) = session.ask().await
    {
        return (address, Ok((session, assignment, since.elapsed())));
    }
    let asked = async {
        let mut session = Session::open(&settings, &address, longest).await?;
        let since = Instant::now();
        let assignment = session.ask().await?;
        Ok((session, assignment, since.elapsed()))
    };
    let answered = asked.await;
    (address, answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_nodes_there_are_the_longer_each_is_left_alone() {
        assert_eq!([1, 10, 11, 200].map(pause), [PAUSE, PAUSE, 11 * PAUSE_PER_NODE, Duration::from_millis(400)]);
    }
}
