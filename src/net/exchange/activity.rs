//! What a client is doing, for CLIENT LIST and GET /clients: derived on demand from existing state.

use std::cell::RefCell;

use tokio::sync::oneshot;

use super::Exchange;
use crate::net::clock;
use crate::net::registry::{Activity, Blocked};
use crate::net::upstream::connection::Phase;
use crate::telemetry::slow::RequestOwner;
use respguard_engine::command::{CommandId, ConnectionEffect, PinReason, SubscriptionKind};
use respguard_engine::pipeline::finding::Finding;
use respguard_engine::session::transaction::Transaction;

impl Exchange {
    /// What CLIENT LIST tells of it.
    pub fn activity(&self) -> Activity {
        let state = self.state.borrow();
        let session = &state.session;
        let table = self.context.table();
        let current = table.spec(state.slots.current());
        let waits = matches!(current.connection, ConnectionEffect::Blocking | ConnectionEffect::Pin(PinReason::Wait));
        let is_monitor = session.affinity.is_tunnel() && current.connection == ConnectionEffect::Monitor;
        let is_open = matches!(session.transaction, Transaction::Open | Transaction::Lost { open: true });
        Activity {
            idle: clock::now().saturating_duration_since(self.pace.last_active()),
            is_monitor,
            is_blocked: waits && session.affinity.is_pinned() && self.client_lane.link().is_blocked(),
            tracking: session.tracking,
            modes: session.modes,
            channels: session.subscriptions.count(SubscriptionKind::Channel),
            patterns: session.subscriptions.count(SubscriptionKind::Pattern),
            shard_channels: session.subscriptions.count(SubscriptionKind::Shard),
            queued: is_open.then_some(session.queue.commands),
            input: (self.buffered.waiting_input(), self.buffered.free_input()),
            output: state.out.waiting() + state.slots.waiting_bytes(),
            command: current.name().into(),
            requests: self.counts.requests.get(),
            violations: self.counts.violations.get(),
            timeouts: self.counts.timeouts.get(),
        }
    }

    /// What it has told about itself, for those who look at its requests.
    pub(super) fn request_owner(&self) -> RequestOwner {
        let details = self.client.details();
        let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).into();
        let state = self.state.try_borrow();
        let current = state.map(|state| self.context.table().spec(state.slots.current()).name().into());
        RequestOwner {
            id: self.id,
            address: (&**self.peer()).into(),
            name: word(&details.name),
            library: details.library().into(),
            user: word(&details.user),
            command: current.unwrap_or_default(),
        }
    }

    /// Counts a request that no plan has dealt with.
    pub fn count_request(&self, id: CommandId) {
        self.context.metrics.command(id.index());
        self.counts.requests.set(self.counts.requests.get() + 1);
    }

    /// Counts what a rule has found wrong with its requests.
    pub(super) fn count_violations(&self, found: &[Finding]) {
        let violations = found.iter().filter(|finding| matches!(finding, Finding::Violation(_))).count();
        self.counts.violations.set(self.counts.violations.get() + violations as u64);
    }

    /// Where it is blocked. Its connection is unblocked by whoever asks, and serves nobody else from now on.
    pub fn blocked(&self) -> Blocked {
        let state = self.state.borrow();
        let link = self.link();
        if state.session.affinity.is_pinned() && link.is_blocked() {
            // A connection that is being opened has no number yet.
            if link.phase() == Phase::Connecting {
                return Blocked::Soon;
            }
            let Some(nodes) = link.blocked_at() else { return link.to_be_unblocked().map_or(Blocked::No, Blocked::On) };
            let waiting = nodes.into_iter().filter(|at| at.link.phase() == Phase::Ready && at.link.is_blocked());
            let nodes: Vec<_> = waiting.filter_map(|at| Some((at.node, at.link.to_be_unblocked()?))).collect();
            return if nodes.is_empty() { Blocked::Soon } else { Blocked::AtNodes(nodes) };
        }
        let is_blocking = self.context.table().spec(state.slots.current()).connection == ConnectionEffect::Blocking;
        if is_blocking && !state.slots.is_empty() { Blocked::Soon } else { Blocked::No }
    }

    /// Answers with the id at the server of the connection that the client has alone, once it has one.
    pub fn ask_own_connection(&self, answer: oneshot::Sender<Option<i64>>) {
        let affinity = self.state.borrow().session.affinity;
        let id = if affinity.is_passing() { None } else { self.link().info().client_id };
        match id {
            // Whoever asked may have gone.
            Some(_) => drop(answer.send(id)),
            None => {
                self.own_asked.make().borrow_mut().push(answer);
                self.wake();
            }
        }
    }

    /// True while somebody waits for that.
    pub fn is_asked_for_own_connection(&self) -> bool {
        self.own_asked.get().is_some_and(|asked| !asked.borrow().is_empty())
    }

    /// Tells all who wait for it.
    pub fn report_own_connection(&self, id: Option<i64>) {
        for answer in self.own_asked.get().map(RefCell::take).unwrap_or_default() {
            let _ = answer.send(id);
        }
    }
}
