//! Where a node may refuse one command and run the next: slots that have just moved, and a cluster that was just in trouble.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::net::topology::cluster::SlotMap;
use respguard_engine::route::slots::SLOTS;

/// How long a change counts.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// Where more slots than this change at once, or have of late, all count.
const SLOTS_MAX: usize = 1024;

/// What has changed of late, as one worker has seen it.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    slots: RefCell<HashMap<u16, Instant>>,
    /// The last change that concerns all slots.
    all: Cell<Option<Instant>>,
}

impl Unsettled {
    /// A node does not serve this slot, or not all of its keys.
    pub(super) fn note(&self, slot: u16, now: Instant) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() >= SLOTS_MAX && !slots.contains_key(&slot) {
            slots.retain(|_, at| is_recent(*at, now));
            if slots.len() >= SLOTS_MAX {
                slots.clear();
                return self.note_all(now);
            }
        }
        slots.insert(slot, now);
    }

    /// A node serves nobody, or is not there.
    pub(super) fn note_all(&self, now: Instant) {
        self.all.set(Some(now));
    }

    /// Slots that another node serves than before.
    pub(super) fn note_moved(&self, before: &SlotMap, map: &SlotMap, now: Instant) {
        if before.shards.is_empty() {
            return;
        }
        let same: Vec<Option<usize>> =
            before.shards.iter().map(|old| map.shards.iter().position(|new| new.address == old.address)).collect();
        let stays = |slot: &u16| before.owner(*slot).and_then(|old| same.get(old).copied().flatten()) == map.owner(*slot);
        for slot in (0..SLOTS as u16).filter(|slot| !stays(slot)) {
            self.note(slot, now);
        }
    }

    /// True where a change is not long past.
    pub(super) fn has(&self, slot: Option<u16>, now: Instant) -> bool {
        let of_slot = || slot.and_then(|slot| self.slots.borrow().get(&slot).copied());
        self.all.get().is_some_and(|at| is_recent(at, now)) || of_slot().is_some_and(|at| is_recent(at, now))
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < SETTLED_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::Address;
    use crate::net::topology::cluster::Shard;

    #[test]
    fn a_slot_is_settled_again_after_a_while() {
        let (unsettled, now) = (Unsettled::default(), Instant::now());
        unsettled.note(7, now);
        let later = now + SETTLED_AFTER - Duration::from_millis(1);
        assert!(unsettled.has(Some(7), later) && !unsettled.has(Some(7), now + SETTLED_AFTER));
        assert!(!unsettled.has(Some(8), now) && !unsettled.has(None, now));
        unsettled.note_all(now);
        assert!(unsettled.has(Some(8), later) && unsettled.has(None, later) && !unsettled.has(Some(8), now + SETTLED_AFTER));
    }

    #[test]
    fn where_too_many_slots_change_all_do() {
        let (unsettled, now) = (Unsettled::default(), Instant::now());
        (0..SLOTS_MAX as u16).for_each(|slot| unsettled.note(slot, now));
        assert!(!unsettled.has(Some(SLOTS_MAX as u16), now));
        unsettled.note(SLOTS_MAX as u16, now);
        assert!(unsettled.has(Some(9999), now) && unsettled.slots.borrow().is_empty());
        let later = now + SETTLED_AFTER;
        (0..=SLOTS_MAX as u16).for_each(|slot| unsettled.note(slot, later));
        assert!(unsettled.has(Some(9999), later));
    }

    #[test]
    fn what_stays_at_its_node_is_settled() {
        let shard =
            |host: &str| Shard { address: Address::Tcp { host: host.to_owned(), port: 1 }, id: host.to_owned(), slots: 0 };
        let map = |shards: Vec<(Shard, Vec<(u16, u16)>)>| SlotMap::new(1, shards.into_iter());
        let before = map(vec![(shard("a"), vec![(0, 99)]), (shard("b"), vec![(100, 199)])]);
        let after = map(vec![(shard("b"), vec![(99, 199)]), (shard("a"), vec![(0, 97)])]);
        let (unsettled, now) = (Unsettled::default(), Instant::now());
        unsettled.note_moved(&SlotMap::default(), &before, now);
        unsettled.note_moved(&before, &before, now);
        assert!(!unsettled.has(Some(0), now), "what was not known before has not moved");
        unsettled.note_moved(&before, &after, now);
        let moved: Vec<u16> = (0..300).filter(|slot| unsettled.has(Some(*slot), now)).collect();
        assert_eq!(moved, [98, 99]);
    }
}
