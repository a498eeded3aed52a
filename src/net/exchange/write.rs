//! What is written to a client, within the limit on what may wait for it.

use std::io;
use std::task::{Context as TaskContext, Poll, ready};

use super::{Exchange, State};
use crate::net::clock;
use crate::telemetry::label::{Direction, Side};

/// Bytes that its places take up, from which on they count although it is owed nothing else.
const PLACES_NOTED: usize = 4 * 1024;
/// Bytes kept for a client before the upstream is no longer read from for it.
const OUT_BYTES_SOFT: usize = 1024 * 1024;
/// So much is written to one client before it is the turn of others.
const TURN_BYTES: usize = 1024 * 1024;
/// So much may be kept for each client, whatever is kept for all together.
pub const PRESSED_BYTES: usize = 64 * 1024;

impl Exchange {
    /// Writes what is ready for the client.
    #[inline]
    pub(super) fn poll_flush(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        if self.has_nothing_to_write(&self.state.borrow()) { Poll::Ready(Ok(())) } else { self.poll_flush_out(cx) }
    }

    /// Nothing is ready for it or waits, and nothing of that counts.
    #[inline]
    pub(super) fn has_nothing_to_write(&self, state: &State) -> bool {
        let has_nothing = state.out.capacity() == 0 && self.caught_up.get() && state.slots.waiting_bytes() == 0;
        has_nothing && self.out_kept.get() < PLACES_NOTED && (state.slots.are_few() || state.slots.place_bytes() < PLACES_NOTED)
    }

    fn poll_flush_out(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        if state.out.capacity() == 0 && self.caught_up.get() && state.slots.waiting_bytes() == 0 {
            self.note_kept(&state);
            return Poll::Ready(Ok(()));
        }
        let flushed = self.poll_write_out(&mut state, cx);
        self.note_kept(&state);
        flushed
    }

    /// What is kept of the client's replies counts among that of all clients.
    pub(super) fn note_kept(&self, state: &State) {
        let places = state.slots.place_bytes();
        self.out_kept.set(state.out.capacity() + state.slots.waiting_bytes() + places);
        self.count_kept();
    }

    fn poll_write_out(&self, state: &mut State, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        if self.caught_up.replace(false) {
            self.progress_at.set(clock::now());
        }
        let mut front = self.front.borrow_mut();
        let turn = state.out_at.saturating_add(TURN_BYTES);
        while state.out_at < state.out.len() {
            if state.out_at >= turn {
                cx.waker().wake_by_ref();
                state.forget_written_part();
                self.let_through(state);
                return Poll::Pending;
            }
            match front.poll_write(cx, &state.out[state.out_at..state.out.len().min(turn)]) {
                Poll::Ready(Ok(written)) => {
                    state.out_at += written;
                    self.progress_at.set(clock::now());
                    self.context.metrics.add_bytes(Side::Client, Direction::Out, written);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    state.forget_written_part();
                    self.let_through(state);
                    return Poll::Pending;
                }
            }
        }
        if state.out.capacity() > 0 {
            state.out_at = 0;
            self.context.write_buffers.give(std::mem::take(&mut state.out));
            state.slots.shrink();
        }
        ready!(front.poll_flush(cx))?;
        self.caught_up.set(true);
        self.let_through(state);
        Poll::Ready(Ok(()))
    }

    /// Writes what it can of a piece of a large reply, before which nothing waits, and says how much that was.
    pub(super) fn write_through(&self, piece: &[u8]) -> usize {
        let waker = self.waker.borrow();
        let (Some(waker), None) = (waker.as_ref(), self.ended.get()) else { return 0 };
        let written = self.front.borrow_mut().poll_write(&mut TaskContext::from_waker(waker), piece);
        // An error comes again when the rest is written.
        let Poll::Ready(Ok(written)) = written else { return 0 };
        self.progress_at.set(clock::now());
        self.context.metrics.add_bytes(Side::Client, Direction::Out, written);
        written
    }

    /// Writes what it can of replies behind which nothing is owed to the client, while nothing waits for it; says how much
    /// that was.
    pub(super) fn write_at_once(&self, replies: &[u8]) -> usize {
        if !self.caught_up.get() || self.ended.get().is_some() {
            return 0;
        }
        // An error comes again when the rest is written.
        let Ok(written) = self.front.borrow().try_write(replies) else { return 0 };
        self.progress_at.set(clock::now());
        self.context.metrics.add_bytes(Side::Client, Direction::Out, written);
        written
    }

    /// False when more is kept for the client than it may be behind: while a large reply passes, nothing is kept that it
    /// has not had the time to take.
    pub(super) fn may_keep(&self, bytes: usize) -> bool {
        let is_little = bytes == 0 || bytes < self.out_bytes_soft() && !self.bulk.is_coming_in();
        is_little || self.waiting.get().is_for_replies() && !self.context.kept.is_over_limit()
    }

    /// The client has caught up: the upstream is read from again.
    pub(super) fn let_through(&self, state: &State) {
        if self.may_keep(state.unread()) && self.holds_up.take() {
            self.link.borrow().wake();
        }
        self.begin_to_unpack(state);
    }

    pub(super) fn out_bytes_soft(&self) -> usize {
        self.context.kept.allowance(4).clamp(PRESSED_BYTES, OUT_BYTES_SOFT)
    }
}

impl State {
    /// Bytes of replies that the client has yet to take, also those whose values are still to be read.
    pub(super) fn unread(&self) -> usize {
        self.out.len() - self.out_at + self.slots.packed_waiting()
    }

    pub(super) fn forget_out(&mut self) {
        self.slots.mute();
        self.out.clear();
        self.out_at = 0;
    }

    /// Keeps the buffer from growing for ever under a client that reads slowly but steadily.
    fn forget_written_part(&mut self) {
        if self.out_at >= self.out.len() / 2 {
            self.out.drain(..self.out_at);
            self.out_at = 0;
        }
    }
}
