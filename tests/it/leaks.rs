//! No connection to the server is left behind, whatever becomes of the client it was for.

use std::time::{Duration, Instant};

use crate::harness::wire::{requests, words};
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, text};

/// Times that each way of leaving is taken: more than all lanes keep connections.
const ROUNDS: usize = 60;
/// The connection that asks, and for each lane the shared one with the idle leases that it keeps. The lanes are at most
/// the first, one for RESP3, and one for another db.
const CONNECTIONS_MAX: u64 = 1 + 3 * (1 + 16);

fn connections(redis: &RedisServer) -> u64 {
    redis.info("clients", "connected_clients")
}

fn start(redis: &RedisServer) -> Proxy {
    let upstream = "request_timeout_ms = 5000\nconnect_timeout_ms = 2000";
    Setup::new(redis).top("workers = 1").upstream(upstream).rules("[breaker]\nenabled = false\n").start()
}

#[track_caller]
fn leaves_nothing(what: &str, leave: impl Fn(&Proxy, &RedisServer, Wire)) {
    let redis = RedisServer::start(&[]);
    let proxy = start(&redis);
    for _ in 0..ROUNDS {
        leave(&proxy, &redis, proxy.wire());
    }
    eventually(what, || {
        connections(&redis) <= CONNECTIONS_MAX
            && redis.info("clients", "blocked_clients") == 0
            && proxy.metric("respguard_clients", &[]) == 0.0
            && proxy.metric("respguard_upstream_connections", &[("state", "leased")]) == 0.0
    });
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["SET k v", "BLPOP nothing 0.01", "GET k"])[2], "$1\r\nv\r\n", "{what}");
    drop(wire);
    assert_eq!(proxy.stop().status.code(), Some(0));
    eventually("the process takes its connections with it", || connections(&redis) == 1);
}

#[test]
fn clients_that_leave_in_the_middle_leave_no_connection() {
    leaves_nothing("in a transaction", |_, _, mut wire| {
        wire.pipeline(&["MULTI", "SET k never"]);
    });
    leaves_nothing("watching", |_, _, mut wire| {
        wire.ask("WATCH k");
    });
    leaves_nothing("blocked", |_, redis, mut wire| {
        wire.send_line("BLPOP q 0");
        eventually("it is blocked", || redis.info("clients", "blocked_clients") >= 1);
    });
    leaves_nothing("subscribed", |_, _, mut wire| {
        wire.ask("SUBSCRIBE a");
    });
    leaves_nothing("subscribing", |_, _, mut wire| wire.send_line("SUBSCRIBE a b c"));
    leaves_nothing("monitoring", |_, _, mut wire| {
        wire.ask("MONITOR");
    });
    leaves_nothing("with state of its own", |_, _, mut wire| {
        wire.ask("CLIENT NO-EVICT ON");
    });
}

#[test]
fn clients_that_leave_in_the_middle_of_bytes_leave_no_connection() {
    leaves_nothing("in a large request", |_, _, mut wire| {
        wire.send(&words(&[b"SET", b"big", &vec![b'v'; 1 << 20]])[..300_000]);
    });
    leaves_nothing("in a large reply on a lease", |_, redis, mut wire| {
        let mut direct = redis.wire();
        direct.send(&words(&[b"SET", b"big", &vec![b'v'; 4 << 20]]));
        direct.reply();
        wire.send(&requests(&["WATCH k", "GET big"]));
        assert_eq!(wire.reply(), b"+OK\r\n");
    });
    leaves_nothing("in the handshake of another user, protocol or db", |_, _, mut wire| {
        wire.send(&requests(&["HELLO 3", "SELECT 2", "HELLO 2 AUTH nobody nothing"]));
    });
    leaves_nothing("behind a script kill", |_, _, mut wire| {
        assert!(wire.ask("SCRIPT KILL").starts_with("-NOTBUSY "));
    });
}

#[test]
fn a_handshake_that_fails_leaves_no_connection() {
    let redis = RedisServer::start(&["--requirepass secret"]);
    let proxy = start(&redis);
    let mut wire = proxy.wire();
    for _ in 0..ROUNDS {
        assert!(wire.ask("AUTH wrong").starts_with("-WRONGPASS "));
        assert!(wire.ask("HELLO 3 AUTH default wrong").starts_with("-WRONGPASS "));
    }
    let mut direct = redis.wire();
    assert_eq!(direct.ask("AUTH secret"), "+OK\r\n");
    // This one, the shared one and the spare one.
    eventually("only what is always open is left", || {
        direct.ask("CLIENT LIST").lines().filter(|line| line.starts_with("id=")).count() <= 3
    });
}

#[test]
fn a_server_that_goes_away_and_comes_back_meets_no_more_connections_than_before() {
    let mut redis = RedisServer::start(&[]);
    let proxy = start(&redis);
    let mut wire = proxy.wire();
    for _ in 0..3 {
        let mut blocked = proxy.wire();
        eventually("it is connected", || wire.ask("PING") == "+PONG\r\n");
        blocked.send_line("BLPOP q 0");
        eventually("it is blocked", || redis.info("clients", "blocked_clients") == 1);
        redis.kill();
        assert!(text(&blocked.reply()).starts_with("-TIMEOUT "));
        redis.restart();
    }
    eventually("it is connected", || wire.ask("PING") == "+PONG\r\n");
    assert!(connections(&redis) <= 3, "{}", connections(&redis));
}

#[test]
fn beyond_the_leases_that_there_may_be_a_client_gets_an_error_at_once() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream("leases_max = 4").start();
    let mut holders: Vec<Wire> = (0..4).map(|_| proxy.wire()).collect();
    holders.iter_mut().for_each(|wire| wire.send_line("BLPOP q 0"));
    eventually("they are blocked", || redis.info("clients", "blocked_clients") == 4);
    let mut wire = proxy.wire();
    let start = Instant::now();
    let refusal = "-ERR respguard: all 4 upstream connections for clients that need one of their own are taken\r\n";
    for line in ["BLPOP q 0", "WATCH k", "SUBSCRIBE a"] {
        assert_eq!(wire.ask(line), refusal, "{line}");
    }
    assert_eq!(wire.ask("MULTI"), "+OK\r\n");
    assert_eq!(wire.ask("INCR n"), "+QUEUED\r\n");
    assert!(wire.ask("EXEC").starts_with("-EXECABORT "), "what was sent behind MULTI does not run without it");
    assert_eq!(wire.pipeline(&["INCR n", "MULTI", "INCR n", "EXEC"])[3], "*1\r\n:2\r\n", "whole transactions need none");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    holders.pop();
    eventually("a lease is free", || wire.ask("BLPOP nothing 0.01") == "*-1\r\n");
}
