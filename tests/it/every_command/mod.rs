//! Every command that the server has, called well and badly, answers through the proxy what a twin server answers.

mod catalogue;
#[path = "../../command_table/invocations.rs"]
mod familiar;
mod invocations;
pub mod likeness;
pub mod on_a_cluster;

use std::collections::BTreeSet;
use std::io;

use respguard_engine::command::{ConnectionEffect, Table};
use respguard_resp::request::{Args, Span};

use crate::harness::twin::Pair;
use crate::harness::wire::words;
use crate::harness::{Sides, Wire, request, text};
use catalogue::{CALLS, DOCUMENTS, FILLINGS, KEYS};
use invocations::{Known, known};
use likeness::Likeness;

/// Stands behind every call, so that all that the call is answered with can be told from what follows.
const MARKER: &str = "the:end:of:the:call";

/// Commands that end, move or freeze a server, or turn a connection into something else: they have tests of their own.
/// MIGRATE would connect to wherever its arguments point to.
const ALONE: &[&str] =
    &["shutdown", "replicaof", "slaveof", "sync", "psync", "monitor", "save", "bgsave", "bgrewriteaof", "migrate"];

/// A server and what is behind the proxy, and what was found so far.
struct Comparison {
    sides: Sides,
    table: Table,
    resp3: bool,
    pair: Option<Pair>,
    /// Straight to the servers: what fills them.
    fillers: [Wire; 2],
    filling: Vec<u8>,
    filling_replies: usize,
    filled: bool,
    calls: usize,
    compared: BTreeSet<String>,
    /// The rows of `on_a_cluster` that were met.
    declared: BTreeSet<&'static str>,
    differences: Vec<String>,
}

impl Comparison {
    fn new(resp3: bool, sides: Sides) -> Comparison {
        let fillers = sides.fillers();
        Comparison {
            sides,
            table: Table::builtin(),
            resp3,
            pair: None,
            fillers,
            filling: Vec::new(),
            filling_replies: 0,
            filled: false,
            calls: 0,
            compared: BTreeSet::new(),
            declared: BTreeSet::new(),
            differences: Vec::new(),
        }
    }

    /// Whether the servers have the module of documents.
    fn has_documents(&mut self) -> bool {
        !self.fillers[0].ask("JSON.GET nothing").starts_with("-ERR unknown command")
    }

    /// From now on all keys are filled so before each call.
    fn fill_with(&mut self, commands: &[&str]) {
        let mut lines = vec!["FLUSHALL".to_owned(), "FUNCTION FLUSH".to_owned()];
        let tagged = KEYS.iter().filter(|_| self.sides.is_cluster()).map(|key| on_a_cluster::tagged(key));
        let keys = KEYS.iter().map(ToString::to_string).chain(tagged);
        lines.extend(keys.flat_map(|key| commands.iter().map(move |command| command.replace('@', &key))));
        self.filling = lines.iter().flat_map(|line| request(line)).collect();
        self.filling_replies = lines.len();
        self.filled = false;
    }

    fn fill(&mut self) {
        if std::mem::replace(&mut self.filled, true) {
            return;
        }
        for wire in &mut self.fillers {
            wire.send(&self.filling);
        }
        let filled = self.fillers.each_mut().map(|wire| wire.replies(self.filling_replies));
        assert_eq!(filled[0], filled[1], "both are filled alike");
    }

