//! Receives the nodes' replies, and follows redirects.

use std::time::{Duration, Instant};

use super::core::Core;
use super::dispatch::no_exec;
use super::entry::{Kind, Phase, VisibleFrames};
use super::retry::Retry;
use super::settings::NodeName;
use super::state::State;
use super::streams::of_address;
use crate::net::address::Address;
use crate::net::clock;
use crate::net::upstream::{Admitted, AdmittedPlain, Recipient};
use crate::telemetry::gauge;
use crate::telemetry::label::Redirected;
use respguard_engine::link::owed::{Owed, ReplyTo, Seq};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::reading::Part;
use respguard_engine::route::redirect::Redirect;

/// The servers' own text to whoever is blocked when they become a replica.
const DEMOTED: &[u8] = b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";

/// What is to be done about a redirect.
pub(super) enum NextStep {
    /// To the node that the slot is known to be at.
    Owner,
    /// To this one, for nobody knows the slot.
    Node(NodeName),
    Ask(NodeName),
    Later,
}

impl NextStep {
    /// The same for a transaction of which the node has run something: its keys are there as well as where ASK points to, so it
    /// waits until the slot has moved.
    pub(super) fn after(self, has_begun: bool) -> NextStep {
        match self {
            NextStep::Ask(_) if has_begun => NextStep::Later,
            step => step,
        }
    }

    /// Says when the request may go.
    pub(super) fn schedule(&self, retry: &mut Retry, now: Instant) {
        match self {
            NextStep::Later => retry.pause(now),
            NextStep::Owner | NextStep::Node(_) | NextStep::Ask(_) => retry.follow(now),
        }
    }
}

impl Core {
    /// Takes note of a redirect, and says what is to be done.
    pub(super) fn follow(&self, redirect: &Redirect<'_>, slot: Option<u16>, from: Option<&NodeName>) -> NextStep {
        let address = |host: &str, port| {
            let host = match (host, from.map(|from| &**from)) {
                // It does not know by which name it is reached.
                ("" | "?", Some(Address::Tcp { host, .. })) => host.as_str(),
                _ => host,
            };
            NodeName::new(Address::Tcp { host: host.to_owned(), port })
        };
        match *redirect {
            Redirect::Moved { slot: moved, host, port } => {
                gauge::count_redirect(Redirected::Moved);
                self.nodes.unsettled.note(moved, clock::now());
                let address = address(host, port);
                self.nodes.moved(moved, &address);
                if slot.is_some() { NextStep::Owner } else { NextStep::Node(address) }
            }
            Redirect::Ask { slot, host, port } => {
                gauge::count_redirect(Redirected::Ask);
                self.nodes.note_half_moved(slot);
                NextStep::Ask(address(host, port))
            }
            Redirect::TryAgain => {
                gauge::count_redirect(Redirected::TryAgain);
                slot.into_iter().for_each(|slot| self.nodes.note_half_moved(slot));
                NextStep::Later
            }
            Redirect::Down => {
                gauge::count_redirect(Redirected::ClusterDown);
                self.nodes.unsettled.note_all(clock::now());
                self.nodes.doubt(clock::now());
                NextStep::Later
            }
        }
    }

    /// The request goes out once more, as it did not run.
    pub(super) fn again(&self, state: &mut State, place: usize, step: NextStep) {
        let entry = &mut state.queue[place];
        state.reply_bytes = state.reply_bytes.saturating_sub(entry.reply.len());
        entry.reply.clear();
        (entry.begun, entry.skip) = (false, 0);
        let lease = match &mut entry.kind {
            Kind::Blocking(lease) => lease.take(),
            Kind::Atomic(atomic) => {
                atomic.ends.clear();
                atomic.end_portion()
            }
            _ => None,
        };
        state.returning.extend(lease.map(|lease| (lease, false)));
        let again = entry.again();
        step.schedule(&mut again.retry, clock::now());
        (again.asks, again.node) = match step {
            NextStep::Ask(address) => (Some(address), None),
            NextStep::Node(address) => (None, Some(address)),
            NextStep::Owner | NextStep::Later => (None, None),
        };
        state.wait_again(place);
        self.has_news.set(true);
    }

