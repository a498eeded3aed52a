//! A group on the wire as `MULTI` members `EXEC`, perhaps behind a preflight: from its answers to one reply for each member.

use std::ops::Range;
use std::sync::Arc;

use passage::Passage;

use super::demand::{Breach, Demands};
use super::finding::{Finding, Outcome, Place};
use super::guard::{Guard, LEAD};
use super::panel::{Panel, part};
use super::refusal;
use super::resolve::{Context, Part};
use super::score::{self, Failure};
use super::settle::Settlement;
use super::violation::{Kind, Violation, error_word};
use crate::engine::command::{CommandId, Table};
use crate::engine::policy::{Group, OnPartial, TtlRule};
use crate::engine::preflight::Verdict;
use crate::engine::resp::scan::{Top, elements};
use crate::engine::resp::{encode, value};

/// What goes before the members.
pub const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// What goes behind them.
pub const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// A command of our own within the transaction: its client sees neither the command nor its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// How many members go before it.
    pub behind: u32,
    /// As it goes on the wire.
    pub request: Vec<u8>,
}

/// The whole transaction as it goes on the wire: `push_wire` adds the bytes of consecutive members, in as many pieces as
/// they lie in.
///
/// `injected` is in the order of the wire.
pub fn parts<'a>(members: u32, injected: &'a [Injected], push_wire: impl Fn(Range<u32>, &mut Vec<&'a [u8]>)) -> Vec<&'a [u8]> {
    let mut parts = Vec::with_capacity(3 + 2 * injected.len());
    parts.push(MULTI);
    let mut next = 0;
    for own in injected {
        if own.behind > next {
            push_wire(next..own.behind, &mut parts);
        }
        parts.push(&own.request);
        next = own.behind;
    }
    if next < members {
        push_wire(next..members, &mut parts);
    }
    parts.push(EXEC);
    parts
}

/// A group whose answers are coming in.
#[derive(Debug)]
pub struct WrappedGroup {
    /// Under which number the group is counted, and the rule as it was when the group was planned.
    index: usize,
    rule: Arc<Group>,
    members: Vec<CommandId>,
    /// Which of the queued commands are our own, from 0, in order.
    own: Vec<u32>,
    /// What precedes the transaction, where something does.
    guard: Option<Box<Guard>>,
    /// Frames that are complete.
    answered: u32,
    /// MULTI answered `+OK`.
    in_transaction: bool,
    /// Members refused while they were queued: their place from 0 and Redis' own error.
    refused: Vec<(u32, Box<[u8]>)>,
    /// The error of the first command of our own that was.
    own_refused: Option<Box<[u8]>>,
    /// Members whose replies have left already, because they ran without a transaction.
    replied: u32,
    /// Parts of a frame that did not come in one piece.
    gathered: Vec<u8>,
    /// EXEC's array is passed on as it comes, one element at a time.
    passage: Option<Box<Passage>>,
    demands: Option<Box<Demands>>,
    /// What its marker is good for, where it carries one.
    settlement: Option<Box<Settlement>>,
    panel: Option<Box<Panel>>,
    /// The TTL rule that commands of our own behind the members are for.
    mended: Option<Arc<TtlRule>>,
    /// One of those was refused while it was queued.
    mend_refused: bool,
}

/// A member's reply, or a part of it.
struct MemberReply<'a> {
    place: u32,
    bytes: &'a [u8],
    part: Part,
}

impl WrappedGroup {
    /// In the place of the group's place among the rules: a single command, which is no group.
    pub const ALONE: usize = usize::MAX;

    /// A group of `rule` that has been sent and not answered.
    pub fn new(index: usize, rule: Arc<Group>, members: Vec<CommandId>) -> WrappedGroup {
        WrappedGroup {
            index,
            rule,
            members,
            own: Vec::new(),
            guard: None,
            answered: 0,
            in_transaction: false,
            refused: Vec::new(),
            own_refused: None,
            replied: 0,
            gathered: Vec::new(),
            passage: None,
            demands: None,
            settlement: None,
            panel: None,
            mended: None,
            mend_refused: false,
        }
    }

    /// What the rule demands of the members' replies.
    pub fn demanding(self, demands: Option<Box<Demands>>) -> WrappedGroup {
        WrappedGroup { demands, ..self }
    }

    /// What rules about single commands say of the members' replies.
    pub fn judged(self, panel: Option<Box<Panel>>) -> WrappedGroup {
        WrappedGroup { panel, ..self }
    }

