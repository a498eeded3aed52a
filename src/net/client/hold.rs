//! Holds incomplete groups until their remaining members arrive, and reports members that come late or never.

use std::time::Instant;

use super::connection::Connection;
use crate::net::clock;
use crate::net::exchange::Places;
use crate::telemetry::label::HoldOutcome;
use respguard_engine::pipeline::named_keys::NamedKeys;
use respguard_engine::pipeline::plan::{Note, Plan};
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_engine::policy::Member;

impl Connection {
    /// Leaves what was planned to be held in the batch, and takes the rest out of it.
    pub(super) fn consume_planned(&mut self, plan: &Plan, places: &Places) {
        self.input.take_out(plan, |at| places.of_held(at), clock::now());
    }

    /// More has come for what is held.
    pub(super) fn note_gap(&mut self) {
        let Some(wait) = self.dialogue.take_wait() else { return };
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
    pub(super) fn report_notes(&mut self, plan: &mut Plan, has_group: bool) {
        self.dialogue.note(plan, has_group, &self.input.batch, &self.input.bytes);
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
                        self.report(why.kind(), group, &members, Some(why.as_str()));
                    }
                    self.report_waiting_near_miss(group);
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
                    self.report(Kind::Split, group, &members, None);
                    self.report_waiting_near_miss(group);
                }
                Note::Degraded { group, members, lack } => {
                    let members = plan.members[members].to_vec();
                    self.report(Kind::Degraded, group, &members, Some(lack.as_str()));
                }
                Note::LeftOut { group, members, why } => {
                    let members = plan.members[members].to_vec();
                    self.report(Kind::Split, group, &members, Some(why.as_str()));
                }
                Note::Obstructed { group, members, why } => {
                    metrics.split(members.len());
                    let members = plan.members[members].to_vec();
                    self.report(why.kind(), group, &members, Some(why.as_str()));
                }
            }
        }
    }

    /// A batch is about to be planned. Three times the next member came only after the reply to the prefix: the client sends one
    /// command after the other, and will not be waited for again.
    pub(super) fn begin_batch(&mut self) {
        let group = {
            let (table, policy) = (self.shared.context.table(), self.shared.context.policy());
            self.dialogue.begin(self.exchange.is_resolved(), &self.input.batch, &self.input.bytes, &table, &policy)
        };
        if let Some(group) = group {
            self.report(Kind::Sequential, group, &[0], None);
        }
    }

    /// The rules have changed: the place of the group that is remembered means nothing any more.
    pub(super) fn follow_rules(&mut self) {
        let rules = self.shared.context.policy_number();
        if std::mem::replace(&mut self.rules, rules) != rules {
            self.dialogue.forget_expired();
            self.near_misses = None;
        }
    }

    fn report(&self, kind: Kind, group: usize, members: &[usize], reason: Option<&'static str>) {
        if let Some(violation) = self.violation(kind, group, members) {
            self.shared.context.reporter.violation(violation.reason(reason), self.exchange.peer());
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

    /// Tells of it, unless some of its commands wait for what may make them a group after all.
    pub(super) fn note_near_miss(&mut self, group: usize, violation: Violation, waiting: bool) {
        if waiting {
            return self.near_misses.get_or_insert_default().wait(group, violation);
        }
        self.report_near_miss(violation);
    }

    /// The rest of the group has not come.
    pub(super) fn report_waiting_near_miss(&mut self, group: usize) {
        if let Some(violation) = self.near_misses.as_mut().and_then(|near_misses| near_misses.take(group)) {
            self.report_near_miss(violation);
        }
    }

    /// The rest of the group has come.
    pub(super) fn forget_near_miss(&mut self, group: usize) {
        if let Some(near_misses) = &mut self.near_misses {
            near_misses.take(group);
        }
    }

    fn report_near_miss(&mut self, violation: Violation) {
        let Some(rule) = &violation.rule else { return };
        if self.near_misses.get_or_insert_default().admits(rule, clock::now()) {
            self.shared.context.reporter.violation(violation, self.exchange.peer());
        }
    }
}
