//! Behind a command that changes the connection and was not carried out, nothing runs in another state than its author thinks.

use std::time::Duration;

use crate::harness::wire::{requests, words};
use crate::harness::{Chaos, Proxy, RedisServer, Setup, Way, Wire, eventually, text};

const QUICK: &str = "request_timeout_ms = 400\nqueue_timeout_ms = 400\nconnect_timeout_ms = 300\nstall_timeout_ms = 30000";
const NO_BREAKER: &str = "[breaker]\nenabled = false\n";
const ONE_LEASE: &str = "leases_max = 1";

/// Somebody who keeps the only lease.
fn takes_the_lease(proxy: &Proxy) -> Wire {
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("CLIENT NO-EVICT ON"), "+OK\r\n");
    wire
}

/// A transaction in pieces that cannot be sent on, until `again` makes it possible.
fn aborts(wire: &mut Wire, again: impl FnOnce()) {
    assert_eq!(wire.ask("MULTI"), "+OK\r\n");
    again();
    assert_eq!(wire.pipeline(&["INCR a", "INCR b"]), ["+QUEUED\r\n", "+QUEUED\r\n"]);
    let end = wire.ask("EXEC");
    assert!(end.starts_with("-EXECABORT ") && end.contains("nothing was applied"), "{end}");
    eventually("it works as before", || wire.ask("EXISTS a b") == ":0\r\n");
    assert_eq!(wire.pipeline(&["MULTI", "INCR c", "EXEC"])[2], "*1\r\n:1\r\n");
}

#[test]
fn a_transaction_whose_multi_was_not_sent_aborts() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).rules(NO_BREAKER).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    redis.kill();
    aborts(&mut wire, || {
        redis.restart();
        eventually("the server is back", || proxy.wire().ask("PING") == "+PONG\r\n");
    });

    let proxy = Setup::new(&redis).top("workers = 1").upstream(ONE_LEASE).start();
    let holder = takes_the_lease(&proxy);
    redis.ask("FLUSHALL");
    aborts(&mut proxy.wire(), || drop(holder));
}

#[test]
fn a_transaction_aborts_whose_multi_finds_the_server_full() {
    let redis = RedisServer::start(&["--maxclients 40"]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream(QUICK).rules(NO_BREAKER).start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    let mut crowd = fill(&redis);
    assert!(other.ask("SELECT 9").starts_with("-ERR respguard: "), "it is not the server that refuses db 9");
    aborts(&mut wire, || crowd.clear());
}

/// Clients until the server takes no more.
pub fn fill(redis: &RedisServer) -> Vec<Wire> {
    let mut crowd = Vec::new();
    loop {
        let mut wire = redis.wire();
        if wire.try_send(b"*1\r\n$4\r\nPING\r\n").is_err() || wire.try_reply().is_none_or(|reply| reply != b"+PONG\r\n") {
            return crowd;
        }
        crowd.push(wire);
    }
}

#[test]
fn a_transaction_whose_multi_was_not_answered_aborts() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).rules(NO_BREAKER).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["WATCH k", "UNWATCH"]), ["+OK\r\n", "+OK\r\n"]);
    redis.pause();
    aborts(&mut wire, || redis.resume());
}

#[test]
fn a_transaction_in_one_write_that_was_not_sent_aborts() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).rules(NO_BREAKER).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    redis.kill();
    eventually("it is known", || wire.ask("PING").contains("was not sent"));
    let replies = wire.pipeline(&["MULTI", "INCR a", "EXEC"]);
    assert_eq!(replies[..2], ["+OK\r\n", "+QUEUED\r\n"]);
    assert!(replies[2].starts_with("-EXECABORT "), "{replies:?}");
}

#[test]
fn a_transaction_does_not_go_without_the_watch_that_was_refused() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream(ONE_LEASE).start();
    let _holder = takes_the_lease(&proxy);
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["WATCH k", "MULTI", "SET k v", "EXEC", "GET k"]);
    assert!(replies[0].starts_with("-ERR respguard: "), "{replies:?}");
    assert!(replies[3].starts_with("-EXECABORT "), "{replies:?}");
    assert_eq!(replies[4], "$-1\r\n");
}

