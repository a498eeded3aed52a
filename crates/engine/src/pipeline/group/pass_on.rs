//! Passes on the array that EXEC returns for a group while it arrives.

use super::WrappedGroup;
use super::exec_stream::ExecStream;
use crate::pipeline::finding::Outcome;
use crate::pipeline::reading::{Findings, MemberReply, Part};
use crate::pipeline::reply_checks::part;
use crate::policy::OnPartial;
use crate::preflight::Verdict;
use crate::preflight::once::REPLIES_BYTES_MAX;
use crate::preflight::rollback::FinishReply;
use respguard_resp::pieces::Piece;
use respguard_resp::value;

/// A longer answer to EXEC is passed on as it comes even where a member's failure would change every reply: bounds what
/// is kept.
const EXEC_BYTES_MAX: usize = 16 * 1024 * 1024;

impl WrappedGroup {
    /// Takes a piece of EXEC's array that need not wait for the rest; true when it did.
    pub(super) fn pass_on(&mut self, piece: &[u8], at: Part, out: &mut Vec<u8>, findings: &mut Findings<'_>) -> bool {
        if self.exec_stream.is_none() && !self.begins_stream(piece, at) {
            return false;
        }
        let mut exec_stream = self.exec_stream.take().unwrap_or_default();
        // Whether it was rolled back stands at its end.
        exec_stream.unseen = self.guard.as_ref().is_some_and(|guard| guard.rolls_back());
        let gathered = std::mem::take(&mut self.gathered);
        self.pass_part(&mut exec_stream, &gathered, out, findings);
        self.pass_part(&mut exec_stream, piece, out, findings);
        if at.last {
            self.answered += 1;
            match exec_stream.unseen {
                true => self.conclude_unseen(*exec_stream, out, findings),
                false => self.conclude_stream(*exec_stream, findings),
            }
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
        let is_exec = self.in_transaction && self.answered > self.frames_in_front() + self.queued();
        let is_whole_array = at.top.kind == b'*' && !at.top.null && at.top.elements == self.queued();
        let bytes = self.gathered.len() + piece.len();
        let is_long = bytes > EXEC_BYTES_MAX;
        // What is rolled back is known at its end.
        let is_told_last = self.guard.as_ref().is_some_and(|guard| guard.rolls_back());
        let is_needed_whole = (self.rule.on_partial == OnPartial::Fail || self.carried.is_some() || is_told_last) && !is_long;
        let is_kept = self.guard.as_ref().is_some_and(|guard| guard.keeps()) && bytes <= REPLIES_BYTES_MAX;
        is_exec && is_whole_array && !is_needed_whole && !is_kept
    }

    fn pass_part(&mut self, exec_stream: &mut ExecStream, bytes: &[u8], out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        if exec_stream.unseen {
            return self.pass_unseen(exec_stream, bytes, out);
        }
        let ExecStream { pieces, failures, .. } = exec_stream;
        pieces.admit(bytes, &mut |piece| match piece {
            Piece::Header(_) => {}
            Piece::Push(bytes) => out.extend_from_slice(bytes),
            Piece::Element { at, bytes, first, last } => {
                if first {
                    self.note_ttl_fix(at, bytes);
                }
                let Some(place) = self.member_at(at) else { return };
                if let Some(carried) = self.carried.as_mut().filter(|_| first) {
                    carried.look(place, bytes, last);
                    carried.observe(place, self.members[place as usize], Some((bytes, last)), findings);
                }
                if first && value::is_error(bytes) {
                    failures.note(place + 1, bytes);
                }
                if first && let Some(expectations) = &mut self.expectations {
                    expectations.admit(bytes, last);
                }
                self.check(MemberReply { place, bytes, part: part(first, last) }, out, findings);
            }
        });
    }

    /// The same of an array of which nothing is passed on but what the server sends amid it.
    fn pass_unseen(&mut self, exec_stream: &mut ExecStream, bytes: &[u8], out: &mut Vec<u8>) {
        let mut pieces = std::mem::take(&mut exec_stream.pieces);
        pieces.admit(bytes, &mut |piece| match piece {
            Piece::Header(_) => {}
            Piece::Push(bytes) => out.extend_from_slice(bytes),
            Piece::Element { at, bytes, first, .. } => {
                let place = self.member_at(at).filter(|_| first && value::is_error(bytes));
                if let Some(place) = place {
                    exec_stream.failures.note(place + 1, bytes);
                }
                exec_stream.keep_little(bytes, first, place.is_some());
            }
        });
        exec_stream.pieces = pieces;
    }

    /// The end of a long answer says whether the group was rolled back; its members' replies are gone.
    fn conclude_unseen(&mut self, exec_stream: ExecStream, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        let failure = exec_stream.failures.first.map(|failure| (failure.place, exec_stream.first_error));
        self.given_ttls.clear();
        // What was not kept before it cannot be put back; that it ran all the same is told.
        let is_kept = self.guard.as_ref().is_some_and(|guard| *guard.verdict() == Verdict::Fine);
        let finished = if is_kept { FinishReply::read(&exec_stream.last) } else { FinishReply::Stands };
        let outcome = match self.reply_finished(&finished, failure, out, findings) {
            Some(outcome) => outcome,
            None => {
                let name = &self.rule.name;
                self.reply_all(
                    out,
                    &format!("COMMITTED group {name} was applied, its replies are too long to be kept until all is known"),
                );
                self.note_unguarded(self, Outcome::Committed, findings)
            }
        };
        findings.group(self.index, outcome);
    }

    fn conclude_stream(&mut self, exec_stream: ExecStream, findings: &mut Findings<'_>) {
        if self.carried.is_some() {
            return self.conclude_carried_stream(findings);
        }
        let outcome = self.note_applied(&exec_stream.failures, self.breach(), findings);
        let outcome = self.note_unguarded(self, outcome, findings);
        findings.group(self.index, outcome);
    }
}
