//! The bytes that a worker buffers for all its clients, and whether they are over the limit.

use std::cell::Cell;

/// So much each client may keep, whatever is kept for all together: who keeps no more does not count.
pub const LITTLE: usize = 64 * 1024;

/// The sum over all clients of what waits to be sent on and what waits to be read by them. Who keeps no more than the little
/// that each may does not count: thousands of them would leave nothing for anybody else.
#[derive(Debug)]
pub struct MemoryBudget {
    bytes: Cell<usize>,
    max: Cell<usize>,
    is_over_limit: Cell<bool>,
    /// Somebody waits for room.
    is_short: Cell<bool>,
}

impl Default for MemoryBudget {
    fn default() -> MemoryBudget {
        MemoryBudget {
            bytes: Cell::new(0),
            max: Cell::new(usize::MAX),
            is_over_limit: Cell::new(false),
            is_short: Cell::new(false),
        }
    }
}

impl MemoryBudget {
    /// From now on the process may grow by so many: less is kept, for what grows leaves room behind that nothing fits in.
    pub fn bound(&self, bytes: usize) {
        self.set_max(bytes - bytes / 4);
    }

    fn set_max(&self, max: usize) {
        self.max.set(max);
    }

    /// What one client keeps has become `now`; `before` remembers what it was.
    pub fn change(&self, before: &Cell<usize>, now: usize) {
        let bytes = self.bytes.get().saturating_sub(before.replace(now));
        let bytes = bytes.saturating_add(now);
        self.bytes.set(bytes);
        let max = self.max.get();
        // One that is closed makes room: the next one that reads nothing is not to have the patience that this one had.
        let enough = if self.is_over_limit.get() { max - max / 8 } else { max };
        self.is_over_limit.set(bytes >= enough);
    }

    /// True while nothing more should be taken for clients that are behind: from the most that may be kept on, until
    /// it has become less by an eighth.
    pub fn is_over_limit(&self) -> bool {
        self.is_over_limit.get()
    }

    /// What one client may keep beyond the little that each may: a part of what is left, so that those who keep the most are
    /// the first to get no more.
    #[inline]
    pub fn allowance(&self, part: usize) -> usize {
        self.max.get().saturating_sub(self.bytes.get()) / part
    }

    /// True when one client may keep more although it keeps so many.
    #[inline]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        bytes < LITTLE || bytes < self.allowance(2)
    }

    /// True when there can be room for so many bytes, once all others are gone.
    pub fn can_have_room_for(&self, bytes: usize) -> bool {
        bytes < LITTLE || bytes < self.max.get() / 2
    }

    /// Somebody waits for room.
    pub fn note_short(&self) {
        self.is_short.set(true);
    }

    /// Whether somebody has waited for room since this was asked last.
    pub fn take_short(&self) -> bool {
        self.is_short.take()
    }

    /// All of them.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_keep_adds_up_and_goes_again() {
        let (kept, one, two) = (MemoryBudget::default(), Cell::new(0), Cell::new(0));
        kept.set_max(30);
        kept.change(&one, 10);
        kept.change(&two, 19);
        assert!(!kept.is_over_limit());
        kept.change(&one, 11);
        assert!(kept.is_over_limit());
        kept.change(&two, 17);
        assert!(kept.is_over_limit(), "it has hardly become less");
        kept.change(&two, 15);
        assert!(!kept.is_over_limit());
        kept.change(&two, 0);
        kept.change(&one, 0);
        assert_eq!(kept.bytes(), 0);
    }

    #[test]
    fn there_can_be_room_for_half_of_what_there_is_once_all_is_gone() {
        let (kept, one) = (MemoryBudget::default(), Cell::new(0));
        kept.set_max(10 * LITTLE);
        kept.change(&one, 4 * LITTLE);
        let of = |bytes| (kept.has_room_for(bytes), kept.can_have_room_for(bytes));
        assert_eq!((of(2 * LITTLE), of(4 * LITTLE), of(6 * LITTLE)), ((true, true), (false, true), (false, false)));
    }
}
