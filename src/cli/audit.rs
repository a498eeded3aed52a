//! `respguard audit` and `respguard repair`: the running proxy checks and repairs relations.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::console::{self, CANNOT_START, REFUSED};
use super::running::parameter;
use super::target::{Running, remote};
use crate::jobs::{REMOVED_LIMIT, REMOVED_MAX};
use crate::remote::{Remote, RemoteError};
use crate::telemetry::label::AuditOutcome;

/// The longest report.
const REPORT_BYTES_MAX: u64 = 256 * 1024 * 1024;
const BAR_PAUSE: Duration = Duration::from_millis(500);
const BAR_WIDTH: u64 = 30;
/// How many findings per relation the table shows; JSON has all of them.
const SHOWN_MAX: usize = 20;

/// What `respguard audit` is asked.
#[derive(Args, Debug)]
pub(super) struct Audit {
    /// The relation [default: all].
    #[arg(long, value_name = "NAME")]
    relation: Option<String>,
    /// Cancel the running audit or repair.
    #[arg(long, conflicts_with_all = ["relation", "json"])]
    cancel: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

/// What `respguard repair` is asked.
#[derive(Args, Debug)]
pub(super) struct Repair {
    /// The relation [default: all].
    #[arg(long, value_name = "NAME", conflicts_with_all = ["undo", "undo_run"])]
    relation: Option<String>,
    /// Remove what is broken; without this, only show what would be removed.
    #[arg(long, conflicts_with_all = ["undo", "undo_run"])]
    apply: bool,
    /// The most things to remove per relation.
    #[arg(long, value_name = "N", default_value_t = REMOVED_MAX, value_parser = max)]
    max: usize,
    /// Repair even if more than a tenth of what was walked looks broken.
    #[arg(long)]
    force: bool,
    /// Put back the removed thing with this id.
    #[arg(long, value_name = "ID", conflicts_with = "undo_run")]
    undo: Option<String>,
    /// Put back everything that the run with this id removed.
    #[arg(long, value_name = "ID")]
    undo_run: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

fn max(text: &str) -> Result<usize, String> {
    let read = text.parse().ok().filter(|max| (1..=REMOVED_LIMIT).contains(max));
    read.ok_or_else(|| format!("expected a number from 1 to {REMOVED_LIMIT}"))
}

pub(super) fn audit(asked: &Audit) -> ExitCode {
    let Some(remote) = remote(&asked.running) else { return ExitCode::from(REFUSED) };
    if asked.cancel {
        return match report(&remote, "/audit/cancel") {
            Ok(answer) if answer["cancelled"] == true => console::print("ended\n", ExitCode::SUCCESS),
            Ok(_) => console::print("nothing was under way\n", ExitCode::SUCCESS),
            Err(failure) => console::refuse(failure),
        };
    }
    let path = format!("/audit?{}", parameter("relation", asked.relation.as_deref()));
    finish(&remote, &path, asked.json, |report| match outcome(report) {
        Some(AuditOutcome::Clean) => ExitCode::SUCCESS,
        Some(AuditOutcome::Drift) => ExitCode::from(REFUSED),
        _ => ExitCode::from(CANNOT_START),
    })
}

pub(super) fn repair(asked: &Repair) -> ExitCode {
    let Some(remote) = remote(&asked.running) else { return ExitCode::from(REFUSED) };
    if asked.undo.is_some() || asked.undo_run.is_some() {
        let (id, run) = (parameter("id", asked.undo.as_deref()), parameter("run", asked.undo_run.as_deref()));
        let path = format!("/repair/undo?{id}{run}");
        return finish(&remote, &path, asked.json, |report| {
            let things = report["things"].as_array().map_or(0, Vec::len) as u64;
            ExitCode::from(if report["restored"] == things { 0 } else { REFUSED })
        });
    }
    let Repair { apply, max, force, .. } = asked;
    let path = format!("/repair?apply={apply}&max={max}&force={force}{}", parameter("relation", asked.relation.as_deref()));
    finish(&remote, &path, asked.json, |report| match outcome(report) {
        Some(AuditOutcome::Clean | AuditOutcome::Repaired) => ExitCode::SUCCESS,
        Some(AuditOutcome::Drift | AuditOutcome::Stopped) => ExitCode::from(REFUSED),
        _ => ExitCode::from(CANNOT_START),
    })
}

fn outcome(report: &Value) -> Option<AuditOutcome> {
    AuditOutcome::ALL.into_iter().find(|outcome| report["outcome"] == outcome.as_str())
}

fn finish(remote: &Remote, path: &str, as_json: bool, code: impl FnOnce(&Value) -> ExitCode) -> ExitCode {
    let over = Arc::new(AtomicBool::new(false));
    let bar = io::stderr().is_terminal().then(|| {
        let (remote, over) = (remote.clone(), Arc::clone(&over));
        thread::spawn(move || show_progress(&remote, &over))
    });
    let answer = report(remote, path);
    over.store(true, Ordering::Relaxed);
    if let Some(bar) = bar {
        // It shows, and nothing else.
        let _ = bar.join();
    }
    match answer {
        Ok(report) => {
            let text = if as_json { format!("{report}\n") } else { table(&report) };
            console::print(&text, code(&report))
        }
        Err(failure) => console::refuse(failure),
    }
}

fn report(remote: &Remote, path: &str) -> Result<Value, String> {
    let mut text = String::new();
    let answer = remote.stream("POST", path).map_err(|refusal| match &refusal {
        RemoteError::Refused { address, status, .. } => {
            format!("respguard at {address} refuses ({status}): {}", refusal.reason())
        }
        other => other.to_string(),
    })?;
    let read = answer.take(REPORT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| format!("the report cannot be read to its end: {error}"))?;
    serde_json::from_str(&text).map_err(|_| "the answer ended before the report came".to_owned())
}

/// A progress bar on a terminal, from what the proxy reports.
fn show_progress(remote: &Remote, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        thread::sleep(BAR_PAUSE);
        let mut text = String::new();
        let read =
            remote.stream("GET", "/audit").ok().and_then(|body| body.take(REPORT_BYTES_MAX).read_to_string(&mut text).ok());
        let Some(shown) = read.and_then(|_| serde_json::from_str::<Value>(&text).ok()) else { continue };
        let running = &shown["running"];
        if running.is_null() || over.load(Ordering::Relaxed) {
            continue;
        }
        let percent = running["percent"].as_u64().unwrap_or_default().min(100);
        let done = (percent * BAR_WIDTH / 100) as usize;
        let bar = "#".repeat(done) + &"-".repeat(BAR_WIDTH as usize - done);
        let (walked, found) = (&running["walked"], &running["found"]);
        let relation = running["relation"].as_str().unwrap_or_default();
        // The bar is for whoever looks; where it cannot be shown, nothing is lost.
        let _ = write!(io::stderr().lock(), "\r[{bar}] {percent:3} %  {relation}: {walked} walked, {found} found\x1b[K");
    }
    let _ = write!(io::stderr().lock(), "\r\x1b[K");
}

fn table(report: &Value) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{words}");
    };
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    if report["kind"] == "undo" {
        line(format!("{:<44} {:<10} {}", "id", "outcome", "what"));
        for thing in rows(&report["things"]) {
            let element = thing["element"].as_str().map(|element| format!(" {element}")).unwrap_or_default();
            line(format!("{:<44} {:<10} {}{element}", word(&thing["id"]), word(&thing["outcome"]), word(&thing["key"])));
        }
        line(format!("{} restored", report["restored"]));
        return text;
    }
    line(format!("{:<24} {:<10} {:>10} {:>8} {:>8} {:>8}", "relation", "outcome", "walked", "orphans", "ttl", "removed"));
    for relation in rows(&report["relations"]) {
        line(format!(
            "{:<24} {:<10} {:>10} {:>8} {:>8} {:>8}",
            word(&relation["relation"]),
            word(&relation["outcome"]),
            relation["walked"].to_string(),
            relation["orphans"].to_string(),
            relation["relation_ttl"].to_string(),
            relation["removed"].to_string()
        ));
        if let Some(reason) = relation["reason"].as_str() {
            line(format!("  {reason}"));
        }
        let findings = rows(&relation["findings"]);
        for finding in findings.iter().take(SHOWN_MAX) {
            let element = finding["element"].as_str().map(|element| format!(" {element}")).unwrap_or_default();
            let what = match (finding["result"].as_str(), finding["action"].as_str(), report["kind"] == "repair") {
                (Some("removed"), _, _) => format!("removed as {}", word(&finding["id"])),
                (Some(result), _, _) => result.to_owned(),
                (None, Some(action), true) if report["apply"] == false => format!("would {action}"),
                _ => String::new(),
            };
            line(format!("  {}{element}: {}  {what}", word(&finding["key"]), word(&finding["reason"])).trim_end().to_owned());
        }
        let left_out =
            relation["findings_left_out"].as_u64().unwrap_or_default() + findings.len().saturating_sub(SHOWN_MAX) as u64;
        if left_out > 0 {
            line(format!("  and {left_out} more; --json shows up to those that are kept"));
        }
    }
    let run = word(&report["id"]);
    match (report["kind"] == "repair", report["apply"] == true) {
        (true, true) => {
            line(format!("run {run}: {} removed; respguard repair --undo-run {run} puts them back", report["removed"]))
        }
        (true, false) => line(format!("run {run}: nothing was removed; with --apply it is")),
        _ => line(format!("run {run}")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_removed_than_can_be_kept() {
        assert_eq!(max("1"), Ok(1));
        assert!(max("0").is_err() && max("100001").is_err() && max("x").is_err());
    }
}
