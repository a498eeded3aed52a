//! Compiles one member of a group, in the canonical form of its command.

use std::sync::Arc;

use crate::command::{Arrangement, CommandId, Measure, ParsedArgs, Spec, Table, Word, arrange};
use crate::policy::near::all_near;
use crate::policy::pattern::{Names, Pattern};
use crate::policy::reply::{self, ExpectedReply};
use crate::policy::rule::WrittenMember;
use crate::policy::template::{Measured, Template};
use respguard_resp::request::{Args, Span};

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
    let groupable = |spec: &Spec| spec.groupable().map_err(|reason| format!("cannot be in a group: {}", reason.as_str()));
    compile_for(path, written, groupable, table, names, errors)
}

/// The pattern, for any kind of rule: `allowed` says which commands it can be about.
pub(super) fn compile_for<E: std::fmt::Display>(
    path: &str,
    written: &WrittenMember,
    allowed: impl Fn(&Spec) -> Result<(), E>,
    table: &Table,
    names: &mut Names,
    errors: &mut Errors,
) -> Option<Template> {
    let before = errors.found.len();
    let line = Line::split(&written.template);
    let id = command(path, &line, allowed, table, errors);
    check_words(path, &line, names, errors);
    let id = id?;
    check_arity(path, &line, id, table, errors);
    if errors.found.len() > before {
        return None;
    }
    let Some(form) = arrange(table, id, &line) else {
        let message = format!("`...` comes too early in {}", table.spec(id).shown());
        errors.add(path, message, "every argument that the command always has, then `...`");
        return None;
    };
    let mut words: Vec<Box<str>> = (0..form.len()).filter_map(|place| Some(line.text_of(form.word(place)?)?.into())).collect();
    let rest = line.has_rest() && words.pop().is_some();
    let measured = measured(&form, &words);
    let words = words.iter().map(|word| Pattern::parse(word, names).ok()).collect::<Option<_>>()?;
    let text = written.template.as_str().into();
    let expected = match &written.expected {
        Some(text) => Some(Arc::new(wanted(&format!("{path}.expect"), text, errors)?)),
        None => None,
    };
    let only = expected.as_ref().filter(|_| changes_reply(id, table)).map(|_| id);
    Some(Template {
        id: form.id,
        also: None,
        words,
        measured,
        rest,
        optional: written.optional,
        expected,
        only,
        require: None,
        text,
    })
}

/// The keys that the member names, as they are written.
pub(super) fn keys(template: &Template, table: &Table, names: &mut Names) -> Vec<Pattern> {
    let line = Line::split(&template.text);
    let mut places = Vec::new();
    table.spec(table.lookup(line.args())).for_each_key(line.args(), &mut |place, _| places.push(place));
    let written = places.into_iter().filter(|place| !(line.has_rest() && line.is_rest(*place)));
    written.filter_map(|place| Pattern::parse(line.text_at(place)?, names).ok()).collect()
}

/// Reads what a reply must be.
pub(super) fn wanted(path: &str, text: &str, errors: &mut Errors) -> Option<ExpectedReply> {
    let wanted = ExpectedReply::parse(text);
    if wanted.is_none() {
        errors.add(path, format!("{text:?} says nothing about a reply"), reply::EXPECTED);
    }
    wanted
}

/// The one command that is meant where its spellings have different replies.
pub(super) fn only(template: &Template, text: &str, table: &Table) -> Option<CommandId> {
    let id = table.lookup(Line::split(text).args());
    template.only.or(Some(id).filter(|id| changes_reply(*id, table)))
}

/// Whether another spelling of the command has another reply: HSET counts, HMSET says OK.
fn changes_reply(id: CommandId, table: &Table) -> bool {
    matches!(table.spec(id).name(), "hset" | "hmset")
}

/// The two words that are compared by what they mean: a number, or a time to live, for which a wildcard takes any.
fn measured(form: &Arrangement, words: &[Box<str>]) -> Option<Measured> {
    let kind = |place: usize| match form.word(place) {
        Some(Word::Token(token)) => Some(token.as_bytes()),
        _ => None,
    };
    let pairs = (0..words.len()).filter_map(|place| Some((place, kind(place)?, words.get(place + 1)?)));
    let mut measured = pairs.filter_map(|(place, kind, number)| match Measure::read(kind, number.as_bytes()) {
        None if Measure::is_time(kind) && is_any(number) => Some(Measured { place, wanted: None }),
        wanted => wanted.map(|_| Measured { place, wanted }),
    });
    measured.next()
}

