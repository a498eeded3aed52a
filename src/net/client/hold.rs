//! Holds incomplete groups until their remaining members arrive, and reports members that come late or never.

use std::time::Instant;

use super::connection::Connection;
use crate::net::clock;
use crate::telemetry::label::HoldOutcome;
use respguard_engine::pipeline::named_keys::NamedKeys;
use respguard_engine::pipeline::plan::{Note, Plan};
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_engine::policy::Member;

impl Connection {
    /// Who has gone has sent what is held, and what stands behind it: a server that got it would run it. Nothing else comes.
    pub(super) fn let_go_of_held(&mut self) {
        if self.exchange.ended().is_some() {
            self.input.ended = true;
            self.dialogue.end();
            self.advance();
        }
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
                    drop(self.take_near_miss(group));
                }
                Note::Broken { group, members, why } => {
                    metrics.hold(metrics.group_row(group), HoldOutcome::Broken);
                    if let Some(why) = why {
                        metrics.split(members.len());
                        self.report(why.kind(), group, &plan.members[members], Some(why.as_str()));
                    }
                    let near_miss = self.take_near_miss(group);
                    self.report_near_miss(near_miss);
                }
                Note::NearMiss { group, members, place, waiting, why } => {
                    let violation = self.violation(Kind::NearMiss, group, &plan.members[members]);
                    match violation.map(|violation| violation.place(place).reason(Some(String::from(why)))) {
                        // Some of its commands wait for what may make them a group after all.
                        Some(near_miss) if waiting => self.near_misses.get_or_insert_default().wait(group, near_miss),
                        near_miss => self.report_near_miss(near_miss),
                    }
                }
                Note::Expired { group, members } => {
                    metrics.hold(metrics.group_row(group), HoldOutcome::Expired);
                    metrics.split(members.len());
                    self.report(Kind::Split, group, &plan.members[members], None);
                    let near_miss = self.take_near_miss(group);
                    self.report_near_miss(near_miss);
                }
                Note::Degraded { group, members, lack } => {
                    self.report(Kind::Degraded, group, &plan.members[members], Some(lack.as_str()));
                }
                Note::LeftOut { group, members, why } => {
                    self.report(Kind::Split, group, &plan.members[members], Some(why.as_str()));
                }
                Note::Obstructed { group, members, why } => {
                    metrics.split(members.len());
                    self.report(why.kind(), group, &plan.members[members], Some(why.as_str()));
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

    /// That of the group whose rest was waited for.
    fn take_near_miss(&mut self, group: usize) -> Option<Violation> {
        self.near_misses.as_mut()?.take(group)
    }

    fn report_near_miss(&mut self, near_miss: Option<Violation>) {
        let Some(near_miss) = near_miss else { return };
        let now = clock::now();
        if near_miss.rule.as_ref().is_some_and(|rule| self.near_misses.get_or_insert_default().admits(rule, now)) {
            self.shared.context.reporter.violation(near_miss, self.exchange.peer());
        }
    }
}
