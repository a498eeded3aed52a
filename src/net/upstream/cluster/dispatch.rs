//! Sends requests to their nodes as soon as no earlier request prevents it.

use std::rc::Rc;
use std::time::Instant;

use super::core::Core;
use super::entry::{Entry, Kind, Lease, Order, Phase, Portion, VisibleFrames};
use super::settings::NodeName;
use super::state::{State, Watch};
use super::transaction::ABORTED;
use crate::net::clock;
use crate::net::upstream::Recipient;
use crate::net::upstream::connection::{Link, Phase as LinkPhase};
use crate::net::upstream::lane::Lane;
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;
use respguard_resp::{Protocol, encode};

pub(super) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";
/// Redis' own text.
const CROSSSLOT: &str = super::intake::CROSSSLOT;
/// Requests that go out in one piece.
const RUN_MAX: usize = 256;

impl Core {
    /// Sends the request at this place, if it waits and may go.
    pub(super) fn look_at(&self, state: &mut State, place: usize, now: Instant) {
        if state.queue[place].phase != Phase::Waiting {
            return;
        }
        let number = state.first + place as u64;
        if !state.may_go(place) {
            return state.keep_waiting(number);
        }
        if self.nodes.half_moved.has(state.queue[place].slot) {
            state.block_others(place);
        }
        let is_due = !state.queue[place].is_paused(now);
        if is_due && self.refuse_while_subscribed(state, place) {
            return;
        }
        if is_due && !self.would_overtake(state, place) {
            let sent = match &state.queue[place].kind {
                Kind::Single => self.send_run(state, place),
                Kind::Blocking(_) => self.send_blocking(state, place),
                Kind::Atomic(_) if self.goes_in_two(&state.queue[place]) => self.send_in_two(state, place),
                Kind::Atomic(_) => self.send_atomic(state, place),
                Kind::Gather(_) => self.send_parts(state, place, now),
                Kind::Watch => self.send_watch(state, place),
                Kind::Inquiry(_) => self.send_inquiry(state, place),
                Kind::Unwatch => self.unwatch(state, place),
                Kind::Login(_) => self.begin_login(state, place),
                Kind::Subscribe(_) => self.change_subscriptions(state, place, now),
                Kind::ProxyReply => 1,
            };
            if sent > 0 {
                return;
            }
            if !matches!(state.queue[place].kind, Kind::Subscribe(_)) {
                self.nodes.doubt(now);
            }
        }
        self.give_up(state, place, now);
        state.keep_waiting(number);
    }

    /// It leaves for another connection while a node may still run what was sent before it and given up; or it goes once more,
    /// and what was sent behind it has not come back.
    fn would_overtake(&self, state: &State, place: usize) -> bool {
        self.waits_for_late(state, place) || state.order_behind(place) != Order::Kept
    }

    /// The request goes over another connection than those before it, of which some may still run.
    pub(super) fn waits_for_late(&self, state: &State, place: usize) -> bool {
        if !self.late.any() {
            return false;
        }
        let entry = &state.queue[place];
        match &entry.kind {
            Kind::Blocking(_) | Kind::Login(_) => true,
            Kind::Watch => state.watch.is_none(),
            Kind::Atomic(atomic) => matches!(atomic.portion, Portion::Whole) && self.goes_in_two(entry),
            _ => false,
        }
    }

