//! Holds incomplete groups until their rest comes, and reports a rest that comes late or never.

use std::time::{Duration, Instant};

use super::connection::{Connection, Next};
use crate::net::clock;
use crate::net::exchange::Places;
use crate::telemetry::label::HoldOutcome;
use respguard_engine::pipeline::batch::{Batch, Held, Tail};
use respguard_engine::pipeline::named_keys::NamedKeys;
use respguard_engine::pipeline::plan::{Holding, Note, Plan};
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_engine::policy::{Member, Recognition};
use respguard_engine::session::patience::{Carrying, Expired, Patience};
use respguard_resp::encode;
use respguard_resp::request::{Limits, RequestParser};

/// Bytes of an expired prefix that are kept for comparison with what comes next.
const EXPIRED_BYTES_MAX: usize = 4096;
/// Of each argument: a large value says nothing about what comes next.
const EXPIRED_ARGUMENT_BYTES_MAX: usize = 256;

/// How long what is held waits for the rest of groups, and whether that is worth it.
#[derive(Default)]
pub(super) struct Hold {
    /// What is held has waited long enough.
    over: bool,
    /// The wait that is under way ends for the oldest of what is held alone, not for all of it.
    is_for_oldest: bool,
    under_way: Option<Box<Wait>>,
    pub(super) patience: Patience,
    /// Whether other commands may ride in transactions of groups.
    pub(super) carrying: Carrying,
}

/// More is waited for, for what is held.
#[derive(Debug, PartialEq, Eq)]
struct Wait {
    since: Instant,
    /// The groups of which a part is held.
    groups: Vec<usize>,
}

impl Hold {
    /// True when what is held goes out as it is.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Nothing more is waited for.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// The time of the wait is over.
    pub(super) fn end_wait(&mut self) {
        self.over = !self.is_for_oldest;
    }

    /// What was held has gone: what is held next may wait again.
    pub(super) fn begin_again(&mut self) {
        self.over = false;
    }

    /// Begins to wait for `gap` without a byte, but only for as long as the oldest has `left`; how long that is. `groups` are
    /// those of which a part is held.
    fn wait(&mut self, gap: Duration, left: Duration, groups: Option<Vec<usize>>, now: Instant) -> Duration {
        self.is_for_oldest = gap > left;
        self.under_way = groups.map(|groups| Box::new(Wait { since: now, groups }));
        gap.min(left)
    }

    /// More has come; what was waited for.
    fn take_wait(&mut self) -> Option<Wait> {
        self.under_way.take().map(|wait| *wait)
    }
}

impl Connection {
    /// How far incomplete groups may be held now, with `tail` behind what was read.
    pub(super) fn holding(&self, tail: &Tail) -> Holding {
        let policy = self.shared.context.policy();
        if policy.groups().is_empty() {
            return Holding::default();
        }
        let is_held_up = self.exchange.is_held_up();
        let more_can_come = !self.input.ended && !self.exchange.is_whole();
        let ends = !more_can_come || matches!(tail, Tail::Error(_) | Tail::Large) || is_held_up;
        Holding {
            willing: !policy.hold.gap.is_zero() && self.hold.patience.is_willing() && !ends,
            across: self.hold.patience.is_willing_across(),
            over: self.hold.is_over(),
            // Also while more keeps coming.
            overdue: if is_held_up { Some(clock::now()) } else { clock::now().checked_sub(policy.hold.max) },
        }
    }

    /// Leaves what was planned to be held in the batch, and takes the rest out of it.
    pub(super) fn consume_planned(&mut self, plan: &Plan, places: &Places) {
        if plan.kept.is_empty() {
            return self.input.consume(plan.commands);
        }
        let (batch, now) = (&self.input.batch, clock::now());
        let kept: Vec<(usize, Held)> = plan
            .kept
            .iter()
            .map(|&(at, begins)| {
                let since = batch.held(at).map_or(now, |held| held.since);
                (at, Held { seq: places.of_held(at), since, begins })
            })
            .collect();
        self.input.consume_around(plan.commands, &kept);
    }