    fn admit_single(&self, state: &mut State, place: usize, piece: &[u8], part: Part) {
        let entry = &mut state.queue[place];
        if part.first
            && part.last
            && piece.first() == Some(&b'-')
            && let Some(redirect) = Redirect::read(piece, entry.slot)
        {
            let (slot, from) = (entry.slot, entry.sent_to.clone());
            let step = self.follow(&redirect, slot, from.as_ref());
            self.again(state, place, step);
            return;
        }
        let entry = &state.queue[place];
        if matches!(entry.kind, Kind::Blocking(_)) && !entry.is_read && part.first && part.last && piece == DEMOTED {
            // The node has become a replica. Nothing was taken: it waits on where its slot is.
            self.nodes.doubt(clock::now());
            return self.again(state, place, NextStep::Owner);
        }
        if part.first && part.last && piece.first() == Some(&b'-') && self.loads_for(state, place, piece) {
            let step = NextStep::Owner;
            return self.again(state, place, step);
        }
        state.keep_or_pass(place, piece);
        state.queue[place].begun = true;
        if part.last {
            self.over(state, place, Phase::Done);
        }
    }

    pub(super) fn over(&self, state: &mut State, place: usize, phase: Phase) {
        state.finish(place, phase);
        if state.has_unsent() || !state.returning.is_empty() {
            self.has_news.set(true);
        }
    }

    fn admit_atomic(&self, state: &mut State, place: usize, piece: &[u8], part: Part) {
        let entry = &mut state.queue[place];
        let Kind::Atomic(atomic) = &mut entry.kind else { return };
        if !atomic.passes && part.first && !part.last && atomic.is_run_by(piece) {
            self.begin_to_pass(state, place);
        }
        let entry = &mut state.queue[place];
        let Kind::Atomic(atomic) = &mut entry.kind else { return };
        if atomic.passes {
            state.keep_or_pass(place, piece);
            state.queue[place].begun = true;
            if part.last {
                state.end_watch();
                self.over(state, place, Phase::Done);
            }
            return;
        }
        entry.reply.extend_from_slice(piece);
        state.reply_bytes += piece.len();
        let end = entry.reply.len();
        if !part.last {
            return;
        }
        atomic.ends.push(end);
        if !atomic.is_whole() {
            return;
        }
        if atomic.is_first() {
            return self.admit_first(state, place);
        }
        let frames = atomic.own_frames();
        let shows = atomic.shows;
        let Some(last) = frames.last().cloned() else { return };
        let reply = std::mem::take(&mut entry.reply);
        let has_begun = atomic.has_begun(&frames, &reply);
        if atomic.needs.any() {
            self.note_missing(entry.sent_to.as_ref(), &reply[last.clone()]);
        }
        let slot = entry.slot;
        let redirect = frames.iter().find_map(|frame| Redirect::read(&reply[frame.clone()], slot));
        let is_not_run = reply[last.clone()].first() == Some(&b'-') || shows == VisibleFrames::Second;
        if let Some(redirect) = redirect.filter(|_| is_not_run) {
            let from = entry.sent_to.clone();
            let step = self.follow(&redirect, slot, from.as_ref()).after(has_begun);
            if shows == VisibleFrames::Last && state.watch.is_some() {
                // What was watched is elsewhere: nobody can tell whether it has changed.
                no_exec(self.key.borrow().protocol, &mut state.queue[place].reply);
                state.end_watch();
                return self.over(state, place, Phase::Done);
            }
            return self.again(state, place, step);
        }
        let entry = &mut state.queue[place];
        let Kind::Atomic(atomic) = &entry.kind else { return };
        match shows {
            VisibleFrames::All => frames.iter().for_each(|frame| entry.reply.extend_from_slice(&reply[frame.clone()])),
            VisibleFrames::Last => {
                entry.reply.extend_from_slice(&reply[last]);
                state.end_watch();
            }
            VisibleFrames::Second => {
                // What MULTI itself was refused with is what the command would have been.
                let first = frames.iter().find(|frame| reply[frame.start] == b'-').or(frames.get(1));
                let shown = first.map(|frame| &reply[frame.clone()]).unwrap_or_default();
                if shown.first() == Some(&b'-')
                    && let Some(own) = &atomic.own
                {
                    own.is_aborted.set(true);
                }
                entry.reply.extend_from_slice(shown);
            }
        }
        self.over(state, place, Phase::Done);
    }

