//! What is wrong with rules, gathered while they are compiled.

/// Something that a rule cannot mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Where it is written: `group[0].commands[2]`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
}

/// The errors found so far.
#[derive(Default)]
pub(super) struct Errors {
    pub(super) found: Vec<RuleError>,
}

impl Errors {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>, expected: impl Into<String>) {
        self.found.push(RuleError { path: path.into(), message: message.into(), expected: expected.into() });
    }

    /// The value, unless there was an error.
    pub(super) fn none_or<T>(self, value: T) -> Result<T, Vec<RuleError>> {
        if self.found.is_empty() { Ok(value) } else { Err(self.found) }
    }
}
