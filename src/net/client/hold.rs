//! Holds incomplete groups until their remaining members arrive, and reports members that come late or never.

use std::time::Instant;

use super::connection::Connection;
use crate::net::clock;
use crate::net::exchange::Places;
use crate::telemetry::label::HoldOutcome;
use respguard_engine::pipeline::batch::Tail;
use respguard_engine::pipeline::named_keys::NamedKeys;
use respguard_engine::pipeline::plan::{Holding, Note, Plan};
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_engine::policy::Member;

impl Connection {
    /// How far incomplete groups may be held now, with `tail` behind what was read.
    pub(super) fn holding(&self, tail: &Tail) -> Holding {
        let policy = self.shared.context.policy();
        if policy.groups().is_empty() {
            return Holding::default();
        }
        let is_held_up = self.exchange.is_held_up();
        let more_can_come = !self.input.ended && !self.exchange.is_whole();
        let ends = !more_can_come || matches!(tail, Tail::Error(_) | Tail::Large);
        self.hold.holding(policy.hold, ends, is_held_up, clock::now())
    }

    /// Leaves what was planned to be held in the batch, and takes the rest out of it.
    pub(super) fn consume_planned(&mut self, plan: &Plan, places: &Places) {
        if plan.kept.is_empty() {
            return self.input.consume(plan.commands);
        }
        let held = plan.held(&self.input.batch, |at| places.of_held(at), clock::now());
        self.input.consume_around(plan.commands, &held);
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
        self.hold.note_plan(plan, has_group);
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
                    self.hold.expire(group, &members, &self.input.batch, &self.input.bytes);
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

    /// Three times the next member came only after the reply to the prefix: the client sends one
    /// command after the other, and will not be waited for again.
    pub(super) fn look_for_sequence(&mut self) {
        let group = {
            let (table, policy) = (self.shared.context.table(), self.shared.context.policy());
            self.hold.finds_sequence(self.exchange.is_resolved(), self.input.wire(0..1), &table, &policy)
        };
        if let Some(group) = group {
            self.tell(Kind::Sequential, group, &[0], None);
        }
    }

    /// The rules have changed: the place of the group that is remembered means nothing any more.
    pub(super) fn follow_rules(&mut self) {
        let rules = self.shared.context.policy_number();
        if std::mem::replace(&mut self.rules, rules) != rules {
            self.hold.forget_expired();
            self.near_misses = None;
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
