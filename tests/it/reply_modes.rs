//! CLIENT REPLY: what the client does not want to see is left out, and rules hold all the same.

use crate::harness::wire::requests;
use crate::harness::{Proxy, Twin, eventually, request};

const RULES: &str = r#"
[[guard]]
name = "no-flush"
commands = ["FLUSHDB ..."]
action = "reject"

[[ttl]]
name = "sessions"
keys = ["s:*"]
action = "reject"

[[ttl]]
name = "fixed"
keys = ["f:*"]
action = "fix"
default = "50s"

[[ttl]]
name = "watched"
keys = ["w:*"]
grace_ms = 50

[[expect]]
name = "deleted"
command = "DEL rt:*"
reply = ">= 1"

[[group]]
name = "pair"
commands = ["INCR n:{u}", "SADD set:{u} *"]
"#;

#[test]
fn replies_are_left_out_as_redis_leaves_them_out() {
    let twin = Twin::start("");
    for mut pair in [twin.pair(), twin.pair3()] {
        let lines = [
            "CLIENT REPLY SKIP",
            "SET a 1",
            "GET a",
            "CLIENT REPLY OFF",
            "SET a 2",
            "GET nothing",
            "NOSUCH",
            "CLIENT REPLY SKIP",
            "CLIENT ID",
            "MULTI",
            "INCR n",
            "EXEC",
            "SELECT 1",
            "SET b 1",
            "SELECT 0",
            "CLIENT REPLY ON",
            "GET a",
            "CLIENT REPLY SKIP",
            "CLIENT REPLY ON",
            "PING",
            "CLIENT REPLY SKIP",
            "CLIENT REPLY SKIP",
            "PING",
            "CLIENT REPLY SKIP",
            "CLIENT ID",
            "GET n",
            "CLIENT REPLY SKIP",
            "SELECT 0",
            "CLIENT REPLY maybe",
            "CLIENT REPLY",
            "client reply on",
            "MULTI",
            "CLIENT REPLY SKIP x",
            "INCR n",
            "DISCARD",
        ];
        let seen = 12;
        pair.same(&requests(&lines), seen);
        pair.same_line("PING");
        pair.same(&requests(&["CLIENT REPLY OFF", "BLPOP list 0.05", "SUBSCRIBE ch"]), 1);
        pair.same(&requests(&["UNSUBSCRIBE ch", "CLIENT REPLY ON"]), 2);
        pair.same(&requests(&["CLIENT REPLY OFF", "RESET", "PING"]), 2);
        pair.same(&requests(&["CLIENT REPLY SKIP", "QUIT"]), 0);
    }
    assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

/// The server is asked whether the user may, and never told.
#[test]
fn a_user_without_the_right_hears_so_and_goes_on_hearing() {
    let twin = Twin::with(&["--user app on >pw ~* &* +@all -client|reply"], |setup| setup);
    let mut pair = twin.pair();
    for line in ["AUTH app pw", "CLIENT REPLY OFF", "CLIENT REPLY SKIP", "CLIENT REPLY ON", "PING"] {
        pair.same_line(line);
    }
}

#[test]
fn that_a_subscription_is_refused_is_a_reply_and_its_confirmation_is_none() {
    let twin = Twin::with(&["--user app on >pw ~* resetchannels &good +@all"], |setup| setup);
    for mut pair in [twin.pair(), twin.pair3()] {
        pair.same_line("AUTH app pw");
        let lines = ["CLIENT REPLY OFF", "SUBSCRIBE bad", "SUBSCRIBE", "SUBSCRIBE good", "UNSUBSCRIBE", "CLIENT REPLY ON"];
        pair.same(&requests(&lines), 3);
        pair.same(&requests(&["CLIENT REPLY SKIP", "SUBSCRIBE bad", "PING"]), 1);
        pair.same(&requests(&["CLIENT REPLY SKIP", "SUBSCRIBE good", "UNSUBSCRIBE", "PING"]), 3);
    }
}

#[test]
fn rules_hold_in_every_reply_mode() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    redis.ask("SET kept 1");
    let mut wire = proxy.wire();
    let silent = ["FLUSHDB", "SET s:1 x", "SET f:1 x", "SET w:1 x", "DEL rt:none", "INCR n:1", "SADD set:1 x"];
    wire.send(&request("CLIENT REPLY OFF"));
    wire.send(&requests(&silent));
    assert_eq!(wire.pipeline(&["CLIENT REPLY ON"]), ["+OK\r\n"]);
    assert_eq!(redis.ask("EXISTS kept s:1 f:1 w:1 n:1 set:1"), ":5\r\n", "all but what is rejected");
    assert!(redis.ask("PTTL f:1") != ":-1\r\n", "it is fixed");
    let told = |times: f64| {
        eventually("all is told", || {
            let kinds =
                [("guard", "no-flush"), ("ttl_rejected", "sessions"), ("ttl_missing", "watched"), ("expectation", "deleted")];
            kinds.iter().all(|(kind, rule)| proxy.violated(kind, rule) == times) && proxy.groups("pair", "applied") == times
        });
    };
    told(1.0);
    // Behind ON as before, and behind SKIP.
    assert!(wire.ask("FLUSHDB").starts_with("-ERR respguard: FLUSHDB is refused by guard no-flush"));
    for line in &silent[1..5] {
        wire.send(&requests(&["CLIENT REPLY SKIP", line]));
    }
    assert_eq!(wire.pipeline(&["INCR n:2", "SADD set:2 x"]).concat(), ":1\r\n:1\r\n");
    told(2.0);
    assert_eq!(wire.ask("GET kept"), "$1\r\n1\r\n");
}

#[test]
fn what_a_client_cannot_silence_inside_a_transaction_is_said() {
    let (_redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["MULTI", "INCR n", "CLIENT REPLY OFF", "EXEC", "PING"]);
    assert!(replies[2].starts_with("-ERR respguard: CLIENT REPLY inside MULTI is not possible"), "{replies:?}");
    assert_eq!(replies[3..], ["*1\r\n:1\r\n", "+PONG\r\n"]);
}
