//! How long is waited for the server: for most commands, for what is long by nature, and for a connection that is silent.

use std::time::{Duration, Instant};

use crate::harness::wire::{request, words};
use crate::harness::{Proxy, RedisServer, Setup, eventually};

/// Ordinary commands have half a second, what is long by nature has long; a connection may be silent for less than that.
const TIMES: &str = "request_timeout_ms = 500\nslow_timeout_ms = 30000\nstall_timeout_ms = 600";
/// What a script that keeps the server busy takes.
const BUSY: Duration = Duration::from_millis(2500);

/// Keeps the server busy, and nothing else runs meanwhile.
fn script() -> String {
    format!(
        "local function ms() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
         local begin = ms() while ms() - begin < {} do end return 1",
        BUSY.as_millis()
    )
}

fn eval() -> Vec<u8> {
    words(&[b"EVAL", script().as_bytes(), b"0"])
}

fn one_worker(redis: &RedisServer) -> Proxy {
    Setup::new(redis).top("workers = 1").upstream(TIMES).start()
}

#[test]
fn what_is_long_by_nature_is_waited_for_and_others_keep_their_own_deadline() {
    let redis = RedisServer::start(&[]);
    let proxy = one_worker(&redis);
    let (mut long, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(other.ask("SET n 1"), "+OK\r\n");
    let start = Instant::now();
    long.send(&eval());
    long.send_line("GET n");
    eventually("it is on its way", || proxy.metric("respguard_commands_total", &[("command", "eval")]) == 1.0);
    let reply = other.ask("INCR n");
    assert!(reply.starts_with("-TIMEOUT respguard: outcome of INCR unknown"), "{reply}");
    assert!(start.elapsed() < BUSY, "its own deadline, not that of the script");
    assert_eq!(long.reply(), b":1\r\n");
    assert!(long.reply().starts_with(b"$1\r\n"), "what stands behind it has waited for it");
    assert_eq!(other.ask("GET n"), "$1\r\n2\r\n", "it has run once");
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 1.0);
}

#[test]
fn a_server_that_is_busy_with_one_command_is_no_stalled_connection() {
    let redis = RedisServer::start(&[]);
    let proxy = one_worker(&redis);
    let (mut long, mut watching, mut other) = (proxy.wire(), proxy.wire(), proxy.wire());
    assert_eq!(watching.ask("WATCH k"), "+OK\r\n");
    for wire in [&mut long, &mut watching] {
        wire.send(&eval());
        eventually("the server is busy", || {
            let mut direct = redis.wire();
            direct.send_line("PING");
            direct.is_silent_for(Duration::from_millis(200))
        });
        assert!(other.ask("GET k").starts_with("-TIMEOUT "), "on the shared connection and elsewhere");
        assert_eq!(wire.reply(), b":1\r\n");
    }
    assert_eq!(watching.pipeline(&["MULTI", "SET k v", "EXEC"])[2], "*1\r\n+OK\r\n", "it has still been watching");
    assert_eq!(proxy.metric("respguard_upstream_reconnects_total", &[]), 0.0);
}

#[test]
fn a_heartbeat_that_waits_behind_a_long_command_costs_nobody_an_outcome() {
    let redis = RedisServer::start(&[]);
    let beats = "heartbeat_ms = 200\nheartbeat_timeout_ms = 300\nslow_timeout_ms = 30000\nstall_timeout_ms = 300";
    let proxy = Setup::new(&redis).top("workers = 1").upstream(beats).start();
    let (mut long, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(long.ask("WATCH k"), "+OK\r\n");
    assert_eq!(other.ask("SET n 1"), "+OK\r\n");
    long.send(&eval());
    // The shared connection falls silent, and its PING waits for the script.
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(other.ask("INCR n"), ":2\r\n");
    assert_eq!(long.reply(), b":1\r\n");
    assert_eq!(proxy.metric("respguard_upstream_reconnects_total", &[]), 0.0);
}

#[test]
fn transactions_groups_and_large_requests_are_long_by_what_is_in_them() {
    let rule = "[[group]]\nname = \"pair\"\ncommands = [\"EVAL * *\", \"SET pair:* *\"]\n";
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream(TIMES).rules(rule).start();
    let mut wire = proxy.wire();
    for at_once in [true, false] {
        let parts = [request("MULTI"), eval(), request("EXEC")];
        if at_once {
            wire.send(&parts.concat());
            assert_eq!(wire.replies(2), [&b"+OK\r\n"[..], b"+QUEUED\r\n"]);
        } else {
            for (part, reply) in parts.iter().zip([&b"+OK\r\n"[..], b"+QUEUED\r\n"]) {
                wire.send(part);
                assert_eq!(wire.reply(), reply);
            }
            wire.send(&parts[2]);
        }
        assert_eq!(wire.reply(), b"*1\r\n:1\r\n");
    }
    wire.send(&[eval(), request("SET pair:1 x")].concat());
    assert_eq!(wire.replies(2), [&b":1\r\n"[..], b"+OK\r\n"]);
    let large = format!("{} -- {}", script(), "x".repeat(100_000));
    wire.send(&words(&[b"EVAL", large.as_bytes(), b"0"]));
    assert_eq!(wire.reply(), b":1\r\n");
    assert_eq!(proxy.groups("pair", "applied"), 1.0);
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 0.0);
}

