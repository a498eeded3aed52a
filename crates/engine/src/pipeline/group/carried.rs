//! A transaction of several groups, and of commands that stand between their members: who is answered what.
//!
//! Where it does not run, the groups that were the reason are answered so. All other commands come back to their client's
//! task, and are sent again in their order.

use std::sync::Arc;

use super::super::finding::{Fault, Finding, Outcome, Place, Unwrapped};
use super::super::refusal;
use super::super::reply_checks::part;
use super::super::resolve::Context;
use super::super::score::{self, Failure};
use super::super::violation::Kind;
use super::{WrappedGroup, apart, proves_end};
use crate::command::{CommandId, Table};
use crate::policy::Group;
use crate::preflight::Verdict;
use respguard_resp::scan::{Top, elements, split_pushes};
use respguard_resp::{encode, value};

/// One of the groups.
#[derive(Debug)]
pub struct CarriedGroup {
    group: WrappedGroup,
    /// The places of its members among all commands, in order.
    places: Vec<u32>,
    guarded: bool,
    /// Of a long answer, which is passed on as it comes: how many members have failed, and which first.
    failed: usize,
    first_failure: Option<Failure>,
}

/// Whose commands a transaction holds.
#[derive(Debug)]
pub(super) struct Carried {
    groups: Vec<CarriedGroup>,
    /// By the command's place: the group that it belongs to.
    owners: Vec<Option<u16>>,
    /// By the command's place: as it is sent again.
    requests: Vec<Vec<u8>>,
    /// By the command's place: what it is answered, or that it is sent again; once that is known, where not all are answered.
    answers: Option<Vec<Option<Vec<u8>>>>,
    /// A command that is in no group was refused while it was queued.
    refused: bool,
}

impl Carried {
    /// Names keys of the group that a finding is about.
    pub(super) fn name_keys(&self, found: &mut [Finding]) {
        for finding in found {
            let Finding::Violation(violation) = finding else { continue };
            let is_its = |group: &&CarriedGroup| violation.rule.as_ref() == Some(&group.group.rule.name);
            if let Some(keys) = self.groups.iter().find(is_its).and_then(|group| group.group.keys.as_ref()) {
                keys.name_in(violation);
            }
        }
    }
}

/// A command that is sent again.
#[derive(Debug, Default)]
pub struct Returned {
    /// In the order of the transaction: what each command is answered, or its request.
    pub commands: Vec<Result<Vec<u8>, Vec<u8>>>,
    /// Something that stood between members was refused.
    pub refused: bool,
}

impl CarriedGroup {
    /// The group has its members at these places of the transaction; `guarded`: the preflight is about it.
    pub fn new(group: WrappedGroup, places: Vec<u32>, guarded: bool) -> CarriedGroup {
        CarriedGroup { group, places, guarded, failed: 0, first_failure: None }
    }

    fn is_once(&self) -> bool {
        self.guarded && self.group.rule.once.is_some()
    }

    /// Every member is answered this.
    fn all(&self, text: &str) -> Vec<Vec<u8>> {
        let reply = error(text);
        vec![reply; self.places.len()]
    }

    fn aborted(&self, why: &str) -> Vec<Vec<u8>> {
        self.all(&refusal::aborted(&self.group.rule.name, why))
    }
}

impl Carried {
    pub(super) fn new(groups: Vec<CarriedGroup>, requests: Vec<Vec<u8>>, commands: usize) -> Carried {
        let mut owners = vec![None; commands];
        for (number, group) in (0..).zip(&groups) {
            for &place in &group.places {
                if let Some(owner) = owners.get_mut(place as usize) {
                    *owner = Some(number);
                }
            }
        }
        Carried { groups, owners, requests, answers: None, refused: false }
    }

    /// The group that the command belongs to, and which of its members it is.
    fn member(&self, place: usize) -> Option<(usize, usize)> {
        let owner = usize::from((*self.owners.get(place)?)?);
        let member = self.groups[owner].places.iter().position(|at| *at as usize == place)?;
        Some((owner, member))
    }

    /// Looks at a part of the reply to a command that is passed on as it comes.
    pub(super) fn look(&mut self, place: u32, bytes: &[u8], first: bool, last: bool) {
        let Some((owner, member)) = self.member(place as usize).filter(|_| first) else { return };
        let group = &mut self.groups[owner];
        if value::is_error(bytes) {
            group.failed += 1;
            let member = u32::try_from(member + 1).unwrap_or(u32::MAX);
            group.first_failure.get_or_insert_with(|| Failure::new(member, bytes));
        }
        if let Some(expectations) = &mut group.group.expectations {
            expectations.admit(bytes, last);
        }
    }

