//! A bad network, and a server in a bad state, between the proxy and its answers.

use std::time::{Duration, Instant};

use crate::harness::wire::{requests, words};
use crate::harness::{Chaos, Proxy, RedisServer, Setup, Way, Wire, eventually, text};

const QUICK: &str = "request_timeout_ms = 500\nqueue_timeout_ms = 3000\nconnect_timeout_ms = 500\nstall_timeout_ms = 30000";
const PAIR: &str = "[[group]]\nname = \"pair\"\nkeys = [\"pair:*\"]\n[breaker]\nenabled = false\n";
const SLACK: Duration = Duration::from_millis(4000);

struct Bench {
    redis: RedisServer,
    chaos: Chaos,
    proxy: Proxy,
}

/// One worker, so that one connection carries all clients.
fn bench(upstream: &str) -> Bench {
    let redis = RedisServer::start(&[]);
    let chaos = Chaos::before(redis.port());
    let proxy = Setup::new(&redis).through(chaos.port()).top("workers = 1").upstream(upstream).rules(PAIR).start();
    Bench { redis, chaos, proxy }
}

fn tagged(wire: &mut Wire, count: usize) {
    let tags: Vec<String> = (0..count).map(|i| format!("tag-{i:03}")).collect();
    let lines: Vec<String> = tags.iter().map(|tag| format!("ECHO {tag}")).collect();
    let replies = wire.pipeline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    for (tag, reply) in tags.iter().zip(replies) {
        assert_eq!(reply, format!("$7\r\n{tag}\r\n"));
    }
}

fn in_sync(proxy: &Proxy) {
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn delayed_and_trickling_replies_are_everybodys_own() {
    let Bench { redis: _redis, chaos, proxy } = bench("request_timeout_ms = 10000");
    let mut wires: Vec<Wire> = (0..4).map(|_| proxy.wire()).collect();
    for way in [Way::Delay(Duration::from_millis(30)), Way::Trickle, Way::Pass] {
        for wire in &mut wires {
            assert_eq!(wire.ask("PING"), "+PONG\r\n");
        }
        chaos.up(way);
        chaos.down(way);
        wires.iter_mut().for_each(|wire| tagged(wire, 20));
    }
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 0.0);
    in_sync(&proxy);
}

#[test]
fn a_black_hole_costs_each_request_its_deadline_and_no_later_one_its_reply() {
    let Bench { redis: _redis, chaos, proxy } = bench(QUICK);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    for held in [Chaos::up as fn(&Chaos, Way), Chaos::down] {
        held(&chaos, Way::Hold);
        let start = Instant::now();
        wire.send(&requests(&["ECHO late-a", "SET pair:a 1", "SET pair:b 1", "ECHO late-b"]));
        for reply in wire.replies(4) {
            assert!(text(&reply).starts_with("-TIMEOUT respguard: outcome of "), "{}", text(&reply));
        }
        assert!(start.elapsed() < Duration::from_millis(500) + SLACK, "{:?}", start.elapsed());
        held(&chaos, Way::Pass);
        tagged(&mut wire, 20);
    }
    assert_eq!(proxy.metric("respguard_upstream_reconnects_total", &[]), 0.0, "the connection was kept");
    in_sync(&proxy);
}

#[test]
fn an_idle_connection_that_has_died_in_silence_is_found_and_replaced() {
    let Bench { redis: _redis, chaos, proxy } = bench(&format!("{QUICK}\nheartbeat_ms = 200\nheartbeat_timeout_ms = 300"));
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    chaos.up(Way::Hold);
    chaos.down(Way::Hold);
    let start = Instant::now();
    eventually("it is replaced", || proxy.metric("respguard_upstream_reconnects_total", &[]) >= 1.0);
    assert!(start.elapsed() < Duration::from_millis(500) + SLACK, "{:?}", start.elapsed());
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
}

#[test]
fn a_reset_leaves_what_was_sent_unknown_and_the_client_where_it_is() {
    let Bench { redis, chaos, proxy } = bench(QUICK);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    chaos.down(Way::Reset(0));
    for reply in wire.pipeline(&["INCR n", "INCR n"]) {
        assert_eq!(
            reply,
            "-TIMEOUT respguard: outcome of INCR unknown: the connection to the server was lost before the reply\r\n"
        );
    }
    assert_eq!(wire.ask("INCR n"), ":3\r\n", "nothing was sent again");
    assert_eq!(redis.ask("GET n"), "$1\r\n3\r\n");
    assert_eq!(proxy.metric("respguard_upstream_reconnects_total", &[]), 1.0);
    in_sync(&proxy);
}

