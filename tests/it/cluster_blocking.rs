//! What a client that waits at a node of a cluster can be told, and tell.

use std::time::{Duration, Instant};

use respguard_engine::route::slots::key_slot;

use crate::harness::wire::requests;
use crate::harness::{Nodes, Proxy, RedisServer, Setup, Wire, eventually, text};

fn before(nodes: &Nodes) -> Proxy {
    Setup::before(2).cluster(&nodes.ports(), "request_timeout_ms = 15000\n").start()
}

/// How many clients wait at this node.
fn blocked(nodes: &Nodes, node: usize) -> u64 {
    nodes.servers[node].info("clients", "blocked_clients")
}

fn client_id(wire: &mut Wire) -> u64 {
    let id = wire.ask("CLIENT ID");
    id.trim_start_matches(':').trim().parse().expect("a number")
}

#[test]
fn client_unblock_reaches_who_waits_at_any_node() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut others: Vec<Wire> = (0..3).map(|_| proxy.wire()).collect();
    for (node, other) in others.iter_mut().enumerate() {
        let list = nodes.key_of(node, "l");
        for (options, reply) in [("", "*-1\r\n"), (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")] {
            let mut wire = proxy.wire();
            let unblock = format!("CLIENT UNBLOCK {}{options}", client_id(&mut wire));
            assert_eq!(other.ask(&unblock), ":0\r\n", "it is not blocked");
            wire.send_line(&format!("BLPOP {list} 0"));
            eventually("it is blocked", || blocked(&nodes, node) == 1);
            assert_eq!(other.ask(&unblock), ":1\r\n");
            assert_eq!(text(&wire.reply()), reply);
            assert_eq!(wire.ask("PING"), "+PONG\r\n");
            // Its way may not be another client's.
            assert_eq!(other.pipeline(&[&unblock, "PING"]), [":0\r\n", "+PONG\r\n"]);
        }
        let mut wire = proxy.wire();
        let unblock = format!("CLIENT UNBLOCK {}", client_id(&mut wire));
        let sent = requests(&[&format!("BLPOP {list} 0"), &format!("BLPOP {list} 0"), "PING"]);
        wire.send(&sent);
        // The proxy, or the node, may not have read it yet.
        eventually("it is told", || other.ask(&unblock) == ":1\r\n");
        assert_eq!(text(&wire.reply()), "*-1\r\n");
        eventually("the next one blocks", || blocked(&nodes, node) == 1);
        assert_eq!(other.ask(&unblock), ":1\r\n");
        assert_eq!([text(&wire.reply()), text(&wire.reply())], ["*-1\r\n", "+PONG\r\n"]);
    }
    // This waits at each node that its client has written to.
    let mut wire = proxy.wire();
    (0..3).for_each(|node| assert_eq!(wire.ask(&format!("SET {} v", nodes.key_of(node, "k"))), "+OK\r\n"));
    let unblock = format!("CLIENT UNBLOCK {}", client_id(&mut wire));
    wire.send(&requests(&["WAIT 1 0", "PING"]));
    eventually("it waits at each node", || (0..3).all(|node| blocked(&nodes, node) == 1));
    assert_eq!(others[0].ask(&unblock), ":1\r\n");
    assert_eq!([text(&wire.reply()), text(&wire.reply())], [":0\r\n", "+PONG\r\n"]);
    assert_eq!(others[0].ask("CLIENT UNBLOCK 987654321"), ":0\r\n");
    assert!(others[0].ask("CLIENT UNBLOCK 1 SOON").starts_with("-ERR CLIENT UNBLOCK reason should be"));
}

