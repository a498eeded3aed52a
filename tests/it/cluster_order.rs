//! The order of what one client sends before a cluster, where a part of it waits at a node.

use std::time::{Duration, Instant};

use respguard_engine::route::slots::key_slot;

use crate::harness::wire::{requests, words};
use crate::harness::{Chaos, Nodes, Program, Proxy, Setup, Way, Wire, eventually, text};

fn before(nodes: &Nodes, request_timeout_ms: u32) -> Proxy {
    let upstream = format!("request_timeout_ms = {request_timeout_ms}\nstall_timeout_ms = 30000\n");
    Setup::before(1).cluster(&nodes.ports(), &upstream).top("workers = 1").start()
}

#[test]
fn what_stands_around_a_blocking_command_keeps_its_place() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes, 15_000);
    let mut wire = proxy.wire();
    let (list, other) = (nodes.key_of(0, "l"), nodes.key_of(1, "k"));
    let popped = format!("*2\r\n${}\r\n{list}\r\n$1\r\ne\r\n", list.len());
    for round in 1..=100 {
        let replies = wire.pipeline(&[
            &format!("RPUSH {list} e"),
            &format!("BLPOP {list} 5"),
            &format!("LPOP {list}"),
            &format!("INCR {other}"),
            // Redis 6.2 takes one thousandth for no limit at all.
            &format!("BLPOP {list} 0.002"),
            &format!("RPUSH {list} x"),
            &format!("LPOP {list}"),
        ]);
        let counted = format!(":{round}\r\n");
        assert_eq!(replies, [":1\r\n", &popped, "$-1\r\n", &counted, "*-1\r\n", ":1\r\n", "$1\r\nx\r\n"]);
    }
}

#[test]
fn commands_of_every_form_in_one_write_keep_their_replies() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes, 15_000);
    let mut wire = proxy.wire();
    let (one, other) = (nodes.key_of(0, "k"), nodes.key_of(1, "k"));
    for round in 100..150 {
        // Blank lines, inline commands, keys of both nodes, errors of nodes, and what both nodes answer.
        let mut sent = format!("SET {one} a{round}\r\n\r\nGET {one}\r\n*0\r\n").into_bytes();
        let (set, push, get) = (format!("SET {other} b{round}"), format!("LPUSH {one} x"), format!("GET {other}"));
        sent.extend(requests(&[&set, &push, &get, &format!("MGET {one} {other}"), &format!("GET {one} {other}"), &push]));
        sent.extend(format!("  get   {other}  \r\n\r\n").into_bytes());
        wire.send(&sent);
        let (a, b) = (format!("$4\r\na{round}\r\n"), format!("$4\r\nb{round}\r\n"));
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        let arity = "-ERR wrong number of arguments for 'get' command\r\n";
        for expected in ["+OK\r\n", &a, "+OK\r\n", wrong, &b, &format!("*2\r\n{a}{b}"), arity, wrong, &b] {
            assert_eq!(text(&wire.reply()), expected, "round {round}");
        }
    }
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn behind_what_blocks_for_long_the_time_of_requests_begins_when_it_ends() {
    let nodes = Nodes::start(2, false);
    // As long as a busy machine may take to wake a server up, and less than what blocks.
    let proxy = before(&nodes, 6000);
    let (list, other) = (nodes.key_of(0, "l"), nodes.key_of(1, "k"));
    let mut wire = proxy.wire();
    // Nobody fills the list, and no replica confirms anything.
    for (blocks, answer) in [(format!("BLPOP {list} 8"), "*-1\r\n"), ("WAIT 1 8000".to_owned(), ":0\r\n")] {
        let since = Instant::now();
        let replies = wire.pipeline(&[&blocks, &format!("SET {other} v"), &format!("GET {other}"), "PING"]);
        assert_eq!(replies, [answer, "+OK\r\n", "$1\r\nv\r\n", "+PONG\r\n"], "{blocks}");
        assert!(since.elapsed() >= Duration::from_secs(7), "{blocks}");
    }
    // The other client is served meanwhile, and ends it.
    wire.send(&requests(&[&format!("BLPOP {list} 15"), &format!("GET {other}")]));
    eventually("it blocks", || nodes.servers[0].ask("INFO clients").contains("blocked_clients:1"));
    assert_eq!(proxy.wire().ask(&format!("RPUSH {list} e")), ":1\r\n");
    assert!(text(&wire.reply()).ends_with("$1\r\ne\r\n"));
    assert_eq!(text(&wire.reply()), "$1\r\nv\r\n");
}

