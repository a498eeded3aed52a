//! Compiles one `[[group]]`.

use crate::command::{CommandId, Table};
use crate::policy::group::{Group, Shape};
use crate::policy::index::KeyIndex;
use crate::policy::pattern::Names;
use crate::policy::rule::{Atomic, OnUnsupported, Order, Unlink, WrittenGroup, WrittenMember};
use crate::policy::run::Keys;
use crate::policy::template::Template;
use crate::policy::templates::Templates;
use crate::policy::walk::UNORDERED_MAX;

use crate::preflight::{self, rollback};

use super::{Errors, key_patterns, member, once, requirement};

const MEMBERS_MAX: usize = 64;
/// Each optional member may double the ways in which a group is followed.
const OPTIONAL_MAX: usize = 8;

/// What a group's keys may take of the server's memory, where it is rolled back.
const ROLLBACK_BYTES_MAX: u64 = 1024 * 1024;

/// The group, unless something is wrong with it.
pub(super) fn compile(path: &str, written: &WrittenGroup, table: &Table, errors: &mut Errors) -> Option<Group> {
    let before = errors.found.len();
    refuse_contradictions(path, written, errors);
    let shape = shape(path, written, table, errors)?;
    check_guarded(path, written, &shape, table, errors);
    check_rollback(path, written, &shape, table, errors);
    let once = once::compile(path, written, &shape, errors);
    (errors.found.len() == before).then(|| Group {
        name: written.name.as_str().into(),
        atomic: written.atomic,
        on_unsupported: written.on_unsupported,
        on_cross_slot: written.on_cross_slot,
        on_partial: written.on_partial,
        order: written.order,
        between: written.between,
        resolve: written.resolve,
        rollback_bytes_max: written.rollback_bytes_max.unwrap_or(ROLLBACK_BYTES_MAX),
        once,
        agree: written.agree,
        mode: written.mode,
        shape,
    })
}

fn refuse_contradictions(path: &str, written: &WrittenGroup, errors: &mut Errors) {
    if written.order == Order::Any && written.keys.is_some() {
        let expected = "no such key: a run of commands on matching keys has no order";
        errors.add(format!("{path}.order"), "order = \"any\" needs commands", expected);
    }
    if written.resolve && written.atomic == Atomic::Observe {
        let message = "resolve needs a transaction to put its marker in, and this group has none";
        errors.add(format!("{path}.resolve"), message, "atomic = \"transaction\" or \"guarded\", or false");
    }
}

/// A member that no preflight can decide would be refused each time.
fn check_guarded(path: &str, written: &WrittenGroup, shape: &Shape, table: &Table, errors: &mut Errors) {
    if written.atomic != Atomic::Guarded {
        if written.on_unsupported == OnUnsupported::Transaction {
            let message = "on_unsupported says what becomes of a guarded group, and this one is not";
            errors.add(format!("{path}.on_unsupported"), message, "atomic = \"guarded\", or \"refuse\"");
        }
        return;
    }
    let Shape::Templates(templates) = shape else { return };
    for (place, member) in templates.members.iter().enumerate() {
        let spec = table.spec(member.id);
        if !preflight::is_decidable(spec) {
            let name = spec.shown();
            let message = format!("{name} cannot be in a guarded group: nobody can tell before it runs whether it fails");
            errors.add(format!("{path}.commands[{place}]"), message, "another command, or atomic = \"transaction\"");
        }
    }
}

/// A member that nobody can undo would be refused each time.
fn check_rollback(path: &str, written: &WrittenGroup, shape: &Shape, table: &Table, errors: &mut Errors) {
    if written.atomic != Atomic::Rollback {
        if written.rollback_bytes_max.is_some() {
            let message = "rollback_bytes_max says how much is kept of a group that is rolled back, and this one is not";
            errors.add(format!("{path}.rollback_bytes_max"), message, "atomic = \"rollback\", or no such key");
        }
        return;
    }
    let Shape::Templates(templates) = shape else { return };
    for (place, member) in templates.members.iter().enumerate() {
        let spec = table.spec(member.id);
        if let Some(why) = rollback::obstacle(spec) {
            let name = spec.shown();
            let message = format!("{name} cannot be rolled back: {why}");
            errors.add(format!("{path}.commands[{place}]"), message, "another command, or atomic = \"transaction\"");
        }
    }
}

fn shape(path: &str, written: &WrittenGroup, table: &Table, errors: &mut Errors) -> Option<Shape> {
    match (&written.commands, &written.keys) {
        (Some(commands), None) => templates(&format!("{path}.commands"), commands, written, table, errors).map(Shape::Templates),
        (None, Some(keys)) => {
            let patterns = key_patterns(&format!("{path}.keys"), keys, errors);
            let index = KeyIndex::new([&*patterns]);
            Some(Shape::Keys(Keys { patterns, index }))
        }
        (Some(_), Some(_)) => {
            errors.add(format!("{path}.keys"), "the group has both commands and keys", "one of the two");
            None
        }
        (None, None) => {
            errors.add(path, "the group has neither commands nor keys", "commands = [..] or keys = [..]");
            None
        }
    }
}

fn templates(
    path: &str,
    written: &[WrittenMember],
    group: &WrittenGroup,
    table: &Table,
    errors: &mut Errors,
) -> Option<Templates> {
    check_counts(path, written, group.order, errors);
    let mut names = Names::default();
    let mut members = Vec::new();
    for (place, member) in written.iter().enumerate() {
        let compiled = member::compile(&format!("{path}[{place}]"), member, table, &mut names, errors);
        members.extend(compiled.map(|template| Template { also: also(&template, group.unlink, table), ..template }));
    }
    let required = written.iter().rposition(|member| !member.optional)? + 1;
    // What was not compiled has been told; the places of the others are not those of what is written.
    if members.len() == written.len() {
        requirement::compile(path, written, group, &mut members, &names, table, errors);
    }
    let expects = members.iter().any(|member| member.expected.is_some());
    let requires = members.iter().any(|member| member.require.is_some());
    Some(Templates { members: members.into(), order: group.order, required, names, expects, requires })
}

/// DEL for UNLINK and the other way round, where the rule says so.
fn also(template: &Template, unlink: Unlink, table: &Table) -> Option<CommandId> {
    let pair = [table.by_name("del"), table.by_name("unlink")];
    let place = pair.iter().position(|id| *id == Some(template.id)).filter(|_| unlink == Unlink::AsDel)?;
    pair[1 - place]
}

fn check_counts(path: &str, written: &[WrittenMember], order: Order, errors: &mut Errors) {
    let optional = written.iter().filter(|member| member.optional).count();
    match written.len() {
        0 => errors.add(path, "the group has no members", "at least two"),
        1 => errors.add(path, "the group has only one member", "at least two, since one command is atomic by itself"),
        count if count > MEMBERS_MAX => {
            errors.add(path, format!("the group has {count} members"), format!("at most {MEMBERS_MAX}"));
        }
        count if order == Order::Any && count > UNORDERED_MAX => {
            let message = format!("the group has {count} members, which may come in any order");
            errors.add(path, message, format!("at most {}", UNORDERED_MAX));
        }
        count if count == optional => errors.add(path, "every member is optional", "at least one that is not"),
        _ if order == Order::Written && optional > OPTIONAL_MAX => {
            errors.add(path, format!("the group has {optional} optional members"), format!("at most {OPTIONAL_MAX}"));
        }
        _ => {}
    }
}
