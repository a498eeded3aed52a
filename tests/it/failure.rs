//! When something is lost, every request is answered, in order, with what is known.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::proxy::command;
use crate::harness::redis::free_port;
use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, request, text};

/// Short times, so that tests are too.
const QUICK: &str = "request_timeout_ms = 400\nqueue_timeout_ms = 400\nconnect_timeout_ms = 300\nstall_timeout_ms = 30000";
const SLACK: Duration = Duration::from_millis(4000);

fn answers_again(proxy: &Proxy, wire: &mut Wire) {
    // A worker whose connection is not back yet fails its requests, and too many of them open the breaker again.
    eventually("every connection is back", || proxy.metric("respguard_upstream_connections", &[("state", "connecting")]) == 0.0);
    eventually("the breaker is closed", || proxy.metric("respguard_breaker_state", &[("state", "closed")]) == 1.0);
    // Each worker looks at it every few milliseconds. A PING may go past it, over the spare connection.
    eventually("requests are answered again", || wire.ask("EXISTS nothing") == ":0\r\n");
}

#[test]
fn requests_in_flight_when_the_server_dies_have_an_unknown_outcome_and_later_ones_work() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 10000\nqueue_timeout_ms = 500").start();
    let (mut wire, mut blocked) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    blocked.send_line("BLPOP q 0");
    eventually("it is blocked", || redis.info("clients", "blocked_clients") == 1);
    redis.pause();
    wire.send(&requests(&["INCR n", "GET k", "INCR n"]));
    eventually("all was sent on", || proxy.metric("respguard_commands_total", &[("command", "incr")]) == 2.0);
    redis.kill();
    for reply in wire.replies(3) {
        assert!(text(&reply).starts_with("-TIMEOUT "), "{}", text(&reply));
    }
    assert!(text(&blocked.reply()).starts_with("-TIMEOUT "), "a blocked client learns of it");
    let start = Instant::now();
    let down = wire.ask("GET k");
    assert!(down.starts_with("-ERR ") || down.starts_with("-TIMEOUT "), "{down}");
    assert!(start.elapsed() < Duration::from_millis(500) + SLACK, "{:?}", start.elapsed());
    let start = Instant::now();
    let down = blocked.ask("BLPOP q 0");
    assert!(down.starts_with("-ERR ") || down.starts_with("-TIMEOUT "), "{down}");
    assert!(start.elapsed() < Duration::from_millis(500) + SLACK, "{:?}", start.elapsed());
    redis.restart();
    answers_again(&proxy, &mut wire);
    answers_again(&proxy, &mut blocked);
    assert_eq!(wire.pipeline(&["INCR n", "GET k"]), [":1\r\n", "$-1\r\n"], "nothing was sent twice");
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

/// Pauses between attempts have grown to one or two seconds when the server comes back, and each worker has its own.
#[test]
fn once_one_connection_is_back_the_others_wait_no_longer() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 8").rules("[breaker]\nenabled = false\n").start();
    let connections = |state: &str| proxy.metric("respguard_upstream_connections", &[("state", state)]);
    let _wires: Vec<Wire> = (0..64).map(|_| proxy.wire()).collect();
    eventually("every worker has a connection", || connections("shared") == 8.0);
    redis.kill();
    std::thread::sleep(Duration::from_secs(4));
    redis.restart();
    eventually("one is back", || connections("shared") > 0.0);
    let first = Instant::now();
    eventually("all are back", || connections("shared") == 8.0);
    assert!(first.elapsed() < Duration::from_millis(500), "{:?}", first.elapsed());
}

#[test]
fn a_group_in_flight_when_the_server_dies_has_an_unknown_outcome() {
    let mut redis = RedisServer::start(&[]);
    let rules = "[[group]]\nname = \"pair\"\nkeys = [\"pair:*\"]\n";
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 10000\nqueue_timeout_ms = 500").rules(rules).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    redis.pause();
    wire.send(&requests(&["SET pair:a 1", "SET pair:b 1"]));
    eventually("it was sent on", || proxy.metric("respguard_commands_total", &[("command", "set")]) == 3.0);
    redis.kill();
    for reply in wire.replies(2) {
        assert!(text(&reply).starts_with("-TIMEOUT "), "{}", text(&reply));
    }
    assert_eq!(proxy.groups("pair", "unknown"), 1.0);
    assert_eq!(proxy.violated("unknown_outcome", "pair"), 1.0);
    let replies = wire.pipeline(&["SET pair:a 1", "SET pair:b 1"]);
    for reply in &replies {
        assert!(reply.starts_with("-EXECABORT ") || reply.starts_with("-TIMEOUT "), "{replies:?}");
    }
    redis.restart();
    answers_again(&proxy, &mut wire);
    assert_eq!(wire.pipeline(&["SET pair:a 1", "SET pair:b 1"]), ["+OK\r\n", "+OK\r\n"]);
}

