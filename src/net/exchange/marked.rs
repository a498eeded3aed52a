//! Sends groups with a marker, and the questions about them when their connection is lost.

use std::rc::Rc;

use super::send::{Marked, Sending};
use super::{End, Exchange, State};
use crate::net::clock;
use crate::net::upstream::Recipient;
use crate::net::upstream::connection::Phase;
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::group::WrappedGroup;
use respguard_engine::pipeline::in_doubt::{InDoubt, takes_marker};
use respguard_engine::pipeline::sequencer::Sequencer;
use respguard_engine::policy::Group;
use respguard_engine::preflight::first_key;

/// A longer group is not kept to be sent once more.
pub(super) const RESENT_BYTES_MAX: usize = 1024 * 1024;

impl Exchange {
    /// A new marker for a group that is sent now, if it takes one: a key of the group's own slot, which no other has.
    pub(super) fn marker(&self, sending: &Sending<'_>, commands: &[usize], rule: &Group) -> Option<Vec<u8>> {
        if !takes_marker(rule, &self.state.borrow().session, self.lane().is_cluster()) {
            return None;
        }
        let Sending { table, policy, batch, bytes, .. } = *sending;
        let key = commands.iter().find_map(|&at| first_key(table.spec(batch.id(at)), batch.args(bytes, at)));
        Some(self.context.guards.next(&policy.guard_prefix, key.unwrap_or_default()))
    }

    /// Sends the group in one piece with the questions behind it, so that they share its fate.
    pub(super) fn send_marked(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        state: &mut State,
        (commands, wrapped): (&[usize], WrappedGroup),
        (marker, behind): Marked,
        mut request: Vec<u8>,
    ) {
        let timing = sending.timing_of(commands);
        // Once more it goes over the shared connection.
        let longest = RESENT_BYTES_MAX.min(self.context.limits.shared_request_bytes());
        let kept = if request.len() <= longest { request.clone() } else { Vec::new() };
        let deadline = timing.read_at + timing.request_timeout;
        let wrapped = wrapped.with_doubt(InDoubt::new(marker, kept, timing.read_at, deadline));
        let frames = wrapped.frames();
        let seq = state.slots.push_group(sending.places.of_all(commands).as_deref(), wrapped);
        let behind = self.push_probes(state, behind.into_iter(), &mut request);
        let all = frames + behind.frames();
        let group = Owed::request(seq, frames);
        let who: Rc<dyn Recipient> = Rc::<Exchange>::clone(self);
        let fault = if self.is_refused(state, all) {
            self.context.metrics.add_refused(all);
            Some(Fault::Refused)
        } else {
            let is_sent = sending.link.send(Rc::clone(&who), &[&request], group, Times::until(timing.read_at, deadline));
            (!is_sent).then_some(Fault::Unavailable)
        };
        match fault {
            None => sending.link.owes_too(who, behind, Times::until(timing.read_at, deadline)),
            Some(fault) => {
                self.fault_in(state, group, fault);
                self.fault_in(state, behind, fault);
            }
        }
    }

    /// The client has gone: nothing more is done about a group of its whose connection was lost.
    pub(super) fn abandon_recovery(&self, state: &mut State) {
        self.resolve(state, Sequencer::abandon_recovery);
        self.conclude(state);
    }

    /// The client's lease is lost with what it held, and it cannot go on. Before a cluster, where it has one for all that it does,
    /// it is told first what is being found out about its groups.
    pub fn end_with_recovery(&self) {
        let is_awaited = self.lane().is_cluster() && self.state.borrow_mut().slots.send_none_again();
        self.ends_with_recovery.set(is_awaited);
        if !is_awaited {
            self.end(End::LeaseLost);
        }
    }

    /// Does what is to be done about a group whose connection was lost, if there is one.
    pub(super) fn go_on(&self) {
        if !self.state.borrow_mut().slots.has_recovery() {
            return;
        }
        let Some(who) = self.me.upgrade() else { return };
        let lost_on = self.link();
        // What a head-of-line wait of the process has cost must count: beyond its deadline a group's marker proves nothing.
        clock::tick();
        let now = clock::now();
        let mut state = self.state.borrow_mut();
        // A connection that the client had alone does not come back. Before a cluster it is all that says who the client is.
        let is_gone = lost_on.phase() == Phase::Closed;
        if is_gone && self.lane().is_cluster() {
            state.slots.send_none_again();
        }
        let mut budget = self.context.retries.budget(now);
        let recovery = self.resolve(&mut state, |slots, client| slots.recovery(now, &mut budget, client));
        drop(budget);
        self.conclude(&mut state);
        let Some(recovery) = recovery else { return };
        let who: Rc<dyn Recipient> = who;
        let link = if is_gone { self.lane().shared() } else { lost_on };
        if !link.send_first(who, &recovery.request, recovery.owed, Times::until(recovery.read_at, recovery.deadline)) {
            self.fault_in(&mut state, recovery.owed, Fault::Unavailable);
        }
    }
}
