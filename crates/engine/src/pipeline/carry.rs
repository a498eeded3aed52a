//! Takes what stands between the members of groups into their transaction, in its place: nothing changes places.
//!
//! ```text
//!   A1  x  B1  A2  y  B2  z         A and B are groups; they share the transaction A1 x B1 A2 y B2, and z follows
//! ```
//!
//! Groups whose members stand between each other share one transaction. Where one of them is incomplete, all of it waits.

mod guarded;

use std::collections::HashMap;
use std::ops::Range;

use super::crossing::Slot;
use super::decide::{Decision, whole};
use super::gather::{Obstacle, Search};
use super::plan::{Note, Planner, Span, Step};
use super::refusal::Refusal;
use super::slot::Role;
use crate::command::Serves;
use crate::policy::{Atomic, Between, Recognition};

/// Commands that one transaction may have.
const COMMANDS_MAX: usize = 512;
/// Bytes that they may have together.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// So many commands further groups are followed, to know where the fewest are cut.
const AHEAD: usize = 256;
/// So many groups are taken out of one transaction, one after the other; then its first passes.
const DROPS_MAX: usize = 32;

/// What the plan held before a transaction was put together.
#[derive(Clone, Copy)]
struct Before {
    gathered: usize,
    members: usize,
    notes: usize,
}

/// The commands that would go into one transaction.
struct Built {
    /// Behind the last of them.
    end: usize,
    /// A group is incomplete, and all of it waits.
    waits: bool,
}

/// A group that stays out of the transaction, and why.
struct Dropped {
    group: usize,
    members: Vec<usize>,
    whole: bool,
    why: Obstacle,
}

/// What keeps a transaction from being sent so.
struct Flaw {
    /// The gathered groups that stay out.
    groups: Vec<usize>,
    why: Obstacle,
    /// Where it must end.
    end: Option<usize>,
}

/// The group of a transaction, by its place among the gathered ones, that is not sent.
struct Refused {
    gathered: usize,
    refusal: Refusal,
}

