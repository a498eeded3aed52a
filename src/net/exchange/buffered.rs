//! How much of one client's requests and replies is buffered, as part of the total for all clients.

use std::cell::Cell;
use std::time::Instant;

use crate::net::clock;
use crate::net::memory_budget::{LITTLE, MemoryBudget};

/// Bytes that are kept for one client, and whether it waits for room.
#[derive(Debug, Default)]
pub(in crate::net) struct Buffered {
    /// Replies, and the places of those that are to come.
    output: Cell<usize>,
    /// Room for requests.
    input: Cell<usize>,
    /// Requests that cannot go on now.
    waiting_input: Cell<usize>,
    /// What the sum of all clients knows of this one.
    counted: Cell<usize>,
    /// Since when it is not read from because no room is left for what it has begun to send.
    short_since: Cell<Option<Instant>>,
    /// It is to be told so.
    is_refused: Cell<bool>,
}

impl Buffered {
    pub(super) fn output(&self) -> usize {
        self.output.get()
    }

    pub(super) fn set_output(&self, bytes: usize, all: &MemoryBudget) {
        self.output.set(bytes);
        self.count(all);
    }

    /// Requests that cannot go on now.
    pub(super) fn waiting_input(&self) -> usize {
        self.waiting_input.get()
    }

    /// Room for requests beside those.
    pub(super) fn free_input(&self) -> usize {
        self.input.get().saturating_sub(self.waiting_input.get())
    }

    /// There is room for so many bytes of requests, of which so many are taken by those that cannot go on now.
    pub(super) fn set_input(&self, room: usize, waiting: usize, all: &MemoryBudget) {
        self.input.set(room);
        self.waiting_input.set(waiting);
        self.count(all);
    }

    /// What is no more than each client may keep does not count.
    #[inline]
    fn count(&self, all: &MemoryBudget) {
        let kept = self.output.get() + self.input.get();
        let counted = if kept <= LITTLE { 0 } else { kept };
        if counted != self.counted.get() {
            all.change(&self.counted, counted);
        }
    }

    /// Nothing is kept any more.
    pub(super) fn forget(&self, all: &MemoryBudget) {
        all.change(&self.counted, 0);
    }

    /// Whether there is no room for more of what the client has begun to send, and if so, whether it waits for nobody but
    /// itself.
    #[inline]
    pub(super) fn note_short(&self, short: Option<bool>, all: &MemoryBudget) {
        if short.is_some() || self.short_since.get().is_some() {
            self.begin_or_end_short(short, all);
        }
    }

    #[cold]
    fn begin_or_end_short(&self, short: Option<bool>, all: &MemoryBudget) {
        let since = short.map(|for_itself| self.short_since.get().filter(|_| for_itself).unwrap_or_else(clock::now));
        self.short_since.set(since);
        if since.is_some() {
            all.note_short();
        } else {
            self.is_refused.set(false);
        }
    }

    /// How much of the client's requests waits, if it has waited for room since `at` or longer.
    pub(in crate::net) fn short_since(&self, at: Instant) -> Option<usize> {
        self.short_since.get().filter(|since| *since <= at).map(|_| self.waiting_input.get())
    }

    /// No more is kept of what the client sends.
    pub(super) fn refuse(&self) {
        self.is_refused.set(true);
    }

    pub(in crate::net) fn is_refused(&self) -> bool {
        self.is_refused.get()
    }

    pub(in crate::net) fn take_refused(&self) -> bool {
        self.is_refused.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_little_does_not_count_and_all_of_what_is_more_does() {
        let (kept, all) = (Buffered::default(), MemoryBudget::default());
        kept.set_output(LITTLE, &all);
        assert_eq!(all.bytes(), 0);
        kept.set_input(1, 1, &all);
        assert_eq!(all.bytes(), LITTLE + 1);
        kept.set_output(0, &all);
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn nothing_of_a_client_that_has_gone_counts() {
        let (kept, other, all) = (Buffered::default(), Buffered::default(), MemoryBudget::default());
        kept.set_output(2 * LITTLE, &all);
        other.set_input(3 * LITTLE, 0, &all);
        kept.forget(&all);
        assert_eq!(all.bytes(), 3 * LITTLE);
    }

    #[test]
    fn of_the_room_for_requests_that_is_free_which_no_request_takes() {
        let (kept, all) = (Buffered::default(), MemoryBudget::default());
        kept.set_input(100, 30, &all);
        assert_eq!((kept.waiting_input(), kept.free_input()), (30, 70));
    }

    #[test]
    fn the_time_without_room_begins_anew_for_who_waits_for_somebody_else() {
        let (kept, all) = (Buffered::default(), MemoryBudget::default());
        kept.set_input(64, 7, &all);
        kept.note_short(Some(true), &all);
        let began = clock::now();
        assert!(all.take_short());
        assert_eq!((kept.short_since(began), kept.short_since(began - Duration::from_nanos(1))), (Some(7), None));
        std::thread::sleep(Duration::from_millis(1));
        clock::tick();
        kept.note_short(Some(true), &all);
        assert_eq!(kept.short_since(began), Some(7), "it waits for itself, as before");
        kept.note_short(Some(false), &all);
        assert_eq!((kept.short_since(began), kept.short_since(clock::now())), (None, Some(7)));
    }

    #[test]
    fn who_has_room_again_is_not_told_that_there_is_none() {
        let (kept, all) = (Buffered::default(), MemoryBudget::default());
        kept.note_short(Some(true), &all);
        kept.refuse();
        assert!(kept.is_refused());
        kept.note_short(None, &all);
        assert!(!kept.take_refused() && kept.short_since(clock::now()).is_none());
    }
}