    /// A transaction has run: what has come of its replies, and what comes, goes on as it is.
    fn begin_to_pass(&self, state: &mut State, place: usize) {
        let entry = &mut state.queue[place];
        let reply = std::mem::take(&mut entry.reply);
        let Kind::Atomic(atomic) = &mut entry.kind else { return };
        atomic.passes = true;
        if atomic.shows == VisibleFrames::All {
            let frames = atomic.own_frames();
            frames.into_iter().for_each(|frame| state.keep_or_pass(place, &reply[frame]));
        }
        state.queue[place].begun = true;
    }

    fn admit_watch(&self, state: &mut State, place: usize, piece: &[u8], part: Part) {
        let entry = &mut state.queue[place];
        entry.reply.extend_from_slice(piece);
        if !part.last {
            return;
        }
        let reply = std::mem::take(&mut entry.reply);
        let is_first = entry.sent_to.is_some();
        if let Some(redirect) = Redirect::read(&reply, entry.slot) {
            let from = entry.sent_to.take();
            let slot = entry.slot;
            let step = self.follow(&redirect, slot, from.as_ref());
            if is_first {
                state.end_watch();
                return self.again(state, place, step);
            }
            // Something is watched already: EXEC will say that it may have changed.
            if let Some(watch) = &mut state.watch {
                watch.is_broken = true;
            }
            state.queue[place].reply.extend_from_slice(b"+OK\r\n");
            return self.over(state, place, Phase::Done);
        }
        if reply.first() == Some(&b'-') && is_first {
            state.end_watch();
        }
        state.queue[place].reply = reply;
        self.over(state, place, Phase::Done);
    }

    /// What was sent to a node will not be answered.
    fn fail(&self, state: &mut State, place: usize, fault: Fault) {
        let entry = &mut state.queue[place];
        let passes = match &entry.kind {
            Kind::Single | Kind::Blocking(_) => true,
            Kind::Atomic(atomic) => atomic.passes,
            _ => false,
        };
        if entry.begun && place == 0 && passes {
            // A part of its reply has left: there is no way on.
            state.is_closed = true;
            return;
        }
        // Of a transaction whose first part is under way nothing has run.
        let is_first = matches!(&entry.kind, Kind::Atomic(atomic) if atomic.is_first());
        let fault = if is_first { Fault::Unavailable } else { fault };
        let is_over = is_first && entry.deadline.is_some_and(|deadline| deadline <= clock::now());
        let is_unsent = matches!(fault, Fault::Unavailable | Fault::Refused);
        let is_end = matches!(&entry.kind, Kind::Atomic(atomic) if atomic.shows == VisibleFrames::Last);
        if is_end && state.watch.is_some() {
            state.end_watch();
            if is_unsent {
                no_exec(self.key.borrow().protocol, &mut state.queue[place].reply);
                return self.over(state, place, Phase::Done);
            }
        }
        if matches!(state.queue[place].kind, Kind::Watch) {
            state.end_watch();
            return self.again(state, place, NextStep::Later);
        }
        let entry = &mut state.queue[place];
        let is_asked_only = matches!(&entry.kind, Kind::Atomic(atomic) if atomic.shows == VisibleFrames::Second);
        // What has waited, as XREAD for what comes after `$`, would miss what has come meanwhile.
        let is_plain_read = entry.is_read && !matches!(entry.kind, Kind::Blocking(_));
        let may_repeat = is_unsent && !is_over || fault == Fault::Lost && (is_plain_read || is_asked_only);
        if may_repeat {
            self.nodes.doubt(clock::now());
            return self.again(state, place, NextStep::Owner);
        }
        entry.reply.clear();
        entry.abort_own();
        if let Kind::Atomic(atomic) = &entry.kind
            && let Some((connection, node)) = atomic.orphan.as_ref().zip(entry.sent_to.as_ref())
        {
            self.nodes.lost.note(connection, node);
        }
        self.over(state, place, Phase::Failed(fault));
    }
}

