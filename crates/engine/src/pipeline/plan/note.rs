//! What planning finds out about groups whose members do not stand side by side.

use std::ops::Range;

use crate::pipeline::violation::Kind;
use crate::preflight::Unsupported;
use crate::words;

/// What planning has found out about a group that is not wrapped where its first member stands.
#[derive(Debug, PartialEq, Eq, Clone)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Note {
    /// Its first members begin to wait for the rest.
    Held { group: usize, members: usize },
    /// The rest of what waited has come.
    Completed { group: usize },
    /// The wait was over first: the commands named at these places of `Plan::members` pass one by one.
    Expired { group: usize, members: Range<usize> },
    /// Something else came that ended the wait: the commands pass one by one. `None`: nobody has to know.
    Broken { group: usize, members: Range<usize>, why: Option<SplitReason> },
    /// All of it is there, but its members cannot be brought together.
    Obstructed { group: usize, members: Range<usize>, why: SplitReason },
    /// The last of these, which is optional, stays outside of its group.
    LeftOut { group: usize, members: Range<usize>, why: SplitReason },
    /// These commands would be the group but for one thing, which is about the one at `place` among them. Some of them
    /// may still wait for the group's rest.
    NearMiss { group: usize, members: Range<usize>, place: u32, waiting: bool, why: Box<str> },
    /// A guarded group goes out as a transaction, because its preflight cannot run.
    Degraded { group: usize, members: Range<usize>, lack: Unsupported },
}

words! {
    /// Why the members of a group could not be brought together.
    SplitReason {
        /// A command between them does more than read or write its own keys.
        Command = "a command between its members cannot change places with them",
        /// A command between them has a key of one of them.
        Key = "a command between its members has a key of one of them",
        /// One of them does more than read or write its own keys.
        Member = "one of its members cannot change places with the commands between them",
        /// A command between them cannot go in their transaction.
        NotCarried = "a command between its members cannot ride in its transaction",
        /// What one pushes another reads, and a blocked client may have been served in between.
        Pushed = "what is pushed to a key is read behind that, and a blocked client may have been served in between",
        /// It is rolled back, and something stands between its members.
        RolledBack = "nothing rides in the transaction of a group that is rolled back",
        /// It is applied once, and so is a group that its members stand between.
        Once = "two groups that are applied once would share a transaction",
        /// All that would have to go into one transaction is too much.
        TooMuch = "with all that stands between the members the transaction would be too large",
        /// Its transaction has been refused too often over what stands between its members.
        Refused = "its transaction was refused three times over what stands between its members",
        /// Its keys lie in several slots of a cluster, and its rule lets it pass.
        CrossSlot = "its keys lie in several slots of the cluster",
    }
}

impl SplitReason {
    /// As what it is told.
    pub fn kind(self) -> Kind {
        if self == SplitReason::CrossSlot { Kind::CrossSlot } else { Kind::Split }
    }
}
