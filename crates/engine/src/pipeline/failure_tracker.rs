//! Counts which commands of one pipeline failed, until the last one is answered.

use std::sync::Arc;

use super::expectations::Expectations;
use super::finding::{Finding, Outcome, Place, Unwrapped};
use super::named_keys::NamedKeys;
use super::violation::{COMMANDS_MAX, Kind, Violation, error_word};
use crate::command::{CommandId, Table};
use crate::policy::Group;
use respguard_resp::value;

/// Whose replies are counted together.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Scope {
    /// Commands that a client sent in one go.
    Pipeline {
        /// A partial failure is a violation, not only counted.
        report: bool,
    },
    /// A group that went out as it is: by its rule, or, for what is told in `unwrapped`, against it.
    Group { index: usize, rule: Arc<Group>, unwrapped: Option<Unwrapped> },
}

impl Scope {
    fn is_failure(&self, reply: &[u8]) -> bool {
        match self {
            Scope::Pipeline { .. } => is_failure(reply),
            Scope::Group { .. } => value::is_error(reply),
        }
    }
}

/// The replies so far of commands that belong together.
#[derive(Debug)]
pub struct FailureTracker {
    scope: Scope,
    commands: u32,
    answered: u32,
    first_commands: FirstCommands,
    failures: Failures,
    expectations: Option<Box<Expectations>>,
    /// The commands' keys, where violations name them.
    keys: Option<Box<NamedKeys>>,
}

/// Those of several commands that have failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) count: u32,
    pub(super) first: Option<Failure>,
}

impl Failures {
    /// The command at `place`, from 1, answered the error frame `reply`.
    pub(super) fn note(&mut self, place: u32, reply: &[u8]) {
        self.count += 1;
        self.first.get_or_insert_with(|| Failure::new(place, reply));
    }
}

/// A command that answered an error.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Place among its companions, from 1.
    pub place: u32,
    /// The error's code, as far as it has the form of one.
    pub error: Box<str>,
}

/// The first commands of a pipeline or a transaction: as many as a report names.
#[derive(Debug, Default)]
pub(super) struct FirstCommands {
    first: [Option<CommandId>; COMMANDS_MAX + 1],
    len: usize,
    /// One of all that were queued may write.
    may_write: bool,
}

impl FirstCommands {
    pub(super) fn push(&mut self, command: CommandId) {
        if let Some(place) = self.first.get_mut(self.len) {
            *place = Some(command);
            self.len += 1;
        }
    }

    /// Takes a command of the client's own transaction.
    pub(super) fn queue(&mut self, command: CommandId, may_write: bool) {
        self.push(command);
        self.may_write |= may_write;
    }

    /// Whether something can be half written.
    pub(super) fn may_write(&self) -> bool {
        self.may_write
    }

    fn fill(&mut self, commands: impl Iterator<Item = CommandId>) {
        let room = self.first.len() - self.len;
        commands.take(room).for_each(|command| self.push(command));
    }

    pub(super) fn clear(&mut self) {
        (self.len, self.may_write) = (0, false);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = CommandId> + '_ {
        self.first[..self.len].iter().copied().flatten()
    }
}

impl FailureTracker {
    /// Nothing answered yet of `commands` commands.
    pub fn new(scope: Scope, commands: u32) -> FailureTracker {
        FailureTracker {
            scope,
            commands,
            answered: 0,
            first_commands: FirstCommands::default(),
            failures: Failures::default(),
            expectations: None,
            keys: None,
        }
    }

    /// What the group's rule expects of the replies.
    pub fn expecting(self, expectations: Option<Box<Expectations>>) -> FailureTracker {
        FailureTracker { expectations, ..self }
    }

    /// Violations name these keys.
    pub fn naming(self, keys: Option<Box<NamedKeys>>) -> FailureTracker {
        FailureTracker { keys, ..self }
    }

    /// Takes one reply, or the beginning of one that is not `whole`; true when it was the last.
    pub(super) fn admit(&mut self, command: CommandId, reply: &[u8], whole: bool) -> bool {
        if let Some(expectations) = &mut self.expectations {
            expectations.admit(reply, whole);
        }
        self.answered += 1;
        self.first_commands.push(command);
        if reply.first() == Some(&b'-') && self.scope.is_failure(reply) {
            self.failures.note(self.answered, reply);
        }
        self.answered == self.commands
    }

    /// The last of its replies has come, or will never come.
    pub(super) fn is_answered(&self) -> bool {
        self.answered == self.commands
    }

    /// How many of the next replies, at most `most`, nobody needs to look at as long as they are no errors.
    pub(super) fn takes_unread(&self, most: u32) -> u32 {
        if self.expectations.is_some() { 0 } else { most.min(self.commands - self.answered) }
    }

    /// Takes replies that are no errors; true when the last was among them.
    pub(super) fn admit_unread(&mut self, commands: impl ExactSizeIterator<Item = CommandId>) -> bool {
        self.answered += commands.len() as u32;
        self.first_commands.fill(commands);
        self.answered == self.commands
    }

