//! What a server's own tools show of the proxy, which cannot be hidden from them.

use std::time::Duration;

use crate::harness::{RedisServer, Setup, Wire, eventually, text};

/// What the server's MONITOR has shown up to now, one command a line, in small letters.
fn shown(monitor: &mut Wire) -> String {
    text(&monitor.until_silent_for(Duration::from_millis(300))).to_lowercase()
}

#[test]
fn monitor_shows_what_the_proxy_asks_for_itself() {
    let redis = RedisServer::start(&[]);
    let upstream = "heartbeat_ms = 100";
    let mut monitor = redis.wire();
    monitor.ask("MONITOR");
    let proxy = Setup::new(&redis).upstream(upstream).start();
    let mut wire = proxy.wire();
    wire.ask("PING");
    let mut seen = String::new();
    eventually("handshakes and heartbeats are seen", || {
        seen += &shown(&mut monitor);
        ["\"command\"", "\"client\" \"id\"", "\"client\" \"info\"", "\"multi\"", "\"exec\"", "\"ping\""]
            .iter()
            .all(|word| seen.contains(word))
    });
    shown(&mut monitor);
    // A connection of the client's own begins with a handshake too, and a question stands for what the proxy answers.
    wire.ask("CLIENT SETNAME secret-name");
    wire.ask("WATCH k");
    seen.clear();
    eventually("the question and the lease are seen", || {
        seen += &shown(&mut monitor);
        ["\"client\" \"setname\" \"\"", "\"client\" \"id\"", "\"watch\" \"k\""].iter().all(|word| seen.contains(word))
    });
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