    fn call_line(&mut self, line: &str) {
        let line = line.split(' ').map(|word| word.replace('\t', " ")).collect::<Vec<_>>();
        let call: Vec<&[u8]> = line.iter().map(String::as_bytes).collect();
        self.call(&call);
        if self.sides.is_cluster()
            && let Some(call) = self.spec(&call, on_a_cluster::in_one_slot)
        {
            self.call(&call.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }

    /// Calls both, and notes whether they differ.
    fn call(&mut self, call: &[&[u8]]) {
        self.fill();
        let (resp3, sides) = (self.resp3, &self.sides);
        let pair = self.pair.get_or_insert_with(|| sides.pair(resp3));
        let bytes = [words(call), request(&format!("PING {MARKER}"))].concat();
        pair.direct.send(&bytes);
        pair.proxied.send(&bytes);
        let (direct, proxied) = (answers(&mut pair.direct), answers(&mut pair.proxied));
        let likeness = Likeness::of(call);
        let seen = |answers: &[Vec<u8>]| answers.iter().map(|answer| likeness.view(answer)).collect::<Vec<_>>();
        let is_alike = seen(&direct) == seen(&proxied);
        if !is_alike && !self.is_declared(call, &direct, &proxied) {
            let whole = call.iter().map(|word| text(word)).collect::<Vec<_>>().join(" ");
            self.differences.push(format!("{whole:?}\n  Redis: {}\n  proxy: {}", excerpt(&direct), excerpt(&proxied)));
        }
        self.calls += 1;
        self.compared.insert(self.name(call));
        if self.changes_the_connection(call) || direct.last().is_none_or(|last| !text(last).contains(MARKER)) {
            self.pair = None;
        }
        let has_done = |answers: &[Vec<u8>]| answers.first().is_some_and(|answer| !answer.starts_with(b"-"));
        if has_done(&direct) || has_done(&proxied) {
            self.filled = false;
        }
    }

    /// Before a cluster some things are answered otherwise.
    fn is_declared(&mut self, call: &[&[u8]], direct: &[Vec<u8>], proxied: &[Vec<u8>]) -> bool {
        let is_over_slots = self.spec(call, on_a_cluster::is_over_slots);
        let row = on_a_cluster::declared(&self.name(call), is_over_slots, direct, proxied);
        let row = row.filter(|_| self.sides.is_cluster());
        self.declared.extend(row);
        row.is_some()
    }

    fn spec<T>(&self, call: &[&[u8]], read: impl FnOnce(&respguard_engine::command::Spec, Args<'_>) -> T) -> T {
        let bytes = call.concat();
        let mut spans = Vec::new();
        let mut start = 0;
        for word in call {
            let end = start + u32::try_from(word.len()).expect("short");
            spans.push(Span { start, end });
            start = end;
        }
        let args = Args::new(&bytes, &spans);
        read(self.table.spec(self.table.lookup(args)), args)
    }

    fn name(&self, call: &[&[u8]]) -> String {
        self.spec(call, |spec, _| spec.name().to_owned())
    }

    fn changes_the_connection(&self, call: &[&[u8]]) -> bool {
        self.spec(call, |spec, args| spec.connection_effect(args) != ConnectionEffect::None)
    }

    /// Every command of the server's own list, without and with arguments that fit or not.
    fn call_all_known(&mut self) -> Vec<Known> {
        let list = {
            let mut wire = self.sides.direct().wire();
            wire.send_line("COMMAND");
            wire.reply()
        };
        let known = known(&list);
        for command in &known {
            for call in command.calls() {
                if !ALONE.contains(&command.name.as_str()) || is_refused(command, &call) {
                    self.call(&call.iter().map(String::as_bytes).collect::<Vec<_>>());
                }
            }
        }
        known
    }

    fn conclude(self, what: &str) {
        eprintln!("{what}: {} commands, {} calls, {} differences", self.compared.len(), self.calls, self.differences.len());
        for difference in &self.differences {
            eprintln!("{difference}");
        }
        assert!(self.differences.is_empty(), "{what}: {} differences", self.differences.len());
        let is_new = |row: &str| on_a_cluster::NEWER.contains(&row) || std::env::var_os("SERVER").is_some();
        let rows = on_a_cluster::DIFFERENCES.iter().map(|row| row.0).filter(|_| self.sides.is_cluster());
        let never: Vec<_> = rows.filter(|row| !self.declared.contains(row) && !is_new(row)).collect();
        assert!(never.is_empty(), "{what}: declared, and not met: {never:?}");
        assert_eq!(self.sides.proxy().metric("respguard_out_of_sync_total", &[]), 0.0);
    }
}

/// The server refuses a call of so many words before it looks at them.
fn is_refused(command: &Known, call: &[String]) -> bool {
    let words = i64::try_from(call.len()).unwrap_or(i64::MAX);
    if command.arity >= 0 { words != command.arity } else { words < -command.arity }
}

/// Everything up to the marker, or to what shows that none will come.
fn answers(wire: &mut Wire) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    loop {
        match wire.frame() {
            Ok(frame) => {
                let last = frame == b"+QUEUED\r\n" || text(&frame).contains(MARKER);
                answers.push(frame);
                if last {
                    return answers;
                }
            }
            Err(error) => {
                let over = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
                answers.push(if over { b"(closed)".to_vec() } else { b"(silent)".to_vec() });
                return answers;
            }
        }
    }
}

fn excerpt(answers: &[Vec<u8>]) -> String {
    format!("{:?}", answers.iter().map(|answer| text(answer).chars().take(300).collect::<String>()).collect::<Vec<_>>())
}

/// PFSELFTEST takes its time.
const TIMES: &str = "request_timeout_ms = 15000\nstall_timeout_ms = 15000\n";

fn compare(resp3: bool, sides: Sides, what: &str) {
    let mut comparison = Comparison::new(resp3, sides);
    let documents = comparison.has_documents().then_some(&DOCUMENTS);
    for (name, filling) in FILLINGS.iter().chain(documents) {
        comparison.fill_with(filling);
        // The payload of a stream with consumers holds times.
        for line in familiar::INVOCATIONS.iter().filter(|line| *name != "streams" || !line.starts_with("DUMP")) {
            comparison.call_line(&brief(line));
        }
    }
    comparison.fill_with(&["SET @ 10"]);
    for line in CALLS {
        comparison.call_line(line);
    }
    comparison.fill_with(if resp3 { &["RPUSH @ 3 1 2"] } else { &["SET @ 10"] });
    let known = comparison.call_all_known();
    let missed: Vec<_> = known.iter().map(|known| &known.name).filter(|name| !comparison.compared.contains(*name)).collect();
    assert!(missed.iter().all(|name| ALONE.contains(&name.as_str())), "never called: {missed:?}");
    comparison.conclude(what);
}

/// The call, but that it does not wait for ever.
fn brief(line: &str) -> String {
    let name = line.split(' ').next().unwrap_or_default();
    match line.strip_suffix(" 0") {
        Some(rest) if matches!(name, "BLPOP" | "BRPOP" | "BLMOVE" | "BRPOPLPUSH" | "BZPOPMIN" | "BZPOPMAX") => {
            format!("{rest} 0.01")
        }
        _ => match line.split_once(" 0 ") {
            Some((before, rest)) if matches!(before, "BLMPOP" | "BZMPOP") => format!("{before} 0.01 {rest}"),
            // Nobody listens there; a name would have to be looked up first.
            _ => line.replace("MIGRATE h 1 ", "MIGRATE 127.0.0.1 1 ").replace(" IDLE 1 - +", " IDLE 0 - +"),
        },
    }
}

#[test]
fn every_command_answers_as_redis_does_in_resp2() {
    compare(false, Sides::of_servers("", TIMES), "RESP2");
}

#[test]
fn every_command_answers_as_redis_does_in_resp3() {
    compare(true, Sides::of_servers("", TIMES), "RESP3");
}

#[test]
fn the_document_lists_what_is_not_compared_and_a_test_for_each_difference() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/transparency.md")).expect("the document is there");
    let rows = |heading: &'static str| {
        document.lines().skip_while(move |line| *line != heading).skip(2).take_while(|line| line.starts_with('|'))
    };
    let listed: Vec<_> = rows("| reply to | compared | because of |").map(str::to_owned).collect();
    let compared: Vec<_> = likeness::EXCEPTIONS
        .iter()
        .map(|(name, likeness, why)| format!("| `{name}` | {} | {why} |", likeness.as_str()))
        .collect();
    assert_eq!(listed, compared);
    let listed: Vec<_> = rows("| command | before a cluster | because |").map(str::to_owned).collect();
    let declared = on_a_cluster::DIFFERENCES.iter();
    let declared: Vec<_> = declared.map(|(name, answer, why)| format!("| `{name}` | {} | {why} |", answer.as_str())).collect();
    assert_eq!(listed, declared);
    let sources = [root.join("tests/it"), root.join("crates/engine/src/link")].map(|folder| all_text(&folder)).concat();
    let differences: Vec<_> = rows("| command | through respguard | shown by |").collect();
    assert!(differences.len() > 10, "{differences:?}");
    for row in &differences {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(sources.contains(&format!("fn {name}()")), "{name} does not exist: {row}");
        }
    }
    for (name, ..) in likeness::EXCEPTIONS.iter().filter(|row| row.1 == Likeness::Own) {
        assert!(differences.iter().any(|row| row.contains(&format!("`{}`", name.to_uppercase()))), "{name} is not explained");
    }
}

fn all_text(folder: &std::path::Path) -> String {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).expect("text")).collect()
}
