//! Creates the steps of groups: wrapped, with a preflight, refused or unchanged.

use std::ops::Range;

use super::{Barrier, Gathered, Note, Planner, Role, Step};
use crate::command::PlainKeys;
use crate::pipeline::finding::Unwrapped;
use crate::pipeline::guard::Guard;
use crate::pipeline::in_doubt::takes_marker;
use crate::pipeline::refusal::Refusal;
use crate::policy::{Atomic, OnUnsupported};
use crate::preflight::{self, Ability, Fault, Once, Preflight, Rollback};

impl Planner<'_> {
    /// A member of a gathered group: the last one takes the others with it, if the group is whole.
    pub(super) fn pass_claimed(&mut self, at: usize, gathered: &Gathered) {
        self.end_run(at);
        self.run = at + 1;
        self.plan.roles.push(Role::Member);
        let members = gathered.members.clone();
        if gathered.whole && self.plan.members[members.end - 1] == at {
            self.note_completed(self.plan.members[members.start], gathered.group);
            self.push_wrapped(members, gathered.group);
        }
    }

    /// What has been planned and not gone out waits.
    pub(super) fn keep(&mut self) {
        let all_wait_from = self.plan.waits_from.unwrap_or(usize::MAX);
        for at in 0..self.plan.commands.min(self.plan.claims.len()).min(all_wait_from) {
            let Some(gathered) = self.claim(at) else { continue };
            let members = &self.plan.members[gathered.members.clone()];
            let gone = gathered.whole && members.last().is_some_and(|last| *last < self.plan.commands);
            let begins = members.first() == Some(&at);
            if !gone {
                self.plan.kept.push((at, begins));
            }
        }
        for at in all_wait_from..self.plan.commands {
            if self.is_answered(at) {
                continue;
            }
            let begins =
                self.claim(at).is_some_and(|gathered| !gathered.whole && self.plan.members[gathered.members.start] == at);
            self.plan.kept.push((at, begins));
        }
        if !self.plan.kept.is_empty() && self.plan.turn.is_none() {
            self.plan.turn = Some(if self.more { Barrier::Wait } else { Barrier::Hold });
        }
    }

    /// The commands are a group, which goes out `bare` where its members must be sent as they came.
    pub(super) fn push_group(&mut self, group: usize, commands: Range<usize>, bare: bool) {
        let unwrapped = if bare { Some(Unwrapped::Caching) } else { self.obstacle_to_wrapping() };
        let unwrapped = unwrapped.or_else(|| self.obstacle_of(group, commands.clone()));
        if !self.is_observed(group) && unwrapped.is_none() {
            self.plan.roles.extend(commands.clone().map(|_| Role::Member));
            self.note_completed(commands.start, group);
            let members = self.plan.keep_members(commands);
            self.push_wrapped(members, group);
        } else {
            let members: Vec<usize> = commands.clone().collect();
            if self.refuse_group(&members, group) {
                self.plan.roles.extend(commands.map(|_| Role::ProxyReply));
            } else {
                for at in commands.clone() {
                    let role = self.checked(at);
                    self.plan.roles.push(role);
                }
                let unwrapped = unwrapped.filter(|_| !self.is_observed(group));
                self.with_probes(commands.clone(), Step::Watch { commands, group, unwrapped });
            }
        }
    }

    /// Why no group of this client can have a transaction now, if so.
    fn obstacle_to_wrapping(&self) -> Option<Unwrapped> {
        if !self.rules.transactions {
            return Some(Unwrapped::NoTransactions);
        }
        (!self.session.transaction.is_idle()).then_some(Unwrapped::Watched)
    }

    /// Likewise, of these members.
    fn obstacle_of(&self, group: usize, members: Range<usize>) -> Option<Unwrapped> {
        let crosses = self.rules.slots && self.passes_crossed(group, &members.collect::<Vec<_>>());
        crosses.then_some(Unwrapped::CrossSlot)
    }

    fn push_wrapped(&mut self, members: Range<usize>, group: usize) {
        let commands = std::mem::take(&mut self.plan.members);
        let refused = self.refuse_group(&commands[members.clone()], group);
        self.plan.members = commands;
        if refused {
            return;
        }
        let refused = self.refusal_of_form(members.clone(), group);
        let preflight = match refused.map_or_else(|| self.guard(members.clone(), group), Err) {
            Ok(preflight) => preflight,
            Err(refusal) => return self.plan.steps.push(Step::RefuseGroup { members, group, refusal }),
        };
        self.fenced |= takes_marker(self.group(group), self.session, self.rules.slots);
        let commands = std::mem::take(&mut self.plan.members);
        let added = self.ttl_fix_group(&commands[members.clone()]).boxed();
        let step = match preflight {
            Some(preflight) => Step::Guard { members: members.clone(), group, guard: Box::new(Guard::new(preflight)), added },
            None => Step::Wrap { members: members.clone(), group, added },
        };
        self.with_probes(commands[members].iter().copied(), step);
        self.plan.members = commands;
    }

    /// Why a group cannot go out, whatever its keys hold.
    pub(in crate::pipeline) fn refusal_of_form(&self, members: Range<usize>, group: usize) -> Option<Refusal> {
        let malformed = self.malformed(members.clone(), group).map(Refusal::Member);
        malformed.or_else(|| self.crossing(&self.plan.members[members]).map(Refusal::Crossed))
    }

    /// The member of a run whose keys cannot be read, and what it would answer: whatever it was meant to do to them would be
    /// missing, at any level.
    fn malformed(&self, members: Range<usize>, group: usize) -> Option<preflight::Refusal> {
        if !self.group(group).is_run() {
            return None;
        }
        let table = self.rules.table;
        self.plan.members[members].iter().enumerate().find_map(|(member, &at)| {
            let (id, args) = (self.batch.id(at), self.args(at));
            let malformed = table.spec(id).plain_keys(args, &mut |_| {}) == PlainKeys::Malformed;
            let refusal = malformed.then(|| preflight::examine(table, std::iter::once((id, args))).err())??;
            matches!(refusal.fault, Fault::Certain(_)).then_some(preflight::Refusal { member, ..refusal })
        })
    }

    /// The preflight of the group, if it needs one and may go out.
    fn guard(&mut self, members: Range<usize>, group: usize) -> Result<Option<Preflight>, Refusal> {
        if !matches!(self.group(group).atomic, Atomic::Guarded | Atomic::Rollback) {
            return Ok(None);
        }
        match self.rules.ability {
            Ability::Able => self.examine(members, group).map_err(Refusal::Member),
            Ability::Lacking(lack) => {
                if self.group(group).on_unsupported == OnUnsupported::Transaction {
                    self.plan.notes.push(Note::Degraded { group, members, lack });
                    return Ok(None);
                }
                Err(Refusal::Lacking(lack))
            }
            Ability::Unknown | Ability::Silent => Err(Refusal::Silent),
        }
    }

    /// The preflight that the members need; none where nothing that their keys hold can make one fail.
    fn examine(&self, members: Range<usize>, group: usize) -> Result<Option<Preflight>, preflight::Refusal> {
        let (table, commands) = (self.rules.table, &self.plan.members[members]);
        let required = self.group(group).requirements(table, &mut |i| commands.get(i).map(|&at| self.member(at)));
        let once = self.once(commands, group);
        let commands = commands.iter().map(|&at| (self.batch.id(at), self.args(at)));
        let rule = self.group(group);
        if rule.atomic == Atomic::Rollback {
            let rollback = Rollback::of(table, commands.clone(), rule.rollback_bytes_max)?;
            let checks = preflight::only_required(table, commands, required)?;
            let mut preflight = Preflight::new(&checks);
            preflight.set_once(once);
            preflight.set_rollback(rollback);
            return Ok(Some(preflight));
        }
        let checks = preflight::examine_required(table, commands, required)?;
        Ok(Preflight::of(&checks, once))
    }

    /// The marker of a group that is applied once.
    pub(in crate::pipeline) fn once(&self, commands: &[usize], group: usize) -> Option<Once> {
        let (table, policy) = (self.rules.table, self.rules.policy);
        let rule = &policy.groups()[group];
        let identity = rule.identity(table, &mut |i| commands.get(i).map(|&at| self.member(at)), commands.len())?;
        let key = commands.iter().find_map(|&at| preflight::first_key(table.spec(self.batch.id(at)), self.args(at)));
        let lifetime = rule.once.as_ref()?.lifetime;
        Some(Once::new(&policy.guard_prefix, key.unwrap_or_default(), &rule.name, &identity, lifetime))
    }

    pub(in crate::pipeline) fn note_completed(&mut self, first: usize, group: usize) {
        if self.batch.held(first).is_some_and(|held| held.begins) {
            self.plan.notes.push(Note::Completed { group });
        }
    }
}
