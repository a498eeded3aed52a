//! The form of a key's value: its type, range or choices.

use std::fmt;
use std::ops::RangeInclusive;

/// What may be written as the value of a key, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Number(RangeInclusive<u64>),
    /// A part of a whole.
    Ratio,
    Truth,
    /// One of these words.
    Words(Vec<&'static str>),
    List,
    Table,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("a string"),
            Self::Number(range) => write!(f, "a whole number from {} to {}", range.start(), range.end()),
            Self::Ratio => f.write_str("a number above 0, at most 1"),
            Self::Truth => f.write_str("true or false"),
            Self::Words(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
                f.write_str(&words.join(" or "))
            }
            Self::List => f.write_str("a list"),
            Self::Table => f.write_str("a table"),
        }
    }
}
