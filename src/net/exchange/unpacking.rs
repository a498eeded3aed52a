//! Decompresses the long values of a client's replies on another thread, one reply at a time.

use std::rc::{Rc, Weak};
use std::time::Duration;

use super::{End, Exchange, State};
use crate::net::clock;
use crate::net::memory_budget::LITTLE;
use crate::net::off_thread::{Reserved, off_thread};
use crate::net::upstream::Recipient;
use respguard_engine::pipeline::packed_reply::{PackedReply, ReadReply};
use respguard_engine::pipeline::sequencer::Sequencer;

/// A value is there twice for a moment: as it was read, and within its reply.
const COPIES: usize = 2;
/// So often is looked whether there is room again.
const ROOM_PAUSE: Duration = Duration::from_millis(20);
/// So long is waited for room before an error takes the values' place.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

impl Exchange {
    /// Replies with compressed values have come, or begun to come; true when the upstream connection must be closed.
    #[cold]
    pub(super) fn see_to_packed(&self, state: &mut State) -> bool {
        let bytes = state.slots.packed_bytes();
        let is_over = self.ended().is_some();
        if is_over || bytes > LITTLE && !self.context.kept.has_room_for(bytes) {
            self.resolve(state, Sequencer::refuse_begun);
        }
        let mut close = false;
        while is_over && let Some(reply) = state.slots.next_packed() {
            close |= self.admit_read(state, reply.refuse());
        }
        self.note_buffered(state);
        self.begin_to_unpack(state);
        close
    }

    /// Begins with the oldest reply, unless one is being read, or the client has not taken those before it.
    #[inline]
    pub(super) fn begin_to_unpack(&self, state: &State) {
        if state.slots.has_packed() {
            self.unpack_unless_behind(state);
        }
    }

    #[cold]
    fn unpack_unless_behind(&self, state: &State) {
        let is_behind = state.out.waiting() >= self.out_bytes_soft();
        if !is_behind && self.ended().is_none() && !self.unpacks.replace(true) {
            tokio::task::spawn_local(unpack_all(Weak::clone(&self.me)));
        }
    }

    /// The oldest reply, if the client is to have it now.
    fn next_packed(&self) -> Option<PackedReply> {
        let mut state = self.state.borrow_mut();
        let is_behind = state.out.waiting() >= self.out_bytes_soft();
        let next = if is_behind || self.ended().is_some() { None } else { state.slots.next_packed() };
        self.unpacks.set(next.is_some());
        self.note_buffered(&state);
        self.let_through(&state);
        next
    }

    /// It goes to its place, and what waited for it goes on.
    fn unpacked(&self, reply: ReadReply) {
        let mut state = self.state.borrow_mut();
        let close = self.admit_read(&mut state, reply);
        self.let_through(&state);
        drop(state);
        if close {
            self.lease_lost();
        }
        self.flush();
        self.wake();
    }

    fn admit_read(&self, state: &mut State, reply: ReadReply) -> bool {
        self.resolve(state, |slots, client| slots.admit_read(reply, client));
        self.conclude(state)
    }
}

/// Ends when nothing is left, or the client has gone: then what is under way goes nowhere.
async fn unpack_all(client: Weak<Exchange>) {
    while let Some(reply) = client.upgrade().and_then(|exchange| exchange.next_packed()) {
        let Some(context) = client.upgrade().map(|exchange| Rc::clone(&exchange.context)) else { return };
        let promised = usize::try_from(reply.promised()).unwrap_or(usize::MAX).saturating_mul(COPIES);
        // It is no longer among what its client keeps.
        let compressed = Reserved::new(&context, reply.bytes());
        let longest = if context.kept.can_have_room_for(promised) { ROOM_TIMEOUT } else { Duration::ZERO };
        let until = clock::now() + longest;
        while !context.kept.has_room_for(promised) && clock::now() < until && client.strong_count() > 0 {
            tokio::time::sleep(ROOM_PAUSE).await;
        }
        let read = if context.kept.has_room_for(promised) {
            let values = Reserved::new(&context, promised);
            let read = off_thread(move || reply.read()).await;
            drop(values);
            read
        } else {
            Some(reply.refuse())
        };
        drop(compressed);
        let Some(exchange) = client.upgrade() else { return };
        match read {
            Some(read) => exchange.unpacked(read),
            // What the client is owed cannot be told any more.
            None => return exchange.end(End::Gone),
        }
    }
}
