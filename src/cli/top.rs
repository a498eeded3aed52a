//! `respguard top`: a live view of a running respguard.

mod draw;
mod sample;
mod view;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use clap::Args;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};

use super::console::{REFUSED, print, refuse};
use super::target::{Running, remote};
use crate::net::admin::clients::Sort;
use crate::remote::{Remote, RemoteError};
use draw::draw;
use sample::Sample;
use view::{KeyAction, View};

/// How long a key may take until it shows.
const KEYS_PAUSE: Duration = Duration::from_millis(100);
/// The frame that `--once` prints.
const ONCE_COLUMNS: u16 = 140;
const ONCE_ROWS: u16 = 45;

/// How it is shown.
#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// Print one frame as text after one interval, and exit.
    #[arg(long)]
    once: bool,
    /// Seconds between two updates.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=60))]
    interval: u16,
    /// How to sort clients.
    #[arg(long, value_enum, default_value = "requests")]
    sort: Sort,
    /// Show only rows that contain this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    #[command(flatten)]
    running: Running,
}

pub(super) fn top(shown: &TopArgs) -> ExitCode {
    let Some(remote) = remote(&shown.running) else { return ExitCode::from(REFUSED) };
    let pause = Duration::from_secs(shown.interval.into());
    let has_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !shown.once && !has_terminal {
        return refuse("top needs a terminal; --once prints one frame as text");
    }
    let view = match first(&remote, shown) {
        Ok(view) => view,
        Err(failure) => return refuse(failure),
    };
    if !shown.once {
        return match watch(&remote, view, pause) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => refuse(failure),
        };
    }
    std::thread::sleep(pause);
    match once(&remote, view) {
        Ok(text) => print(&text, ExitCode::SUCCESS),
        Err(failure) => refuse(failure),
    }
}

fn first(remote: &Remote, shown: &TopArgs) -> Result<View, RemoteError> {
    Ok(View {
        address: remote.address.to_string(),
        now: Sample::take(remote, shown.sort)?,
        before: None,
        sort: shown.sort,
        filter: shown.filter.clone(),
        is_typing: false,
        is_paused: false,
        failure: None,
    })
}

/// One frame as text, without the blanks at the ends of its lines.
fn once(remote: &Remote, mut view: View) -> Result<String, RemoteError> {
    view.replace(Sample::take(remote, view.sort)?);
    let size = |variable: &str, otherwise| std::env::var(variable).ok().and_then(|size| size.parse().ok()).unwrap_or(otherwise);
    let (columns, rows) = (size("COLUMNS", ONCE_COLUMNS).clamp(40, 400), size("LINES", ONCE_ROWS).clamp(12, 400));
    Ok(frame(&view, columns, rows))
}

