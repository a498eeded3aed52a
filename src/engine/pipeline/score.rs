//! Counts which commands of one pipeline failed, until the last of them is answered.

use std::sync::Arc;

use super::violation::{Kind, Violation};
use crate::engine::command::{CommandId, Table};
use crate::engine::policy::Group;

/// Whose replies are counted together.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Commands that a client sent in one go.
    Pipeline {
        /// A partial failure is a violation, not only counted.
        report: bool,
    },
    /// A group that went out as it is: by its rule, or, when `unwrapped`, against it.
    Group { index: usize, rule: Arc<Group>, unwrapped: bool },
}

/// The replies so far of commands that belong together.
#[derive(Debug)]
pub struct Score {
    pub(super) scope: Scope,
    commands: u32,
    answered: u32,
    failed: u32,
    first_failure: Option<Failure>,
}

/// A command that answered an error.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Place among its companions, from 1.
    pub place: u32,
    pub command: CommandId,
    /// First word of the error.
    pub error: Box<str>,
}

impl Score {
    /// Nothing answered yet of `commands` commands.
    pub fn new(scope: Scope, commands: u32) -> Score {
        Score { scope, commands, answered: 0, failed: 0, first_failure: None }
    }

    /// Takes one reply; true when it was the last.
    pub(super) fn admit(&mut self, command: CommandId, reply: &[u8]) -> bool {
        self.answered += 1;
        if reply.first() == Some(&b'-')
            && let Some(error) = failure_word(reply)
        {
            self.failed += 1;
            let place = self.answered;
            self.first_failure.get_or_insert_with(|| Failure { place, command, error: error.into() });
        }
        self.answered == self.commands
    }

    /// A command that will never be known to have failed or not; true when it was the last.
    pub(super) fn forgo(&mut self) -> bool {
        self.answered += 1;
        self.answered == self.commands
    }

    /// The first failure, if some commands failed and others did not.
    pub(super) fn partial_failure(&self) -> Option<&Failure> {
        self.first_failure.as_ref().filter(|_| self.failed < self.commands)
    }
}

/// The first word of an error reply, `None` for those that are answers rather than failures:
/// NOSCRIPT invites to send the script, BUSYGROUP says that the group is already there.
pub(super) fn failure_word(reply: &[u8]) -> Option<&str> {
    let text = reply.strip_prefix(b"-")?;
    let end = memchr::memchr2(b' ', b'\r', text).unwrap_or(text.len());
    match std::str::from_utf8(&text[..end]) {
        Ok("NOSCRIPT" | "BUSYGROUP") => None,
        Ok(word) => Some(word),
        Err(_) => Some("ERR"),
    }
}

/// The violation for a failure in part.
pub(super) fn partial_failure(rule: Option<Arc<str>>, failure: &Failure, table: &Table) -> Violation {
    Violation {
        rule,
        commands: vec![table.spec(failure.command).name().into()],
        place: Some(failure.place),
        error: Some(failure.error.clone()),
        ..Violation::new(Kind::PartialFailure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(replies: &[&[u8]]) -> Score {
        let mut score = Score::new(Scope::Pipeline { report: true }, replies.len() as u32);
        for (at, reply) in replies.iter().enumerate() {
            assert_eq!(score.admit(CommandId::UNKNOWN, reply), at + 1 == replies.len());
        }
        score
    }

    #[test]
    fn some_failed_and_others_not_is_a_partial_failure() {
        let score = score(&[b"+OK\r\n", b"-WRONGTYPE no\r\n", b"-ERR no\r\n"]);
        let failure = score.partial_failure().expect("partial");
        assert_eq!((failure.place, &*failure.error), (2, "WRONGTYPE"));
    }

    #[test]
    fn all_or_none_failed_is_none() {
        assert!(score(&[b"-ERR a\r\n", b"-ERR b\r\n"]).partial_failure().is_none());
        assert!(score(&[b"+OK\r\n", b":1\r\n"]).partial_failure().is_none());
    }

    #[test]
    fn answers_in_the_shape_of_errors_do_not_count() {
        assert!(score(&[b"+OK\r\n", b"-NOSCRIPT No matching script.\r\n"]).partial_failure().is_none());
        assert!(score(&[b"+OK\r\n", b"-BUSYGROUP exists\r\n"]).partial_failure().is_none());
    }
}
