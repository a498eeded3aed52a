//! Compiles `require` of a group's members.

use crate::command::{Keys, Table};
use crate::policy::pattern::{Names, Pattern};
use crate::policy::requirement::{EXPECTED, Required};
use crate::policy::rule::{Atomic, OnUnsupported, WrittenGroup, WrittenMember};
use crate::policy::template::Template;

use super::Errors;

/// Gives the members what they require, which only a preflight can ask.
pub(super) fn compile(
    path: &str,
    written: &[WrittenMember],
    group: &WrittenGroup,
    members: &mut [Template],
    names: &Names,
    table: &Table,
    errors: &mut Errors,
) {
    let always = captured(members.iter().filter(|member| !member.optional));
    for place in 0..members.len() {
        let Some(text) = &written[place].require else { continue };
        let at = format!("{path}[{place}].require");
        if !matches!(group.atomic, Atomic::Guarded | Atomic::Rollback) {
            let message = "require is asked before anything runs, and this group does not ask";
            errors.add(&at, message, "atomic = \"guarded\" or \"rollback\", or no such key");
        } else if group.on_unsupported == OnUnsupported::Transaction {
            let message = "without its preflight the group would run whatever is required";
            errors.add(&at, message, "on_unsupported = \"refuse\"");
        }
        if has_no_keys(&members[place], table) {
            errors.add(&at, "the command has no key of which something could be required", "a member with a key");
        }
        match Required::parse(text, names) {
            Err(error) => errors.add(&at, error.to_string(), error.expected()),
            Ok(None) => errors.add(&at, format!("{text:?} says nothing about a key"), EXPECTED),
            Ok(Some(required)) => {
                let own = captured([&members[place]]);
                if let Some(number) = required.captures().find(|number| !always.contains(number) && !own.contains(number)) {
                    let name = names.as_slice().get(number).map_or("", String::as_str);
                    let message = format!("`{name}` is captured by an optional member alone, which may not come");
                    errors.add(&at, message, "a name that this member or one that is not optional captures");
                }
                members[place].require = Some(required);
            }
        }
    }
}

/// The numbers of the names that these members capture.
pub(super) fn captured<'t>(members: impl IntoIterator<Item = &'t Template>) -> Vec<usize> {
    members.into_iter().flat_map(|member| member.words.iter().flat_map(Pattern::captures)).collect()
}

fn has_no_keys(member: &Template, table: &Table) -> bool {
    matches!(&table.spec(member.id).keys, Keys::Specs(specs) if specs.is_empty())
}
