//! What comes of planning: steps, what was found out, and what waits.

use std::ops::Range;
use std::sync::Arc;

use super::note::Note;
use super::roles::Roles;
use super::step::{Barrier, Step};
use crate::pipeline::finding::Finding;

/// The outcome of planning.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is sent or answered, in this order.
    pub steps: Vec<Step>,
    /// One for each command that is planned, by its index.
    pub roles: Roles,
    /// The members of groups, by their index in the batch.
    pub members: Vec<usize>,
    /// What was found out about groups.
    pub notes: Vec<Note>,
    /// How many of the batch's commands are planned.
    pub commands: usize,
    /// Those of them that wait for the rest of their group, by their index; true for the first of a group.
    pub kept: Vec<(usize, bool)>,
    /// What must be done about the command behind them.
    pub turn: Option<Barrier>,
    /// Commands that do not go out as they came, by their index, with what goes out in their place.
    pub rewrites: Vec<(usize, Vec<u8>)>,
    /// Those of them that are a SETNX, with the rule: SET goes out, and what it answers is turned back.
    pub turned: Vec<(usize, Arc<str>)>,
    /// What rules have to tell about commands.
    pub found: Vec<Finding>,
    /// One of the commands is long by nature, or ends a transaction that has queued such a one.
    pub slow: bool,
    /// An EXEC among them may end such a transaction.
    pub slow_exec: bool,
    pub(in crate::pipeline) gathered: Vec<Gathered>,
    /// Commands that are in no group and may have been meant to be in one.
    pub(in crate::pipeline) strays: Vec<usize>,
    /// By the command's index: one more than the place of the gathered group that it belongs to, or 0.
    pub(in crate::pipeline) claims: Vec<u32>,
    /// From this command on all wait.
    pub(in crate::pipeline) waits_from: Option<usize>,
}

/// A group whose members were gathered.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Gathered {
    pub(in crate::pipeline) group: usize,
    /// Where its members stand in `Plan::members`.
    pub(in crate::pipeline) members: Range<usize>,
    /// It is whole and goes out with its last member; else it waits for the rest.
    pub(in crate::pipeline) whole: bool,
}

impl Plan {
    pub(super) fn clear(&mut self) {
        self.steps.clear();
        self.roles.clear();
        self.members.clear();
        self.notes.clear();
        self.commands = 0;
        self.kept.clear();
        self.turn = None;
        self.rewrites.clear();
        self.turned.clear();
        self.found.clear();
        (self.slow, self.slow_exec) = (false, false);
        self.gathered.clear();
        self.claims.clear();
        self.waits_from = None;
        self.strays.clear();
    }

    /// Keeps these as the members of a group; where they stand.
    pub(in crate::pipeline) fn keep_members(&mut self, members: impl IntoIterator<Item = usize>) -> Range<usize> {
        let first = self.members.len();
        self.members.extend(members);
        first..self.members.len()
    }

    /// The rule for which the command, a SETNX, goes out as SET.
    pub(in crate::pipeline) fn turned_by(&self, at: usize) -> Option<&Arc<str>> {
        self.turned.iter().find(|(turned, _)| *turned == at).map(|(_, rule)| rule)
    }

    /// The groups of which a part waits for the rest, with their members by their index.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, &[usize])> {
        let waiting = self.gathered.iter().filter(|gathered| !gathered.whole);
        waiting.map(|gathered| (gathered.group, &self.members[gathered.members.clone()]))
    }

    /// True when a group is there as a whole, before the steps are gone through.
    pub fn has_group(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Wrap { .. } | Step::Guard { .. } | Step::Span(_) | Step::RefuseGroup { .. }))
    }

    /// True when requests go out in another order than the one in which they were read.
    pub fn reorders(&self) -> bool {
        !self.claims.is_empty()
    }
}
