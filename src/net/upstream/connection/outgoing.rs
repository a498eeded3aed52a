//! The bounded queue of what waits to be written to a connection.

use std::ops::Range;
use std::rc::Rc;
use std::task::Context as TaskContext;
use std::time::{Duration, Instant};

use super::room::RoomTicket;
use super::{Link, Phase, State};
use crate::net::clock;
use crate::net::memory_budget::LITTLE;
use crate::net::upstream::Recipient;
use crate::net::upstream::commands::Commands;
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;

/// Bytes that may wait to be written before clients are no longer read from.
const OUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same on a lease, where a single client sends much.
const LEASE_OUT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of requests that the server has been sent and has not answered, on a connection that many share.
const UNANSWERED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Who sends less does not wait until others have been sent what they sent.
const FEW_BYTES: usize = 1024;
/// Written bytes at the front of the buffer that are not worth moving the others for.
const WRITTEN_BYTES_MAX: usize = 1024 * 1024;

impl Link {
    /// Queues bytes for which `recipient` is `owed` replies; false when the link has ended
    /// and nothing was queued.
    #[must_use]
    pub fn send(&self, recipient: Rc<dyn Recipient>, parts: &[&[u8]], owed: Owed, times: Times) -> bool {
        // What is owed on a link that is ending has not been answered yet: this comes behind it.
        if self.over.get() {
            return false;
        }
        let mut state = self.state.borrow_mut();
        let goes_at_once = self.goes_at_once(&state);
        let bytes = parts.iter().map(|part| part.len()).sum();
        parts.iter().for_each(|part| state.out.extend_from_slice(part));
        state.inflight.push(recipient, owed, bytes, times.read_at, self.own_time(times.deadline));
        if goes_at_once {
            let mut requests = std::mem::take(&mut state.out);
            self.write_at_once(state, &requests, None);
            requests.clear();
            let state = &mut *self.state.borrow_mut();
            debug_assert!(state.out.is_empty(), "nothing was queued meanwhile");
            state.out = requests;
            state.forget_written(false);
        } else {
            let is_at_work = state.inflight.len() > 1;
            drop(state);
            self.wake_to_write(is_at_work, owed);
        }
        true
    }

    /// Something was queued, for which this is `owed`: the task writes it, with what others queue before it runs.
    ///
    /// To each node of a cluster goes but a part of what a worker's clients send, and each write may wake the node. So while it
    /// `is_at_work` anyway, a single request goes when the sockets have been looked at once more: others come with it.
    fn wake_to_write(&self, is_at_work: bool, owed: Owed) {
        if is_at_work && self.settings.is_node && owed.frames() == 1 { self.wake_after_look() } else { self.wake() }
    }

    /// Queues requests that mean nothing to each other and are owed one frame each; what becomes of them should the connection be
    /// lost, or its server be no primary any more, depends on whether all `are_reads`. False when the link has ended and
    /// nothing was queued.
    #[must_use]
    pub fn send_requests(
        &self,
        recipient: Rc<dyn Recipient>,
        requests: &Commands<'_>,
        owed: Owed,
        (read_at, deadline): (Instant, Instant),
        are_reads: bool,
    ) -> bool {
        if self.over.get() {
            return false;
        }
        let mut state = self.state.borrow_mut();
        let (wire, goes_at_once) = (requests.wire(), self.goes_at_once(&state));
        if !goes_at_once {
            state.out.extend_from_slice(wire);
        }
        state.inflight.push(recipient, owed, wire.len(), read_at, Some(self.held_up.own_time(deadline)));
        if are_reads && self.replays_reads() {
            state.inflight.mark_reads();
        } else if self.goes_again() {
            state.inflight.mark_single();
        }
        if goes_at_once {
            self.write_at_once(state, wire, Some(requests));
        } else {
            self.wake();
        }
        true
    }

    /// Adds a second recipient for the bytes queued last.
    pub fn owes_too(&self, recipient: Rc<dyn Recipient>, owed: Owed, times: Times) {
        self.state.borrow_mut().inflight.push_too(recipient, owed, times.read_at, self.own_time(times.deadline));
    }

