//! Passes on EXEC's array of a group while it comes.

use super::{MemberReply, WrappedGroup};
use crate::command::Table;
use crate::pipeline::finding::{Finding, Outcome, Place};
use crate::pipeline::panel::part;
use crate::pipeline::resolve::Part;
use crate::pipeline::score::{self, Failure};
use crate::policy::OnPartial;
use respguard_resp::pieces::{Piece, Pieces};
use respguard_resp::value;

/// A longer answer to EXEC is passed on as it comes even where a member's failure would change every reply: bounds what
/// is kept.
const EXEC_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What has been seen of an array that is not kept.
#[derive(Debug, Default)]
pub(super) struct Passage {
    pieces: Pieces,
    failed: u32,
    first_failure: Option<Failure>,
}

impl WrappedGroup {
    /// Takes a piece of EXEC's array that need not wait for the rest; true when it did.
    pub(super) fn pass_on(&mut self, piece: &[u8], at: Part, out: &mut Vec<u8>, table: &Table, found: &mut Vec<Finding>) -> bool {
        if self.passage.is_none() && !self.begins_passage(piece, at) {
            return false;
        }
        let mut passage = self.passage.take().unwrap_or_default();
        let gathered = std::mem::take(&mut self.gathered);
        self.pass_part(&mut passage, &gathered, out, table, found);
        self.pass_part(&mut passage, piece, out, table, found);
        if at.last {
            self.answered += 1;
            self.conclude_passage(*passage, table, found);
        } else {
            self.passage = Some(passage);
        }
        true
    }

    /// An array that comes in pieces need not be kept, unless a member's failure would change every reply: members of a
    /// group that fails as a whole are told only when the last of them is known.
    fn begins_passage(&self, piece: &[u8], at: Part) -> bool {
        if at.last {
            return false;
        }
        let is_exec = self.in_transaction && self.answered > self.lead() + self.queued();
        let is_whole_array = at.top.kind == b'*' && !at.top.null && at.top.elements == self.queued();
        let fits = self.gathered.len() + piece.len() <= EXEC_BYTES_MAX;
        is_exec && is_whole_array && !(self.rule.on_partial == OnPartial::Fail && fits)
    }

    fn pass_part(&mut self, passage: &mut Passage, bytes: &[u8], out: &mut Vec<u8>, table: &Table, found: &mut Vec<Finding>) {
        let Passage { pieces, failed, first_failure } = passage;
        pieces.admit(bytes, &mut |piece| match piece {
            Piece::Header(_) => {}
            Piece::Push(bytes) => out.extend_from_slice(bytes),
            Piece::Element { at, bytes, first, last } => {
                if first {
                    self.note_mending(at, bytes);
                }
                let Some(place) = self.member_at(at) else { return };
                if first && value::is_error(bytes) {
                    *failed += 1;
                    first_failure.get_or_insert_with(|| Failure::new(place + 1, bytes));
                }
                if first && let Some(demands) = &mut self.demands {
                    demands.admit(bytes, last);
                }
                self.judge(MemberReply { place, bytes, part: part(first, last) }, out, table, found);
            }
        });
    }

    fn conclude_passage(&mut self, passage: Passage, table: &Table, found: &mut Vec<Finding>) {
        let commands = || self.members.iter().copied();
        let outcome = match passage.first_failure {
            None => Outcome::Applied,
            Some(_) if passage.failed == self.members() => Outcome::Failed,
            Some(failure) => {
                found.push(Finding::PartialFailure(Place::Group));
                found.push(Finding::Violation(score::partial_failure(Some(&self.rule.name), &failure, commands(), table)));
                Outcome::Torn
            }
        };
        if let Some(breach) = self.demands.as_ref().and_then(|demands| demands.breach()) {
            found.push(Finding::Violation(breach.violation(&self.rule.name, commands(), table)));
        }
        let outcome = self.note_unguarded(outcome, table, found);
        found.push(Finding::Group { index: self.index, outcome });
    }
}
