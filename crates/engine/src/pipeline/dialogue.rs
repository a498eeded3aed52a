//! One client's dialogue without a socket: what it has sent is planned, what may become a group waits, and what follows is told.
//!
//! ```text
//!   bytes -> Batch::parse -> begin -> plan -> note -> Plan::take_out -> follow -> On | Wait(time) | Do(barrier)
//! ```
//!
//! A client's task drives it with what its front reads, a socket or a REST request, and does what it asks for; `explain` drives
//! it with what it was given, and tells it. Whoever drives it owns the bytes, and knows what time it is.

use std::time::{Duration, Instant};

use super::batch::{Batch, Held, Tail};
use super::plan::{self, Barrier, Holding, Note, Plan, Rules};
use super::ttl::Undecided;
use crate::command::Table;
use crate::link::owed::Seq;
use crate::policy::{self, Member, Policy, Recognition};
use crate::session::Session;
use crate::session::patience::{Carrying, Expired, Patience};
use respguard_resp::encode;
use respguard_resp::request::{Limits, RequestParser};

/// Bytes of an expired prefix that are kept for comparison with what comes next.
const EXPIRED_BYTES_MAX: usize = 4096;
/// Of each argument: a large value says nothing about what comes next.
const EXPIRED_ARGUMENT_BYTES_MAX: usize = 256;

/// How long what is held waits for the rest of groups, whether that is worth it, and what is carried.
///
/// ```text
///           a plan holds something            more has come
///   idle --------------------------> waiting ---------------> idle
///    ^                                  |
///    |                                  |  the time is over
///    '---------- a plan holds nothing --'- over
/// ```
#[derive(Debug, Default)]
pub struct Dialogue {
    /// What is held has waited long enough.
    over: bool,
    /// The wait that is under way ends for the oldest of what is held alone, not for all of it.
    is_for_oldest: bool,
    under_way: Option<Box<Wait>>,
    patience: Patience,
    carrying: Carrying,
}

/// What a client has sent that has not gone on.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// The whole commands.
    pub batch: &'a Batch,
    /// All that has come.
    pub bytes: &'a [u8],
    /// What stands behind the whole commands.
    pub tail: &'a Tail,
    /// The last read filled its buffer.
    pub filled: bool,
    /// The client may send more before it is answered.
    pub open: bool,
    /// So much waits behind what is held that it must go.
    pub must_go: bool,
}

impl Sent<'_> {
    /// More is known to be on its way.
    fn more_comes(&self) -> bool {
        self.open
            && match self.tail {
                Tail::Partial | Tail::More => true,
                Tail::Clean => self.filled,
                // What is there is no request that could be waited for.
                Tail::Large | Tail::Error(_) => false,
            }
    }

    /// Nothing comes that could be waited for.
    fn ends(&self) -> bool {
        !self.open || matches!(self.tail, Tail::Error(_) | Tail::Large)
    }
}

/// More is waited for, for what is held.
#[derive(Debug, PartialEq, Eq)]
pub struct Wait {
    /// When it began.
    pub since: Instant,
    /// The groups of which a part is held, by their places among the rules.
    pub groups: Vec<usize>,
}

/// What follows on a plan.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The batch is gone on with.
    On,
    /// More is waited for, for so long.
    Wait(Duration),
    /// This is done about the command behind those that were planned.
    Do(Barrier),
}

impl Dialogue {
    /// True when what is held goes out as it is.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Nothing more is waited for.
    pub fn end(&mut self) {
        self.over = true;
    }

    /// The time of the wait is over.
    pub fn end_wait(&mut self) {
        self.over = !self.is_for_oldest;
    }

    /// More has come; what was waited for.
    pub fn take_wait(&mut self) -> Option<Wait> {
        self.under_way.take().map(|wait| *wait)
    }

    /// A batch is about to be planned. The group whose beginning went out alone last, if the client `is_answered` and goes on
    /// there, for the third time: it is known to send one command after the other, and is not waited for again.
    pub fn begin(&mut self, is_answered: bool, batch: &Batch, bytes: &[u8], table: &Table, policy: &Policy) -> Option<usize> {
        if !batch.all_held().is_empty() {
            return None;
        }
        self.carrying = Carrying::default();
        if self.over {
            return None;
        }
        self.finds_sequence(is_answered, &bytes[batch.wire(0..1)], table, policy)
    }

    /// Plans what the client has sent. `rules` says all but what is held and what is carried.
    pub fn plan(
        &self,
        (session, undecided): (&mut Session, &mut Undecided),
        rules: Rules<'_>,
        sent: Sent<'_>,
        now: Instant,
        planned: &mut Plan,
    ) {
        let hold = match rules.policy.groups().is_empty() {
            true => Holding::default(),
            false => self.holding(rules.policy.hold, sent.ends(), sent.must_go, now),
        };
        let rules = Rules { hold, carries: self.carrying.is_willing(), ..rules };
        let more = sent.more_comes() && !self.over;
        plan::plan(session, undecided, rules, sent.batch, sent.bytes, more, planned);
    }

    fn holding(&self, limits: policy::Hold, ends: bool, must_go: bool, now: Instant) -> Holding {
        Holding {
            willing: !limits.gap.is_zero() && self.patience.is_willing() && !ends && !must_go,
            across: self.patience.is_willing_across(),
            over: self.over,
            // Also while more keeps coming.
            overdue: if must_go { Some(now) } else { now.checked_sub(limits.max) },
        }
    }

