//! Settles the groups in doubt of one client, one after the other.

use std::time::Instant;

use crate::link::budget::Budget;
use crate::link::handshake::OrphanedConnection;
use crate::link::owed::{Owed, Seq};
use crate::pipeline::in_doubt::{Next, Recovery};
use crate::pipeline::reading::{ClientSide, Findings};
use crate::pipeline::sequencer::Sequencer;

impl Sequencer {
    /// True while a group is unanswered that may be sent again: what its client sends behind it has to wait, or the two
    /// would change places.
    pub fn is_fenced(&self) -> bool {
        !self.rare.marked.is_empty() || self.ahead.any_void()
    }

    /// True when something is to be done for a group, because its connection was lost.
    pub fn has_recovery(&mut self) -> bool {
        self.next_in_doubt().is_some()
    }

    /// The client's own connection, with who it was there, is gone for good: of groups in doubt it is found out whether they
    /// were applied, but none goes out again. True when there are any.
    pub fn send_none_again(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.rare.marked.len() {
            let Some(seq) = self.rare.marked.get(at).copied() else { break };
            if let Some(slot) = self.group(seq).filter(|slot| slot.group.is_in_doubt() || slot.group.has_recovery()) {
                slot.group.keep_from_going_again();
                any = true;
            }
        }
        any
    }

    fn next_in_doubt(&mut self) -> Option<Seq> {
        (0..self.rare.marked.len()).find_map(|at| {
            let seq = *self.rare.marked.get(at)?;
            self.group(seq).filter(|slot| slot.group.has_recovery()).map(|_| seq)
        })
    }

    /// The connection on which the group at this place was sent is lost: it is ended before the group's marker is asked for.
    pub fn note_lost(&mut self, seq: Seq, orphan: impl FnOnce() -> Option<OrphanedConnection>) {
        if let Some(slot) = self.group(seq).filter(|slot| slot.group.is_in_doubt()) {
            slot.group.note_lost(orphan());
        }
    }

    /// What is to be sent for the first group whose connection was lost, or answered in its place.
    pub fn recovery(&mut self, now: Instant, budget: &mut Budget, client: &mut ClientSide<'_>) -> Option<Recovery> {
        let seq = self.next_in_doubt()?;
        let group = &mut self.group(seq)?.group;
        let before = group.remaining();
        let (next, (read_at, deadline)) = group.next_recovery(now, budget, client.found)?;
        let owed = Owed::request(seq, group.remaining());
        match next {
            Next::Wait => None,
            Next::Send(request) => {
                debug_assert_eq!(before, owed.frames());
                Some(Recovery { request, owed, read_at, deadline })
            }
            Next::End(why) => {
                self.settle(seq, why, client);
                None
            }
        }
    }

    /// Nobody waits any more for groups whose connection was lost: nothing more is asked about them.
    pub fn abandon_recovery(&mut self, client: &mut ClientSide<'_>) {
        while let Some(seq) = self.next_in_doubt() {
            self.settle(seq, "and its client has left", client);
        }
    }

    fn settle(&mut self, seq: Seq, why: &str, client: &mut ClientSide<'_>) {
        let ClientSide { out, found, context, .. } = client;
        let frames = self.group(seq).map_or(0, |slot| slot.group.remaining());
        self.owed = self.owed.saturating_sub(frames as usize);
        let findings = &mut Findings { table: context.table, found };
        self.write_group(seq, out, |group, sink| (true, group.settle(why, sink, findings)));
        self.check();
    }
}
