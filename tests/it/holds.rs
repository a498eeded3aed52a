//! The beginning of a group waits for its rest, for a while, and delays nobody else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Setup, eventually, request, text};

const PAIR: &str = r#"
[[group]]
name = "pair"
commands = ["SETEX rt:{user} {ttl} *", "SADD sess:{user} *", { match = "SMEMBERS sess:{user}", optional = true }]
"#;
const FIRST: &str = "SETEX rt:ann 100 token";
const SECOND: &str = "SADD sess:ann t1";

fn proxy(redis: &RedisServer, hold_ms: u32, hold_max_ms: u32) -> Proxy {
    Setup::new(redis).pipeline(&format!("hold_ms = {hold_ms}\nhold_max_ms = {hold_max_ms}\n")).rules(PAIR).start()
}

fn held(proxy: &Proxy, outcome: &str) -> f64 {
    proxy.metric("respguard_holds_total", &[("group", "pair"), ("outcome", outcome)])
}

#[test]
fn members_in_writes_of_their_own_are_one_group_and_nothing_waits_for_an_optional_one() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 6000, 10_000);
    let mut wire = proxy.wire();
    let start = Instant::now();
    for round in 0..20 {
        wire.send(&request(FIRST));
        wire.send(&request(SECOND));
        assert_eq!(text(&wire.reply()), "+OK\r\n");
        assert_eq!(text(&wire.reply()), if round == 0 { ":1\r\n" } else { ":0\r\n" });
    }
    assert!(start.elapsed() < Duration::from_secs(6), "no round took as long as a hold may");
    eventually("all are counted", || proxy.groups("pair", "applied") == 20.0);
    assert_eq!(held(&proxy, "expired") + held(&proxy, "broken"), 0.0);
}

#[test]
fn a_beginning_without_its_rest_goes_on_after_the_gap_and_is_told_as_split() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 50, 400);
    let mut wire = proxy.wire();
    let start = Instant::now();
    assert_eq!(wire.ask(FIRST), "+OK\r\n");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(50) && waited < Duration::from_secs(5), "{waited:?}");
    eventually("it is told", || proxy.violated("split", "pair") == 1.0 && held(&proxy, "expired") == 1.0);
    assert_eq!(proxy.groups("pair", "applied"), 0.0);
}

#[test]
fn what_is_held_runs_although_its_client_resets_the_connection() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 5000, 10_000);
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy listens");
    client.write_all(&requests(&["PING", FIRST, "SET behind 1"])).expect("the proxy reads");
    eventually("it is held", || proxy.metric("respguard_hold_prefix_members_count", &[]) == 1.0);
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("closing is a reset");
    drop(client);
    eventually("what it has sent has run", || redis.ask("EXISTS rt:ann behind") == ":2\r\n");
    assert_eq!(held(&proxy, "broken"), 1.0);
}

#[test]
fn something_else_ends_the_wait_at_once_and_keeps_the_order() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 5000, 10_000);
    let mut wire = proxy.wire();
    let start = Instant::now();
    wire.send(&request(FIRST));
    assert!(wire.is_silent_for(Duration::from_millis(100)), "the beginning is held");
    wire.send(&request("CONFIG GET nothing"));
    assert_eq!([text(&wire.reply()), text(&wire.reply())], ["+OK\r\n", "*0\r\n"]);
    assert!(start.elapsed() < Duration::from_secs(4));
    eventually("it is counted", || held(&proxy, "broken") == 1.0);
}

#[test]
fn a_held_beginning_delays_no_other_client_and_nothing_that_begins_no_group() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 8000, 8000);
    let (mut holding, mut other) = (proxy.wire(), proxy.wire());
    holding.send(&request(FIRST));
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(other.ask("SET other 1"), "+OK\r\n");
    }
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    holding.send(&request(SECOND));
    assert_eq!([text(&holding.reply()), text(&holding.reply())], ["+OK\r\n", ":1\r\n"]);
}

#[test]
fn a_client_that_sends_one_after_the_other_is_told_once_and_held_no_more_until_it_pipelines() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 100, 100);
    let mut wire = proxy.wire();
    for _ in 0..3 {
        wire.ask(FIRST);
        wire.ask(SECOND);
    }
    eventually("it is told", || proxy.violated("sequential", "pair") == 1.0);
    let start = Instant::now();
    for _ in 0..60 {
        wire.ask(FIRST);
        wire.ask(SECOND);
    }
    assert!(start.elapsed() < Duration::from_secs(4), "60 holds would take 6 s: {:?}", start.elapsed());
    assert_eq!((proxy.violated("sequential", "pair"), proxy.violated("split", "pair")), (1.0, 3.0));
    wire.pipeline(&[FIRST, SECOND]);
    let start = Instant::now();
    wire.ask(FIRST);
    assert!(start.elapsed() >= Duration::from_millis(100), "a pipeline was seen: it is held again");
}

#[test]
fn a_client_that_sends_one_after_the_other_is_known_however_large_its_values_are() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 100, 100);
    let mut wire = proxy.wire();
    let first = format!("SETEX rt:ann 100 {}", "x".repeat(20_000));
    for _ in 0..4 {
        wire.ask(&first);
        wire.ask(SECOND);
    }
    eventually("it is told", || proxy.violated("sequential", "pair") == 1.0);
    assert_eq!(proxy.violated("split", "pair"), 3.0);
}

#[test]
fn a_client_with_nagles_algorithm_may_send_the_rest_of_what_is_held() {
    let redis = RedisServer::start(&[]);
    // Less than the kernel delays an acknowledgement.
    let proxy = proxy(&redis, 30, 300);
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy listens");
    client.set_nodelay(false).expect("set");
    for round in 0..50 {
        client.write_all(&request(&format!("SETEX rt:{round} 100 token"))).expect("written");
        client.write_all(&request(&format!("SADD sess:{round} t1"))).expect("written");
        let mut replies = [0; b"+OK\r\n:1\r\n".len()];
        client.read_exact(&mut replies).expect("answered");
        assert_eq!(text(&replies), "+OK\r\n:1\r\n");
    }
    let applied = proxy.groups("pair", "applied");
    assert!(applied >= 25.0, "some may be split on a busy machine: {applied} of 50");
}

#[test]
fn what_is_only_observed_is_not_held() {
    let redis = RedisServer::start(&[]);
    let observing =
        Setup::new(&redis).top("mode = \"observe\"").pipeline("hold_ms = 8000\nhold_max_ms = 8000\n").rules(PAIR).start();
    let start = Instant::now();
    assert_eq!(observing.wire().ask(FIRST), "+OK\r\n");
    assert!(start.elapsed() < Duration::from_secs(7));
}
