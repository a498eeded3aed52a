//! Puts commands that stand between the members of groups into their transaction, in their place, so that the order never
//! changes.
//!
//! ```text
//!   A1  x  B1  A2  y  B2  z         A and B are groups; they share the transaction A1 x B1 A2 y B2, and z follows
//! ```
//!
//! Groups whose members stand between each other share one transaction. Where one of them is incomplete, all of it waits.
//!
//! Before a cluster a transaction has keys of one slot. What stands between its members and is about others has no order with it, and
//! is planned once it has been answered.

use super::decide::{Decision, whole};
use super::gather::Search;
use super::plan::{Gathered, Note, Planner, SplitReason};
use super::refusal::Refusal;
use super::slot::Role;
use crate::policy::{Between, Recognition};

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
    why: SplitReason,
}

/// The group of a transaction, by its place among the gathered ones, that is not sent.
struct Refused {
    gathered: usize,
    refusal: Refusal,
}

impl Planner<'_> {
    /// Whether what stands between the members of the group goes with them.
    pub(super) fn carries(&self, group: usize) -> bool {
        self.group(group).between == Between::Carry && self.may_be_apart(group)
    }

    /// The transaction that begins with the group that begins at `at`; `trailing`: it is whole, and what is optional is looked
    /// for behind other commands. `None`: nothing but that group, if it is one.
    pub(super) fn carry(&mut self, at: usize, trailing: bool) -> Option<Decision> {
        let plan = &self.plan;
        let before = Before { gathered: plan.gathered.len(), members: plan.members.len(), notes: plan.notes.len() };
        let (mut dropped, mut limit) = (Vec::new(), at + COMMANDS_MAX + AHEAD);
        let built = loop {
            let Some(built) = self.build_span(at, limit, before, trailing, &dropped) else {
                self.report_dropped(&dropped, Some(at));
                return None;
            };
            let Some(flaw) = self.flaw(at, &built, before) else { break built };
            dropped.extend(flaw.groups.into_iter().map(|place| self.dropped(place, flaw.why)));
            limit = flaw.end.unwrap_or(limit);
            if dropped.len() > DROPS_MAX {
                dropped.push(self.dropped(before.gathered, flaw.why));
            }
            self.undo(before);
        };
        let gathered = before.gathered..self.plan.gathered.len();
        if !built.waits && gathered.clone().any(|place| self.must_share(self.plan.gathered[place].group)) {
            self.undo(before);
            return Some(Decision::Barrier(super::plan::Barrier::Share));
        }
        if built.waits {
            // All of it is planned again, and told then.
            self.end_run(at);
            self.push_span_roles(at..built.end);
            self.skip(built.end);
            self.plan.waits_from = Some(at);
            return Some(Decision::Spanned(built.end));
        }
        self.report_dropped(&dropped, None);
        let first = self.plan.gathered[before.gathered].clone();
        if gathered.len() == 1 && first.members.len() == built.end - at {
            let decision = whole(first.group, first.members.len());
            self.release(before);
            return Some(decision);
        }
        if !self.rules.carries {
            let refused = self.dropped(before.gathered, SplitReason::Refused);
            self.undo(before);
            self.report_dropped(&[refused], Some(at));
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
            for &at in &self.plan.members[gathered.members.clone()] {
                self.plan.claims[at] = 0;
            }
        }
    }

    /// The gathered group at this place, which is none because of this.
    fn dropped(&self, place: usize, why: SplitReason) -> Dropped {
        let Gathered { group, members, whole } = &self.plan.gathered[place];
        Dropped { group: *group, members: self.plan.members[members.clone()].to_vec(), whole: *whole, why }
    }

    fn report_dropped(&mut self, dropped: &[Dropped], only: Option<usize>) {
        for Dropped { group, members, whole, why } in dropped {
            if only.is_some_and(|at| members.first() != Some(&at)) {
                continue;
            }
            if !*whole && !members.first().and_then(|&at| self.batch.held(at)).is_some_and(|held| held.begins) {
                continue;
            }
            let (members, group, why) = (self.plan.keep_members(members.iter().copied()), *group, *why);
            self.plan.notes.push(if *whole {
                Note::Obstructed { group, members, why }
            } else {
                Note::Broken { group, members, why: Some(why) }
            });
        }
    }

    /// Gathers the groups that begin at `at` or stand between its members, and so on.
    fn build_span(&mut self, at: usize, limit: usize, before: Before, trailing: bool, dropped: &[Dropped]) -> Option<Built> {
        let limit = limit.min(self.batch.len());
        let patient = !self.has_overdue_behind(at);
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
        let awaits_more = search.open && self.more && to_the_end && patient;
        if search.whole > 1 && search.obstacle.is_none() && !awaits_more {
            self.plan.members.truncate(first + search.whole);
            built.end = built.end.max(self.plan.members[first + search.whole - 1] + 1);
            self.claim_all(&search, true);
            self.note_left_out(&mut search, at);
        } else if search.obstacle.is_none() && to_the_end && patient && self.may_wait(&search) {
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
        if members < 2 || !self.group(group).is_run() || self.is_observed(group) || at + members > limit {
            return false;
        }
        let first = self.plan.members.len();
        self.plan.members.extend(at..at + members);
        let search = Search::new(group, first, members, limit);
        self.claim_all(&search, true);
        built.end = built.end.max(at + members);
        true
    }

    /// Why a command cannot go in the transaction that it stands in; `gathered` groups were there before.
    pub(super) fn obstacle_to_carrying(&self, gathered: usize, at: usize) -> Option<SplitReason> {
        if self.is_answered(at) || self.mark(at) as usize > gathered {
            return None;
        }
        let spec = self.spec(at);
        let is_carried = !(self.is_claimed(at) || self.concerns_other_slots(at))
            && spec.may_be_carried(self.args(at))
            && self.degrade(at).is_none();
        (!is_carried).then_some(SplitReason::NotCarried)
    }
}

mod flaw;
mod guarded;
mod span;
