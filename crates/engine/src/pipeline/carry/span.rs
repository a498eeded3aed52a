//! The plan step of a transaction that contains carried commands.

use std::ops::Range;

use super::{Before, Refused};
use crate::pipeline::guard::Guard;
use crate::pipeline::in_doubt::takes_marker;
use crate::pipeline::plan::{Gathered, Planner, Span, SpanGroup, Step};
use crate::pipeline::slot::Role;
use crate::policy::{Atomic, Recognition};

impl Planner<'_> {
    /// Makes the step of the transaction; gives the command behind it, or the same one again where something of it was
    /// refused.
    pub(super) fn push_span(&mut self, at: usize, end: usize, before: Before) -> usize {
        if self.refuse_of_span(at, end, before) {
            return at;
        }
        let all: Vec<usize> = (at..end).filter(|at| !self.is_answered(*at)).collect();
        let count = all.len();
        let commands = self.of_one_slot(all);
        let is_part = commands.len() < count;
        let mut groups = self.span_groups(&commands, before);
        let preflight = match self.guard_span(&commands, &mut groups, before) {
            Ok(preflight) => preflight,
            Err(refused) => {
                self.end_run(at);
                self.refuse_gathered(&refused, before);
                return at;
            }
        };
        // Those of other slots come later.
        groups.retain(|group| !group.places.is_empty());
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
            if commands.contains(&self.plan.members[gathered.members.start]) {
                self.note_completed(self.plan.members[gathered.members.start], gathered.group);
            }
        }
        let observed = self.observed_in_span(&commands);
        let all = self.plan.keep_members(commands.iter().copied());
        if !is_part {
            self.push_span_roles(at..end);
        }
        let added = self.ttl_fix_group(&commands);
        let is_marked = |group: &SpanGroup| takes_marker(self.group(group.group), self.session, self.rules.slots);
        let is_bare = preflight.is_none() && added.injected.is_empty() && !groups.iter().any(is_marked);
        self.reads_ahead = self.rules.reads_ahead && !self.rules.slots && is_bare;
        let guard = preflight.map(|preflight| Box::new(Guard::new(preflight)));
        let step = Step::Span(Box::new(Span { commands: all, groups, observed, guard, added }));
        self.with_probes(commands.iter().copied(), step);
        self.fenced = true;
        if is_part {
            // The others, which have no order with these, are planned when it is over.
            self.release(before);
            commands.iter().for_each(|&sent| self.mark_answered(sent));
            return at;
        }
        self.skip(end);
        end
    }

    fn span_groups(&self, commands: &[usize], before: Before) -> Vec<SpanGroup> {
        let gathered = &self.plan.gathered[before.gathered..];
        let group = |gathered: &Gathered| {
            let members = &self.plan.members[gathered.members.clone()];
            let place = |member: &usize| commands.binary_search(member).ok().and_then(|place| u32::try_from(place).ok());
            let places: Vec<u32> = members.iter().filter_map(place).collect();
            let guarded = !places.is_empty() && self.group(gathered.group).atomic == Atomic::Guarded;
            SpanGroup { group: gathered.group, places, guarded }
        };
        gathered.iter().map(group).collect()
    }

    /// Groups that are only observed, among what is carried: side by side, as everywhere else.
    fn observed_in_span(&self, commands: &[usize]) -> Vec<SpanGroup> {
        let mut observed = Vec::new();
        if !(0..self.rules.policy.groups().len()).any(|group| self.is_observed(group)) {
            return observed;
        }
        let mut place = 0;
        while let Some(&at) = commands.get(place) {
            let found = (!self.is_claimed(at)).then(|| self.recognise(at));
            let Some(Recognition::Whole { group, members, .. }) = found else {
                place += 1;
                continue;
            };
            let is_within = commands.get(place + members - 1) == Some(&(at + members - 1));
            if members > 1 && is_within && self.is_observed(group) {
                let places = (place..place + members).filter_map(|place| u32::try_from(place).ok());
                observed.push(SpanGroup { group, places: places.collect(), guarded: false });
                place += members;
            } else {
                place += 1;
            }
        }
        observed
    }

    /// What rules do not let pass of the transaction is answered; true if there was something.
    fn refuse_of_span(&mut self, at: usize, end: usize, before: Before) -> bool {
        for place in before.gathered..self.plan.gathered.len() {
            let gathered = self.plan.gathered[place].clone();
            let members = self.plan.members[gathered.members.clone()].to_vec();
            let mut behind = members.iter().enumerate();
            if let Some(refusal) = self.refusal_of_form(gathered.members, gathered.group) {
                self.end_run(at);
                self.refuse_gathered(&Refused { gathered: place, refusal }, before);
                return true;
            }
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
        let others = (at..end).filter(|&other| !self.is_claimed(other));
        let refused = others.into_iter().find_map(|other| Some((other, self.refusal(other, self.behind(other))?)));
        let Some((other, refusal)) = refused else { return false };
        self.end_run(at);
        self.undo(before);
        self.refuse_alone(other, &refusal);
        self.mark_answered(other);
        true
    }

    /// Nothing of the group is sent; what else was to go with it is planned again.
    fn refuse_gathered(&mut self, refused: &Refused, before: Before) {
        let gathered = self.plan.gathered[refused.gathered].clone();
        let members = self.plan.members[gathered.members.clone()].to_vec();
        self.undo(before);
        let (range, group) = (self.plan.keep_members(members.iter().copied()), gathered.group);
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
            let role = if self.is_answered(at) { Role::ProxyReply } else { Role::Member };
            self.plan.roles.push(role);
        }
    }
}