    fn answers(&self) -> Vec<Option<Vec<u8>>> {
        vec![None; self.owners.len()]
    }
}

impl WrappedGroup {
    /// Bytes that are kept to be sent again.
    pub(in super::super) fn carried_bytes(&self) -> usize {
        self.carried.as_ref().map_or(0, |carried| carried.requests.iter().map(Vec::len).sum())
    }

    /// Whether it holds commands that are sent again where it does not run.
    pub(in super::super) fn is_carrying(&self) -> bool {
        self.carried.is_some()
    }

    /// What became of its commands, where not all of them were answered.
    pub(in super::super) fn take_returned(&mut self) -> Option<Returned> {
        let carried = self.carried.as_mut()?;
        let answers = carried.answers.take()?;
        let requests = std::mem::take(&mut carried.requests);
        let commands = answers.into_iter().zip(requests).map(|(answer, request)| answer.ok_or(request)).collect();
        Some(Returned { commands, refused: carried.refused })
    }

    /// EXEC's answer, as [`WrappedGroup::admit_exec`] for one group.
    pub(super) fn admit_carried(
        &mut self,
        frame: &[u8],
        top: Top,
        out: &mut Vec<u8>,
        context: &Context<'_>,
        found: &mut Vec<Finding>,
    ) {
        let Some(mut carried) = self.carried.take() else { return };
        if !self.in_transaction {
            found.push(Finding::CloseUpstream);
            for group in &carried.groups {
                let violation = group.group.violation(Kind::Unwrapped, context.table);
                found.push(Finding::Violation(violation.reason(Some(Unwrapped::NoTransactions.as_str()))));
                found.push(Finding::Group { index: group.group.index, outcome: Outcome::Unwrapped });
            }
        } else if let Some(verdict) = self.prevented(top) {
            self.answer_prevented(&mut carried, &verdict, context.table, found);
        } else if self.is_refused_again() {
            const WHY: &str = "it was sent again, and what it needs for that is refused now";
            self.answer_unknown(&mut carried, WHY, Fault::Timeout, context.table, found);
        } else if value::is_error(frame) || top.null {
            self.answer_aborted(&mut carried, frame, top, context.table, found);
        } else if top.elements != self.queued() {
            found.push(Finding::CloseUpstream);
            let why = format!("the server's answer has {} replies for {} commands", top.elements, self.queued());
            self.answer_unknown(&mut carried, &why, Fault::Timeout, context.table, found);
        } else {
            self.pass_carried(&mut carried, frame, out, context.table, found);
        }
        self.carried = Some(carried);
    }

