//! What a client sees when a replica takes its primary's place in the middle of something.

use std::collections::HashSet;
use std::time::{Duration, Instant};

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

#[test]
fn what_blocks_waits_on_at_the_next_primary_after_a_planned_failover() {
    let nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    let list = nodes.key_of(0, "list");
    wire.send_line(&format!("BLPOP {list} 60"));
    eventually("it blocks", || nodes.servers[0].info("clients", "blocked_clients") == 1);
    fail_over(&nodes);
    eventually("it blocks there", || nodes.servers[3].info("clients", "blocked_clients") == 1);
    assert_eq!(other.ask(&format!("RPUSH {list} v")), ":1\r\n");
    assert_eq!(text(&wire.reply()), format!("*2\r\n${}\r\n{list}\r\n$1\r\nv\r\n", list.len()));
}

/// A node that hangs closes nothing and says nothing: only by asking the others can it be found out that it was replaced.
#[test]
fn that_a_primary_hangs_and_was_replaced_is_found_out_soon() {
    let nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    let (mut wire, mut next, mut replica) = (proxy.wire(), proxy.wire(), nodes.servers[3].wire());
    let (hung, well) = (nodes.key_of(0, "k"), nodes.key_of(1, "k"));
    assert_eq!(wire.pipeline(&[&format!("SET {hung} 1"), &format!("SET {well} 1")]), ["+OK\r\n", "+OK\r\n"]);
    let questions = || {
        let stats = nodes.servers[1].ask("INFO commandstats");
        let line = stats.lines().find(|line| line.starts_with("cmdstat_cluster|slots:")).expect("it was asked").to_owned();
        line.split(['=', ',']).nth(1).expect("a number").parse::<u32>().expect("a number")
    };
    let connections = || {
        let stats = nodes.servers[0].ask("INFO stats");
        let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).expect("a number").to_owned();
        line.trim().parse::<u64>().expect("a number")
    };
    let (before_it_hung, hung_at) = (connections(), Instant::now());
    nodes.servers[0].pause();
    wire.send_line(&format!("SET {hung} 2"));
    std::thread::sleep(Duration::from_millis(400));
    let (asked, since) = (questions(), Instant::now());
    std::thread::sleep(Duration::from_millis(900));
    // In so short a time a node is asked once where nobody doubts.
    let asked = questions() - asked;
    assert!(asked >= 4, "{asked} questions in {:?}", since.elapsed());
    next.send_line(&format!("SET {hung} 3"));
    eventually("the replica has taken its place", || replica.ask(&format!("SET {hung} 0")) == "+OK\r\n");
    let since = Instant::now();
    assert!(text(&wire.reply()).starts_with("-TIMEOUT "));
    let reply = text(&next.reply());
    assert!(reply == "+OK\r\n" || reply.starts_with("-TIMEOUT "), "{reply}");
    assert_eq!(wire.ask(&format!("SET {hung} 4")), "+OK\r\n");
    assert!(since.elapsed() < Duration::from_secs(3), "{:?} after the replica took writes", since.elapsed());
    nodes.servers[0].resume();
    // It was not asked over a new connection each time.
    let connections = connections() - before_it_hung;
    assert!(connections < 20 + 8 * hung_at.elapsed().as_secs(), "{connections} connections in {:?}", hung_at.elapsed());
}

#[test]
fn what_has_a_connection_to_itself_does_not_wait_for_ever_at_a_primary_that_hangs_and_was_replaced() {
    let nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    let (mut blocked, mut watching, mut replica) = (proxy.wire(), proxy.wire(), nodes.servers[3].wire());
    let [list, key] = ["list", "k"].map(|begin| nodes.key_of(0, begin));
    blocked.send_line(&format!("BLPOP {list} 0"));
    assert_eq!(watching.ask(&format!("WATCH {key}")), "+OK\r\n");
    eventually("it blocks there", || nodes.servers[0].ask("INFO clients").contains("blocked_clients:1"));
    nodes.servers[0].pause();
    eventually("the replica has taken its place", || replica.ask(&format!("SET {key} 0")) == "+OK\r\n");
    // It may have been given something that was lost on its way.
    let reply = text(&blocked.reply());
    assert!(reply.starts_with("-TIMEOUT respguard: outcome of BLPOP unknown"), "{reply}");
    eventually("the watch is known to be lost", || {
        assert_eq!(watching.pipeline(&["MULTI", &format!("INCR {key}")]), ["+OK\r\n", "+QUEUED\r\n"]);
        watching.ask("EXEC") == "*-1\r\n"
    });
    assert_eq!(replica.ask(&format!("GET {key}")), "$1\r\n0\r\n");
    blocked.send_line(&format!("BLPOP {list} 0"));
    assert_eq!(watching.ask(&format!("RPUSH {list} v")), ":1\r\n");
    assert!(text(&blocked.reply()).ends_with("$1\r\nv\r\n"));
    nodes.servers[0].resume();
}

/// A primary that the others cannot reach may still answer the proxy: what it acknowledges is lost once it is replaced.
#[test]
fn while_a_node_suspects_another_it_is_asked_often() {
    let nodes = Nodes::start(3, false);
    let _proxy = before(&nodes);
    let questions = || {
        let stats = nodes.servers[1].ask("INFO commandstats");
        let line = stats.lines().find(|line| line.starts_with("cmdstat_cluster|slots:")).expect("it was asked").to_owned();
        line.split(['=', ',']).nth(1).expect("a number").parse::<u32>().expect("a number")
    };
    // Nobody sends anything to it.
    nodes.servers[0].pause();
    eventually("it is suspected", || {
        let info = nodes.servers[1].ask("CLUSTER INFO");
        !info.contains("cluster_slots_pfail:0") || !info.contains("cluster_slots_fail:0")
    });
    eventually("the others are asked often", || {
        let before = questions();
        std::thread::sleep(Duration::from_millis(900));
        questions() - before >= 4
    });
    nodes.servers[0].resume();
    eventually("and not for ever", || {
        let before = questions();
        std::thread::sleep(Duration::from_millis(900));
        questions() - before <= 2
    });
}
