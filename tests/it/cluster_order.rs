//! The order of what one client sends before a cluster, where a part of it waits at a node.

use std::time::{Duration, Instant};

use crate::harness::wire::requests;
use crate::harness::{Nodes, Proxy, Setup, Wire, eventually, text};

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
            &format!("BLPOP {list} 0.001"),
            &format!("RPUSH {list} x"),
            &format!("LPOP {list}"),
        ]);
        let counted = format!(":{round}\r\n");
        assert_eq!(replies, [":1\r\n", &popped, "$-1\r\n", &counted, "*-1\r\n", ":1\r\n", "$1\r\nx\r\n"]);
    }
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