#[test]
fn a_server_that_stands_still_costs_a_timeout_and_never_the_order() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).rules("[breaker]\nenabled = false\n").start();
    let mut wires: Vec<Wire> = (0..4).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
    }
    for round in 0..3 {
        redis.pause();
        let start = Instant::now();
        for (place, wire) in wires.iter_mut().enumerate() {
            wire.send(&requests(&[&format!("ECHO late-{round}-{place}-a"), &format!("ECHO late-{round}-{place}-b")]));
        }
        for wire in &mut wires {
            for reply in wire.replies(2) {
                assert!(text(&reply).starts_with("-TIMEOUT "), "{}", text(&reply));
            }
        }
        assert!(start.elapsed() < Duration::from_millis(400) + SLACK, "{:?}", start.elapsed());
        assert!(start.elapsed() >= Duration::from_millis(390), "{:?}", start.elapsed());
        redis.resume();
        for (place, wire) in wires.iter_mut().enumerate() {
            let tags: Vec<String> = (0..20).map(|i| format!("tag-{round}-{place}-{i:02}")).collect();
            let lines: Vec<String> = tags.iter().map(|tag| format!("ECHO {tag}")).collect();
            let replies = wire.pipeline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            for (tag, reply) in tags.iter().zip(replies) {
                assert_eq!(reply, format!("${}\r\n{tag}\r\n", tag.len()), "the late replies are nobody's");
            }
        }
    }
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 24.0);
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn a_write_that_timed_out_is_not_overtaken_by_what_its_client_does_next() {
    let redis = RedisServer::start(&[]);
    // What stands behind the write has as long until the server, which goes on, has answered it.
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 2000\nstall_timeout_ms = 30000").start();
    let mut wire = proxy.wire();
    eventually("it is connected", || wire.ask("PING") == "+PONG\r\n");
    redis.pause();
    assert!(wire.ask("LPUSH q job").starts_with("-TIMEOUT "));
    wire.send(&requests(&["BLPOP q 5", "LLEN q"]));
    redis.resume();
    assert_eq!(wire.reply(), b"*2\r\n$1\r\nq\r\n$3\r\njob\r\n");
    assert_eq!(wire.reply(), b":0\r\n");
}

#[test]
fn a_slow_command_times_out_for_its_client_and_the_next_one_gets_its_own_reply() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(&format!("{QUICK}\nslow_timeout_ms = 400")).start();
    let mut wire = proxy.wire();
    assert!(wire.ask("DEBUG SLEEP 0.8").starts_with("-TIMEOUT "));
    let mut next = wire.ask("ECHO mine");
    while next.starts_with("-TIMEOUT ") {
        next = wire.ask("ECHO mine");
    }
    assert_eq!(next, "$4\r\nmine\r\n");
}

#[test]
fn a_server_absent_at_the_start_is_used_as_soon_as_it_appears() {
    let mut redis = RedisServer::absent(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).start();
    let (status, body) = proxy.get("/readyz");
    assert_eq!(status, 503, "{body}");
    assert_eq!(proxy.get("/healthz").0, 200);
    let mut wire = proxy.wire();
    let start = Instant::now();
    assert!(wire.ask("GET k").starts_with("-ERR "), "nothing was sent: no unknown outcome");
    assert!(start.elapsed() < Duration::from_millis(400) + SLACK, "{:?}", start.elapsed());
    for line in ["SELECT 1", "BLPOP q 1", "WATCH k", "SUBSCRIBE a"] {
        let mut wire = proxy.wire();
        let start = Instant::now();
        wire.send_line(line);
        let reply = wire.try_reply().map(|reply| text(&reply)).unwrap_or_default();
        assert!(reply.starts_with("-ERR ") || reply.is_empty(), "{line}: {reply}");
        assert!(start.elapsed() < Duration::from_millis(400) + SLACK, "{line} {:?}", start.elapsed());
    }
    redis.restart();
    answers_again(&proxy, &mut wire);
    assert_eq!(wire.pipeline(&["SET k v", "BLPOP q 0.01", "GET k"])[2], "$1\r\nv\r\n");
    eventually("it is ready", || proxy.get("/readyz").0 == 200);
    let status = command().args(["healthcheck", "--config"]).arg(proxy.config()).status().expect("it runs");
    assert!(status.success());
    redis.kill();
    eventually("it is not ready", || proxy.get("/readyz").0 == 503);
    assert_eq!(proxy.metric("respguard_upstream_up", &[]), 0.0);
    let status = command().args(["healthcheck", "--config"]).arg(proxy.config()).stderr(Stdio::null()).status().expect("it runs");
    assert!(!status.success());
}