    /// The TTL rule that commands of our own behind the members are for.
    pub fn mended(self, mended: Option<Arc<TtlRule>>) -> WrappedGroup {
        WrappedGroup { mended, ..self }
    }

    /// The group with commands of our own between its members, in the order of the wire.
    pub fn with_injected(mut self, injected: &[Injected]) -> WrappedGroup {
        self.own = (0..).zip(injected).map(|(before, own)| own.behind + before).collect();
        self
    }

    /// The group behind its preflight.
    pub fn with_guard(mut self, guard: Guard) -> WrappedGroup {
        self.guard = Some(Box::new(guard));
        self
    }

    /// The group with its marker, which is among the commands of our own.
    pub fn with_settlement(mut self, settlement: Settlement) -> WrappedGroup {
        self.settlement = Some(Box::new(settlement));
        self
    }

    /// Frames that the upstream owes for it: those of its preflight, MULTI, each member, each command of our own, EXEC.
    pub fn frames(&self) -> u32 {
        self.lead() + self.queued() + 2
    }

    /// Frames before the one of MULTI.
    fn lead(&self) -> u32 {
        if self.guard.is_some() { LEAD } else { 0 }
    }

    /// What is to be sent once more for it.
    pub(super) fn take_again(&mut self) -> Option<&[u8]> {
        self.guard.as_mut()?.take_again()
    }

    /// Commands between MULTI and EXEC.
    fn queued(&self) -> u32 {
        self.members() + u32::try_from(self.own.len()).unwrap_or(u32::MAX)
    }

    /// How many commands of our own stand before all members.
    fn own_in_front(&self) -> usize {
        (0..).zip(&self.own).take_while(|(place, own)| *place == **own).count()
    }

    /// How many commands of our own stand behind all members.
    fn own_behind(&self) -> u32 {
        let behind = (0..self.queued()).rev().zip(self.own.iter().rev()).take_while(|(place, own)| place == *own);
        u32::try_from(behind.count()).unwrap_or(u32::MAX)
    }

    /// Which member the queued command at `place` is; `None` for one of our own.
    fn member_at(&self, place: u32) -> Option<u32> {
        let before = self.own.partition_point(|own| *own < place);
        (self.own.get(before) != Some(&place)).then(|| place - u32::try_from(before).unwrap_or(u32::MAX))
    }

    /// Frames that are still to come.
    pub(super) fn remaining(&self) -> u32 {
        self.owed_in_doubt().unwrap_or_else(|| self.frames() - self.answered)
    }

    /// Replies that the client is owed for it.
    pub(super) fn reply_count(&self) -> usize {
        self.members.len()
    }

    /// Part of EXEC's array has gone to the client.
    pub(super) fn is_passing(&self) -> bool {
        self.passage.is_some()
    }

