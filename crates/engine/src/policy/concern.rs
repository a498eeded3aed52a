//! Finds the rule that a command by itself may come under, for those that are too large to be looked at.

use std::sync::Arc;

use super::Policy;
use super::group::{Fit, Group, Member, Shape};
use crate::command::Table;

impl Policy {
    /// The first group that has such a member, or else the first guard that is about the command.
    pub fn concern<'s>(&'s self, table: &'s Table, command: Member<'s>) -> Option<&'s Arc<str>> {
        let group = self.groups().iter().find(|group| group.has_member(table, command)).map(|group| &group.name);
        group.or_else(|| self.guards_of(table, command).next().map(|guard| &guard.name))
    }
}

impl Group {
    fn has_member(&self, table: &Table, command: Member<'_>) -> bool {
        match &self.shape {
            Shape::Templates(templates) => templates.members.iter().any(|member| member.matches(command, table)),
            Shape::Keys(keys) => keys.fit(command, table) == Some(Fit::Keys),
        }
    }
}
