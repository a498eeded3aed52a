//! The commands for a running respguard: status, groups, violations, reload, drain, mode.

use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::console::{REFUSED, print, refuse};
use super::table::Table;
use super::target::{Running, remote};
use crate::remote::Remote;

/// The outcomes of groups, in the order in which they are shown.
pub(super) const OUTCOMES: [&str; 12] = [
    "applied",
    "torn",
    "failed",
    "aborted",
    "refused",
    "rolled_back",
    "unguarded",
    "unwrapped",
    "unknown",
    "committed",
    "duplicate",
    "observed",
];

/// Selects the respguard and the output format.
#[derive(Args, Debug)]
pub(super) struct QueryArgs {
    /// Print the endpoint's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

/// Which violations.
#[derive(Args, Debug)]
pub(super) struct ViolationsArgs {
    /// Go on showing new violations until interrupted.
    #[arg(long)]
    follow: bool,
    /// Only violations of this kind, such as split.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only violations of this rule.
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// How many of the newest to show.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    asked: QueryArgs,
}

/// Whether rules act.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub(super) enum Mode {
    /// No rule changes traffic; each only reports.
    Observe,
    /// Rules are enforced, except those with their own `mode = "observe"`.
    Enforce,
}

/// GET /status.
pub(super) fn status(asked: &QueryArgs) -> ExitCode {
    show(asked, "GET", "/status", |remote, status| {
        let code = if status["ready"] == true { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) };
        (status_text(remote, status), code)
    })
}

/// GET /groups.
pub(super) fn groups(asked: &QueryArgs) -> ExitCode {
    show(asked, "GET", "/groups", |_, groups| (outcomes(&groups["groups"]), ExitCode::SUCCESS))
}

/// POST /reload.
pub(super) fn reload(asked: &QueryArgs) -> ExitCode {
    show(asked, "POST", "/reload", |remote, reload| {
        let restart: Vec<_> = reload["needs_restart"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut text = format!("{}: {} is in force\n", remote.address, word(&reload["file"]));
        if !restart.is_empty() {
            let _ = writeln!(text, "needs a restart: {}", restart.join(", "));
        }
        (text, ExitCode::SUCCESS)
    })
}

/// POST /drain.
pub(super) fn drain(asked: &QueryArgs) -> ExitCode {
    let told = |remote: &Remote, _: &Value| {
        (format!("{}: takes no new clients, answers what is owed, and ends\n", remote.address), ExitCode::SUCCESS)
    };
    show(asked, "POST", "/drain", told)
}

/// POST /mode.
pub(super) fn mode(mode: Mode, asked: &QueryArgs) -> ExitCode {
    let wanted = match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    };
    show(asked, "POST", &format!("/mode?mode={wanted}"), |remote, mode| {
        let until = if mode["until_reload"] == true { ", until the next reload" } else { ", as configured" };
        (format!("{}: {}{until}\n", remote.address, word(&mode["mode"])), ExitCode::SUCCESS)
    })
}

/// GET /violations, and /violations/stream behind it: the newest come last.
pub(super) fn violations(wanted: &ViolationsArgs) -> ExitCode {
    let Some(remote) = remote(&wanted.asked.running) else { return ExitCode::from(REFUSED) };
    let filter = parameter("kind", wanted.kind.as_deref()) + &parameter("rule", wanted.rule.as_deref());
    let kept = match remote.json("GET", &format!("/violations?limit={}{filter}", wanted.limit)) {
        Ok(kept) => kept,
        Err(failure) => return refuse(failure),
    };
    let mut text = String::new();
    for violation in kept["violations"].as_array().into_iter().flatten().rev() {
        text += &line(violation, wanted.asked.json);
    }
    let code = print(&text, ExitCode::SUCCESS);
    if !wanted.follow || code != ExitCode::SUCCESS {
        return code;
    }
    match follow(&remote, &format!("/violations/stream?after={}{filter}", kept["total"]), wanted.asked.json) {
        Ok(()) => refuse(format_args!("{} has ended the stream", remote.address)),
        Err(failure) => refuse(failure),
    }
}

fn follow(remote: &Remote, path: &str, json: bool) -> Result<(), String> {
    let stream = remote.stream("GET", path).map_err(|failure| failure.to_string())?;
    let mut out = io::stdout().lock();
    for read in stream.lines() {
        let read = read.map_err(|error| format!("the stream broke off: {error}"))?;
        let Some(data) = read.strip_prefix("data: ") else { continue };
        let shown = serde_json::from_str(data).map_err(|error| format!("the stream is not respguard's: {error}"))?;
        let written = out.write_all(line(&shown, json).as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| format!("standard output cannot be written: {error}"))?;
    }
    Ok(())
}

/// Asks, and shows the answer as JSON, or formatted by `told`.
pub(super) fn show(
    asked: &QueryArgs,
    method: &str,
    path: &str,
    told: impl Fn(&Remote, &Value) -> (String, ExitCode),
) -> ExitCode {
    let Some(remote) = remote(&asked.running) else { return ExitCode::from(REFUSED) };
    let answer = match remote.json(method, path) {
        Ok(answer) => answer,
        Err(failure) => {
            return refuse(failure.error().map_or(failure.to_string(), |error| format!("{} refuses: {error}", remote.address)));
        }
    };
    let (text, code) = told(&remote, &answer);
    print(&if asked.json { format!("{answer}\n") } else { text }, code)
}

