//! The members of a group, and how they are followed through the commands that were read.

use crate::command::Table;

use super::pattern::Names;
use super::rule::Order;
use super::template::Template;
use super::unordered::Search;
use super::walk::{MatchSpan, Reader, Walk, WalkVisitor};

/// Members in the order in which they are written.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    pub(super) members: Box<[Template]>,
    /// The order in which they must come.
    pub(super) order: Order,
    /// How many members there are up to the last one that is not optional.
    pub(super) required: usize,
    pub(super) names: Names,
    /// Some member's reply must be a certain one.
    pub(super) expects: bool,
    /// Something is required before it runs.
    pub(super) requires: bool,
}

impl Templates {
    /// The members that the first command of the group can be.
    pub(super) fn firsts(&self) -> impl Iterator<Item = &Template> {
        let leading = self.members.iter().take_while(|member| member.optional).count();
        let firsts = if self.order == Order::Any { self.members.len() } else { leading + 1 };
        self.members.iter().take(firsts)
    }

    pub(super) fn follow<'a>(&self, table: &Table, at: Reader<'_, 'a>) -> MatchSpan {
        let mut extent = MatchSpan::default();
        self.walk(Walk::default(), table, at, &mut extent);
        extent
    }

    /// Follows the members from one on.
    pub(super) fn walk<'a>(&self, here: Walk<'a>, table: &Table, at: Reader<'_, 'a>, visitor: &mut impl WalkVisitor<'a>) {
        match self.order {
            Order::Written => self.walk_in_order(here, table, at, visitor),
            Order::Any => Search::new(&self.members, table, at, visitor).walk(here),
        }
    }

    /// Where an optional member fits, both ways are tried, so its place among the
    /// optional ones never hides a longer match; their number is bounded when the group is compiled.
    fn walk_in_order<'a>(&self, mut here: Walk<'a>, table: &Table, at: Reader<'_, 'a>, visitor: &mut impl WalkVisitor<'a>) {
        while let Some(member) = self.members.get(here.member) {
            if here.member >= self.required {
                visitor.whole(&here);
            }
            let Some(command) = at(here.command) else {
                visitor.awaiting(&here);
                return;
            };
            if member.optional {
                let mut taken = here;
                if member.fits(command, table, &mut taken.bound) {
                    taken.take(here.member);
                    self.walk_in_order(taken, table, at, visitor);
                }
                here.member += 1;
            } else if member.fits(command, table, &mut here.bound) {
                here.take(here.member);
            } else {
                visitor.mismatch(&here, command);
                return;
            }
        }
        visitor.whole(&here);
    }
}
