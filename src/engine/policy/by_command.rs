//! Says which rules of a list concern a command, so that commands that none concerns cost one look-up.

use crate::engine::command::{CommandId, Table};

/// For each command the places of the rules that concern it, in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct ByCommand {
    ranges: Box<[(u32, u32)]>,
    places: Box<[u32]>,
    /// For commands that the table has learnt since.
    unlisted: (u32, u32),
}

impl ByCommand {
    /// `concerns` tells whether the rule at a place concerns a command; `None` stands for commands learnt later.
    pub(super) fn new(table: &Table, rules: usize, concerns: impl Fn(usize, Option<CommandId>) -> bool) -> Self {
        if rules == 0 {
            return Self::default();
        }
        let mut places = Vec::new();
        let mut list = |id| {
            let from = places.len();
            places.extend((0..rules).filter(|rule| concerns(*rule, id)).map(number));
            (number(from), number(places.len()))
        };
        let ids = std::iter::once(CommandId::UNKNOWN).chain(table.iter().map(|(id, _)| id));
        let ranges = ids.map(|id| list(Some(id))).collect();
        let unlisted = list(None);
        Self { ranges, places: places.into(), unlisted }
    }

    /// The places of the rules that concern the command.
    #[inline]
    pub(super) fn rules(&self, id: CommandId) -> impl Iterator<Item = usize> {
        let (from, to) = self.ranges.get(id.index()).copied().unwrap_or(self.unlisted);
        self.places[from as usize..to as usize].iter().map(|place| *place as usize)
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("the rules and commands of one configuration are far fewer than 2^32")
}
