//! Room for what is long: a request is kept whole on its way to its node, and the merged reply of several nodes until its client
//! has read it.
//!
//! A request for which there is no room waits, and its client is not read from meanwhile. Who keeps much and reads nothing
//! gives way.

use std::rc::Weak;
use std::time::{Duration, Instant};

use super::core::Core;
use super::nodes::Nodes;
use super::state::{RoomWanted, State};
use crate::net::clock;
use crate::net::memory_budget::{AMPLE, LITTLE};

/// So long a request waits for room, but not until its client is told that its time is over.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where nothing has changed for so long, of those that wait the last one is refused: what has come of it takes the room that the
/// first one needs.
const TOGETHER: Duration = Duration::from_millis(100);

impl Core {
    /// How long a request may be of which so many bytes have come: there must be room for it here, and once more on its way.
    pub(super) fn longest_request(&self, here: usize) -> usize {
        let counted = here.min(self.kept.get());
        (self.nodes.context.kept.allowance(2) + counted / 2).max(LITTLE)
    }

    /// Whether a request that is so long waits for room, which it has begun to at that time, if it has.
    pub(super) fn waits_for_room(&self, state: &mut State, bytes: u64, before: Option<RoomWanted>) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let since = before.map_or_else(clock::now, |before| before.since);
        if self.is_room_overdue(since) || !self.nodes.context.kept.can_have_room_for(bytes) {
            return false;
        }
        state.room_wanted = Some(RoomWanted { since, bytes });
        self.nodes.room_is_wanted.set(true);
        true
    }

    /// Goes on where a request has waited for room, or tells its client that there is none; `is_first` where none has waited for
    /// longer, for which others give way. True while it waits.
    fn look_for_room(&self, is_first: bool) -> bool {
        let Some((wanted, here)) = self.state.try_borrow().ok().and_then(|state| Some((state.room_wanted?, state.input.len())))
        else {
            return false;
        };
        if is_first && wanted.bytes > self.longest_request(here) {
            self.nodes.make_room(self);
        }
        if self.is_room_overdue(wanted.since) || wanted.bytes <= self.longest_request(here) {
            self.go_on();
        }
        self.state.borrow().room_wanted.is_some()
    }

    fn is_room_overdue(&self, since: Instant) -> bool {
        let longest = PATIENCE.min(self.nodes.settings.request_timeout * 3 / 4);
        self.is_room_refused.get() || clock::now().saturating_duration_since(since) >= longest
    }

    /// What has waited for room is read on, or refused.
    fn go_on(&self) {
        self.take_in(&[]);
        self.is_room_refused.set(false);
        self.note_kept();
        self.has_news.set(true);
        self.wake();
    }

    /// Since when it waits for room.
    fn waits_since(&self) -> Option<Instant> {
        self.state.try_borrow().ok()?.room_wanted.map(|wanted| wanted.since)
    }

    /// Bytes that its client has to read.
    fn unread(&self) -> usize {
        let state = self.state.try_borrow();
        state.map_or(0, |state| state.waiting_bytes())
    }

    /// Gives up what its client does not read, if that does not read at all.
    fn gives_way(&self) -> bool {
        let is_closed = self.reader.borrow().upgrade().is_some_and(|reader| reader.client_gives_way());
        if is_closed {
            self.state.borrow_mut().give_up_unread();
            self.has_left.set(true);
            self.nodes.context.kept.change(&self.kept, 0);
        }
        is_closed
    }
}

impl Nodes {
    /// Those that wait for room look whether there is some.
    pub(super) fn look_for_room(&self) {
        if self.room_is_wanted.take() {
            let connections: Vec<_> = self.connections.borrow().iter().filter_map(Weak::upgrade).collect();
            // Those that have waited longest come first.
            let mut waiting: Vec<_> = connections.iter().filter_map(|core| Some((core.waits_since()?, core))).collect();
            waiting.sort_by_key(|(since, _)| *since);
            let (count, mut is_first) = (waiting.len(), true);
            waiting.retain(|(_, core)| core.look_for_room(std::mem::take(&mut is_first)));
            self.room_is_wanted.set(!waiting.is_empty());
            let now = clock::now();
            // One that has gone, or was refused, makes room soon.
            let changed_at = self.room_changed_at.get().filter(|_| waiting.len() == count);
            self.room_changed_at.set(Some(changed_at.unwrap_or(now)));
            let is_stuck = changed_at.is_some_and(|at| now.saturating_duration_since(at) >= TOGETHER);
            if let Some((_, last)) = waiting.last().filter(|_| is_stuck && waiting.len() > 1) {
                last.is_room_refused.set(true);
                last.go_on();
                self.room_changed_at.set(Some(now));
            }
        }
    }

    /// One client needs room: of the others that keep much and read nothing the one that keeps the most gives way. True if
    /// there is one.
    pub(super) fn make_room(&self, needs: &Core) -> bool {
        let connections: Vec<_> = self.connections.borrow().iter().filter_map(Weak::upgrade).collect();
        let others = connections.iter().filter(|core| !std::ptr::eq(&***core, needs) && !core.has_left.get());
        let mut unread: Vec<_> = others.map(|core| (core.unread(), core)).filter(|(bytes, _)| *bytes > AMPLE).collect();
        unread.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        unread.into_iter().any(|(_, core)| core.gives_way())
    }
}
