//! The outcome of a group, and what its members answer.

use super::super::expectations::Breach;
use super::super::failure_tracker::{Failure, Failures};
use super::super::finding::{Finding, Outcome, Place};
use super::super::packed_reply::{PackedPart, parts_of};
use super::super::refusal;
use super::super::reply_checks::part;
use super::super::unpack::Unpack;
use super::super::violation::{Kind, Violation};
use super::WrappedGroup;
use crate::command::Table;
use crate::pipeline::reading::{Findings, MemberReply};
use crate::policy::OnPartial;
use crate::preflight::rollback::FinishReply;
use crate::preflight::{Duplicate, Verdict};
use respguard_resp::scan::{Top, elements, split_pushes};
use respguard_resp::{encode, value};

impl WrappedGroup {
    pub(super) fn reply_applied(&mut self, frame: &[u8], top: Top, out: &mut Vec<u8>, findings: &mut Findings<'_>) -> Outcome {
        if let Some(outcome) = self.reply_rolled_back(frame, out, findings) {
            return outcome;
        }
        let failures = if top.errors == 0 { Failures::default() } else { self.failures(frame) };
        let breach = self.first_breach(frame);
        let outcome = self.note_applied(&failures, breach.as_ref(), findings);
        let text = match (outcome, failures.first, breach) {
            (Outcome::Torn, Some(Failure { place, .. }), _) if self.rule.on_partial == OnPartial::Fail => {
                let place = place as usize - 1;
                let error = self.replies(frame).nth(place).unwrap_or_default();
                let why = refusal::answered(place, error, &self.members, findings.table);
                format!("PARTIAL respguard: group {} was applied in part: {why}", self.rule.name)
            }
            (Outcome::Applied, _, Some(breach)) if self.rule.on_partial == OnPartial::Fail => {
                self.breach_text(&breach, findings.table)
            }
            _ => {
                self.pass_replies(frame, out, findings);
                return outcome;
            }
        };
        self.replace_replies(frame, &text, out, findings);
        outcome
    }

    pub(super) fn breach(&self) -> Option<&Breach> {
        self.expectations.as_ref()?.breach()
    }

    fn first_breach(&mut self, frame: &[u8]) -> Option<Breach> {
        let mut expectations = self.expectations.take()?;
        self.replies(frame).for_each(|reply| expectations.admit(reply, true));
        expectations.breach().cloned()
    }

    fn breach_text(&self, breach: &Breach, table: &Table) -> String {
        format!(
            "PARTIAL respguard: group {} was applied, but {} answered {}, expected {}",
            self.rule.name,
            refusal::named(breach.place as usize - 1, &self.members, table),
            breach.found,
            breach.wanted,
        )
    }

    /// The elements are the members' replies, byte for byte: only the header goes, and what answers our own commands.
    pub(super) fn pass_replies(&mut self, frame: &[u8], out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        if self.checks.is_none() && self.own.is_empty() {
            let header = memchr::memchr(b'\n', frame).map_or(0, |at| at + 1);
            return out.extend_from_slice(&frame[header..]);
        }
        if self.checks.is_none() && self.own.len() == self.own_in_front() {
            let mut elements = elements(frame);
            elements.by_ref().take(self.own.len()).for_each(drop);
            return out.extend_from_slice(elements.rest());
        }
        let mut checks = self.checks.take();
        for (at, element) in (0..).zip(elements(frame)) {
            // What the server sends amid the replies is the client's, whosever command it precedes.
            let (pushes, reply) = split_pushes(element);
            out.extend_from_slice(pushes);
            match (self.member_at(at), &mut checks) {
                (None, _) => {}
                (Some(place), Some(checks)) => {
                    checks.admit(MemberReply { place, bytes: reply, part: part(true, true) }, out, findings);
                }
                (Some(_), None) => out.extend_from_slice(reply),
            }
        }
    }

    /// Every member is answered `text` instead, behind what the server has sent amid their replies.
    fn replace_replies(&mut self, frame: &[u8], text: &str, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        self.pass_replies(frame, &mut Vec::new(), findings);
        elements(frame).for_each(|element| out.extend_from_slice(split_pushes(element).0));
        self.reply_all(out, text);
    }

