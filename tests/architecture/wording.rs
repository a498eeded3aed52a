//! The rules about words: a purpose in each first line, metric names in one place.

use crate::source::{Kind, Source};

/// The complaint about a file whose first line is not a `//!` sentence with its full stop.
pub fn purpose_breach(source: &Source) -> Option<String> {
    let paragraph: Vec<&str> = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let paragraph = paragraph.join(" ");
    let sentence = paragraph.ends_with('.') || paragraph.contains(". ") || paragraph.ends_with(".)");
    (!sentence).then(|| format!("{}: the first line is no `//!` sentence with a full stop", source.path))
}

/// String literals outside of tests that spell a metric's name.
pub fn metric_names(source: &Source) -> Vec<String> {
    let named = source.tokens.iter().filter_map(|token| match &token.kind {
        Kind::Text(text) if text.starts_with("respguard_") && !token.test => Some((token.line, text)),
        _ => None,
    });
    named.map(|(line, text)| format!("{}:{line}: \"{text}\" belongs in src/telemetry/names.rs", source.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purposeless(text: &str) -> bool {
        purpose_breach(&Source::new("src/a.rs", text)).is_some()
    }

    #[test]
    fn a_sentence_in_the_first_line_passes_even_when_it_wraps() {
        assert!(!purposeless("//! Bounds frames.\n"));
        assert!(!purposeless("//! Bounds frames, however\n//! long they are. And more\n\nuse x;"));
    }

    #[test]
    fn a_missing_a_late_and_an_endless_sentence_fail() {
        assert!(purposeless("use x;\n"));
        assert!(purposeless("\n//! Bounds frames.\n"));
        assert!(purposeless("//! Bounds frames\n\nuse x;"));
        assert!(purposeless("//!\n//! Bounds frames.\n"));
        assert!(purposeless(""));
    }

    #[test]
    fn metric_names_are_found_in_plain_and_raw_strings_but_not_in_comments() {
        let text = "f(\"respguard_a\", r#\"respguard_b\"#, \"x respguard_c\"); // \"respguard_d\"\n";
        assert_eq!(metric_names(&Source::new("src/a.rs", text)).len(), 2);
    }
}
