//! The replies of one client, each in the place of its request: they are released in the order of the requests, whatever order
//! they arrive in.
//!
//! Every request has a [`Seq`]. A connection hands over each frame with the address of the request that it answers, so
//! that any number of connections may owe one client. A reply that comes before its turn waits in its place.

mod leave;
mod rare_state;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::rc::Rc;

use super::failure_tracker::FailureTracker;
use super::group::WrappedGroup;
use super::group_pool::GroupPool;
use super::probe::Probe;
use super::reads_ahead::ReadsAhead;
use super::slot::{GroupSlot, Question, Role, Slot, TrackerId};
use crate::command::CommandId;
use crate::lazy::Lazy;
use crate::link::owed::{Owed, ReplyTo, Seq};
use crate::session::reply_mode::ReplyMode;
pub(super) use rare_state::{RareState, TtlsBefore};

pub use rare_state::ReturnedCommands;

/// A client that is owed nothing keeps room for no more places than this.
const IDLE_SLOTS_MAX: usize = 64;

/// The places of one client.
#[derive(Debug, Default)]
pub struct Sequencer {
    /// Places that are not yet filled, and those behind them.
    pub(super) queue: VecDeque<Slot>,
    /// The first of them.
    pub(super) first: Seq,
    /// How many questions of our own have been asked.
    asked: u64,
    /// The pipelines that are not yet answered, and the number of the first.
    pub(super) trackers: VecDeque<FailureTracker>,
    pub(super) first_score: u32,
    /// Frames owed by servers.
    pub(super) owed: usize,
    /// Frames whose requests were answered with a timeout, and that are still owed.
    pub(super) late: usize,
    /// Bytes of replies that wait for those before them.
    pub(super) waiting_bytes: usize,
    /// Answers of the proxy's own that have yet to come.
    deferred: u32,
    /// Replies with compressed values have been asked for.
    pub(super) asks_packed: bool,
    /// Bytes of requests that are kept to be sent again.
    pub(super) carried_bytes: usize,
    /// Reads that were sent before a transaction in front of them was answered.
    pub(super) ahead: ReadsAhead,
    /// What was sent or answered last.
    last: CommandId,
    /// What the client has said with CLIENT REPLY.
    reply_mode: ReplyMode,
    pub(super) rare: Lazy<RareState>,
    /// Where the memory for groups comes from.
    pub(super) group_pool: Rc<GroupPool>,
}

impl Sequencer {
    /// The places of a client of this worker.
    pub fn sharing(group_pool: &Rc<GroupPool>) -> Sequencer {
        // Most clients have one request under way.
        let queue = VecDeque::with_capacity(1);
        Sequencer { queue, group_pool: Rc::clone(group_pool), ..Sequencer::default() }
    }

