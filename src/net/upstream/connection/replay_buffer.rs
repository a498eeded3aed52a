//! Keeps what was written until it is answered, so that reads can go out once more on the next connection.
//!
//! The bytes stay where they were written from: keeping them costs no copy, and room for what is under way.

use std::rc::Rc;

use super::{Link, State, Told};
use crate::net::clock;
use crate::net::upstream::Recipient;
use crate::net::upstream::discard::Discard;
use crate::telemetry::label::RetryKind;
use respguard_engine::link::inflight::replay::{Ask, Loss, Moved, Replay, Sent};
use respguard_engine::pipeline::finding::Fault;

/// Answered bytes at the front of the buffer that are not worth moving the others for.
const ANSWERED_BYTES_MAX: usize = 64 * 1024;
/// Beyond so many bytes nothing that was written is kept.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

impl State {
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

    /// This connection is stuck: who is owed nothing but reads asks for them over another one.
    pub fn hand_reads_to(&self, next: &Rc<Link>) {
        if !self.replays_reads() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let State { inflight, out, out_start, .. } = &mut *state;
        let sent = Sent { bytes: out, start: *out_start, written: u64::MAX };
        let nobody = || Rc::new(Discard) as Rc<dyn Recipient>;
        let identity = |who: &Rc<dyn Recipient>| Rc::as_ptr(who).cast::<()>() as usize;
        let now = self.held_up.own_time(clock::now());
        let moved: Vec<_> = inflight
            .move_reads(sent, now, identity, |who| who.may_move(), nobody)
            .into_iter()
            .map(|moved| (out[moved.bytes.clone()].to_vec(), moved))
            .collect();
        drop(state);
        for (request, Moved { recipient, owed, read_at, deadline, .. }) in moved {
            recipient.move_to(next);
            self.context.metrics.retried(RetryKind::Moved, owed.frames());
            let deadline = deadline.map(|deadline| self.held_up.real_time(deadline));
            if next.send(Rc::clone(&recipient), &[&request], owed, read_at, deadline) {
                next.state.borrow_mut().inflight.mark_moved();
            } else {
                recipient.fault(owed, Fault::Lost);
                recipient.flush();
            }
        }
    }

    /// The connection is lost: reads wait for the next one, with what was not written; the others are told. Of a server that
    /// has refused what it was sent because `is_refused`, everything waits for the next one.
    pub(super) fn keep_what_may_go_again(&self, state: &mut State, written: u64, is_refused: bool, told: &mut Vec<Told>) {
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
        let ask = Ask {
            identity: |who: &Rc<dyn Recipient>| Rc::as_ptr(who).cast::<()>() as usize,
            may_replay,
            start_over: |who: &Rc<dyn Recipient>, to| who.start_over(to),
        };
        let loss = if is_refused { Loss::NoPrimary } else { Loss::Unknown };
        let tell = |who: &Rc<dyn Recipient>, owed, cut| told.push((Rc::clone(who), owed, cut));
        let out = state.inflight.lose_all_but_reads(sent, (now, loss), ask, tell);
        state.out_start = state.inflight.queued() - out.len() as u64;
        (state.out, state.out_at) = (out, 0);
    }
}