    /// Incomplete groups are held: waits for more, but not longer than the oldest may be held.
    pub(super) fn hold(&mut self, plan: &Plan) -> Next {
        let hold = self.shared.context.policy().hold;
        self.wait_within(plan, hold.gap)
    }

    /// Wait for more, for `longest` without a byte.
    pub(super) fn wait_within(&mut self, plan: &Plan, longest: Duration) -> Next {
        let max = self.shared.context.policy().hold.max;
        let oldest = self.input.batch.all_held().iter().map(|held| held.since).min();
        let left = oldest.map_or(max, |since| (since + max).saturating_duration_since(clock::now()));
        let groups = oldest.map(|_| plan.waiting().map(|(group, _)| group).collect());
        let longest = self.hold.wait(longest, left, groups, clock::now());
        self.exchange.acknowledge();
        Next::ReadWithin(longest)
    }

    /// More has come for what is held.
    pub(super) fn note_gap(&mut self) {
        let Some(wait) = self.hold.take_wait() else { return };
        let (metrics, gap) = (&self.shared.context.metrics, Instant::now().saturating_duration_since(wait.since));
        metrics.hold_gap(gap);
        // Under other rules the places of groups would mean other groups.
        if self.rules == self.shared.context.policy_number() {
            wait.groups.iter().for_each(|&group| metrics.group_gap(metrics.group_row(group), gap));
        }
    }

    /// Tells what a plan has found out about groups that were held, or whose members stand apart.
    ///
    /// `has_group` says that a group was there as a whole.
    pub(super) fn tell_notes(&mut self, plan: &mut Plan, has_group: bool) {
        if has_group {
            self.hold.patience.forgive();
        }
        // One wait ends for all that is held.
        self.hold.patience.note_plan(plan.notes.iter().any(|note| matches!(note, Note::Expired { .. })));
        for note in std::mem::take(&mut plan.notes) {
            let metrics = &self.shared.context.metrics;
            match note {
                Note::Held { members, .. } => metrics.hold_prefix(members),
                Note::Completed { group } => {
                    metrics.hold(metrics.group_row(group), HoldOutcome::Completed);
                    self.forget_near_miss(group);
                }
                Note::Broken { group, members, why } => {
                    metrics.hold(metrics.group_row(group), HoldOutcome::Broken);
                    if let Some(why) = why {
                        metrics.split(members.len());
                        let members = plan.members[members].to_vec();
                        self.tell(why.kind(), group, &members, Some(why.as_str()));
                    }
                    self.tell_waiting_near_miss(group);
                }
                Note::NearMiss { group, members, place, waiting, why } => {
                    let violation = self.violation(Kind::NearMiss, group, &plan.members[members]);
                    let violation = violation.map(|violation| violation.place(place).reason(Some(String::from(why))));
                    if let Some(violation) = violation {
                        self.note_near_miss(group, violation, waiting);
                    }
                }
                Note::Expired { group, members } => {
                    metrics.hold(metrics.group_row(group), HoldOutcome::Expired);
                    metrics.split(members.len());
                    let members = plan.members[members].to_vec();
                    self.tell(Kind::Split, group, &members, None);
                    self.expire(group, &members);
                    self.tell_waiting_near_miss(group);
                }
                Note::Degraded { group, members, lack } => {
                    let members = plan.members[members].to_vec();
                    self.tell(Kind::Degraded, group, &members, Some(lack.as_str()));
                }
                Note::LeftOut { group, members, why } => {
                    let members = plan.members[members].to_vec();
                    self.tell(Kind::Split, group, &members, Some(why.as_str()));
                }
                Note::Obstructed { group, members, why } => {
                    metrics.split(members.len());
                    let members = plan.members[members].to_vec();
                    self.tell(why.kind(), group, &members, Some(why.as_str()));
                }
            }
        }
    }

