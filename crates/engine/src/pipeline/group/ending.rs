//! The end of a transaction whose replies nobody has.

use super::WrappedGroup;
use super::carried::Carried;
use crate::pipeline::finding::{Fault, Outcome, unknown};
use crate::pipeline::reading::Findings;
use crate::pipeline::violation::Kind;
use respguard_resp::encode;

/// What is told then.
pub(super) struct Ending<'t> {
    pub(super) outcome: Outcome,
    /// What the members of the group of this name are answered.
    pub(super) of_group: &'t dyn Fn(&str) -> String,
    /// What a carried command of this name is answered; without it they are planned again.
    pub(super) of_command: Option<&'t dyn Fn(&str) -> String>,
    /// Those that only read are planned again in any case.
    pub(super) reads_return: bool,
}

impl WrappedGroup {
    /// The upstream will give no more replies to it.
    pub(in crate::pipeline) fn reply_fault(&mut self, fault: Fault, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        if self.is_in_doubt() {
            return self.settle("and whether it was applied could not be found out in time", out, findings);
        }
        let (of_group, of_command) = (|name: &str| fault.of_group(name), |name: &str| fault.of_command(name));
        let (outcome, reads_return) = (fault.outcome(), fault == Fault::Lost);
        self.end(&Ending { outcome, of_group: &of_group, of_command: Some(&of_command), reads_return }, out, findings);
    }

    /// Nobody knows what became of it.
    pub(super) fn reply_unknown(&mut self, why: &str, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        let (of_group, of_command) = (|name: &str| unknown(&format!("group {name}"), why), |name: &str| unknown(name, why));
        let of_command: Option<&dyn Fn(&str) -> String> = Some(&of_command);
        self.end(&Ending { outcome: Outcome::Unknown, of_group: &of_group, of_command, reads_return: false }, out, findings);
    }

    pub(super) fn end(&mut self, ending: &Ending<'_>, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        let is_unseen = self.replied == 0 && !self.has_replied_in_part();
        if let Some(mut carried) = self.carried.take_if(|_| is_unseen) {
            self.end_carried(&mut carried, ending, findings);
            self.carried = Some(carried);
            return;
        }
        let text = (ending.of_group)(&self.rule.name);
        (self.replied..self.members()).for_each(|_| encode::error(out, &text));
        self.note_end(ending.outcome, findings);
    }

    fn end_carried(&self, carried: &mut Carried, ending: &Ending<'_>, findings: &mut Findings<'_>) {
        carried.groups().for_each(|group| group.note_end(ending.outcome, findings));
        carried.answer_groups(ending.of_group);
        let Some(of_command) = ending.of_command else { return };
        for (place, &id) in (0..).zip(&self.members) {
            carried.observe(place, id, None, findings);
            let spec = findings.table.spec(id);
            if !ending.reads_return || spec.may_write() {
                carried.answer_command(place, || of_command(&spec.shown()));
            }
        }
    }

    fn note_end(&self, outcome: Outcome, findings: &mut Findings<'_>) {
        match outcome {
            Outcome::Unknown => findings.violation(self.violation(Kind::UnknownOutcome, findings.table)),
            Outcome::Aborted => findings.violation(self.violation(Kind::Aborted, findings.table)),
            _ => {}
        }
        findings.group(self.index, outcome);
    }
}
