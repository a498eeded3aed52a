//! Compiles lists of key patterns.

use super::errors::Errors;
use crate::policy::pattern::{Names, Pattern};

/// The patterns of a `keys` list; they have no captures.
pub(super) fn key_patterns(path: &str, written: &[String], errors: &mut Errors) -> Box<[Pattern]> {
    if written.is_empty() {
        errors.add(path, "the list is empty", "at least one key pattern such as \"sess:*\"");
    }
    let mut patterns = Vec::new();
    for (place, text) in written.iter().enumerate() {
        let path = format!("{path}[{place}]");
        match Pattern::parse(text, &mut Names::default()) {
            _ if text.is_empty() => errors.add(path, "the pattern is empty", "a key pattern such as \"sess:*\""),
            Err(error) => errors.add(path, error.to_string(), error.expected()),
            Ok(pattern) if pattern.has_captures() => {
                errors.add(path, "a key pattern has no captures", "`*`, or `{{` and `}}` for the braces of a hash tag");
            }
            Ok(pattern) => patterns.push(pattern),
        }
    }
    patterns.into()
}
