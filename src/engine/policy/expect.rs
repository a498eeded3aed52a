//! Says what the replies to single commands must be.

use std::sync::Arc;

use crate::engine::command::Table;

use super::by_command::ByCommand;
use super::group::{Member, Template};
use super::guard::concerns;
use super::reply::Wanted;
use super::rule::{ExpectAction, Mode};

/// One `[[expect]]` rule.
#[derive(Clone, Debug)]
pub struct ExpectRule {
    pub name: Arc<str>,
    pub(super) command: Template,
    pub reply: Wanted,
    pub action: ExpectAction,
    pub mode: Option<Mode>,
}

/// All expectations, in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Expects {
    rules: Vec<Arc<ExpectRule>>,
    index: ByCommand,
}

impl Expects {
    pub(super) fn new(rules: Vec<Arc<ExpectRule>>, table: &Table) -> Self {
        let template = |place: usize| std::slice::from_ref(&rules[place].command);
        let index = ByCommand::new(table, rules.len(), |place, id| concerns(template(place), id, table));
        Self { rules, index }
    }

    pub(super) fn as_slice(&self) -> &[Arc<ExpectRule>] {
        &self.rules
    }

    /// The expectations of the command's reply.
    pub(super) fn of<'s>(&'s self, table: &'s Table, command: Member<'s>) -> impl Iterator<Item = &'s Arc<ExpectRule>> {
        let rules = self.index.rules(command.id).map(|place| &self.rules[place]);
        rules.filter(move |rule| rule.command.matches(command, table))
    }
}
