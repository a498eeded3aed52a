//! `respguard learn`: rules proposed from what clients send, live or recorded.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{REFUSED, Running, private_file, remote};
use crate::engine::command::Table;
use crate::engine::learn::{BEGINNING, Learner};
use crate::engine::policy::duration;
use crate::net::admin::record::{BYTES_MAX, SECONDS_MAX};
use crate::net::recording::format::{self, FIRST_LINE};
use crate::net::recording::lesson::teach;

/// Reads how long to watch.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).filter(|time| time.subsec_millis() == 0 && time.as_secs() <= SECONDS_MAX);
    time.ok_or_else(|| format!("expected whole seconds from 1s to {SECONDS_MAX}s, such as \"60s\" or \"5m\""))
}

pub(super) fn learn(time: Option<Duration>, recording: Option<&Path>, out: Option<&Path>, running: &Running) -> ExitCode {
    let learnt = match (time, recording) {
        (_, Some(recording)) => {
            from_recording(recording).and_then(|text| writer(out)?.write_all(text.as_bytes()).map_err(unwritten))
        }
        (Some(time), None) => match remote(running) {
            Some(remote) => remote
                .stream("POST", &format!("/learn?seconds={}", time.as_secs()))
                .map_err(|refusal| refusal.to_string())
                .and_then(|text| pass(text, writer(out)?)),
            None => return ExitCode::from(REFUSED),
        },
        (None, None) => Err("neither --for nor a recording".to_owned()),
    };
    match learnt {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("respguard: {failure}");
            ExitCode::from(REFUSED)
        }
    }
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
    recording.entries.iter().for_each(|entry| teach(&mut learner, entry));
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
    use super::*;

    #[test]
    fn whole_seconds_up_to_ten_minutes_are_a_time_to_watch() {
        assert_eq!(time("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(time("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["601s", "11m", "500ms", "1500ms", "0s", "60", ""] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_that_ends_too_soon_is_a_failure() {
        assert!(pass(&b"# Watching for 5 s.\n"[..], Box::new(io::sink())).is_err());
        assert!(pass(format!("# Watching for 5 s.\n{BEGINNING} ..\n").as_bytes(), Box::new(io::sink())).is_ok());
    }
}