    /// True when no reply of any kind is owed to the client.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.rare.questions.is_empty()
    }

    /// The command that is answered next, or the last one when all are answered.
    pub fn current(&self) -> CommandId {
        let next = self.queue.iter().map(|slot| slot.command).find(|command| *command != CommandId::UNKNOWN);
        next.unwrap_or(self.last)
    }

    /// The command has been dealt with without a place.
    pub fn note(&mut self, command: CommandId) {
        self.last = command;
    }

    /// Once no reply is owed, the room that a burst has taken goes.
    pub fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > IDLE_SLOTS_MAX {
            self.queue = VecDeque::new();
            self.trackers = VecDeque::new();
        }
        if self.rare.get_mut().is_some_and(RareState::shrink) {
            self.rare.forget();
        }
    }

    /// Groups are under way, or have been of late, that may be sent once more.
    pub fn has_groups(&self) -> bool {
        self.rare.get().is_some_and(RareState::has_groups)
    }

    /// The places take up so little that it need not be counted.
    #[inline]
    pub fn are_few(&self) -> bool {
        self.queue.capacity() <= IDLE_SLOTS_MAX && self.carried_bytes == 0 && self.rare.packed.is_none()
    }

    /// Bytes that the places take up.
    pub fn place_bytes(&self) -> usize {
        self.queue.capacity() * size_of::<Slot>() + self.carried_bytes + self.ahead.bytes() + self.packed_bytes()
    }

    /// The commands that are to be sent again.
    pub fn take_returned(&mut self) -> ReturnedCommands {
        self.rare.get_mut().map(|rare| std::mem::take(&mut rare.returned)).unwrap_or_default()
    }

    /// Places that are not yet filled.
    pub fn len(&self) -> usize {
        self.queue.len() + self.rare.questions.len()
    }

    /// True when the upstream owes nothing, also not to requests that were answered with a timeout:
    /// they may still run, and nothing of this client may overtake them.
    pub fn is_drained(&self) -> bool {
        self.owed == 0 && self.late == 0
    }

    /// True while the upstream owes replies that the client waits for.
    pub fn owes_replies(&self) -> bool {
        self.owed > 0
    }

    /// True while the upstream owes answers to requests that were answered with a timeout.
    pub fn has_late(&self) -> bool {
        self.late > 0
    }

    /// True while something that was sent, or promised, has not been answered; what is only held has not been sent.
    pub fn is_under_way(&self) -> bool {
        !self.is_drained() || self.deferred > 0
    }

    /// True when the upstream owes nothing but the `frames` pushed last: those can be given up at once.
    pub fn owes_no_more_than(&self, frames: u32) -> bool {
        self.owed <= frames as usize
    }

    /// The upstream may still run so much of what was answered: nothing of this client may overtake it, either.
    pub fn note_late(&mut self, frames: u32) {
        self.late += frames as usize;
    }

    /// The upstream has answered, or will never answer, requests that had been given up.
    pub fn settle_late(&mut self, frames: u32) {
        self.late = self.late.saturating_sub(frames as usize);
    }

    /// The place of the request that is pushed next, unless one is reserved for it.
    pub fn next_place(&self) -> Seq {
        self.first.plus(self.queue.len())
    }

    /// Keeps a place for a request that has been read and is sent later, or behind others that were read after it.
    pub fn reserve(&mut self) -> Seq {
        self.put(None, Role::Held, CommandId::UNKNOWN, None)
    }

    /// A place for a command that is sent now: `reserved` for it, or the next. Its reply is one frame; (un)subscribing may
    /// turn out to be owed more: its first confirmation tells, for an error would be the only one.
    pub fn push(&mut self, reserved: Option<Seq>, role: Role, command: CommandId, tracker: Option<TrackerId>) -> Seq {
        self.owed += 1;
        match &role {
            Role::Checked(check) | Role::QueuedChecked(check) => self.asks_packed |= check.unpacks(),
            Role::ReadAhead(read) => self.ahead.note(read),
            _ => {}
        }
        self.put(reserved, role, command, tracker)
    }

    /// The next places, for commands whose replies are the client's as they are.
    pub fn push_plain(&mut self, commands: impl ExactSizeIterator<Item = CommandId>, tracker: Option<TrackerId>) -> Seq {
        let first = self.next_place();
        if self.reply_mode != ReplyMode::On {
            for command in commands {
                self.push(None, Role::Plain, command, tracker);
            }
            return first;
        }
        self.owed += commands.len();
        let slot = |command| Slot { role: Role::Plain, command, tracker, silent: false };
        match commands.len() {
            // Most clients wait for one reply at a time, and making room for many has its price.
            1 => commands.for_each(|command| self.queue.push_back(slot(command))),
            _ => self.queue.extend(commands.map(slot)),
        }
        self.last = self.queue.back().map_or(self.last, |slot| slot.command);
        first
    }

    /// A group is sent, whose members stand in these places, or in the next ones. Returns its address.
    pub fn push_group(&mut self, reserved: Option<&[Seq]>, group: WrappedGroup) -> Seq {
        self.owed += group.frames() as usize;
        let (members, is_marked) = (group.reply_count(), group.is_resolved_later() || group.is_carrying());
        self.carried_bytes += group.carried_bytes();
        self.asks_packed |= group.reads_values();
        let is_apart = |seqs: &&[Seq]| seqs.windows(2).any(|pair| pair[1] != pair[0].plus(1));
        let apart = reserved.filter(is_apart).map(Into::into);
        let group = Role::Group(self.group_pool.place(GroupSlot { group, apart, replies: Vec::new() }));
        let place = |member: usize| reserved.map(|seqs| seqs[member]);
        let seq = self.put(place(0), group, CommandId::UNKNOWN, None);
        if reserved.is_none() && self.reply_mode == ReplyMode::On {
            let member = |_| Slot { role: Role::Member, command: CommandId::UNKNOWN, tracker: None, silent: false };
            self.queue.extend((1..members).map(member));
        } else {
            for member in 1..members {
                self.put(place(member), Role::Member, CommandId::UNKNOWN, None);
            }
        }
        if is_marked {
            self.rare.make_mut().marked.push_back(seq);
        }
        seq
    }

    /// Questions of our own are sent, before or after a client's writes, one frame each.
    pub fn push_probes(&mut self, probes: impl Iterator<Item = Probe>) -> Owed {
        self.ask(probes.map(Some))
    }

    /// So many commands of our own are sent whose answers nobody needs.
    pub fn push_discards(&mut self, commands: u32) -> Owed {
        self.ask((0..commands).map(|_| None))
    }

    fn ask(&mut self, questions: impl Iterator<Item = Option<Probe>>) -> Owed {
        let (first, mut count) = (self.asked, 0);
        for probe in questions {
            self.rare.make_mut().questions.push_back(Question { number: self.asked, probe });
            self.asked += 1;
            count += 1;
        }
        self.owed += count as usize;
        Owed::questions(first, count)
    }

    /// The commands that are pushed with this score are a pipeline.
    pub fn push_tracker(&mut self, tracker: FailureTracker) -> Option<TrackerId> {
        if self.trackers.capacity() == 0 {
            // Most clients have one pipeline under way.
            self.trackers.reserve_exact(1);
        }
        let place = u32::try_from(self.trackers.len()).ok()?;
        self.trackers.push_back(tracker);
        NonZeroU32::new(self.first_score.wrapping_add(place).wrapping_add(1)).map(TrackerId)
    }

    pub(super) fn tracker(&mut self, id: TrackerId) -> Option<&mut FailureTracker> {
        let place = self.place_of(id);
        self.trackers.get_mut(place)
    }

    pub(super) fn place_of(&self, id: TrackerId) -> usize {
        id.0.get().wrapping_sub(1).wrapping_sub(self.first_score) as usize
    }

    /// The pipelines in front that are answered are done with.
    pub(super) fn forget_trackers(&mut self) {
        while self.trackers.pop_front_if(|tracker| tracker.is_answered()).is_some() {
            self.first_score = self.first_score.wrapping_add(1);
        }
    }

    /// An answer of our own, in the place `reserved` for it or the next; goes to `out` at once when nothing is owed before it.
    pub fn answer(&mut self, reserved: Option<Seq>, reply: Vec<u8>, out: &mut Vec<u8>) {
        if reserved.is_none() && self.queue.is_empty() {
            self.first = self.first.plus(1);
            if !self.takes_silent(&Role::ProxyReply) {
                out.extend_from_slice(&reply);
            }
            return;
        }
        let seq = self.put(reserved, Role::ProxyReply, CommandId::UNKNOWN, None);
        self.fill(seq, reply, out);
    }

    /// A place for an answer that will come from elsewhere; `answer_deferred` fills it.
    pub fn defer(&mut self) -> Seq {
        self.deferred += 1;
        self.put(None, Role::ProxyReply, CommandId::UNKNOWN, None)
    }

    /// True while a deferred answer has not come.
    pub fn is_deferred(&self) -> bool {
        self.deferred > 0
    }

    /// Fills the place of an answer that was deferred.
    pub fn answer_deferred(&mut self, seq: Seq, reply: Vec<u8>, out: &mut Vec<u8>) {
        self.deferred = self.deferred.saturating_sub(1);
        self.fill(seq, reply, out);
    }

    /// The client does not hear what the request pushed last is answered.
    pub fn discard_last(&mut self) {
        let waits = |slot: &&mut Slot| !matches!(slot.role, Role::ProxyReply | Role::Member | Role::Group(_) | Role::Buffered(_));
        if let Some(slot) = self.queue.back_mut().filter(waits) {
            slot.role = Role::Discard;
        }
    }

    /// True when the reply to this request is the client's as it is and next to leave: behind its first piece nobody needs
    /// to look at it.
    pub fn passes(&self, to: ReplyTo) -> bool {
        to == ReplyTo::Request(self.first) && self.queue.front().is_some_and(|slot| slot.role.is_plain() && !slot.silent)
    }

    /// True when the next reply to leave is a confirmation of (un)subscribing.
    pub fn awaits_confirmation(&self) -> bool {
        let slot = self.queue.front();
        slot.is_some_and(|slot| matches!(slot.role, Role::Subscription { .. } | Role::UnsubscribeAll(_)))
    }

    /// The next answer to EXEC is kept back, unless it is very long.
    pub fn keep_exec(&mut self) {
        self.rare.make_mut().kept = Some(Vec::new());
    }

    /// The answer that was kept back; nothing if it has gone to the client.
    pub fn take_exec(&mut self) -> Vec<u8> {
        self.rare.get_mut().and_then(|rare| rare.kept.take()).unwrap_or_default()
    }

    /// What the client has said with CLIENT REPLY.
    pub fn reply_mode(&self) -> ReplyMode {
        self.reply_mode
    }

    /// The client says so about the replies to the commands behind this one.
    pub fn set_reply_mode(&mut self, wanted: ReplyMode) {
        self.reply_mode = self.reply_mode.after(wanted);
    }

    /// The reply that was to be skipped is over.
    pub fn skipped(&mut self) {
        if self.reply_mode == ReplyMode::SkipNext {
            self.reply_mode = ReplyMode::On;
        }
    }

    /// Whether the client does not want the reply in the next place. Of an answer that is only kept the client gets nothing anyway. What is only held is decided when it is sent.
    fn takes_silent(&mut self, role: &Role) -> bool {
        if self.reply_mode == ReplyMode::On {
            return false;
        }
        let is_own = matches!(role, Role::Discard | Role::Verdict | Role::Unblock | Role::Held | Role::Member)
            || matches!(role, Role::Exec) && self.rare.kept.is_some();
        if !is_own {
            self.skipped();
        }
        !matches!(role, Role::Held)
    }

    fn put(&mut self, reserved: Option<Seq>, role: Role, command: CommandId, tracker: Option<TrackerId>) -> Seq {
        if command != CommandId::UNKNOWN {
            self.last = command;
        }
        let silent = self.takes_silent(&role);
        let slot = Slot { role, command, tracker, silent };
        let Some(seq) = reserved else {
            self.queue.push_back(slot);
            return self.first.plus(self.queue.len() - 1);
        };
        let place = self.slot(seq).expect("a reserved place stays until it is filled");
        debug_assert!(matches!(place.role, Role::Held), "a place is filled once");
        *place = slot;
        seq
    }

    pub(super) fn slot(&mut self, seq: Seq) -> Option<&mut Slot> {
        self.queue.get_mut(seq.since(self.first)?)
    }

    /// A group behind a preflight has gone out as this, and may go out so once more.
    pub fn keep_request(&mut self, group: Seq, request: Vec<u8>) {
        if let Some(slot) = self.group(group) {
            slot.group.keep_request(request);
        }
    }

    pub(super) fn group(&mut self, seq: Seq) -> Option<&mut GroupSlot> {
        match &mut self.slot(seq)?.role {
            Role::Group(group) => Some(group),
            _ => None,
        }
    }

    pub(super) fn check(&self) {
        debug_assert!(!self.is_empty() || self.owed == 0, "{} frames are owed to nobody", self.owed);
        debug_assert!(!self.queue.is_empty() || self.waiting_bytes == 0);
    }
}

#[cfg(test)]
mod tests;
