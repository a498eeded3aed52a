//! Keys that must expire and do not are found, and nobody sees how.

use crate::harness::wire::requests;
use crate::harness::{Proxy, Twin, eventually, request, text};

const RULE: &str =
    "[[ttl]]\nname = \"sessions\"\nkeys = [\"sess:*\", \"rt:*\"]\naction = \"flag\"\nmax = \"1h\"\ngrace_ms = 200\n";
const PATIENT: &str = "[[ttl]]\nname = \"sessions\"\nkeys = [\"sess:*\"]\naction = \"flag\"\ngrace_ms = 1500\n";

/// Looks that came to this end.
fn looks(proxy: &Proxy, outcome: &str) -> f64 {
    proxy.metric("respguard_ttl_checks_total", &[("outcome", outcome)])
}

/// Waits until no look is pending: as many second looks have ended as were begun.
fn resolved(proxy: &Proxy) {
    eventually("every second look has ended", || {
        let ended = ["late", "missing", "dropped", "gone", "unanswered"].iter().map(|outcome| looks(proxy, outcome)).sum::<f64>();
        looks(proxy, "rechecked") == ended
    });
}

#[test]
fn a_key_without_a_ttl_is_missing_one_after_the_grace() {
    let (_redis, proxy) = Proxy::with_redis(RULE);
    let mut wire = proxy.wire();
    let writes =
        ["SET sess:a v", "INCR sess:b", "HSET sess:c f v", "LPUSH rt:d x", "SADD rt:e x", "ZADD rt:f 1 a", "XADD sess:g 1-1 f v"];
    for (place, line) in writes.iter().enumerate() {
        assert!(!wire.ask(line).starts_with('-'));
        eventually(line, || proxy.violated("ttl_missing", "sessions") == place as f64 + 1.0);
    }
    wire.pipeline(&["SET other v", "SET x:sess:a v", "GET sess:a", "HGETALL sess:c"]);
    resolved(&proxy);
    assert_eq!(proxy.metric("respguard_violations_total", &[]), writes.len() as f64);
}

#[test]
fn a_ttl_that_a_sequential_client_sets_in_time_is_late_and_not_missing() {
    let (_redis, proxy) = Proxy::with_redis(PATIENT);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("INCR sess:n"), ":1\r\n");
    assert_eq!(wire.ask("EXPIRE sess:n 60"), ":1\r\n");
    eventually("it is late", || proxy.violated("ttl_late", "sessions") == 1.0);
    resolved(&proxy);
    assert_eq!(proxy.violated("ttl_missing", "sessions"), 0.0);
    wire.ask("INCR sess:n");
    resolved(&proxy);
    assert_eq!(proxy.metric("respguard_violations_total", &[]), 1.0, "the second INCR keeps the TTL");
}

#[test]
fn a_ttl_that_a_write_takes_away_is_dropped() {
    let (_redis, proxy) = Proxy::with_redis(RULE);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SETEX sess:a 100 v"), "+OK\r\n");
    assert_eq!(wire.ask("SET sess:a w"), "+OK\r\n");
    eventually("it is dropped", || proxy.violated("ttl_dropped", "sessions") == 1.0);
    assert_eq!(wire.ask("SETEX sess:b 100 v"), "+OK\r\n");
    assert_eq!(wire.ask("PERSIST sess:b"), ":1\r\n");
    eventually("it is dropped", || proxy.violated("ttl_dropped", "sessions") == 2.0);
    resolved(&proxy);
    assert_eq!(proxy.violated("ttl_missing", "sessions"), 0.0);
}

#[test]
fn a_ttl_beyond_the_longest_is_too_long_and_one_that_just_fits_is_not() {
    let (_redis, proxy) = Proxy::with_redis(RULE);
    let mut wire = proxy.wire();
    wire.pipeline(&["SETEX sess:a 3600 v", "SET sess:b v PX 3600000", "SADD sess:c x", "EXPIRE sess:c 3600"]);
    resolved(&proxy);
    assert_eq!(proxy.metric("respguard_violations_total", &[]), 0.0);
    wire.ask("SETEX sess:a 3601 v");
    eventually("it is too long", || proxy.violated("ttl_too_long", "sessions") == 1.0);
    wire.ask("EXPIRE sess:c 7200");
    eventually("it is too long", || proxy.violated("ttl_too_long", "sessions") == 2.0);
    wire.ask("SET sess:b v EXAT 99999999999");
    eventually("it is too long", || proxy.violated("ttl_too_long", "sessions") == 3.0);
}

#[test]
fn keys_that_get_their_ttl_in_the_same_batch_are_fine() {
    let (_redis, proxy) = Proxy::with_redis(RULE);
    let mut wire = proxy.wire();
    wire.ask("SETEX sess:a 100 v");
    wire.pipeline(&["SADD sess:s x", "EXPIRE sess:s 100"]);
    wire.pipeline(&["HSET sess:h f v", "SET other 1", "PEXPIRE sess:h 100000"]);
    wire.pipeline(&["MULTI", "INCR sess:n", "EXPIRE sess:n 100", "EXEC"]);
    wire.pipeline(&["SET sess:d v", "DEL sess:d"]);
    wire.ask("DEL sess:s");
    wire.ask("SET sess:p v PX 50000");
    wire.ask("GETEX sess:p EX 10");
    wire.ask("SET sess:p w KEEPTTL");
    wire.ask("APPEND sess:p more");
    for line in ["MULTI", "INCR sess:m", "EXPIRE sess:m 100", "EXEC"] {
        wire.ask(line);
    }
    wire.pipeline(&["MULTI", "INCR sess:never", "DISCARD"]);
    wire.ask("SET sess:never v XX");
    wire.ask("EXPIRE sess:never 99");
    resolved(&proxy);
    assert_eq!(proxy.metric("respguard_violations_total", &[]), 0.0, "{:?}", proxy.violations());
}

