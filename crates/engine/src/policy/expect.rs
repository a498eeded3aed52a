//! The rules for the replies to single commands.

use std::sync::Arc;

use crate::command::Table;

use super::by_command::ByCommand;
use super::reply::ExpectedReply;
use super::rule::{ExpectAction, Mode};
use super::subject::{Prefixes, Subject};
use super::template::Template;
use super::walk::Member;

/// One `[[expect]]` rule.
#[derive(Clone, Debug)]
pub struct ExpectRule {
    /// Its name in reports and metrics.
    pub name: Arc<str>,
    pub(super) command: Template,
    /// What the reply must be.
    pub reply: ExpectedReply,
    /// What becomes of another reply.
    pub action: ExpectAction,
    /// Whether it acts or only reports; `None` as the policy says.
    pub mode: Option<Mode>,
}

impl ExpectRule {
    /// Which requests of a command it can be about.
    pub(super) fn about(&self, subject: Option<Subject<'_>>) -> Prefixes<'_> {
        subject.and_then(|subject| self.command.about(subject)).into_iter().collect()
    }
}

/// All expectations, in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Expects {
    rules: Vec<Arc<ExpectRule>>,
    index: ByCommand,
}

impl Expects {
    pub(super) fn new(rules: Vec<Arc<ExpectRule>>, table: &Table) -> Self {
        let index = ByCommand::new(table, rules.len(), |subject| rules.iter().map(move |rule| rule.about(subject)));
        Self { rules, index }
    }

    pub(super) fn as_slice(&self) -> &[Arc<ExpectRule>] {
        &self.rules
    }

    /// The expectations of the command's reply.
    pub(super) fn of<'s>(&'s self, table: &'s Table, command: Member<'s>) -> impl Iterator<Item = &'s Arc<ExpectRule>> {
        let rules = self.index.rules(command).map(|place| &self.rules[place]);
        rules.filter(move |rule| rule.command.matches(command, table))
    }
}
