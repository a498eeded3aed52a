//! The rules for which commands are forbidden, by name, size and keys.

use std::fmt;
use std::sync::Arc;

use crate::command::{KeyList, Table};

use super::by_command::CommandRule;
use super::index::KeyIndex;
use super::pattern::Bindings;
use super::rule::{GuardAction, Mode};
use super::subject::{Prefixes, Subject, everything};
use super::template::Template;
use super::walk::Member;

/// One `[[guard]]` rule.
#[derive(Clone, Debug)]
pub struct GuardRule {
    /// Its name in reports and metrics.
    pub name: Arc<str>,
    /// The commands that it is about; empty: all.
    pub(super) commands: Box<[Template]>,
    /// The longest argument behind the command's name.
    pub value_bytes_max: Option<u64>,
    /// The most arguments behind the command's name.
    pub arguments_max: Option<u64>,
    /// The only keys that may be named.
    pub(super) keys_allowed: Option<KeyIndex>,
    /// The longest reply, as it is on the wire.
    pub reply_bytes_max: Option<u64>,
    /// What becomes of a command that breaks it.
    pub action: GuardAction,
    /// Whether it acts or only reports; `None` as the policy says.
    pub mode: Option<Mode>,
}

/// What is known of a command of which only the head has come.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The arguments behind its name.
    pub arguments: u64,
    /// The bytes of the longest argument of those that have come or begun.
    pub longest: u64,
}

/// What about a command its guard does not let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardBreach {
    /// The command itself.
    Command,
    /// An argument is longer than this.
    Value(u64),
    /// There are more arguments than this.
    Arguments(u64),
    /// A key that no pattern allows, or all keys.
    Key,
}

impl fmt::Display for GuardBreach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuardBreach::Command => f.write_str("the command is not allowed"),
            GuardBreach::Value(max) => write!(f, "an argument is longer than {max} bytes"),
            GuardBreach::Arguments(max) => write!(f, "there are more than {max} arguments"),
            GuardBreach::Key => f.write_str("a key is not among those allowed"),
        }
    }
}

impl CommandRule for GuardRule {
    fn about(&self, subject: Option<Subject<'_>>) -> Prefixes<'_> {
        if self.commands.is_empty() {
            return everything();
        }
        subject.into_iter().flat_map(|subject| self.commands.iter().filter_map(move |template| template.about(subject))).collect()
    }

    fn matches(&self, command: Member<'_>, table: &Table) -> bool {
        self.commands.is_empty() || self.commands.iter().any(|template| template.matches(command, table))
    }
}

impl GuardRule {
    /// What about a command that the rule concerns must not pass.
    pub fn breach(&self, command: Member<'_>, table: &Table) -> Option<GuardBreach> {
        let spec = table.spec(command.id);
        let arguments = command.args.from(usize::from(spec.name_words));
        let value = |max: &u64| arguments.iter().any(|argument| argument.len() as u64 > *max);
        let key = |allowed: &KeyIndex| {
            let mut outside = false;
            let known = spec.for_each_key(command.args, &mut |place, _| {
                outside |= command.args.get(place).is_some_and(|key| allowed.first_match(key).is_none());
            });
            outside || known != KeyList::Complete || spec.is_about_all_keys()
        };
        match () {
            () if self.is_about_commands() => Some(GuardBreach::Command),
            () if self.arguments_max.is_some_and(|max| arguments.len() as u64 > max) => {
                self.arguments_max.map(GuardBreach::Arguments)
            }
            () if self.value_bytes_max.as_ref().is_some_and(value) => self.value_bytes_max.map(GuardBreach::Value),
            () if self.keys_allowed.as_ref().is_some_and(key) => Some(GuardBreach::Key),
            () => None,
        }
    }

    /// What about a command that the rule concerns must not pass, as far as the head tells it.
    pub fn breach_by_head(&self, head: Head) -> Option<GuardBreach> {
        match () {
            () if self.is_about_commands() => Some(GuardBreach::Command),
            () if self.arguments_max.is_some_and(|max| head.arguments > max) => self.arguments_max.map(GuardBreach::Arguments),
            () if self.value_bytes_max.is_some_and(|max| head.longest > max) => self.value_bytes_max.map(GuardBreach::Value),
            () => None,
        }
    }

    /// Whether a command that the rule concerns is all that it takes.
    fn is_about_commands(&self) -> bool {
        let limits = [self.value_bytes_max, self.arguments_max, self.reply_bytes_max];
        limits.iter().all(Option::is_none) && self.keys_allowed.is_none()
    }
}

impl Template {
    /// Whether the command fits by itself.
    pub(super) fn matches(&self, command: Member<'_>, table: &Table) -> bool {
        self.agrees(command, table, &mut Bindings::default())
    }
}
