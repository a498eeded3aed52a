//! The parts of a request that several nodes answer: sends them and receives their replies.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::core::Core;
use super::dispatch::ASKING;
use super::entry::{Kind, Lease, Phase};
use super::gather::{Gather, Part, PartConnection, Progress, Target};
use super::replies::NextStep;
use super::settings::NodeName;
use super::state::State;
use crate::net::clock;
use crate::net::memory_budget::LITTLE;
use crate::net::upstream::connection::Phase as LinkPhase;
use crate::net::upstream::lane::Lane;
use crate::net::upstream::{Admitted, PING, Recipient};
use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::link::times::Times;
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::reading::Part as Piece;
use respguard_engine::route::redirect::Redirect;

impl Core {
    /// Sends the parts that wait; counts as sent once all are.
    pub(super) fn send_parts(&self, state: &mut State, place: usize, now: Instant) -> usize {
        let number = state.first + place as u64;
        let deadline = state.deadline(place);
        let State { queue, wrote, .. } = state;
        let Kind::Gather(gather) = &mut queue[place].kind else { return 0 };
        // What the others have said is to be answered in time.
        let half = |deadline: Instant| now + deadline.saturating_duration_since(now) / 2;
        let deadline = if gather.may_miss_nodes() { deadline.map(half) } else { deadline };
        match gather.first_target() {
            // A shard's part is for whoever is its primary.
            Some(Target::Every) => {
                let is_silent = |slot| self.nodes.owner(slot).is_some_and(|node| self.nodes.is_silent(&node));
                gather.spread_over(self.nodes.map.borrow().first_slots(), is_silent);
            }
            Some(Target::Written) if wrote.is_empty() => gather.spread(std::iter::once(Target::Home)),
            Some(Target::Written) => {
                let primaries = self.nodes.primaries();
                let is_known = wrote.iter().all(|node| primaries.contains(node));
                let nodes = if is_known { wrote } else { &*primaries };
                gather.spread(nodes.iter().map(|node| Target::At(NodeName::clone(node))));
            }
            _ => {}
        }
        let mut is_all_sent = true;
        let mut wrote = Vec::new();
        for (at, part) in gather.parts.iter_mut().enumerate() {
            if part.progress != Progress::Waiting {
                continue;
            }
            let is_sent = part.retry.is_due(now) && self.send_part(part, (number, at), deadline);
            is_all_sent &= is_sent;
            wrote.extend(part.sent_to.clone().filter(|_| is_sent));
        }
        if !state.queue[place].is_read {
            wrote.iter().for_each(|node| state.note_written(node));
        }
        usize::from(is_all_sent)
    }

    fn send_part(&self, part: &mut Part, (entry, at): (u64, usize), deadline: Option<Instant>) -> bool {
        let (asks, found) = match (&part.asks, &part.target) {
            (Some(address), _) => (true, self.lane_at(address.clone())),
            (None, Target::Slot(slot) | Target::Shard(slot)) => (false, self.lane_of_slot(*slot)),
            (None, Target::At(address)) => (false, self.lane_at(address.clone())),
            (None, Target::Home) => (false, self.home_lane()),
            (None, Target::Every | Target::Written) => (false, None),
        };
        let found = found.or_else(|| self.past_trouble(part));
        let Some((address, lane)) = found else { return false };
        let is_alone = part.connection != PartConnection::Shared;
        let link = if is_alone { self.lease(&lane) } else { Some(lane.shared_for(&self.as_recipient())) };
        let Some(link) = link.filter(|link| is_alone || link.phase() == LinkPhase::Ready) else { return false };
        let who: Rc<dyn Recipient> = Rc::new(PartOf::new(self, entry, at));
        // A connection waits for what it has written itself: with this it has come as far as all others.
        let own = if part.connection == PartConnection::Waits { Some(PING) } else { asks.then_some(ASKING) };
        let parts: &[&[u8]] = if let Some(own) = own { &[own, &part.request] } else { &[&part.request] };
        let skip = u32::from(own.is_some());
        let is_sent = link.send(who, parts, Owed::questions(0, 1 + skip), Times { read_at: clock::now(), deadline });
        if is_alone && !is_sent {
            lane.give_back(&link, false);
        } else if is_alone {
            if part.connection == PartConnection::Waits {
                link.mark_blocking();
            }
            part.lease = Some(Lease { lane, link });
        }
        if is_sent {
            (part.progress, part.skip, part.sent_to, part.asks) = (Progress::Sent, skip, Some(address), None);
        }
        is_sent
    }

    /// The node of what goes past trouble, which need not answer anything else.
    fn past_trouble(&self, part: &Part) -> Option<(NodeName, Rc<Lane>)> {
        let Target::Shard(slot) = part.target else { return None };
        let address = self.nodes.owner(slot).filter(|_| part.connection == PartConnection::PastTrouble)?;
        let lane = self.nodes.lane(&address, &self.key.borrow())?;
        Some((address, lane))
    }

