//! The meaning of the replies to planned commands: only those that are not simply passed to the client are recorded.

use std::ops::Range;

use crate::pipeline::slot::Role;

/// The role of each planned command, by its index.
#[derive(Debug, Default)]
pub struct Roles {
    commands: usize,
    /// Those that are not plain, in rising order.
    others: Vec<(usize, Role)>,
}

const PLAIN: &Role = &Role::Plain;

impl Roles {
    /// The role of the next command.
    pub(in crate::pipeline) fn push(&mut self, role: Role) {
        if !role.is_plain() {
            self.others.push((self.commands, role));
        }
        self.commands += 1;
    }

    /// The replies to so many next commands are the client's as they are.
    pub(super) fn push_plain(&mut self, commands: usize) {
        self.commands += commands;
    }

    pub(super) fn truncate(&mut self, commands: usize) {
        self.commands = self.commands.min(commands);
        self.others.retain(|(at, _)| *at < commands);
    }

    pub(super) fn clear(&mut self) {
        self.commands = 0;
        self.others.clear();
    }

    /// The role of one command; `None` where it is not planned.
    pub fn get(&self, at: usize) -> Option<&Role> {
        (at < self.commands).then(|| self.place(at).map_or(PLAIN, |place| &self.others[place].1))
    }

    /// Whether all of these are plain.
    pub fn are_plain(&self, commands: Range<usize>) -> bool {
        self.others.is_empty() || {
            let first = self.others.partition_point(|(at, _)| *at < commands.start);
            self.others.get(first).is_none_or(|(at, _)| *at >= commands.end)
        }
    }

    /// The role of a command that is sent now, with all that it carries.
    pub fn take(&mut self, at: usize) -> Role {
        self.place(at).map_or(Role::Plain, |place| std::mem::replace(&mut self.others[place].1, Role::ProxyReply))
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Role> {
        (0..self.commands).filter_map(|at| self.get(at))
    }

    fn place(&self, at: usize) -> Option<usize> {
        self.others.binary_search_by_key(&at, |(other, _)| *other).ok()
    }
}

impl Extend<Role> for Roles {
    fn extend<I: IntoIterator<Item = Role>>(&mut self, roles: I) {
        roles.into_iter().for_each(|role| self.push(role));
    }
}
