//! The parts of a request that several nodes answer: sent, and their replies taken.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::core::{Core, State};
use super::dispatch::ASKING;
use super::entry::{Kind, Phase};
use super::gather::{Gather, Part, Progress, Target};
use super::replies::{AT_ONCE_MAX, Course, pause};
use crate::net::clock;
use crate::net::upstream::connection::Phase as LinkPhase;
use crate::net::upstream::{Admitted, Recipient};
use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::resolve::Part as Piece;
use respguard_engine::route::redirect::Redirect;

impl Core {
    /// Sends the parts that wait; counts as sent once all are.
    pub(super) fn send_parts(&self, state: &mut State, place: usize, now: Instant) -> usize {
        let number = state.first + place as u64;
        let deadline = state.queue[place].deadline;
        let Kind::Gather(gather) = &mut state.queue[place].kind else { return 0 };
        gather.spread(&self.nodes.primaries());
        let mut is_all_sent = true;
        for (at, part) in gather.parts.iter_mut().enumerate() {
            if part.progress != Progress::Waiting {
                continue;
            }
            let is_sent = part.not_before.is_none_or(|at| at <= now) && self.send_part(part, (number, at), deadline);
            is_all_sent &= is_sent;
        }
        usize::from(is_all_sent)
    }

    fn send_part(&self, part: &mut Part, (entry, at): (u64, usize), deadline: Option<Instant>) -> bool {
        let (asks, found) = match (&part.asks, &part.target) {
            (Some(address), _) => (true, self.lane_at(address.clone())),
            (None, Target::Slot(slot)) => (false, self.lane_of_slot(*slot)),
            (None, Target::At(address)) => (false, self.lane_at(address.clone())),
            (None, Target::Home) => (false, self.home_lane()),
            (None, Target::Nth(node)) => (false, self.nodes.primaries().get(*node).cloned().and_then(|node| self.lane_at(node))),
            (None, Target::Every) => (false, None),
        };
        let Some((address, lane)) = found else { return false };
        let link = lane.shared();
        if link.phase() != LinkPhase::Ready {
            return false;
        }
        let who: Rc<dyn Recipient> = Rc::new(PartOf::new(self, entry, at));
        let parts: &[&[u8]] = if asks { &[ASKING, &part.request] } else { &[&part.request] };
        let owed = Owed::questions(0, 1 + u32::from(asks));
        if !link.send(who, parts, owed, clock::now(), deadline) {
            return false;
        }
        (part.progress, part.skip, part.sent_to, part.asks) = (Progress::Sent, u32::from(asks), Some(address), None);
        true
    }

    /// All parts may have been answered.
    pub(super) fn conclude_parts(&self, state: &mut State, place: usize) {
        let nodes = self.nodes.primaries().len();
        let entry = &mut state.queue[place];
        let Kind::Gather(gather) = &mut entry.kind else { return };
        if gather.is_over() {
            entry.reply = Gather::reply(gather, nodes, self.home);
            state.finish(place, Phase::Done);
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
        if let Some(Kind::Gather(gather)) = state.queue.get_mut(place).map(|entry| &mut entry.kind) {
            gather.parts[self.part] = taken;
        }
        let is_waiting = matches!(&state.queue[place].kind, Kind::Gather(gather) if gather.parts.iter().any(|part| part.progress == Progress::Waiting));
        if is_waiting {
            state.unsent += 1;
        }
        core.conclude_parts(state, place);
        core.has_news.set(true);
    }
}

impl Recipient for PartOf {
    fn admit(&self, _to: ReplyTo, piece: &[u8], answer: Piece) -> Admitted {
        self.with(|core, _, _, part| {
            if part.skip > 0 {
                part.skip -= u32::from(answer.last);
                return;
            }
            part.reply.extend_from_slice(piece);
            if !answer.last {
                return;
            }
            let slot = part.slot();
            match Redirect::read(&part.reply, slot) {
                Some(redirect) => {
                    let course = core.follow(&redirect, slot, part.sent_to.as_ref());
                    part.tries += 1;
                    let is_later = matches!(course, Course::Later) || part.tries > AT_ONCE_MAX;
                    part.not_before = is_later.then(|| clock::now() + pause(part.tries));
                    if let Course::Ask(address) = course {
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

    fn fault(&self, _owed: Owed, fault: Fault) {
        self.with(|core, state, place, part| {
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
            core.wake();
        }
    }

    fn is_gone(&self) -> bool {
        self.core.upgrade().is_none_or(|core| core.has_left.get())
    }
}