    /// Queues what is asked about an earlier request: while there is no connection before all that waits for one, so that
    /// it is not waited for longer than its own time.
    #[must_use]
    pub fn send_first(&self, recipient: Rc<dyn Recipient>, request: &[u8], owed: Owed, times: Times) -> bool {
        if self.phase() != Phase::Connecting || self.over.get() {
            return self.send(recipient, &[request], owed, times);
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        debug_assert_eq!(state.out_at, 0, "nothing is written without a connection");
        state.out.splice(0..0, request.iter().copied());
        state.inflight.push_first(
            recipient,
            owed,
            request.len(),
            (times.read_at, self.own_time(times.deadline)),
            state.out_start,
        );
        true
    }

    /// What was queued last holds nothing but reads, one frame for each: lost with the connection, they go out once more.
    pub fn mark_reads(&self) {
        if self.replays_reads() {
            self.state.borrow_mut().inflight.mark_reads();
        }
    }

    /// What was queued last are commands that mean nothing to each other, one frame for each: refused by a server that is
    /// no primary any more, they go out once more.
    pub fn mark_single(&self) {
        if self.goes_again() {
            self.state.borrow_mut().inflight.mark_single();
        }
    }

    /// True when what a server refuses that is no primary any more goes out once more.
    pub fn goes_again(&self) -> bool {
        self.settings.primary.is_watched() && self.shared.get()
    }

    /// What was queued last blocks.
    pub fn mark_blocking(&self) {
        self.state.borrow_mut().inflight.mark_blocking();
    }

    pub(super) fn own_time(&self, deadline: Option<Instant>) -> Option<Instant> {
        deadline.map(|deadline| self.held_up.own_time(deadline))
    }

    /// Queues more bytes of the request queued last. Its time, `longest`, begins with its end, unless the server waits with its
    /// answer; before that it is the server that is waited for only while there is no room for more.
    pub fn extend(&self, piece: &[u8], end: bool, longest: Option<Duration>) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Closed {
            return;
        }
        self.has_carried_large.set(true);
        state.out.extend_from_slice(piece);
        let is_full = state.pipe.is_some() || state.out.len() - state.out_at >= self.out_bytes_max();
        let longest = if end { longest } else { is_full.then_some(self.settings.request_timeout) };
        let now = clock::now();
        state.inflight.extend_last(piece.len(), now, self.own_time(longest.map(|longest| now + longest)));
        drop(state);
        self.wake();
    }

    /// On a lease: closes the sending half after everything that waits has been written.
    pub fn finish_sending(&self) {
        self.finishing.set(true);
        self.wake();
    }

    /// How much of what is queued may be written now: a server that closes the connection over what it has to answer must not
    /// find much there, and what may be stuck itself can go elsewhere.
    pub(super) fn may_write(&self, state: &State) -> usize {
        let apart = self.end_apart(state);
        let most = self.replies_owed_max();
        let owed = (most < usize::MAX).then(|| state.inflight.end_of_replies(most));
        let paced = self.paced.get().map(|pieces| state.inflight.end_of_first(pieces));
        let unanswered = self.end_of_unanswered(state);
        match apart.into_iter().chain(owed).chain(paced).chain(unanswered).min() {
            None => state.out.len(),
            Some(end) => {
                let end = usize::try_from(end.saturating_sub(state.out_start)).unwrap_or(usize::MAX);
                end.clamp(state.out_at, state.out.len())
            }
        }
    }

    /// What lies in the sockets before a server that is busy can be overtaken by nobody: no more than so much goes there before
    /// it is answered. For a client that does not take its replies the server keeps them, however many they are.
    fn end_of_unanswered(&self, state: &State) -> Option<u64> {
        let end = state.inflight.first_start()? + UNANSWERED_BYTES_MAX as u64;
        let is_much = state.out_start + state.out.len() as u64 > end;
        let is_limited = is_much && self.shared.get() && self.held_up.why().is_none();
        is_limited.then(|| end.max(state.inflight.end_of_first(1)))
    }

