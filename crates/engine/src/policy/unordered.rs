//! Matches the members of a group that may come in any order.

use crate::command::{Table, canonical};

use super::template::Template;
use super::walk::{Member, Reader, Walk, WalkVisitor};

/// Comparisons of a command with a member in one walk; a group that is not found within them is not found.
const COMPARISONS_MAX: u32 = 1024;

/// One walk: the members are tried in the written order for each command, and every choice is taken back where it leads
/// no further, since a member that fits may bind captures that the others contradict.
pub(super) struct Search<'s, 'r, 'a, L> {
    members: &'s [Template],
    table: &'s Table,
    at: Reader<'r, 'a>,
    visitor: &'s mut L,
    comparisons: u32,
}

impl<'s, 'r, 'a, L: WalkVisitor<'a>> Search<'s, 'r, 'a, L> {
    pub(super) fn new(members: &'s [Template], table: &'s Table, at: Reader<'r, 'a>, visitor: &'s mut L) -> Self {
        Search { members, table, at, visitor, comparisons: 0 }
    }

    pub(super) fn walk(&mut self, here: Walk<'a>) {
        let members = self.members;
        if self.missing(&here).all(|(_, member)| member.optional) && here.command > 0 {
            self.visitor.whole(&here);
        }
        if here.command == members.len() {
            // Nothing can be longer.
            self.comparisons = COMPARISONS_MAX;
            return;
        }
        let Some(command) = (self.at)(here.command) else {
            self.visitor.awaiting(&here);
            return;
        };
        let mut fitted = false;
        for (place, member) in members.iter().enumerate().filter(|(place, _)| !here.has(*place)) {
            if self.comparisons == COMPARISONS_MAX {
                return;
            }
            self.comparisons += 1;
            let mut next = here;
            if member.fits(command, self.table, &mut next.bound) {
                fitted = true;
                next.take(place);
                self.walk(next);
            }
        }
        if !fitted {
            let member = self.wanted(&here, command);
            self.visitor.mismatch(&Walk { member, ..here }, command);
        }
    }

    fn missing(&self, here: &Walk<'a>) -> impl Iterator<Item = (usize, &'s Template)> {
        let here = *here;
        self.members.iter().enumerate().filter(move |(place, _)| !here.has(*place))
    }

    /// The member that a command that fits none was probably meant to be.
    fn wanted(&self, here: &Walk<'a>, command: Member<'a>) -> usize {
        let id = canonical(self.table, command.id, command.args).id;
        let alike = self.missing(here).find(|(_, member)| member.is_for(id));
        alike.or_else(|| self.missing(here).find(|(_, member)| !member.optional)).map_or(here.member, |(place, _)| place)
    }
}