#[test]
fn nothing_runs_behind_a_change_of_db_user_or_protocol_that_could_not_be_carried_out() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER ann on >p ~* &* +@all");
    for (change, made_up) in
        [("SELECT 9", "+OK\r\n"), ("AUTH ann p", "+OK\r\n"), ("HELLO 3", "%7\r\n"), ("HELLO 3 AUTH ann p", "%7\r\n")]
    {
        let proxy = Setup::new(&redis).top("workers = 1").upstream(ONE_LEASE).start();
        let holder = takes_the_lease(&proxy);
        let mut wire = proxy.wire();
        let big = words(&[b"SET", b"big", &vec![b'x'; 100_000]]);
        let mut batch = requests(&[change, "SET k v", "MULTI", "SET k v", "EXEC", "BLPOP l 1", "CLIENT ID", "NOSUCH"]);
        batch.extend_from_slice(&big);
        wire.send(&batch);
        for (place, reply) in wire.replies(9).iter().enumerate() {
            assert!(reply.starts_with(b"-ERR respguard: "), "{change}, reply {place}: {}", text(reply));
        }
        assert_eq!(redis.ask("EXISTS k big"), ":0\r\n");
        drop(holder);
        eventually("it is carried out", || wire.ask(change).starts_with(made_up));
        assert_eq!(wire.ask("SET k v"), "+OK\r\n");
        redis.ask("FLUSHALL");

        let proxy = Setup::new(&redis).top("workers = 1").upstream(ONE_LEASE).start();
        let _holder = takes_the_lease(&proxy);
        let mut wire = proxy.wire();
        assert!(wire.pipeline(&[change, "SET k v"])[1].contains("not run"), "{change}");
        assert_eq!(wire.pipeline(&["RESET", "SET k v"]), ["+RESET\r\n", "+OK\r\n"]);
        assert_eq!(redis.ask("DEL k"), ":1\r\n");
    }
}

#[test]
fn what_the_server_itself_refuses_changes_nothing() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    for change in ["SELECT 99", "AUTH ann p", "HELLO 3 AUTH ann p", "HELLO 4"] {
        let replies = wire.pipeline(&[change, "SET k v"]);
        assert!(replies[0].starts_with('-'), "{change}: {replies:?}");
        assert_eq!(replies[1], "+OK\r\n", "{change}");
    }
}

/// Without a server nobody can say whether the user may leave replies out.
#[test]
fn nothing_runs_behind_a_reply_mode_that_could_not_be_asked_for() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream(QUICK).rules(NO_BREAKER).start();
    let mut wire = proxy.wire();
    redis.kill();
    assert!(wire.ask("CLIENT REPLY OFF").starts_with('-'));
    redis.restart();
    eventually("the server is there", || proxy.wire().ask("PING") == "+PONG\r\n");
    assert!(wire.ask("SET k v").starts_with("-ERR respguard: "));
    assert_eq!(redis.ask("EXISTS k"), ":0\r\n");
    wire.send(&requests(&["CLIENT REPLY OFF", "SET k v", "CLIENT REPLY ON"]));
    assert_eq!(text(&wire.reply()), "+OK\r\n");
    assert_eq!(redis.ask("EXISTS k"), ":1\r\n");
}

fn takes_reply_mode(proxy: &Proxy, redis: &RedisServer) -> bool {
    let _holder = takes_the_lease(proxy);
    let mut wire = proxy.wire();
    wire.send(&requests(&["CLIENT REPLY OFF", "SET k v", "CLIENT REPLY ON"]));
    let replied = text(&wire.reply()) == "+OK\r\n";
    replied && redis.ask("DEL k") == ":1\r\n"
}

#[test]
fn nothing_runs_behind_a_mode_that_could_not_be_had() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream(ONE_LEASE).start();
    // A reply mode needs no lease.
    assert!(takes_reply_mode(&proxy, &redis));
    for change in ["CLIENT TRACKING ON"] {
        let holder = takes_the_lease(&proxy);
        let mut wire = proxy.wire();
        for reply in wire.pipeline(&[change, "SET k v", "GET k"]) {
            assert!(reply.starts_with("-ERR respguard: "), "{change}: {reply}");
        }
        assert_eq!(redis.ask("EXISTS k"), ":0\r\n");
        drop(holder);
        let mut probe = proxy.wire();
        eventually("there is a lease", || probe.ask("BLPOP l 0.01") == "*-1\r\n");
        // In RESP2 the server refuses TRACKING itself: then nothing is missing any more.
        wire.send(&requests(&[change, "SET k v"]));
        eventually("it is carried out", || redis.ask("GET k") == "$1\r\nv\r\n");
        drop(wire);
        redis.ask("DEL k");
    }
}

