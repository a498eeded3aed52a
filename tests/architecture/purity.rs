//! What the engine may not touch outside its tests, beside what its Cargo.toml keeps from it.

use crate::source::{Kind, Source};

const WORDS: [&str; 3] = ["SystemTime", "async", "await"];
const STD: [&str; 4] = ["net", "thread", "fs", "io"];

/// Uses of clocks, sockets, threads, files or tasks in `source`.
pub fn breaches(source: &Source) -> Vec<String> {
    let complain = |line: usize, what: &str| format!("{}:{line}: {what} in the engine", source.path);
    let mut found = Vec::new();
    for (index, token) in source.tokens.iter().enumerate().filter(|(_, token)| !token.test) {
        let Kind::Word(word) = &token.kind else {
            continue;
        };
        let word = word.as_str();
        let next = |ahead: usize| source.tokens.get(index + ahead).map(|token| &token.kind);
        let path = next(1) == Some(&Kind::Mark(':')) && next(2) == Some(&Kind::Mark(':'));
        let now = matches!(next(3), Some(Kind::Word(last)) if last == "now");
        if WORDS.contains(&word) || (word == "Instant" && path && now) {
            found.push(complain(token.line, word));
        }
    }
    for path in source.paths(&["std"]).iter().filter(|path| !path.test) {
        if path.segments.get(1).is_some_and(|segment| STD.contains(&segment.as_str())) {
            found.push(complain(path.line, &path.segments.join("::")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        breaches(&Source::new("crates/engine/src/link/mod.rs", text)).len()
    }

    #[test]
    fn each_forbidden_thing_is_found() {
        for text in [
            "use std::net::TcpStream;",
            "use std::{fmt, thread};",
            "std::fs::read(x)",
            "use std::io::{self, Read};",
            "Instant::now()",
            "std::time::Instant::now()",
            "use std::time::SystemTime;",
            "async fn f() {}",
        ] {
            assert!(found(text) >= 1, "{text}");
        }
    }

    #[test]
    fn a_given_instant_and_words_that_only_look_alike_pass() {
        assert_eq!(found("use std::time::{Duration, Instant}; fn f(now: Instant, metrics: u8, operand: u8) {}"), 0);
        assert_eq!(found("// tokio\nconst TEXT: &str = \"async tokio\";"), 0);
    }

    #[test]
    fn tests_of_the_engine_may_do_as_they_please() {
        assert_eq!(found("#[cfg(test)] mod tests { fn f() { std::fs::read(x); Instant::now(); } }"), 0);
    }
}
