//! Keeps private words out of the source where the field has a word of its own.

use crate::source::Source;

/// A word that is not written, and the one that is. Words are compared as parts of names too: `ghost` is in `GHOSTS_MAX` and in
/// `GhostConnection`.
const WORDS: &[(&str, &str)] = &[
    ("beginnings", "prefixes; incomplete groups"),
    ("burial", "kill_orphan"),
    ("buried", "killed"),
    ("bury", "kill_orphan"),
    ("concerns_of", "applicable_rules"),
    ("deadly", "TypeErrors"),
    ("demands", "Expectations"),
    ("disturbed", "UnknownKeys"),
    ("errand", "Recovery"),
    ("foretell", "predict"),
    ("foretells", "predicts"),
    ("foretold", "predicted"),
    ("forgo", "abandon"),
    ("ghost", "OrphanedConnection"),
    ("ghosts", "OrphanedConnection"),
    ("hear_reply", "note_reply"),
    ("is_too_much", "is_over_limit"),
    ("jury", "ExecChecks"),
    ("lent", "PooledBatch"),
    ("lesson", "LearnSession"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mending", "ttl_fix"),
    ("mendings", "ttl_fixes"),
    ("mends", "fixes"),
    ("panel", "ReplyChecks"),
    ("parting", "disconnect"),
    ("passage", "ExecStream"),
    ("relief", "SharedConnection"),
    ("rider", "the command between"),
    ("riders", "the commands between"),
    ("seldom", "rarely; Lazy"),
    ("settlement", "InDoubt"),
    ("sieve", "BloomFilter"),
    ("sitting", "ReplyChecks"),
    ("spoil", "abort_transaction"),
    ("stand_in", "Fallback"),
    ("standstill", "HeadOfLine"),
    ("stranger", "unauthenticated"),
    ("strangers", "unauthenticated"),
    ("surroundings", "WorkerShared"),
    ("tallies", "counters"),
    ("tally", "WorkerMetrics"),
    ("unconcerned", "fast_path"),
    ("unheard", "Discard"),
    ("vouch", "open_accepted"),
    ("vouched", "accepted_lane"),
];

/// Ordinary words that say nothing as the name of a type or of a function.
const RETIRED: &[&str] = &[
    "Again",
    "Ahead",
    "Asked",
    "Awaited",
    "Begun",
    "Companions",
    "Concern",
    "Course",
    "Disturbed",
    "Door",
    "Early",
    "Election",
    "Extent",
    "Fate",
    "Fit",
    "Given",
    "Kept",
    "Lack",
    "Led",
    "Lesson",
    "Look",
    "Looked",
    "Mapping",
    "News",
    "Obstacle",
    "Own",
    "Presence",
    "Reach",
    "Right",
    "Said",
    "Score",
    "Serves",
    "Shown",
    "Shows",
    "Signs",
    "Standing",
    "Talk",
    "Told",
    "Tried",
    "Trip",
    "Turned",
    "Wanted",
    "Waited",
    "Way",
    "What",
    "Which",
    "Whose",
    "forgo",
    "hear",
    "say",
    "tell",
    "vouch",
];

/// Each line, code, comment or string, that has one of these words, or declares one of these names.
pub fn breaches(source: &Source) -> Vec<String> {
    let lines = || source.text.lines().enumerate();
    let words = lines().flat_map(|(at, line)| found_in(line).map(move |found| complaint(source, at + 1, found)));
    let names = lines().filter_map(|(at, line)| {
        let name = declared(line).filter(|name| RETIRED.contains(name) || name.starts_with("tell_"))?;
        Some(format!("{}:{}: `{name}` is declared: find a name that says what it is", source.path, at + 1))
    });
    words.chain(names).collect()
}

/// The name of the type or of the function that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line
        .split_whitespace()
        .skip_while(|word| !matches!(*word, "struct" | "enum" | "trait" | "type" | "fn" | "//" | "///" | "//!"));
    let is_declared = words.next().is_some_and(|word| !word.starts_with("//"));
    let name = words.next().filter(|_| is_declared)?;
    name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
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
    fn a_retired_name_is_found_where_it_is_declared() {
        assert_eq!(complaints("pub(super) struct Told<'a> {\npub async fn tell_all(&self) {\n"), 2);
        assert_eq!(complaints("/// A type Told that nobody has.\nstruct ToldOf(Vec<u8>);\nuse x::Told;\n"), 0);
    }

    #[test]
    fn a_word_within_another_word_is_none() {
        assert_eq!(complaints("silent equivalent recommend amendment Talent ghostly departing"), 0);
    }
}