    /// Sends the request, and those behind it that go the same way.
    fn send_run(&self, state: &mut State, place: usize) -> usize {
        let Some((address, lane)) = self.lane_for(&state.queue[place]) else { return 0 };
        let link = lane.shared_for(&self.as_recipient());
        if link.phase() != LinkPhase::Ready {
            return 0;
        }
        let again = state.queue[place].again.as_mut();
        let (asks, loads) = again.map_or((false, None), |again| {
            let needs = again.needs.take();
            let missing = || self.nodes.missing(&address, link.opened_at(), &needs?);
            (again.asks.take().is_some(), again.loads.take().or_else(missing))
        });
        let mut run = 1;
        if !asks && loads.is_none() && !state.is_subscribed() {
            while run < RUN_MAX && place + run < state.queue.len() {
                let next = &state.queue[place + run];
                let is_alike = next.phase == Phase::Waiting
                    && matches!(next.kind, Kind::Single)
                    && next.again.is_none()
                    && next.bytes.start == state.queue[place + run - 1].bytes.end
                    && next.deadline == state.queue[place].deadline;
                if !is_alike
                    || !state.may_go(place + run)
                    || self.nodes.half_moved.has(next.slot)
                    || !self.goes_to(next, &address)
                {
                    break;
                }
                run += 1;
            }
        }
        let bytes = state.queue[place].bytes.start..state.queue[place + run - 1].bytes.end;
        let seq = state.seq(place);
        let count = u32::try_from(run).unwrap_or(u32::MAX);
        let (loading, loads) = loads.unwrap_or_default();
        let skip = loads + u32::from(asks);
        let owed = if skip > 0 { Owed::request(seq, 1 + skip) } else { Owed::each(seq, count) };
        let deadline = state.deadline(place);
        let is_sent = {
            let written = state.written(&bytes);
            let parts: &[&[u8]] = match (loads > 0, asks) {
                (true, true) => &[&loading, ASKING, written],
                (true, false) => &[&loading, written],
                (false, true) => &[ASKING, written],
                (false, false) => &[written],
            };
            link.send(self.recipient(&link), parts, owed, Times { read_at: clock::now(), deadline })
        };
        if !is_sent {
            return 0;
        }
        for entry in state.queue.range_mut(place..place + run) {
            entry.phase = Phase::Sent;
            entry.skip = skip;
            if entry.sent_to.as_ref() != Some(&address) {
                entry.sent_to = Some(address.clone());
            }
        }
        if state.queue.range(place..place + run).any(|entry| !entry.is_read) {
            state.note_written(&address);
        }
        run
    }

    fn send_blocking(&self, state: &mut State, place: usize) -> usize {
        let Some((address, lane)) = self.lane_for(&state.queue[place]) else { return 0 };
        let Some(link) = self.lease(&lane) else { return 0 };
        let entry = &mut state.queue[place];
        let asks = entry.again.as_mut().and_then(|again| again.asks.take()).is_some();
        let bytes = entry.bytes.clone();
        let (seq, deadline) = (state.seq(place), state.deadline(place));
        let owed = Owed::request(seq, 1 + u32::from(asks));
        let rest = state.queue[place].again.is_some().then(|| self.for_the_rest(state, place)).flatten();
        let written = rest.as_deref().unwrap_or_else(|| state.written(&bytes));
        let parts: &[&[u8]] = if asks { &[ASKING, written] } else { &[written] };
        let is_sent = link.send(self.recipient(&link), parts, owed, Times { read_at: clock::now(), deadline });
        if !is_sent {
            lane.give_back(&link, false);
            return 0;
        }
        link.mark_blocking();
        let entry = &mut state.queue[place];
        (entry.phase, entry.skip, entry.sent_to) = (Phase::Sent, u32::from(asks), Some(address.clone()));
        entry.kind = Kind::Blocking(Some(Lease { lane, link }));
        state.note_written(&address);
        1
    }

    /// What blocks and has waited elsewhere waits on for what is left of its time; `None` where that has no end.
    fn for_the_rest(&self, state: &State, place: usize) -> Option<Vec<u8>> {
        let entry = &state.queue[place];
        let left = entry.deadline?.checked_sub(self.nodes.settings.request_timeout)?.saturating_duration_since(clock::now());
        let request = state.request(place)?;
        self.nodes.context.table().spec(entry.command).with_blocking_timeout(request.args(), left)
    }

