//! Counts over a whole explanation.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::planned::Planned;
use respguard_engine::pipeline::plan::{Note, Step};
use respguard_engine::policy::Atomic;

/// What is done with commands, or found about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Sent,
    Wrapped,
    Guarded,
    RolledBack,
    Carried,
    Refused,
    Observed,
    Answered,
    Fixed,
    Probed,
    Pinned,
    Held,
    NearMiss,
    LeftOut,
    Library,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Sent => "sent unchanged",
            Action::Wrapped => "sent as a transaction",
            Action::Guarded => "sent as a guarded transaction",
            Action::RolledBack => "sent as a transaction that is rolled back",
            Action::Carried => "carried in a transaction",
            Action::Refused => "refused",
            Action::Observed => "a group, only observed",
            Action::Answered => "answered by the proxy",
            Action::Fixed => "given a TTL",
            Action::Probed => "TTL asked for",
            Action::Pinned => "pins the client",
            Action::Held => "held for its rest",
            Action::NearMiss => "nearly a group",
            Action::LeftOut => "left out of its group",
            Action::Library => "client library",
        }
    }
}

/// One thing that is done.
pub(super) struct Noted<'a> {
    pub(super) what: Action,
    /// Its rule, or the reason.
    pub(super) by: &'a str,
    pub(super) commands: usize,
}

impl fmt::Display for Noted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.as_str();
        if self.by.is_empty() { f.write_str(what) } else { write!(f, "{what} ({})", self.by) }
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Summary {
    counts: BTreeMap<(Action, String), (u64, u64)>,
}

impl Summary {
    pub(super) fn count(&mut self, noted: &Noted<'_>) {
        let (times, commands) = self.counts.entry((noted.what, noted.by.to_owned())).or_default();
        *times += 1;
        *commands += noted.commands as u64;
    }

    pub(super) fn to_json(&self) -> Value {
        let rows = self.counts.iter().map(|((what, by), (times, commands))| {
            let by = (!by.is_empty()).then_some(by);
            json!({ "what": what.as_str(), "by": by, "times": times, "commands": commands })
        });
        json!({ "summary": rows.collect::<Vec<_>>() })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((what, by), (times, commands)) in &self.counts {
            let by = if by.is_empty() { String::new() } else { format!(" ({by})") };
            let of = |count: u64, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
            writeln!(f, "{}{by}: {}, {}", what.as_str(), of(*times, "time"), of(*commands, "command"))?;
        }
        Ok(())
    }
}

impl Planned<'_> {
    /// What a step does.
    pub(super) fn noted(&self, step: &Step) -> Vec<Noted<'_>> {
        match step {
            Step::Span(span) => {
                let groups = span.groups.iter().map(|shared| Noted {
                    what: if shared.guarded { Action::Guarded } else { Action::Wrapped },
                    by: &self.policy.groups()[shared.group].name,
                    commands: shared.places.len(),
                });
                let members: usize = span.groups.iter().map(|shared| shared.places.len()).sum();
                let between = span.commands.len().saturating_sub(members);
                let carried = (between > 0).then_some(Noted { what: Action::Carried, by: "", commands: between });
                groups.chain(carried).collect()
            }
            step => self.noted_alone(step).into_iter().collect(),
        }
    }

    fn noted_alone(&self, step: &Step) -> Option<Noted<'_>> {
        let group = |index: usize| &*self.policy.groups()[index].name;
        let noted = |what, by, commands| Noted { what, by, commands };
        let noted = match step {
            Step::Span(_) => return None,
            Step::Send { commands } => noted(Action::Sent, "", commands.len()),
            Step::Wrap { members, group: index, .. } => noted(Action::Wrapped, group(*index), members.len()),
            Step::Guard { members, group: index, .. } => {
                let what = match self.policy.groups()[*index].atomic {
                    Atomic::Rollback => Action::RolledBack,
                    _ => Action::Guarded,
                };
                noted(what, group(*index), members.len())
            }
            Step::RefuseGroup { members, group: index, .. } => noted(Action::Refused, group(*index), members.len()),
            Step::Watch { commands, group: index, .. } => noted(Action::Observed, group(*index), commands.len()),
            Step::Probe(probe) => noted(Action::Probed, "", 1).by_rule(self, &probe.rule.name),
            Step::CatchUp => noted(Action::Probed, "", 0),
            Step::Answer { .. } => noted(Action::Answered, "", 1),
            Step::Refuse { .. } => noted(Action::Refused, "", 1),
            Step::TtlFix { .. } => noted(Action::Fixed, "", 1),
        };
        Some(noted)
    }

    /// What a note tells.
    pub(super) fn noted_note(&self, note: &Note) -> Option<Noted<'_>> {
        let (what, group, members) = match note {
            Note::NearMiss { group, members, .. } => (Action::NearMiss, group, members.len()),
            Note::LeftOut { group, members, .. } => (Action::LeftOut, group, members.len()),
            Note::Obstructed { group, members, .. } => (Action::LeftOut, group, members.len()),
            _ => return None,
        };
        Some(Noted { what, by: &self.policy.groups()[*group].name, commands: members })
    }
}

impl<'a> Noted<'a> {
    /// The name as the policy has it, which lives longer than the step.
    fn by_rule(self, planned: &Planned<'a>, name: &str) -> Noted<'a> {
        let rules = planned.policy.ttl_rules().iter();
        let by = rules.map(|rule| &*rule.name).find(|known| *known == name).unwrap_or_default();
        Noted { by, ..self }
    }
}