    fn members(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Takes a part of an answer; true when the group is done. `alone` says that its client has sent nothing behind it.
    pub(super) fn admit(
        &mut self,
        piece: &[u8],
        part: Part,
        alone: bool,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) -> bool {
        if self.pass_on(piece, part, out, context.table, found) {
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
        if self.is_in_doubt() {
            return self.admit_inquiry(frame, out, context, found);
        }
        let (at, lead) = (self.answered, self.lead());
        self.answered += 1;
        let Some(place) = at.checked_sub(lead) else {
            if let Some(guard) = &mut self.guard {
                guard.admit(at, frame);
            }
            return false;
        };
        if place == 0 {
            self.in_transaction = frame == b"+OK\r\n";
        } else if place <= self.queued() {
            self.admit_queued(place - 1, frame, out);
        } else if part.top.null && self.tries_again(alone) {
            return false;
        } else {
            self.admit_exec(frame, part.top, out, context, found);
            return true;
        }
        false
    }

    fn admit_queued(&mut self, place: u32, frame: &[u8], out: &mut Vec<u8>) {
        if self.in_transaction && frame == b"+QUEUED\r\n" {
            return;
        }
        let Some(member) = self.member_at(place) else {
            if self.in_transaction {
                self.own_refused.get_or_insert_with(|| frame.into());
                // What a TTL rule adds stands behind all members, and before the marker.
                let is_behind = place >= self.queued() - self.own_behind();
                let is_marker = self.settlement.is_some() && place + 1 == self.queued();
                self.mend_refused |= is_behind && !is_marker && frame.starts_with(b"-NOPERM ");
            }
            return;
        };
        if !self.in_transaction {
            // MULTI was refused, so the member ran at once: this is its own reply.
            out.extend_from_slice(frame);
            self.replied += 1;
        } else {
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
        } else if let Some((member, error)) = self.foretold(top) {
            self.reply_foretold(member, &error, out, context.table);
            let place = u32::try_from(member + 1).unwrap_or(u32::MAX);
            found.push(Finding::Violation(self.violation(Kind::Aborted, context.table).place(place).error(error.as_bytes())));
            Outcome::Refused
        } else if self.is_refused_again() {
            self.reply_unknown("it was sent again, and what it needs for that is refused now", out, context.table, found);
            Outcome::Unknown
        } else if value::is_error(frame) || top.null {
            self.note_guard(found);
            if let Some(rule) = self.mended.as_ref().filter(|_| self.mend_refused) {
                found.push(Finding::MendRefused { rule: Arc::clone(&rule.name) });
            }
            self.reply_aborted(frame, top.null, out, context.table);
            found.push(Finding::Violation(self.aborted(frame, context.table)));
            if !proves_end(frame, top) {
                found.push(Finding::CloseUpstream);
            }
            Outcome::Aborted
        } else if top.elements != self.queued() {
            found.push(Finding::CloseUpstream);
            self.reply_all(
                out,
                &format!(
                    "TIMEOUT respguard: outcome of group {} unknown, the server's answer has {} replies for {} commands",
                    self.rule.name,
                    top.elements,
                    self.queued()
                ),
            );
            Outcome::Unknown
        } else {
            let outcome = self.reply_applied(frame, top, out, context.table, found);
            self.note_unguarded(outcome, context.table, found)
        };
        found.push(Finding::Group { index: self.index, outcome });
    }

    fn reply_applied(&mut self, frame: &[u8], top: Top, out: &mut Vec<u8>, table: &Table, found: &mut Vec<Finding>) -> Outcome {
        let (failed, first) = if top.errors == 0 { (0, None) } else { self.failures(frame) };
        let partial = first.filter(|_| failed < self.members());
        if let Some(failure) = &partial {
            found.push(Finding::PartialFailure(Place::Group));
            let commands = self.members.iter().copied();
            found.push(Finding::Violation(score::partial_failure(Some(&self.rule.name), failure, commands, table)));
        }
        let breach = self.first_breach(frame);
        if let Some(breach) = &breach {
            found.push(Finding::Violation(breach.violation(&self.rule.name, self.members.iter().copied(), table)));
        }
        match partial {
            Some(failure) if self.rule.on_partial == OnPartial::Fail => {
                let error = self.replies(frame).nth(failure.place as usize - 1).map(value::error_text).unwrap_or_default();
                let text = format!(
                    "PARTIAL respguard: group {} was applied in part: member {} of {} ({}) answered {}",
                    self.rule.name,
                    failure.place,
                    self.members.len(),
                    self.name_at(failure.place - 1, table),
                    String::from_utf8_lossy(error),
                );
                self.pass_replies(frame, &mut Vec::new(), table, found);
                self.reply_all(out, &text);
                Outcome::Torn
            }
            None if failed == 0 && self.rule.on_partial == OnPartial::Fail && breach.is_some() => {
                let breach = breach.as_ref().map(|breach| self.breach_text(breach, table)).unwrap_or_default();
                self.pass_replies(frame, &mut Vec::new(), table, found);
                self.reply_all(out, &breach);
                Outcome::Applied
            }
            partial => {
                self.pass_replies(frame, out, table, found);
                match (partial, failed) {
                    (Some(_), _) => Outcome::Torn,
                    (None, 0) => Outcome::Applied,
                    (None, _) => Outcome::Failed,
                }
            }
        }
    }

    fn first_breach(&mut self, frame: &[u8]) -> Option<Breach> {
        let mut demands = self.demands.take()?;
        self.replies(frame).for_each(|reply| demands.admit(reply, true));
        demands.breach().cloned()
    }

    fn breach_text(&self, breach: &Breach, table: &Table) -> String {
        format!(
            "PARTIAL respguard: group {} was applied, but member {} of {} ({}) answered {}, expected {}",
            self.rule.name,
            breach.place,
            self.members.len(),
            self.name_at(breach.place - 1, table),
            breach.found,
            breach.wanted,
        )
    }

    /// The elements are the members' replies, byte for byte: only the header goes, and what answers our own commands.
    fn pass_replies(&mut self, frame: &[u8], out: &mut Vec<u8>, table: &Table, found: &mut Vec<Finding>) {
        if let Some(mut panel) = self.panel.take() {
            for (place, reply) in (0..).zip(self.replies(frame)) {
                panel.admit(place, reply, part(true, true), out, table, found);
            }
        } else if self.own.is_empty() {
            let header = memchr::memchr(b'\n', frame).map_or(0, |at| at + 1);
            out.extend_from_slice(&frame[header..]);
        } else if self.own.len() == self.own_in_front() {
            let mut elements = elements(frame);
            elements.by_ref().take(self.own.len()).for_each(drop);
            out.extend_from_slice(elements.rest());
        } else {
            self.replies(frame).for_each(|reply| out.extend_from_slice(reply));
        }
    }

    fn judge(&mut self, reply: MemberReply<'_>, out: &mut Vec<u8>, table: &Table, found: &mut Vec<Finding>) {
        match &mut self.panel {
            None => out.extend_from_slice(reply.bytes),
            Some(panel) => panel.admit(reply.place, reply.bytes, reply.part, out, table, found),
        }
    }

    /// The members' replies within EXEC's array.
    fn replies<'a>(&'a self, frame: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        (0..).zip(elements(frame)).filter(|(place, _)| self.member_at(*place).is_some()).map(|(_, reply)| reply)
    }

    fn failures(&self, frame: &[u8]) -> (u32, Option<Failure>) {
        let (mut failed, mut first) = (0, None);
        for (place, element) in (1..).zip(self.replies(frame)).filter(|(_, element)| score::is_failure(element)) {
            failed += 1;
            first.get_or_insert_with(|| Failure::new(place, element));
        }
        (failed, first)
    }

    /// Whether the group goes out once more: nothing of it was applied, and another client was the reason.
    fn tries_again(&mut self, alone: bool) -> bool {
        let again = self.refused.is_empty() && self.guard.as_mut().is_some_and(|guard| guard.tries_again(alone));
        if again {
            self.start_over();
        }
        again
    }

    /// None of its answers counts any more.
    fn start_over(&mut self) {
        (self.answered, self.in_transaction, self.own_refused) = (0, false, None);
        self.refused.clear();
        self.gathered.clear();
        self.mend_refused = false;
        if let Some(guard) = &mut self.guard {
            guard.start_over();
        }
    }

    /// The member that kept the group from running, if the preflight did.
    fn foretold(&self, top: Top) -> Option<(usize, Box<str>)> {
        match self.guard.as_ref()?.verdict() {
            Verdict::Fails { member, error } if top.null => Some((*member, error.clone())),
            _ => None,
        }
    }

    fn reply_foretold(&self, member: usize, error: &str, out: &mut Vec<u8>, table: &Table) {
        let text = refusal::aborted(&self.rule.name, &refusal::would_fail(member, &self.members, table));
        for place in 0..self.members.len() {
            encode::error(out, if place == member { error } else { &text });
        }
    }

    /// What refused the preflight may refuse the next one too.
    fn note_guard(&self, found: &mut Vec<Finding>) {
        if self.guard.as_ref().is_some_and(|guard| guard.error().is_some())
            || (self.guard.is_some() && self.own_refused.is_some())
        {
            found.push(Finding::GuardLost);
        }
    }

    /// A group that was applied although its preflight had not said that it could be.
    fn note_unguarded(&self, outcome: Outcome, table: &Table, found: &mut Vec<Finding>) -> Outcome {
        let Some(guard) = self.guard.as_ref().filter(|guard| *guard.verdict() != Verdict::Fine) else { return outcome };
        found.push(Finding::GuardLost);
        let violation = self.violation(Kind::Unguarded, table);
        let error = guard.error().map(value::error_text).unwrap_or_default();
        found.push(Finding::Violation(violation.error(error)));
        if outcome == Outcome::Applied { Outcome::Unguarded } else { outcome }
    }

    fn reply_aborted(&self, exec: &[u8], null: bool, out: &mut Vec<u8>, table: &Table) {
        let why = match self.refused.first() {
            Some((place, _)) => {
                format!("member {} of {} ({}) was refused", place + 1, self.members.len(), self.name_at(*place, table))
            }
            None if null => match &self.guard {
                Some(guard) => format!("other clients changed its keys at each of {} attempts", guard.attempts()),
                None => "a watched key changed".to_owned(),
            },
            None if self.own_refused.is_some() => {
                let error = self.own_refused.as_deref().map(value::error_text).unwrap_or_default();
                format!("a command that respguard adds was refused: {}", String::from_utf8_lossy(error))
            }
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
            None => violation.error(value::error_text(self.own_refused.as_deref().unwrap_or(exec))),
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

mod doubt;

mod passage;
#[cfg(test)]
mod tests;
