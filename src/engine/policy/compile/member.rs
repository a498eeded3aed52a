//! Compiles one member of a group, in the canonical form of its command.

use crate::engine::command::{CommandId, Table, canonical};
use crate::engine::policy::group::Template;
use crate::engine::policy::near::nearest;
use crate::engine::policy::pattern::{Names, Pattern};
use crate::engine::policy::recognise::{canonical_id, command_ids};
use crate::engine::policy::rule::WrittenMember;
use crate::engine::resp::request::{Args, Span};

use super::Errors;

const REST: &str = "...";

/// The member, unless something is wrong with it.
pub(super) fn compile(
    path: &str,
    written: &WrittenMember,
    table: &Table,
    names: &mut Names,
    errors: &mut Errors,
) -> Option<Template> {
    let before = errors.found.len();
    let line = Line::split(&written.template);
    let id = command(path, &line, table, errors);
    check_words(path, &line, names, errors);
    let id = id?;
    check_arity(path, &line, id, table, errors);
    let form = canonical(table, id, line.args());
    if form.id != canonical_id(table, id) {
        let message = format!("`...` comes too early in {}", name(table, id));
        errors.add(
            path,
            message,
            "every argument that the command always has, then `...`",
        );
    }
    if errors.found.len() > before {
        return None;
    }
    let words = (0..form.len()).map(|place| word(table, id, form.get(place)?, place, names));
    let words = words.collect::<Option<_>>()?;
    Some(Template {
        id: form.id,
        words,
        rest: line.rest,
        optional: written.optional,
    })
}

/// A member as it is written: the command's name and its words, apart from a closing `...`.
struct Line {
    text: Box<str>,
    words: Vec<Span>,
    rest: bool,
}

impl Line {
    fn split(template: &str) -> Self {
        let mut text = String::new();
        let mut words = Vec::new();
        for word in template.split_ascii_whitespace() {
            let start = offset(text.len());
            text.push_str(word);
            words.push(Span {
                start,
                end: offset(text.len()),
            });
        }
        let mut line = Self {
            text: text.into(),
            words,
            rest: false,
        };
        if line.words().last() == Some(REST) {
            line.words.pop();
            line.rest = true;
        }
        line
    }

    fn args(&self) -> Args<'_> {
        Args::new(self.text.as_bytes(), &self.words)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.words
            .iter()
            .filter_map(|span| self.text.get(span.start as usize..span.end as usize))
    }
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The command that the line names, if it can be in a group.
fn command(path: &str, line: &Line, table: &Table, errors: &mut Errors) -> Option<CommandId> {
    let Some(word) = line.words().next() else {
        errors.add(
            path,
            "there is no command",
            "a command such as \"SET key:{name} *\"",
        );
        return None;
    };
    let id = table.lookup(line.args());
    if id == CommandId::UNKNOWN {
        errors.add(
            path,
            format!("{word:?} is not a known command"),
            suggestion(word, table),
        );
        return None;
    }
    if let Err(reason) = table.spec(id).groupable() {
        let message = format!("{} cannot be in a group: {reason}", name(table, id));
        errors.add(
            path,
            message,
            "commands that run in a MULTI as they do outside",
        );
        return None;
    }
    Some(id)
}

fn suggestion(word: &str, table: &Table) -> String {
    let known = command_ids(table).map(|id| table.spec(id).name());
    match nearest(word, known) {
        Some(near) => format!("perhaps {}", near.to_ascii_uppercase().replace('|', " ")),
        None => "a command that the server has".to_owned(),
    }
}

fn name(table: &Table, id: CommandId) -> String {
    table.spec(id).name().to_ascii_uppercase().replace('|', " ")
}

fn check_words(path: &str, line: &Line, names: &mut Names, errors: &mut Errors) {
    for word in line.words().skip(1) {
        if word == REST {
            errors.add(
                path,
                "`...` is not the last word",
                "`...` behind all other words",
            );
        } else if let Err(error) = Pattern::parse(word, names) {
            errors.add(path, format!("in {word:?}: {error}"), error.expected());
        }
    }
}

fn check_arity(path: &str, line: &Line, id: CommandId, table: &Table, errors: &mut Errors) {
    let arity = table.spec(id).arity;
    let needed = usize::from(arity.unsigned_abs());
    let count = line.words.len();
    let few = count < needed && !line.rest;
    let many = count > needed && arity > 0;
    if few || many {
        let least = if arity < 0 { "at least " } else { "" };
        let message = format!("{} never has {} arguments", name(table, id), count - 1);
        errors.add(path, message, format!("{least}{} arguments", needed - 1));
    }
}

/// One word of the canonical form. A subcommand is part of the command, in any case.
fn word(
    table: &Table,
    id: CommandId,
    word: &[u8],
    place: usize,
    names: &mut Names,
) -> Option<Pattern> {
    let subcommand = table
        .spec(id)
        .name()
        .split_once('|')
        .map(|(_, subcommand)| subcommand);
    if place == 0 && subcommand.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(word)) {
        return Some(Pattern::any());
    }
    Pattern::parse(std::str::from_utf8(word).ok()?, names).ok()
}
