//! Reports, for a cluster, which groups can lie in one slot, and how others could.

use super::section::Findings;
use respguard_engine::command::Table;
use respguard_engine::policy::slots::{WrittenKey, sharing};
use respguard_engine::policy::{Policy, Sharing};

pub(super) fn check(policy: &Policy, table: &Table, findings: &mut Findings) {
    for (number, group) in policy.groups().iter().enumerate() {
        let list = if group.is_run() { "keys" } else { "commands" };
        let path = |key: &WrittenKey| format!("group[{number}].{list}[{}]", key.place);
        match sharing(group, table) {
            Sharing::Always => {}
            Sharing::Never { keys: [one, other], slots: [slot, other_slot] } => {
                let message = format!(
                    "{} has slot {other_slot}, {} of member {} slot {slot}: on a cluster they are never written together",
                    other.text,
                    one.text,
                    one.place + 1
                );
                findings.add(&path(&other), message, "the same hash tag in both, such as {{tag}}");
            }
            Sharing::Chance { keys: [_, other], .. } if group.is_run() => {
                let message = format!("keys like {} can have any slot: a run over several is refused when it comes", other.text);
                findings.warn(&path(&other), message, "the same hash tag in all patterns, such as {{tag}}".to_owned());
            }
            Sharing::Chance { keys: [one, other], better } => {
                let message = format!("{} and {} share a slot of the cluster only by chance", one.text, other.text);
                let advice = match better {
                    Some([one, other]) => format!("a hash tag in all keys of the group: {one} and {other}"),
                    None => {
                        "the same hash tag in all keys of the group: one capture in braces, {{{name}}}, or {{tag}}".to_owned()
                    }
                };
                findings.warn(&path(&other), message, advice);
            }
        }
    }
}
