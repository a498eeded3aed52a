//! Functions before a cluster: what all nodes say of them at once.

use std::time::{Duration, Instant};

use crate::harness::wire::words;
use crate::harness::{Nodes, Proxy, Setup, Wire, eventually, text};

const LIBRARY: &str = "#!lua name=lib\nredis.register_function('endless', function() while true do end end)";

/// A node says soon that something runs on it.
fn started() -> (Nodes, Proxy) {
    let nodes = Nodes::start(3, false);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET busy-reply-threshold 50"), "+OK\r\n");
    }
    let proxy = Setup::before(1).cluster(&nodes.ports(), "request_timeout_ms = 15000\n").top("workers = 1").start();
    proxy.wire().send(&words(&[b"FUNCTION", b"LOAD", LIBRARY.as_bytes()]));
    let has_it = |at: usize| nodes.servers[at].ask("FUNCTION LIST").contains("endless");
    eventually("each node has the library", || (0..3).all(has_it));
    (nodes, proxy)
}

/// A client that has begun something without end on this node.
fn begin(nodes: &Nodes, proxy: &Proxy, node: usize, begin: &[&[u8]]) -> Wire {
    let mut wire = proxy.wire();
    wire.send(&words(&[begin, &[b"1", nodes.key_of(node, "k").as_bytes()]].concat()));
    eventually("it runs", || nodes.servers[node].ask("PING").starts_with("-BUSY"));
    wire
}

/// FUNCTION STATS is answered at once, though nodes are busy.
fn stats(wire: &mut Wire) -> String {
    let begun = Instant::now();
    let told = wire.ask("FUNCTION STATS");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    told
}

#[test]
fn function_stats_tells_of_a_function_on_whatever_node_it_runs() {
    let (nodes, proxy) = started();
    let (mut two, mut three) = (proxy.wire(), proxy.wire());
    assert!(three.ask("HELLO 3").starts_with('%'));
    let mut direct = nodes.servers[0].wire();
    assert_eq!(stats(&mut two), direct.ask("FUNCTION STATS"));
    assert!(direct.ask("HELLO 3").starts_with('%'));
    assert_eq!(stats(&mut three), direct.ask("FUNCTION STATS"));
    for node in 0..3 {
        let mut busy = begin(&nodes, &proxy, node, &[b"FCALL", b"endless"]);
        let told = nodes.servers[node].ask("FUNCTION STATS");
        let shown = |told: &str| told.lines().take_while(|line| *line != "duration_ms").map(str::to_owned).collect::<Vec<_>>();
        assert!(told.contains(&nodes.key_of(node, "k")), "{told}");
        assert_eq!(shown(&stats(&mut two)), shown(&told));
        let told = stats(&mut three);
        assert!(told.contains("%3\r\n") && told.contains(&nodes.key_of(node, "k")), "{told}");
        assert_eq!(two.ask("FUNCTION KILL"), "+OK\r\n");
        assert!(text(&busy.reply()).contains("killed by user"));
    }
}

#[test]
fn of_several_that_run_function_stats_tells_of_the_one_that_has_run_longest() {
    let (nodes, proxy) = started();
    let mut other = proxy.wire();
    let function: &[&[u8]] = &[b"FCALL", b"endless"];
    let script: &[&[u8]] = &[b"EVAL", b"while true do end"];
    let mut scripted = begin(&nodes, &proxy, 0, script);
    assert!(stats(&mut other).starts_with("-BUSY "), "as one server says it");
    let mut running: Vec<Wire> = [2, 1].map(|node| begin(&nodes, &proxy, node, function)).into();
    let told = stats(&mut other);
    assert!(told.contains(&nodes.key_of(2, "k")), "{told}");
    assert_eq!(other.ask("FUNCTION KILL"), "+OK\r\n");
    running.iter_mut().for_each(|wire| assert!(text(&wire.reply()).contains("killed by user")));
    assert!(stats(&mut other).starts_with("-BUSY "));
    assert_eq!(other.ask("SCRIPT KILL"), "+OK\r\n");
    assert!(text(&scripted.reply()).contains("killed by user"));
    assert_eq!(stats(&mut other), nodes.servers[0].ask("FUNCTION STATS"));
}
