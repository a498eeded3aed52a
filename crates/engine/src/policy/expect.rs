//! The rules for the replies to single commands.

use std::sync::Arc;

use crate::command::Table;

use super::by_command::CommandRule;
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

impl CommandRule for ExpectRule {
    fn about(&self, subject: Option<Subject<'_>>) -> Prefixes<'_> {
        subject.and_then(|subject| self.command.about(subject)).into_iter().collect()
    }

    fn matches(&self, command: Member<'_>, table: &Table) -> bool {
        self.command.matches(command, table)
    }
}