impl Recipient for Core {
    fn admit(&self, to: ReplyTo, piece: &[u8], part: Part) -> Admitted {
        let ReplyTo::Request(seq) = to else { return Admitted::default() };
        let state = &mut *self.state.borrow_mut();
        if self.has_left.get() {
            return Admitted::default();
        }
        state.queue_simple();
        let place = match of_address(seq) {
            Some((stream, count)) => state.take_from_stream(stream, count, part.last),
            None => state.place(seq),
        };
        let Some(place) = place else { return Admitted::default() };
        let entry = &mut state.queue[place];
        if entry.skip > 0 {
            entry.skip -= u32::from(part.last);
            return Admitted::default();
        }
        match &entry.kind {
            Kind::Single | Kind::Blocking(_) => self.admit_single(state, place, piece, part),
            Kind::Atomic(_) => self.admit_atomic(state, place, piece, part),
            Kind::Watch => self.admit_watch(state, place, piece, part),
            Kind::Inquiry(_) => self.admit_inquiry(state, place, piece, part),
            Kind::ProxyReply | Kind::Gather(_) | Kind::Unwatch | Kind::Login(_) | Kind::Subscribe(_) => {}
        }
        Admitted::default()
    }

    fn takes_plain(&self, first: Seq, most: u32) -> u32 {
        if of_address(first).is_some() {
            return if self.has_left.get() { 0 } else { most };
        }
        let state = self.state.borrow();
        if state.fault.is_some() || self.has_left.get() || state.place(first) != Some(0) {
            return 0;
        }
        let plain = |entry: &&super::entry::Entry| {
            matches!(entry.kind, Kind::Single)
                && entry.phase == Phase::Sent
                && entry.skip == 0
                && !entry.begun
                && !entry.blocks_others
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        u32::try_from(state.queue.iter().take(most).take_while(plain).count()).unwrap_or(0)
    }

    fn admit_plain(&self, first: Seq, replies: &[u8], frames: u32) -> AdmittedPlain {
        if let Some((stream, count)) = of_address(first) {
            if let Some(admitted) = self.hand_on_all(stream, count, replies, frames) {
                return admitted;
            }
            let state = &mut *self.state.borrow_mut();
            state.take_plain(stream, count, replies, frames as usize);
            self.has_news.set(self.has_news.get() || state.has_unsent());
            return AdmittedPlain { is_done: self.waits_quietly(state), ..AdmittedPlain::default() };
        }
        let state = &mut *self.state.borrow_mut();
        state.pass_plain(replies, frames as usize);
        state.pop_front(frames as usize);
        state.advance();
        if state.has_unsent() {
            self.has_news.set(true);
        }
        AdmittedPlain::default()
    }

    fn fault(&self, owed: Owed, fault: Fault) {
        self.late.note(owed, fault);
        let state = &mut *self.state.borrow_mut();
        if self.has_left.get() {
            return;
        }
        state.queue_simple();
        let (first, requests) = match owed {
            Owed::Each { first: ReplyTo::Request(first), requests, .. } => (first, requests),
            Owed::All { to: ReplyTo::Request(first), .. } => (first, 1),
            _ => return,
        };
        // From the last on: what is over may leave, and the others move up.
        for nth in (0..requests as usize).rev() {
            let place = match of_address(first.plus(nth)) {
                Some((stream, count)) => state.forget_in_stream(stream, count),
                None => state.place(first.plus(nth)).filter(|place| state.queue[*place].phase == Phase::Sent),
            };
            if let Some(place) = place {
                self.fail(state, place, fault);
            }
        }
        self.has_news.set(true);
    }

    fn settle_late(&self, frames: u32) {
        if self.late.settle(frames) {
            self.has_news.set(true);
        }
    }

    fn lease_lost(&self) {
        if let Ok(mut state) = self.state.try_borrow_mut()
            && let Some(watch) = &mut state.watch
        {
            watch.is_broken = true;
        }
    }

    fn mark(&self) -> bool {
        !self.is_touched.replace(true)
    }

    fn flush(&self) {
        self.is_touched.set(false);
        self.flush_handed_on();
        self.state.borrow_mut().release_messages(self.key.borrow().protocol);
        self.pass_on();
        self.note_kept();
        self.release_late();
    }

    fn behind_for(&self) -> Option<Duration> {
        let is_behind = self.state.try_borrow().is_ok_and(|state| state.is_behind()) && !self.has_left.get();
        let since: Option<Instant> = is_behind.then(|| self.behind_since.get().unwrap_or_else(clock::now));
        self.behind_since.set(since);
        since.map(|since| clock::now().saturating_duration_since(since))
    }

    fn keeps_for_others(&self) -> bool {
        let Ok(mut state) = self.state.try_borrow_mut() else { return true };
        if state.is_far_behind() {
            state.give_up_unread();
            self.has_left.set(true);
        }
        true
    }

    fn is_gone(&self) -> bool {
        self.has_left.get()
    }
}