/// Whether a word is a wildcard and nothing else.
fn is_any(word: &str) -> bool {
    word == "*" || (word.starts_with('{') && !word.starts_with("{{") && word.find('}') == Some(word.len() - 1))
}

/// A member as it is written: the command's name and its words, with a closing `...` as the last.
struct Line {
    text: Box<str>,
    spans: Vec<Span>,
}

impl Line {
    fn split(template: &str) -> Self {
        let mut text = String::new();
        let mut spans = Vec::new();
        for word in template.split_ascii_whitespace() {
            let start = offset(text.len());
            text.push_str(word);
            spans.push(Span { start, end: offset(text.len()) });
        }
        Self { text: text.into(), spans }
    }

    fn args(&self) -> Args<'_> {
        Args::new(self.text.as_bytes(), &self.spans)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.spans.len()).filter_map(|place| self.text_at(place))
    }

    fn text_at(&self, place: usize) -> Option<&str> {
        let span = self.spans.get(place)?;
        self.text.get(span.start as usize..span.end as usize)
    }

    fn text_of(&self, word: Word) -> Option<&str> {
        match word {
            Word::Arg(place) => self.text_at(place),
            Word::Token(token) => Some(token),
        }
    }

    /// Words apart from a closing `...`.
    fn count(&self) -> usize {
        self.spans.len() - usize::from(self.has_rest())
    }

    fn has_rest(&self) -> bool {
        self.spans.len().checked_sub(1).is_some_and(|last| self.is_rest(last))
    }
}

impl ParsedArgs for Line {
    fn words(&self) -> usize {
        self.spans.len()
    }

    fn word(&self, i: usize) -> Option<&[u8]> {
        self.text_at(i).map(str::as_bytes)
    }

    fn is_rest(&self, i: usize) -> bool {
        self.text_at(i) == Some(REST)
    }
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The command that the line names, if it can be in a group.
fn command<E: std::fmt::Display>(
    path: &str,
    line: &Line,
    allowed: impl Fn(&Spec) -> Result<(), E>,
    table: &Table,
    errors: &mut Errors,
) -> Option<CommandId> {
    let Some(word) = line.iter().next() else {
        errors.add(path, "there is no command", "a command such as \"SET key:{name} *\"");
        return None;
    };
    let id = table.lookup(line.args());
    if id == CommandId::UNKNOWN {
        errors.add(path, format!("{word:?} is not a known command"), suggestion(word, table));
        return None;
    }
    if let Err(why) = allowed(table.spec(id)) {
        errors.add(path, format!("{} {why}", table.spec(id).shown()), "commands that run in a MULTI as they do outside");
        return None;
    }
    Some(id)
}

/// Commands that are suggested for one that is not known.
const SUGGESTED_MAX: usize = 3;

fn suggestion(word: &str, table: &Table) -> String {
    let known = table.iter().map(|(_, spec)| spec.name());
    let near: Vec<_> =
        all_near(word, known, SUGGESTED_MAX).iter().map(|near| near.to_ascii_uppercase().replace('|', " ")).collect();
    if near.is_empty() { "a command that the server has".to_owned() } else { format!("perhaps {}", near.join(" or ")) }
}

fn check_words(path: &str, line: &Line, names: &mut Names, errors: &mut Errors) {
    for (place, word) in line.iter().enumerate().skip(1).take(line.count().saturating_sub(1)) {
        if line.is_rest(place) {
            errors.add(path, "`...` is not the last word", "`...` behind all other words");
        } else if let Err(error) = Pattern::parse(word, names) {
            errors.add(path, format!("in {word:?}: {error}"), error.expected());
        }
    }
}

fn check_arity(path: &str, line: &Line, id: CommandId, table: &Table, errors: &mut Errors) {
    let arity = table.spec(id).arity;
    let needed = usize::from(arity.unsigned_abs());
    let count = line.count();
    let few = count < needed && !line.has_rest();
    let many = count > needed && arity > 0;
    if few || many {
        let least = if arity < 0 { "at least " } else { "" };
        let message = format!("{} never has {} arguments", table.spec(id).shown(), count - 1);
        let stars = vec!["*"; needed - 1].join(" ");
        let form = if arity < 0 { format!("{stars} ...") } else { stars };
        let expected = format!("{least}{} arguments, as in \"{} {}\"", needed - 1, table.spec(id).shown(), form.trim());
        errors.add(path, message, expected);
    }
}
