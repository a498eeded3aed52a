//! `respguard learn`: rules proposed from what clients send, live or recorded.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::console::{self, REFUSED, private_file};
use super::target::{Running, remote};
use crate::net::admin::record::{BYTES_MAX, SECONDS_MAX};
use crate::net::recording::format::{self, FIRST_LINE};
use crate::net::recording::learn::learn_from;
use respguard_engine::command::Table;
use respguard_engine::learn::{BEGINNING, Learner};
use respguard_engine::policy::duration;

/// Reads how long to watch.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).filter(|time| time.subsec_millis() == 0 && time.as_secs() <= SECONDS_MAX);
    time.ok_or_else(|| format!("expected whole seconds from 1s to {SECONDS_MAX}s, such as \"60s\" or \"5m\""))
}

/// `live`: how long to watch, and how many keys to look at.
pub(super) fn learn(
    live: Option<(Duration, Option<u64>)>,
    recording: Option<&Path>,
    out: Option<&Path>,
    running: &Running,
) -> ExitCode {
    let learnt = match (live, recording) {
        (_, Some(recording)) => {
            from_recording(recording).and_then(|text| writer(out)?.write_all(text.as_bytes()).map_err(unwritten))
        }
        (Some((time, sample_keys)), None) => match remote(running) {
            Some(remote) => remote
                .stream("POST", &format!("/learn?seconds={}{}", time.as_secs(), sample(sample_keys)))
                .map_err(|refusal| refusal.to_string())
                .and_then(|text| pass(text, writer(out)?)),
            None => return ExitCode::from(REFUSED),
        },
        (None, None) => Err("neither --for nor a recording".to_owned()),
    };
    match learnt {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => console::refuse(failure),
    }
}

fn sample(keys: Option<u64>) -> String {
    keys.map(|keys| format!("&sample_keys={keys}")).unwrap_or_default()
}

fn from_recording(file: &Path) -> Result<String, String> {
    let name = file.display();
    let mut input = Vec::new();
    let read = File::open(file).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut input));
    read.map_err(|error| format!("{name}: {error}"))?;
    if input.len() > BYTES_MAX {
        return Err(format!("{name}: too large (expected a recording of at most {BYTES_MAX} bytes)"));
    }
    let mut recording = format::read(&input).map_err(|error| {
        let line = 1 + input[..error.offset].iter().filter(|byte| **byte == b'\n').count();
        format!("{name}:{line}: {} (expected a recording that begins with `{FIRST_LINE}`)", error.message)
    })?;
    // Workers write beside each other; the entries of one client are in order, and stay so.
    recording.entries.sort_by_key(|entry| entry.at);
    let mut learner = Learner::new(Table::builtin());
    recording.entries.iter().for_each(|entry| learn_from(&mut learner, entry));
    Ok(learner.propose())
}

/// Passes the text on line by line, for it tells meanwhile how far it is.
fn pass(text: impl BufRead, mut out: Box<dyn Write>) -> Result<(), String> {
    let mut whole = false;
    for line in text.lines() {
        let line = line.map_err(|error| format!("the answer cannot be read to its end: {error}"))?;
        whole |= line.starts_with(BEGINNING);
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(unwritten)?;
    }
    if whole { Ok(()) } else { Err("the answer ended before anything was proposed".to_owned()) }
}

fn writer(out: Option<&Path>) -> Result<Box<dyn Write>, String> {
    Ok(match out {
        Some(file) => Box::new(private_file(file).map_err(|error| format!("{}: {error}", file.display()))?),
        None => Box::new(io::stdout()),
    })
}

fn unwritten(error: io::Error) -> String {
    format!("what was learnt cannot be written to its end: {error}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config;
    use respguard_resp::encode;

    #[test]
    fn whole_seconds_up_to_ten_minutes_are_a_time_to_watch() {
        assert_eq!(time("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(time("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["601s", "11m", "500ms", "1500ms", "0s", "60", ""] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    /// What is proposed for bursts of requests of these words.
    fn proposed(bursts: &[Vec<Vec<Vec<u8>>>]) -> String {
        let mut learner = Learner::new(Table::builtin());
        for (at, burst) in bursts.iter().enumerate() {
            let mut bytes = Vec::new();
            for words in burst {
                encode::request(&mut bytes, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            // Three times, so that everything is a habit.
            (0..3).for_each(|time| learner.read(time, Duration::from_millis(10 * at as u64), &bytes));
        }
        learner.propose()
    }

    fn word() -> impl Strategy<Value = Vec<u8>> {
        let names = ["SET", "hset", "EXPIRE", "SADD", "ZADD", "DEL", "MSET", "EVAL", "XADD", "SORT", "EX", "NX", "1", "60"];
        let keys =
            ["a:1", "a:x", "b:{x}:c", "{}", "a*b", "}{", "\"q\"", "back\\slash", "-", "_:_", "", "a b", "line\nbreak", "é:1"];
        let known = names.into_iter().chain(keys).map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        prop_oneof![8 => prop::sample::select(known), 1 => prop::collection::vec(any::<u8>(), 0..6)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn whatever_is_sent_the_proposal_is_a_good_configuration(
            bursts in prop::collection::vec(prop::collection::vec(prop::collection::vec(word(), 1..6), 1..6), 1..6),
        ) {
            let text = proposed(&bursts);
            let read = config::read(&text, Path::new("learnt.toml"), &Table::builtin(), &|_| None);
            prop_assert!(read.is_ok(), "{text}\n{:?}", read.err());
        }

        #[test]
        fn whatever_bytes_come_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
            let mut learner = Learner::new(Table::builtin());
            let cut = cut.min(bytes.len());
            learner.read(1, Duration::ZERO, &bytes[..cut]);
            learner.read(1, Duration::ZERO, &bytes[cut..]);
            learner.lost(1, 3);
            learner.read(1, Duration::ZERO, &bytes);
            learner.left(1);
            prop_assert!(learner.propose().starts_with(BEGINNING));
        }
    }

    #[test]
    fn an_answer_that_ends_too_soon_is_a_failure() {
        assert!(pass(&b"# Watching for 5 s.\n"[..], Box::new(io::sink())).is_err());
        assert!(pass(format!("# Watching for 5 s.\n{BEGINNING} ..\n").as_bytes(), Box::new(io::sink())).is_ok());
    }
}
