//! Keeps private words out of the source where the field has a word of its own.

use crate::source::Source;

/// A word that is not written, and the one that is. Words are compared as parts of names too: `ghost` is in `GHOSTS_MAX` and in
/// `GhostConnection`.
const WORDS: &[(&str, &str)] = &[
    ("beginnings", "prefixes; incomplete groups"),
    ("burial", "kill_orphan"),
    ("buried", "killed"),
    ("bury", "kill_orphan"),
    ("deadly", "TypeErrors"),
    ("demands", "Expectations"),
    ("errand", "Recovery"),
    ("foretell", "predict"),
    ("foretells", "predicts"),
    ("foretold", "predicted"),
    ("ghost", "OrphanedConnection"),
    ("ghosts", "OrphanedConnection"),
    ("is_too_much", "is_over_limit"),
    ("jury", "ExecChecks"),
    ("lent", "PooledBatch"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mending", "ttl_fix"),
    ("mendings", "ttl_fixes"),
    ("mends", "fixes"),
    ("panel", "ReplyChecks"),
    ("parting", "disconnect"),
    ("passage", "ExecStream"),
    ("relief", "SharedConnection"),
    ("seldom", "rarely; LazyQueue"),
    ("settlement", "InDoubt"),
    ("sieve", "BloomFilter"),
    ("sitting", "ReplyChecks"),
    ("standstill", "HeadOfLine"),
    ("stranger", "unauthenticated"),
    ("strangers", "unauthenticated"),
    ("surroundings", "WorkerShared"),
    ("tallies", "counters"),
    ("tally", "WorkerMetrics"),
    ("unconcerned", "fast_path"),
    ("unheard", "Discard"),
];

/// Each line, code, comment or string, that has one of these words.
pub fn breaches(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    lines.flat_map(|(at, line)| found_in(line).map(move |found| complaint(source, at + 1, found))).collect()
}

fn complaint(source: &Source, line: usize, (old, new): (&str, &str)) -> String {
    format!("{}:{line}: `{old}` is a private word: write `{new}`", source.path)
}

fn found_in(line: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let names: Vec<String> = line
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|name| !name.is_empty())
        .map(|name| format!("_{}_", snake_case(name)))
        .collect();
    WORDS.iter().copied().filter(move |(old, _)| {
        let part = format!("_{old}_");
        names.iter().any(|name| name.contains(&part))
    })
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut was_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && was_lower {
            snake.push('_');
        }
        was_lower = c.is_ascii_lowercase();
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> usize {
        breaches(&Source::new("src/a.rs", text)).len()
    }

    #[test]
    fn a_word_is_found_in_names_of_every_case_in_comments_and_in_strings() {
        let text =
            "let ghost_of = 1;\nstruct LostGhost;\nconst GHOSTS_MAX: u8 = 1;\n// A ghost.\nf(\"a ghost\");\nx.is_too_much();\n";
        assert_eq!(complaints(text), 6);
    }

    #[test]
    fn a_word_within_another_word_is_none() {
        assert_eq!(complaints("silent equivalent recommend amendment Talent ghostly departing"), 0);
    }
}
