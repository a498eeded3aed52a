//! Which node of a cluster serves which slots, for the whole process.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::net::address::Address;
use respguard_engine::route::slots::SLOTS;

/// Stands for no node.
const NOBODY: u16 = u16::MAX;

/// A primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub address: Address,
    pub id: String,
    pub slots: usize,
}

/// Who serves what.
#[derive(Debug, Clone)]
pub struct SlotMap {
    pub shards: Vec<Shard>,
    owners: Box<[u16]>,
    partition: u64,
    /// Those that may take a primary's place.
    pub replicas: Vec<Address>,
    /// Primaries that did not answer when they were asked last.
    pub silent: Vec<Address>,
    /// Primaries that take the cluster to be down, and therefore refuse every request.
    pub refusing: Vec<Address>,
    /// How long the others took.
    pub took: Vec<(Address, Duration)>,
    /// They were asked then, or later.
    pub asked_at: Option<Instant>,
    pub epoch: u64,
    pub since: Instant,
}

impl Default for SlotMap {
    fn default() -> Self {
        SlotMap {
            shards: Vec::new(),
            replicas: Vec::new(),
            silent: Vec::new(),
            refusing: Vec::new(),
            took: Vec::new(),
            asked_at: None,
            owners: vec![NOBODY; SLOTS].into(),
            partition: 0,
            epoch: 0,
            since: Instant::now(),
        }
    }
}

impl SlotMap {
    /// What these primaries serve.
    pub fn new(epoch: u64, shards: impl Iterator<Item = (Shard, Vec<(u16, u16)>)>) -> SlotMap {
        let mut map = SlotMap { epoch, ..SlotMap::default() };
        for (shard, ranges) in shards {
            let number = u16::try_from(map.shards.len()).unwrap_or(NOBODY);
            for (first, last) in ranges {
                map.owners[usize::from(first)..=usize::from(last)].fill(number);
            }
            map.shards.push(shard);
        }
        map.count();
        map.note_partition();
        map
    }

    fn note_partition(&mut self) {
        let mut hasher = DefaultHasher::new();
        let (mut numbers, mut last): (Vec<u16>, _) = (Vec::new(), NOBODY);
        for (slot, owner) in self.owners.iter().enumerate().filter(|(_, owner)| std::mem::replace(&mut last, **owner) != **owner)
        {
            let number = numbers.iter().position(|known| known == owner).unwrap_or(numbers.len());
            if number == numbers.len() {
                numbers.push(*owner);
            }
            (slot, number, *owner == NOBODY).hash(&mut hasher);
        }
        self.partition = hasher.finish();
    }

    /// What tells which slots have the same owner, whoever that is: a failover leaves it as it is.
    pub fn partition(&self) -> u64 {
        self.partition
    }

    /// The first slot of each primary that serves any.
    pub fn first_slots(&self) -> impl Iterator<Item = u16> {
        let mut firsts = vec![None; self.shards.len()];
        for (slot, owner) in (0..).zip(&self.owners) {
            if let Some(first) = firsts.get_mut(usize::from(*owner)) {
                first.get_or_insert(slot);
            }
        }
        firsts.into_iter().flatten()
    }

    fn count(&mut self) {
        let mut counts = vec![0; self.shards.len()];
        self.owners.iter().filter_map(|owner| counts.get_mut(usize::from(*owner)).map(|count| *count += 1)).count();
        self.shards.iter_mut().zip(counts).for_each(|(shard, count)| shard.slots = count);
    }

    /// The number of the primary that serves the slot.
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let owner = self.owners.get(usize::from(slot)).copied().filter(|owner| *owner != NOBODY)?;
        Some(usize::from(owner))
    }

    /// A node has redirected the slot to this address; true if that was not known.
    pub fn moved(&mut self, slot: u16, address: &Address) -> bool {
        let known = self.shards.iter().position(|shard| shard.address == *address);
        let number = known.unwrap_or(self.shards.len());
        if known.is_none() {
            self.shards.push(Shard { address: address.clone(), id: String::new(), slots: 0 });
        }
        let number = u16::try_from(number).unwrap_or(NOBODY);
        let owner = &mut self.owners[usize::from(slot) % SLOTS];
        let is_news = std::mem::replace(owner, number) != number;
        if is_news {
            self.note_partition();
        }
        is_news
    }

    /// How many slots somebody serves.
    pub fn served(&self) -> usize {
        self.owners.iter().filter(|owner| **owner != NOBODY).count()
    }

    /// How many slots are served by nodes that answer, and do not take the cluster to be down.
    pub fn reachable(&self) -> usize {
        let serves = |shard: &&Shard| !self.silent.contains(&shard.address) && !self.refusing.contains(&shard.address);
        self.shards.iter().filter(serves).map(|shard| shard.slots).sum()
    }

    /// How long a node took for its last answer; `None` if it did not answer.
    pub fn answered_in(&self, address: &Address) -> Option<Duration> {
        self.took.iter().find(|(node, _)| node == address).map(|(_, took)| *took)
    }

    /// True when the same nodes serve the same slots.
    pub fn is_like(&self, other: &SlotMap) -> bool {
        self.shards == other.shards && self.owners == other.owners
    }
}

