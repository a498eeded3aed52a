//! A guarded group that is not sent at all: what its members answer instead.

use std::sync::Arc;

use super::violation::{Kind, Violation};
use crate::command::{CommandId, Table};
use crate::preflight::{self, Fault, Lack};
use respguard_resp::encode;

/// Why a group is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A member would fail whatever its keys hold, or nobody can tell.
    Member(preflight::Refusal),
    /// Its preflight cannot run.
    Lacking(Lack),
    /// Nobody knows whether its preflight can run: the server was asked and did not say.
    Silent,
}

impl Refusal {
    /// One error for each member, in order. Nothing was applied; the culprit answers in Redis' own words.
    pub fn replies(&self, group: &str, members: &[CommandId], table: &Table) -> Vec<Vec<u8>> {
        let why = self.reason(members, table);
        let text = aborted(group, &why);
        let replies = (0..members.len()).map(|place| match self {
            Refusal::Member(preflight::Refusal { member, fault: Fault::Certain(error) }) if *member == place => error,
            _ => &*text,
        });
        replies.map(error).collect()
    }

    /// What is reported of it.
    pub fn violation(&self, group: &Arc<str>, members: &[CommandId], table: &Table) -> Violation {
        let violation = Violation::new(Kind::Aborted).rule(group).commands(members.iter().map(|&id| table.spec(id).name()));
        match self {
            Refusal::Member(preflight::Refusal { member, fault }) => {
                let violation = violation.place(u32::try_from(member + 1).unwrap_or(u32::MAX));
                match fault {
                    Fault::Certain(error) => violation.error(error.as_bytes()),
                    Fault::Undecided(_) => violation,
                }
            }
            Refusal::Lacking(_) | Refusal::Silent => violation,
        }
    }

    /// In words.
    pub fn reason(&self, members: &[CommandId], table: &Table) -> String {
        match self {
            Refusal::Member(preflight::Refusal { member, fault: Fault::Certain(_) }) => would_fail(*member, members, table),
            Refusal::Member(preflight::Refusal { member, fault: Fault::Undecided(why) }) => {
                format!("nobody can tell whether {} would fail: {why}", named(*member, members, table))
            }
            Refusal::Lacking(lack) => format!("its preflight cannot run: {}", lack.as_str()),
            Refusal::Silent => "the server does not say whether its preflight can run".to_owned(),
        }
    }
}

/// The text for members of which nothing was applied.
pub(super) fn aborted(group: &str, why: &str) -> String {
    format!("EXECABORT Transaction discarded because of previous errors. respguard: group {group} was not applied: {why}")
}

/// Why the others are not applied.
pub(super) fn would_fail(member: usize, members: &[CommandId], table: &Table) -> String {
    format!("{} would fail", named(member, members, table))
}

fn named(member: usize, members: &[CommandId], table: &Table) -> String {
    let name = members.get(member).map(|&id| table.spec(id).name().to_uppercase().replace('|', " ")).unwrap_or_default();
    format!("member {} of {} ({name})", member + 1, members.len())
}

fn error(text: &str) -> Vec<u8> {
    let mut reply = Vec::new();
    encode::error(&mut reply, text);
    reply
}