    fn send_atomic(&self, state: &mut State, place: usize) -> usize {
        let entry = &mut state.queue[place];
        let Kind::Atomic(atomic) = &mut entry.kind else { return 0 };
        let is_end = atomic.shows == VisibleFrames::Last;
        if is_end {
            let is_aborted = atomic.own.as_ref().is_some_and(|own| own.is_aborted.get());
            let is_broken = state
                .watch
                .as_ref()
                .is_some_and(|watch| watch.is_broken || Some(watch.slot) != entry.slot && entry.slot.is_some());
            if is_aborted || is_broken {
                // Where EXEC itself is the culprit, that was said.
                if is_aborted && entry.reply.is_empty() {
                    encode::error(&mut entry.reply, ABORTED);
                } else if !is_aborted {
                    no_exec(self.key.borrow().protocol, &mut entry.reply);
                }
                state.end_watch();
                state.finish(place, Phase::Done);
                return 1;
            }
        }
        let watched = if is_end {
            state.watch.as_ref().map(|watch| (Rc::clone(&watch.lease.lane), Rc::clone(&watch.lease.link)))
        } else {
            None
        };
        let entry = &mut state.queue[place];
        let (address, lane, link) = match watched {
            Some((lane, link)) => (self.owner_of(entry), lane, link),
            None => {
                let Some((address, lane)) = self.lane_for(entry) else { return 0 };
                let link = lane.shared_for(&self.as_recipient());
                (Some(address), lane, link)
            }
        };
        if link.phase() != LinkPhase::Ready && !is_end {
            return 0;
        }
        if link.phase() == LinkPhase::Connecting {
            return 0;
        }
        let asks = entry.again.as_mut().and_then(|again| again.asks.take()).is_some();
        let Kind::Atomic(atomic) = &mut entry.kind else { return 0 };
        let missing = match &address {
            Some(address) if atomic.needs.any() => self.nodes.missing(address, lane.shared().opened_at(), &atomic.needs),
            _ => None,
        };
        let (loading, loads) = missing.unwrap_or_default();
        let outer = atomic.outer.clone();
        let request = atomic.request.take();
        let bytes = entry.bytes.clone();
        let frames = atomic.frames + if asks { outer.len() as u32 } else { 0 };
        let (seq, deadline) = (state.seq(place), state.deadline(place));
        let is_sent = {
            let all = request.as_deref().unwrap_or_else(|| state.written(&bytes));
            let mut parts: Vec<&[u8]> = if loads > 0 { vec![&loading] } else { Vec::new() };
            let mut at = 0;
            for end in outer.into_iter().filter(|_| asks) {
                parts.extend([ASKING, &all[at..end]]);
                at = end;
            }
            parts.push(&all[at..]);
            link.send(
                self.recipient(&link),
                &parts,
                Owed::request(seq, frames + loads),
                Times { read_at: clock::now(), deadline },
            )
        };
        let entry = &mut state.queue[place];
        let Kind::Atomic(atomic) = &mut entry.kind else { return 0 };
        atomic.request = request;
        atomic.orphan = if atomic.shows == VisibleFrames::All { link.orphan() } else { None };
        if !is_sent {
            if is_end && state.watch.is_some() {
                // The connection on which it watched has gone.
                no_exec(self.key.borrow().protocol, &mut entry.reply);
                state.end_watch();
                state.finish(place, Phase::Done);
                return 1;
            }
            return 0;
        }
        (atomic.is_asked, entry.phase, entry.skip, entry.sent_to) = (asks, Phase::Sent, loads, address.clone());
        address.iter().for_each(|address| state.note_written(address));
        1
    }

