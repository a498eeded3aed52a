//! Parts of large values that are not copied, out of the server's socket and into it.

use std::io;
use std::task::{Context as TaskContext, Poll};

use super::reading::Reading;
use super::wire::Wire;
use super::{Link, Phase, State};
use crate::net::clock;
use crate::net::splice::Fill;
use crate::telemetry::label::{Direction, Side};
use respguard_engine::link::inflight::Owner;

impl Link {
    /// Moves a part of the reply that comes in to its recipient, if that takes it so.
    pub(super) fn poll_splice_reply(
        &self,
        stream: &impl Wire,
        reading: &mut Reading,
        cx: &mut TaskContext<'_>,
    ) -> Option<Poll<io::Result<usize>>> {
        let most = reading.spliceable_bytes()?;
        let socket = stream.socket()?;
        let state = self.state.borrow();
        let Owner::Recipient(who, to) = state.inflight.owner() else { return None };
        let moved = who.splice_part(to, &mut |pipe| socket.poll_fill(pipe, most, cx))?;
        match moved {
            Poll::Ready(Ok(bytes)) => reading.skip(bytes),
            Poll::Pending => reading.rest(&self.context),
            Poll::Ready(Err(_)) => {}
        }
        Some(moved)
    }

    /// On a lease: sends a part of the request queued last, which `fill` moves into a pipe. None where it must be queued: only
    /// while nothing else waits to be written.
    pub fn splice_request_part(&self, fill: &mut Fill<'_>) -> Option<Poll<io::Result<usize>>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let is_free = state.phase == Phase::Ready && state.is_written() && !self.shared.get();
        if !is_free || !self.is_spliceable.get() {
            return None;
        }
        let mut pipe = self.context.splice_pipes.take()?;
        let filled = fill(&mut pipe);
        let bytes = pipe.bytes();
        if bytes == 0 {
            self.context.splice_pipes.give(pipe);
            return Some(filled);
        }
        state.forget_written(false);
        // What is queued from now on comes behind it.
        state.out_start += bytes as u64;
        state.pipe = Some(pipe);
        self.has_carried_large.set(true);
        // The server is waited for until it has taken this.
        let now = clock::now();
        state.inflight.extend_last(bytes, now, self.own_time(Some(now + self.settings.request_timeout)));
        self.wake();
        Some(filled)
    }

    /// Writes what the pipe holds of a request.
    pub(super) fn poll_write_pipe(
        &self,
        state: &mut State,
        stream: &impl Wire,
        cx: &mut TaskContext<'_>,
    ) -> Poll<io::Result<()>> {
        let (Some(pipe), Some(socket)) = (state.pipe.as_mut(), stream.socket()) else { return Poll::Ready(Ok(())) };
        while pipe.bytes() > 0 {
            let written = match socket.poll_empty(pipe, cx)? {
                Poll::Ready(written) => written,
                Poll::Pending if socket.has_forgotten(pipe, clock::now()) => {
                    tracing::debug!(upstream = %self.server(), "a server's socket had room, and its connection had not been told");
                    self.context.metrics.missed_wakeup();
                    match socket.empty_now(pipe) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                        written => written?,
                    }
                }
                Poll::Pending => return Poll::Pending,
            };
            self.context.metrics.add_bytes(Side::Upstream, Direction::Out, written);
        }
        if let Some(pipe) = state.pipe.take() {
            self.context.splice_pipes.give(pipe);
        }
        // Now it is the client that is waited for: what is in a pipe is never the end of a request.
        state.inflight.extend_last(0, clock::now(), None);
        let answered = state.inflight.first_start().unwrap_or(u64::MAX);
        state.writes.note(state.out_start, answered, clock::now());
        state.waiting_for_room.wake_some();
        Poll::Ready(Ok(()))
    }

    /// What is in a pipe is looked at now and then, so that it is moved even where nobody was told that it can be.
    pub(super) fn look_at_pipe(&self) {
        if self.state.borrow().pipe.is_some() {
            self.wake();
        }
    }
}