fn frame(view: &View, columns: u16, rows: u16) -> String {
    let mut terminal = match Terminal::new(TestBackend::new(columns, rows)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| draw(frame, view)) {
        Ok(_) => {}
        Err(never) => match never {},
    }
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(columns.into()).map(|line| {
        let line: String = line.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// Shows until `q` is pressed.
fn watch(remote: &Remote, mut view: View, pause: Duration) -> Result<(), String> {
    let (asking, asked) = channel::<Sort>();
    let (samples, looks) = channel();
    let of = remote.clone();
    let first = view.sort;
    // Asking may take long; keys do not wait for it.
    std::thread::spawn(move || look(&of, first, pause, &asked, |sample| samples.send(sample).is_ok()));
    let mut terminal = ratatui::try_init().map_err(|error| format!("the terminal cannot be used: {error}"))?;
    let ended = loop {
        if let Err(error) = terminal.draw(|frame| draw(frame, &view)) {
            break Err(error.to_string());
        }
        match next_key() {
            Ok(Some(key)) => match view.press(key) {
                KeyAction::Quit => break Ok(()),
                KeyAction::Refresh => drop(asking.send(view.sort)),
                KeyAction::Continue => {}
            },
            Ok(None) => {}
            Err(error) => break Err(error.to_string()),
        }
        match looks.try_recv() {
            Ok(Ok(_)) | Err(TryRecvError::Empty) if view.is_paused => {}
            Ok(Ok(sample)) => view.replace(sample),
            Ok(Err(failure)) => view.failure = Some(failure),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break Err("nobody looks any more".to_owned()),
        }
    };
    ratatui::restore();
    ended
}

/// Looks again and again, at once where something else is asked for, until nobody takes what is seen.
fn look(remote: &Remote, mut sort: Sort, pause: Duration, asked: &Receiver<Sort>, show: impl Fn(Result<Sample, String>) -> bool) {
    loop {
        match asked.recv_timeout(pause) {
            Ok(other) => sort = other,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if !show(Sample::take(remote, sort).map_err(|failure| failure.to_string())) {
            return;
        }
    }
}

fn next_key() -> io::Result<Option<KeyEvent>> {
    if !event::poll(KEYS_PAUSE)? {
        return Ok(None);
    }
    match event::read()? {
        Event::Key(key) if key.kind != KeyEventKind::Release => Ok(Some(key)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::{KeyCode, KeyModifiers};
    use serde_json::json;

    use super::*;

    fn sample(requests: u64, at_ms: u64) -> Sample {
        let metrics = format!(
            "respguard_request_seconds_bucket{{le=\"0.001\"}} {requests}\nrespguard_request_seconds_bucket{{le=\"0.01\"}} {all}\n\
             respguard_request_seconds_bucket{{le=\"+Inf\"}} {all}\nrespguard_request_seconds_count {all}\nrespguard_timeouts_total 1\n\
             respguard_worker_busy_seconds_total{{worker=\"0\"}} {busy}\nrespguard_worker_clients{{worker=\"0\"}} 3\n",
            all = requests * 2,
            busy = requests as f64 / 200.0,
        );
        let client = json!({ "id": 7, "address": "10.0.0.7:5000", "name": "billing", "library": "redis-py 7", "requests": requests,
            "violations": 0, "timeouts": 0, "age_seconds": 61, "idle_seconds": 0, "command": "get" });
        Sample::of(
            Duration::from_millis(at_ms),
            json!({ "version": "1", "ready": true, "mode": "enforce", "clients": 1, "workers": 2, "uptime_seconds": 61,
                "upstream": { "address": "s:1", "available": true, "connections": { "shared": 2 } }, "breaker": "closed",
                "audit": { "running": null, "relations": [
                    { "relation": "blob-pairs", "outcome": "drift", "orphans": 3, "relation_ttl": 1 },
                    { "relation": "tokens", "outcome": "clean", "orphans": 0, "relation_ttl": 0 }] } }),
            &metrics,
            Ok(json!([{ "name": "pair", "in_force": true, "matched": 4, "applied": 3, "torn": 1 }])),
            Ok(json!([client])),
            Err("the bearer token is wanted".to_owned()),
            Ok(
                json!([{ "at": "2026-03-01T12:00:00.250Z", "kind": "split", "rule": "pair", "commands": ["set"], "client": "c:1" }]),
            ),
        )
    }

    fn view() -> View {
        View {
            address: "127.0.0.1:9121".to_owned(),
            now: sample(300, 3000),
            before: Some(sample(100, 1000)),
            sort: Sort::Requests,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            failure: None,
        }
    }

    #[test]
    fn a_frame_shows_rates_latency_clients_groups_and_violations() {
        let text = frame(&view(), 140, 45);
        for part in [
            "respguard 1 at 127.0.0.1:9121  ready  enforce  up 1 min 1 s",
            "200 requests/s",
            "p50 1 ms",
            "p99 10 ms",
            "0         50 %      3",
            "pair",
            "billing",
            "100/s",
            "split",
            "the bearer token is wanted",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_frame_shows_how_far_an_audit_is_and_what_the_last_ones_found() {
        let mut view = view();
        let text = frame(&view, 140, 45);
        assert!(text.contains("audits: blob-pairs drift (4 found)  tokens clean"), "{text}");
        view.now.status["audit"]["running"] =
            json!({ "kind": "audit", "relation": "tokens", "percent": 43, "walked": 1234, "found": 2 });
        let text = frame(&view, 140, 45);
        assert!(text.contains("audit tokens 43 %: 1234 walked, 2 found"), "{text}");
        view.now.status["audit"] = serde_json::Value::Null;
        assert!(!frame(&view, 140, 45).contains("audit"));
    }

    #[test]
    fn before_a_cluster_a_frame_shows_its_nodes_and_first_those_that_are_silent() {
        let mut view = view();
        assert!(!frame(&view, 140, 45).contains("nodes"));
        let node = |port: u16, available: bool, replies: u64| {
            json!({ "address": format!("10.0.0.1:{port}"), "id": "x", "slots": 8192, "available": available, "replies": replies,
                "answered_in_us": available.then_some(1500), "connections": 2 })
        };
        let cluster =
            |replies: u64| json!({ "nodes": [node(7000, true, replies), node(7001, false, 9)], "slots_unserved": 8192 });
        view.now.status["upstream"]["cluster"] = cluster(500);
        if let Some(before) = &mut view.before {
            before.status["upstream"]["cluster"] = cluster(100);
        }
        let text = frame(&view, 140, 45);
        let places = ["10.0.0.1:7001  ", "SILENT", "10.0.0.1:7000  ", "answers", "200/s", "1.5 ms"].map(|part| text.find(part));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in\n{text}");
        assert!(text.contains("billing") && text.contains("8192 SLOTS NOT SERVED"), "{text}");
        view.now.status["upstream"]["cluster"] = cluster(50);
        assert!(!frame(&view, 140, 45).contains("-25"), "a node that counts anew has no rate");
    }

    #[test]
    fn a_small_terminal_shows_what_fits() {
        for (columns, rows) in [(40, 12), (10, 3), (1, 1)] {
            assert_eq!(frame(&view(), columns, rows).lines().count(), usize::from(rows));
        }
    }

    #[test]
    fn keys_sort_filter_pause_and_end() {
        let mut view = view();
        let press = |view: &mut View, code| view.press(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(press(&mut view, KeyCode::Char('s')), KeyAction::Refresh);
        assert_eq!(view.sort, Sort::Violations);
        press(&mut view, KeyCode::Char('p'));
        assert!(view.is_paused && frame(&view, 140, 45).contains("paused"));
        for letter in "/qx".chars() {
            assert_eq!(press(&mut view, KeyCode::Char(letter)), KeyAction::Continue);
        }
        assert_eq!(view.filter, "qx");
        assert!(!frame(&view, 140, 45).contains("billing"));
        press(&mut view, KeyCode::Backspace);
        press(&mut view, KeyCode::Enter);
        assert_eq!((view.filter.as_str(), view.is_typing), ("q", false));
        press(&mut view, KeyCode::Esc);
        assert!(frame(&view, 140, 45).contains("billing"));
        assert_eq!(press(&mut view, KeyCode::Char('q')), KeyAction::Quit);
        assert_eq!(view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), KeyAction::Quit);
    }

    #[test]
    fn what_cannot_be_asked_any_more_is_said_and_the_last_look_stays() {
        let mut view = view();
        view.failure = Some("no respguard answers".to_owned());
        let text = frame(&view, 140, 45);
        assert!(text.contains("no respguard answers") && text.contains("billing"), "{text}");
    }
}
