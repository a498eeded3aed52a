//! Parses what a member of a group requires of its key before the group runs.

use std::borrow::Cow;
use std::sync::Arc;

use super::duration;
use super::pattern::{Bindings, Names};
use super::phrase::{Phrase, PhraseError};
use crate::preflight::{Condition, Requirement, Types};

/// What can be written, for error messages.
pub const EXPECTED: &str = "\"exists\", \"absent\", \"ttl > 0\", \"ttl > 30s\", \"= VALUE\", or \"type \" and one of string, list, set, zset, hash, stream";

/// What must be true of a key.
#[derive(Clone, Debug)]
pub(super) struct Required {
    what: RequiredState,
    text: Arc<str>,
}

#[derive(Clone, Debug)]
enum RequiredState {
    Type(Types),
    TtlAbove(u64),
    Value(Phrase),
}

impl Required {
    /// Reads what a user wrote; `None` where it means nothing. The names in a value are those of the group.
    pub(super) fn parse(text: &str, names: &Names) -> Result<Option<Required>, PhraseError> {
        // Blanks belong to a value, but for the one behind the sign.
        if let Some(value) = text.strip_prefix('=') {
            let value = Phrase::parse(value.strip_prefix(' ').unwrap_or(value), names)?;
            return Ok(Some(Required { what: RequiredState::Value(value), text: text.into() }));
        }
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let what = match *words {
            ["exists"] => Some(RequiredState::Type(Types::ALL.without(Types::NONE))),
            ["absent"] => Some(RequiredState::Type(Types::NONE)),
            ["type", word] => {
                let one = Types::ALL.without(Types::NONE).each().find(|one| one.word() == Some(word));
                one.map(RequiredState::Type)
            }
            ["ttl", ">", "0"] => Some(RequiredState::TtlAbove(0)),
            ["ttl", ">", time] => {
                duration::parse(time).and_then(|time| u64::try_from(time.as_millis()).ok()).map(RequiredState::TtlAbove)
            }
            _ => None,
        };
        Ok(what.map(|what| Required { what, text: words.join(" ").into() }))
    }

    /// Whether it is about the bytes of a value.
    pub(super) fn is_value(&self) -> bool {
        matches!(self.what, RequiredState::Value(_))
    }

    /// The numbers of the captures in it.
    pub(super) fn captures(&self) -> impl Iterator<Item = usize> {
        let value = match &self.what {
            RequiredState::Value(value) => Some(value),
            RequiredState::Type(_) | RequiredState::TtlAbove(_) => None,
        };
        value.into_iter().flat_map(Phrase::captures)
    }

    /// What is asked, where the captures are bound so.
    pub(super) fn bind<'a>(&self, bound: &Bindings<'a>) -> Requirement<'a> {
        let condition = match &self.what {
            RequiredState::Type(types) => Condition::Type(*types),
            RequiredState::TtlAbove(milliseconds) => Condition::TtlAbove(*milliseconds),
            RequiredState::Value(value) => Condition::Value(Cow::Owned(value.bind(bound))),
        };
        Requirement { condition, text: Arc::clone(&self.text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(text: &str) -> Option<Condition<'static>> {
        let required = Required::parse(text, &Names::default()).ok()??;
        Some(required.bind(&Bindings::default()).condition)
    }

    #[test]
    fn what_is_required_is_read() {
        assert_eq!(condition("exists"), Some(Condition::Type(Types::ALL.without(Types::NONE))));
        assert_eq!(condition(" absent "), Some(Condition::Type(Types::NONE)));
        assert_eq!(condition("type set"), Some(Condition::Type(Types::SET)));
        assert_eq!(condition("ttl > 0"), Some(Condition::TtlAbove(0)));
        assert_eq!(condition("ttl > 30s"), Some(Condition::TtlAbove(30_000)));
        for (text, value) in [("= v", "v"), ("=v", "v"), ("=  v w ", " v w "), ("=", ""), ("= 5", "5")] {
            assert_eq!(condition(text), Some(Condition::Value(value.as_bytes().into())), "{text:?}");
        }
    }

    #[test]
    fn what_means_nothing_is_none() {
        for text in ["", "exist", "type", "type none", "type sets", "ttl", "ttl > ", "ttl >= 0", "ttl > 5", "!= v", "exists now"]
        {
            assert_eq!(condition(text), None, "{text:?}");
        }
    }
}
