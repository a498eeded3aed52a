//! Runs the fuzz targets without libFuzzer: over their corpus, and over what a seed makes of it.
//!
//! `FUZZ_ROUNDS` says how many inputs each target gets beside its corpus.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;

use targets::TARGETS;

/// Inputs made for each target where nothing else is said.
const ROUNDS: u64 = 3_000;
/// What pieces of the protocol and of rules look like.
const WORDS: &[&str] = &[
    "\r\n",
    "*2\r\n",
    "$3\r\n",
    "$-1\r\n",
    "*-1\r\n",
    "_\r\n",
    ":7\r\n",
    "+OK\r\n",
    "-ERR no\r\n",
    "%1\r\n",
    ">2\r\n",
    "|1\r\n",
    "$0\r\n\r\n",
    "*1\r\n$4\r\nPING\r\n",
    "GET k\r\n",
    "\"a b\"",
    "\\x41",
    "{a}",
    "{{",
    "}}",
    "*",
    "...",
    "SET k:{a} *",
    "\n",
    "#t\r\n",
    ",1.5\r\n",
    "=5\r\ntxt:x\r\n",
    "!3\r\nERR\r\n",
    "(12\r\n",
    "~1\r\n",
    "$99999999999\r\n",
    "*1048577\r\n",
];

#[test]
fn every_input_of_the_corpora_is_taken() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(corpus.len() >= 4, "{name} has a corpus");
        corpus.iter().for_each(|input| target(input));
    }
}

#[test]
fn what_becomes_of_the_corpora_is_taken_too() {
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        for seed in 0..rounds {
            let input = mutated(&corpus, &mut Rng::with_seed(seed));
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                panic!("{name} broke, seed {seed}: {}", input.escape_ascii());
            }
        }
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("a corpus").map(|file| file.expect("a file").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

/// One input of the corpus with some of its bytes changed, taken out, doubled or put in.
fn mutated(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(corpus).cloned().unwrap_or_default();
    for _ in 0..rng.u32(1..8) {
        let at = rng.usize(0..=input.len());
        let end = rng.usize(at..=input.len().min(at + 12));
        match rng.u32(0..6) {
            0 if at < input.len() => input[at] = rng.u8(..),
            1 => drop(input.drain(at..end)),
            2 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            3 => drop(input.splice(at..at, [rng.u8(..), rng.u8(..)])),
            _ => {
                let word = rng.choice(WORDS).copied().unwrap_or_default();
                input.splice(at..at, word.bytes());
            }
        }
    }
    input
}
