//! What EXEC's reply means for its transaction.

use std::sync::Arc;

use super::super::expectations::Breach;
use super::super::failure_tracker::{self, Failures};
use super::super::finding::{Finding, Outcome, Place, Unwrapped};
use super::super::permission::Permission;
use super::super::reading::Findings;
use super::super::violation::Kind;
use super::{WrappedGroup, proves_end};
use crate::preflight::Verdict;
use respguard_resp::scan::Top;
use respguard_resp::value;

/// What EXEC has answered.
#[derive(Debug)]
enum ExecAnswer {
    /// MULTI was refused: each command has run by itself, and has been answered.
    NoTransaction,
    /// The preflight has kept it from running.
    Prevented(Verdict),
    /// The server has refused it.
    Aborted,
    Applied,
}

impl WrappedGroup {
    /// An array means applied, anything else that nothing was (<https://redis.io/docs/latest/commands/exec/>).
    fn exec_answer(&self, frame: &[u8], top: Top) -> Result<ExecAnswer, String> {
        if !self.in_transaction {
            return Ok(ExecAnswer::NoTransaction);
        }
        if let Some(guard) = self.guard.as_ref().filter(|_| top.null)
            && !matches!(guard.verdict(), Verdict::Fine | Verdict::Missing)
        {
            return Ok(ExecAnswer::Prevented(guard.verdict().clone()));
        }
        if self.is_refused_again() {
            return Err("it was sent again, and what it needs for that is refused now".to_owned());
        }
        if value::is_error(frame) || top.null {
            return Ok(ExecAnswer::Aborted);
        }
        if top.elements != self.queued() {
            let why = format!("the server's answer has {} replies for {} commands", top.elements, self.queued());
            return Err(why);
        }
        Ok(ExecAnswer::Applied)
    }

    /// Answers what the transaction held.
    pub(super) fn admit_exec(&mut self, frame: &[u8], top: Top, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        let answer = match self.exec_answer(frame, top) {
            Ok(answer) => answer,
            Err(why) => {
                findings.found.extend((!self.is_refused_again()).then_some(Finding::CloseUpstream));
                return self.reply_unknown(&why, out, findings);
            }
        };
        self.note_answer(&answer, frame, top, findings.found);
        match self.carried.take() {
            Some(mut carried) => {
                match answer {
                    ExecAnswer::NoTransaction => carried.groups().for_each(|group| group.note_unwrapped(findings)),
                    ExecAnswer::Prevented(verdict) => self.answer_prevented(&mut carried, &verdict, findings),
                    ExecAnswer::Aborted => self.answer_aborted(&mut carried, frame, top, findings),
                    ExecAnswer::Applied => self.pass_carried(&mut carried, frame, out, findings),
                }
                self.carried = Some(carried);
            }
            None => self.answer_group(answer, frame, top, out, findings),
        }
    }

    /// The transaction holds one group, and nothing else.
    fn answer_group(&mut self, answer: ExecAnswer, frame: &[u8], top: Top, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        let before = out.len();
        let outcome = match answer {
            ExecAnswer::NoTransaction => return self.note_unwrapped(findings),
            ExecAnswer::Prevented(verdict) => self.reply_prevented(&verdict, out, findings),
            ExecAnswer::Aborted => {
                self.reply_aborted(&self.why_aborted(frame, top.null, findings.table), out);
                findings.violation(self.aborted(self.own_refused.as_deref().unwrap_or(frame), findings.table));
                Outcome::Aborted
            }
            ExecAnswer::Applied => {
                let outcome = self.reply_applied(frame, top, out, findings);
                self.note_unguarded(self, outcome, findings)
            }
        };
        findings.group(self.index, outcome);
        self.keep_replies(&out[before..], findings.found);
    }

    /// What it says of the connection, and of what the proxy has added.
    fn note_answer(&self, answer: &ExecAnswer, frame: &[u8], top: Top, found: &mut Vec<Finding>) {
        if matches!(answer, ExecAnswer::Prevented(_) | ExecAnswer::Aborted) {
            self.forget_kept(found);
        }
        match answer {
            ExecAnswer::Applied | ExecAnswer::Prevented(_) => {}
            ExecAnswer::NoTransaction => found.push(Finding::CloseUpstream),
            ExecAnswer::Aborted => {
                // What refused the preflight may refuse the next one too.
                if self.guard.as_ref().is_some_and(|guard| guard.error().is_some() || self.own_refused.is_some()) {
                    found.push(Finding::GuardLost);
                }
                if let Some(rule) = self.ttl_fixed.as_ref().filter(|_| self.ttl_fix_refused) {
                    found.push(Finding::TtlFixRefused { permission: Permission::Expire, rule: Arc::clone(&rule.name) });
                }
                if !proves_end(frame, top) {
                    found.push(Finding::CloseUpstream);
                }
            }
        }
    }

    /// What is kept of the keys of a group that has not run goes.
    fn forget_kept(&self, found: &mut Vec<Finding>) {
        if let Some(request) = self.guard.as_ref().and_then(|guard| guard.forget()) {
            found.push(Finding::FollowUp { request, frames: 1 });
        }
    }

    /// The server knows no transactions: the members have run one by one.
    fn note_unwrapped(&self, findings: &mut Findings<'_>) {
        let violation = self.violation(Kind::Unwrapped, findings.table);
        findings.violation(violation.reason(Some(Unwrapped::NoTransactions.as_str())));
        findings.group(self.index, Outcome::Unwrapped);
    }

    /// `group`, which was applied in this transaction although the preflight had not said that it could be.
    pub(super) fn note_unguarded(&self, group: &WrappedGroup, outcome: Outcome, findings: &mut Findings<'_>) -> Outcome {
        let Some(guard) = self.guard.as_ref().filter(|guard| *guard.verdict() != Verdict::Fine) else { return outcome };
        findings.found.push(Finding::GuardLost);
        let error = guard.error().map(value::error_text).unwrap_or_default();
        findings.violation(group.violation(Kind::Unguarded, findings.table).error(error));
        if outcome == Outcome::Applied { Outcome::Unguarded } else { outcome }
    }

    /// What became of a group that ran, by those of its members that have failed and by what its rule did not expect.
    pub(super) fn note_applied(&self, failures: &Failures, breach: Option<&Breach>, findings: &mut Findings<'_>) -> Outcome {
        let commands = || self.members.iter().copied();
        let outcome = match &failures.first {
            None => Outcome::Applied,
            Some(_) if failures.count == self.members() => Outcome::Failed,
            Some(failure) => {
                findings.found.push(Finding::PartialFailure(Place::Group));
                let rule = Some(&self.rule.name);
                findings.violation(failure_tracker::partial_failure(rule, failure, commands(), findings.table));
                Outcome::Torn
            }
        };
        if let Some(breach) = breach {
            findings.violation(breach.violation(&self.rule.name, commands(), findings.table));
        }
        outcome
    }
}