#[test]
fn sigterm_answers_what_is_owed_and_ends_with_0() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 10000").start();
    let (mut busy, mut idle) = (proxy.wire(), proxy.wire());
    assert_eq!(idle.ask("PING"), "+PONG\r\n");
    busy.send(&requests(&["SET k v", "DEBUG SLEEP 0.7", "INCR n", "GET k"]));
    eventually("all was sent on", || proxy.metric("respguard_commands_total", &[("command", "get")]) == 1.0);
    let port = proxy.port();
    proxy.terminate();
    eventually("it listens no more", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(text(&busy.until_closed()), "+OK\r\n+OK\r\n:1\r\n$1\r\nv\r\n");
    assert_eq!(idle.until_closed(), b"");
    let ended = proxy.ended();
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took < Duration::from_secs(3), "{:?}", ended.took);
}

#[test]
fn sigterm_does_not_wait_for_the_blocked_and_the_subscribed() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).pipeline("drain_timeout_ms = 5000").start();
    let mut wires: Vec<Wire> = (0..4).map(|_| proxy.wire()).collect();
    wires[0].send_line("BLPOP q 0");
    wires[1].ask("SUBSCRIBE a");
    wires[2].ask("MONITOR");
    wires[3].pipeline(&["MULTI", "SET k never"]);
    eventually("it is blocked", || redis.info("clients", "blocked_clients") == 1);
    let ended = proxy.stop();
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);
    for wire in &mut wires {
        wire.until_closed();
    }
    assert_eq!(redis.ask("RPUSH q job"), ":1\r\n", "nobody is left to take it");
    assert_eq!(redis.ask("GET k"), "$-1\r\n");
}

#[test]
fn sigterm_ends_within_the_drain_timeout_even_when_the_server_does_not_answer() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis)
        .upstream("request_timeout_ms = 60000\nstall_timeout_ms = 60000")
        .pipeline("drain_timeout_ms = 700")
        .start();
    let mut wire = proxy.wire();
    eventually("it is connected", || wire.ask("PING") == "+PONG\r\n");
    redis.pause();
    wire.send(&request("GET k"));
    eventually("it was sent on", || proxy.metric("respguard_commands_total", &[("command", "get")]) == 1.0);
    let ended = proxy.stop();
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took >= Duration::from_millis(600) && ended.took < Duration::from_millis(700) + SLACK, "{:?}", ended.took);
    redis.resume();
}

#[test]
fn sigint_is_as_good_as_sigterm() {
    let (_redis, proxy) = Proxy::with_redis("");
    assert_eq!(proxy.wire().ask("PING"), "+PONG\r\n");
    crate::harness::signal(proxy.pid(), "INT");
    assert_eq!(proxy.ended().status.code(), Some(0));
}

fn run(toml: &str, verb: &str) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("respguard.toml");
    std::fs::write(&file, toml).expect("a temporary file");
    let output = command().args([verb, "--config"]).arg(&file).stdin(Stdio::null()).output().expect("it runs");
    (output.status.code(), text(&output.stderr), file.display().to_string())
}

#[test]
fn a_taken_port_ends_with_3_and_names_the_address() {
    let redis = RedisServer::start(&[]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let (code, said, _) = run(&Setup::new(&redis).toml(&address, free_port()), "run");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&address), "{said}");
    let port = taken.local_addr().expect("its address").port();
    let (code, said, _) = run(&Setup::new(&redis).toml("127.0.0.1:0", port), "run");
    assert_eq!(code, Some(3), "the admin endpoint's too: {said}");
}