    pub(super) fn check(&mut self, reply: MemberReply<'_>, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        match &mut self.checks {
            None => out.extend_from_slice(reply.bytes),
            Some(checks) => checks.admit(reply, out, findings),
        }
    }

    /// Whether its members' replies may have values that have to be read.
    pub(in super::super) fn reads_values(&self) -> bool {
        self.checks.as_ref().is_some_and(|checks| checks.reads_values())
    }

    /// Where values are in a whole answer, if that is EXEC's array.
    pub(in super::super) fn packed_parts(&self, frame: &[u8], top: Top) -> Vec<PackedPart> {
        let is_exec = self.in_transaction && self.answered == self.frames_in_front() + self.queued() + 1;
        let is_array = top.kind == b'*' && !top.null && top.elements == self.queued();
        match &self.checks {
            Some(checks) if is_exec && is_array && !self.is_in_doubt() && self.take_back.is_none() => {
                parts_of(frame, &|at| self.member_at(at), &|place| checks.reader(place))
            }
            _ => Vec::new(),
        }
    }

    pub(in super::super) fn unpacks(&mut self) -> impl Iterator<Item = (u32, &mut Unpack)> {
        self.checks.iter_mut().flat_map(|checks| checks.unpacks())
    }

    /// The members' replies within EXEC's array.
    pub(super) fn replies<'a>(&'a self, frame: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let members = (0..).zip(elements(frame)).filter(|(place, _)| self.member_at(*place).is_some());
        members.map(|(_, element)| split_pushes(element).1)
    }

    fn failures(&self, frame: &[u8]) -> Failures {
        let mut failures = Failures::default();
        let errors = (1..).zip(self.replies(frame)).filter(|(_, element)| value::is_error(element));
        errors.for_each(|(place, error)| failures.note(place, error));
        failures
    }

    pub(super) fn reply_prevented(&self, verdict: &Verdict, out: &mut Vec<u8>, findings: &mut Findings<'_>) -> Outcome {
        let violation = self.violation(Kind::Aborted, findings.table);
        let place = |member: usize| u32::try_from(member + 1).unwrap_or(u32::MAX);
        match verdict {
            Verdict::Fails { member, error } => {
                self.reply_predicted(*member, error, out, findings.table);
                findings.violation(violation.place(place(*member)).error(error.as_bytes()));
            }
            Verdict::Unmet { member, required } => {
                let why = format!("{} requires {required}", refusal::named(*member, &self.members, findings.table));
                self.reply_all(out, &refusal::aborted(&self.rule.name, &why));
                findings.violation(violation.place(place(*member)).reason(Some(why)));
            }
            Verdict::Unkept { why } => {
                let why = format!("what its keys hold cannot be kept: {why}");
                self.reply_all(out, &refusal::aborted(&self.rule.name, &why));
                findings.violation(violation.reason(Some(why)));
            }
            Verdict::Unasked { error } => {
                let why = format!("whether it was applied before may not be asked: {error}");
                self.reply_all(out, &refusal::aborted(&self.rule.name, &why));
                findings.violation(violation.error(error.as_bytes()).reason(Some(why)));
            }
            Verdict::Applied(duplicate) => {
                let kept = self.guard.as_ref().and_then(|guard| guard.kept(duplicate, self.members.len()));
                self.reply_duplicate(duplicate, kept, out, findings);
                return Outcome::Duplicate;
            }
            Verdict::Fine | Verdict::Missing => {}
        }
        Outcome::Refused
    }

    /// A member has failed, and all is as it was before: true where that is so. The last of the array says it.
    fn reply_rolled_back(&mut self, frame: &[u8], out: &mut Vec<u8>, findings: &mut Findings<'_>) -> Option<Outcome> {
        // What was not kept before it cannot be put back; that it ran all the same is told elsewhere.
        self.guard.as_ref().filter(|guard| guard.rolls_back() && *guard.verdict() == Verdict::Fine)?;
        let last = elements(frame).last().map(|element| split_pushes(element).1).unwrap_or_default();
        let finished = FinishReply::read(last);
        if finished == FinishReply::Stands {
            return None;
        }
        let first = self.failures(frame).first;
        let place = first.as_ref().map(|failure| failure.place);
        let error = place.and_then(|place| self.replies(frame).nth(place as usize - 1)).unwrap_or_default().to_vec();
        elements(frame).for_each(|element| out.extend_from_slice(split_pushes(element).0));
        self.reply_finished(&finished, place.map(|place| (place, error)), out, findings)
    }

    /// What its members are answered where the last script says that one has failed: the first of them, with its error, where
    /// that has answered one.
    pub(super) fn reply_finished(
        &mut self,
        finished: &FinishReply,
        failure: Option<(u32, Vec<u8>)>,
        out: &mut Vec<u8>,
        findings: &mut Findings<'_>,
    ) -> Option<Outcome> {
        if *finished == FinishReply::Stands {
            return None;
        }
        let (place, error) = failure.unzip();
        let error = error.unwrap_or_default();
        let why = match place {
            Some(place) => refusal::answered(place as usize - 1, &error, &self.members, findings.table),
            None => "an error was caught within a script".to_owned(),
        };
        let violation = self.violation(Kind::Aborted, findings.table).error(value::error_text(&error));
        let violation = Violation { place, ..violation };
        self.given_ttls.clear();
        if let FinishReply::Failed(bad) = finished {
            let text = format!(
                "PARTIAL respguard: group {} was applied in part: {why}; not all could be put back: {bad}",
                self.rule.name
            );
            self.reply_all(out, &text);
            findings.found.push(Finding::PartialFailure(Place::Group));
            findings.violation(Violation { kind: Kind::PartialFailure, reason: Some(bad.to_string().into()), ..violation });
            return Some(Outcome::Torn);
        }
        let text = refusal::aborted(&self.rule.name, &format!("{why}; all is as it was before"));
        for member in 0..self.members() {
            if place == Some(member + 1) { out.extend_from_slice(&error) } else { encode::error(out, &text) }
        }
        findings.violation(violation);
        Some(Outcome::RolledBack)
    }

    /// The group was applied before: it is answered as it was then, or that it was.
    pub(super) fn reply_duplicate(
        &self,
        duplicate: &Duplicate,
        kept: Option<&[u8]>,
        out: &mut Vec<u8>,
        findings: &mut Findings<'_>,
    ) {
        if let Some(replies) = kept {
            return out.extend_from_slice(replies);
        }
        let when = match duplicate.age {
            Some(age) => format!("{}.{} s ago", age.as_secs(), age.subsec_millis() / 100),
            None => "before".to_owned(),
        };
        self.reply_all(out, &format!("DUPLICATE group {} was applied {when}; nothing was applied again", self.rule.name));
        findings.violation(self.violation(Kind::Duplicate, findings.table));
    }

    /// What the group is answered is kept for those that come again.
    pub(super) fn keep_replies(&self, replies: &[u8], found: &mut Vec<Finding>) {
        let is_applied = matches!(found.last(), Some(Finding::Group { outcome: Outcome::Applied, .. }));
        if let Some(guard) = self.guard.as_ref().filter(|_| is_applied)
            && let Some(request) = guard.keep(replies, self.members.len())
        {
            found.push(Finding::FollowUp { request, frames: 1 });
        }
    }

    fn reply_predicted(&self, member: usize, error: &str, out: &mut Vec<u8>, table: &Table) {
        let text = refusal::aborted(&self.rule.name, &refusal::would_answer(member, error, &self.members, table));
        for place in 0..self.members.len() {
            encode::error(out, if place == member { error } else { &text });
        }
    }

    /// Why the server has applied nothing.
    pub(super) fn why_aborted(&self, exec: &[u8], is_null: bool, table: &Table) -> String {
        match (self.refused.first(), &self.own_refused, &self.guard) {
            (Some((place, error)), ..) => refusal::answered(*place as usize, error, &self.members, table),
            (None, Some(own), _) => {
                format!("a command that respguard adds was refused: {}", refusal::quoted(value::error_text(own)))
            }
            (None, None, Some(guard)) if is_null => {
                format!("other clients changed its keys at each of {} attempts", guard.attempts())
            }
            (None, None, None) if is_null => "a watched key changed".to_owned(),
            (None, None, _) => refusal::quoted(value::error_text(exec)),
        }
    }

    /// The members that were refused answer their own errors, all others why nothing was applied.
    pub(super) fn reply_aborted(&self, why: &str, out: &mut Vec<u8>) {
        let text = refusal::aborted(&self.rule.name, why);
        let mut refused = self.refused.iter().peekable();
        for place in 0..self.members() {
            match refused.next_if(|(at, _)| *at == place) {
                Some((_, own)) => out.extend_from_slice(own),
                None => encode::error(out, &text),
            }
        }
    }

    /// `error`: what has kept it from being applied, where none of its members has.
    pub(super) fn aborted(&self, error: &[u8], table: &Table) -> Violation {
        let violation = self.violation(Kind::Aborted, table);
        match self.refused.first() {
            Some((place, own)) => violation.place(place + 1).error(value::error_text(own)),
            None => violation.error(value::error_text(error)),
        }
    }
}
