//! Holds incomplete groups until their remaining members arrive, and interprets what a plan asks for: a client's task does it,
//! `explain` describes it.

use std::time::{Duration, Instant};

use super::batch::{Batch, Held};
use super::plan::{Barrier, Holding, Note, Plan};
use crate::command::Table;
use crate::link::owed::Seq;
use crate::policy::{self, Member, Policy, Recognition};
use crate::session::patience::{Carrying, Expired, Patience};
use respguard_resp::encode;
use respguard_resp::request::{Limits, RequestParser};

/// Bytes of an expired prefix that are kept for comparison with what comes next.
const EXPIRED_BYTES_MAX: usize = 4096;
/// Of each argument: a large value says nothing about what comes next.
const EXPIRED_ARGUMENT_BYTES_MAX: usize = 256;

/// How long what is held waits for the rest of groups, and whether that is worth it.
///
/// ```text
///           a plan holds something            more has come
///   idle --------------------------> waiting ---------------> idle
///    ^                                  |
///    |                                  |  the time is over
///    '---------- a plan holds nothing --'- over
/// ```
#[derive(Debug, Default)]
pub struct Hold {
    /// What is held has waited long enough.
    over: bool,
    /// The wait that is under way ends for the oldest of what is held alone, not for all of it.
    is_for_oldest: bool,
    under_way: Option<Box<Wait>>,
    patience: Patience,
    carrying: Carrying,
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

impl Hold {
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

    /// How far incomplete groups may be held now. Nothing is waited for where nothing more can come (`ends`), or where so
    /// much waits behind what is held that it must go (`must_go`).
    pub fn holding(&self, limits: policy::Hold, ends: bool, must_go: bool, now: Instant) -> Holding {
        Holding {
            willing: !limits.gap.is_zero() && self.patience.is_willing() && !ends && !must_go,
            across: self.patience.is_willing_across(),
            over: self.over,
            // Also while more keeps coming.
            overdue: if must_go { Some(now) } else { now.checked_sub(limits.max) },
        }
    }

    /// Other commands may ride in transactions of groups.
    pub fn carries(&self) -> bool {
        self.carrying.is_willing()
    }

    /// A transaction in which others rode has been answered; `refused` where one of those was.
    pub fn note_carried(&mut self, refused: bool) {
        self.carrying.note(refused);
    }

    /// A batch begins of which nothing is held.
    pub fn begin_batch(&mut self) {
        self.carrying = Carrying::default();
    }

    /// A plan was made; `has_group` says that a group was there as a whole.
    pub fn note_plan(&mut self, plan: &Plan, has_group: bool) {
        if has_group {
            self.patience.forgive();
        }
        // One wait ends for all that is held.
        self.patience.note_plan(plan.notes.iter().any(|note| matches!(note, Note::Expired { .. })));
    }

    /// True while a beginning that went out alone is to be compared with what comes next.
    pub fn has_expired(&self) -> bool {
        self.patience.has_expired()
    }

    /// A batch that no rule is about has gone out, and nothing was held.
    #[inline]
    pub fn note_whole(&mut self) {
        self.begin_batch();
        self.patience.note_plan(false);
    }