fn status_text(remote: &Remote, status: &Value) -> String {
    let reasons: Vec<_> = status["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let ready = if reasons.is_empty() { "ready".to_owned() } else { format!("not ready: {}", reasons.join(", ")) };
    let mode = match status["mode_is_switched"] == true {
        true => format!("{} (an operator has switched it; the next reload takes it back)", word(&status["mode"])),
        false => word(&status["mode"]).to_owned(),
    };
    let connections: Vec<_> = status["upstream"]["connections"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| **count != 0)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let available = if status["upstream"]["available"] == true { "available" } else { "not available" };
    format!(
        "respguard {} at {}: {ready}\n\
         mode         {mode}\n\
         uptime       {}\n\
         clients      {} on {} workers\n\
         server       {}, {available}\n\
         connections  {}\n\
         breaker      {}\n",
        word(&status["version"]),
        remote.address,
        time(status["uptime_seconds"].as_u64().unwrap_or_default()),
        status["clients"],
        status["workers"],
        server(status),
        if connections.is_empty() { "none".to_owned() } else { connections.join(", ") },
        status["breaker"].as_str().unwrap_or("off"),
    )
}

fn outcomes(groups: &Value) -> String {
    let groups: Vec<&Value> = groups.as_array().into_iter().flatten().collect();
    if groups.is_empty() {
        return "no groups\n".to_owned();
    }
    let shown = OUTCOMES.into_iter().filter(|outcome| groups.iter().any(|group| group[outcome].as_u64().unwrap_or(0) > 0));
    let columns: Vec<_> = ["matched", "wrapped"].into_iter().chain(shown).chain(["held", "split"]).collect();
    let mut table = Table::new(["group"].into_iter().chain(columns.iter().copied()));
    for group in groups {
        let name = match group["in_force"] == true {
            true => word(&group["name"]).to_owned(),
            false => format!("{} (no rule any more)", word(&group["name"])),
        };
        table.row([name].into_iter().chain(columns.iter().map(|column| group[column].to_string())));
    }
    table.to_string()
}

/// One violation: when, what kind, which rule, which commands, whose, and what the server said.
fn line(violation: &Value, json: bool) -> String {
    if json {
        return format!("{violation}\n");
    }
    if let Some(lost) = violation["lost"].as_u64() {
        return format!("{lost} violations were not kept long enough to be shown\n");
    }
    let commands: Vec<_> = violation["commands"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = format!("{}  {}", word(&violation["at"]), word(&violation["kind"]));
    for (name, value) in [
        ("rule", violation["rule"].as_str()),
        ("commands", Some(commands.join(" ").as_str()).filter(|commands| !commands.is_empty())),
        ("keys", violation["key_pattern"].as_str()),
        ("key", violation["key"].as_str()),
        ("reason", violation["reason"].as_str()),
        ("error", violation["error"].as_str()),
        ("client", violation["client"].as_str()),
    ] {
        if let Some(value) = value {
            let _ = write!(text, "  {name}={value:?}");
        }
    }
    text.push('\n');
    text
}

/// The server's address, or how much of a cluster is there.
pub(super) fn server(status: &Value) -> String {
    let cluster = &status["upstream"]["cluster"];
    let Some(nodes) = cluster["nodes"].as_array() else { return word(&status["upstream"]["address"]).to_owned() };
    let answering = nodes.iter().filter(|node| node["available"] == true).count();
    let unserved = match cluster["slots_unserved"].as_u64() {
        None | Some(0) => String::new(),
        Some(slots) => format!(", {slots} SLOTS NOT SERVED"),
    };
    format!("cluster with {answering} of {} primaries{unserved}", nodes.len())
}

pub(super) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// The two largest units of a time, such as `3 h 12 min`.
pub(super) fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `&name=value` of a URL's query (<https://url.spec.whatwg.org/#percent-encoded-bytes>), for a value that is there.
pub(super) fn parameter(name: &str, value: Option<&str>) -> String {
    const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    value.map(|value| format!("&{name}={}", utf8_percent_encode(value, &ENCODED))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::telemetry::label::GroupOutcome;

    #[test]
    fn every_outcome_of_a_group_has_a_column() {
        let mut known: Vec<_> = GroupOutcome::ALL.into_iter().map(GroupOutcome::as_str).collect();
        let mut shown = OUTCOMES.to_vec();
        known.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, known);
    }

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        for (seconds, told) in [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3661, "1 h 1 min"), (90_061, "1 d 1 h")] {
            assert_eq!(time(seconds), told);
        }
    }

    #[test]
    fn a_parameter_stands_in_a_query_whatever_it_is() {
        assert_eq!(parameter("id", Some("19a-00ff.blob-pairs.3")), "&id=19a-00ff.blob-pairs.3");
        assert_eq!(parameter("relation", Some("a&b c=é")), "&relation=a%26b%20c%3D%C3%A9");
        assert_eq!(parameter("relation", None), "");
    }

    #[test]
    fn outcomes_that_have_not_occurred_have_no_column() {
        let groups = json!([{ "name": "a", "in_force": true, "matched": 3, "wrapped": 2, "applied": 2, "torn": 0, "held": 0, "split": 0 }]);
        assert_eq!(
            outcomes(&groups),
            "group  matched  wrapped  applied  held  split\na            3        2        2     0      0\n"
        );
        assert_eq!(outcomes(&json!([])), "no groups\n");
    }

    #[test]
    fn a_violation_is_one_line_with_what_is_known_of_it() {
        let violation = json!({
            "at": "2026-03-01T12:00:00.250Z", "kind": "split", "rule": "a", "commands": ["SET", "EXPIRE"], "error": null,
            "client": "127.0.0.1:9"
        });
        let told = "2026-03-01T12:00:00.250Z  split  rule=\"a\"  commands=\"SET EXPIRE\"  client=\"127.0.0.1:9\"\n";
        assert_eq!(line(&violation, false), told);
    }
}