impl Planner<'_> {
    /// Whether what stands between the members of the group rides with them.
    pub(super) fn carries(&self, group: usize) -> bool {
        self.rules.policy.groups()[group].between == Between::Carry && self.may_be_apart(group)
    }

    /// The transaction that begins with the group that begins at `at`; `trailing`: it is whole, and what is optional is looked
    /// for behind other commands. `None`: nothing but that group, if it is one.
    pub(super) fn carry(&mut self, at: usize, trailing: bool) -> Option<Decision> {
        let plan = &self.plan;
        let before = Before { gathered: plan.gathered.len(), members: plan.members.len(), notes: plan.notes.len() };
        let (mut dropped, mut limit) = (Vec::new(), at + COMMANDS_MAX + AHEAD);
        let built = loop {
            let Some(built) = self.build_span(at, limit, before, trailing, &dropped) else {
                self.tell_dropped(&dropped, Some(at));
                return None;
            };
            let Some(flaw) = self.flaw(at, &built, before) else { break built };
            for gathered in flaw.groups {
                let gathered = self.plan.gathered[gathered].clone();
                let members = self.plan.members[gathered.first..gathered.first + gathered.members].to_vec();
                dropped.push(Dropped { group: gathered.group, members, whole: gathered.whole, why: flaw.why });
            }
            limit = flaw.end.unwrap_or(limit);
            if dropped.len() > DROPS_MAX {
                let first = self.plan.gathered[before.gathered].clone();
                let members = self.plan.members[first.first..first.first + first.members].to_vec();
                dropped.push(Dropped { group: first.group, members, whole: first.whole, why: flaw.why });
            }
            self.undo(before);
        };
        let gathered = before.gathered..self.plan.gathered.len();
        if !built.waits && gathered.clone().any(|place| self.must_share(self.plan.gathered[place].group)) {
            self.undo(before);
            return Some(Decision::Barrier(super::plan::Barrier::Share));
        }
        self.tell_dropped(&dropped, None);
        let first = self.plan.gathered[before.gathered].clone();
        if built.waits {
            self.end_run(at);
            self.push_span_roles(at..built.end);
            self.skip(built.end);
            self.plan.waits_from = Some(at);
            return Some(Decision::Spanned(built.end));
        }
        if gathered.len() == 1 && first.members == built.end - at {
            let decision = whole(first.group, first.members);
            self.release(before);
            return Some(decision);
        }
        if !self.rules.carries {
            let members = self.plan.members[first.first..first.first + first.members].to_vec();
            self.undo(before);
            self.tell_dropped(&[Dropped { group: first.group, members, whole: true, why: Obstacle::Refused }], Some(at));
            return Some(Decision::Send(Role::Plain));
        }
        Some(Decision::Spanned(self.push_span(at, built.end, before)))
    }

    /// The plan is as it was.
    fn undo(&mut self, before: Before) {
        self.release(before);
        self.plan.members.truncate(before.members);
        self.plan.notes.truncate(before.notes);
    }

    /// The gathered groups are none any more.
    fn release(&mut self, before: Before) {
        for gathered in self.plan.gathered.drain(before.gathered..) {
            for &at in &self.plan.members[gathered.first..gathered.first + gathered.members] {
                self.plan.claims[at] = 0;
            }
        }
    }

    fn tell_dropped(&mut self, dropped: &[Dropped], only: Option<usize>) {
        for Dropped { group, members, whole, why } in dropped {
            if only.is_some_and(|at| members.first() != Some(&at)) {
                continue;
            }
            if *whole {
                let first = self.plan.members.len();
                self.plan.members.extend(members);
                let members = first..self.plan.members.len();
                self.plan.notes.push(Note::Obstructed { group: *group, members, why: *why });
            } else if members.first().and_then(|&at| self.batch.held(at)).is_some_and(|held| held.begins) {
                self.plan.notes.push(Note::Broken { group: *group });
            }
        }
    }

    /// Gathers the groups that begin at `at` or stand between its members, and so on.
    fn build_span(&mut self, at: usize, limit: usize, before: Before, trailing: bool, dropped: &[Dropped]) -> Option<Built> {
        let limit = limit.min(self.batch.len());
        let patient = !self.is_overdue(at);
        let mut built = Built { end: at + 1, waits: false };
        let mut next = at;
        while next < built.end {
            let is_dropped = dropped.iter().any(|dropped| dropped.members.first() == Some(&next));
            if !self.is_claimed(next) && !is_dropped {
                self.look_at(next, limit, before, patient && !(trailing && next == at), &mut built);
            }
            if self.plan.gathered.len() == before.gathered {
                return None;
            }
            next += 1;
        }
        Some(built)
    }

    /// Gathers the group that begins at the command, if one does.
    fn look_at(&mut self, at: usize, limit: usize, before: Before, patient: bool, built: &mut Built) {
        if self.plan.gathered.len() > before.gathered && self.gather_run(at, limit, built) {
            return;
        }
        let Some((group, whole)) = self.begins_group(at) else { return };
        let first = self.plan.members.len();
        self.plan.members.push(at);
        let mut search = Search::new(group, first, whole, limit).carrying(before.gathered);
        let to_the_end = self.search(&mut search, at) && (limit == self.batch.len() || !search.open);
        if !self.may_be_apart(search.group) {
            return self.plan.members.truncate(first);
        }
        let awaits_more = search.open && self.more && to_the_end && patient && !self.is_overdue(at);
        if search.whole > 1 && search.obstacle.is_none() && !awaits_more {
            self.plan.members.truncate(first + search.whole);
            built.end = built.end.max(self.plan.members[first + search.whole - 1] + 1);
            self.claim_all(&search, true);
            self.note_left_out(&mut search, at);
        } else if search.obstacle.is_none() && to_the_end && patient && self.may_wait(at, &search) {
            if self.batch.held(at).is_none_or(|held| !held.begins) {
                self.plan.notes.push(Note::Held { group: search.group, members: self.plan.members.len() - first });
            }
            self.claim_all(&search, false);
            (built.end, built.waits) = (self.batch.len(), true);
        } else {
            self.note_passing(at, &search);
        }
    }

    /// Gathers the run of commands on matching keys that begins within a transaction; true if one does.
    fn gather_run(&mut self, at: usize, limit: usize, built: &mut Built) -> bool {
        let Recognition::Whole { group, members, .. } = self.recognise(at) else { return false };
        if members < 2 || !self.rules.policy.groups()[group].is_run() || self.is_observed(group) || at + members > limit {
            return false;
        }
        let first = self.plan.members.len();
        self.plan.members.extend(at..at + members);
        let search = Search::new(group, first, members, limit);
        self.claim_all(&search, true);
        built.end = built.end.max(at + members);
        true
    }

    /// Why a command cannot ride in the transaction that it stands in; `gathered` groups were there before.
    pub(super) fn obstacle_to_carrying(&self, gathered: usize, at: usize) -> Option<Obstacle> {
        if self.is_answered(at) || self.mark(at) as usize > gathered {
            return None;
        }
        let is_of_several = self.rules.slots && self.slot(at) == Slot::Several;
        let rides = !(self.is_claimed(at) || is_of_several)
            && self.rules.table.spec(self.batch.id(at)).may_ride(self.args(at))
            && self.degrade(at).is_none();
        (!rides).then_some(Obstacle::Ride)
    }

    /// Why the transaction cannot be sent so, if it cannot.
    fn flaw(&self, at: usize, built: &Built, before: Before) -> Option<Flaw> {
        let bytes = |end: usize| self.batch.wire(at..end).len();
        if built.end - at > COMMANDS_MAX || bytes(built.end) > BYTES_MAX {
            let most = built.end.min(at + COMMANDS_MAX);
            let most = (at + 2..=most).rev().find(|end| bytes(*end) <= BYTES_MAX).unwrap_or(at + 1);
            let end = self.least_open(at + 1..most + 1, before)?;
            let groups = self.open_at(end, before).collect();
            return Some(Flaw { groups, why: Obstacle::TooMuch, end: Some(end) });
        }
        let mut is_once = false;
        for place in before.gathered..self.plan.gathered.len() {
            let gathered = &self.plan.gathered[place];
            let rule = &self.rules.policy.groups()[gathered.group];
            let members = &self.plan.members[gathered.first..gathered.first + gathered.members];
            if gathered.whole && self.passes_crossed(gathered.group, members) {
                return Some(Flaw { groups: vec![place], why: Obstacle::CrossSlot, end: None });
            }
            if rule.atomic == Atomic::Rollback && gathered.members != built.end - at {
                return Some(Flaw { groups: vec![place], why: Obstacle::RolledBack, end: None });
            }
            if rule.once.is_some() && std::mem::replace(&mut is_once, true) {
                return Some(Flaw { groups: vec![place], why: Obstacle::Once, end: None });
            }
        }
        let cut = self.read_behind_push(at..built.end)?;
        let end = self.least_open(cut, before)?;
        let groups: Vec<_> = self.open_at(end, before).collect();
        (!groups.is_empty()).then_some(Flaw { groups, why: Obstacle::Pushed, end: None })
    }

    /// The groups of which members stand before and behind the cut.
    fn open_at(&self, cut: usize, before: Before) -> impl Iterator<Item = usize> + '_ {
        (before.gathered..self.plan.gathered.len()).filter(move |&place| {
            let gathered = &self.plan.gathered[place];
            let members = &self.plan.members[gathered.first..gathered.first + gathered.members];
            let is_open = !gathered.whole || members.last().is_some_and(|&last| last >= cut);
            is_open && members.first().is_some_and(|&first| first < cut)
        })
    }

    /// The cut at which the fewest groups are open, the last of several.
    fn least_open(&self, cuts: Range<usize>, before: Before) -> Option<usize> {
        cuts.rev().min_by_key(|&cut| self.open_at(cut, before).count())
    }

    /// Between which commands the first must be cut of which one reads what another has pushed: a client that blocks on the
    /// key would have been served in between. Members of one group are meant to be together.
    fn read_behind_push(&self, commands: Range<usize>) -> Option<Range<usize>> {
        let mut pushed: HashMap<&[u8], usize> = HashMap::new();
        let mut anything: Option<usize> = None;
        let is_apart = |one: usize, other: usize| self.mark(one) == 0 || self.mark(one) != self.mark(other);
        for at in commands.filter(|at| !self.is_answered(*at)) {
            let (spec, args) = (self.rules.table.spec(self.batch.id(at)), self.args(at));
            let (serves, mut read) = (spec.serves(), None);
            if serves != Serves::ByPush && !spec.touches_nothing(args) && !matches!(spec.name(), "publish" | "spublish") {
                read = anything.filter(|&push| spec.sees_queues() && is_apart(push, at));
                if spec.is_plain_keyed(args) {
                    spec.for_each_key(args, &mut |place, _| {
                        let push = args.get(place).and_then(|key| pushed.get(key)).copied();
                        read = read.or(push.filter(|&push| is_apart(push, at)));
                    });
                } else {
                    read = read.or_else(|| pushed.values().copied().filter(|&push| is_apart(push, at)).max());
                }
            }
            if let Some(push) = read {
                return Some(push + 1..at + 1);
            }
            match serves {
                Serves::Nothing => {}
                Serves::ByPush | Serves::Keys => {
                    spec.for_each_key(args, &mut |place, _| pushed.extend(args.get(place).map(|key| (key, at))));
                }
                Serves::Anything => anything = Some(at),
            }
        }
        None
    }

    /// Makes the step of the transaction; gives the command behind it, or the same one again where something of it was
    /// refused.
    fn push_span(&mut self, at: usize, end: usize, before: Before) -> usize {
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
            if commands.contains(&self.plan.members[gathered.first]) {
                self.note_completed(self.plan.members[gathered.first], gathered.group);
            }
        }
        let first = self.plan.members.len();
        self.plan.members.extend(&commands);
        if !is_part {
            self.push_span_roles(at..end);
        }
        let added = self.ttl_fix_group(&commands);
        let all = first..self.plan.members.len();
        let step = Step::Span(Box::new(Span { commands: all, groups, preflight: preflight.map(Box::new), added }));
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

    /// What stands before a command that has been answered, and is not planned, waits: the answered one is done with.
    pub(super) fn keep_before_answered(&mut self) {
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

    fn push_span_roles(&mut self, commands: Range<usize>) {
        for at in commands {
            let role = if self.is_answered(at) { Role::Own } else { Role::Member };
            self.plan.roles.push(role);
        }
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
            if let Some(crossing) = self.crossing(&members) {
                self.end_run(at);
                self.refuse_gathered(&Refused { gathered: place, refusal: Refusal::Crossed(crossing) }, before);
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
}