#[test]
fn who_has_finished_sending_is_answered_what_takes_long() {
    let redis = RedisServer::start(&[]);
    let proxy = one_worker(&redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("WATCH k"), "+OK\r\n");
    wire.send(&eval());
    wire.finish_sending();
    assert_eq!(wire.until_closed(), b":1\r\n", "it does not block, it works");
}

#[test]
fn the_deadlines_that_hold_without_configuration_let_a_stall_of_the_server_pass() {
    let (redis, proxy) = Proxy::with_redis("");
    let (mut wire, mut direct) = (proxy.wire(), redis.wire());
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    direct.send_line("DEBUG SLEEP 2.5");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    assert_eq!(wire.ask("DEBUG SLEEP 6"), "+OK\r\n", "long by nature");
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 0.0);
}

#[test]
fn what_must_not_overtake_a_late_reply_has_a_deadline_of_its_own_and_is_not_sent() {
    const NOT_SENT: &str = "-ERR respguard: not sent: what was sent before it has not been answered in time\r\n";
    let redis = RedisServer::start(&[]);
    let patient = "[breaker]\nenabled = false\n";
    let proxy = Setup::new(&redis).top("workers = 1").upstream(TIMES).rules(patient).start();
    let lines = ["BLPOP queue 1", "SUBSCRIBE ch", "WATCH k", "SELECT 1", "RESET", "CLIENT TRACKING ON", "MULTI"];
    let mut wires: Vec<_> = lines.iter().map(|_| proxy.wire()).collect();
    assert_eq!(wires[0].ask("SET n 0"), "+OK\r\n");
    let mut direct = redis.wire();
    direct.send_line("DEBUG SLEEP 5");
    eventually("the server is busy", || {
        wires[0].send_line("PING");
        // Less than its deadline, and long for a server that is not busy.
        wires[0].is_silent_for(Duration::from_millis(400)) || wires[0].reply().is_empty()
    });
    wires.iter_mut().for_each(|wire| wire.send_line("INCR n"));
    assert!(wires[0].reply().starts_with(b"-TIMEOUT "), "the PING");
    for wire in &mut wires {
        assert!(wire.reply().starts_with(b"-TIMEOUT "));
    }
    lines.iter().zip(&mut wires).for_each(|(line, wire)| wire.send_line(line));
    for (line, wire) in lines.iter().zip(&mut wires) {
        let expected = if *line == "MULTI" { "+OK\r\n" } else { NOT_SENT };
        assert_eq!(String::from_utf8_lossy(&wire.reply()), expected, "{line}");
    }
    assert!(direct.is_silent_for(Duration::from_millis(1)), "the server has been busy all the time");
    let [.., queueing] = &mut wires[..] else { panic!("there are some") };
    assert_eq!(queueing.ask("INCR n"), "+QUEUED\r\n");
    assert!(queueing.ask("EXEC").starts_with("-EXECABORT "), "its MULTI was not sent");
    assert_eq!(direct.reply(), b"+OK\r\n");
    let expected = format!("$1\r\n{}\r\n", lines.len());
    eventually("all that was sent has run, and once", || redis.ask("GET n") == expected);
    let not_run = ["SELECT 1", "CLIENT TRACKING ON"];
    for (line, wire) in lines.iter().zip(&mut wires) {
        let reply = wire.ask("GET n");
        assert!(if not_run.contains(line) { reply.contains("not run: ") } else { reply == expected }, "{line}: {reply}");
    }
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}
