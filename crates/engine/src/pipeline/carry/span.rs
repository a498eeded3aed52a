//! The step of a transaction that holds what stands between the members of groups.

use std::ops::Range;

use super::{Before, Refused};
use crate::pipeline::gather::Gathered;
use crate::pipeline::plan::{Planner, Span, SpanGroup, Step};
use crate::pipeline::refusal::Refusal;
use crate::pipeline::slot::Role;
use crate::policy::Atomic;

impl Planner<'_> {
    /// Makes the step of the transaction; gives the command behind it, or the same one again where something of it was
    /// refused.
    pub(super) fn push_span(&mut self, at: usize, end: usize, before: Before) -> usize {
        if self.refuse_of_span(at, end, before) {
            return at;
        }
        let commands: Vec<usize> = (at..end).filter(|at| !self.is_answered(*at)).collect();
        let mut groups = self.span_groups(&commands, before);
        let preflight = match self.guard_span(&commands, &mut groups, before) {
            Ok(preflight) => preflight,
            Err(refused) => {
                self.end_run(at);
                self.refuse_gathered(&refused, before);
                return at;
            }
        };
        self.end_run(at);
        self.note_slow(at..end);
        if self.rules.policy.has_rules_of_commands() {
            let behind = self.behind(end - 1);
            for (place, &command) in commands.iter().enumerate() {
                self.note_flags(command);
                self.rewrite_ttl(command, commands[place + 1..].iter().copied().chain(behind.clone()));
                self.pack(command);
            }
        }
        for place in before.gathered..self.plan.gathered.len() {
            let gathered = self.plan.gathered[place].clone();
            self.note_completed(self.plan.members[gathered.first], gathered.group);
        }
        let first = self.plan.members.len();
        self.plan.members.extend(&commands);
        self.push_span_roles(at..end);
        let added = self.ttl_fix_group(&commands);
        let all = first..self.plan.members.len();
        let step = Step::Span(Box::new(Span { commands: all, groups, preflight: preflight.map(Box::new), added }));
        self.with_probes(commands.iter().copied(), step);
        self.skip(end);
        self.fenced = true;
        end
    }

    fn span_groups(&self, commands: &[usize], before: Before) -> Vec<SpanGroup> {
        let gathered = &self.plan.gathered[before.gathered..];
        let group = |gathered: &Gathered| {
            let members = &self.plan.members[gathered.first..gathered.first + gathered.members];
            let place = |member: &usize| commands.binary_search(member).ok().and_then(|place| u32::try_from(place).ok());
            let guarded = self.rules.policy.groups()[gathered.group].atomic == Atomic::Guarded;
            SpanGroup { group: gathered.group, places: members.iter().filter_map(place).collect(), guarded }
        };
        gathered.iter().map(group).collect()
    }

    /// What rules do not let pass of the transaction is answered; true if there was something.
    fn refuse_of_span(&mut self, at: usize, end: usize, before: Before) -> bool {
        for place in before.gathered..self.plan.gathered.len() {
            let gathered = self.plan.gathered[place].clone();
            let members = self.plan.members[gathered.first..gathered.first + gathered.members].to_vec();
            if let Some(refusal) = self.malformed(gathered.first..gathered.first + gathered.members, gathered.group) {
                self.end_run(at);
                self.refuse_gathered(&Refused { gathered: place, refusal: Refusal::Member(refusal) }, before);
                return true;
            }
            let mut behind = members.iter().enumerate();
            let has_rules = self.rules.policy.has_rules_of_commands();
            if has_rules && behind.any(|(member, &at)| self.refusal(at, members[member + 1..].iter().copied()).is_some()) {
                self.end_run(at);
                self.refuse_group(&members, gathered.group);
                self.undo(before);
                members.iter().for_each(|&member| self.mark_answered(member));
                return true;
            }
        }
        if !self.rules.policy.has_rules_of_commands() {
            return false;
        }
        let riders = (at..end).filter(|rider| !self.is_claimed(*rider));
        let refused = riders.into_iter().find_map(|rider| Some((rider, self.refusal(rider, self.behind(rider))?)));
        let Some((rider, refusal)) = refused else { return false };
        self.end_run(at);
        self.undo(before);
        self.refuse_alone(rider, &refusal);
        self.mark_answered(rider);
        true
    }

    /// Nothing of the group is sent; what else was to go with it is planned again.
    fn refuse_gathered(&mut self, refused: &Refused, before: Before) {
        let gathered = self.plan.gathered[refused.gathered].clone();
        let members = self.plan.members[gathered.first..gathered.first + gathered.members].to_vec();
        self.undo(before);
        let first = self.plan.members.len();
        self.plan.members.extend(&members);
        let (range, group) = (first..self.plan.members.len(), gathered.group);
        self.note_completed(members[0], group);
        self.plan.steps.push(Step::RefuseGroup { members: range, group, refusal: refused.refusal.clone() });
        members.iter().for_each(|&member| self.mark_answered(member));
    }

    /// What stands before a command that has been answered, and is not planned, waits: the answered one is done with.
    pub(in super::super) fn keep_before_answered(&mut self) {
        let planned = self.plan.commands;
        let Some(last) = (planned..self.plan.claims.len()).rev().find(|at| self.is_answered(*at)) else { return };
        self.push_span_roles(planned..last + 1);
        for at in planned..last {
            if !self.is_answered(at) {
                self.plan.kept.push((at, false));
            }
        }
        self.plan.commands = last + 1;
    }

    pub(super) fn push_span_roles(&mut self, commands: Range<usize>) {
        for at in commands {
            let role = if self.is_answered(at) { Role::Own } else { Role::Member };
            self.plan.roles.push(role);
        }
    }
}
