//! What becomes of what was sent, or waits, when a connection is lost or none is to be had.

use std::rc::Rc;

use tracing::{debug, warn};

use super::{Link, Loss, LostReply, Phase, fault_all};
use crate::net::clock;
use crate::net::upstream::connect::OpenError;
use crate::telemetry::label::UpstreamState;
use respguard_engine::pipeline::finding::Fault;

impl Link {
    /// The connection is lost: what was sent, in whole or in part, has an unknown outcome.
    pub(super) fn end(&self, loss: &Loss) {
        self.at_once.take();
        // Where this ends as a whole, on which connection to a node a group was lost before says nothing about the others.
        self.head_orphan.take();
        let mut told = Vec::new();
        let mut state = self.state.borrow_mut();
        // What is in the pipe belongs to a request that has begun: it is as lost as what was written.
        state.pipe = None;
        self.is_spliceable.set(false);
        let written = state.out_start + state.out_at as u64;
        let orphan = state.info.orphan();
        let is_refused = self.doubt.take().is_some() && matches!(loss, Loss::Moved);
        self.is_believed.set(false);
        let is_certain = !matches!(loss, Loss::Moved) && self.note_cause(&state, written, loss);
        if (self.replays_reads() || is_refused) && !is_certain {
            self.keep_what_may_go_again(&mut state, written, is_refused, &mut told);
        } else {
            let rest = state.inflight.lose(written, |who, owed, cut| told.push((Rc::clone(who), owed, cut)));
            state.forget_before(rest);
        }
        state.phase = if self.shared.get() { Phase::Connecting } else { Phase::Closed };
        drop(state);
        self.note_lease_end(&told, loss);
        self.note_end(loss);
        if let Some(orphan) = orphan.filter(|_| !told.is_empty() && !matches!(loss, Loss::Closed | Loss::Moved)) {
            self.keep_orphan(orphan);
        }
        if matches!(loss, Loss::OutOfSync | Loss::Protocol(_)) {
            self.context.metrics.out_of_sync();
        }
        if self.shared.get() {
            warn!(upstream = %self.server(), reason = %loss, unknown = told.len(), "upstream connection lost");
            if self.stands_for_server() {
                self.context.readiness.upstream(self.context.worker, false);
            }
            if matches!(loss, Loss::Moved) {
                // It says nothing about the server that is the primary now.
            } else if is_certain {
                // It is a single request's fault, not the server's.
            } else if self.represents_server.get() {
                self.health().failed(1);
            } else {
                // The server may have ended it because of its user alone: the next attempt tells.
                self.uncounted_loss.set(true);
            }
            self.show(Some(UpstreamState::Connecting));
        } else {
            debug!(upstream = %self.server(), reason = %loss, "leased connection ended");
        }
        fault_all(told, Fault::Lost);
    }

    /// A loss was not the lane's own affair.
    pub(super) fn count_loss(&self) {
        if self.uncounted_loss.take() {
            self.health().failed(1);
        }
    }

    /// No connection is to be had for now.
    pub(super) fn not_opened(&self, error: &OpenError) {
        if self.stands_for_server() {
            self.context.readiness.upstream_obstacle(error.obstacle());
        }
        if !self.is_refused(error) {
            // The server is away, and not only for one user.
            self.ended_by_server.set(None);
            self.blame.forget();
            self.count_loss();
            self.note_down(error);
        }
        if let OpenError::Refused { refusal, .. } = error {
            self.state.borrow_mut().refusal = Some(refusal.clone());
        }
    }

    pub(super) fn note_down(&self, error: &OpenError) {
        if !self.shared.get() || self.retired.get() {
            return;
        }
        match self.down.get() {
            // Told once for each outage, not for each attempt.
            None => {
                self.down.set(Some(clock::now()));
                warn!(%error, cause = std::error::Error::source(error).map(tracing::field::display), "no upstream connection");
                if self.stands_for_server() {
                    self.context.readiness.upstream(self.context.worker, false);
                }
            }
            // A server that is away for less than requests wait has failed nobody.
            Some(_) if self.is_down() => self.health().failed(1),
            Some(_) => {}
        }
    }

    /// The link will never carry anything again: what waits on it is told so.
    pub(super) fn finish(&self) {
        let mut told: Vec<LostReply> = Vec::new();
        let mut state = self.state.borrow_mut();
        state.phase = Phase::Closed;
        self.over.set(true);
        self.context.kept.change(&self.out_kept, 0);
        self.permit.take();
        self.user_connection.take();
        state.inflight.abandon_all(|who, owed, cut| told.push((Rc::clone(who), owed, cut)));
        state.forget_written(false);
        state.wake_waiting();
        drop(state);
        fault_all(told, Fault::Unavailable);
        if let Some(owner) = self.owner.take() {
            owner.lease_lost();
        }
        self.show(None);
    }
}