    /// The beginning of this group goes out alone.
    pub fn expire(&mut self, group: usize, members: &[usize], batch: &Batch, bytes: &[u8]) {
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

    /// The beginning that went out alone last, if the client has been answered and what comes `next` goes on there: three times,
    /// and the client is known to send one command after the other. The group, when that is known from now on.
    pub fn finds_sequence(&mut self, is_answered: bool, next: &[u8], table: &Table, policy: &Policy) -> Option<usize> {
        let expired = self.patience.last_expired()?;
        let is_sequential = is_answered && goes_on(&expired, next, table, policy) && self.patience.strike();
        is_sequential.then_some(expired.group)
    }

    /// The rules have changed: the place of the group that is remembered means nothing any more.
    pub fn forget_expired(&mut self) {
        self.patience.last_expired();
    }

    /// What `plan` asks for behind what it sends. Its commands have been taken out of the batch; `has_more` says that what
    /// is waited for has been read already.
    #[inline]
    pub fn follow(
        &mut self,
        plan: &mut Plan,
        batch: &Batch,
        has_more: bool,
        times: impl FnOnce() -> (policy::Hold, Instant),
    ) -> Next {
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
    /// The commands that stay in the batch because they wait for the rest of their group, each with the place that `seq` keeps
    /// for it and the time since which it waits.
    pub fn held(&self, batch: &Batch, seq: impl Fn(usize) -> Seq, now: Instant) -> Vec<(usize, Held)> {
        let since = |at| batch.held(at).map_or(now, |held| held.since);
        self.kept.iter().map(|&(at, begins)| (at, Held { seq: seq(at), since: since(at), begins })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::compile;
    use crate::policy::rule::{Written, WrittenGroup, WrittenMember};
    use crate::session::affinity::Reason;

    const GAP: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_millis(20);
    const LIMITS: policy::Hold = policy::Hold { gap: GAP, max: LONG };

    fn asks(turn: Option<Barrier>) -> Plan {
        Plan { turn, ..Plan::default() }
    }

    fn follow(hold: &mut Hold, turn: Option<Barrier>, has_more: bool) -> Next {
        hold.follow(&mut asks(turn), &Batch::default(), has_more, || (LIMITS, Instant::now()))
    }

    #[test]
    fn each_barrier_but_those_that_wait_is_to_be_done() {
        let mut hold = Hold::default();
        assert_eq!(follow(&mut hold, None, false), Next::On);
        assert_eq!(follow(&mut hold, Some(Barrier::Hold), false), Next::Wait(GAP));
        assert_eq!(follow(&mut hold, Some(Barrier::Wait), false), Next::Wait(LONG));
        assert_eq!(follow(&mut hold, Some(Barrier::Wait), true), Next::On, "it has been read already");
        let pin = Barrier::Pin(Reason::Large);
        assert_eq!(follow(&mut hold, Some(pin), false), Next::Do(pin));
    }

    #[test]
    fn a_gap_ends_the_wait_for_all_that_is_held_until_nothing_is() {
        let mut hold = Hold::default();
        assert_eq!(hold.begin_wait(GAP, LONG, None, Instant::now()), GAP);
        assert!(!hold.is_over());
        hold.end_wait();
        assert!(hold.is_over());
        follow(&mut hold, None, false);
        assert!(!hold.is_over());
    }

    #[test]
    fn the_longest_wait_ends_for_the_oldest_alone() {
        let mut hold = Hold::default();
        assert_eq!(hold.begin_wait(LONG, GAP, None, Instant::now()), GAP);
        hold.end_wait();
        assert!(!hold.is_over(), "what was held later has time left");
        assert_eq!(hold.begin_wait(GAP, GAP, None, Instant::now()), GAP);
        hold.end_wait();
        assert!(hold.is_over());
    }

    #[test]
    fn what_was_waited_for_is_told_once() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.begin_wait(GAP, LONG, Some(vec![3]), now);
        assert_eq!(hold.take_wait(), Some(Wait { since: now, groups: vec![3] }));
        assert_eq!(hold.take_wait(), None);
        hold.begin_wait(GAP, LONG, None, now);
        assert_eq!(hold.take_wait(), None, "a request that is not whole yet belongs to no group");
    }

    #[test]
    fn nothing_is_waited_for_where_nothing_more_can_come_or_all_must_go() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        assert!(hold.holding(LIMITS, false, false, now).willing);
        assert!(!hold.holding(LIMITS, true, false, now).willing);
        let must_go = hold.holding(LIMITS, false, true, now);
        assert_eq!((must_go.willing, must_go.overdue), (false, Some(now)));
        assert!(!hold.holding(policy::Hold { gap: Duration::ZERO, max: LONG }, false, false, now).willing);
        hold.end();
        assert!(hold.holding(LIMITS, false, false, now).over);
    }

    #[test]
    fn who_goes_on_three_times_after_its_answer_is_sequential() {
        let table = Table::builtin();
        let member = |template: &str| WrittenMember { template: template.to_owned(), ..WrittenMember::default() };
        let commands = Some(vec![member("SET a{x} *"), member("SADD b{x} *")]);
        let written = WrittenGroup { name: "pair".to_owned(), commands, ..WrittenGroup::default() };
        let policy = compile(&Written { groups: vec![written], ..Written::default() }, &table).expect("good rules");
        let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
        let begins = b"SET a1 v\r\n";
        batch.parse(&mut parser, &table, begins, usize::MAX);
        let mut hold = Hold::default();
        assert_eq!(hold.finds_sequence(true, b"SADD b1 v\r\n", &table, &policy), None, "nothing went out alone");
        let mut found = Vec::new();
        for (is_answered, next) in [
            (false, "SADD b1 v\r\n"),
            (true, "SADD b2 v\r\n"),
            (true, "SADD b1 v\r\n"),
            (true, "SADD b1 v\r\n"),
            (true, "SADD b1 v\r\n"),
        ] {
            hold.expire(0, &[0], &batch, begins);
            found.push(hold.finds_sequence(is_answered, next.as_bytes(), &table, &policy));
        }
        assert_eq!(found, [None, None, None, None, Some(0)]);
        assert!(!hold.holding(LIMITS, false, false, Instant::now()).willing);
    }
}