#[test]
fn a_watch_holds_for_a_transaction_that_comes_with_it() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes, 15_000);
    let mut wire = proxy.wire();
    let key = nodes.key_of(1, "k");
    let (watch, incr, get) = (format!("WATCH {key}"), format!("INCR {key}"), format!("GET {key}"));
    let aborted = |wire: &mut Wire, lines: &[&str]| {
        let replies = wire.pipeline(lines);
        assert_eq!(replies.last().map(String::as_str), Some("*-1\r\n"), "{lines:?}: {replies:?}");
    };
    for _ in 0..20 {
        // What is written behind WATCH changes what is watched, whoever writes it.
        aborted(&mut wire, &[&watch, &incr, "MULTI", &get, "EXEC"]);
        aborted(&mut wire, &[&watch, &get, &incr, "MULTI", &incr, "EXEC"]);
        let replies =
            wire.pipeline(&[&watch, &incr, "UNWATCH", "MULTI", "PING", "EXEC", &watch, "MULTI", "DISCARD", "MULTI", "EXEC"]);
        assert_eq!([&*replies[5], &replies[10]], ["*1\r\n+PONG\r\n", "*0\r\n"]);
        let replies = wire.pipeline(&[&watch, &get, "MULTI", &get, "EXEC"]);
        assert!(replies[4].starts_with("*1\r\n$"), "{replies:?}");
    }
}

/// One node, which the others reach through a forwarder.
fn behind_a_forwarder() -> (Nodes, Chaos) {
    let nodes = Nodes::start_as(Program::under_test(), 1, false, || "--client-output-buffer-limit normal 0 0 0".to_owned());
    let chaos = Chaos::before(nodes.servers[0].port());
    assert_eq!(nodes.servers[0].ask(&format!("CONFIG SET cluster-announce-port {}", chaos.port())), "+OK\r\n");
    (nodes, chaos)
}

#[test]
fn a_part_that_is_late_is_not_overtaken_over_the_connection_that_takes_the_place_of_its_own() {
    assert!((0..10).any(|_| a_late_part_is_not_overtaken()), "a part was late on a connection that was replaced");
}

/// False where the part was not late: on a busy machine another connection may have been there already.
fn a_late_part_is_not_overtaken() -> bool {
    let (nodes, chaos) = behind_a_forwarder();
    let big = "v".repeat(32 * 1024 * 1024);
    let mut direct = nodes.servers[0].wire();
    direct.send(&words(&[b"SET", b"big", big.as_bytes()]));
    assert_eq!(direct.reply(), b"+OK\r\n");
    let upstream = "request_timeout_ms = 3000\nstall_timeout_ms = 60000\nheartbeat_ms = 300\n";
    let proxy = Setup::before(1).cluster(&[chaos.port()], upstream).top("workers = 1").start();
    let (mut wire, mut reader) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.ask("SET a 0"), "+OK\r\n");
    // Over another connection, which shows that the node is there.
    let mut newer = proxy.wire();
    assert!(newer.ask("HELLO 3").starts_with('%'));
    assert_eq!(newer.ask("SET b 0"), "+OK\r\n");
    // No more can be opened while a long reply stands still on the first one.
    chaos.refuse(true);
    chaos.down(Way::Stop(1024 * 1024));
    reader.send_line("GET big");
    eventually("the reply stands still", || chaos.hold_stopped() == 1);
    // Of two slots: each key is a request of its own.
    if !wire.ask("DEL a b").starts_with("-TIMEOUT ") {
        return false;
    }
    chaos.refuse(false);
    let retired = || proxy.metric("respguard_upstream_connections", &[("state", "retired")]);
    eventually("there is another connection", || retired() >= 1.0);
    let mut other = proxy.wire();
    assert_eq!(other.ask("SET there 1"), "+OK\r\n", "who is owed nothing goes over that one");
    wire.send_line("SET a 1");
    assert!(wire.is_silent_for(Duration::from_millis(500)), "it stays behind what it has sent before");
    chaos.up(Way::Pass);
    chaos.down(Way::Pass);
    let reply = text(&wire.reply());
    assert!(reply == "+OK\r\n" || reply.starts_with("-TIMEOUT "), "{reply}");
    assert_eq!(reader.reply().len(), big.len() + "$33554432\r\n\r\n".len());
    eventually("what was set last is there", || nodes.servers[0].ask("GET a") == "$1\r\n1\r\n");
    true
}

