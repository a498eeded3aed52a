//! Rules hold in every state of a connection: what they could not look at is refused.

use crate::harness::wire::{request, requests};
use crate::harness::{Proxy, RedisServer, Setup, eventually, signal, text};

const RULES: &str = r#"
[[guard]]
name = "no-flush"
commands = ["FLUSHDB ..."]
action = "reject"

[[guard]]
name = "private"
commands = ["SUBSCRIBE secret:*", "SELECT 5", "CLIENT SETNAME admin", "AUTH *"]
action = "reject"

[[guard]]
name = "own"
keys_allowed = ["own:*"]
action = "reject"
"#;

const BEHIND: &str =
    "-ERR respguard: while there are rules nothing but PING and QUIT may follow here: they could not look at it\r\n";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";

#[test]
fn nothing_a_rule_could_be_about_follows_monitor() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    redis.ask("SET kept 1");
    for (together, next) in [(true, "FLUSHDB"), (false, "FLUSHDB"), (false, "RESET"), (true, "CONFIG SET maxmemory 0")] {
        let mut monitor = proxy.wire();
        if together {
            monitor.send(&requests(&["MONITOR", "PING", next, "FLUSHDB"]));
        } else {
            assert_eq!(monitor.pipeline(&["MONITOR", "PING"]).first().map(String::as_str), Some("+OK\r\n"));
            monitor.send(&request(next)[..4]);
            monitor.send(&request(next)[4..]);
            // It may be closed by now.
            let _ = monitor.try_send(&request("FLUSHDB"));
        }
        let seen = text(&monitor.until_closed());
        assert!(seen.ends_with(BEHIND), "{next}: {seen}");
    }
    assert_eq!(redis.ask("EXISTS kept"), ":1\r\n");
    let mut monitor = proxy.wire();
    monitor.send(&requests(&["MONITOR", "QUIT"]));
    let seen = text(&monitor.until_closed());
    assert!(seen.starts_with("+OK\r\n") && !seen.contains("respguard:"), "{seen}");
}

#[test]
fn who_is_unread_when_rules_come_is_read_from_then_on() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["REPLCONF listening-port 1", "SET kept 1"]), ["+OK\r\n", "+OK\r\n"]);
    proxy.rewrite(&Setup::new(&redis).rules(RULES));
    signal(proxy.pid(), "HUP");
    eventually("the rules are in force", || proxy.wire().ask("SELECT 5").starts_with("-ERR respguard: SELECT is refused"));
    wire.send(&request("FLUSHDB"));
    assert_eq!(text(&wire.until_closed()), BEHIND);
    assert_eq!(redis.ask("EXISTS kept"), ":1\r\n");
}

#[test]
fn what_would_leave_replies_without_requests_is_refused() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    redis.ask("SET kept 1");
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["REPLCONF listening-port 1", "FLUSHDB", "PING"]);
    assert!(replies[0].starts_with("-ERR respguard: the command is refused while there are rules"), "{replies:?}");
    assert!(replies[1].starts_with("-ERR respguard: FLUSHDB is refused"), "{replies:?}");
    for lines in [["MULTI", "SUBSCRIBE c", "EXEC", "FLUSHDB"], ["MULTI", "REPLCONF ack 1", "EXEC", "FLUSHDB"]] {
        let replies = wire.pipeline(&lines);
        assert!(replies[1].starts_with("-ERR respguard: the command is refused inside MULTI"), "{replies:?}");
        assert_eq!(replies[2], ABORTED);
        assert!(replies[3].starts_with("-ERR respguard: FLUSHDB is refused"), "{replies:?}");
    }
    assert_eq!(redis.ask("EXISTS kept"), ":1\r\n");
}

#[test]
fn guards_hold_in_subscribe_mode_and_inside_multi() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let refused = |reply: &str| reply.starts_with("-ERR respguard: ") && reply.contains("is refused by guard private");
    let mut wire = proxy.wire();
    assert!(wire.ask("SUBSCRIBE open").starts_with("*3\r\n"));
    assert!(refused(&wire.ask("SUBSCRIBE secret:a")));
    redis.ask("PUBLISH secret:a x");
    assert!(wire.ask("PING").contains("pong"));
    for line in ["SELECT 5", "CLIENT SETNAME admin", "AUTH x"] {
        let mut wire = proxy.wire();
        let replies = wire.pipeline(&["MULTI", line, "SET own:a 1", "EXEC"]);
        assert!(refused(&replies[1]) && replies[3] == ABORTED, "{line}: {replies:?}");
        assert_eq!(wire.ask("GET own:a"), "$-1\r\n");
    }
}

#[test]
fn behind_a_refused_watch_or_select_nothing_runs_without_it() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    for first in [&["WATCH other"][..], &["WATCH own:w", "WATCH other"]] {
        let mut wire = proxy.wire();
        let lines = [first, &["MULTI", "SET own:a 1", "EXEC", "GET own:a"]].concat();
        let replies = wire.pipeline(&lines);
        assert!(replies[first.len() - 1].starts_with("-ERR respguard: WATCH is refused by guard own"), "{replies:?}");
        assert!(replies[first.len() + 2].starts_with("-EXECABORT "), "{replies:?}");
        assert_eq!(replies[first.len() + 3], "$-1\r\n");
        // Nothing is watched any more, and the next transaction is like any other.
        redis.ask("SET own:w changed");
        assert_eq!(wire.pipeline(&["MULTI", "DEL own:a", "EXEC"])[2], "*1\r\n:0\r\n");
    }
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["SELECT 5", "SET own:a 1", "SELECT 0", "GET own:a"]);
    assert!(replies[0].contains("is refused by guard private") && replies[1].starts_with("-ERR respguard: "), "{replies:?}");
    assert_eq!(replies[2..], ["+OK\r\n", "$-1\r\n"]);
}

#[test]
fn a_login_inside_multi_does_not_reach_the_server_past_the_proxys_own() {
    let redis = RedisServer::start(&["--user writer on >writes ~* +@all", "--user other on >others ~* +@all"]);
    let upstream = "username = \"writer\"\npassword_env = \"TEST_PASSWORD\"";
    let proxy = Setup::new(&redis).upstream(upstream).environment("TEST_PASSWORD", "writes").start();
    for login in ["AUTH other others", "HELLO 3 AUTH other others"] {
        let mut wire = proxy.wire();
        let replies = wire.pipeline(&["MULTI", login, "ACL WHOAMI", "CLIENT ID", "EXEC", "ACL WHOAMI"]);
        assert!(replies[1].starts_with("-ERR AUTH <password> called without any password configured"), "{replies:?}");
        assert!(replies[4].starts_with("*2\r\n$6\r\nwriter\r\n:"), "{replies:?}");
        assert_eq!(replies[5], "$6\r\nwriter\r\n");
    }
}
