//! A transaction of several groups and carried commands: which reply each of them gets.
//!
//! Where it does not run, the groups that were the reason are answered so. All other commands come back to their client's
//! task, and are sent again in their order.

use super::WrappedGroup;
use crate::command::CommandId;
use crate::pipeline::failure_tracker::{FailureTracker, Failures};
use crate::pipeline::finding::Finding;
use crate::pipeline::reading::Findings;
use respguard_resp::value;

/// One of the groups.
#[derive(Debug)]
pub struct CarriedGroup {
    group: WrappedGroup,
    /// The places of its members among all commands, in order.
    places: Vec<u32>,
    guarded: bool,
    /// Of a long answer, which is passed on as it comes: how many members have failed, and which first.
    failures: Failures,
}

/// Whose commands a transaction holds.
#[derive(Debug)]
pub(super) struct Carried {
    groups: Vec<CarriedGroup>,
    /// Groups that are only observed, by the places of their members.
    observed: Vec<(Vec<u32>, FailureTracker)>,
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
        CarriedGroup { group, places, guarded, failures: Failures::default() }
    }

    fn is_once(&self) -> bool {
        self.guarded && self.group.rule.once.is_some()
    }
}

impl Carried {
    pub(super) fn new(
        groups: Vec<CarriedGroup>,
        observed: Vec<(Vec<u32>, FailureTracker)>,
        requests: Vec<Vec<u8>>,
        commands: usize,
    ) -> Carried {
        let mut owners = vec![None; commands];
        for (number, group) in (0..).zip(&groups) {
            for &place in &group.places {
                if let Some(owner) = owners.get_mut(place as usize) {
                    *owner = Some(number);
                }
            }
        }
        Carried { groups, observed, owners, requests, answers: None, refused: false }
    }

    /// The group that the command belongs to, and which of its members it is.
    fn member(&self, place: usize) -> Option<(usize, usize)> {
        let owner = usize::from((*self.owners.get(place)?)?);
        let member = self.groups[owner].places.iter().position(|at| *at as usize == place)?;
        Some((owner, member))
    }

    /// Looks at the reply to a command, or at the first part of one that is passed on as it comes.
    pub(super) fn look(&mut self, place: u32, bytes: &[u8], last: bool) {
        let Some((owner, member)) = self.member(place as usize) else { return };
        let group = &mut self.groups[owner];
        if value::is_error(bytes) {
            group.failures.note(u32::try_from(member + 1).unwrap_or(u32::MAX), bytes);
        }
        if let Some(expectations) = &mut group.group.expectations {
            expectations.admit(bytes, last);
        }
    }

    /// The same for the groups that are only observed; `None`: nobody will know the reply.
    pub(super) fn observe(&mut self, place: u32, id: CommandId, reply: Option<(&[u8], bool)>, findings: &mut Findings<'_>) {
        for (_, tracker) in self.observed.iter_mut().filter(|(places, _)| places.contains(&place)) {
            let is_last = match reply {
                Some((bytes, whole)) => tracker.admit(id, bytes, whole),
                None => tracker.abandon(id),
            };
            if is_last {
                tracker.report(findings.table, findings.found);
            }
        }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &WrappedGroup> {
        self.groups.iter().map(|group| &group.group)
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

    /// Whether reads may be sent behind it before it is answered: where it does not run, they are sent again with its commands.
    pub(in super::super) fn lets_reads_ahead(&self) -> bool {
        self.is_carrying() && self.guard.is_none() && self.own.is_empty() && !self.is_resolved_later()
    }

    /// What became of its commands, where not all of them were answered.
    pub(in super::super) fn take_returned(&mut self) -> Option<Returned> {
        let carried = self.carried.as_mut()?;
        let answers = carried.answers.take()?;
        let requests = std::mem::take(&mut carried.requests);
        let commands = answers.into_iter().zip(requests).map(|(answer, request)| answer.ok_or(request)).collect();
        Some(Returned { commands, refused: carried.refused })
    }
}

mod answer;
