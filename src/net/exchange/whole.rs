//! Sends a batch unchanged, when nothing has to be known of it except which commands are reads.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Exchange, State};
use crate::net::clock;
use crate::net::upstream::Recipient;
use crate::net::upstream::commands::Commands;
use crate::net::upstream::connection::Link;
use respguard_engine::command::{RetryClass, Table};
use respguard_engine::link::owed::{Owed, Seq};
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::failure_tracker::{FailureTracker, Scope};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::named_keys::NamedKeys;
use respguard_engine::policy::{Member, Policy};
use respguard_engine::preflight::Ability;
use respguard_engine::session::reply_mode::ReplyMode;
use respguard_engine::session::{Admission, Session};

impl Exchange {
    /// Nothing that the client has sent before, or is owed, says what a batch means that it sends now, or keeps that from
    /// going over the connection that it has. On one that it has for a while its state may decide what a command means; each
    /// client of a cluster has one for good.
    #[inline]
    pub fn has_way(&self, is_cluster: bool) -> bool {
        let state = self.state.borrow();
        let Session { affinity, subscriptions, admission, .. } = &state.session;
        let has_kept = affinity.is_pinned() && !affinity.is_passing() && !affinity.is_tunnel();
        let is_usual = !subscriptions.any() && state.slots.reply_mode() == ReplyMode::On;
        let has_way = has_kept && is_usual || !affinity.is_pinned() && !is_cluster;
        has_way && *admission != Admission::Awaited && self.has_room_behind(&state)
    }

    /// The connection is there and takes so many bytes more, and what guarded groups need of it is known.
    #[inline]
    pub fn has_plain_link(&self, bytes: usize, has_guarded_groups: bool) -> bool {
        let link = self.client_lane.link();
        let is_known = !has_guarded_groups || !matches!(link.ability(), Ability::Unknown | Ability::Silent);
        is_known && link.is_plain(bytes)
    }

    /// Sends all commands of the batch, each of which is owed one reply that is the client's as it is. On a shared connection
    /// reads at its end go apart from what stands before them: they may be sent once more.
    pub fn send_whole(
        self: &Rc<Self>,
        batch: &Batch,
        bytes: &[u8],
        (table, policy): (&Table, &Policy),
        request_timeout: Duration,
    ) {
        let commands = batch.len();
        self.counts.requests.set(self.counts.requests.get() + commands as u64);
        let (link, read_at) = (self.link(), clock::now());
        let times = (read_at, read_at + request_timeout);
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let (mut may_repeat, mut may_write, mut others) = (!state.session.affinity.is_pinned(), false, commands);
        for (id, requests) in batch.rows(0..commands).rev() {
            let spec = table.spec(id);
            self.context.metrics.commands(id.index(), requests);
            may_write |= spec.may_write();
            may_repeat &= spec.retry == RetryClass::Read;
            others -= if may_repeat { requests } else { 0 };
        }
        let tracker = if commands > 1 { state.slots.push_tracker(tracker(table, policy, batch, bytes, may_write)) } else { None };
        let first = state.slots.push_plain(batch.ids(0..commands), tracker);
        if others > 0 {
            let requests = Commands { batch, bytes, range: 0..others };
            self.send_requests(&link, state, &requests, first, times, false);
        }
        if others < commands {
            let requests = Commands { batch, bytes, range: others..commands };
            self.send_requests(&link, state, &requests, first.plus(others), times, true);
        }
    }

    fn send_requests(
        self: &Rc<Self>,
        link: &Link,
        state: &mut State,
        commands: &Commands<'_>,
        first: Seq,
        times: (Instant, Instant),
        are_reads: bool,
    ) {
        let owed = Owed::each(first, u32::try_from(commands.range.len()).unwrap_or(u32::MAX));
        let recipient: Rc<dyn Recipient> = Rc::<Exchange>::clone(self);
        if !link.send_requests(recipient, commands, owed, times, are_reads) {
            self.fault_in(state, owed, Fault::Unavailable);
        }
    }
}

/// What counts the replies of the batch together, as those of any pipeline: a failure in part is told where one of them may
/// write.
fn tracker(table: &Table, policy: &Policy, batch: &Batch, bytes: &[u8], may_write: bool) -> FailureTracker {
    let report = policy.report_pipelines && may_write;
    let tracker = FailureTracker::new(Scope::Pipeline { report }, u32::try_from(batch.len()).unwrap_or(u32::MAX));
    let members = (0..batch.len()).map(|at| Member { id: batch.id(at), args: batch.args(bytes, at) });
    if report { tracker.naming(NamedKeys::of(policy, table, members)) } else { tracker }
}