#[test]
fn what_comes_while_there_is_no_connection_waits_for_one() {
    let Bench { redis: _redis, chaos, proxy } = bench(QUICK);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    chaos.refuse(true);
    chaos.reset();
    eventually("it is lost", || proxy.metric("respguard_upstream_reconnects_total", &[]) >= 1.0);
    wire.send(&requests(&["INCR n", "INCR n", "SET pair:a 1", "SET pair:b 1"]));
    assert!(wire.is_silent_for(Duration::from_millis(200)));
    chaos.refuse(false);
    let replies: Vec<_> = wire.replies(4).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies, [":1\r\n", ":2\r\n", "+OK\r\n", "+OK\r\n"]);
}

#[test]
fn a_reply_cut_in_the_middle_ends_its_client_alone_once_a_part_was_passed_on() {
    let Bench { redis, chaos, proxy } = bench(QUICK);
    let mut direct = redis.wire();
    direct.send(&words(&[b"SET", b"big", &vec![b'v'; 1 << 20]]));
    assert_eq!(direct.reply(), b"+OK\r\n");
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    chaos.down(Way::Close(10));
    assert_eq!(wire.ask("GET big").len(), (1 << 20) + 12, "no byte of it was passed on: it is read again");
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    chaos.down(Way::Close(500_000));
    // The first has had a large reply: its next ones come over a connection of its own.
    other.send_line("GET big");
    let came = other.until_closed();
    assert!(came.starts_with(b"$1048576\r\nvvv") && came.len() <= 500_000, "{}", came.len());
    tagged(&mut wire, 5);
    in_sync(&proxy);
}

#[test]
fn a_group_whose_answer_is_cut_off_is_unknown_on_every_member() {
    let group = ["SET pair:a 1", "INCR pair:n", "SET pair:b 1"];
    // +OK for MULTI, +QUEUED for each member; then come *3, and the members' replies. Each time it is another proxy: what has
    // been lost with a connection goes over one of its own for a while.
    for bytes in [0, 5, 5 + 27, 5 + 27 + 4, 5 + 27 + 4 + 5, 5 + 27 + 4 + 5 + 4] {
        let Bench { redis, chaos, proxy } = bench(QUICK);
        let mut wire = proxy.wire();
        eventually("it is connected", || wire.ask("SET here 1") == "+OK\r\n");
        chaos.down(Way::Reset(bytes));
        for reply in wire.pipeline(&group) {
            let expected =
                "-TIMEOUT respguard: outcome of group pair unknown: the connection to the server was lost before the reply\r\n";
            assert_eq!(reply, expected, "cut behind {bytes} bytes");
        }
        assert_eq!(redis.ask("GET pair:n"), "$1\r\n1\r\n", "it was applied, once");
        assert_eq!(proxy.groups("pair", "unknown"), 1.0);
        assert_eq!(proxy.violated("unknown_outcome", "pair"), 1.0);
        assert_eq!(wire.pipeline(&group)[1], ":2\r\n");
    }
}

#[test]
fn what_lies_on_a_connection_that_was_replaced_never_comes_behind_what_its_client_sends_next() {
    let upstream = "request_timeout_ms = 200\nqueue_timeout_ms = 5000\nconnect_timeout_ms = 500\nstall_timeout_ms = 400";
    for next in ["SET n 100", "BLPOP nothing 0.01", "MULTI"] {
        let Bench { redis, chaos, proxy } = bench(upstream);
        let mut wire = proxy.wire();
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
        chaos.up(Way::Hold);
        assert!(wire.ask("SET n late").starts_with("-TIMEOUT "));
        eventually("the connection is replaced", || proxy.metric("respguard_upstream_reconnects_total", &[]) >= 1.0);
        wire.send_line(next);
        wire.reply();
        assert_eq!(wire.ask("SET n 100").trim_start_matches("+QUEUED"), if next == "MULTI" { "\r\n" } else { "+OK\r\n" });
        if next == "MULTI" {
            assert_eq!(wire.ask("EXEC"), "*1\r\n+OK\r\n");
        }
        chaos.up(Way::Pass);
        // What is on its way arrives behind a question on another connection, if it ever does.
        eventually("the server has closed the old connection", || redis.info("clients", "connected_clients") <= 4);
        assert_eq!(redis.ask("GET n"), "$3\r\n100\r\n", "{next}");
    }
}