    /// A transaction in which others rode has been answered; `refused` where one of those was.
    pub fn note_carried(&mut self, refused: bool) {
        self.carrying.note(refused);
    }

    /// What a plan tells of the client; `has_group` says that a group was there as a whole. Its commands are still in the batch.
    pub fn note(&mut self, plan: &Plan, has_group: bool, batch: &Batch, bytes: &[u8]) {
        if has_group {
            self.patience.forgive();
        }
        // One wait ends for all that is held.
        self.patience.note_plan(plan.notes.iter().any(|note| matches!(note, Note::Expired { .. })));
        for note in &plan.notes {
            if let Note::Expired { group, members } = note {
                self.expire(*group, &plan.members[members.clone()], batch, bytes);
            }
        }
    }

    /// True while a beginning that went out alone is to be compared with what comes next.
    pub fn has_expired(&self) -> bool {
        self.patience.has_expired()
    }

    /// A batch that no rule is about has gone out, and nothing was held.
    #[inline]
    pub fn note_whole(&mut self) {
        self.carrying = Carrying::default();
        self.patience.note_plan(false);
    }

    /// The beginning of this group goes out alone.
    fn expire(&mut self, group: usize, members: &[usize], batch: &Batch, bytes: &[u8]) {
        let mut sent = Vec::new();
        for &at in members {
            let args = batch.args(bytes, at);
            let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..arg.len().min(EXPIRED_ARGUMENT_BYTES_MAX)]).collect();
            encode::request(&mut sent, &args);
            if sent.len() > EXPIRED_BYTES_MAX {
                break;
            }
        }
        self.patience.expire(Expired { group, members: members.len(), bytes: sent });
    }

    fn finds_sequence(&mut self, is_answered: bool, next: &[u8], table: &Table, policy: &Policy) -> Option<usize> {
        let expired = self.patience.last_expired()?;
        let is_sequential = is_answered && goes_on(&expired, next, table, policy) && self.patience.strike();
        is_sequential.then_some(expired.group)
    }

    /// The rules have changed: the place of the group that is remembered means nothing any more.
    pub fn forget_expired(&mut self) {
        self.patience.last_expired();
    }

    /// What `plan` asks for behind what it sends. Its commands have been taken out of the batch, behind which stands `tail`.
    #[inline]
    pub fn follow(
        &mut self,
        plan: &mut Plan,
        batch: &Batch,
        tail: &Tail,
        times: impl FnOnce() -> (policy::Hold, Instant),
    ) -> Next {
        // What is waited for has been read already.
        let has_more = *tail == Tail::More && plan.commands > plan.kept.len();
        match plan.turn.take() {
            None => {
                self.over = false;
                Next::On
            }
            Some(Barrier::Wait) if has_more => Next::On,
            // A frame that has begun takes as long as its bytes keep coming.
            Some(Barrier::Wait) => {
                let (limits, now) = times();
                self.wait(limits.max, limits, plan, batch, now)
            }
            Some(Barrier::Hold) => {
                let (limits, now) = times();
                self.wait(limits.gap, limits, plan, batch, now)
            }
            Some(barrier) => Next::Do(barrier),
        }
    }

    /// Waits for `longest` without a byte, but not longer than the oldest of what is held may wait in all.
    fn wait(&mut self, longest: Duration, limits: policy::Hold, plan: &Plan, batch: &Batch, now: Instant) -> Next {
        let oldest = batch.all_held().iter().map(|held| held.since).min();
        let left = oldest.map_or(limits.max, |since| (since + limits.max).saturating_duration_since(now));
        let groups = oldest.map(|_| plan.waiting().map(|(group, _)| group).collect());
        Next::Wait(self.begin_wait(longest, left, groups, now))
    }

    fn begin_wait(&mut self, longest: Duration, left: Duration, groups: Option<Vec<usize>>, now: Instant) -> Duration {
        self.is_for_oldest = longest > left;
        self.under_way = groups.map(|groups| Box::new(Wait { since: now, groups }));
        longest.min(left)
    }
}

/// Whether `next` goes on where the prefix ended.
fn goes_on(before: &Expired, next: &[u8], table: &Table, policy: &Policy) -> bool {
    let all = [&before.bytes, next].concat();
    let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
    batch.parse(&mut parser, table, &all, usize::MAX);
    let member = |at| Member { id: batch.id(at), args: batch.args(&all, at) };
    match policy.recognise(table, &mut |at| (at < batch.len()).then(|| member(at))) {
        Recognition::Prefix { group, members, .. } | Recognition::Whole { group, members, .. } => {
            group == before.group && members > before.members
        }
        Recognition::None | Recognition::Begun => false,
    }
}

impl Plan {
    /// Takes so many commands out of the batch, and gives how many bytes in front are done with. Those that wait for the rest of
    /// their group stay, each with the place that `seq` keeps for it and the time since which it waits.
    pub fn take_out(
        &self,
        commands: usize,
        (batch, bytes): (&mut Batch, &mut [u8]),
        seq: impl Fn(usize) -> Seq,
        now: Instant,
    ) -> usize {
        if self.kept.is_empty() {
            return batch.consume(commands);
        }
        let since = |at| batch.held(at).map_or(now, |held| held.since);
        let held = self.kept.iter().map(|&(at, begins)| (at, Held { seq: seq(at), since: since(at), begins }));
        let held: Vec<_> = held.collect();
        batch.consume_around(commands, &held, bytes)
    }
}

#[cfg(test)]
mod tests;