#[test]
fn that_no_node_was_asked_about_a_login_is_not_taken_for_its_refusal() {
    let nodes = Nodes::start(1, false);
    let times = "request_timeout_ms = 15000\nstall_timeout_ms = 60000\nconnect_timeout_ms = 500\n";
    let proxy = Setup::before(1).cluster(&nodes.ports(), times).top("workers = 1").start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    nodes.servers[0].pause();
    let missed = wire.ask("HELLO 3");
    nodes.servers[0].resume();
    assert!(missed.starts_with("-ERR respguard: HELLO was not sent: "), "{missed}");
    assert!(wire.ask("GET k").starts_with("-ERR respguard: not run: the HELLO before it was not carried out"));
    eventually("the node takes it", || wire.ask("HELLO 3").starts_with('%'));
    assert_eq!(wire.ask("GET k"), "$1\r\nv\r\n");
    // What a node answers is its answer, whatever it says.
    assert!(wire.ask("AUTH nobody respguard:").starts_with("-WRONGPASS "));
    assert_eq!(wire.ask("GET k"), "$1\r\nv\r\n");
}

/// True once a command of this client's has run on another connection.
type Leave = fn(&mut Wire) -> bool;

#[test]
fn what_was_given_up_is_not_overtaken_over_another_connection() {
    let (nodes, chaos) = behind_a_forwarder();
    let upstream = "request_timeout_ms = 2000\nstall_timeout_ms = 60000\nheartbeat_ms = 60000\n";
    let proxy = Setup::before(1).cluster(&[chaos.port()], upstream).top("workers = 1").start();
    let by_blocking: Leave = |wire| wire.ask("BLPOP none 0.01") == "*-1\r\n";
    let by_login: Leave = |wire| wire.ask("HELLO 3").starts_with('%') && wire.ask("SET k 2") == "+OK\r\n";
    for leave in [by_blocking, by_login] {
        let has_tried = (0..10).any(|_| what_is_given_up_is_not_overtaken(&nodes, &chaos, &proxy, leave));
        assert!(has_tried, "a write was given up that its node had not read");
    }
}

/// False where the write was not sent: on a busy machine its node may not have been there.
fn what_is_given_up_is_not_overtaken(nodes: &Nodes, chaos: &Chaos, proxy: &Proxy, leave: Leave) -> bool {
    // Who comes before there is a connection may be sent away.
    let mut served = None;
    eventually("a client is served", || {
        let mut wire = proxy.wire();
        wire.send_line("SET k 0");
        let is_set = wire.try_reply().as_deref() == Some(b"+OK\r\n");
        served = is_set.then_some(wire);
        is_set
    });
    let mut wire = served.expect("it is there");
    // What is sent on the connections that there are comes later; new ones are as good as ever.
    chaos.up(Way::Hold);
    let is_given_up = wire.ask("SET k 1").starts_with("-TIMEOUT ");
    let has_left = is_given_up && leave(&mut wire);
    if !has_left {
        chaos.up(Way::Pass);
        eventually("it goes on", || leave(&mut wire));
    }
    let value = nodes.servers[0].ask("GET k");
    chaos.up(Way::Pass);
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(1) {
        assert_eq!(nodes.servers[0].ask("GET k"), value, "what was given up has not run later");
    }
    is_given_up
}

