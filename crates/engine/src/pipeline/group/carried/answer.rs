//! The replies to the commands of a transaction with several groups or with carried commands.

use super::super::{WrappedGroup, apart};
use super::{Carried, CarriedGroup};
use crate::pipeline::finding::{Finding, Outcome};
use crate::pipeline::reading::{Findings, MemberReply};
use crate::pipeline::refusal;
use crate::pipeline::reply_checks::part;
use crate::preflight::Verdict;
use respguard_resp::scan::{Top, elements, split_pushes};
use respguard_resp::{encode, value};

impl WrappedGroup {
    /// It ran: each command is answered by its own reply, unless its group's rule says otherwise.
    pub(in super::super) fn pass_carried(
        &mut self,
        carried: &mut Carried,
        frame: &[u8],
        out: &mut Vec<u8>,
        findings: &mut Findings<'_>,
    ) {
        let mut raw: Vec<(&[u8], &[u8])> = Vec::with_capacity(self.members.len());
        let mut pushes: Vec<u8> = Vec::new();
        let mut own_pushes: Vec<(usize, Vec<u8>)> = Vec::new();
        for (at, element) in (0..).zip(elements(frame)) {
            let (before, reply) = split_pushes(element);
            match self.member_at(at) {
                Some(_) => raw.push((before, reply)),
                // What the server sends amid the replies is the client's, whosever command it precedes.
                None if raw.is_empty() => pushes.extend_from_slice(before),
                None if !before.is_empty() => own_pushes.push((raw.len(), before.to_vec())),
                None => {}
            }
        }
        let mut replies: Vec<Vec<u8>> = Vec::with_capacity(raw.len());
        let mut checks = self.checks.take();
        for (place, (_, reply)) in (0..).zip(&raw) {
            let mut checked = Vec::with_capacity(reply.len());
            match &mut checks {
                Some(checks) => {
                    checks.admit(MemberReply { place, bytes: reply, part: part(true, true) }, &mut checked, findings);
                }
                None => checked.extend_from_slice(reply),
            }
            replies.push(checked);
        }
        for (place, (_, reply)) in (0..).zip(&raw) {
            carried.observe(place, self.members[place as usize], Some((reply, true)), findings);
        }
        for group in &mut carried.groups {
            let members: Vec<&[u8]> = group.places.iter().filter_map(|&place| Some(raw.get(place as usize)?.1)).collect();
            let outcome = answer_members(group, &members, &mut replies, findings);
            let outcome = if group.guarded { self.note_unguarded(&group.group, outcome, findings) } else { outcome };
            findings.group(group.group.index, outcome);
            if group.is_once()
                && outcome == Outcome::Applied
                && let Some(guard) = &self.guard
            {
                let kept: Vec<u8> = group.places.iter().flat_map(|&place| replies[place as usize].clone()).collect();
                if let Some(request) = guard.keep(&kept, group.places.len()) {
                    findings.found.push(Finding::FollowUp { request, frames: 1 });
                }
            }
        }
        out.extend_from_slice(&pushes);
        let mut own_pushes = own_pushes.into_iter().peekable();
        for (place, ((before, _), reply)) in raw.iter().zip(replies).enumerate() {
            while let Some((_, pushes)) = own_pushes.next_if(|(at, _)| *at <= place) {
                out.extend_from_slice(&pushes);
            }
            out.extend_from_slice(before);
            out.extend_from_slice(&reply);
        }
        own_pushes.for_each(|(_, pushes)| out.extend_from_slice(&pushes));
    }

    /// A long answer has been passed on.
    pub(in super::super) fn conclude_carried_stream(&mut self, findings: &mut Findings<'_>) {
        let Some(carried) = self.carried.take() else { return };
        for CarriedGroup { group, guarded, failures, .. } in &carried.groups {
            let outcome = group.note_applied(failures, group.breach(), findings);
            let outcome = if *guarded { self.note_unguarded(group, outcome, findings) } else { outcome };
            findings.group(group.index, outcome);
        }
        self.carried = Some(carried);
    }

    /// The preflight has kept it from running, over one of the groups.
    pub(in super::super) fn answer_prevented(&self, carried: &mut Carried, verdict: &Verdict, findings: &mut Findings<'_>) {
        let mut answers = carried.answers();
        let culprit = match verdict {
            Verdict::Fails { member, .. } | Verdict::Unmet { member, .. } => carried.member(*member),
            _ => carried.groups.iter().position(CarriedGroup::is_once).map(|group| (group, 0)),
        };
        let (group, member) = culprit.unwrap_or_default();
        let of_group = match verdict.clone() {
            Verdict::Fails { error, .. } => Verdict::Fails { member, error },
            Verdict::Unmet { required, .. } => Verdict::Unmet { member, required },
            other => other,
        };
        let refused = &carried.groups[group];
        let mut replies = Vec::new();
        let outcome = match &of_group {
            Verdict::Applied(duplicate) => {
                let kept = self.guard.as_ref().and_then(|guard| guard.kept(duplicate, refused.places.len()));
                refused.group.reply_duplicate(duplicate, kept, &mut replies, findings);
                Outcome::Duplicate
            }
            other => refused.group.reply_prevented(other, &mut replies, findings),
        };
        findings.group(refused.group.index, outcome);
        give(&mut answers, &refused.places, apart(&replies, refused.places.len()));
        carried.answers = Some(answers);
    }