    /// All parts may have been answered.
    pub(super) fn conclude_parts(&self, state: &mut State, place: usize) {
        let entry = &mut state.queue[place];
        let command = entry.command;
        let Kind::Gather(gather) = &mut entry.kind else { return };
        if gather.is_over() {
            let held: usize = gather.parts.iter().map(|part| part.reply.len()).sum();
            state.reply_bytes = state.reply_bytes.saturating_sub(held);
            let (fault, is_answered) = (gather.fault(), gather.is_answered());
            if let Some(fault) = fault.filter(|_| self.is_listened_to(command)) {
                return state.end(place, Phase::Failed(fault), is_answered);
            }
            entry.reply = Gather::reply(gather, &self.nodes.map.borrow(), self.home);
            state.reply_bytes += entry.reply.len();
            state.end(place, Phase::Done, is_answered);
        }
    }
}

/// Whoever takes the reply to one part of a request.
pub(super) struct PartOf {
    core: Weak<Core>,
    entry: u64,
    part: usize,
    is_touched: Cell<bool>,
}

impl PartOf {
    pub(super) fn new(core: &Core, entry: u64, part: usize) -> PartOf {
        PartOf { core: Weak::clone(&core.me), entry, part, is_touched: Cell::new(false) }
    }

    fn with(&self, change: impl FnOnce(&Core, &mut State, usize, &mut Part)) {
        let Some(core) = self.core.upgrade().filter(|core| !core.has_left.get()) else { return };
        let state = &mut *core.state.borrow_mut();
        let Some(place) = self.entry.checked_sub(state.first).and_then(|place| usize::try_from(place).ok()) else { return };
        // Taken out, so that both can change.
        let Some(Kind::Gather(gather)) = state.queue.get_mut(place).map(|entry| &mut entry.kind) else { return };
        let Some(part) = gather.parts.get_mut(self.part) else { return };
        let mut taken = std::mem::replace(part, part.again(Target::Home));
        change(&core, state, place, &mut taken);
        if taken.progress != Progress::Sent
            && let Some(lease) = taken.lease.take()
        {
            state.returning.push((lease, taken.progress == Progress::Replied));
        }
        if let Some(Kind::Gather(gather)) = state.queue.get_mut(place).map(|entry| &mut entry.kind) {
            gather.parts[self.part] = taken;
        }
        core.conclude_parts(state, place);
        core.has_news.set(true);
    }
}

impl Recipient for PartOf {
    fn admit(&self, _to: ReplyTo, piece: &[u8], answer: Piece) -> Admitted {
        self.with(|core, state, _, part| {
            if part.skip > 0 {
                part.skip -= u32::from(answer.last);
                return;
            }
            if part.progress != Progress::Sent {
                return;
            }
            let is_full = || core.nodes.context.kept.is_over_limit();
            if part.reply.len() > LITTLE && is_full() && (!core.nodes.make_room(core) || is_full()) {
                (part.progress, part.reply) = (Progress::TooLong, Vec::new());
                return;
            }
            part.reply.extend_from_slice(piece);
            state.reply_bytes += piece.len();
            if !answer.last {
                return;
            }
            let slot = part.slot();
            match Redirect::read(&part.reply, slot) {
                Some(redirect) => {
                    let step = core.follow(&redirect, slot, part.sent_to.as_ref());
                    step.schedule(&mut part.retry, clock::now());
                    if let NextStep::Ask(address) = step {
                        part.asks = Some(address);
                    }
                    part.progress = Progress::Waiting;
                    part.reply.clear();
                }
                None => part.progress = Progress::Replied,
            }
        });
        Admitted::default()
    }

    fn settle_late(&self, frames: u32) {
        if let Some(core) = self.core.upgrade() {
            core.settle_late(frames);
        }
    }

    fn fault(&self, owed: Owed, fault: Fault) {
        if let Some(core) = self.core.upgrade() {
            core.late.note(owed, fault);
        }
        self.with(|core, state, place, part| {
            if let (Kind::Gather(gather), Fault::Timeout) = (&mut state.queue[place].kind, fault) {
                gather.is_late = true;
            }
            let is_unsent = matches!(fault, Fault::Unavailable | Fault::Refused);
            part.reply.clear();
            if is_unsent || fault == Fault::Lost && state.queue[place].is_read {
                core.nodes.doubt(clock::now());
                part.progress = Progress::Waiting;
            } else {
                part.progress = Progress::Failed(fault);
            }
        });
    }

    fn mark(&self) -> bool {
        !self.is_touched.replace(true)
    }

    fn flush(&self) {
        self.is_touched.set(false);
        if let Some(core) = self.core.upgrade() {
            core.note_kept();
            core.wake();
            core.release_late();
        }
    }

    fn sender(&self) -> *const () {
        self.core.as_ptr().cast()
    }

    fn is_gone(&self) -> bool {
        self.core.upgrade().is_none_or(|core| core.has_left.get())
    }
}
