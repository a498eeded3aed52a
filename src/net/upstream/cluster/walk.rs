//! The cursor of a SCAN over all nodes of a cluster.
//!
//! It says with the slot at which it stands which node is at hand, and with the node's own cursor how far it has come there. Slots
//! outlive failovers, which give a node's slots to another one. There the own cursor means nothing: each server orders its keys in
//! its own way. So the cursor carries a seal of what it relies on, and where that does not hold any more, the node is walked over
//! from its beginning. SCAN may return a key twice, but none that is there all the time may be missing
//! (<https://redis.io/docs/latest/commands/scan/>).
//!
//! ```text
//!   Shards --- its node is another one, or slots have moved ---> Ranges
//! ```
//!
//! Over shards a walk stops at the first slot of each, once for each. When slots have moved, the first slot of a node does not say
//! whether it was walked over: then the walk stops wherever the owner changes.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::net::topology::cluster::SlotMap;
use respguard_engine::route::slots::SLOTS;

const SLOT_BITS: u32 = 14;
const SEAL_BITS: u32 = 9;
/// Bits of a cursor that are not the node's own.
const BITS: u32 = SLOT_BITS + 1 + SEAL_BITS;

/// One step of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Whose owner it is made at.
    pub(super) slot: u16,
    /// The cursor there.
    pub(super) own: u64,
    stops: Stops,
}

/// Where a walk stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stops {
    /// At the first slot of each shard. How the slots are parted among the shards.
    Shards(u64),
    /// At the first slot of each range.
    Ranges,
}

/// The own cursor leaves no room for what is to be known of the others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Step {
    /// The step that this cursor asks for. One that nobody was given asks for any.
    pub(super) fn of(cursor: u64, map: &SlotMap) -> Step {
        let partition = map.partition();
        if cursor == 0 {
            return Step { slot: owned_from(0, map).unwrap_or(0), own: 0, stops: Stops::Shards(partition) };
        }
        let slot = (cursor as u16) & (SLOTS as u16 - 1);
        let stops = if cursor >> SLOT_BITS & 1 == 0 { Stops::Shards(partition) } else { Stops::Ranges };
        let step = Step { slot, own: cursor >> BITS, stops };
        if step.cursor(map) == cursor { step } else { Step::anew(slot, map) }
    }

    /// The node at this slot is walked over from its beginning.
    fn anew(slot: u16, map: &SlotMap) -> Step {
        Step { slot: owned_from(slot, map).unwrap_or(slot), own: 0, stops: Stops::Ranges }
    }

    /// The cursor for what is left behind this step, which this node has made and answered with its `own` cursor; 0 at the end.
    ///
    /// # Errors
    /// The node's cursor is too large.
    pub(super) fn next(self, node: &impl ToString, own: u64, map: &SlotMap) -> Result<u64, TooLarge> {
        if own >> (u64::BITS - BITS) != 0 {
            return Err(TooLarge);
        }
        let owner = map.owner(self.slot);
        let is_there =
            owner.and_then(|owner| map.shards.get(owner)).is_some_and(|shard| shard.address.to_string() == node.to_string());
        if !is_there {
            return Ok(Step::anew(self.slot, map).cursor(map));
        }
        let stops = if self.stops == Stops::Shards(map.partition()) { self.stops } else { Stops::Ranges };
        if own > 0 {
            return Ok(Step { own, stops, ..self }.cursor(map));
        }
        let is_other = |slot: &u16| map.owner(*slot).is_some() && map.owner(*slot) != map.owner(slot - 1);
        let next = match stops {
            Stops::Shards(_) => map.first_slots().filter(|first| *first > self.slot).min(),
            Stops::Ranges => (self.slot + 1..SLOTS as u16).find(is_other),
        };
        Ok(next.map_or(0, |slot| Step { slot, own: 0, stops }.cursor(map)))
    }

    fn cursor(self, map: &SlotMap) -> u64 {
        let is_by_range = u64::from(self.stops == Stops::Ranges);
        (self.own << SEAL_BITS | self.seal(map)) << (SLOT_BITS + 1) | is_by_range << SLOT_BITS | u64::from(self.slot)
    }

    /// What tells whether the node is the one that it was, and for a walk over shards whether the slots are where they were.
    fn seal(self, map: &SlotMap) -> u64 {
        let mut hasher = DefaultHasher::new();
        let node = map.owner(self.slot).and_then(|owner| map.shards.get(owner)).map(|shard| shard.address.to_string());
        node.hash(&mut hasher);
        if let Stops::Shards(partition) = self.stops {
            partition.hash(&mut hasher);
        }
        hasher.finish() >> (u64::BITS - SEAL_BITS)
    }
}

