//! What only those clients need that send transactions, whose groups may be sent again, or whose writes rules ask about.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::lazy::Blank;
use crate::link::owed::Seq;
use crate::pipeline::failure_tracker::FirstCommands;
use crate::pipeline::packed_reply::PackedReplies;
use crate::pipeline::reply_checks::ExecChecks;
use crate::pipeline::slot::Question;

#[derive(Debug, Default)]
pub(in crate::pipeline) struct RareState {
    pub(in crate::pipeline) questions: VecDeque<Question>,
    /// TTLs in milliseconds that probes before a write have found.
    pub(in crate::pipeline) ttls_before: TtlsBefore,
    /// Groups that are to be sent once more.
    pub(in crate::pipeline) again: VecDeque<Seq>,
    /// Groups that carry a marker.
    pub(in crate::pipeline) marked: VecDeque<Seq>,
    /// Commands that are to be sent again, in their places.
    pub(in crate::pipeline) returned: ReturnedCommands,
    /// What the client's own open transaction has queued.
    pub(in crate::pipeline) transaction: Option<Box<FirstCommands>>,
    /// What checks the replies within it.
    pub(in crate::pipeline) exec_checks: ExecChecks,
    /// The answer to EXEC, kept back for the proxy's own answers that go into it.
    pub(in crate::pipeline) kept: Option<Vec<u8>>,
    /// Replies with compressed values that cannot be passed on yet.
    pub(in crate::pipeline) packed: Option<Box<PackedReplies>>,
}

/// TTLs by their keys.
pub(in crate::pipeline) type TtlsBefore = VecDeque<(Arc<[u8]>, i64)>;

/// Commands whose transaction has not run, and that are sent again.
#[derive(Debug, Default)]
pub struct ReturnedCommands {
    /// In their order, each with the place that is kept for it.
    pub commands: Vec<(Seq, Vec<u8>)>,
    /// Something that stood between the members of a group was refused.
    pub refused: bool,
}

impl Blank for RareState {
    const BLANK: &'static RareState = &RareState {
        questions: VecDeque::new(),
        ttls_before: VecDeque::new(),
        again: VecDeque::new(),
        marked: VecDeque::new(),
        returned: ReturnedCommands { commands: Vec::new(), refused: false },
        transaction: None,
        exec_checks: ExecChecks::BLANK,
        kept: None,
        packed: None,
    };
}

impl RareState {
    /// Groups are under way, or have been of late, that may be sent once more.
    pub(super) fn has_groups(&self) -> bool {
        self.again.capacity() > 0 || self.marked.capacity() > 0
    }

    /// Once nothing is under way, the room that groups and questions have taken goes; true when nothing is left.
    pub(super) fn shrink(&mut self) -> bool {
        if self.questions.is_empty() && self.again.is_empty() && self.marked.is_empty() {
            self.questions = VecDeque::new();
            self.again = VecDeque::new();
            self.marked = VecDeque::new();
        }
        let has_places = self.has_groups() || self.questions.capacity() > 0 || !self.ttls_before.is_empty();
        let has_transaction = self.transaction.is_some() || !self.exec_checks.is_blank() || self.kept.is_some();
        let has_commands = !self.returned.commands.is_empty() || self.returned.refused;
        !has_places && !has_transaction && !has_commands && self.packed.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_with_takes_no_room_and_what_is_not_stays() {
        let mut rare = RareState::default();
        rare.marked.push_back(Seq::default());
        assert!(!rare.shrink() && rare.has_groups());
        rare.marked.clear();
        assert!(rare.has_groups() && rare.shrink() && !rare.has_groups());
        rare.exec_checks.queued(None);
        assert!(!rare.shrink(), "a transaction is open");
        rare.exec_checks.clear();
        assert!(rare.shrink());
    }
}
