//! Holds the beginning of a group for its rest, and tells when the rest comes late or never.

use super::connection::{Connection, Next};
use crate::engine::pipeline::batch::Batch;
use crate::engine::pipeline::plan::{Step, Turn};
use crate::engine::pipeline::violation::{Kind, Violation};
use crate::engine::policy::{Member, Recognition};
use crate::engine::resp::request::{Limits, RequestParser};
use crate::net::clock;
use crate::telemetry::label::HoldOutcome;

/// Bytes of an expired prefix that are kept for comparison with what comes next.
const EXPIRED_BYTES_MAX: usize = 4096;

impl Connection {
    /// What stands at the end begins a group: wait for the rest, unless the wait is over.
    pub(super) fn hold(&mut self, group: usize, members: usize) -> Next {
        let hold = self.around.context.policy().hold;
        Next::ReadWithin(self.patience.hold(clock::now(), group, members, hold.gap, hold.max))
    }

    /// After each plan: a hold that is over otherwise than by its timer has found its rest, or
    /// something else; a whole group in one go takes back what was thought of the client.
    pub(super) fn note_patience(&mut self, turn: Option<Turn>) {
        let wrapped = self.plan.steps.iter().find_map(|step| match step {
            Step::Wrap { group, .. } => Some(*group),
            _ => None,
        });
        if !matches!(turn, Some(Turn::Hold { .. } | Turn::Wait))
            && let Some(held) = self.patience.end_hold()
        {
            let outcome = if wrapped == Some(held) { HoldOutcome::Completed } else { HoldOutcome::Broken };
            self.count_hold(held, outcome);
        }
        if wrapped.is_some() {
            self.patience.forgive();
        }
    }

    /// The wait is over: the prefix goes out alone.
    pub(super) fn tell_split(&mut self) {
        let bytes = &self.input[..self.batch.whole_bytes().min(EXPIRED_BYTES_MAX)];
        let Some(expired) = self.patience.expire(bytes) else { return };
        self.count_hold(expired.group, HoldOutcome::Expired);
        self.tell(Kind::Split, expired.group, expired.members);
    }

    /// Three times the next member came only after the reply to the prefix: the client sends one
    /// command after the other, and will not be waited for again.
    pub(super) fn look_for_sequence(&mut self) {
        let Some((group, members, bytes)) = self.patience.last_expired() else { return };
        if self.exchange.is_settled() && self.continues(group, members, &bytes) && self.patience.strike() {
            self.tell(Kind::Sequential, group, members);
        }
    }

    /// The rules have changed: the places of groups that are remembered mean nothing any more.
    pub(super) fn follow_rules(&mut self) {
        let rules = self.around.context.policy_number();
        if std::mem::replace(&mut self.rules, rules) != rules {
            self.patience.forget();
        }
    }

    fn count_hold(&self, group: usize, outcome: HoldOutcome) {
        let tally = &self.around.context.tally;
        tally.hold(tally.group_row(group), outcome);
    }

    /// Whether what has come now goes on where the prefix in `before` ended.
    fn continues(&self, group: usize, members: usize, before: &[u8]) -> bool {
        let next = &self.input[self.batch.wire(0..1)];
        let all = [before, next].concat();
        let context = &self.around.context;
        let (table, policy) = (context.table(), context.policy());
        let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
        batch.parse(&mut parser, &table, &all, usize::MAX);
        let recognised =
            policy.recognise(&table, &mut |i| (i < batch.len()).then(|| Member { id: batch.id(i), args: batch.args(&all, i) }));
        match recognised {
            Recognition::Prefix { group: seen, members: now, .. } | Recognition::Whole { group: seen, members: now, .. } => {
                seen == group && now > members
            }
            Recognition::None => false,
        }
    }

    fn tell(&self, kind: Kind, group: usize, members: usize) {
        let context = &self.around.context;
        let commands =
            (0..members.min(self.batch.len())).map(|at| context.table().spec(self.batch.id(at)).name().into()).collect();
        let Some(rule) = context.policy().groups().get(group).map(|group| group.name.clone()) else { return };
        context.reporter.violation(Violation { rule: Some(rule), commands, ..Violation::new(kind) }, &self.exchange.peer);
    }
}
