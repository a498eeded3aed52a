//! A group on the wire as `MULTI` members `EXEC`: from its answers to one reply for each member.

use std::sync::Arc;

use super::finding::{Finding, Outcome, Place};
use super::resolve::{Context, Part};
use super::score::{self, Failure};
use super::violation::{Kind, OTHER_ERROR, Violation, error_word};
use crate::engine::command::{CommandId, Table};
use crate::engine::policy::{Group, OnPartial};
use crate::engine::resp::scan::{Top, elements};
use crate::engine::resp::{encode, value};

/// What goes before the members.
pub const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// What goes behind them.
pub const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// A group whose answers are coming in.
#[derive(Debug)]
pub struct WrappedGroup {
    /// Under which number the group is counted, and the rule as it was when the group was planned.
    index: usize,
    rule: Arc<Group>,
    members: Vec<CommandId>,
    /// Frames that are complete.
    answered: u32,
    /// MULTI answered `+OK`.
    in_transaction: bool,
    /// Members refused while they were queued: their place from 0 and Redis' own error.
    refused: Vec<(u32, Box<[u8]>)>,
    /// Members whose replies have left already, because they ran without a transaction.
    replied: u32,
    /// Parts of a frame that did not come in one piece.
    gathered: Vec<u8>,
    /// EXEC's array is passed on as it comes.
    passing: bool,
}

impl WrappedGroup {
    /// A group of `rule` that has been sent and not answered.
    pub fn new(index: usize, rule: Arc<Group>, members: Vec<CommandId>) -> WrappedGroup {
        let (refused, gathered) = (Vec::new(), Vec::new());
        WrappedGroup { index, rule, members, answered: 0, in_transaction: false, refused, replied: 0, gathered, passing: false }
    }

    /// Frames that the upstream owes for it: MULTI, each member, EXEC.
    pub fn frames(&self) -> u32 {
        self.members() + 2
    }

    /// Frames that are still to come.
    pub(super) fn remaining(&self) -> u32 {
        self.frames() - self.answered
    }

