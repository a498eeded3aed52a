//! Commands that go out with another lifetime than they say, because a rule about their keys says so.

use crate::harness::wire::{requests, words};
use crate::harness::{Proxy, RedisServer, Wire, eventually, text};

const FIX: &str =
    "[[ttl]]\nname = \"locks\"\nkeys = [\"s:*\"]\naction = \"fix\"\ndefault = \"50s\"\nmax = \"60s\"\ngrace_ms = 20\n";

fn pttl(redis: &RedisServer, key: &str) -> i64 {
    redis.ask(&format!("PTTL {key}")).trim().trim_start_matches(':').parse().expect("a number")
}

fn is_fixed(redis: &RedisServer, key: &str) -> bool {
    (40_000..=50_000).contains(&pttl(redis, key))
}

fn in_protocol(mut wire: Wire, protocol: u8) -> Wire {
    wire.send_line(&format!("HELLO {protocol}"));
    wire.reply();
    wire
}

/// Conditional writes in every state of a connection: what clients read is what they would read straight.
#[test]
fn replies_are_those_of_the_command_that_was_sent() {
    let groups = "[[group]]\nname = \"claim\"\ncommands = [{ match = \"SETNX s:{u} *\", expect = \"= 1\" }, \"INCR n:{u}\"]\n[[group]]\nname = \"take\"\natomic = \"guarded\"\ncommands = [\"SETNX s:{u} *\", \"DECR n:{u}\"]\n";
    let lines = [
        &["SETNX s:1 a"][..],
        &["SETNX s:1 b"],
        &["SETNX s:2 a", "SETNX s:2 b", "GET s:2", "SETNX other a"],
        &["SET s:3 a NX", "SET s:3 b NX", "SET s:3 c XX", "SET s:4 d XX", "SET s:3 e XX GET", "SET s:5 f NX GET"],
        &["SETNX s:6 a", "INCR n:6"],
        &["SETNX s:6 a", "INCR n:6"],
        &["SETNX s:7 a", "DECR n:7"],
        &["SETNX s:7 a", "DECR n:7"],
        &["MULTI", "SETNX s:8 a", "SETNX s:8 b", "SET s:9 c NX", "EXEC"],
        &["WATCH s:8", "MULTI", "SETNX s:8 c", "SETNX s:10 a", "EXEC"],
        &["SETNX s:11", "SETNX s:11 a b", "SET s:11 a NX XX", "SET s:11 a NX EX", "SET s:11 a NX KEEPTTL"],
        &["LPUSH s:12 x", "SETNX s:12 a", "SET s:12 a XX GET"],
        &["CLIENT REPLY SKIP", "SETNX s:13 a", "SETNX s:13 b"],
        &["EXISTS s:1 s:2 s:3 s:4 s:5 s:6 s:7 s:8 s:9 s:10 s:11 s:12 s:13", "GET s:3"],
    ];
    for protocol in [2, 3] {
        let (redis, straight) = (RedisServer::start(&[]), RedisServer::start(&[]));
        let proxy = Proxy::start(&format!("{FIX}{groups}"), &redis);
        let mut wires = [proxy.wire(), straight.wire()].map(|wire| in_protocol(wire, protocol));
        for some in lines {
            let silent = usize::from(some[0].starts_with("CLIENT REPLY")) * 2;
            let [own, its] = wires.each_mut().map(|wire| {
                wire.send(&requests(some));
                wire.replies(some.len() - silent).iter().map(|reply| text(reply)).collect::<Vec<_>>()
            });
            assert_eq!(own, its, "{some:?} in RESP{protocol}");
        }
        for key in ["1", "2", "5", "6", "7", "8", "9", "10", "13"] {
            assert!(is_fixed(&redis, &format!("s:{key}")), "s:{key} in RESP{protocol}: {}", pttl(&redis, &format!("s:{key}")));
        }
        assert_eq!(pttl(&redis, "other"), -1);
        assert_eq!(proxy.violated("expectation", "claim"), 1.0, "of the second claim");
        assert_eq!((proxy.groups("claim", "applied"), proxy.groups("take", "applied")), (2.0, 2.0));
        assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    }
}

