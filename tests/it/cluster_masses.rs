//! Masses of commands in one write before a cluster, of which each waits for others of its client: all are answered as before
//! one server, soon, and nobody else waits for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::wire::{requests, words};
use crate::harness::{Nodes, Proxy, Setup, text};

const COUNT: usize = 5000;
/// Far above what it takes, and far below what looking at all of them for each reply would.
const LONGEST: Duration = Duration::from_secs(120);
const OTHERS_WAIT: Duration = Duration::from_secs(3);
const RULES: &str = r#"
[[group]]
name = "pair"
commands = ["SET a:{{{user}}} *", "INCR b:{{{user}}}"]
"#;

fn before(nodes: &Nodes, upstream: &str) -> Proxy {
    // A busy machine may take long to write the next member of a group.
    let hold = "hold_ms = 1000\nhold_max_ms = 10000\n";
    Setup::before(1).cluster(&nodes.ports(), upstream).top("workers = 1").pipeline(hold).rules(RULES).start()
}

/// Sends all of it in one write, and compares each reply, while another client is served.
fn mass(nodes: &Nodes, proxy: &Proxy, lines: impl Iterator<Item = (String, String)>) {
    let (lines, expected): (Vec<String>, Vec<String>) = lines.unzip();
    let bytes: Vec<u8> = lines.iter().flat_map(|line| requests(&[line])).collect();
    let mut wire = proxy.wire().patience(LONGEST);
    let (mut writer, key) = (wire.stream().try_clone().expect("the same socket"), nodes.key_of(1, "other"));
    let (is_over, mut other) = (AtomicBool::new(false), proxy.wire());
    assert_eq!(other.ask(&format!("SET {key} v")), "+OK\r\n");
    let since = Instant::now();
    let slowest = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut waited = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let since = Instant::now();
                assert_eq!(other.ask(&format!("GET {key}")), "$1\r\nv\r\n");
                waited.push(since.elapsed());
                std::thread::sleep(Duration::from_millis(2));
            }
            waited.into_iter().max().unwrap_or_default()
        });
        scope.spawn(move || std::io::Write::write_all(&mut writer, &bytes).expect("it reads"));
        let wrong = lines.iter().zip(&expected).map(|(line, expected)| (line, expected, text(&wire.reply())));
        let wrong: Vec<_> = wrong.filter(|(_, expected, reply)| *expected != reply).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(wrong.is_empty(), "{} of {}, first {:?}", wrong.len(), lines.len(), wrong[0]);
        others.join().expect("it was served")
    });
    assert!(since.elapsed() < LONGEST, "{:?}", since.elapsed());
    assert!(slowest < OTHERS_WAIT, "another client has waited for {slowest:?}");
}

#[test]
fn groups() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes, "");
    let lines = |at: usize| {
        let user = at % 500;
        let (set, incr) = (format!("SET a:{{{user}}} v"), format!("INCR b:{{{user}}}"));
        [(set, "+OK\r\n".to_owned()), (incr, format!(":{}\r\n", at / 500 + 1))]
    };
    mass(&nodes, &proxy, (0..COUNT).flat_map(lines));
    assert_eq!(proxy.groups("pair", "applied"), COUNT as f64);
}

#[test]
fn transactions() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes, "");
    for slots in [1, 500] {
        let lines = |at: usize| {
            let incr = format!("INCR {{{}}}n:{slots}", at % slots);
            [
                ("MULTI".to_owned(), "+OK\r\n".to_owned()),
                (incr, "+QUEUED\r\n".to_owned()),
                ("EXEC".to_owned(), format!("*1\r\n:{}\r\n", at / slots + 1)),
            ]
        };
        mass(&nodes, &proxy, (0..COUNT).flat_map(lines));
    }
}

#[test]
fn what_several_nodes_answer() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes, "");
    let (one, other) = (nodes.key_of(0, "k"), nodes.key_of(1, "k"));
    let lines = |at: usize| {
        let at = at.to_string();
        let all = format!("*2\r\n${}\r\n{at}\r\n$-1\r\n", at.len());
        [(format!("SET {one} {at}"), "+OK\r\n".to_owned()), (format!("MGET {one} {other}"), all)]
    };
    mass(&nodes, &proxy, (0..COUNT).flat_map(lines));
}

#[test]
fn what_has_two_keys_in_one_slot() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes, "");
    let lines = |at: usize| {
        let append = (format!("APPEND {{u}}a {}", at % 10), format!(":{}\r\n", at + 1));
        [append, ("EXISTS {u}a {u}b".to_owned(), ":1\r\n".to_owned())]
    };
    mass(&nodes, &proxy, (0..COUNT).flat_map(lines));
}

#[test]
fn behind_a_long_command_of_the_same_client_nothing_loses_its_time() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes, "request_timeout_ms = 2000\nstall_timeout_ms = 30000\n");
    let (long, other, list) = (nodes.key_of(0, "k"), nodes.key_of(1, "k"), nodes.key_of(1, "l"));
    let mut wire = proxy.wire().patience(LONGEST);
    let busy = "local t = redis.call('TIME') local e = t[1] + 4 + t[2] / 1e6 \
                repeat t = redis.call('TIME') until t[1] + t[2] / 1e6 > e return 1";
    let behind: [(String, String); 7] = [
        (format!("MGET {long} {other}"), "*2\r\n$-1\r\n$-1\r\n".to_owned()),
        (format!("BLPOP {list} 0.01"), "*-1\r\n".to_owned()),
        ("DBSIZE".to_owned(), ":0\r\n".to_owned()),
        (format!("SET {other} v"), "+OK\r\n".to_owned()),
        (format!("SET a:{{{long}}} v"), "+OK\r\n".to_owned()),
        (format!("INCR b:{{{long}}}"), ":1\r\n".to_owned()),
        (format!("EXISTS {{{long}}}a {{{long}}}b"), ":0\r\n".to_owned()),
    ];
    // About one slot with others behind it, and about no key of anybody's.
    let mut sent = words(&[b"EVAL", busy.as_bytes(), b"2", long.as_bytes(), format!("{{{long}}}x").as_bytes()]);
    sent.extend(behind.iter().flat_map(|(line, _)| requests(&[line])));
    let since = Instant::now();
    wire.send(&sent);
    assert_eq!(text(&wire.reply()), ":1\r\n");
    assert!(since.elapsed() >= Duration::from_secs(4), "{:?}", since.elapsed());
    for (line, expected) in &behind {
        assert_eq!(text(&wire.reply()), *expected, "{line}");
    }
    // The same of whatever waits for one slot only.
    let mut sent = words(&[b"EVAL", busy.as_bytes(), b"2", long.as_bytes(), format!("{{{long}}}x").as_bytes()]);
    sent.extend(requests(&[
        "MULTI",
        &format!("SET {long} w"),
        "EXEC",
        &format!("EXISTS {{{long}}}a {long}"),
        &format!("GET {long}"),
    ]));
    wire.send(&sent);
    let replies: Vec<String> = (0..6).map(|_| text(&wire.reply())).collect();
    assert_eq!(replies, [":1\r\n", "+OK\r\n", "+QUEUED\r\n", "*1\r\n+OK\r\n", ":1\r\n", "$1\r\nw\r\n"]);
}
