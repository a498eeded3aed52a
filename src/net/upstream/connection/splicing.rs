//! Parts of large values that go by without being copied, out of the server's socket and into it.

use std::io;
use std::task::{Context as TaskContext, Poll, ready};

use super::pump::Wire;
use super::reading::Reading;
use super::{Link, Phase, State};
use crate::net::clock;
use crate::net::splice::Fill;
use crate::telemetry::label::{Direction, Side};
use respguard_engine::link::inflight::Owner;

impl Link {
    /// Lets a part of the reply that comes in go by, if its recipient takes it so.
    pub(super) fn poll_reply_part(
        &self,
        stream: &impl Wire,
        reading: &mut Reading,
        cx: &mut TaskContext<'_>,
    ) -> Option<Poll<io::Result<usize>>> {
        let most = reading.may_go_by()?;
        let socket = stream.socket()?;
        let state = self.state.borrow();
        let Owner::Recipient(who, to) = state.inflight.owner() else { return None };
        let came = who.take_part(to, &mut |pipe| socket.poll_fill(pipe, most, cx))?;
        match came {
            Poll::Ready(Ok(bytes)) => reading.went_by(bytes),
            Poll::Pending => reading.rest(&self.context),
            Poll::Ready(Err(_)) => {}
        }
        Some(came)
    }

    /// On a lease: lets a part of the request queued last go by, which `fill` brings. None where it must be queued: only while
    /// nothing else waits to be written.
    pub fn take_request_part(&self, fill: &mut Fill<'_>) -> Option<Poll<io::Result<usize>>> {
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
        state.inflight.extend_last(bytes, now, Some(self.held_up.own_time(now + self.settings.request_timeout)));
        self.wake();
        Some(filled)
    }

    /// Writes what has come of a request by the pipe.
    pub(super) fn poll_write_pipe(
        &self,
        state: &mut State,
        stream: &impl Wire,
        cx: &mut TaskContext<'_>,
    ) -> Poll<io::Result<()>> {
        let (Some(pipe), Some(socket)) = (state.pipe.as_mut(), stream.socket()) else { return Poll::Ready(Ok(())) };
        while pipe.bytes() > 0 {
            let written = ready!(socket.poll_empty(pipe, cx))?;
            self.context.metrics.add_bytes(Side::Upstream, Direction::Out, written);
        }
        if let Some(pipe) = state.pipe.take() {
            self.context.splice_pipes.give(pipe);
        }
        let answered = state.inflight.first_start().unwrap_or(u64::MAX);
        state.writes.note(state.out_start, answered, clock::now());
        state.waiting_for_room.wake_some();
        Poll::Ready(Ok(()))
    }
}
