//! Matches a group against the commands that were read, starting at one of them.

use super::pattern::Bindings;
use super::rule::Order;
use crate::command::CommandId;
use respguard_resp::request::Args;

/// Members that a group in any order has at most.
pub const UNORDERED_MAX: usize = 16;

/// One command that was read.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// Its place in the table.
    pub id: CommandId,
    /// Its words, the name first.
    pub args: Args<'a>,
}

/// The commands that were read, from one of them on; the look-up answers `None` behind the last.
pub(super) type Reader<'r, 'a> = &'r mut dyn FnMut(usize) -> Option<Member<'a>>;

/// How far a group can be followed into the commands that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MatchSpan {
    /// The most commands that make up the whole group; 0: the group is not whole.
    pub(super) whole: usize,
    /// Commands that fit, up to the last one read, after which members are still to come; 0: none.
    pub(super) awaiting: usize,
    /// The first command fits, and a later one does not.
    pub(super) begun: bool,
}

/// A place in the members and in the commands that were read.
#[derive(Clone, Copy, Default)]
pub(super) struct Walk<'a> {
    pub(super) member: usize,
    pub(super) command: usize,
    pub(super) bound: Bindings<'a>,
    /// The members that have come, one bit for each.
    pub(super) taken: u64,
    /// In which order, where that is not the written one.
    pub(super) sequence: [u8; UNORDERED_MAX],
}

/// Takes what a walk through the members of a group comes upon.
pub(super) trait WalkVisitor<'a> {
    /// All members that are needed have come.
    fn whole(&mut self, here: &Walk<'a>);
    /// The commands that were read end here.
    fn awaiting(&mut self, here: &Walk<'a>);
    /// The command is not the member that must come here; the failed attempt may have bound captures.
    fn mismatch(&mut self, here: &Walk<'a>, command: Member<'a>);
}

impl WalkVisitor<'_> for MatchSpan {
    fn whole(&mut self, here: &Walk<'_>) {
        self.whole = self.whole.max(here.command);
    }

    fn awaiting(&mut self, here: &Walk<'_>) {
        self.awaiting = self.awaiting.max(here.command);
    }

    fn mismatch(&mut self, here: &Walk<'_>, _: Member<'_>) {
        self.begun |= here.command > 0;
    }
}

impl Walk<'_> {
    /// The next command is the member at this place.
    #[inline]
    pub(super) fn take(&mut self, member: usize) {
        self.taken |= 1 << member;
        if let Some(place) = self.sequence.get_mut(self.command) {
            *place = member as u8;
        }
        self.member = member + 1;
        self.command += 1;
    }

    /// Whether the member at this place has come.
    pub(super) fn has(&self, member: usize) -> bool {
        self.taken >> member & 1 == 1
    }

    /// Which member each command is.
    pub(super) fn members(&self, order: Order) -> Vec<usize> {
        match order {
            Order::Written => (0..64).filter(|place| self.has(*place)).collect(),
            Order::Any => self.sequence.iter().take(self.command).map(|place| usize::from(*place)).collect(),
        }
    }
}
