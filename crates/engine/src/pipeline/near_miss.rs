//! Finds commands of one batch that nearly form a group.

use super::plan::{Note, Planner, Step};
use super::slot::Role;
use crate::policy::near_miss::COMMANDS_MAX;

/// Commands of one plan from which is looked for the others.
const STRAYS_MAX: usize = 16;
/// How far before and behind such a command the others are looked for.
const WINDOW: usize = 128;
/// How often one plan looks whether the commands of a group are there, and how often it looks at them.
const LOOKS_MAX: u32 = 16;
const SEARCHES_MAX: u32 = 4;

/// What one plan may spend, and what it has found out.
struct Budget {
    looks: u32,
    searches: u32,
    busy: Option<Vec<bool>>,
}

impl Planner<'_> {
    /// The command is in no group.
    #[inline]
    pub(super) fn note_stray(&mut self, at: usize) {
        if self.batch.len() > 1 && self.plan.strays.len() < STRAYS_MAX {
            self.plan.strays.push(at);
        }
    }

    /// Tells of each group once that is nearly there.
    pub(super) fn find_near_misses(&mut self) {
        if self.plan.strays.is_empty() && self.plan.kept.is_empty() || self.plan.commands < 2 {
            return;
        }
        let mut strays = std::mem::take(&mut self.plan.strays);
        let begun = self.plan.kept.iter().filter(|(_, begins)| *begins).map(|(at, _)| *at);
        strays.extend(begun.take(STRAYS_MAX));
        // From the first on: what comes later is what differs.
        strays.sort_unstable();
        let (policy, mut budget) = (self.rules.policy, Budget { looks: LOOKS_MAX, searches: SEARCHES_MAX, busy: None });
        for &stray in &strays {
            for group in policy.perhaps_missed(self.member(stray)) {
                if budget.looks == 0 || budget.searches == 0 || self.is_reported(group) {
                    continue;
                }
                budget.looks -= 1;
                if let Some(note) = self.near_miss(group, stray, &mut budget) {
                    self.plan.notes.push(note);
                }
            }
        }
        self.plan.strays = strays;
    }

    fn is_reported(&self, group: usize) -> bool {
        self.plan.notes.iter().any(|note| matches!(note, Note::NearMiss { group: told, .. } if *told == group))
    }

    fn near_miss(&mut self, group: usize, stray: usize, budget: &mut Budget) -> Option<Note> {
        let (policy, table, batch) = (self.rules.policy, self.rules.table, self.batch);
        let rule = &policy.groups()[group];
        let around = stray.saturating_sub(WINDOW)..self.plan.commands.min(stray + WINDOW);
        let mut ids = around.clone().map(|at| policy.canonical_id(batch.id(at)));
        if !rule.may_be_missed(|is_for| ids.clone().any(is_for)) {
            return None;
        }
        budget.searches -= 1;
        let busy = budget.busy.get_or_insert_with(|| self.busy());
        let needed = around.filter(|_| ids.next().is_some_and(|id| rule.needs(id)));
        let free: Vec<usize> = needed.filter(|&at| !busy[at]).collect();
        let anchor = free.iter().position(|at| *at == stray)?;
        let first = anchor.saturating_sub(COMMANDS_MAX / 2);
        let free = &free[first..free.len().min(first + COMMANDS_MAX)];
        let commands: Vec<_> = free.iter().map(|&at| self.member(at)).collect();
        let missed = rule.near_miss(table, anchor - first, &commands)?;
        let at: Vec<usize> = missed.commands.iter().map(|place| free[*place]).collect();
        let waiting = at.iter().any(|at| self.is_kept(*at));
        let (place, why) = (u32::try_from(missed.place + 1).unwrap_or(u32::MAX), missed.why.to_string().into());
        Some(Note::NearMiss { group, members: self.plan.keep_members(at), place, waiting, why })
    }

    fn is_kept(&self, at: usize) -> bool {
        self.plan.kept.iter().any(|(kept, _)| *kept == at)
    }

    /// For each command whether it is in a group, or goes out as something else than a command of its own.
    fn busy(&self) -> Vec<bool> {
        let plain = |at| matches!(self.plan.roles.get(at), Some(Role::Plain | Role::Checked(_)));
        let mut busy: Vec<bool> = (0..self.plan.commands).map(|at| !plain(at)).collect();
        for &(at, _) in &self.plan.kept {
            busy[at] = self.claim(at).is_some_and(|gathered| gathered.whole);
        }
        for step in &self.plan.steps {
            match step {
                Step::Watch { commands, .. } => busy[commands.clone()].fill(true),
                Step::TtlFix { command, .. } => busy[*command] = false,
                Step::Span(span) => {
                    let commands = &self.plan.members[span.commands.clone()];
                    commands.iter().for_each(|&at| busy[at] = false);
                    let members = span.groups.iter().flat_map(|group| &group.places);
                    members.for_each(|&place| busy[commands[place as usize]] = true);
                }
                _ => {}
            }
        }
        busy
    }
}
