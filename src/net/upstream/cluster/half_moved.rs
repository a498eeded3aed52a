//! Slots that were found half moved: a part of their keys is at the node that serves them, another one at the node that takes
//! them in.
//!
//! The first sends commands about keys that have gone on to the second, and runs those about keys that have not. So what one
//! client sends about such a slot goes one by one, or a command would be overtaken on its way by one behind it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::net::topology::cluster::SlotMap;

/// A slot of which nobody has been told that it has moved counts for so long, in case its move was given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);

/// Slots that are half moved, as far as one worker knows.
#[derive(Debug, Default)]
pub(super) struct HalfMoved {
    any: Cell<bool>,
    slots: RefCell<HashMap<u16, Instant>>,
}

impl HalfMoved {
    /// A node has not got all keys of this slot.
    pub(super) fn note(&self, slot: u16, now: Instant) {
        self.slots.borrow_mut().insert(slot, now);
        self.any.set(true);
    }

    /// All of its keys are at one node.
    pub(super) fn forget(&self, slot: u16) {
        self.retain(|other, _| other != slot);
    }

    /// Those that another node serves than before have moved.
    pub(super) fn forget_moved(&self, before: &SlotMap, map: &SlotMap) {
        let server = |map: &SlotMap, slot| map.owner(slot).and_then(|number| Some(map.shards.get(number)?.address.clone()));
        self.retain(|slot, _| server(before, slot) == server(map, slot));
    }

    /// Those whose move seems to have been given up do not count any more.
    pub(super) fn forget_old(&self, now: Instant) {
        self.retain(|_, noted_at| now.saturating_duration_since(noted_at) < GIVEN_UP_AFTER);
    }

    fn retain(&self, is_half_moved: impl Fn(u16, Instant) -> bool) {
        if self.any.get() {
            let mut slots = self.slots.borrow_mut();
            slots.retain(|slot, noted_at| is_half_moved(*slot, *noted_at));
            self.any.set(!slots.is_empty());
        }
    }

    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.get()
    }

    #[inline]
    pub(super) fn has(&self, slot: Option<u16>) -> bool {
        self.any.get() && slot.is_some_and(|slot| self.slots.borrow().contains_key(&slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::Address;
    use crate::net::topology::cluster::Shard;

    #[test]
    fn a_slot_is_half_moved_until_it_has_moved_or_its_move_was_given_up() {
        let (half_moved, now) = (HalfMoved::default(), Instant::now());
        assert!(!half_moved.any() && !half_moved.has(Some(7)));
        half_moved.note(7, now);
        half_moved.note(8, now + GIVEN_UP_AFTER / 2);
        assert!(half_moved.has(Some(7)) && half_moved.has(Some(8)) && !half_moved.has(Some(9)) && !half_moved.has(None));
        half_moved.forget_old(now + GIVEN_UP_AFTER);
        assert!(!half_moved.has(Some(7)) && half_moved.has(Some(8)) && half_moved.any());
        half_moved.note(7, now);
        half_moved.forget(8);
        assert!(half_moved.any());
        half_moved.forget(7);
        assert!(!half_moved.any() && !half_moved.has(Some(7)));
    }

    #[test]
    fn what_another_node_serves_now_has_moved() {
        let shard =
            |host: &str| Shard { address: Address::Tcp { host: host.to_owned(), port: 1 }, id: host.to_owned(), slots: 0 };
        let map = |through: u16| {
            SlotMap::new(1, vec![(shard("a"), vec![(0, through)]), (shard("b"), vec![(through + 1, 99)])].into_iter())
        };
        let (half_moved, now) = (HalfMoved::default(), Instant::now());
        [7, 8].into_iter().for_each(|slot| half_moved.note(slot, now));
        half_moved.forget_moved(&map(8), &map(7));
        assert!(half_moved.has(Some(7)) && !half_moved.has(Some(8)));
    }
}
