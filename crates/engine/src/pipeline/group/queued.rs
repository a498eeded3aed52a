//! Reads what the server answers before it runs a group: to what precedes the transaction, MULTI's `+OK`, then `+QUEUED` for each
//! command.

use super::WrappedGroup;
use crate::pipeline::reading::{Findings, MemberReply, Part};
use crate::pipeline::wire::BEGUN;
use respguard_resp::scan::Top;

/// What is answered to each command behind MULTI.
const QUEUED: &[u8] = b"+QUEUED\r\n";

impl WrappedGroup {
    /// Takes those answers at the beginning of `bytes` that say no more than that nothing is wrong, that the transaction has begun,
    /// and that a command is queued: how many there are, and their bytes.
    pub(in crate::pipeline) fn take_queued(&mut self, bytes: &[u8]) -> (u32, usize) {
        if self.take_back.is_some() || self.is_in_doubt() || !self.gathered.is_empty() {
            return (0, 0);
        }
        let (answered, mut at) = self.guard.as_mut().map_or((0, 0), |guard| guard.take_fine(self.answered, bytes));
        let before = self.answered;
        self.answered += answered;
        let Some(place) = self.answered.checked_sub(self.frames_in_front()) else { return (0, 0) };
        if place == 0 && bytes[at..].starts_with(BEGUN) {
            self.in_transaction = true;
            self.answered += 1;
            at += BEGUN.len();
        }
        if self.in_transaction {
            let most = (self.frames() - 1).saturating_sub(self.answered) as usize;
            let queued = bytes[at..].chunks_exact(QUEUED.len()).take(most).take_while(|frame| *frame == QUEUED).count();
            self.answered += u32::try_from(queued).unwrap_or(u32::MAX);
            at += queued * QUEUED.len();
        }
        (self.answered - before, at)
    }

    pub(super) fn admit_queued(&mut self, place: u32, frame: &[u8], out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        if self.in_transaction && frame == QUEUED {
            return;
        }
        let Some(member) = self.member_at(place) else {
            if self.in_transaction {
                self.own_refused.get_or_insert_with(|| frame.into());
                // What a TTL rule adds stands behind all members, and before the marker.
                let is_behind = place >= self.queued() - self.own_behind();
                let is_marker = self.in_doubt.is_some() && place + 1 == self.queued();
                self.ttl_fix_refused |= is_behind && !is_marker && frame.starts_with(b"-NOPERM ");
            }
            return;
        };
        if !self.in_transaction {
            // MULTI was refused, so the member ran at once: this is its own reply.
            let part = Part { first: true, last: true, top: Top::default() };
            self.check(MemberReply { place: member, bytes: frame, part }, out, findings);
            self.replied += 1;
        } else {
            self.refused.push((member, frame.into()));
        }
    }
}