#[test]
fn what_does_not_write_does_nothing_to_somebody_elses_key() {
    let (redis, proxy) = Proxy::with_redis(FIX);
    redis.ask("SET s:forever x");
    redis.ask("SET s:short x PX 9000");
    let mut wire = proxy.wire();
    for key in ["s:forever", "s:short"] {
        assert_eq!(wire.ask(&format!("SETNX {key} y")), ":0\r\n");
        assert_eq!(wire.ask(&format!("SET {key} y NX")), "$-1\r\n");
        assert_eq!(wire.ask(&format!("SET {key} y NX EX 3600")), "$-1\r\n");
    }
    assert_eq!(pttl(&redis, "s:forever"), -1);
    assert!((1..=9000).contains(&pttl(&redis, "s:short")));
}

/// The lock of old: SETNX, and EXPIRE once that has answered. A client that dies in between leaves no lock for ever.
#[test]
fn a_lock_whose_lifetime_comes_later_keeps_its_own() {
    let (redis, proxy) = Proxy::with_redis(FIX);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SETNX s:lock me"), ":1\r\n");
    assert!(is_fixed(&redis, "s:lock"));
    assert_eq!(wire.ask("EXPIRE s:lock 5"), ":1\r\n");
    assert!((1..=5000).contains(&pttl(&redis, "s:lock")));
    assert_eq!(wire.pipeline(&["SETNX s:both me", "EXPIRE s:both 5 NX"]).concat(), ":1\r\n:1\r\n", "within one batch");
    assert!((1..=5000).contains(&pttl(&redis, "s:both")));
    assert_eq!(proxy.metric("respguard_violations_total", &[]), 0.0);
}

#[test]
fn a_user_who_may_not_set_keeps_setnx_and_is_told() {
    let (redis, proxy) = Proxy::with_redis(FIX);
    redis.ask("ACL SETUSER app on >pw ~* +@all -set");
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("AUTH app pw"), "+OK\r\n");
    assert_eq!(wire.pipeline(&["SETNX s:1 x", "SETNX s:1 x", "SETNX s:2 x"]).concat(), ":1\r\n:0\r\n:1\r\n");
    assert_eq!(pttl(&redis, "s:1"), -1);
    eventually("both are told", || proxy.violated("ttl_missing", "locks") == 2.0);
    proxy.logs("this user may not run SET");
    let asked = redis.ask("INFO commandstats");
    assert!(asked.contains("cmdstat_set:calls=0,") && asked.contains("rejected_calls=1"), "asked once: {asked}");
    // Who loses the right later loses what is under way, and no more.
    redis.ask("ACL SETUSER later on >pw ~* +@all");
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("AUTH later pw"), "+OK\r\n");
    assert_eq!(wire.ask("SETNX s:3 x"), ":1\r\n");
    redis.ask("ACL SETUSER later -set");
    assert!(wire.ask("SETNX s:4 x").starts_with("-NOPERM"));
    assert_eq!(wire.ask("SETNX s:4 x"), ":1\r\n");
}

#[test]
fn the_question_whether_a_user_may_set_changes_nothing() {
    let (redis, proxy) = Proxy::with_redis(FIX);
    redis.ask("SET s:1 x");
    assert_eq!(proxy.wire().ask("SETNX s:1 y"), ":0\r\n");
    assert_eq!((redis.ask("GET s:1"), pttl(&redis, "s:1")), ("$1\r\nx\r\n".to_owned(), -1));
}

