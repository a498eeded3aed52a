//! A server that fails is not asked again and again: clients are told at once, and requests go on when it serves.

use std::time::{Duration, Instant};

use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Setup, eventually, text};

const QUICK: &str = "request_timeout_ms = 300\nqueue_timeout_ms = 300\nconnect_timeout_ms = 300\nstall_timeout_ms = 30000";
const SLACK: Duration = Duration::from_millis(1000);

fn state(proxy: &Proxy) -> String {
    let states = ["closed", "open", "half_open"];
    let state = states.into_iter().filter(|state| proxy.metric("respguard_breaker_state", &[("state", state)]) == 1.0);
    state.collect::<Vec<_>>().join(" ")
}

#[test]
fn while_the_breaker_is_open_every_request_is_refused_at_once() {
    let mut redis = RedisServer::start(&[]);
    let upstream = "request_timeout_ms = 3000\nqueue_timeout_ms = 1000\nconnect_timeout_ms = 300";
    let proxy = Setup::new(&redis).upstream(upstream).rules("[[group]]\nname = \"pair\"\nkeys = [\"pair:*\"]\n").start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    assert_eq!(state(&proxy), "closed");
    redis.kill();
    eventually("it is open", || state(&proxy) == "open");
    assert!(proxy.get("/readyz").1.contains("breaker open"));
    // Each worker looks at the breaker every few milliseconds.
    eventually("both workers know", || (0..4).all(|_| proxy.wire().ask("GET k").contains("breaker")));
    let start = Instant::now();
    assert_eq!(wire.ask("GET k"), "-ERR respguard: GET was not sent: the server is unavailable and the breaker is open\r\n");
    for reply in wire.pipeline(&["SET pair:a 1", "SET pair:b 1"]) {
        assert!(reply.starts_with("-EXECABORT Transaction discarded"), "{reply}");
    }
    for line in ["BLPOP q 0", "WATCH k", "SUBSCRIBE c", "SELECT 1", "EVAL x 0", "CLIENT NO-TOUCH ON"] {
        let reply = proxy.wire().ask(line);
        assert!(reply.starts_with("-ERR respguard: "), "{line}: {reply}");
    }
    let mut other = proxy.wire();
    assert_eq!(other.ask("MULTI"), "+OK\r\n");
    assert_eq!(other.ask("INCR n"), "+QUEUED\r\n");
    assert!(other.ask("EXEC").starts_with("-EXECABORT "));
    assert!(other.ask("CLIENT ID").starts_with("-ERR respguard: "), "the server is asked whether it is allowed");
    assert!(start.elapsed() < SLACK, "nothing waits: {:?}", start.elapsed());
    assert!(proxy.metric("respguard_breaker_refused_total", &[]) >= 10.0);
    redis.restart();
    eventually("it has closed", || state(&proxy) == "closed");
    eventually("it is ready", || proxy.get("/readyz").0 == 200);
    // Each worker looks at the breaker every few milliseconds.
    eventually("requests pass", || wire.ask("SET k v") == "+OK\r\n" && other.ask("SET other v") == "+OK\r\n");
    assert_eq!(other.pipeline(&["MULTI", "INCR n", "EXEC"])[2], "*1\r\n:1\r\n", "nothing of the former was applied");
    for to in ["open", "half_open", "closed"] {
        assert!(proxy.metric("respguard_breaker_transitions_total", &[("to", to)]) >= 1.0, "{to}");
    }
}

#[test]
fn timeouts_open_it_and_the_first_bytes_of_a_server_that_goes_on_close_it() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).start();
    let mut wire = proxy.wire();
    eventually("it is connected", || wire.ask("PING") == "+PONG\r\n");
    redis.pause();
    wire.send(&requests(&["GET a", "GET a", "GET a", "GET a", "GET a"]));
    for reply in wire.replies(5) {
        assert!(text(&reply).starts_with("-TIMEOUT "));
    }
    eventually("it is open", || state(&proxy) == "open");
    // Each worker looks at it every few milliseconds.
    eventually("the worker knows", || wire.ask("GET a").contains("the breaker is open"));
    let start = Instant::now();
    redis.resume();
    eventually("it has closed", || state(&proxy) == "closed");
    assert!(start.elapsed() < Duration::from_secs(10), "long before its thirty seconds: {:?}", start.elapsed());
    eventually("requests pass", || wire.ask("ECHO mine") == "$4\r\nmine\r\n");
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn what_is_under_way_when_it_opens_keeps_its_own_reply() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(&QUICK.replace("request_timeout_ms = 300", "request_timeout_ms = 1500")).start();
    let (mut failing, mut wire) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.pipeline(&["SET a first", "SET b second"]).concat(), "+OK\r\n+OK\r\n");
    redis.pause();
    failing.send(&requests(&["GET x", "GET x", "GET x", "GET x", "GET x"]));
    std::thread::sleep(Duration::from_millis(700));
    wire.send(&requests(&["GET a"]));
    eventually("it is open", || state(&proxy) == "open");
    // Each worker looks at the breaker every few milliseconds.
    std::thread::sleep(Duration::from_millis(50));
    wire.send(&requests(&["GET b"]));
    std::thread::sleep(Duration::from_millis(50));
    redis.resume();
    let first = text(&wire.reply());
    assert!(first == "$5\r\nfirst\r\n" || first.starts_with("-TIMEOUT "), "{first}");
    let second = text(&wire.reply());
    assert!(second == "$6\r\nsecond\r\n" || second.starts_with('-'), "{second}");
}

#[test]
fn a_break_lasts_as_long_as_it_is_written_where_the_server_shows_no_life() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).rules("[breaker]\nbreak_ms = 700\n").start();
    let mut wire = proxy.wire();
    redis.pause();
    wire.send(&requests(&["GET a", "GET a", "GET a", "GET a", "GET a", "GET a"]));
    wire.replies(6);
    eventually("it has been probed twice", || proxy.metric("respguard_breaker_transitions_total", &[("to", "half_open")]) >= 2.0);
    assert_eq!(proxy.metric("respguard_breaker_transitions_total", &[("to", "closed")]), 0.0);
    redis.resume();
    eventually("it has closed", || state(&proxy) == "closed");
}

#[test]
fn what_clients_do_wrong_never_opens_it() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    for _ in 0..30 {
        for reply in wire.pipeline(&["INCR k", "LPUSH k x", "GET"]) {
            assert!(reply.starts_with('-'), "{reply}");
        }
    }
    assert_eq!(wire.ask("GET k"), "$1\r\nv\r\n");
    assert_eq!(proxy.metric("respguard_breaker_transitions_total", &[]), 0.0);
}

#[test]
fn a_long_script_is_a_state_of_the_server_and_can_be_killed_all_the_same() {
    let redis = RedisServer::start(&["--lua-time-limit 100"]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 10000\nstall_timeout_ms = 30000").start();
    let (mut looping, mut wire) = (redis.wire(), proxy.wire());
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    looping.send(&crate::harness::wire::words(&[b"EVAL", b"while true do end", b"0"]));
    eventually("the server says that it is busy, until nobody asks it any more", || {
        let reply = wire.ask("GET k");
        assert!(reply.starts_with("-BUSY ") || reply.contains("the breaker is open") || reply == "$1\r\nv\r\n", "{reply}");
        reply.contains("the breaker is open")
    });
    assert_eq!(wire.ask("SCRIPT KILL"), "+OK\r\n", "it goes past the breaker");
    assert!(text(&looping.reply()).starts_with('-'));
    eventually("requests go on", || wire.ask("GET k") == "$1\r\nv\r\n");
}
