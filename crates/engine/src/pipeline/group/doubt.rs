//! A wrapped group whose connection was lost: which questions resolve it, and what its members answer.

use std::time::Instant;

use super::super::finding::{Fault, Finding, Outcome, Resolution, unknown};
use super::super::in_doubt::{INQUIRY_FRAMES, Inquiry, Next, Stage};
use super::super::reading::Findings;
use super::super::refusal;
use super::WrappedGroup;
use super::ending::Ending;
use crate::link::budget::Budget;
use crate::link::handshake::{Kill, OrphanedConnection};
use respguard_resp::value;

impl WrappedGroup {
    /// It may be sent again while it is unanswered.
    pub(in super::super) fn is_resolved_later(&self) -> bool {
        self.in_doubt.is_some()
    }

    /// Its connection was lost, and whether it was applied is not known yet.
    pub(in super::super) fn is_in_doubt(&self) -> bool {
        self.in_doubt.as_ref().is_some_and(|in_doubt| matches!(in_doubt.stage, Stage::Lost | Stage::Asked(_)))
    }

    /// Frames that are owed while it is in doubt.
    pub(super) fn owed_in_doubt(&self) -> Option<u32> {
        match &self.in_doubt.as_ref()?.stage {
            Stage::Lost => Some(INQUIRY_FRAMES),
            Stage::Asked(inquiry) => Some(INQUIRY_FRAMES - inquiry.answers),
            Stage::Sent | Stage::Absent => None,
        }
    }

    pub(in super::super) fn has_recovery(&self) -> bool {
        self.in_doubt.as_ref().is_some_and(|in_doubt| matches!(in_doubt.stage, Stage::Lost | Stage::Absent))
    }

    /// The connection is lost; true when it is to be asked whether the group was applied.
    pub(in super::super) fn lose(&mut self) -> bool {
        // A MULTI that was refused has let the members run one by one.
        let is_whole = self.take_back.is_none()
            && self.replied == 0
            && !self.has_replied_in_part()
            && (self.in_transaction || self.answered <= self.frames_in_front());
        let Some(in_doubt) = self.in_doubt.as_mut().filter(|_| is_whole) else { return false };
        in_doubt.stage = Stage::Lost;
        self.start_over();
        true
    }

    /// Which connection that was.
    pub(in super::super) fn note_lost(&mut self, orphan: Option<OrphanedConnection>) {
        if let Some(in_doubt) = self.in_doubt.as_mut() {
            in_doubt.note_lost(orphan);
        }
    }

    /// Only what has become of it is found out.
    pub(in super::super) fn keep_from_going_again(&mut self) {
        if let Some(in_doubt) = self.in_doubt.as_mut() {
            in_doubt.may_go_again = false;
        }
    }

    pub(in super::super) fn next_recovery(
        &mut self,
        now: Instant,
        budget: &mut Budget,
        found: &mut Vec<Finding>,
    ) -> Option<(Next, (Instant, Instant))> {
        let in_doubt = self.in_doubt.as_mut()?;
        Some((in_doubt.next(now, budget, found), in_doubt.times()))
    }

    /// Takes an answer to what was asked; true when the group is done.
    pub(super) fn admit_inquiry(&mut self, frame: &[u8], out: &mut Vec<u8>, findings: &mut Findings<'_>) -> bool {
        let Some(in_doubt) = &mut self.in_doubt else { return true };
        let Stage::Asked(inquiry) = &mut in_doubt.stage else { return true };
        inquiry.answers += 1;
        let number = value::integer(frame);
        if number.is_none() {
            inquiry.refusal.get_or_insert_with(|| frame.into());
        }
        if inquiry.answers < INQUIRY_FRAMES {
            // Ended now, or gone before.
            inquiry.orphan_ended = number.is_some();
            findings.found.push(Finding::Killed(Kill::read(frame)));
            return false;
        }
        match number {
            Some(1..) => self.reply_committed(out, findings),
            Some(_) if inquiry.orphan_ended => {
                in_doubt.stage = Stage::Absent;
                return false;
            }
            _ => {
                let Inquiry { refusal, .. } = std::mem::take(inquiry);
                let why = refusal.as_deref().map(value::error_text).unwrap_or_default();
                let why = format!("and whether it was applied may not be asked: {}", String::from_utf8_lossy(why));
                findings.found.push(Finding::Resolution(Resolution::Denied));
                self.reply_lost(&why, out, findings);
            }
        }
        true
    }

    fn reply_committed(&mut self, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        findings.found.push(Finding::Resolution(Resolution::Committed));
        let text = |name: &str| format!("COMMITTED group {name} was applied, its replies were lost");
        self.reply_outcome(Outcome::Committed, &text, out, findings);
    }

    /// Nothing more is done about it, for this reason: it was not applied and does not go out again, or nobody will know.
    pub(in super::super) fn settle(&mut self, why: &str, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        if self.is_in_doubt() {
            findings.found.push(Finding::Resolution(Resolution::Unknown));
            return self.reply_lost(why, out, findings);
        }
        let text = |name: &str| refusal::aborted(name, &format!("{LOST}, and it is not sent again: {why}"));
        findings.found.push(Finding::Resolution(Resolution::Aborted));
        self.reply_outcome(Outcome::Aborted, &text, out, findings);
    }

    fn reply_lost(&mut self, why: &str, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        let text = |name: &str| unknown(&format!("group {name}"), &format!("{LOST}, {why}"));
        self.reply_outcome(Outcome::Unknown, &text, out, findings);
    }

    fn reply_outcome(
        &mut self,
        outcome: Outcome,
        of_group: &dyn Fn(&str) -> String,
        out: &mut Vec<u8>,
        findings: &mut Findings<'_>,
    ) {
        let of_command = |name: &str| match outcome {
            Outcome::Committed => format!("COMMITTED {name} was applied, its reply was lost"),
            _ => Fault::Lost.of_command(name),
        };
        // Where nothing has run, what stood between the members runs alone.
        let of_command: Option<&dyn Fn(&str) -> String> = if outcome == Outcome::Aborted { None } else { Some(&of_command) };
        self.end(&Ending { outcome, of_group, of_command, reads_return: true }, out, findings);
    }

    /// What it was allowed when it was sent first is refused now that it is sent again: then its first marker may
    /// have been refused too, while it ran.
    pub(super) fn is_refused_again(&self) -> bool {
        self.own_refused.is_some() && self.in_doubt.as_ref().is_some_and(|in_doubt| in_doubt.is_again)
    }
}

const LOST: &str = "the connection to the server was lost before the reply";