#[test]
fn a_lifetime_beyond_the_maximum_becomes_the_maximum() {
    for protocol in [2, 3] {
        let (redis, straight) = (RedisServer::start(&[]), RedisServer::start(&[]));
        let proxy = Proxy::start(FIX, &redis);
        let mut wires = [proxy.wire(), straight.wire()].map(|wire| in_protocol(wire, protocol));
        let long = [
            "SET s:k v EX 3600",
            "SET s:k v px 3600000",
            "SET s:k v EXAT 9999999999",
            "SET s:k v PXAT 9999999999999",
            "SET s:k v XX EX 61 GET",
            "SETEX s:k 3600 v",
            "PSETEX s:k 90000 v",
            "GETEX s:k EX 3600",
            "GETEX s:k PX 3600000",
            "GETEX s:k EXAT 9999999999",
            "GETEX s:k PXAT 9999999999999",
            "EXPIRE s:k 3600",
            "PEXPIRE s:k 3600000",
            "EXPIREAT s:k 9999999999",
            "PEXPIREAT s:k 9999999999999",
            "EXPIRE s:k 3600 GT",
        ];
        for line in long {
            let short = if line.ends_with("GT") { "SET s:k v PX 9000" } else { "SET s:k v KEEPTTL" };
            let [own, its] = wires.each_mut().map(|wire| (wire.ask(short), wire.ask(line)));
            assert_eq!(own, its, "{line} in RESP{protocol}");
            assert!((50_000..=60_000).contains(&pttl(&redis, "s:k")), "{line}: {}", pttl(&redis, "s:k"));
            assert!(pttl(&straight, "s:k") > 60_000, "{line}");
        }
        for (line, at_most) in [("SET s:k v EX 30", 30_000), ("EXPIRE s:k 20", 20_000), ("GETEX s:k PX 10000", 10_000)] {
            let [own, its] = wires.each_mut().map(|wire| wire.ask(line));
            assert_eq!(own, its);
            assert!((1..=at_most).contains(&pttl(&redis, "s:k")), "{line} stays");
        }
        let all = ["MULTI", "SETEX s:m 3600 v", "EXPIRE s:m 7200", "EXEC"];
        let [own, its] = wires.each_mut().map(|wire| wire.pipeline(&all));
        assert_eq!(own, its);
        assert!((50_000..=60_000).contains(&pttl(&redis, "s:m")));
        for line in [
            "SET s:k v EX 0",
            "SETEX s:k x v",
            "SET s:k v EX 9999999999999999999",
            "EXPIRE s:k 99999999999999999",
            "SETEX s:k 3600",
        ] {
            let [own, its] = wires.each_mut().map(|wire| wire.ask(line));
            assert_eq!(own, its, "{line}");
        }
        assert_eq!(proxy.metric("respguard_violations_total", &[]), 0.0);
    }
}

/// DUMP's answer, put into a request.
fn restore(redis: &RedisServer, from: &str, head: &[&[u8]], tail: &[&[u8]]) -> Vec<u8> {
    let mut wire = redis.wire();
    wire.send_line(&format!("DUMP {from}"));
    let dump = wire.reply();
    let begin = dump.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
    words(&[head, &[&dump[begin..dump.len() - 2]], tail].concat())
}

#[test]
fn what_lengthens_a_lifetime_another_way_is_told() {
    let (redis, proxy) = Proxy::with_redis(FIX);
    redis.ask("SET long v EX 3600");
    let mut wire = proxy.wire();
    let mut told = 0.0;
    let mut tell = |what: &str, key: &str| {
        told += 1.0;
        eventually(what, || proxy.violated("ttl_too_long", "locks") == told);
        assert!(pttl(&redis, key) > 60_000, "{what}");
    };
    wire.ask("COPY long s:copy");
    tell("COPY", "s:copy");
    wire.send(&restore(&redis, "long", &[b"RESTORE", b"s:restored", b"3600000"], &[]));
    wire.reply();
    tell("RESTORE", "s:restored");
    redis.ask("SET s:kept v EX 3600");
    wire.ask("SET s:kept w KEEPTTL");
    tell("KEEPTTL", "s:kept");
    wire.send(&words(&[b"EVAL", b"return redis.call('SET',KEYS[1],'v','EX',3600)", b"1", b"s:script"]));
    wire.reply();
    tell("a script", "s:script");
    wire.ask("RENAME long s:renamed");
    tell("RENAME", "s:renamed");
}

#[test]
fn restore_with_a_longer_lifetime_or_none_is_rejected() {
    let (redis, proxy) = Proxy::with_redis(&FIX.replace("\"fix\"", "\"reject\""));
    redis.ask("SET other v");
    let mut wire = proxy.wire();
    for (ttl, more, why) in [
        ("0", "REPLACE", "without a TTL"),
        ("60001", "REPLACE", "longer than max"),
        ("9999999999999", "ABSTTL", "longer than max"),
    ] {
        wire.send(&restore(&redis, "other", &[b"RESTORE", b"s:1", ttl.as_bytes()], &[more.as_bytes()]));
        let reply = text(&wire.reply());
        assert!(reply.starts_with("-ERR respguard: RESTORE is refused") && reply.contains(why), "{reply}");
    }
    wire.send(&restore(&redis, "other", &[b"RESTORE", b"s:1", b"60000"], &[]));
    assert_eq!(text(&wire.reply()), "+OK\r\n");
}
