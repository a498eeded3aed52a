//! Finds the rule that says whether a key must expire.

use std::sync::Arc;
use std::time::Duration;

use super::index::KeyIndex;
use super::pattern::Pattern;
use super::rule::{Mode, Word, WrittenTtlAction};

/// What is done about a key that lacks the TTL it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlAction {
    /// It is reported.
    Flag,
}

impl TtlAction {
    /// The word, as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            TtlAction::Flag => WrittenTtlAction::Flag.as_str(),
        }
    }
}

/// One `[[ttl]]` rule: keys that must expire.
#[derive(Clone, Debug)]
pub struct TtlRule {
    pub name: Arc<str>,
    pub keys: Box<[Pattern]>,
    pub action: TtlAction,
    /// The TTL that such a key is meant to have.
    pub default: Option<Duration>,
    /// A longer TTL is a violation too.
    pub max: Option<Duration>,
    /// How long a missing TTL may still come before it is reported.
    pub grace: Duration,
    pub mode: Option<Mode>,
}

impl TtlRule {
    /// The text of the pattern that the key matches: what a report names in place of the key.
    pub fn pattern_of(&self, key: &[u8]) -> Option<&str> {
        self.keys.iter().find(|pattern| pattern.matches_key(key)).map(Pattern::text)
    }
}

/// All TTL rules, in the order in which they were written: the first that matches a key is the key's rule.
#[derive(Clone, Debug)]
pub struct TtlRules {
    rules: Vec<Arc<TtlRule>>,
    index: KeyIndex,
}

impl TtlRules {
    pub fn new(rules: Vec<Arc<TtlRule>>) -> Self {
        let index = KeyIndex::new(rules.iter().map(|rule| &*rule.keys));
        Self { rules, index }
    }

    pub fn as_slice(&self) -> &[Arc<TtlRule>] {
        &self.rules
    }

    /// The rule of a key, with its place among the rules.
    pub fn rule_for(&self, key: &[u8]) -> Option<(usize, &Arc<TtlRule>)> {
        let place = self.index.first_match(key)?;
        self.rules.get(place).map(|rule| (place, rule))
    }
}
