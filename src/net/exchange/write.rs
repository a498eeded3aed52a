//! Writes replies to a client, within the limit on buffered output.

use std::io;
use std::task::{Context as TaskContext, Poll, ready};

use super::{Exchange, State};
use crate::net::clock;
use crate::telemetry::label::{Direction, Side};

/// Bytes that its places take up, from which on they count although it is owed nothing else.
const PLACES_NOTED: usize = 4 * 1024;
/// So much is written to one client before it is the turn of others.
const TURN_BYTES: usize = 1024 * 1024;

impl Exchange {
    /// Writes what is ready for the client.
    #[inline]
    pub(super) fn poll_flush(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        if self.has_nothing_to_write(&self.state.borrow()) { Poll::Ready(Ok(())) } else { self.poll_flush_out(cx) }
    }

    /// Nothing is ready for it or waits, and nothing of that counts.
    #[inline]
    pub(super) fn has_nothing_to_write(&self, state: &State) -> bool {
        let has_nothing = state.out.has_no_buffer() && self.pace.has_caught_up() && state.slots.waiting_bytes() == 0;
        has_nothing
            && self.buffered.output() < PLACES_NOTED
            && (state.slots.are_few() || state.slots.place_bytes() < PLACES_NOTED)
    }

    pub(super) fn poll_flush_out(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        if state.out.has_no_buffer() && self.pace.has_caught_up() && state.slots.waiting_bytes() == 0 {
            self.note_buffered(&state);
            return Poll::Ready(Ok(()));
        }
        let flushed = self.poll_write_out(&mut state, cx);
        self.note_buffered(&state);
        flushed
    }

    pub(super) fn poll_write_out(&self, state: &mut State, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.pace.begin_to_write(clock::now);
        let piped = self.poll_write_pipe(state, cx);
        if piped.is_pending() {
            self.let_through(state);
        }
        ready!(piped)?;
        let mut front = self.front.borrow_mut();
        let mut turn = TURN_BYTES;
        while !state.out.rest().is_empty() {
            if turn == 0 {
                cx.waker().wake_by_ref();
                state.out.forget_written_part();
                self.let_through(state);
                return Poll::Pending;
            }
            let rest = state.out.rest();
            match front.poll_write(cx, &rest[..rest.len().min(turn)]) {
                Poll::Ready(Ok(written)) => {
                    state.out.advance(written);
                    turn = turn.saturating_sub(written);
                    self.note_written(written);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    state.out.forget_written_part();
                    self.let_through(state);
                    return Poll::Pending;
                }
            }
        }
        if !state.out.has_no_buffer() {
            self.context.write_buffers.give(state.out.take_buffer());
            state.slots.shrink();
        }
        // What is being encrypted is not waited for: the bytes are taken.
        self.let_through(state);
        ready!(front.poll_flush(cx))?;
        self.pace.catch_up();
        Poll::Ready(Ok(()))
    }

    /// Writes what it can of a piece of a large reply, before which nothing waits, and says how much that was.
    pub(super) fn write_through(&self, piece: &[u8]) -> usize {
        if self.ended.get().is_some() {
            return 0;
        }
        let written = self.task.poll_with(|cx| self.front.borrow_mut().poll_write(cx, piece));
        // An error comes again when the rest is written.
        let Some(Poll::Ready(Ok(written))) = written else { return 0 };
        // TLS takes more than its socket does: it is flushed, even where nothing is kept here.
        self.pace.begin_to_write(clock::now);
        self.note_written(written);
        written
    }

    /// Writes what it can of replies behind which nothing is owed to the client, while nothing waits for it; says how much
    /// that was.
    pub(super) fn write_at_once(&self, replies: &[u8]) -> usize {
        if !self.pace.has_caught_up() || self.ended.get().is_some() {
            return 0;
        }
        // An error comes again when the rest is written.
        let Ok(written) = self.front.borrow().try_write(replies) else { return 0 };
        self.note_written(written);
        written
    }

    #[inline]
    pub(super) fn note_written(&self, bytes: usize) {
        self.pace.advance(clock::now());
        self.context.metrics.add_bytes(Side::Client, Direction::Out, bytes);
    }
}

impl State {
    /// Bytes of replies that the client has yet to take, also those whose values are still to be read.
    pub(super) fn unread(&self) -> usize {
        self.out.waiting() + self.slots.packed_waiting()
    }

    pub(super) fn forget_out(&mut self) {
        self.slots.mute();
        self.out.clear();
    }
}
