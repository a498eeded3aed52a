//! Passes on EXEC's array of a group while it comes.

use super::{MemberReply, WrappedGroup};
use crate::command::Table;
use crate::pipeline::finding::{Finding, Outcome, Place};
use crate::pipeline::reply_checks::part;
use crate::pipeline::resolve::Part;
use crate::pipeline::score::{self, Failure};
use crate::policy::OnPartial;
use crate::preflight::once::REPLIES_BYTES_MAX;
use respguard_resp::pieces::{Piece, Pieces};
use respguard_resp::value;

/// A longer answer to EXEC is passed on as it comes even where a member's failure would change every reply: bounds what
/// is kept.
const EXEC_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What has been seen of an array that is not kept.
#[derive(Debug, Default)]
pub(super) struct ExecStream {
    pieces: Pieces,
    failed: u32,
    first_failure: Option<Failure>,
}

impl WrappedGroup {
    /// Takes a piece of EXEC's array that need not wait for the rest; true when it did.
    pub(super) fn pass_on(&mut self, piece: &[u8], at: Part, out: &mut Vec<u8>, table: &Table, found: &mut Vec<Finding>) -> bool {
        if self.exec_stream.is_none() && !self.begins_stream(piece, at) {
            return false;
        }
        let mut exec_stream = self.exec_stream.take().unwrap_or_default();
        let gathered = std::mem::take(&mut self.gathered);
        self.pass_part(&mut exec_stream, &gathered, out, table, found);
        self.pass_part(&mut exec_stream, piece, out, table, found);
        if at.last {
            self.answered += 1;
            self.conclude_stream(*exec_stream, table, found);
        } else {
            self.exec_stream = Some(exec_stream);
        }
        true
    }

    /// An array that comes in pieces need not be kept, unless a member's failure would change every reply: members of a
    /// group that fails as a whole are told only when the last of them is known.
    fn begins_stream(&self, piece: &[u8], at: Part) -> bool {
        if at.last {
            return false;
        }
        let is_exec = self.in_transaction && self.answered > self.lead() + self.queued();
        let is_whole_array = at.top.kind == b'*' && !at.top.null && at.top.elements == self.queued();
        let bytes = self.gathered.len() + piece.len();
        let is_needed_whole = self.rule.on_partial == OnPartial::Fail && bytes <= EXEC_BYTES_MAX;
        let is_kept = self.guard.as_ref().is_some_and(|guard| guard.keeps()) && bytes <= REPLIES_BYTES_MAX;
        // Whether it was rolled back stands at its end.
        let is_told_last = self.guard.as_ref().is_some_and(|guard| guard.rolls_back());
        is_exec && is_whole_array && !is_needed_whole && !is_kept && !is_told_last
    }

    fn pass_part(
        &mut self,
        exec_stream: &mut ExecStream,
        bytes: &[u8],
        out: &mut Vec<u8>,
        table: &Table,
        found: &mut Vec<Finding>,
    ) {
        let ExecStream { pieces, failed, first_failure } = exec_stream;
        pieces.admit(bytes, &mut |piece| match piece {
            Piece::Header(_) => {}
            Piece::Push(bytes) => out.extend_from_slice(bytes),
            Piece::Element { at, bytes, first, last } => {
                if first {
                    self.note_ttl_fix(at, bytes);
                }
                let Some(place) = self.member_at(at) else { return };
                if first && value::is_error(bytes) {
                    *failed += 1;
                    first_failure.get_or_insert_with(|| Failure::new(place + 1, bytes));
                }
                if first && let Some(expectations) = &mut self.expectations {
                    expectations.admit(bytes, last);
                }
                self.check(MemberReply { place, bytes, part: part(first, last) }, out, table, found);
            }
        });
    }

    fn conclude_stream(&mut self, exec_stream: ExecStream, table: &Table, found: &mut Vec<Finding>) {
        let commands = || self.members.iter().copied();
        let outcome = match exec_stream.first_failure {
            None => Outcome::Applied,
            Some(_) if exec_stream.failed == self.members() => Outcome::Failed,
            Some(failure) => {
                found.push(Finding::PartialFailure(Place::Group));
                found.push(Finding::Violation(score::partial_failure(Some(&self.rule.name), &failure, commands(), table)));
                Outcome::Torn
            }
        };
        if let Some(breach) = self.expectations.as_ref().and_then(|expectations| expectations.breach()) {
            found.push(Finding::Violation(breach.violation(&self.rule.name, commands(), table)));
        }
        let outcome = self.note_unguarded(outcome, table, found);
        found.push(Finding::Group { index: self.index, outcome });
    }
}
