//! `respguard top` as a person uses it: on a terminal, by keys.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::harness::{Proxy, eventually};

const ROWS: usize = 40;
const COLUMNS: usize = 140;

/// A terminal with respguard on it: what `script` makes, and what it has shown so far.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(command: &str) -> Terminal {
        let sized = format!("stty rows {ROWS} cols {COLUMNS}; exec {command}");
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &sized, "/dev/null"]).env("TERM", "xterm");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("util-linux is there");
        let keys = child.stdin.take().expect("a pipe");
        let mut output = child.stdout.take().expect("a pipe");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                written.lock().expect("no panic").extend_from_slice(&bytes[..read]);
            }
        });
        Terminal { child, keys, shown }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("it reads keys");
    }

    fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        eventually(&format!("the screen shows {text:?}"), || screen(&self.bytes()).contains(text));
    }

    #[track_caller]
    fn hides(&self, text: &str) {
        eventually(&format!("the screen no longer shows {text:?}"), || !screen(&self.bytes()).contains(text));
    }
}

/// What is on the screen after this output: text is put where the cursor stands, and the cursor is moved by `CSI row ; column H`.
fn screen(output: &str) -> String {
    let mut lines = vec![vec![' '; COLUMNS]; ROWS];
    let (mut row, mut column) = (0, 0);
    let mut chars = output.chars();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => {
                if chars.next() != Some('[') {
                    continue;
                }
                let mut numbers = String::new();
                let end = chars.by_ref().find(|char| {
                    let is_end = ('@'..='~').contains(char);
                    if !is_end {
                        numbers.push(*char);
                    }
                    is_end
                });
                match end {
                    Some('H') => {
                        let mut places = numbers.split(';').map(|number| number.parse::<usize>().unwrap_or(1) - 1);
                        (row, column) = (places.next().unwrap_or(0), places.next().unwrap_or(0));
                    }
                    Some('J') => lines.iter_mut().for_each(|line| line.fill(' ')),
                    _ => {}
                }
            }
            '\r' => column = 0,
            '\n' => row += 1,
            char => {
                if let Some(cell) = lines.get_mut(row).and_then(|line| line.get_mut(column)) {
                    *cell = char;
                }
                column += 1;
            }
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect::<String>() + "\n").collect()
}

#[test]
fn keys_sort_filter_pause_and_end_it() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    wire.ask("CLIENT SETNAME billing");
    let program = env!("CARGO_BIN_EXE_respguard");
    let mut terminal = Terminal::start(&format!("{program} top --admin 127.0.0.1:{}", proxy.admin_port()));
    for part in ["respguard", "workers", "busy", "billing", "sort (requests)", "q quit"] {
        terminal.shows(part);
    }
    terminal.press("s");
    terminal.shows("sort (violations)");

    terminal.press("/nobo");
    terminal.shows("filter: nobo_");
    terminal.press("dy\r");
    terminal.shows("filter \"nobody\"");
    terminal.hides("billing");
    terminal.press("\u{1b}");
    terminal.shows("billing");

    terminal.press("p");
    terminal.shows("paused");
    let mut late = proxy.wire();
    late.ask("CLIENT SETNAME latecomer");
    terminal.press("s");
    terminal.shows("sort (timeouts)");
    assert!(!screen(&terminal.bytes()).contains("latecomer"), "what is paused stays as it is");
    terminal.press("p");
    terminal.shows("latecomer");
    terminal.hides("paused");

    terminal.press("q");
    let mut ended = None;
    eventually("it ends", || {
        ended = terminal.child.try_wait().expect("a child of ours");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|ended| ended.code()), Some(0));
    eventually("the terminal is as it was", || terminal.bytes().contains("\u{1b}[?1049l"));
}