#[test]
fn a_transaction_that_leaves_a_key_without_ttl_is_found() {
    let (_redis, proxy) = Proxy::with_redis(RULE);
    let mut wire = proxy.wire();
    wire.pipeline(&["MULTI", "INCR sess:n", "EXEC"]);
    eventually("in one write", || proxy.violated("ttl_missing", "sessions") == 1.0);
    for line in ["MULTI", "INCR sess:m", "EXEC"] {
        wire.ask(line);
    }
    eventually("over several writes", || proxy.violated("ttl_missing", "sessions") == 2.0);
}

#[test]
fn the_looks_at_ttls_are_never_seen_in_the_replies() {
    let rules = format!("{RULE}\n[[group]]\nname = \"g\"\nkeys = [\"sess:*\", \"rt:*\"]\n");
    for rules in [RULE, &*rules] {
        let twin = Twin::start(rules);
        for mut pair in [twin.pair(), twin.pair3()] {
            let mut lines = vec!["DEL sess:a sess:l rt:h sess:n"];
            lines.extend([
                "SET sess:a v",
                "GET sess:a",
                "LPUSH sess:l x y",
                "LRANGE sess:l 0 -1",
                "INCR sess:n",
                "HSET rt:h f v",
            ]);
            lines.extend([
                "SET other 1",
                "HGETALL rt:h",
                "SETEX sess:a 100 v",
                "SET sess:a w",
                "PTTL sess:a",
                "MULTI",
                "INCR sess:n",
                "EXEC",
            ]);
            lines.extend(["LPUSH sess:a x", "GET sess:a", "RENAME sess:a sess:b", "BLPOP sess:l 1", "DEL sess:b", "PTTL sess:n"]);
            for line in &lines {
                pair.same_line(line);
            }
            pair.same(&requests(&lines), lines.len());
            let deep: Vec<u8> = (0..500).flat_map(|i| request(&format!("INCR sess:{i}"))).collect();
            pair.same(&deep, 500);
        }
        assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    }
}

#[test]
fn a_user_without_the_right_to_look_never_learns_of_it() {
    let users = "--user app on >pw ~* &* +@all -pttl";
    let twin = Twin::with(&[users], |setup| setup.rules(RULE));
    for hello in ["AUTH app pw", "AUTH app pw"] {
        let mut pair = twin.pair();
        pair.same_line(hello);
        for line in ["SET sess:a v", "GET sess:a", "INCR sess:n"] {
            pair.same_line(line);
        }
        pair.same(&requests(&["SET sess:b v", "LPUSH sess:l x", "MULTI", "SET sess:c v", "EXEC", "GET sess:b"]), 6);
    }
    let denied = looks(&twin.proxy, "denied");
    assert!(denied >= 1.0, "it is counted");
    let mut wire = twin.proxy.wire();
    wire.ask("AUTH app pw");
    let before = twin.behind.ask("INFO errorstats");
    for round in 0..20 {
        wire.ask(&format!("SET sess:{round} v"));
    }
    let _ = before;
    assert!(looks(&twin.proxy, "denied") <= denied + 2.0, "the check is off for this user");
    assert_eq!(twin.proxy.metric("respguard_violations_total", &[]), 0.0);
    let mut other = twin.proxy.wire();
    other.ask("SET sess:z v");
    eventually("others are still looked after", || twin.proxy.violated("ttl_missing", "sessions") == 1.0);
}

#[test]
fn the_event_names_rule_and_pattern_and_never_key_or_value() {
    let (_redis, proxy) = Proxy::with_redis(RULE);
    let mut wire = proxy.wire();
    wire.ask("SET sess:alice-7261 hunter2");
    eventually("it is missing", || proxy.violated("ttl_missing", "sessions") == 1.0);
    let event = proxy.logged("ttl_missing");
    for part in [
        "\"kind\":\"ttl_missing\"",
        "\"rule\":\"sessions\"",
        "\"key_pattern\":\"sess:*\"",
        "\"commands\":\"set\"",
        "\"client\":\"127.0.0.1:",
    ] {
        assert!(event.contains(part), "{part} in {event}");
    }
    assert!(event.starts_with('{') && event.ends_with('}'));
    for secret in ["alice", "7261", "hunter2"] {
        assert!(!proxy.log().contains(secret), "{}", proxy.log());
        assert!(!proxy.get("/metrics").1.contains(secret));
    }
}

#[test]
fn a_look_does_not_delay_the_reply() {
    let (_redis, proxy) = Proxy::with_redis(RULE);
    let mut wire = proxy.wire();
    for round in 0..300 {
        wire.send(&request(&format!("INCR sess:{}", round % 7)));
        assert_eq!(text(&wire.reply()), format!(":{}\r\n", round / 7 + 1));
    }
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}