#[test]
fn client_unblock_inside_multi_unblocks_with_exec_as_at_one_server() {
    let nodes = Nodes::start(3, false);
    let alone = RedisServer::start(&[]);
    let (proxy, single) = (before(&nodes), Setup::new(&alone).start());
    let list = nodes.key_of(1, "l");
    let blocks = |on_cluster: bool| if on_cluster { blocked(&nodes, 1) } else { alone.info("clients", "blocked_clients") };
    for (proxy, on_cluster) in [(&single, false), (&proxy, true)] {
        let [mut wire, mut other] = [proxy.wire(), proxy.wire()];
        let unblock = format!("CLIENT UNBLOCK {}", client_id(&mut wire));
        // Its own slot is elsewhere than that of the transaction.
        let key = nodes.key_of(2, "k");
        let set = format!("SET {key} v");
        let mut ran = |queued: &[&str]| {
            let replies = other.pipeline(&[&["MULTI"], queued, &["EXEC"]].concat());
            replies.last().expect("EXEC's").clone()
        };
        assert_eq!(ran(&[&set, &unblock]), "*2\r\n+OK\r\n:0\r\n", "it is not blocked");
        for (options, reply) in [("", "*-1\r\n"), (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")] {
            wire.send_line(&format!("BLPOP {list} 0"));
            eventually("it is blocked", || blocks(on_cluster) == 1);
            let unblock = format!("{unblock}{options}");
            assert_eq!(ran(&[&set, &unblock, &unblock, &format!("GET {key}")]), "*4\r\n+OK\r\n:1\r\n:0\r\n$1\r\nv\r\n");
            assert_eq!(text(&wire.reply()), reply);
        }
        let wrong = ran(&["CLIENT UNBLOCK 1 SOON", "CLIENT UNBLOCK x", &unblock]);
        assert!(wrong.starts_with("*3\r\n-ERR CLIENT UNBLOCK reason should be") && wrong.ends_with("\r\n:0\r\n"), "{wrong}");
        wire.send_line(&format!("BLPOP {list} 0"));
        eventually("it is blocked", || blocks(on_cluster) == 1);
        assert_eq!(other.pipeline(&["MULTI", &unblock, "DISCARD", "PING"])[3], "+PONG\r\n");
        assert_eq!(blocks(on_cluster), 1, "a transaction that is given up unblocks nobody");
    }
}

#[test]
fn client_unblock_waits_for_no_node_that_hangs_where_another_has_told_the_client() {
    let nodes = Nodes::start(3, false);
    let proxy = Setup::before(1).cluster(&nodes.ports(), "request_timeout_ms = 15000\n").top("workers = 1").start();
    let [mut wire, mut other] = [proxy.wire(), proxy.wire()];
    // The node that will hang is the first that is asked.
    (0..3).for_each(|node| assert_eq!(wire.ask(&format!("SET {} v", nodes.key_of(node, "k"))), "+OK\r\n"));
    let unblock = format!("CLIENT UNBLOCK {}", client_id(&mut wire));
    assert_eq!(other.ask(&unblock), ":0\r\n");
    wire.send_line("WAIT 1 0");
    eventually("it waits at each node", || (0..3).all(|node| blocked(&nodes, node) == 1));
    nodes.servers[0].pause();
    let begun = Instant::now();
    assert_eq!(other.ask(&unblock), ":1\r\n");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    nodes.servers[0].resume();
}

#[test]
fn who_waits_when_the_proxy_drains_is_answered_as_if_its_time_were_over() {
    let nodes = Nodes::start(2, false);
    let proxy = Setup::before(2).cluster(&nodes.ports(), "").pipeline("drain_timeout_ms = 60000").start();
    let lists = [nodes.key_of(1, "l"), nodes.key_of(0, "l")];
    let [first, second] = lists.map(|list| format!("BLPOP {list} 0"));
    let [mut wire, mut leaving] = [proxy.wire(), proxy.wire()];
    wire.send(&requests(&[&first, "PING", &second, "ECHO end"]));
    leaving.send(&requests(&[&first, "QUIT"]));
    eventually("both are blocked", || blocked(&nodes, 1) == 2);
    proxy.terminate();
    assert_eq!(text(&wire.until_closed()), "*-1\r\n+PONG\r\n*-1\r\n$3\r\nend\r\n");
    assert_eq!(text(&leaving.until_closed()), "*-1\r\n+OK\r\n");
}

#[test]
fn one_that_says_that_it_will_leave_gets_what_need_not_be_waited_for_and_no_more() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    for number in 0..50 {
        let list = nodes.key_of(number % 2, "l");
        let job = format!("job-{number}");
        assert_eq!(nodes.servers[number % 2].ask(&format!("RPUSH {list} {job}")), ":1\r\n");
        let mut wire = proxy.wire();
        wire.send_line(&format!("BLPOP {list} 5"));
        wire.finish_sending();
        let popped = format!("*2\r\n${}\r\n{list}\r\n${}\r\n{job}\r\n", list.len(), job.len());
        assert_eq!(text(&wire.until_closed()), popped);
    }
    for node in 0..2 {
        let list = nodes.key_of(node, "l");
        let mut wire = proxy.wire();
        wire.send(&requests(&[&format!("BLPOP {list} 0"), "PING"]));
        wire.finish_sending();
        assert_eq!(text(&wire.until_closed()), "");
        eventually("nobody waits", || blocked(&nodes, node) == 0);
        assert_eq!(nodes.servers[node].ask(&format!("RPUSH {list} job")), ":1\r\n");
        assert_eq!(nodes.servers[node].ask(&format!("DEL {list}")), ":1\r\n");
    }
}

#[test]
fn the_time_of_what_blocks_goes_on_when_its_slot_moves() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let mut wire = proxy.wire();
    let list = nodes.key_of(0, "l");
    let begun = Instant::now();
    wire.send_line(&format!("BLPOP {list} 6"));
    eventually("it is blocked", || blocked(&nodes, 0) == 1);
    std::thread::sleep(Duration::from_secs(4));
    nodes.move_slot(key_slot(list.as_bytes()), 0, 1);
    eventually("it is blocked elsewhere", || blocked(&nodes, 1) == 1);
    assert_eq!(text(&wire.reply()), "*-1\r\n");
    let took = begun.elapsed();
    assert!((Duration::from_millis(5900)..Duration::from_secs(8)).contains(&took), "{took:?}");
}