    pub(super) fn has_unwritten(&self) -> bool {
        let state = self.state.borrow();
        !state.is_written()
    }

    /// The most outstanding replies at a time, unless requests were queued in one piece.
    pub fn replies_owed_max(&self) -> usize {
        if self.shared.get() { self.context.limits.replies_owed() } else { usize::MAX }
    }

    /// Requests that wait count among what is kept for all clients, but for the little that each connection may have.
    pub(super) fn note_kept(&self) {
        let mut state = self.state.borrow_mut();
        // What was kept to be sent again, should it have to be, was answered meanwhile.
        if state.out.len() >= LITTLE && state.out_at == state.out.len() {
            state.forget_written(self.shared.get());
        }
        let queued = if state.out.len() < LITTLE { 0 } else { state.out.capacity() };
        let bytes = queued + state.pipe.as_ref().map_or(0, |pipe| pipe.bytes());
        if bytes != self.out_kept.get() {
            self.context.kept.change(&self.out_kept, bytes);
        }
    }

    /// False while too much waits to be written for so many bytes more; `wait_for_room` tells when that has changed. Who has
    /// next to nothing to send does not wait for those who have much.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.has_room_behind(&self.state.borrow(), bytes)
    }

    pub(super) fn has_room_behind(&self, state: &State, bytes: usize) -> bool {
        if state.pipe.is_some() {
            return false;
        }
        let waiting = state.out.len() - state.out_at;
        waiting < LITTLE || waiting < self.out_bytes_max() && (bytes < FEW_BYTES || waiting < self.context.kept.allowance(4))
    }

    pub(super) fn out_bytes_max(&self) -> usize {
        if self.shared.get() { OUT_BYTES_MAX } else { LEASE_OUT_BYTES_MAX }
    }

    /// The client is woken when there is room for more requests, or none is to be had here any more.
    pub fn wait_for_room(&self, ticket: &RoomTicket, cx: &TaskContext<'_>) {
        self.state.borrow_mut().waiting_for_room.wait(std::ptr::from_ref(self).addr(), ticket, cx);
    }

    /// Those that wait for room, and have not been woken by what was written, are woken.
    pub(super) fn offer_room(&self) {
        let state = &mut *self.state.borrow_mut();
        if !state.waiting_for_room.is_empty() && self.has_room_behind(state, usize::MAX) {
            state.waiting_for_room.wake_some();
        }
    }
}

impl State {
    /// Everything is written: the buffer starts over, unless what is in it may be looked at `again`.
    pub(super) fn forget_written(&mut self, again: bool) {
        if again && self.keeps_sent() {
            return;
        }
        self.out_start += self.out_at as u64;
        self.out.clear();
        self.out_at = 0;
        if self.out.capacity() > OUT_BYTES_MAX {
            self.out = Vec::new();
        }
    }

    /// What comes may never be written to its end: what is written makes room, unless what is in it may be looked at `again`.
    pub(super) fn forget_written_front(&mut self, again: bool) {
        let waiting = self.out.len() - self.out_at;
        if self.out_at < WRITTEN_BYTES_MAX.max(waiting / 2) || again && self.keeps_sent() {
            return;
        }
        self.out.drain(..self.out_at);
        self.out_start += self.out_at as u64;
        self.out_at = 0;
    }

    /// Bytes before `position` will not be sent.
    pub(super) fn forget_before(&mut self, position: u64) {
        let bytes = usize::try_from(position.saturating_sub(self.out_start)).unwrap_or(usize::MAX).min(self.out.len());
        self.out.drain(..bytes);
        self.out_start = position;
        self.out_at = 0;
    }

    /// The bytes at these positions will not be sent; those before them move up.
    pub(super) fn cut_out(&mut self, cuts: &[Range<u64>]) {
        let place = |position: u64| usize::try_from(position.saturating_sub(self.out_start)).unwrap_or(usize::MAX);
        let before = self.out.len();
        for cut in cuts.iter().rev() {
            self.out.drain(place(cut.start).min(before)..place(cut.end).min(before));
        }
        self.out_start += (before - self.out.len()) as u64;
        self.out_at = 0;
    }
}