    /// The server has refused it, and nothing of it has run.
    pub(in super::super) fn answer_aborted(&self, carried: &mut Carried, frame: &[u8], top: Top, findings: &mut Findings<'_>) {
        let mut answers = carried.answers();
        let mut is_answered = false;
        for (place, error) in &self.refused {
            let place = *place as usize;
            match carried.member(place) {
                // It would be refused outside of the transaction too.
                None if is_about_command(error) => {
                    answers[place] = Some(error.to_vec());
                    (is_answered, carried.refused) = (true, true);
                }
                None => {}
                Some((group, member)) => {
                    is_answered = true;
                    let member = u32::try_from(member).unwrap_or(u32::MAX);
                    carried.groups[group].group.refused.push((member, error.clone()));
                }
            }
        }
        let why = match self.refused.first() {
            Some((place, error)) => {
                let name = self.members.get(*place as usize).map(|&id| findings.table.spec(id).shown()).unwrap_or_default();
                format!("{name}, which stands between its members, answered {}", refusal::quoted(value::error_text(error)))
            }
            None => self.why_aborted(frame, top.null, findings.table),
        };
        for CarriedGroup { group, places, .. } in &carried.groups {
            let is_culprit = !group.refused.is_empty();
            if is_answered && !is_culprit {
                continue;
            }
            let mut replies = Vec::new();
            match is_culprit {
                true => group.reply_aborted(&group.why_aborted(frame, false, findings.table), &mut replies),
                false => group.reply_aborted(&why, &mut replies),
            }
            give(&mut answers, places, apart(&replies, places.len()));
            findings.violation(group.aborted(self.own_refused.as_deref().unwrap_or(frame), findings.table));
            findings.group(group.index, Outcome::Aborted);
        }
        carried.answers = Some(answers);
    }
}

impl Carried {
    /// The members of each group are answered what is told of its name.
    pub(in super::super) fn answer_groups(&mut self, text: &dyn Fn(&str) -> String) {
        let mut answers = self.answers();
        for CarriedGroup { group, places, .. } in &self.groups {
            let reply = encode::error_reply(&text(&group.rule.name));
            give(&mut answers, places, vec![reply; places.len()]);
        }
        self.answers = Some(answers);
    }

    /// So is a command that belongs to none of them.
    pub(in super::super) fn answer_command(&mut self, place: u32, text: impl FnOnce() -> String) {
        let is_carried = self.owners.get(place as usize).is_some_and(Option::is_none);
        if let Some(answers) = self.answers.as_mut().filter(|_| is_carried) {
            answers[place as usize] = Some(encode::error_reply(&text()));
        }
    }
}

/// A group's members get their replies; gives what became of it.
fn answer_members(group: &mut CarriedGroup, members: &[&[u8]], replies: &mut [Vec<u8>], findings: &mut Findings<'_>) -> Outcome {
    let mut array = Vec::with_capacity(members.iter().map(|reply| reply.len()).sum::<usize>() + 16);
    encode::array_header(&mut array, members.len());
    members.iter().for_each(|reply| array.extend_from_slice(reply));
    let errors = members.iter().filter(|reply| value::is_error(reply)).count();
    let top = Top { errors: u32::try_from(errors).unwrap_or(u32::MAX), ..Top::default() };
    let mut out = Vec::new();
    let outcome = group.group.reply_applied(&array, top, &mut out, findings);
    let answered = apart(&out, members.len());
    for ((&place, reply), raw) in group.places.iter().zip(answered).zip(members) {
        // What rules about single commands have made of it stays, unless the group is answered otherwise.
        if reply != *raw
            && let Some(given) = replies.get_mut(place as usize)
        {
            *given = reply;
        }
    }
    outcome
}

/// Whether the error is about the command itself, and not about the state of the server.
fn is_about_command(error: &[u8]) -> bool {
    error.starts_with(b"-NOPERM ") || error.starts_with(b"-ERR unknown ") || error.starts_with(b"-ERR wrong number of arguments")
}

fn give(answers: &mut [Option<Vec<u8>>], places: &[u32], replies: Vec<Vec<u8>>) {
    for (&place, reply) in places.iter().zip(replies) {
        if let Some(answer) = answers.get_mut(place as usize) {
            *answer = Some(reply);
        }
    }
}
