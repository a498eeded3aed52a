//! Fills a client's places with what its upstream connection delivers, and detects when the client cannot keep up.

use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::{End, Exchange, State, Waiting};
use crate::net::clock;
use crate::net::findings::{conclude, conclude_group};
use crate::net::splice::Fill;
use crate::net::upstream::connection::Link;
use crate::net::upstream::{Admitted, AdmittedPlain, Recipient};
use crate::telemetry::label::EarlyClose;
use crate::telemetry::slow::RequestOwner;
use respguard_engine::link::owed::{Owed, ReplyTo, Seq};
use respguard_engine::pipeline::finding::{Fault, Finding};
use respguard_engine::pipeline::reading::{ClientSide, Context, Part};
use respguard_engine::pipeline::sequencer::Sequencer;
use respguard_engine::session::subscription::Arrival;

/// Bytes of replies that wait for one before them, before their client is closed.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The same while too much is kept for all clients together.
const WAITING_BYTES_PRESSED: usize = 1024 * 1024;

impl Exchange {
    /// Lets `resolve` fill places.
    #[inline]
    pub(super) fn resolve<R>(&self, state: &mut State, resolve: impl FnOnce(&mut Sequencer, &mut ClientSide<'_>) -> R) -> R {
        let table = self.context.table();
        let State { session, slots, out, found, .. } = state;
        let context = Context { table: &table, client_id: self.id };
        resolve(slots, &mut ClientSide { session, out: &mut out.bytes, found, context })
    }

    /// Answers what will not be answered; true when the lease must be closed.
    pub(super) fn fault_in(&self, state: &mut State, owed: Owed, fault: Fault) -> bool {
        self.resolve(state, |slots, client| slots.fault(owed, fault, client));
        self.conclude(state)
    }

    /// Reports what planning has found.
    pub(super) fn conclude_plan(&self, found: &mut Vec<Finding>) {
        if found.is_empty() {
            return;
        }
        for finding in &mut *found {
            if let Finding::Group { index, .. } = finding {
                *index = self.context.metrics.group_row(*index);
            }
        }
        self.count_violations(found);
        conclude(&self.context, self.peer(), &self.client_lane.lane(), found);
    }

    /// Reports what resolving has found; true when the upstream connection must be closed.
    #[inline]
    pub(super) fn conclude(&self, state: &mut State) -> bool {
        !state.found.is_empty() && self.report_found(state)
    }

    fn report_found(&self, state: &mut State) -> bool {
        // Most often it is a group, of which there is nothing else to say.
        if let [Finding::Group { index, outcome }] = state.found[..] {
            state.found.clear();
            conclude_group(&self.context, index, outcome);
            return false;
        }
        self.forget_lost_guards(&state.found);
        self.follow_ups.keep(&mut state.found);
        self.count_violations(&state.found);
        conclude(&self.context, self.peer(), &self.client_lane.lane(), &mut state.found)
    }
}

impl Exchange {
    /// Nothing is left to be done for a client whose last reply has been handed over.
    fn has_nothing_to_do(&self, state: &State) -> bool {
        let is_awaited = self.task.waiting() != Waiting::Input || self.task.wants_room();
        let is_done = !is_awaited && state.found.is_empty() && !state.slots.has_groups() && self.follow_ups.are_none();
        is_done && self.ended.get().is_none() && self.has_nothing_to_write(state)
    }

    /// What comes before its turn cannot wait at the server: what it waits for may stand behind it there. Beyond what is
    /// kept its client is closed.
    fn is_crowded(&self, state: &State) -> bool {
        let waiting = state.slots.waiting_bytes();
        if waiting < WAITING_BYTES_PRESSED {
            return false;
        }
        let is_crowded = waiting >= WAITING_BYTES_MAX || self.context.kept.is_over_limit();
        if is_crowded {
            tracing::info!(client = %self.peer(), waiting, "closed: its replies that wait for an earlier one are too large");
            self.context.metrics.closed_early(EarlyClose::Crowded);
            self.end(End::Crowded);
        }
        is_crowded
    }
}

impl Recipient for Exchange {
    fn admit(&self, to: ReplyTo, piece: &[u8], part: Part) -> Admitted {
        self.bulk.note(piece, part, self.context.limits.large_reply_bytes());
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let State { slots, out, .. } = state;
        if out.has_no_buffer() {
            out.bytes = self.context.write_buffers.take();
        }
        // What goes to the client as it is need not be copied first.
        let is_kept = part.first || !slots.passes(to) || out.waiting() > 0;
        let written = if is_kept { 0 } else { self.write_through(piece) };
        let more = self.resolve(state, |slots, client| slots.admit(to, &piece[written..], part, client));
        let close = state.slots.packed_bytes() > 0 && self.see_to_packed(state);
        Admitted { more, close: self.conclude(state) || close }
    }

    fn splice_part(&self, to: ReplyTo, fill: &mut Fill<'_>) -> Option<Poll<io::Result<usize>>> {
        self.splice_reply_part(to, fill)
    }

    fn takes_plain(&self, first: Seq, most: u32) -> u32 {
        self.state.borrow_mut().slots.takes_plain(first, most)
    }

    fn admit_plain(&self, _first: Seq, replies: &[u8], frames: u32) -> AdmittedPlain {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let State { slots, out, .. } = state;
        // Nothing is copied where nothing else is to go out with it.
        let is_last = out.has_no_buffer() && slots.len() == frames as usize;
        let written = if is_last { self.write_at_once(replies) } else { 0 };
        if written < replies.len() && out.has_no_buffer() {
            out.bytes = self.context.write_buffers.take();
        }
        self.resolve(state, |slots, client| slots.admit_plain(&replies[written..], frames, client));
        if is_last {
            state.slots.shrink();
        }
        let is_done = is_last && self.has_nothing_to_do(state);
        AdmittedPlain { close: self.conclude(state), is_done }
    }