#[test]
fn a_lease_that_stalls_in_a_transaction_is_ended_too() {
    let upstream = "request_timeout_ms = 200\nqueue_timeout_ms = 5000\nconnect_timeout_ms = 500\nstall_timeout_ms = 400";
    let Bench { redis, chaos, proxy } = bench(upstream);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["WATCH k", "GET k"]), ["+OK\r\n", "$-1\r\n"]);
    assert_eq!(wire.ask("MULTI"), "+OK\r\n");
    assert_eq!(wire.ask("SET n late"), "+QUEUED\r\n");
    chaos.up(Way::Hold);
    assert!(wire.ask("EXEC").starts_with("-TIMEOUT "));
    // The shared connection is held as well: it is replaced when its next request has stalled.
    eventually("the shared connection works again", || wire.ask("SET n 100") == "+OK\r\n");
    chaos.up(Way::Pass);
    eventually("the server has closed the old ones", || redis.info("clients", "connected_clients") <= 4);
    assert_eq!(redis.ask("GET n"), "$3\r\n100\r\n");
}

#[test]
fn errors_about_memory_and_replicas_pass_as_they_are_and_close_nothing() {
    let (redis, proxy) = Proxy::with_redis("");
    let (mut wire, mut direct) = (proxy.wire(), redis.wire());
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    assert_eq!(direct.ask("CONFIG SET maxmemory 1"), "+OK\r\n");
    for _ in 0..10 {
        assert_eq!(wire.ask("SET k w"), "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    }
    assert_eq!(wire.ask("GET k"), "$1\r\nv\r\n");
    assert_eq!(direct.ask("CONFIG SET maxmemory 0"), "+OK\r\n");
    assert_eq!(direct.ask("REPLICAOF 127.0.0.1 1"), "+OK\r\n");
    for _ in 0..10 {
        assert_eq!(wire.ask("SET k w"), "-READONLY You can't write against a read only replica.\r\n");
    }
    assert_eq!(wire.ask("GET k"), "$1\r\nv\r\n");
    assert_eq!(proxy.metric("respguard_breaker_transitions_total", &[]), 0.0);
    assert_eq!(direct.ask("CONFIG SET replica-serve-stale-data no"), "+OK\r\n");
    for _ in 0..4 {
        assert!(wire.ask("GET k").starts_with("-MASTERDOWN "));
    }
    eventually("nobody is served, so the breaker opens", || wire.ask("GET k").contains("the breaker is open"));
    assert_eq!(direct.ask("REPLICAOF NO ONE"), "+OK\r\n");
    eventually("it closes", || wire.ask("GET k") == "$1\r\nv\r\n");
}

#[test]
fn a_server_that_loads_is_not_ready_and_is_used_as_soon_as_it_has_loaded() {
    let redis = RedisServer::start(&["--loading-process-events-interval-bytes 1024"]);
    let upstream = "request_timeout_ms = 3000\nqueue_timeout_ms = 500\nconnect_timeout_ms = 1000";
    let proxy = Setup::new(&redis).top("workers = 1").upstream(upstream).start();
    let (mut wire, mut direct, mut asking) = (proxy.wire(), redis.wire(), redis.wire());
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    assert_eq!(direct.ask("DEBUG POPULATE 2000 key 50"), "+OK\r\n");
    assert_eq!(direct.ask("CONFIG SET key-load-delay 1500"), "+OK\r\n");
    direct.send_line("DEBUG RELOAD");
    eventually("it loads", || asking.ask("PING").starts_with("-LOADING "));
    eventually("the proxy knows", || wire.ask("GET key:1").contains("the breaker is open"));
    assert!(wire.ask("GET key:1").starts_with("-ERR respguard: "));
    assert_eq!(proxy.get("/readyz").0, 503);
    assert_eq!(direct.reply(), b"+OK\r\n");
    eventually("it serves", || wire.ask("GET key:1").starts_with("$50\r\n"));
    eventually("it is ready", || proxy.get("/readyz").0 == 200);
}

#[test]
fn a_connection_to_a_server_that_loads_carries_nothing() {
    let redis = RedisServer::start(&["--loading-process-events-interval-bytes 1024"]);
    let chaos = Chaos::before(redis.port());
    let upstream = "request_timeout_ms = 3000\nqueue_timeout_ms = 20000\nconnect_timeout_ms = 1000";
    let proxy = Setup::new(&redis).through(chaos.port()).top("workers = 1").upstream(upstream).start();
    let (mut wire, mut direct, mut asking) = (proxy.wire(), redis.wire(), redis.wire());
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    assert_eq!(direct.ask("DEBUG POPULATE 1000 key 50"), "+OK\r\n");
    assert_eq!(direct.ask("CONFIG SET key-load-delay 1500"), "+OK\r\n");
    direct.send_line("DEBUG RELOAD");
    eventually("it loads", || asking.ask("PING").starts_with("-LOADING "));
    chaos.reset();
    let reply = wire.ask("GET key:1");
    assert!(reply.starts_with("$50\r\n") || reply.starts_with("-TIMEOUT "), "it waits instead of failing: {reply}");
    assert_eq!(direct.reply(), b"+OK\r\n");
}
