//! Keeps what was written until it is answered, so that reads can be retried on the next connection.
//!
//! The bytes stay where they were written from: keeping them costs no copy, and room for what is under way.

use std::rc::Rc;

use super::{Link, LostReply, Phase, State};
use crate::net::clock;
use crate::net::upstream::Recipient;
use crate::net::upstream::discard::Discard;
use crate::telemetry::label::RetryKind;
use respguard_engine::link::inflight::replay::{Ask, Loss, Replay, Sent};
use respguard_engine::link::times::Times;
use respguard_engine::pipeline::finding::Fault;

/// Answered bytes at the front of the buffer that are not worth moving the others for.
const ANSWERED_BYTES_MAX: usize = 64 * 1024;
/// Beyond so many bytes nothing that was written is kept.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Reads that were moved are asked for one after the other at first, and so many together at most.
const PACE_MAX: usize = 8;

/// Tells recipients apart.
fn identity(who: &Rc<dyn Recipient>) -> usize {
    Rc::as_ptr(who).cast::<()>() as usize
}

impl State {
    fn stream(&self) -> Sent<'_> {
        Sent { bytes: &self.out, start: self.out_start, written: self.out_start + self.out_at as u64 }
    }

    /// True when what was written is kept, because some of it has not been answered.
    pub(super) fn keeps_sent(&mut self) -> bool {
        let Some(first) = self.inflight.first_start().filter(|first| *first >= self.out_start) else { return false };
        let answered = usize::try_from(first - self.out_start).unwrap_or(usize::MAX).min(self.out_at);
        if self.out.len() - answered > KEPT_BYTES_MAX {
            return false;
        }
        if answered > ANSWERED_BYTES_MAX {
            self.out.drain(..answered);
            self.out_at -= answered;
            self.out_start += answered as u64;
        }
        true
    }
}

impl Link {
    /// Reads that are lost with the connection go out once more on the next one.
    pub(super) fn replays_reads(&self) -> bool {
        self.settings.retry_reads && self.shared.get()
    }

    /// How many recipients with only reads outstanding wait behind unread replies or a large reply.
    pub fn waiting_readers(&self) -> usize {
        if !self.replays_reads() || !self.is_stuck() || !self.may_be_left() || self.phase() != Phase::Ready {
            return 0;
        }
        let state = self.state.borrow();
        let now = self.held_up.own_time(clock::now());
        state.inflight.readers(state.stream(), now, identity, |who| who.may_move())
    }

    /// Reads that wait here go elsewhere as soon as there is another connection, or there will be none.
    pub fn set_hands_on(&self, hands_on: bool) {
        if self.hands_on.replace(hands_on) && !hands_on {
            self.wake();
        }
    }

    /// What it is given goes out one after the other, so that the rest may go elsewhere if the first one is stuck.
    pub fn pace(&self) {
        self.paced.set(Some(1));
    }

    /// True when it was opened for what was stuck elsewhere.
    pub fn is_paced(&self) -> bool {
        self.paced.get().is_some()
    }

    /// So many waited before something came: what goes out together may become more while that is answered.
    pub(super) fn widen_pace(&self, waited: Option<usize>) {
        if let (Some(pieces), Some(waited)) = (self.paced.get(), waited)
            && self.state.borrow().inflight.len() < waited
        {
            self.paced.set(Some((2 * pieces).min(PACE_MAX)));
        }
    }

    /// This connection is stuck: `most` of those who are owed nothing but reads, and of whom nothing may run any more that was
    /// given up, ask for them over another one. Their time begins anew: it is another client that was waited for.
    pub fn hand_reads_to(&self, next: &Rc<Link>, most: usize) {
        if !self.replays_reads() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let State { inflight, out, out_at, out_start, .. } = &mut *state;
        let sent = Sent { bytes: out, start: *out_start, written: *out_start + *out_at as u64 };
        let nobody = || Rc::new(Discard) as Rc<dyn Recipient>;
        let now = self.held_up.own_time(clock::now());
        // What it sends from then on goes over the next one, too.
        let may_move = |who: &Rc<dyn Recipient>| who.may_move() && !self.owes_late(who);
        let moved = inflight.move_reads((sent, most), now, identity, may_move, nobody);
        let requests: Vec<_> = moved.iter().map(|moved| out[moved.bytes.clone()].to_vec()).collect();
        for moved in moved.iter().rev().filter(|moved| moved.is_unsent) {
            out.drain(moved.bytes.clone());
        }
        drop(state);
        for (request, moved) in requests.into_iter().zip(moved) {
            moved.recipient.move_to(next);
            if !moved.is_unsent {
                self.context.metrics.retried(RetryKind::Moved, moved.owed.frames());
            }
            let now = clock::now();
            let anew = now + self.settings.request_timeout;
            let deadline = moved.deadline.map(|deadline| self.held_up.real_time(deadline).max(anew));
            // Should the next one be lost, it is waited for from now on, too.
            if next.send(Rc::clone(&moved.recipient), &[&request], moved.owed, Times { read_at: now, deadline }) {
                next.state.borrow_mut().inflight.mark_moved(&moved);
            } else {
                moved.recipient.fault(moved.owed, Fault::Lost);
                moved.recipient.flush();
            }
        }
    }

    /// The connection is lost: reads wait for the next one, with what was not written; the others are told. Of a server that
    /// has refused what it was sent because `is_refused`, everything waits for the next one.
    pub(super) fn keep_what_may_go_again(&self, state: &mut State, written: u64, is_refused: bool, told: &mut Vec<LostReply>) {
        let now = self.held_up.own_time(clock::now());
        let (metrics, mut budget) = (&self.context.metrics, self.context.retries.budget(now));
        let may_replay = |reads: u32| {
            // Nothing of it has run.
            if is_refused {
                metrics.retried(RetryKind::Refused, reads);
                return Replay::Allowed;
            }
            if budget.withdraw(reads, now) {
                metrics.retried(RetryKind::Read, reads);
                return Replay::Allowed;
            }
            metrics.retry_refused(RetryKind::Read, reads);
            Replay::Refused
        };
        let sent = Sent { bytes: &state.out, start: state.out_start, written };
        let ask = Ask { identity, may_replay, start_over: |who: &Rc<dyn Recipient>, to| who.start_over(to) };
        let loss = if is_refused { Loss::NoPrimary } else { Loss::Unknown };
        let tell = |who: &Rc<dyn Recipient>, owed, cut| told.push((Rc::clone(who), owed, cut));
        let out = state.inflight.lose_all_but_reads(sent, (now, loss), ask, tell);
        state.out_start = state.inflight.queued() - out.len() as u64;
        (state.out, state.out_at) = (out, 0);
    }
}
