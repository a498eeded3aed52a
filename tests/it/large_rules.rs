//! Rules about commands of 64 KiB and more: they hold as about small ones, up to 8 MiB; beyond, what was not looked at is told.

use crate::harness::wire::words;
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, text};

const RULES: &str = r#"
[[ttl]]
name = "flagged"
keys = ["flag:*"]
grace_ms = 50

[[ttl]]
name = "fixed"
keys = ["fix:*"]
action = "fix"
default = "50s"

[[ttl]]
name = "kept"
keys = ["keep:*"]
keep = true

[[ttl]]
name = "rejected"
keys = ["rej:*"]
action = "reject"
max = "60s"

[[expect]]
name = "fresh"
command = "SETNX once:* *"
reply = "1"
action = "fail"
"#;

fn ask(wire: &mut Wire, line: &str, value: &[u8], rest: &str) -> String {
    let rest: Vec<&[u8]> = rest.split_whitespace().map(str::as_bytes).collect();
    let all: Vec<&[u8]> = line.split(' ').map(str::as_bytes).chain([value]).chain(rest).collect();
    wire.send(&words(&all));
    text(&wire.reply())
}

#[test]
fn a_rule_that_concerns_a_command_concerns_it_at_any_length_up_to_8_mib() {
    for length in [100, 65_000, 66_000, 3 * 1024 * 1024] {
        let (redis, proxy) = Proxy::with_redis(RULES);
        redis.ask("SET keep:1 x EX 50");
        redis.ask("SET once:1 x");
        let (mut wire, value) = (proxy.wire(), vec![b'v'; length]);
        assert_eq!(ask(&mut wire, "SET flag:1", &value, ""), "+OK\r\n");
        eventually("it is missing", || proxy.violated("ttl_missing", "flagged") == 1.0);
        assert_eq!(ask(&mut wire, "SET fix:1", &value, ""), "+OK\r\n");
        assert!(redis.ask("PTTL fix:1") != ":-1\r\n", "{length}");
        assert_eq!(ask(&mut wire, "SET keep:1", &value, ""), "+OK\r\n");
        assert!(redis.ask("PTTL keep:1") != ":-1\r\n", "{length}");
        let refused = "-ERR respguard: SET is refused by ttl rule rejected";
        for options in ["", "NX", "EX 61", "EXAT 99999999999"] {
            assert!(ask(&mut wire, "SET rej:1", &value, options).starts_with(refused), "{length} {options}");
        }
        assert!(ask(&mut wire, "SETNX once:1", &value, "").starts_with("-PARTIAL respguard: SETNX"), "{length}");
        assert_eq!(redis.ask("EXISTS rej:1"), ":0\r\n");
        assert_eq!(proxy.violated("ttl_rejected", "rejected"), 4.0);
        assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "too_large")]), 0.0);
    }
}

#[test]
fn beyond_8_mib_every_rule_tells_what_it_did_not_look_at() {
    let (_redis, proxy) = Proxy::with_redis(RULES);
    let (mut wire, value) = (proxy.wire(), vec![b'v'; 9 * 1024 * 1024]);
    for (line, rule) in [("SET flag:1", "flagged"), ("SET fix:1", "fixed"), ("SET keep:1", "kept"), ("SET rej:1", "rejected")] {
        assert_eq!(ask(&mut wire, line, &value, ""), "+OK\r\n");
        assert_eq!(proxy.violated("too_large", rule), 1.0, "{rule}");
    }
    assert_eq!(ask(&mut wire, "SETNX once:1", &value, ""), ":1\r\n");
    assert_eq!(proxy.violated("too_large", "fresh"), 1.0);
    assert_eq!(ask(&mut wire, "SET other", &value, ""), "+OK\r\n");
    assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "too_large")]), 5.0);
}

/// A length stands in front of what it measures: nothing of it needs to be held, or sent.
#[test]
fn a_value_that_is_too_long_is_refused_by_its_header() {
    let redis = RedisServer::start(&[]);
    let rules = "[[guard]]\nname = \"small\"\nvalue_bytes_max = 1000\naction = \"reject\"\n\
                 [[guard]]\nname = \"told\"\ncommands = [\"APPEND ...\"]\nvalue_bytes_max = 2000\n\
                 [[guard]]\nname = \"never\"\ncommands = [\"SET never:* *\"]\naction = \"reject\"\n";
    let proxy = Proxy::start(rules, &redis);
    let mut wire = proxy.wire();
    for length in [1001, 70_000, 9 << 20, 40 << 20] {
        let refused = "-ERR respguard: SET is refused by guard small: an argument is longer than 1000 bytes\r\n";
        assert_eq!(ask(&mut wire, "SET k", &vec![b'v'; length], ""), refused);
        assert_eq!(ask(&mut wire, "SET k", &vec![b'v'; length], "EX 10"), refused);
        assert_eq!(wire.ask("PING"), "+PONG\r\n", "the connection goes on");
    }
    assert_eq!(redis.ask("EXISTS k"), ":0\r\n");
    assert_eq!(proxy.violated("guard", "small"), 8.0);
    // Within the client's own transaction it is refused as any other command.
    assert_eq!(wire.pipeline(&["MULTI", "SET k 1"]).concat(), "+OK\r\n+QUEUED\r\n");
    assert!(ask(&mut wire, "SET k", &vec![b'v'; 9 << 20], "").starts_with("-ERR respguard: SET is refused by guard small"));
    assert_eq!(wire.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.\r\n");
    assert_eq!(redis.ask("EXISTS k"), ":0\r\n");
}

#[test]
fn a_guard_that_flags_tells_a_large_value_by_its_header() {
    let (_redis, proxy) = Proxy::with_redis("[[guard]]\nname = \"told\"\ncommands = [\"APPEND ...\"]\nvalue_bytes_max = 2000\n");
    let mut wire = proxy.wire();
    assert_eq!(ask(&mut wire, "APPEND k", &vec![b'v'; 9 << 20], ""), format!(":{}\r\n", 9 << 20));
    assert_eq!((proxy.violated("guard", "told"), proxy.violated("too_large", "told")), (1.0, 0.0));
}

#[test]
fn a_large_write_is_degraded_like_a_small_one() {
    let redis = RedisServer::absent(&[]);
    let rules = "[[degrade]]\nname = \"cache\"\nkeys = [\"cache:*\"]\nwrites = \"ok\"\n";
    let quick = "request_timeout_ms = 500\nqueue_timeout_ms = 200\nconnect_timeout_ms = 300";
    let proxy = Setup::new(&redis).top("workers = 1").upstream(quick).rules(rules).start();
    let mut wire = proxy.wire();
    eventually("the breaker is open", || wire.ask("SET cache:a 1") == "+OK\r\n");
    assert_eq!(ask(&mut wire, "SET cache:a", &vec![b'v'; 100_000], ""), "+OK\r\n");
    assert_eq!(wire.ask("SET cache:a 1"), "+OK\r\n");
}
