//! Parts of large values that are not copied: from the server's to the client's socket, and from the client's to the server's.
//!
//! The pipe between the sockets is the client's, and is filled only while nothing else waits for the client: what is in it
//! goes before everything that is buffered. So it stands in nobody's way when the client does not read.

use std::io;
use std::task::{Context as TaskContext, Poll, ready};

use super::{End, Exchange, State};
use crate::net::clock;
use crate::net::splice::{Fill, SplicePipe};
use crate::telemetry::label::{Direction, Side};
use respguard_engine::link::owed::ReplyTo;

impl Exchange {
    /// Takes a part of the reply that `fill` brings, if it is the client's as it is and next to leave.
    pub(super) fn splice_reply_part(&self, to: ReplyTo, fill: &mut Fill<'_>) -> Option<Poll<io::Result<usize>>> {
        let mut state = self.state.borrow_mut();
        let is_next = state.unread() == 0 && state.slots.passes(to);
        if !is_next || self.ended.get().is_some() || !self.is_spliceable() {
            return None;
        }
        let mut pipe = self.context.splice_pipes.take()?;
        let filled = fill(&mut pipe);
        self.bulk.note_more(pipe.bytes(), self.context.limits.large_reply_bytes());
        if pipe.bytes() == 0 {
            self.context.splice_pipes.give(pipe);
            return Some(filled);
        }
        state.out.pipe = Some(pipe);
        self.pace.begin_to_write(clock::now);
        let written = self.task.poll_with(|cx| self.poll_write_out(&mut state, cx));
        self.note_buffered(&state);
        if let Some(Poll::Ready(Err(_))) = written {
            self.ended.set(Some(End::Gone));
            self.wake();
        }
        Some(filled)
    }

    /// Writes what is in the client's pipe.
    pub(super) fn poll_write_pipe(&self, state: &mut State, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let front = self.front.borrow();
        let (Some(pipe), Some(socket)) = (state.out.pipe.as_mut(), front.socket()) else { return Poll::Ready(Ok(())) };
        while pipe.bytes() > 0 {
            let written = ready!(socket.poll_empty(pipe, cx))?;
            self.note_written(written);
        }
        if let Some(pipe) = state.out.pipe.take() {
            self.context.splice_pipes.give(pipe);
        }
        Poll::Ready(Ok(()))
    }

    /// Moves what is in the client's pipe where the client's socket has room and its task has not been told.
    pub fn look_at_pipe(&self) {
        let mut state = self.state.borrow_mut();
        let front = self.front.borrow();
        let (Some(pipe), Some(socket)) = (state.out.pipe.as_mut(), front.socket()) else { return };
        if !socket.has_forgotten(pipe, clock::now()) {
            return;
        }
        tracing::debug!(client = %self.peer(), "a client's socket had room, and its task had not been told");
        self.context.metrics.missed_wakeup();
        // An error comes again when the task writes.
        while pipe.bytes() > 0
            && let Ok(written) = socket.empty_now(pipe)
        {
            self.note_written(written);
        }
        let is_empty = pipe.bytes() == 0;
        while is_empty
            && !state.out.rest().is_empty()
            && let Ok(written) = socket.write_now(state.out.rest())
        {
            state.out.advance(written);
            self.note_written(written);
        }
        self.wake();
    }

    /// True when what the client sends and is sent can be moved without being read, and there is memory for a pipe.
    pub fn is_spliceable(&self) -> bool {
        self.front.borrow().socket().is_some() && !self.context.kept.is_tight()
    }

    /// Moves what the client has sent into an empty pipe, no more than `most` bytes; 0 bytes are its end.
    pub fn poll_fill(&self, pipe: &mut SplicePipe, most: usize, cx: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        let front = self.front.borrow();
        let Some(socket) = front.socket() else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        let read = ready!(socket.poll_fill(pipe, most, cx))?;
        self.pace.note_sent(clock::now());
        self.context.metrics.add_bytes(Side::Client, Direction::In, read);
        Poll::Ready(Ok(read))
    }
}
