//! Compiles `[[guard]]` and `[[expect]]`, the rules about single commands.

use crate::command::{ConnectionEffect, Spec, Table, Ungroupable};
use crate::policy::expect::ExpectRule;
use crate::policy::guard::GuardRule;
use crate::policy::index::KeyIndex;
use crate::policy::pattern::Names;
use crate::policy::rule::{GuardAction, WrittenExpect, WrittenGuard, WrittenMember};
use crate::policy::template::Template;

use super::{Errors, key_patterns, member};

pub(super) fn guard(path: &str, written: &WrittenGuard, table: &Table, errors: &mut Errors) -> Option<GuardRule> {
    let before = errors.found.len();
    let commands = written.commands.iter().flatten().enumerate();
    let commands: Vec<Template> = commands
        .filter_map(|(place, text)| template(&format!("{path}.commands[{place}]"), text, guardable, table, errors))
        .collect();
    if written.commands.as_ref().is_some_and(Vec::is_empty) {
        errors.add(format!("{path}.commands"), "the list is empty", "at least one command, or no such key for all commands");
    }
    let keys = written.keys_allowed.as_ref().map(|keys| key_patterns(&format!("{path}.keys_allowed"), keys, errors));
    let limits = [written.value_bytes_max, written.arguments_max, written.reply_bytes_max];
    if written.commands.is_none() && keys.is_none() && limits.iter().all(Option::is_none) {
        errors.add(
            path,
            "the guard lets everything pass",
            "commands, value_bytes_max, arguments_max, keys_allowed or reply_bytes_max",
        );
    }
    if written.reply_bytes_max.is_some() && written.action == GuardAction::Reject {
        let expected = "\"flag\", since a reply is only known when its command has run";
        errors.add(format!("{path}.action"), "reply_bytes_max cannot reject", expected);
    }
    (errors.found.len() == before).then(|| GuardRule {
        name: written.name.as_str().into(),
        commands: commands.into(),
        value_bytes_max: written.value_bytes_max,
        arguments_max: written.arguments_max,
        keys_allowed: keys.map(|keys| KeyIndex::new([&*keys])),
        reply_bytes_max: written.reply_bytes_max,
        action: written.action,
        mode: written.mode,
    })
}

pub(super) fn expect(path: &str, written: &WrittenExpect, table: &Table, errors: &mut Errors) -> Option<ExpectRule> {
    let at = format!("{path}.command");
    let command = template(&at, &written.command, answering, table, errors);
    let reply = member::wanted(&format!("{path}.reply"), &written.reply, errors);
    let command = command.map(|command| Template { only: member::only(&command, &written.command, table), ..command })?;
    Some(ExpectRule { name: written.name.as_str().into(), command, reply: reply?, action: written.action, mode: written.mode })
}

fn template(
    path: &str,
    text: &str,
    allowed: fn(&Spec) -> Result<(), &'static str>,
    table: &Table,
    errors: &mut Errors,
) -> Option<Template> {
    let written = WrittenMember { template: text.to_owned(), ..WrittenMember::default() };
    member::compile_for(path, &written, allowed, table, &mut Names::default(), errors)
}

/// Everything but what the proxy must know of to stay in step with its client.
fn guardable(spec: &Spec) -> Result<(), &'static str> {
    match spec.connection {
        ConnectionEffect::Transaction(_) => Err("cannot be guarded: the commands between MULTI and EXEC can"),
        ConnectionEffect::Quit | ConnectionEffect::Reset => Err("cannot be guarded: it ends what a client is"),
        _ => Ok(()),
    }
}

/// Commands whose reply is one frame, and the server's.
fn answering(spec: &Spec) -> Result<(), &'static str> {
    match spec.groupable() {
        Ok(()) | Err(Ungroupable::Blocking | Ungroupable::NoMulti) => Ok(()),
        Err(_) => Err("has no reply that can be expected"),
    }
}