#[test]
fn a_large_request_that_is_refused_costs_its_client_nothing_else() {
    let mut redis = RedisServer::start(&[]);
    let big = words(&[b"SET", b"k", &vec![b'x'; 300_000]]);
    let mut batch = requests(&["PING"]);
    batch.extend_from_slice(&big);
    batch.extend_from_slice(&requests(&["ECHO behind"]));
    {
        let proxy = Setup::new(&redis).top("workers = 1").upstream(ONE_LEASE).start();
        let _holder = takes_the_lease(&proxy);
        let mut wire = proxy.wire();
        for _ in 0..3 {
            wire.send(&batch);
            assert_eq!(wire.reply(), b"+PONG\r\n");
            let refused = text(&wire.reply());
            assert!(refused.contains("are taken"), "{refused}");
            assert_eq!(wire.reply(), b"$6\r\nbehind\r\n");
        }
        // In a transaction that will abort it is as queued as the rest.
        assert_eq!(wire.ask("MULTI"), "+OK\r\n");
        wire.send(&big);
        assert_eq!(wire.reply(), b"+QUEUED\r\n");
        assert!(wire.ask("EXEC").starts_with("-EXECABORT "));
        // What is no request ends it as ever.
        wire.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$70000\r\n");
        wire.send(&vec![b'x'; 70_000]);
        wire.send(b"\r\n*x\r\n");
        let end = text(&wire.until_closed());
        assert!(end.contains("are taken") && end.contains("Protocol error"), "{end}");
    }
    for rules in [NO_BREAKER, ""] {
        let proxy = Setup::new(&redis).upstream(QUICK).rules(rules).start();
        let mut wire = proxy.wire();
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
        redis.kill();
        for _ in 0..5 {
            wire.send(&batch);
            for reply in wire.replies(3) {
                assert!(reply.starts_with(b"-ERR respguard: ") || reply.starts_with(b"-TIMEOUT "), "{}", text(&reply));
            }
        }
        redis.restart();
        // A PING may be answered over the spare connection, before the breaker closes.
        eventually("it works again", || wire.ask("ECHO on") == "$2\r\non\r\n");
        wire.send(&batch);
        assert_eq!(wire.replies(3), [&b"+PONG\r\n"[..], b"+OK\r\n", b"$6\r\nbehind\r\n"]);
    }
}

#[test]
fn a_write_that_was_lost_does_not_come_behind_what_its_client_sends_on_another_lane() {
    let redis = RedisServer::start(&[]);
    let network = Chaos::before(redis.port());
    let upstream = "request_timeout_ms = 300\nqueue_timeout_ms = 5000\nconnect_timeout_ms = 300\nstall_timeout_ms = 500";
    let proxy = Setup::new(&redis).through(network.port()).top("workers = 1").upstream(upstream).rules(NO_BREAKER).start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.ask("SET k first"), "+OK\r\n");
    network.up(Way::Hold);
    assert!(other.ask("HELLO 3").starts_with('%'), "the other lane has a connection that works");
    network.refuse(true);
    assert!(wire.ask("SET k old").starts_with("-TIMEOUT "));
    eventually("the connection with the old write is given up, and can be left", || {
        let reply = wire.ask("HELLO 3");
        let may_come = ["%", "-ERR respguard: not sent: ", "-TIMEOUT respguard: outcome of HELLO unknown"];
        assert!(may_come.iter().any(|begin| reply.starts_with(begin)), "{reply}");
        reply.starts_with('%')
    });
    assert_eq!(wire.ask("SET k new"), "+OK\r\n");
    network.up(Way::Pass);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(wire.ask("GET k"), "$3\r\nnew\r\n");
}