#[test]
fn a_configuration_that_cannot_be_is_refused_with_1_and_the_place() {
    let cases = [
        ("workers = 2\nwrokers = 3\n", "2", "wrokers"),
        ("[listen]\nadress = \"127.0.0.1:1\"\n", "2", "adress"),
        ("workers = \"many\"\n", "1", "workers"),
        ("[listen]\naddress = \"nowhere\"\n", "2", "listen.address"),
        ("\n\n[upstream\n", "3", ""),
        ("[[group]]\nname = \"g\"\ncommands = [\n  \"SET a:{x} *\",\n  \"SETXE b:{x} *\",\n]\n", "5", "commands[1]"),
        ("[[group]]\nname = \"g\"\ncommands = [\n  \"SET a:{x} *\",\n  \"BLPOP b:{x} *\",\n]\n", "5", "commands[1]"),
        ("[[group]]\nname = \"g\"\natomic = \"rolback\"\nkeys = [\"a:*\"]\n", "3", "rollback"),
        (
            "[[group]]\nname = \"g\"\natomic = \"rollback\"\ncommands = [\n  \"SET a:{x} *\",\n  \"PUBLISH b:{x} *\",\n]\n",
            "6",
            "commands[1]",
        ),
        ("[[group]]\nname = \"g\"\nkeys = [\"a:*\"]\non_partial = \"ignore\"\n", "4", "on_partial"),
        ("[[group]]\nname = \"g\"\ncommands = [\"GET a:{\", \"GET b\"]\n", "3", "commands[0]"),
        ("[[ttl]]\nname = \"t\"\nkeys = [\"a:*\"]\naction = \"fix\"\n", "4", "action"),
        ("[[ttl]]\nname = \"t\"\nkeys = [\"a:*\"]\naction = \"flag\"\nmax = \"soon\"\n", "5", "max"),
        ("[[group]]\nname = \"g\"\nkeys = [\"a:*\"]\n[[group]]\nname = \"g\"\nkeys = [\"b:*\"]\n", "5", "g"),
    ];
    for (toml, line, part) in cases {
        for verb in ["check", "run"] {
            let (code, said, file) = run(toml, verb);
            assert_eq!(code, Some(1), "{toml}: {said}");
            assert!(said.contains(&format!("{file}:{line}:")) && said.contains(part), "{toml} at {line}: {said}");
        }
    }
    let (code, said, _) = run("workers = 2\n", "check");
    assert_eq!(code, Some(0), "{said}");
    let status = command().args(["check", "--config", "/nowhere/at/all.toml"]).stderr(Stdio::null()).status().expect("it runs");
    assert_eq!(status.code(), Some(1));
    let status = command().args(["frobnicate"]).stderr(Stdio::null()).status().expect("it runs");
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_client_too_many_is_told_so_and_a_place_that_becomes_free_is_given_again() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).listen("clients_max = 3").start();
    let mut wires: Vec<Wire> = (0..3).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
    }
    assert_eq!(text(&proxy.wire().until_closed()), "-ERR max number of clients reached\r\n");
    assert_eq!(wires[0].ask("PING"), "+PONG\r\n");
    wires.pop();
    eventually("a place is free", || {
        let mut wire = proxy.wire();
        wire.send(b"*1\r\n$4\r\nPING\r\n");
        wire.try_reply().is_some_and(|reply| reply == b"+PONG\r\n")
    });
}

#[test]
fn the_admin_endpoint_tells_what_it_has() {
    let (_redis, proxy) = Proxy::with_redis("[[group]]\nname = \"pair\"\nkeys = [\"pair:*\"]\n");
    let mut wires: Vec<Wire> = (0..3).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        wire.pipeline(&["SET k v", "GET k", "NOSUCH", "client id"]);
    }
    eventually("it is ready", || proxy.get("/readyz").0 == 200);
    assert_eq!(proxy.get("/nowhere").0, 404);
    assert_eq!(proxy.metric("respguard_clients", &[]), 3.0);
    assert_eq!(proxy.metric("respguard_commands_total", &[("command", "get")]), 3.0);
    assert_eq!(proxy.metric("respguard_commands_total", &[("command", "other")]), 3.0);
    assert_eq!(proxy.metric("respguard_upstream_up", &[]), 1.0);
    assert!(proxy.metric("respguard_upstream_connections", &[("state", "shared")]) >= 1.0);
    assert!(proxy.metric("respguard_request_seconds_count", &[]) >= 9.0);
    assert!(proxy.metric("respguard_bytes_total", &[("side", "client"), ("direction", "in")]) > 0.0);
    assert_eq!(proxy.metric("respguard_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(proxy.metric("respguard_config_rules", &[("kind", "group")]), 1.0);
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    assert!(!proxy.get("/metrics").1.contains("NOSUCH"), "no label comes from a client");
}