    fn expire(&mut self, group: usize, members: &[usize]) {
        let mut bytes = Vec::new();
        for &at in members {
            let args = self.input.args(at);
            let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..arg.len().min(EXPIRED_ARGUMENT_BYTES_MAX)]).collect();
            encode::request(&mut bytes, &args);
            if bytes.len() > EXPIRED_BYTES_MAX {
                break;
            }
        }
        self.hold.patience.expire(Expired { group, members: members.len(), bytes });
    }

    /// Three times the next member came only after the reply to the prefix: the client sends one
    /// command after the other, and will not be waited for again.
    pub(super) fn look_for_sequence(&mut self) {
        let Some(expired) = self.hold.patience.last_expired() else { return };
        if self.exchange.is_resolved() && self.continues(&expired) && self.hold.patience.strike() {
            self.tell(Kind::Sequential, expired.group, &[0], None);
        }
    }

    /// The rules have changed: the place of the group that is remembered means nothing any more.
    pub(super) fn follow_rules(&mut self) {
        let rules = self.shared.context.policy_number();
        if std::mem::replace(&mut self.rules, rules) != rules {
            self.hold.patience.last_expired();
            self.near_misses = None;
        }
    }

    /// Whether what has come now goes on where the prefix ended.
    fn continues(&self, before: &Expired) -> bool {
        let next = self.input.wire(0..1);
        let all = [&before.bytes, next].concat();
        let context = &self.shared.context;
        let (table, policy) = (context.table(), context.policy());
        let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
        batch.parse(&mut parser, &table, &all, usize::MAX);
        let recognised =
            policy.recognise(&table, &mut |i| (i < batch.len()).then(|| Member { id: batch.id(i), args: batch.args(&all, i) }));
        match recognised {
            Recognition::Prefix { group: seen, members: now, .. } | Recognition::Whole { group: seen, members: now, .. } => {
                seen == before.group && now > before.members
            }
            Recognition::None | Recognition::Begun => false,
        }
    }

    fn tell(&self, kind: Kind, group: usize, members: &[usize], reason: Option<&'static str>) {
        if let Some(violation) = self.violation(kind, group, members) {
            self.shared.context.reporter.violation(violation.reason(reason), &self.exchange.peer);
        }
    }

    fn violation(&self, kind: Kind, group: usize, members: &[usize]) -> Option<Violation> {
        let (table, policy) = (self.shared.context.table(), self.shared.context.policy());
        let rule = &policy.groups().get(group)?.name;
        let known = || members.iter().copied().filter(|at| *at < self.input.batch.len());
        let mut violation =
            Violation::new(kind).rule(rule).commands(known().map(|at| table.spec(self.input.batch.id(at)).name()));
        let members = known().map(|at| Member { id: self.input.batch.id(at), args: self.input.args(at) });
        if let Some(keys) = NamedKeys::of(&policy, &table, members) {
            keys.name_in(&mut violation);
        }
        Some(violation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_millis(20);

    #[test]
    fn a_gap_ends_the_wait_for_all_that_is_held() {
        let mut hold = Hold::default();
        assert_eq!(hold.wait(GAP, LONG, None, Instant::now()), GAP);
        assert!(!hold.is_over());
        hold.end_wait();
        assert!(hold.is_over());
        hold.begin_again();
        assert!(!hold.is_over());
    }

    #[test]
    fn the_longest_wait_ends_for_the_oldest_alone() {
        let mut hold = Hold::default();
        assert_eq!(hold.wait(LONG, GAP, None, Instant::now()), GAP);
        hold.end_wait();
        assert!(!hold.is_over(), "what was held later has time left");
        assert_eq!(hold.wait(GAP, GAP, None, Instant::now()), GAP);
        hold.end_wait();
        assert!(hold.is_over());
    }

    #[test]
    fn what_was_waited_for_is_told_once() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.wait(GAP, LONG, Some(vec![3]), now);
        assert_eq!(hold.take_wait(), Some(Wait { since: now, groups: vec![3] }));
        assert_eq!(hold.take_wait(), None);
        hold.wait(GAP, LONG, None, now);
        assert_eq!(hold.take_wait(), None, "a request that is not whole yet belongs to no group");
    }

    #[test]
    fn a_client_that_is_refused_room_waits_for_nothing_more() {
        let mut hold = Hold::default();
        hold.wait(LONG, GAP, None, Instant::now());
        hold.end();
        assert!(hold.is_over());
    }
}
