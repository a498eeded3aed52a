//! Clients that asked for maintenance notifications are told before the process ends; the others are not.

use std::time::Duration;

use crate::harness::wire::request;
use crate::harness::{Proxy, RedisServer, Setup, Wire};

const ASK: &str = "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip";

fn start(drain_timeout_ms: u64) -> (RedisServer, Proxy) {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).pipeline(&format!("drain_timeout_ms = {drain_timeout_ms}")).start();
    (redis, proxy)
}

fn resp3(proxy: &Proxy) -> Wire {
    let mut wire = proxy.wire();
    assert!(wire.ask("HELLO 3").starts_with('%'));
    wire
}

#[track_caller]
fn is_told(wire: &mut Wire, seconds: u64) {
    let push = String::from_utf8(wire.reply()).expect("text");
    let mut lines = push.split("\r\n");
    assert_eq!([lines.next(), lines.next(), lines.next()], [Some(">4"), Some("$6"), Some("MOVING")], "{push:?}");
    let number = lines.next().and_then(|line| line.strip_prefix(':')).and_then(|number| number.parse::<u64>().ok());
    assert!(number.is_some_and(|number| number > 0), "{push:?}");
    assert_eq!([lines.next(), lines.next()], [Some(format!(":{seconds}").as_str()), Some("_")], "{push:?}");
}

#[test]
fn who_asked_is_told_before_the_process_ends_and_is_served_until_it_leaves() {
    let (_redis, proxy) = start(60_000);
    let (mut told, mut plain) = (resp3(&proxy), resp3(&proxy));
    assert_eq!(told.ask(ASK), "+OK\r\n");
    assert_eq!(told.ask("SET k v"), "+OK\r\n");
    assert!(plain.ask("PING").starts_with("+PONG"));
    proxy.terminate();
    is_told(&mut told, 45);
    assert_eq!(plain.until_closed(), b"", "others are closed as ever");
    for _ in 0..3 {
        assert_eq!(told.ask("GET k"), "$1\r\nv\r\n", "it is served on");
    }
    drop(told);
    let ended = proxy.ended();
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took < Duration::from_secs(30), "the process ends with its last client: {:?}", ended.took);
}

#[test]
fn the_notice_comes_behind_what_is_owed_and_only_once() {
    let (redis, proxy) = start(60_000);
    let mut wire = resp3(&proxy);
    assert_eq!(wire.ask(ASK), "+OK\r\n");
    redis.ask("SET k v");
    redis.pause();
    wire.send(&request("GET k"));
    crate::harness::eventually("it was sent on", || proxy.metric("respguard_commands_total", &[("command", "get")]) == 1.0);
    proxy.terminate();
    crate::harness::eventually("it drains", || proxy.get("/readyz").1.contains("draining"));
    redis.resume();
    assert_eq!(wire.reply(), b"$1\r\nv\r\n");
    is_told(&mut wire, 45);
    assert_eq!(wire.ask("GET k"), "$1\r\nv\r\n");
    assert!(wire.is_silent_for(Duration::from_millis(200)));
}

#[test]
fn who_does_not_leave_in_time_is_closed_in_good_order() {
    let (_redis, proxy) = start(4000);
    let mut wire = resp3(&proxy);
    assert_eq!(wire.ask(ASK), "+OK\r\n");
    proxy.terminate();
    is_told(&mut wire, 3);
    assert_eq!(wire.until_closed(), b"");
    assert_eq!(proxy.ended().status.code(), Some(0));
}

#[test]
fn who_did_not_ask_or_no_longer_does_is_not_told() {
    let (redis, proxy) = start(60_000);
    let mut never = resp3(&proxy);
    let mut off = resp3(&proxy);
    assert_eq!([off.ask(ASK), off.ask("CLIENT MAINT_NOTIFICATIONS OFF")], ["+OK\r\n"; 2]);
    let mut reset = resp3(&proxy);
    assert_eq!([reset.ask(ASK), reset.ask("RESET")], ["+OK\r\n", "+RESET\r\n"]);
    assert!(reset.ask("HELLO 3").starts_with('%'));
    let mut resp2 = resp3(&proxy);
    assert_eq!(resp2.ask(ASK), "+OK\r\n");
    assert!(resp2.ask("HELLO 2").starts_with('*'), "it takes no pushes any more");
    let mut refused = proxy.wire();
    assert_eq!(refused.ask(ASK), redis.ask(ASK), "with RESP2 the server's reply counts");
    let mut wrong = resp3(&proxy);
    for wrongly in ["ON moving-endpoint-type", "ON other-option x", "MAYBE"] {
        assert_eq!(wrong.ask(&format!("CLIENT MAINT_NOTIFICATIONS {wrongly}")), "-ERR syntax error\r\n");
    }
    proxy.terminate();
    for wire in [&mut never, &mut off, &mut reset, &mut resp2, &mut refused, &mut wrong] {
        assert_eq!(wire.until_closed(), b"");
    }
}

#[test]
fn asking_within_a_transaction_counts_with_exec_and_wants_the_right_to_client() {
    let (redis, proxy) = start(60_000);
    let mut wire = resp3(&proxy);
    assert_eq!(wire.pipeline(&["MULTI", ASK, "SET k v"]), ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"]);
    assert_eq!(wire.ask("EXEC"), "*2\r\n+OK\r\n+OK\r\n");
    redis.ask("ACL SETUSER narrow on nopass ~* +get +hello");
    let mut narrow = proxy.wire();
    assert!(narrow.ask("HELLO 3 AUTH narrow x").starts_with('%'));
    assert!(narrow.ask(ASK).starts_with("-NOPERM"));
    proxy.terminate();
    is_told(&mut wire, 45);
    assert_eq!(narrow.until_closed(), b"");
}
