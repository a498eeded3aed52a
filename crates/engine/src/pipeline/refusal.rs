//! A guarded group that is not sent: what its members answer instead.

use std::sync::Arc;

use super::violation::{Kind, Violation};
use crate::command::{CommandId, Table};
use crate::preflight::{self, Fault, Unsupported};
use respguard_resp::{encode, value};

/// Bytes of an error that are repeated in the replies of those that it is not about.
const ERROR_BYTES_MAX: usize = 200;

/// Why a group is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A member would fail whatever its keys hold, or nobody can tell.
    Member(preflight::Refusal),
    /// Its preflight cannot run.
    Lacking(Unsupported),
    /// Its keys lie in several slots of a cluster.
    Crossed(Crossing),
    /// Nobody knows whether its preflight can run: the server was asked and did not say.
    Silent,
}

/// A member with a key of another slot than those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossing {
    /// Which member, from 0.
    pub member: usize,
    /// The slot of its key.
    pub slot: u16,
    /// The slot of the keys before it.
    pub before: u16,
}

/// Redis' own text.
pub const CROSSSLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

impl Crossing {
    /// In words.
    pub fn reason(&self) -> String {
        let Crossing { slot, before, .. } = self;
        format!(
            "a key of it has slot {slot}, those before it slot {before}; the same hash tag in all of them would put them together"
        )
    }
}

impl Refusal {
    /// One error for each member, in order. Nothing was applied; the culprit answers in Redis' own words.
    pub fn replies(&self, group: &str, members: &[CommandId], table: &Table) -> Vec<Vec<u8>> {
        let why = self.reason(members, table);
        let text = aborted(group, &why);
        let replies = (0..members.len()).map(|place| match self {
            Refusal::Member(preflight::Refusal { member, fault: Fault::Certain(error) }) if *member == place => error.to_string(),
            Refusal::Crossed(crossing) if crossing.member == place => {
                format!("{CROSSSLOT}. respguard: group {group} was not applied: {}", crossing.reason())
            }
            _ => text.clone(),
        });
        replies.map(|text| encode::error_reply(&text)).collect()
    }

    /// The kind of violation that it is.
    pub fn kind(&self) -> Kind {
        if matches!(self, Refusal::Crossed(_)) { Kind::CrossSlot } else { Kind::Aborted }
    }

    /// What is reported of it.
    pub fn violation(&self, group: &Arc<str>, members: &[CommandId], table: &Table) -> Violation {
        let violation = Violation::new(self.kind()).rule(group).commands(members.iter().map(|&id| table.spec(id).name()));
        match self {
            Refusal::Member(preflight::Refusal { member, fault }) => {
                let violation = violation.place(u32::try_from(member + 1).unwrap_or(u32::MAX));
                match fault {
                    Fault::Certain(error) => violation.error(error.as_bytes()),
                    Fault::Undecided(_) => violation,
                }
            }
            Refusal::Crossed(crossing) => {
                let place = u32::try_from(crossing.member + 1).unwrap_or(u32::MAX);
                violation.place(place).error(CROSSSLOT.as_bytes()).reason(Some(self.reason(members, table)))
            }
            Refusal::Lacking(_) | Refusal::Silent => violation,
        }
    }

    /// In words.
    pub fn reason(&self, members: &[CommandId], table: &Table) -> String {
        match self {
            Refusal::Member(preflight::Refusal { member, fault: Fault::Certain(error) }) => {
                would_answer(*member, error, members, table)
            }
            Refusal::Member(preflight::Refusal { member, fault: Fault::Undecided(why) }) => {
                format!("nobody can tell whether {} would fail: {why}", named(*member, members, table))
            }
            Refusal::Crossed(crossing) => format!("{}: {}", named(crossing.member, members, table), crossing.reason()),
            Refusal::Lacking(lack) => format!("its preflight cannot run: {}", lack.as_str()),
            Refusal::Silent => "the server does not say whether its preflight can run".to_owned(),
        }
    }
}

/// The text for members of which nothing was applied.
pub(super) fn aborted(group: &str, why: &str) -> String {
    format!("EXECABORT Transaction discarded because of previous errors. respguard: group {group} was not applied: {why}")
}

/// Why the others are not applied: what the preflight knows that a member would answer.
pub(super) fn would_answer(member: usize, error: &str, members: &[CommandId], table: &Table) -> String {
    format!("{} would answer {}", named(member, members, table), quoted(error.as_bytes()))
}

/// Likewise, of a member that has answered this error frame.
pub(super) fn answered(member: usize, error: &[u8], members: &[CommandId], table: &Table) -> String {
    format!("{} answered {}", named(member, members, table), quoted(value::error_text(error)))
}

/// The text of an error, as far as it is repeated in the replies of others. Clients show the first error of a pipeline,
/// which is rarely the culprit's: each of them says what the culprit answered.
pub(super) fn quoted(error: &[u8]) -> String {
    let cut = if error.len() > ERROR_BYTES_MAX { "..." } else { "" };
    format!("{}{cut}", String::from_utf8_lossy(&error[..error.len().min(ERROR_BYTES_MAX)]))
}

/// The member, by its place and its command.
pub(super) fn named(member: usize, members: &[CommandId], table: &Table) -> String {
    let name = members.get(member).map(|&id| table.spec(id).shown()).unwrap_or_default();
    format!("member {} of {} ({name})", member + 1, members.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_repeated_up_to_200_bytes() {
        assert_eq!(quoted(&[b'x'; 200]), "x".repeat(200));
        assert_eq!(quoted(&[b'x'; 201]), format!("{}...", "x".repeat(200)));
        assert_eq!(quoted(b"ERR \xff"), "ERR \u{fffd}");
    }
}
