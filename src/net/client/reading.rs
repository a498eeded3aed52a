//! Reads from a client's socket as much as there is room for.

use std::io;
use std::task::{Context as TaskContext, Poll};

use super::connection::{Connection, Event, InputWait};
use crate::net::context::READ_BYTES;
use crate::net::exchange::End;
use crate::net::memory_budget::LITTLE;
use crate::net::recording::{Read, Track};
use crate::telemetry::label::EarlyClose;

/// Input kept while the client waits for its turn, before it is no longer read from.
const INPUT_BYTES_MAX: usize = 256 * 1024;

impl Connection {
    pub(super) fn poll_input(&mut self, InputWait { is_held, is_woken }: InputWait, cx: &mut TaskContext<'_>) -> Poll<Event> {
        // Before it has waited there is hardly ever something to read: nothing more is looked at, and no buffer taken, for that.
        let has_nothing = self.input.bytes.capacity() == 0 && !self.input.is_streaming();
        if !is_woken && has_nothing && !self.exchange.front.borrow().may_read(cx) {
            self.exchange.note_short_of_room(None);
            return Poll::Pending;
        }
        let has_room = self.exchange.has_room();
        if !self.exchange.link_has_room(self.bytes_to_send()) {
            self.exchange.note_short_of_room(None);
            self.awaits_room = true;
            self.exchange.link().wait_for_room(self.room_ticket.make(), cx);
            return Poll::Pending;
        }
        if !has_room {
            self.exchange.want_room();
        }
        let takes_more = has_room && !self.input.ended && self.input.bytes.len() < self.input_bytes_max(is_held);
        let is_short = takes_more && self.is_short_of_room();
        self.exchange.note_short_of_room(is_short.then(|| self.waits_for_itself()));
        if !takes_more || is_short {
            return Poll::Pending;
        }
        if let Some(moved) = self.poll_splice(cx) {
            return self.note_spliced(moved);
        }
        if self.input.bytes.capacity() == 0 {
            self.input.bytes = self.shared.context.read_buffers.take();
        }
        // A buffer grows by twice what it was: up to the little that each may have it grows no further than that.
        let left_of_little = Some(LITTLE.saturating_sub(self.input.bytes.len())).filter(|left| *left > 0);
        let little = left_of_little.unwrap_or(READ_BYTES).min(READ_BYTES / 4);
        self.input.bytes.reserve(if self.input.is_streaming() { 4 * READ_BYTES } else { little });
        let room = self.input.bytes.capacity() - self.input.bytes.len();
        match self.exchange.poll_read(&mut self.input.bytes, is_woken, cx) {
            Poll::Ready(Ok(0)) => {
                self.input.ended = true;
                Poll::Ready(Event::Read)
            }
            Poll::Ready(Ok(read)) => {
                self.input.filled = read == room;
                if self.shared.context.tap.is_on() {
                    self.record(read);
                }
                Poll::Ready(Event::Read)
            }
            Poll::Ready(Err(_)) => {
                self.exchange.end(End::Gone);
                Poll::Ready(Event::Wake)
            }
            // The buffer was filled to its last byte, and nothing stands behind it.
            Poll::Pending if std::mem::take(&mut self.input.filled) && !self.input.batch.is_empty() => Poll::Ready(Event::Wake),
            Poll::Pending => {
                self.give_buffers();
                Poll::Pending
            }
        }
    }

    /// A part of a large request has been moved on, or none.
    fn note_spliced(&mut self, moved: Poll<io::Result<usize>>) -> Poll<Event> {
        match moved {
            Poll::Ready(Ok(bytes)) => {
                self.input.ended |= bytes == 0;
                Poll::Ready(Event::Read)
            }
            Poll::Ready(Err(_)) => {
                self.exchange.end(End::Gone);
                Poll::Ready(Event::Wake)
            }
            Poll::Pending => {
                self.give_buffers();
                Poll::Pending
            }
        }
    }

    /// Tells whoever records what the last read has brought.
    #[cold]
    fn record(&mut self, read: usize) {
        let before = self.input.bytes.len() - read;
        let is_tunnel = self.exchange.state.borrow().session.affinity.is_tunnel();
        let is_between_requests = self.input.parser.is_between_requests() && self.input.batch.whole_bytes() >= before;
        let read = Read {
            client: self.client.id,
            connected_at: self.client.connected_at,
            bytes: &self.input.bytes[before..],
            begins_request: is_between_requests && !self.input.is_streaming() && !is_tunnel,
        };
        Track::note(&mut self.track, &self.shared.context.tap, read);
    }

    /// So much may come that cannot go on now; `held` says that what is there waits for more to come.
    fn input_bytes_max(&self, held: bool) -> usize {
        if self.input.bytes.len() < LITTLE { LITTLE } else { INPUT_BYTES_MAX.max(self.whole_bytes_wanted(held)) }
    }

    /// Others need what room is left. Who keeps the most is the first who is not read from any more.
    fn is_short_of_room(&self) -> bool {
        let bytes = self.input.bytes.len();
        bytes >= LITTLE && bytes >= self.shared.context.kept.allowance(if self.is_known() { 2 } else { 8 })
    }

    /// What has come is the beginning of something whose end is to come from the client: it waits for nobody else.
    fn waits_for_itself(&self) -> bool {
        self.is_between_turns && !self.lease.is_blocked()
    }

    /// It has logged in, or needs no login.
    fn is_known(&self) -> bool {
        let key_has_login = self.exchange.lane().key.login.is_some();
        let owes_password = || self.is_unauthenticated() || self.exchange.wants_password();
        key_has_login || self.login.is_accepted_by_server() || !owes_password()
    }

    /// What the client has begun is too large for the room that is left: it is told so behind what it is owed, and closed.
    pub(super) fn refuse_unfinished(&mut self) {
        tracing::info!(client = %self.exchange.peer(), bytes = self.input.bytes.len(), "closed: its unfinished request is too large for the buffer limit");
        self.shared.context.metrics.closed_early(EarlyClose::Unfinished);
        if self.input.batch.all_held().is_empty() {
            self.input.give_up();
        }
        // What is held is all that it will have sent of its group.
        (self.input.ended, self.input.refused_room) = (true, true);
        self.dialogue.end();
    }

    /// The client is blocked, and so much stands behind the blocking command that nothing more is read: its leaving would
    /// not be noticed.
    pub(super) fn is_unread_while_blocked(&self) -> bool {
        let bytes = self.input.bytes.len();
        let is_full = || bytes >= INPUT_BYTES_MAX || !self.exchange.has_room() || !self.exchange.link_has_room(bytes);
        self.lease.is_blocked() && !self.input.ended && is_full()
    }

    fn whole_bytes_wanted(&self, held: bool) -> usize {
        match self.input.is_streaming() {
            true => 0,
            // The members of a group that are there already may be large themselves.
            false if held && !self.shared.context.policy().groups().is_empty() => {
                2 * self.shared.context.whole_limits.member_bytes_max
            }
            false => 2 * self.whole_bytes_max(),
        }
    }

    /// Nothing of what was read is left: others need the room more.
    pub(super) fn give_buffers(&mut self) {
        if self.input.bytes.is_empty() && self.input.bytes.capacity() > 0 {
            self.shared.context.read_buffers.give(std::mem::take(&mut self.input.bytes));
        }
        if self.input.bytes.is_empty()
            && let Some(batch) = self.input.batch.take_blank()
        {
            self.shared.context.batches.give(batch);
        }
    }
}