/// What is on its way to the node that a slot goes to must not be overtaken by what is about a key that has not gone yet.
#[test]
fn commands_on_a_half_moved_slot_keep_their_order() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes, 15_000);
    let tag = nodes.key_of(0, "t");
    let [gone, stays, last] = ["gone", "stays", "last"].map(|name| format!("{name}:{{{tag}}}"));
    let slot = key_slot(tag.as_bytes());
    let mut wire = proxy.wire();
    wire.pipeline(&[&format!("SET {gone} 0"), &format!("SET {stays} 0"), &format!("SET {last} 0")]);
    nodes.begin_move(slot, 0, 1);
    nodes.migrate(&gone, 0, 1);
    let other = nodes.key_of(0, "other");
    // That keys have gone is known from now on.
    assert_eq!(wire.ask(&format!("GET {gone}")), "$1\r\n0\r\n");
    for round in 1..=3 {
        nodes.servers[1].ask("CLIENT PAUSE 300 WRITE");
        let sent = [
            format!("SET {stays} a{round}"),
            format!("SET {gone} a{round}"),
            format!("SET {other} a{round}"),
            format!("SET {last} a{round}"),
            format!("SET {stays} b{round}"),
        ];
        wire.send(&requests(&sent.each_ref().map(String::as_str)));
        let at_source = |key: &str| nodes.servers[0].ask(&format!("GET {key}"));
        eventually("what is not about this slot goes", || at_source(&other).contains(&format!("a{round}")));
        assert!(at_source(&stays).contains(&format!("a{round}")), "what was sent before it has gone");
        assert!(!at_source(&last).contains(&format!("a{round}")), "it waits for what was sent before it");
        (0..sent.len()).for_each(|_| assert_eq!(text(&wire.reply()), "+OK\r\n"));
        let replies = wire.pipeline(&[&format!("GET {gone}"), &format!("GET {last}"), &format!("GET {stays}")]);
        assert_eq!(replies, ["a", "a", "b"].map(|begin| format!("$2\r\n{begin}{round}\r\n")));
    }
    [&stays, &last].iter().for_each(|key| nodes.migrate(key, 0, 1));
    nodes.end_move(slot, 0, 1);
    assert_eq!(wire.pipeline(&[&format!("GET {gone}"), &format!("GET {last}")]), ["$2\r\na3\r\n", "$2\r\na3\r\n"]);
}

#[test]
fn what_needs_keys_of_both_nodes_is_told_so_at_its_deadline() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes, 1000);
    let tag = nodes.key_of(0, "t");
    let (gone, stays) = (format!("gone:{{{tag}}}"), format!("stays:{{{tag}}}"));
    let slot = key_slot(tag.as_bytes());
    let mut wire = proxy.wire();
    assert_eq!(wire.ask(&format!("MSET {gone} 1 {stays} 2")), "+OK\r\n");
    nodes.begin_move(slot, 0, 1);
    nodes.migrate(&gone, 0, 1);
    let refused = wire.ask(&format!("MGET {gone} {stays}"));
    assert_eq!(
        refused,
        format!("-ERR respguard: MGET was not sent: slot {slot} is half moved, and no node has all of its keys\r\n")
    );
    nodes.migrate(&stays, 0, 1);
    assert_eq!(wire.ask(&format!("MGET {gone} {stays}")), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    nodes.end_move(slot, 0, 1);
}

/// The node that has the key that is written has not got the one that is watched.
#[test]
fn a_watch_whose_key_has_gone_elsewhere_holds_for_the_transaction_that_comes_with_it() {
    let nodes = Nodes::start(2, false);
    let tag = nodes.key_of(0, "t");
    let (gone, stays) = (format!("gone:{{{tag}}}"), format!("stays:{{{tag}}}"));
    let slot = key_slot(tag.as_bytes());
    let proxy = before(&nodes, 2000);
    let mut wire = proxy.wire();
    wire.pipeline(&[&format!("SET {gone} 1"), &format!("SET {stays} 2")]);
    nodes.begin_move(slot, 0, 1);
    nodes.migrate(&gone, 0, 1);
    let watch = [format!("WATCH {gone}"), format!("GET {gone}"), "MULTI".to_owned(), format!("SET {stays} 3"), "EXEC".to_owned()];
    let replies = wire.pipeline(&watch.each_ref().map(String::as_str));
    assert_eq!(replies[..2], ["+OK\r\n", "$1\r\n1\r\n"], "{replies:?}");
    // Nobody can tell there whether what is watched has changed.
    assert!(replies[4] == "*-1\r\n" && wire.ask(&format!("GET {stays}")) == "$1\r\n2\r\n", "{replies:?}");
    nodes.migrate(&stays, 0, 1);
    nodes.end_move(slot, 0, 1);
    let replies = wire.pipeline(&watch.each_ref().map(String::as_str));
    assert_eq!(replies, ["+OK\r\n", "$1\r\n1\r\n", "+OK\r\n", "+QUEUED\r\n", "*1\r\n+OK\r\n"]);
}
