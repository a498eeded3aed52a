//! What can be wrong with a member of a group before it is sent.

use std::borrow::Cow;

use crate::command::Spec;

/// A key that a command takes for another type.
pub(super) const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// What is wrong with a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers this error, in Redis' own words.
    Certain(Cow<'static, str>),
    /// Nobody can tell before it runs: why.
    Undecided(&'static str),
}

impl Fault {
    pub(super) fn new(error: &'static str) -> Fault {
        Fault::Certain(Cow::Borrowed(error))
    }
}

/// What Redis answers to a command with too few or too many arguments.
pub fn wrong_arity(spec: &Spec) -> Cow<'static, str> {
    wrong_arity_of(spec.name())
}

fn wrong_arity_of(name: &str) -> Cow<'static, str> {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

pub(super) fn wrong_number(name: &str) -> Fault {
    Fault::Certain(wrong_arity_of(name))
}