    fn send_watch(&self, state: &mut State, place: usize) -> usize {
        let entry = &state.queue[place];
        let Some(slot) = entry.slot else {
            // Without a key: a node says so.
            state.queue[place].kind = Kind::Single;
            return self.send_run(state, place);
        };
        if let Some(watch) = &state.watch {
            if watch.slot != slot {
                encode::error(&mut state.queue[place].reply, CROSSSLOT);
                state.finish(place, Phase::Done);
                return 1;
            }
            let link = Rc::clone(&watch.lease.link);
            return self.send_on(state, place, &link, false);
        }
        let Some((address, lane)) = self.lane_for(entry) else { return 0 };
        let Some(link) = self.lease(&lane) else { return 0 };
        link.set_owner(Some(self.recipient(&link)));
        let asks = state.queue[place].again.as_mut().and_then(|again| again.asks.take()).is_some();
        if self.send_on(state, place, &link, asks) == 0 {
            lane.give_back(&link, false);
            return 0;
        }
        state.queue[place].sent_to = Some(address);
        state.watch = Some(Watch { lease: Lease { lane, link }, slot, is_broken: false });
        1
    }

    fn send_on(&self, state: &mut State, place: usize, link: &Rc<Link>, asks: bool) -> usize {
        let entry = &state.queue[place];
        let owed = Owed::request(state.seq(place), 1 + u32::from(asks));
        let written = state.written(&entry.bytes);
        let parts: &[&[u8]] = if asks { &[ASKING, written] } else { &[written] };
        let times = Times { read_at: clock::now(), deadline: state.deadline(place) };
        if !link.send(self.recipient(link), parts, owed, times) {
            return 0;
        }
        let entry = &mut state.queue[place];
        (entry.phase, entry.skip) = (Phase::Sent, u32::from(asks));
        1
    }

    fn unwatch(&self, state: &mut State, place: usize) -> usize {
        state.end_watch();
        encode::simple(&mut state.queue[place].reply, "OK");
        state.finish(place, Phase::Done);
        1
    }

    /// Who takes what comes back on this connection.
    pub(super) fn recipient(&self, link: &Rc<Link>) -> Rc<dyn Recipient> {
        self.note_link(link);
        self.as_recipient()
    }

    pub(super) fn as_recipient(&self) -> Rc<dyn Recipient> {
        match self.me.upgrade() {
            Some(me) => me,
            None => Rc::new(crate::net::upstream::discard::Discard),
        }
    }

    /// Whether the request goes to this node.
    fn goes_to(&self, entry: &Entry, address: &NodeName) -> bool {
        match entry.slot {
            Some(slot) => self.nodes.is_owner(slot, address),
            None => self.home_node().as_ref() == Some(address),
        }
    }

    fn owner_of(&self, entry: &Entry) -> Option<NodeName> {
        entry.slot.and_then(|slot| self.nodes.owner(slot))
    }

    pub(super) fn lane_for(&self, entry: &Entry) -> Option<(NodeName, Rc<Lane>)> {
        if let Some(again) = &entry.again
            && let Some(address) = again.asks.as_ref().or(again.node.as_ref())
        {
            return self.lane_at(address.clone());
        }
        match entry.slot {
            Some(slot) => self.lane_of_slot(slot),
            None => self.home_lane(),
        }
    }

    pub(super) fn lane_of_slot(&self, slot: u16) -> Option<(NodeName, Rc<Lane>)> {
        self.nodes.owner(slot).and_then(|address| self.lane_at(address))
    }

    pub(super) fn lane_at(&self, address: NodeName) -> Option<(NodeName, Rc<Lane>)> {
        if self.nodes.is_given_up(&address) {
            return None;
        }
        let lane = self.nodes.lane(&address, &self.key.borrow())?;
        Some((address, lane))
    }

    pub(super) fn home_lane(&self) -> Option<(NodeName, Rc<Lane>)> {
        self.home_node().and_then(|address| self.lane_at(address))
    }
}

/// What EXEC answers when something that was watched has changed.
pub(super) fn no_exec(protocol: Protocol, out: &mut Vec<u8>) {
    out.extend_from_slice(match protocol {
        Protocol::Resp2 => b"*-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

impl State {
    /// Nothing is watched any more.
    pub(super) fn end_watch(&mut self) {
        if let Some(watch) = self.watch.take() {
            self.returning.push((watch.lease, false));
        }
    }
}
