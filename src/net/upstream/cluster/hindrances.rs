//! Which of a client's requests keep others waiting, so that of each it is known at once whether it may go.
//!
//! A request waits behind those before it that are about its slot, and behind those that all wait behind. They are known by
//! their numbers.

use std::collections::{HashMap, VecDeque};

/// Slots that nothing waits for keep room for no more than so many.
const SPARE_MAX: usize = 64;

/// Who waits behind a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// All that come after it,
    All,
    /// or those that are about this slot.
    Slot(u16),
}

/// The requests of one client that keep others waiting, in their order.
#[derive(Debug, Default)]
pub(super) struct Hindrances {
    /// Those behind which all wait.
    for_all: VecDeque<u64>,
    /// The others, by their slots; of no slot where there are none.
    for_slots: HashMap<u16, VecDeque<u64>>,
    spare: Vec<VecDeque<u64>>,
}

impl Hindrances {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.for_all.is_empty() && self.for_slots.is_empty()
    }

    /// The first of those behind which all wait.
    #[inline]
    pub(super) fn first_for_all(&self) -> Option<u64> {
        self.for_all.front().copied()
    }

    /// Whether none before the request with this number stands against it.
    #[inline]
    pub(super) fn allow(&self, number: u64, slot: Option<u16>) -> bool {
        let is_before = |first: Option<&u64>| first.is_some_and(|first| *first < number);
        let of_slot = || slot.filter(|_| !self.for_slots.is_empty()).and_then(|slot| self.for_slots.get(&slot));
        !is_before(self.for_all.front()) && !is_before(of_slot().and_then(VecDeque::front))
    }

    /// Whether this one, which is among them, is the first of its kind.
    pub(super) fn is_first(&self, number: u64, behind: Behind) -> bool {
        let line = match behind {
            Behind::All => Some(&self.for_all),
            Behind::Slot(slot) => self.for_slots.get(&slot),
        };
        line.and_then(VecDeque::front) == Some(&number)
    }

    /// This one keeps others waiting from now on.
    pub(super) fn insert(&mut self, number: u64, behind: Behind) {
        let line = match behind {
            Behind::All => &mut self.for_all,
            Behind::Slot(slot) => self.for_slots.entry(slot).or_insert_with(|| self.spare.pop().unwrap_or_default()),
        };
        // Nearly all come in their order.
        match line.back() {
            Some(last) if *last >= number => {
                if let Err(at) = line.binary_search(&number) {
                    line.insert(at, number);
                }
            }
            _ => line.push_back(number),
        }
    }

    /// This one does so no more. The next of its kind, if it was the first.
    pub(super) fn remove(&mut self, number: u64, behind: Behind) -> Option<u64> {
        let Behind::Slot(slot) = behind else { return take_out(&mut self.for_all, number) };
        let line = self.for_slots.get_mut(&slot)?;
        let next = take_out(line, number);
        if line.is_empty() {
            let line = self.for_slots.remove(&slot);
            self.spare.extend(line.filter(|_| self.spare.len() < SPARE_MAX));
        }
        next
    }
}

fn take_out(line: &mut VecDeque<u64>, number: u64) -> Option<u64> {
    let at = line.binary_search(&number).ok()?;
    line.remove(at);
    line.front().copied().filter(|_| at == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_behind_those_of_its_slot_and_those_behind_which_all_wait() {
        let mut hindrances = Hindrances::default();
        hindrances.insert(3, Behind::Slot(7));
        assert!(hindrances.allow(3, Some(7)), "it does not wait for itself");
        assert!(!hindrances.allow(4, Some(7)) && hindrances.allow(4, Some(8)) && hindrances.allow(4, None));
        hindrances.insert(5, Behind::All);
        assert!(hindrances.allow(5, None) && hindrances.allow(4, Some(8)));
        assert!(!hindrances.allow(6, Some(8)) && !hindrances.allow(6, None));
        assert_eq!(hindrances.first_for_all(), Some(5));
        assert_eq!((hindrances.remove(5, Behind::All), hindrances.remove(3, Behind::Slot(7))), (None, None));
        assert!(hindrances.is_empty() && hindrances.allow(6, Some(7)));
    }

    #[test]
    fn the_next_of_a_slot_is_named_when_the_first_has_gone() {
        let mut hindrances = Hindrances::default();
        for number in [1, 4, 9, 2, 4] {
            hindrances.insert(number, Behind::Slot(7));
        }
        assert!(hindrances.is_first(1, Behind::Slot(7)) && !hindrances.is_first(2, Behind::Slot(7)));
        assert_eq!(hindrances.remove(4, Behind::Slot(7)), None, "those behind it wait for the first");
        assert_eq!(hindrances.remove(4, Behind::Slot(7)), None, "it is not there any more");
        assert_eq!(hindrances.remove(1, Behind::Slot(7)), Some(2));
        assert_eq!(hindrances.remove(2, Behind::Slot(7)), Some(9));
        assert_eq!(hindrances.remove(2, Behind::Slot(8)), None);
        assert_eq!(hindrances.remove(9, Behind::Slot(7)), None);
        assert!(hindrances.is_empty());
    }
}