    /// A command that will never be known to have failed or not; true when it was the last.
    pub(super) fn abandon(&mut self, command: CommandId) -> bool {
        self.first_commands.push(command);
        self.answered += 1;
        self.answered == self.commands
    }

    /// The first failure, if some commands failed and others did not.
    fn partial_failure(&self) -> Option<&Failure> {
        self.failures.first.as_ref().filter(|_| self.failures.count < self.commands)
    }

    /// What the replies of all of them say about the pipeline or the group.
    pub(super) fn report(&self, table: &Table, found: &mut Vec<Finding>) {
        let known = found.len();
        self.conclude(table, found);
        if let Some(keys) = &self.keys {
            keys.name(&mut found[known..]);
        }
    }

    fn conclude(&self, table: &Table, found: &mut Vec<Finding>) {
        let failure = self.partial_failure();
        match (&self.scope, failure) {
            (Scope::Pipeline { .. }, None) => {}
            (Scope::Pipeline { report }, Some(failure)) => {
                found.push(Finding::PartialFailure(Place::Pipeline));
                if *report {
                    found.push(Finding::Violation(partial_failure(None, failure, self.first_commands.iter(), table)));
                }
            }
            (Scope::Group { index, rule, unwrapped }, failure) => {
                if let Some(failure) = failure {
                    found.push(Finding::PartialFailure(Place::Group));
                    let commands = self.first_commands.iter();
                    found.push(Finding::Violation(partial_failure(Some(&rule.name), failure, commands, table)));
                }
                if let Some(breach) = self.expectations.as_ref().and_then(|expectations| expectations.breach()) {
                    found.push(Finding::Violation(breach.violation(&rule.name, self.first_commands.iter(), table)));
                }
                if let Some(why) = unwrapped {
                    let names = self.first_commands.iter().map(|command| table.spec(command).name());
                    let violation = Violation::new(why.kind()).rule(&rule.name).commands(names);
                    found.push(Finding::Violation(violation.reason(Some(why.as_str()))));
                }
                let outcome = match (unwrapped, failure) {
                    (Some(_), _) => Outcome::Unwrapped,
                    (None, Some(_)) => Outcome::Torn,
                    (None, None) => Outcome::Observed,
                };
                found.push(Finding::Group { index: *index, outcome });
            }
        }
    }
}

impl Failure {
    /// The command at `place` answered the error frame `reply`.
    pub(super) fn new(place: u32, reply: &[u8]) -> Failure {
        Failure { place, error: error_word(value::error_text(reply)).into() }
    }
}

/// True for error replies but those that are answers rather than failures: NOSCRIPT invites to send
/// the script, BUSYGROUP says that the group is already there. Of a declared group's member every error is a failure: it
/// has not been applied, and the others have.
pub(super) fn is_failure(reply: &[u8]) -> bool {
    value::is_error(reply) && !matches!(error_word(value::error_text(reply)), "NOSCRIPT" | "BUSYGROUP")
}

/// The violation for a failure in part, among `commands`.
pub(super) fn partial_failure(
    rule: Option<&Arc<str>>,
    failure: &Failure,
    commands: impl Iterator<Item = CommandId>,
    table: &Table,
) -> Violation {
    let names = commands.map(|command| table.spec(command).name());
    let violation = Violation::new(Kind::PartialFailure).commands(names).place(failure.place);
    Violation { rule: rule.cloned(), error: Some(failure.error.clone()), ..violation }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(replies: &[&[u8]]) -> FailureTracker {
        let mut tracker = FailureTracker::new(Scope::Pipeline { report: true }, replies.len() as u32);
        for (at, reply) in replies.iter().enumerate() {
            assert_eq!(tracker.admit(CommandId::UNKNOWN, reply, true), at + 1 == replies.len());
        }
        tracker
    }

    #[test]
    fn some_failed_and_others_not_is_a_partial_failure() {
        let tracker = tracker(&[b"+OK\r\n", b"-WRONGTYPE no\r\n", b"-ERR no\r\n"]);
        let failure = tracker.partial_failure().expect("partial");
        assert_eq!((failure.place, &*failure.error), (2, "WRONGTYPE"));
    }

    #[test]
    fn all_or_none_failed_is_none() {
        assert!(tracker(&[b"-ERR a\r\n", b"-ERR b\r\n"]).partial_failure().is_none());
        assert!(tracker(&[b"+OK\r\n", b":1\r\n"]).partial_failure().is_none());
    }

    #[test]
    fn answers_in_the_shape_of_errors_do_not_count() {
        assert!(tracker(&[b"+OK\r\n", b"-NOSCRIPT No matching script.\r\n"]).partial_failure().is_none());
        assert!(tracker(&[b"+OK\r\n", b"-BUSYGROUP exists\r\n"]).partial_failure().is_none());
    }
}
