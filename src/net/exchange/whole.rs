//! Sends a batch unchanged, when nothing has to be known of it except which commands are reads.

use std::ops::Range;
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

impl Exchange {
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
        let tracker = tracker(table, policy, batch, bytes).and_then(|tracker| state.slots.push_tracker(tracker));
        let rows = batch.rows(0..commands);
        rows.clone().for_each(|(id, requests)| self.context.metrics.commands(id.index(), requests));
        let may_repeat = !state.session.affinity.is_pinned();
        let is_read = |id| may_repeat && table.spec(id).retry == RetryClass::Read;
        let reads: usize = rows.rev().map_while(|(id, requests)| is_read(id).then_some(requests)).sum();
        let (first, others) = (state.slots.push_plain(batch.ids(0..commands), tracker), commands - reads);
        if others > 0 {
            let requests = Commands { batch, bytes, range: 0..others };
            self.send_requests(&link, state, &requests, first..first.plus(others), times, false);
        }
        if reads > 0 {
            let requests = Commands { batch, bytes, range: others..commands };
            self.send_requests(&link, state, &requests, first.plus(others)..first.plus(commands), times, true);
        }
    }

    fn send_requests(
        self: &Rc<Self>,
        link: &Link,
        state: &mut State,
        commands: &Commands<'_>,
        places: Range<Seq>,
        times: (Instant, Instant),
        are_reads: bool,
    ) {
        let requests = places.end.since(places.start).and_then(|requests| u32::try_from(requests).ok()).unwrap_or(u32::MAX);
        let owed = Owed::each(places.start, requests);
        let recipient: Rc<dyn Recipient> = Rc::<Exchange>::clone(self);
        if !link.send_requests(recipient, commands, owed, times, are_reads) {
            self.fault_in(state, owed, Fault::Unavailable);
        }
    }
}

/// What counts the replies of the batch together, as those of any pipeline: a failure in part is told where one of them may
/// write.
fn tracker(table: &Table, policy: &Policy, batch: &Batch, bytes: &[u8]) -> Option<FailureTracker> {
    let commands = 0..batch.len();
    if commands.len() <= 1 {
        return None;
    }
    let report = policy.report_pipelines && batch.ids(commands.clone()).any(|id| table.spec(id).may_write());
    let tracker = FailureTracker::new(Scope::Pipeline { report }, u32::try_from(commands.len()).unwrap_or(u32::MAX));
    let members = commands.map(|at| Member { id: batch.id(at), args: batch.args(bytes, at) });
    Some(if report { tracker.naming(NamedKeys::of(policy, table, members)) } else { tracker })
}
