//! Whether more is read from a client, and how much is buffered for it.

use super::{Exchange, State};
use crate::net::memory_budget::{AMPLE, LITTLE};

/// Places that may be open behind what is held.
const SLOTS_MAX: usize = 32 * 1024;
/// Bytes of replies that may wait behind what is held.
const HELD_UP_BYTES: usize = 256 * 1024;
/// So much may be kept for each client, whatever is kept for all together.
pub const PRESSED_BYTES: usize = 64 * 1024;

impl Exchange {
    /// False while so much is under way that nothing more is taken from the client. That it does not read its replies is no
    /// reason: it may have more to send first.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.has_room_behind(&self.state.borrow())
    }

    #[inline]
    pub(super) fn has_room_behind(&self, state: &State) -> bool {
        if state.slots.waiting_bytes() == 0 && state.slots.are_few() {
            return true;
        }
        let (waiting, places) = (state.slots.waiting_bytes(), state.slots.place_bytes());
        // What has gone to the server waits there, however much that is.
        waiting == 0 && places < LITTLE || waiting < self.out_bytes_soft() && self.context.kept.has_room_for(places + waiting)
    }

    /// The client's task wants to know when it may send more, unless it may now.
    pub fn want_room(&self) {
        self.task.want_room(!self.has_room());
    }

    /// True while it wants to know.
    pub fn wants_room(&self) -> bool {
        self.task.wants_room()
    }

    /// True once when the room is there that the client's task has wanted.
    pub fn takes_room(&self) -> bool {
        let is_there = self.task.wants_room() && self.has_room();
        if is_there {
            self.task.want_room(false);
        }
        is_there
    }

    /// True while so much waits for what is held that it must go.
    pub fn is_held_up(&self) -> bool {
        let state = self.state.borrow();
        state.slots.waiting_bytes() > HELD_UP_BYTES || state.slots.len() >= SLOTS_MAX
    }

    /// The client's task keeps room for so many bytes of requests, of which so many are there that cannot go on now.
    pub fn keep_input(&self, room: usize, bytes: usize) {
        self.buffered.set_input(room, bytes, &self.context.kept);
    }

    /// What is kept of the client's replies counts among that of all clients.
    pub(super) fn note_buffered(&self, state: &State) {
        let bytes = state.out.pipe_bytes() + state.out.bytes.capacity() + state.slots.waiting_bytes() + state.slots.place_bytes();
        self.buffered.set_output(bytes, &self.context.kept);
    }

    /// Whether there is no room for more of what the client has begun to send, and if so, whether it waits for nobody but
    /// itself.
    #[inline]
    pub fn note_short_of_room(&self, short: Option<bool>) {
        self.buffered.note_short(short, &self.context.kept);
    }

    /// No more of what it sends can be kept: it is told so.
    pub fn refuse_room(&self) {
        self.buffered.refuse();
        self.wake();
    }

    /// False when more is kept for the client than it may be behind: while a large reply passes, nothing is kept that it
    /// has not had the time to take.
    pub(super) fn may_keep(&self, bytes: usize) -> bool {
        let is_little = bytes == 0 || bytes < self.out_bytes_soft() && !self.bulk.is_coming_in();
        is_little || self.task.waiting().is_for_replies() && !self.context.kept.is_over_limit()
    }

    /// The client has caught up: the upstream is read from again.
    pub(super) fn let_through(&self, state: &State) {
        if self.may_keep(state.unread()) && self.pace.take_held_up() {
            self.client_lane.link().wake();
        }
        self.begin_to_unpack(state);
    }

    /// Bytes kept for a client before the upstream is no longer read from for it.
    pub(super) fn out_bytes_soft(&self) -> usize {
        self.context.kept.allowance(4).clamp(PRESSED_BYTES, AMPLE)
    }
}
