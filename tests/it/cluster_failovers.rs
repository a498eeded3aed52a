//! What a client sees when a replica takes its primary's place in the middle of something.

use std::collections::HashSet;

use crate::harness::wire::requests;
use crate::harness::{Nodes, Proxy, Setup, eventually, text};

fn before(nodes: &Nodes) -> Proxy {
    Setup::before(1).cluster(&nodes.ports(), "request_timeout_ms = 15000\n").top("workers = 1").start()
}

/// The replica of the first of three primaries takes its place, and all know it.
fn fail_over(nodes: &Nodes) {
    eventually("the failover begins", || nodes.servers[3].ask("CLUSTER FAILOVER") == "+OK\r\n");
    let of_first = nodes.id(3);
    let knows = |at: usize| {
        nodes.servers[at].ask("CLUSTER SLOTS").contains(&of_first) && {
            let nodes = nodes.servers[at].ask("CLUSTER NODES");
            nodes.lines().any(|line| line.starts_with(&of_first) && line.contains("master"))
        }
    };
    eventually("all know the new primary", || (0..6).all(knows));
}

#[test]
fn a_walk_misses_no_key_over_a_failover() {
    let nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let all: HashSet<String> = (0..1500).map(|number| format!("key:{number}")).collect();
    for key in &all {
        assert_eq!(wire.ask(&format!("SET {key} v")), "+OK\r\n");
    }
    wire.pipeline(&["SET sent 1", "WAIT 1 5000"]);
    eventually("the replica has all", || nodes.servers[3].ask("DBSIZE") == nodes.servers[0].ask("DBSIZE"));
    let (mut seen, mut cursor, mut steps) = (HashSet::new(), "0".to_owned(), 0);
    loop {
        let page = wire.ask(&format!("SCAN {cursor} COUNT 50"));
        let mut words = page.lines().filter(|line| !line.starts_with(['*', '$'])).map(str::to_owned);
        cursor = words.next().expect("a cursor");
        seen.extend(words);
        steps += 1;
        if steps == 4 {
            fail_over(&nodes);
            eventually("the new primary serves", || wire.ask(&format!("SET {} v", nodes.key_of(0, "after"))) == "+OK\r\n");
        }
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(all.difference(&seen).count(), 0, "of {} keys {} were seen in {steps} steps", all.len(), seen.len());
    assert!(steps < 120, "{steps} steps");
}

#[test]
fn what_asks_all_nodes_follows_a_shard_to_its_new_primary() {
    let mut nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    for number in 0..300 {
        assert_eq!(wire.ask(&format!("SET key:{number} v")), "+OK\r\n");
    }
    assert_eq!(wire.ask("DBSIZE"), ":300\r\n");
    wire.pipeline(&["SET sent 1", "WAIT 1 5000"]);
    eventually("the replica has all", || nodes.servers[3].ask("DBSIZE") == nodes.servers[0].ask("DBSIZE"));
    let mut others: Vec<_> = (0..3).map(|_| proxy.wire()).collect();
    others.iter_mut().for_each(|other| assert_eq!(other.ask("DBSIZE"), ":301\r\n"));
    // They are under way at the node that dies, and wait for the next one.
    nodes.servers[0].pause();
    let asked = ["DBSIZE", "KEYS key:*", "SLOWLOG LEN"];
    others.iter_mut().zip(asked).for_each(|(other, line)| other.send_line(line));
    eventually("the others have answered", || nodes.servers[1].ask("INFO commandstats").contains("cmdstat_keys:"));
    nodes.servers[0].kill();
    let told: Vec<String> = others.iter_mut().map(|other| text(&other.reply())).collect();
    assert_eq!(told[0], ":301\r\n");
    assert!(told[1].starts_with("*300\r\n"), "{:.80}", told[1]);
    assert!(told[2].starts_with(':'), "{}", told[2]);
    assert_eq!(wire.pipeline(&["DBSIZE", "EXISTS key:1 key:2 key:3 key:4 none"]), [":301\r\n", ":4\r\n"]);
}

#[test]
fn a_script_that_the_new_primary_does_not_know_yet_keeps_its_place() {
    let nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let loaded = wire.ask("SCRIPT LOAD return(redis.call('append',KEYS[1],'s'))");
    let sha = loaded.lines().nth(1).expect("a digest").to_owned();
    let key = nodes.key_of(0, "k");
    assert_eq!(wire.pipeline(&[&format!("EVALSHA {sha} 1 {key}"), &format!("DEL {key}")]), [":1\r\n", ":1\r\n"]);
    fail_over(&nodes);
    // Over a connection that is there.
    eventually("the new primary serves", || wire.ask(&format!("SET {} v", nodes.key_of(0, "after"))) == "+OK\r\n");
    let replies = wire.pipeline(&[&format!("EVALSHA {sha} 1 {key}"), &format!("APPEND {key} x"), &format!("GET {key}")]);
    assert_eq!(replies, [":1\r\n", ":2\r\n", "$2\r\nsx\r\n"]);
    // A node that has lost the script without anybody's notice says so where others have gone behind it, unless it is loaded
    // first because its connection is a new one.
    assert_eq!(nodes.servers[3].ask("SCRIPT FLUSH"), "+OK\r\n");
    let replies = wire.pipeline(&[&format!("EVALSHA {sha} 1 {key}"), &format!("APPEND {key} x"), &format!("GET {key}")]);
    let is_told = replies[0].starts_with("-NOSCRIPT ") && replies[1..] == [":3\r\n", "$3\r\nsxx\r\n"];
    assert!(is_told || replies == [":3\r\n", ":4\r\n", "$4\r\nsxsx\r\n"], "{replies:?}");
    let alone = wire.ask(&format!("EVALSHA {sha} 1 {key}"));
    assert_eq!(alone, if is_told { ":4\r\n" } else { ":5\r\n" }, "alone it is loaded and sent again");
}

#[test]
fn what_has_waited_for_what_is_new_in_a_stream_is_not_asked_anew() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let stream = nodes.key_of(1, "s");
    wire.send(&requests(&[&format!("XREAD BLOCK 0 STREAMS {stream} $")]));
    eventually("it blocks", || nodes.servers[1].info("clients", "blocked_clients") == 1);
    let lines = ["MULTI", "CLIENT KILL TYPE normal", &format!("XADD {stream} * f v"), "EXEC"];
    nodes.servers[1].wire().pipeline(&lines);
    let told = text(&wire.reply());
    assert!(told.starts_with("-TIMEOUT respguard: outcome of XREAD unknown"), "{told}");
}