    /// It ran: each command is answered by its own reply, unless its group's rule says otherwise.
    fn pass_carried(&mut self, carried: &mut Carried, frame: &[u8], out: &mut Vec<u8>, table: &Table, found: &mut Vec<Finding>) {
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
                Some(checks) => checks.admit(place, reply, part(true, true), &mut checked, table, found),
                None => checked.extend_from_slice(reply),
            }
            replies.push(checked);
        }
        let verdict = self.guard.as_ref().map(|guard| guard.verdict().clone());
        for group in &mut carried.groups {
            let members: Vec<&[u8]> = group.places.iter().filter_map(|&place| Some(raw.get(place as usize)?.1)).collect();
            let outcome = answer_members(group, &members, &mut replies, table, found);
            let outcome = match (&verdict, group.guarded) {
                (Some(verdict), true) if *verdict != Verdict::Fine => {
                    self.note_unguarded_group(&group.group, outcome, table, found)
                }
                _ => outcome,
            };
            found.push(Finding::Group { index: group.group.index, outcome });
            if group.is_once()
                && outcome == Outcome::Applied
                && let Some(guard) = &self.guard
            {
                let kept: Vec<u8> = group.places.iter().flat_map(|&place| replies[place as usize].clone()).collect();
                if let Some(request) = guard.keep(&kept, group.places.len()) {
                    found.push(Finding::FollowUp { request, frames: 1 });
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
    pub(super) fn conclude_carried_stream(&mut self, table: &Table, found: &mut Vec<Finding>) {
        let Some(carried) = self.carried.take() else { return };
        let is_fine = self.guard.as_ref().is_none_or(|guard| *guard.verdict() == Verdict::Fine);
        for group in &carried.groups {
            let rule = &group.group.rule.name;
            let commands = || group.group.members.iter().copied();
            let outcome = match &group.first_failure {
                None => Outcome::Applied,
                Some(_) if group.failed == group.places.len() => Outcome::Failed,
                Some(failure) => {
                    found.push(Finding::PartialFailure(Place::Group));
                    found.push(Finding::Violation(score::partial_failure(Some(rule), failure, commands(), table)));
                    Outcome::Torn
                }
            };
            if let Some(breach) = group.group.expectations.as_ref().and_then(|expectations| expectations.breach()) {
                found.push(Finding::Violation(breach.violation(rule, commands(), table)));
            }
            let outcome =
                if group.guarded && !is_fine { self.note_unguarded_group(&group.group, outcome, table, found) } else { outcome };
            found.push(Finding::Group { index: group.group.index, outcome });
        }
        self.carried = Some(carried);
    }

    fn note_unguarded_group(&self, group: &WrappedGroup, outcome: Outcome, table: &Table, found: &mut Vec<Finding>) -> Outcome {
        found.push(Finding::GuardLost);
        let error = self.guard.as_ref().and_then(|guard| guard.error()).map(value::error_text).unwrap_or_default();
        found.push(Finding::Violation(group.violation(Kind::Unguarded, table).error(error)));
        if outcome == Outcome::Applied { Outcome::Unguarded } else { outcome }
    }

    /// The preflight has kept it from running, over one of the groups.
    fn answer_prevented(&self, carried: &mut Carried, verdict: &Verdict, table: &Table, found: &mut Vec<Finding>) {
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
                refused.group.reply_duplicate(duplicate, kept, &mut replies, table, found);
                Outcome::Duplicate
            }
            other => refused.group.reply_prevented(other, &mut replies, table, found),
        };
        found.push(Finding::Group { index: refused.group.index, outcome });
        give(&mut answers, &refused.places, apart(&replies, refused.places.len()));
        carried.answers = Some(answers);
    }

    /// The server has refused it, and nothing of it has run.
    fn answer_aborted(&self, carried: &mut Carried, frame: &[u8], top: Top, table: &Table, found: &mut Vec<Finding>) {
        self.note_guard(found);
        if let Some(rule) = self.ttl_fixed.as_ref().filter(|_| self.ttl_fix_refused) {
            found.push(Finding::TtlFixRefused { rule: Arc::clone(&rule.name) });
        }
        if !proves_end(frame, top) {
            found.push(Finding::CloseUpstream);
        }
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
        let why = self.why_aborted(frame, top.null, table);
        for group in &carried.groups {
            let is_culprit = !group.group.refused.is_empty();
            if is_answered && !is_culprit {
                continue;
            }
            let replies = if is_culprit {
                let mut replies = Vec::new();
                group.group.reply_aborted(frame, false, &mut replies, table);
                apart(&replies, group.places.len())
            } else {
                group.aborted(&why)
            };
            give(&mut answers, &group.places, replies);
            let violation = match is_culprit {
                true => group.group.aborted(frame, table),
                false => group
                    .group
                    .violation(Kind::Aborted, table)
                    .error(value::error_text(self.own_refused.as_deref().unwrap_or(if top.null { b"" } else { frame }))),
            };
            found.push(Finding::Violation(violation));
            found.push(Finding::Group { index: group.group.index, outcome: Outcome::Aborted });
        }
        carried.answers = Some(answers);
    }

    /// Why none of the groups was applied, where none of them was the reason.
    fn why_aborted(&self, frame: &[u8], is_null: bool, table: &Table) -> String {
        if is_null {
            return match &self.guard {
                Some(guard) => format!("other clients changed its keys at each of {} attempts", guard.attempts()),
                None => "a watched key changed".to_owned(),
            };
        }
        match (&self.own_refused, self.refused.first()) {
            (Some(own), _) => format!("a command that respguard adds was refused: {}", refusal::quoted(value::error_text(own))),
            (None, Some((place, error))) => {
                let name = self.members.get(*place as usize).map(|&id| name(id, table)).unwrap_or_default();
                format!("{name}, which stands between its members, answered {}", refusal::quoted(value::error_text(error)))
            }
            (None, None) => refusal::quoted(value::error_text(frame)),
        }
    }

    /// Nobody knows whether it ran: all share that, but what only reads is read again.
    fn answer_unknown(&self, carried: &mut Carried, why: &str, fault: Fault, table: &Table, found: &mut Vec<Finding>) {
        for group in &carried.groups {
            found.push(Finding::Violation(group.group.violation(Kind::UnknownOutcome, table)));
            found.push(Finding::Group { index: group.group.index, outcome: Outcome::Unknown });
        }
        let of_group = |rule: &Group| format!("TIMEOUT respguard: outcome of group {} unknown: {why}", rule.name);
        let of_rider = |name: &str| format!("TIMEOUT respguard: outcome of {name} unknown: {why}");
        self.answer_all(carried, fault == Fault::Lost, table, of_group, of_rider);
    }

    fn answer_all(
        &self,
        carried: &mut Carried,
        reads_return: bool,
        table: &Table,
        of_group: impl Fn(&Group) -> String,
        of_rider: impl Fn(&str) -> String,
    ) {
        let mut answers = carried.answers();
        for group in &carried.groups {
            give(&mut answers, &group.places, group.all(&of_group(&group.group.rule)));
        }
        for (place, answer) in answers.iter_mut().enumerate().filter(|(place, _)| carried.owners[*place].is_none()) {
            let id = self.members[place];
            if !reads_return || table.spec(id).may_write() {
                *answer = Some(error(&of_rider(&name(id, table))));
            }
        }
        carried.answers = Some(answers);
    }

    /// It will not be answered; true where it is one that holds commands of several groups, or of none, and none of them has
    /// been answered yet.
    pub(in super::super) fn fault_carried(&mut self, fault: Fault, table: &Table, found: &mut Vec<Finding>) -> bool {
        if self.replied > 0 || self.has_replied_in_part() {
            return false;
        }
        let Some(mut carried) = self.carried.take() else { return false };
        match fault {
            Fault::Timeout | Fault::Lost => self.answer_unknown(&mut carried, fault.reason(), fault, table, found),
            Fault::Unavailable | Fault::Refused => {
                let why = fault.reason();
                for group in &carried.groups {
                    found.push(Finding::Violation(group.group.violation(Kind::Aborted, table)));
                    found.push(Finding::Group { index: group.group.index, outcome: Outcome::Aborted });
                }
                let of_group = |rule: &Group| {
                    format!(
                        "EXECABORT Transaction discarded because of previous errors. respguard: group {} was not sent: {why}",
                        rule.name
                    )
                };
                let of_rider = |name: &str| format!("ERR respguard: {name} was not sent: {why}");
                self.answer_all(&mut carried, false, table, of_group, of_rider);
            }
        }
        self.carried = Some(carried);
        true
    }

    /// What became of it was found out; true where it is one of several groups.
    pub(super) fn conclude_carried(
        &mut self,
        outcome: Outcome,
        text: &dyn Fn(&Group) -> String,
        table: &Table,
        found: &mut Vec<Finding>,
    ) -> bool {
        let Some(mut carried) = self.carried.take() else { return false };
        for group in &carried.groups {
            let kind = match outcome {
                Outcome::Unknown => Some(Kind::UnknownOutcome),
                Outcome::Aborted => Some(Kind::Aborted),
                _ => None,
            };
            found.extend(kind.map(|kind| Finding::Violation(group.group.violation(kind, table))));
            found.push(Finding::Group { index: group.group.index, outcome });
        }
        if outcome == Outcome::Aborted {
            // Nothing has run: what stood between the members runs alone.
            let mut answers = carried.answers();
            for group in &carried.groups {
                give(&mut answers, &group.places, group.all(&text(&group.group.rule)));
            }
            carried.answers = Some(answers);
        } else {
            let why = match outcome {
                Outcome::Committed => "COMMITTED",
                _ => "TIMEOUT",
            };
            let of_rider = |name: &str| match why {
                "COMMITTED" => format!("COMMITTED {name} was applied, its reply was lost"),
                _ => format!(
                    "TIMEOUT respguard: outcome of {name} unknown: the connection to the server was lost before the reply"
                ),
            };
            self.answer_all(&mut carried, true, table, text, of_rider);
        }
        self.carried = Some(carried);
        true
    }
}

/// A group's members get their replies; gives what became of it.
fn answer_members(
    group: &mut CarriedGroup,
    members: &[&[u8]],
    replies: &mut [Vec<u8>],
    table: &Table,
    found: &mut Vec<Finding>,
) -> Outcome {
    let mut array = Vec::with_capacity(members.iter().map(|reply| reply.len()).sum::<usize>() + 16);
    encode::array_header(&mut array, members.len());
    members.iter().for_each(|reply| array.extend_from_slice(reply));
    let errors = members.iter().filter(|reply| value::is_error(reply)).count();
    let top = Top { errors: u32::try_from(errors).unwrap_or(u32::MAX), ..Top::default() };
    let (mut out, mut of_group) = (Vec::new(), Vec::new());
    let outcome = group.group.reply_applied(&array, top, &mut out, table, &mut of_group);
    found.append(&mut of_group);
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

fn error(text: &str) -> Vec<u8> {
    let mut reply = Vec::new();
    encode::error(&mut reply, text);
    reply
}

fn name(id: CommandId, table: &Table) -> String {
    table.spec(id).name().to_uppercase().replace('|', " ")
}
