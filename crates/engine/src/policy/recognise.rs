//! Finds the group that begins at a command.

use std::sync::Arc;

use crate::command::{CommandId, Table};

use super::by_command::ByCommand;
use super::group::{Group, Shape};
use super::subject::canonical_id;
use super::walk::{MatchSpan, Member, Reader};

/// What begins at a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// No group.
    None,
    /// The command fits the first member of a group, and what was read behind it does not go on with it.
    Begun,
    /// All that was read from here on is a proper prefix of a group: more may come.
    Prefix {
        /// The group's place among the rules.
        group: usize,
        /// How many commands belong to it so far.
        members: usize,
        /// Whether the rest is worth an idle gap. A single command on a matching key is not: it waits for others
        /// only as long as a partial frame proves that more is coming.
        hold: bool,
    },
    /// A whole group. It has one member where all others are optional and did not come.
    Whole {
        /// The group's place among the rules.
        group: usize,
        /// How many commands it has.
        members: usize,
        /// Whether it ends where the read ends and what comes next could make it longer.
        open: bool,
    },
}

/// All groups, in the order in which they were written, and which of them each command can begin.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    groups: Vec<Arc<Group>>,
    starts: ByCommand,
    /// Likewise, by which of them it is noticed that one is nearly there.
    noticed: ByCommand,
    /// By command: what it is in canonical form.
    canonical: Box<[CommandId]>,
    /// By command: whether it can be a member of a group of templates.
    continues: Box<[bool]>,
}

impl Groups {
    pub(super) fn new(groups: Vec<Arc<Group>>, table: &Table) -> Self {
        if groups.is_empty() {
            return Self::none();
        }
        let starts = ByCommand::new(table, groups.len(), |subject| groups.iter().map(move |group| group.begins_with(subject)));
        let noticed = ByCommand::new(table, groups.len(), |subject| groups.iter().map(move |group| group.anchored_by(subject)));
        let canonical: Box<[CommandId]> = command_ids(table).map(|id| canonical_id(table, id)).collect();
        let continues = canonical.iter().map(|&id| groups.iter().any(|group| can_continue(group, id))).collect();
        Self { groups, starts, noticed, canonical, continues }
    }

    pub(super) fn none() -> Self {
        Self {
            groups: Vec::new(),
            starts: ByCommand::default(),
            noticed: ByCommand::default(),
            canonical: Box::default(),
            continues: Box::default(),
        }
    }

    pub(super) fn perhaps_missed(&self, command: Member<'_>) -> impl Iterator<Item = usize> + '_ {
        self.noticed.rules(command)
    }

    pub(super) fn canonical_id(&self, id: CommandId) -> CommandId {
        self.canonical.get(id.index()).copied().unwrap_or(id)
    }

    pub(super) fn may_continue(&self, id: CommandId) -> bool {
        self.continues.get(id.index()).copied().unwrap_or(false)
    }

    pub(super) fn as_slice(&self) -> &[Arc<Group>] {
        &self.groups
    }

    /// The group that begins at the first command: the longest whole one, the first declared among equals.
    pub(super) fn recognise<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> Recognition {
        if self.groups.is_empty() {
            return Recognition::None;
        }
        let Some(first) = at(0) else {
            return Recognition::None;
        };
        let mut best = Best::default();
        for place in self.starts.rules(first) {
            let group = &self.groups[place];
            best.consider(place, group, group.follow(table, at));
        }
        best.recognition()
    }
}

#[derive(Default)]
struct Best {
    whole: Option<(usize, usize)>,
    awaiting: Option<(usize, usize, bool)>,
    begun: bool,
}

impl Best {
    fn consider(&mut self, place: usize, group: &Group, extent: MatchSpan) {
        self.begun |= extent.begun;
        let longest = self.whole.map_or(0, |(_, members)| members);
        if extent.whole > longest {
            self.whole = Some((place, extent.whole));
        }
        let hold = !group.is_run();
        let better = self.awaiting.is_none_or(|(_, _, held)| hold && !held);
        if extent.awaiting > 0 && better {
            self.awaiting = Some((place, extent.awaiting, hold));
        }
    }

    fn recognition(self) -> Recognition {
        match (self.whole, self.awaiting) {
            (Some((group, members)), awaiting) => Recognition::Whole { group, members, open: awaiting.is_some() },
            (None, Some((group, members, hold))) => Recognition::Prefix { group, members, hold },
            (None, None) if self.begun => Recognition::Begun,
            (None, None) => Recognition::None,
        }
    }
}

fn can_continue(group: &Group, canonical: CommandId) -> bool {
    match &group.shape {
        Shape::Keys(_) => false,
        Shape::Templates(templates) => templates.members.iter().any(|template| template.is_for(canonical)),
    }
}

/// Every id of the table, that of unknown commands included.
fn command_ids(table: &Table) -> impl Iterator<Item = CommandId> {
    std::iter::once(CommandId::UNKNOWN).chain(table.iter().map(|(id, _)| id))
}

#[cfg(test)]
mod tests;