/// The current slot map of the cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    view: watch::Receiver<Arc<SlotMap>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    doubted: Notify,
}

impl Cluster {
    /// One of which nothing is known yet, and whoever will say more.
    pub fn unknown() -> (SlotMapPublisher, Cluster) {
        let (sender, view) = watch::channel(Arc::default());
        let shared = Arc::<Shared>::default();
        (SlotMapPublisher { view: sender, shared: Arc::clone(&shared) }, Cluster { view, shared })
    }

    /// What is known of it now.
    pub fn view(&self) -> Arc<SlotMap> {
        Arc::clone(&self.view.borrow())
    }

    /// What is known of it now; `changed` returns when that is no longer so.
    pub fn observe(&mut self) -> Arc<SlotMap> {
        Arc::clone(&self.view.borrow_and_update())
    }

    /// Returns when something has changed since the last time.
    pub async fn changed(&mut self) {
        if self.view.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A node does not serve what it should, or is gone: it is to be looked at again.
    pub fn doubt(&self) {
        self.shared.doubted.notify_one();
    }
}

/// Says which node serves what.
#[derive(Debug)]
pub struct SlotMapPublisher {
    view: watch::Sender<Arc<SlotMap>>,
    shared: Arc<Shared>,
}

impl SlotMapPublisher {
    /// Applies a new slot map; true if something has changed.
    pub fn take(&self, mut map: SlotMap) -> bool {
        let (since, is_news) = {
            let before = self.view.borrow();
            (before.since, !before.is_like(&map))
        };
        if !is_news {
            map.since = since;
        }
        // Also where it says nothing new: what a node has said in between may have been wrong.
        self.view.send_replace(Arc::new(map));
        is_news
    }

    /// What is known now.
    pub fn current(&self) -> Arc<SlotMap> {
        Arc::clone(&self.view.borrow())
    }

    /// Returns when somebody doubts.
    pub async fn doubted(&self) {
        self.shared.doubted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(port: u16) -> Shard {
        Shard { address: Address::Tcp { host: "h".to_owned(), port }, id: port.to_string(), slots: 0 }
    }

    #[test]
    fn each_slot_has_the_owner_that_was_told_last() {
        let mut map = SlotMap::new(1, [(shard(1), vec![(0, 9)]), (shard(2), vec![(10, 10), (16383, 16383)])].into_iter());
        assert_eq!([0, 9, 10, 11, 16383].map(|slot| map.owner(slot)), [Some(0), Some(0), Some(1), None, Some(1)]);
        assert_eq!((map.served(), map.shards[0].slots, map.shards[1].slots), (12, 10, 2));
        assert!(map.moved(11, &shard(3).address) && !map.moved(11, &shard(3).address));
        assert_eq!((map.owner(11), map.shards.len()), (Some(2), 3));
    }

    #[test]
    fn how_slots_are_parted_does_not_depend_on_whose_they_are() {
        let map = |ports: [u16; 2]| {
            SlotMap::new(1, [(shard(ports[0]), vec![(5, 9)]), (shard(ports[1]), vec![(0, 4), (20, 29)])].into_iter())
        };
        assert_eq!(map([1, 2]).partition(), map([4, 3]).partition());
        assert_eq!(map([1, 2]).first_slots().collect::<Vec<_>>(), [5, 0]);
        let mut moved = map([1, 2]);
        assert!(moved.moved(5, &shard(2).address));
        assert_ne!(moved.partition(), map([1, 2]).partition());
    }

    #[test]
    fn a_map_that_says_the_same_is_no_news() {
        let (slot_map_publisher, cluster) = Cluster::unknown();
        let map = || SlotMap::new(1, [(shard(1), vec![(0, 9)])].into_iter());
        assert!(slot_map_publisher.take(map()) && !slot_map_publisher.take(map()));
        assert_eq!(cluster.view().served(), 10);
    }
}