    fn take_queued(&self, group: Seq, bytes: &[u8]) -> (u32, usize) {
        self.state.borrow_mut().slots.take_queued(group, bytes)
    }

    fn start_over(&self, to: ReplyTo) -> bool {
        self.state.borrow_mut().slots.start_over(to)
    }

    fn fault(&self, owed: Owed, fault: Fault) {
        let close = {
            let mut state = self.state.borrow_mut();
            let close = self.fault_in(&mut state, owed, fault);
            if let (Fault::Lost, ReplyTo::Request(seq)) = (fault, owed.next()) {
                state.slots.note_lost(seq, || self.link().lost_connection());
            }
            close
        };
        if close {
            self.lease_lost();
        }
        if fault == Fault::Timeout {
            self.counts.timeouts.set(self.counts.timeouts.get() + u64::from(owed.replies()));
            // What is still to come of a request that is cut through has nobody to go to.
            self.wake();
        }
    }

    fn note_late(&self, frames: u32) {
        self.state.borrow_mut().slots.note_late(frames);
    }

    fn settle_late(&self, frames: u32) {
        self.state.borrow_mut().slots.settle_late(frames);
    }

    fn cut(&self, owed: Owed) {
        self.bulk.cut();
        // The client must not be left with half a reply; what it has seen nothing of it can still be told.
        let is_unseen = self.state.borrow_mut().slots.is_unseen(owed.next());
        if is_unseen { self.fault(owed, Fault::Lost) } else { self.end(End::Cut) }
    }

    fn offend(&self) {
        self.bulk.offend();
    }

    fn lease_ended(&self) {
        if let Some(command) = self.bulk.take_suspect() {
            self.bulk.offend();
            self.context.offenders.convict(command);
        }
    }

    fn takes_bytes(&self) -> bool {
        self.state.borrow().session.affinity.is_tunnel()
    }

    fn classify(&self, head: &[u8]) -> Arrival {
        let state = self.state.borrow();
        let awaited = state.slots.awaits_confirmation();
        state.session.subscriptions.classify(head, state.session.protocol, awaited)
    }

    fn push(&self, piece: &[u8], _last: bool) {
        let State { session, out, .. } = &mut *self.state.borrow_mut();
        match session.tracking.redirect {
            None => out.bytes.extend_from_slice(piece),
            Some(_) => session.tracking.translate(piece, &mut out.bytes),
        }
    }

    fn lease_lost(&self) {
        self.lost_lease.set(true);
        self.wake();
    }

    fn lease_refused(&self) {
        self.end(End::Revoked);
    }

    fn request_owner(&self) -> Option<RequestOwner> {
        Some(self.request_owner())
    }

    fn mark(&self) -> bool {
        !self.marked.replace(true)
    }

    fn flush(&self) {
        self.marked.set(false);
        if self.ended.get().is_some() {
            // What a rule has to do behind a group does not depend on whether its client still listens.
            if !self.state.borrow().session.affinity.is_pinned() {
                self.send_follow_ups();
            }
            let mut state = self.state.borrow_mut();
            self.abandon_recovery(&mut state);
            state.forget_out();
            self.note_buffered(&state);
            return;
        }
        self.send_again();
        self.send_follow_ups();
        self.go_on();
        match self.task.poll_with(|cx| self.poll_flush(cx)) {
            None => {}
            Some(Poll::Ready(Err(_))) => {
                self.ended.set(Some(End::Gone));
                self.wake();
            }
            _ if self.task.waiting().is_for_each_reply() || self.is_wait_over() => self.wake(),
            _ if self.task.wants_room() && self.has_room() => self.wake(),
            _ => {}
        }
        if self.ends_with_recovery.get() {
            self.end_with_recovery();
        }
    }

    fn behind_for(&self) -> Option<Duration> {
        let is_behind = {
            let state = self.state.borrow();
            let kept = state.unread();
            self.ended.get().is_none() && !self.is_crowded(&state) && !self.may_keep(kept)
        };
        self.pace.note_behind(is_behind, clock::now)
    }

    fn keeps_for_others(&self) -> bool {
        if !self.context.kept.is_over_limit() {
            return true;
        }
        let is_too_slow = self.pace.is_too_slow(clock::now());
        if is_too_slow {
            let kept = self.buffered.output();
            tracing::info!(client = %self.peer(), kept, "closed: others wait behind its unread replies, and the buffer limit is reached");
            self.context.metrics.closed_early(EarlyClose::Slow);
            self.end(End::Slow);
        }
        is_too_slow
    }

    fn gives_way(&self) -> bool {
        let is_idle = self.ended.get().is_none() && self.pace.has_long_read_nothing(clock::now());
        if is_idle {
            tracing::info!(client = %self.peer(), "closed: others need the room that its unread replies take");
            self.context.metrics.closed_early(EarlyClose::Slow);
            self.end(End::Slow);
        }
        is_idle
    }

    fn stands_alone(&self) {
        if self.waiting().is_for_replies() {
            self.wake();
        }
    }

    fn is_gone(&self) -> bool {
        self.ended.get().is_some()
    }

    fn may_move(&self) -> bool {
        let is_pinned = self.state.borrow().session.affinity.is_pinned();
        !is_pinned && !self.pace.is_behind() && self.ended.get().is_none()
    }

    fn move_to(&self, next: &Rc<Link>) {
        self.client_lane.move_to(next);
    }
}
