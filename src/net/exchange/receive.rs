//! Fills a client's places with what its upstream connection hands over, and says when the client cannot keep up.

use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use super::{End, Exchange, State, Waiting};
use crate::net::clock;
use crate::net::findings::conclude;
use crate::net::upstream::connection::Link;
use crate::net::upstream::{Admitted, AdmittedPlain, Recipient};
use crate::telemetry::label::EarlyClose;
use crate::telemetry::slow::Whose;
use respguard_engine::link::owed::{Owed, ReplyTo, Seq};
use respguard_engine::pipeline::finding::{Fault, Finding};
use respguard_engine::pipeline::resolve::{self, Part};
use respguard_engine::session::subscription::Arrival;

/// Bytes of replies that wait for one before them, before their client is closed.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The same while too much is kept for all clients together.
const WAITING_BYTES_PRESSED: usize = 1024 * 1024;
/// How long a client may read nothing while others wait behind it and no more can be kept, before it is closed.
const PRESSED_GRACE: Duration = Duration::from_millis(25);
/// How long it may keep them waiting by reading slowly.
const HEAD_OF_LINE_MAX: Duration = Duration::from_millis(500);

impl Exchange {
    /// Answers what will not be answered; true when the lease must be closed.
    pub(super) fn fault_in(&self, state: &mut State, owed: Owed, fault: Fault) -> bool {
        let table = self.context.table();
        let State { slots, session, out, found, .. } = state;
        slots.fault(owed, fault, session, out, &resolve::Context { table: &table, client_id: self.id }, found);
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
        conclude(&self.context, &self.peer, &self.lane.borrow(), found);
    }

    /// Reports what resolving has found; true when the upstream connection must be closed.
    pub(super) fn conclude(&self, state: &mut State) -> bool {
        if state.found.is_empty() {
            return false;
        }
        self.forget_lost_guards(&state.found);
        self.keep_follow_ups(&mut state.found);
        self.count_violations(&state.found);
        conclude(&self.context, &self.peer, &self.lane.borrow(), &mut state.found)
    }
}

impl Exchange {
    /// Nothing is left to be done for a client whose last reply has been handed over.
    fn has_nothing_to_do(&self, state: &State) -> bool {
        let is_awaited = self.waiting() != Waiting::Input || self.wants_room.get();
        let is_done = !is_awaited && state.found.is_empty() && !state.slots.has_groups() && self.follow_ups.borrow().is_empty();
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
            tracing::info!(client = %self.peer, waiting, "closed: replies that wait for one before them are too large");
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
        let State { session, slots, out, found, .. } = state;
        if out.capacity() == 0 {
            *out = self.context.write_buffers.take();
        }
        let table = self.context.table();
        let context = resolve::Context { table: &table, client_id: self.id };
        // What goes to the client as it is need not be copied first.
        let written = if part.first || !slots.passes(to) || state.out_at < out.len() { 0 } else { self.write_through(piece) };
        let more = slots.admit(to, &piece[written..], part, session, out, &context, found);
        drop(table);
        let close = state.slots.packed_bytes() > 0 && self.see_to_packed(state);
        Admitted { more, close: self.conclude(state) || close }
    }

    fn takes_plain(&self, first: Seq, most: u32) -> u32 {
        self.state.borrow_mut().slots.takes_plain(first, most)
    }

    fn admit_plain(&self, _first: Seq, replies: &[u8], frames: u32) -> AdmittedPlain {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let State { slots, out, found, .. } = state;
        // Nothing is copied where nothing else is to go out with it.
        let is_last = out.capacity() == 0 && slots.len() == frames as usize;
        let written = if is_last { self.write_at_once(replies) } else { 0 };
        if written < replies.len() && out.capacity() == 0 {
            *out = self.context.write_buffers.take();
        }
        let table = self.context.table();
        let context = resolve::Context { table: &table, client_id: self.id };
        slots.admit_plain(&replies[written..], frames, out, &context, found);
        drop(table);
        if is_last {
            slots.shrink();
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
        let close = self.fault_in(&mut self.state.borrow_mut(), owed, fault);
        if close {
            self.lease_lost();
        }
        if fault == Fault::Timeout {
            self.counts.timeouts.set(self.counts.timeouts.get() + u64::from(owed.replies()));
            // What is still to come of a request that is cut through has nobody to go to.
            self.wake();
        }
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
            None => out.extend_from_slice(piece),
            Some(_) => session.tracking.translate(piece, out),
        }
    }

    fn lease_lost(&self) {
        self.lost_lease.set(true);
        self.wake();
    }

    fn lease_refused(&self) {
        self.end(End::Revoked);
    }

    fn whose(&self) -> Option<Whose> {
        Some(self.told_of())
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
            self.forgo_recovery(&mut state);
            state.forget_out();
            self.note_kept(&state);
            return;
        }
        self.send_again();
        self.send_follow_ups();
        self.go_on();
        let waker = self.waker.borrow();
        let Some(waker) = waker.as_ref() else { return };
        match self.poll_flush(&mut TaskContext::from_waker(waker)) {
            Poll::Ready(Err(_)) => {
                self.ended.set(Some(End::Gone));
                waker.wake_by_ref();
            }
            _ if self.waiting.get().is_for_each_reply() || self.is_wait_over() => waker.wake_by_ref(),
            _ if self.wants_room.get() && self.has_room() => waker.wake_by_ref(),
            _ => {}
        }
    }

    fn behind_for(&self) -> Option<Duration> {
        let is_behind = {
            let state = self.state.borrow();
            let kept = state.unread();
            self.ended.get().is_none() && !self.is_crowded(&state) && !self.may_keep(kept)
        };
        self.holds_up.set(is_behind);
        if !is_behind {
            self.behind_since.set(None);
            return None;
        }
        let now = clock::now();
        let since = self.behind_since.get().unwrap_or(now);
        self.behind_since.set(Some(since));
        Some(now.saturating_duration_since(since))
    }

    fn keeps_for_others(&self) -> bool {
        if !self.context.kept.is_over_limit() {
            return true;
        }
        let now = clock::now();
        let since = |at: Instant| now.saturating_duration_since(at);
        let reads_nothing = since(self.progress_at.get()) >= PRESSED_GRACE;
        let is_awaited_long = self.behind_since.get().is_some_and(|at| since(at) >= HEAD_OF_LINE_MAX);
        let is_too_slow = reads_nothing || is_awaited_long;
        if is_too_slow {
            let kept = self.out_kept.get();
            tracing::info!(client = %self.peer, kept, "closed: others wait for what it does not read, and no more can be kept");
            self.context.metrics.closed_early(EarlyClose::Slow);
            self.end(End::Slow);
        }
        is_too_slow
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
        !is_pinned && self.behind_since.get().is_none() && self.ended.get().is_none()
    }

    fn move_to(&self, next: &Rc<Link>) {
        self.set_link(next);
        self.moved.set(true);
    }
}
