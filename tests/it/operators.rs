//! What a server's own tools show of the proxy, which cannot be hidden from them.

use std::time::Instant;

use crate::harness::{PATIENCE, RedisServer, Setup, Wire, text};

/// What the server's MONITOR shows, in small letters, until all of the words have come. Heartbeats never let it fall silent.
#[track_caller]
fn shown(monitor: &mut Wire, words: &[&str]) -> String {
    let (mut seen, deadline) = (String::new(), Instant::now() + PATIENCE);
    while !words.iter().all(|word| seen.contains(word)) {
        assert!(Instant::now() < deadline, "not all of {words:?} are in {seen}");
        seen += &text(&monitor.reply()).to_lowercase();
    }
    seen
}

#[test]
fn monitor_shows_what_the_proxy_asks_for_itself() {
    let redis = RedisServer::start(&[]);
    let mut monitor = redis.wire();
    monitor.ask("MONITOR");
    let proxy = Setup::new(&redis).upstream("heartbeat_ms = 100").start();
    let mut wire = proxy.wire();
    wire.ask("PING");
    shown(
        &mut monitor,
        &["\"info\" \"server\"", "\"command\"", "\"client\" \"id\"", "\"client\" \"info\"", "\"multi\"", "\"exec\"", "\"ping\""],
    );
    // A question stands for what the proxy answers itself.
    wire.ask("CLIENT SETNAME secret-name");
    wire.ask("WATCH k");
    let seen = shown(&mut monitor, &["\"client\" \"setname\" \"\"", "\"watch\" \"k\""]);
    assert!(!seen.contains("secret-name"), "{seen}");
}

#[test]
fn a_monitor_through_the_proxy_does_not_show_its_own_handshake() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("heartbeat_ms = 60000").start();
    proxy.wire().ask("PING");
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("MONITOR"), "+OK\r\n");
    let mut other = redis.wire();
    other.ask("SET k v");
    let first = text(&wire.reply()).to_lowercase();
    assert!(first.contains("\"set\" \"k\" \"v\""), "the first line is another client's: {first}");
}

#[test]
fn slowlog_and_acl_log_do_not_know_the_clients_name() {
    let redis = RedisServer::start(&["--slowlog-log-slower-than", "0"]);
    redis.ask("ACL SETUSER poor on nopass ~* +@all -get");
    let proxy = Setup::new(&redis).start();
    let mut wire = proxy.wire();
    wire.ask("AUTH poor x");
    wire.ask("CLIENT SETNAME secret-name");
    wire.ask("SET slow 1");
    assert!(wire.ask("GET k").starts_with("-NOPERM"));
    let [slow, denied] = ["SLOWLOG GET 128", "ACL LOG"].map(|line| redis.ask(line));
    assert!(slow.contains("slow\r\n") && !slow.contains("secret-name"), "{slow}");
    assert!(denied.contains("poor") && denied.contains(" name= ") && !denied.contains("secret-name"), "{denied}");
    assert!(!slow.contains(&wire.local()) && !denied.contains(&wire.local()), "the address is that of the proxy's connection");
}