    fn members(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Takes a part of an answer; true when the group is done.
    pub(super) fn admit(
        &mut self,
        piece: &[u8],
        part: Part,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) -> bool {
        if let Some(replies) = self.passed(piece, part) {
            out.extend_from_slice(replies);
            if part.last {
                self.answered += 1;
                self.conclude_passed(part.top, context.table, found);
            }
            return part.last;
        }
        if !(part.first && part.last) {
            self.gathered.extend_from_slice(piece);
            if !part.last {
                return false;
            }
        }
        let gathered = std::mem::take(&mut self.gathered);
        let frame = if part.first { piece } else { &gathered };
        let place = self.answered;
        self.answered += 1;
        if place == 0 {
            self.in_transaction = frame == b"+OK\r\n";
        } else if place <= self.members() {
            self.admit_queued(place - 1, frame, out);
        } else {
            self.admit_exec(frame, part.top, out, context, found);
            return true;
        }
        false
    }

    /// What of the piece is the client's at once: an array of EXEC that comes in pieces need not be
    /// kept, unless a member's failure would change every reply.
    fn passed<'a>(&mut self, piece: &'a [u8], part: Part) -> Option<&'a [u8]> {
        if self.passing {
            return Some(piece);
        }
        let is_exec = self.in_transaction && self.answered > self.members();
        let is_whole_array = part.top.kind == b'*' && !part.top.null && part.top.elements == self.members();
        if part.last || !part.first || !is_exec || !is_whole_array || self.rule.on_partial == OnPartial::Fail {
            return None;
        }
        let header = memchr::memchr(b'\n', piece)?;
        self.passing = true;
        Some(&piece[header + 1..])
    }

    fn conclude_passed(&self, top: Top, table: &Table, found: &mut Vec<Finding>) {
        let outcome = match top.errors {
            0 => Outcome::Applied,
            errors if errors == self.members() => Outcome::Failed,
            _ => {
                // Which error it was has gone by with its piece.
                let failure = Failure { place: top.first_error + 1, error: OTHER_ERROR.into() };
                let commands = self.members.iter().copied();
                found.push(Finding::PartialFailure(Place::Group));
                found.push(Finding::Violation(score::partial_failure(Some(&self.rule.name), &failure, commands, table)));
                Outcome::Torn
            }
        };
        found.push(Finding::Group { index: self.index, outcome });
    }

    fn admit_queued(&mut self, member: u32, frame: &[u8], out: &mut Vec<u8>) {
        if !self.in_transaction {
            // MULTI was refused, so the member ran at once: this is its own reply.
            out.extend_from_slice(frame);
            self.replied += 1;
        } else if frame != b"+QUEUED\r\n" {
            self.refused.push((member, frame.into()));
        }
    }

    /// EXEC's answer decides (<https://redis.io/docs/latest/commands/exec/>): an array means
    /// applied, anything else means that nothing was.
    fn admit_exec(&mut self, frame: &[u8], top: Top, out: &mut Vec<u8>, context: &Context<'_>, found: &mut Vec<Finding>) {
        let outcome = if !self.in_transaction {
            found.push(Finding::CloseUpstream);
            found.push(Finding::Violation(self.violation(Kind::Unwrapped, context.table)));
            Outcome::Unwrapped
        } else if value::is_error(frame) || top.null {
            self.reply_aborted(frame, top.null, out, context.table);
            found.push(Finding::Violation(self.aborted(frame, context.table)));
            if !proves_end(frame, top) {
                found.push(Finding::CloseUpstream);
            }
            Outcome::Aborted
        } else if top.elements != self.members() {
            found.push(Finding::CloseUpstream);
            self.reply_all(
                out,
                &format!(
                    "TIMEOUT respguard: outcome of group {} unknown, the server's answer has {} replies for {} commands",
                    self.rule.name,
                    top.elements,
                    self.members.len()
                ),
            );
            Outcome::Unknown
        } else {
            self.reply_applied(frame, top, out, context.table, found)
        };
        found.push(Finding::Group { index: self.index, outcome });
    }

    fn reply_applied(&self, frame: &[u8], top: Top, out: &mut Vec<u8>, table: &Table, found: &mut Vec<Finding>) -> Outcome {
        let (failed, first) = if top.errors == 0 { (0, None) } else { self.failures(frame) };
        let partial = first.filter(|_| failed < self.members());
        if let Some(failure) = &partial {
            found.push(Finding::PartialFailure(Place::Group));
            let commands = self.members.iter().copied();
            found.push(Finding::Violation(score::partial_failure(Some(&self.rule.name), failure, commands, table)));
        }
        match partial {
            Some(failure) if self.rule.on_partial == OnPartial::Fail => {
                let error = elements(frame).nth(failure.place as usize - 1).map(value::error_text).unwrap_or_default();
                let text = format!(
                    "PARTIAL respguard: group {} was applied in part: member {} of {} ({}) answered {}",
                    self.rule.name,
                    failure.place,
                    self.members.len(),
                    self.name_at(failure.place - 1, table),
                    String::from_utf8_lossy(error),
                );
                self.reply_all(out, &text);
                Outcome::Torn
            }
            partial => {
                // The elements are the members' replies, byte for byte: only the header goes.
                let header = memchr::memchr(b'\n', frame).map_or(0, |at| at + 1);
                out.extend_from_slice(&frame[header..]);
                match (partial, failed) {
                    (Some(_), _) => Outcome::Torn,
                    (None, 0) => Outcome::Applied,
                    (None, _) => Outcome::Failed,
                }
            }
        }
    }

    fn failures(&self, frame: &[u8]) -> (u32, Option<Failure>) {
        let (mut failed, mut first) = (0, None);
        for (place, element) in (1..).zip(elements(frame)).filter(|(_, element)| score::is_failure(element)) {
            failed += 1;
            first.get_or_insert_with(|| Failure::new(place, element));
        }
        (failed, first)
    }

    fn reply_aborted(&self, exec: &[u8], null: bool, out: &mut Vec<u8>, table: &Table) {
        let why = match self.refused.first() {
            Some((place, _)) => {
                format!("member {} of {} ({}) was refused", place + 1, self.members.len(), self.name_at(*place, table))
            }
            None if null => "a watched key changed".to_owned(),
            None => String::from_utf8_lossy(value::error_text(exec)).into_owned(),
        };
        let text = format!(
            "EXECABORT Transaction discarded because of previous errors. respguard: group {} was not applied: {why}",
            self.rule.name
        );
        let mut refused = self.refused.iter().peekable();
        for place in 0..self.members() {
            match refused.next_if(|(at, _)| *at == place) {
                Some((_, own)) => out.extend_from_slice(own),
                None => encode::error(out, &text),
            }
        }
    }

    /// The connection failed before EXEC's answer: every member that has no reply gets `text`.
    pub(super) fn reply_fault(&self, out: &mut Vec<u8>, text: &str) {
        for _ in self.replied..self.members() {
            encode::error(out, text);
        }
    }

    /// The group's place among the rules.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The name of the rule that made it a group.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.rule.name
    }

    pub(super) fn violation(&self, kind: Kind, table: &Table) -> Violation {
        Violation::new(kind).rule(&self.rule.name).commands(self.members.iter().map(|&id| table.spec(id).name()))
    }

    fn aborted(&self, exec: &[u8], table: &Table) -> Violation {
        let violation = self.violation(Kind::Aborted, table);
        match self.refused.first() {
            Some((place, own)) => violation.place(place + 1).error(value::error_text(own)),
            None => violation.error(value::error_text(exec)),
        }
    }

    fn reply_all(&self, out: &mut Vec<u8>, text: &str) {
        for _ in 0..self.members.len() {
            encode::error(out, text);
        }
    }

    fn name_at(&self, place: u32, table: &Table) -> String {
        self.members.get(place as usize).map(|&id| table.spec(id).name().to_uppercase()).unwrap_or_default()
    }
}

/// True when EXEC's answer, or DISCARD's, proves that the connection is no longer in MULTI.
///
/// An array, a null and EXECABORT do, and so do the errors that EXEC answers after it has discarded
/// the queue; an error of EXEC itself (NOPERM) leaves the transaction open.
pub(super) fn proves_end(frame: &[u8], top: Top) -> bool {
    if !value::is_error(frame) {
        return matches!(top.kind, b'*' | b'_' | b'$') || top.null || frame == b"+OK\r\n";
    }
    matches!(error_word(value::error_text(frame)), "EXECABORT" | "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT" | "CLUSTERDOWN")
        || frame.starts_with(b"-ERR EXEC without MULTI")
        || frame.starts_with(b"-ERR DISCARD without MULTI")
}