fn owned_from(slot: u16, map: &SlotMap) -> Option<u16> {
    (slot..SLOTS as u16).find(|slot| map.owner(*slot).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::Address;
    use crate::net::topology::cluster::Shard;

    fn address(port: u16) -> Address {
        Address::Tcp { host: "h".to_owned(), port }
    }

    /// Nodes by their ports, each with its ranges.
    fn map(nodes: &[(u16, &[(u16, u16)])]) -> SlotMap {
        let shard = |port: u16| Shard { address: address(port), id: port.to_string(), slots: 0 };
        SlotMap::new(1, nodes.iter().map(|(port, ranges)| (shard(*port), ranges.to_vec())))
    }

    fn three(first: u16) -> SlotMap {
        map(&[(2, &[(5000, 9999)]), (first, &[(0, 4999), (16000, 16383)]), (3, &[(10000, 15999)])])
    }

    /// Where a walk goes by these slots' owners, from this cursor on, over nodes that need only one step each.
    fn walk(mut cursor: u64, map: &SlotMap) -> Vec<(u16, u16)> {
        let mut steps = Vec::new();
        loop {
            let step = Step::of(cursor, map);
            let node = &map.shards[map.owner(step.slot).expect("it is served")].address;
            let Address::Tcp { port, .. } = node else { panic!("no port") };
            steps.push((step.slot, *port));
            cursor = step.next(node, 0, map).expect("room");
            if cursor == 0 {
                return steps;
            }
        }
    }

    #[test]
    fn each_node_is_walked_over_once_in_the_order_of_its_first_slot() {
        assert_eq!(walk(0, &three(1)), [(0, 1), (5000, 2), (10000, 3)]);
        assert_eq!(walk(0, &map(&[(7, &[(100, 200)]), (8, &[(50, 60)])])), [(50, 8), (100, 7)], "not all slots are served");
    }

    #[test]
    fn on_one_node_its_own_cursor_goes_on() {
        let map = three(1);
        let cursor = Step::of(0, &map).next(&address(1), 77, &map).expect("room");
        assert_eq!(Step::of(cursor, &map).own, 77);
        let last = Step::of(cursor, &map).next(&address(1), 0, &map).expect("room");
        assert_eq!((Step::of(last, &map).slot, Step::of(last, &map).own), (5000, 0));
        assert_eq!(Step::of(0, &map).next(&address(1), 1 << 40, &map), Err(TooLarge));
    }

    #[test]
    fn another_node_in_the_place_of_one_is_walked_over_from_its_beginning_and_the_others_as_before() {
        let before = three(1);
        let cursor = Step::of(0, &before).next(&address(1), 77, &before).expect("room");
        let after = three(4);
        let step = Step::of(cursor, &after);
        assert_eq!((step.slot, step.own), (0, 0));
        assert_eq!(walk(cursor, &after), [(0, 4), (5000, 2), (10000, 3), (16000, 4)], "twice rather than not at all");
        // What was walked over before is not walked over again.
        let cursor = Step::of(cursor, &before).next(&address(1), 0, &before).expect("room");
        assert_eq!(walk(cursor, &after), [(5000, 2), (10000, 3)]);
    }

    #[test]
    fn a_node_that_has_answered_and_is_replaced_meanwhile_has_not_been_walked_over() {
        let (before, after) = (three(1), three(4));
        let cursor = Step::of(0, &before).next(&address(1), 0, &after).expect("room");
        assert_eq!(Step::of(cursor, &after), Step::anew(0, &after));
    }

    #[test]
    fn where_slots_have_moved_no_node_is_missed_that_has_some_behind_the_walk() {
        let before = three(1);
        let cursor = Step::of(0, &before).next(&address(1), 0, &before).expect("room");
        let cursor = Step::of(cursor, &before).next(&address(2), 5, &before).expect("room");
        // By its first slot the third node was behind the walk already.
        let after = map(&[(1, &[(1, 4999), (16000, 16383)]), (2, &[(5000, 9999)]), (3, &[(0, 0), (10000, 15999)])]);
        assert_eq!(walk(cursor, &after), [(5000, 2), (10000, 3), (16000, 1)]);
        // And if they move while a node answers.
        let step = Step::of(cursor, &before);
        let cursor = step.next(&address(2), 9, &after).expect("room");
        assert_eq!(Step::of(cursor, &after).own, 9, "it is the same node");
        assert_eq!(walk(cursor, &after), [(5000, 2), (10000, 3), (16000, 1)]);
    }

    #[test]
    fn a_cursor_that_nobody_was_given_walks_from_its_slot_on() {
        let map = three(1);
        assert_eq!(walk(u64::MAX, &map), [(16383, 1)]);
        assert_eq!(walk(5001, &map), [(5001, 2), (10000, 3), (16000, 1)]);
    }
}
