//! TTL rules and the commands that came after Redis 7.0, on servers that have them: fields that expire, MSETEX, SET with other
//! conditions, vector sets.
//!
//! A row about a command that the server does not have is left out: `make test-servers TESTS=ttl_newer` tries each where it is.

use crate::harness::{Proxy, RedisServer, Wire, eventually, text};

fn rule(action: &str, more: &str) -> String {
    format!("[[ttl]]\nname = \"s\"\nkeys = [\"s:*\"]\naction = \"{action}\"\nmax = \"1h\"\ngrace_ms = 20\n{more}")
}

/// Whether the server has the command, and understands it in this form.
fn knows(redis: &RedisServer, line: &str) -> bool {
    let reply = redis.ask(&line.replace("s:", "asked:"));
    redis.ask("FLUSHALL");
    !["unknown command", "syntax error", "Invalid argument"].iter().any(|why| reply.contains(why))
}

/// Nothing is there but what these commands make.
fn prepare(redis: &RedisServer, lines: &str) {
    redis.ask("FLUSHALL");
    for line in lines.split("; ").filter(|line| !line.is_empty()) {
        assert!(!redis.ask(line).starts_with('-'), "{line}");
    }
}

fn pttl(redis: &RedisServer, key: &str) -> i64 {
    redis.ask(&format!("PTTL {key}")).trim().trim_start_matches(':').parse().expect("a number")
}

/// Before, the command, and what is told of it. The lifetime of a field is none of its key's.
const FLAGGED: &[(&str, &str, &str)] = &[
    ("", "HSETEX s:1 EX 100 FIELDS 1 f v", "ttl_missing"),
    ("HSET s:1 f v; EXPIRE s:1 100", "HEXPIRE s:1 100 FIELDS 1 f", ""),
    ("HSET s:1 f v", "HEXPIRE s:1 100 FIELDS 1 f", "ttl_missing"),
    ("HSET s:1 f v; EXPIRE s:1 100", "HPEXPIREAT s:1 9999999999999 FIELDS 1 f", ""),
    ("HSETEX s:1 EX 100 FIELDS 1 f v; EXPIRE s:1 100", "HPERSIST s:1 FIELDS 1 f", ""),
    ("HSETEX s:1 EX 100 FIELDS 1 f v; EXPIRE s:1 100", "HGETEX s:1 EX 9000 FIELDS 1 f", ""),
    ("HSET s:1 f v g v; EXPIRE s:1 100", "HGETDEL s:1 FIELDS 1 f", ""),
    ("", "MSETEX 2 s:1 v s:2 v EX 100", ""),
    ("", "MSETEX 1 s:1 v", "ttl_missing"),
    ("SET s:1 v EX 100", "MSETEX 1 s:1 v", "ttl_dropped"),
    ("SET s:1 v EX 100", "MSETEX 1 s:1 v KEEPTTL", ""),
    ("SET s:1 v EX 100", "MSETEX 1 s:1 v NX", ""),
    ("", "MSETEX 1 s:1 v EX 7200", "ttl_too_long"),
    ("SET s:1 v EX 100", "SET s:1 w IFEQ v", "ttl_dropped"),
    ("SET s:1 v EX 100", "SET s:1 w IFEQ other", ""),
    ("SET s:1 v EX 100", "SET s:1 w IFEQ v KEEPTTL", ""),
    ("SET s:1 v EX 100", "SET s:1 w IFEQ v EX 50", ""),
    ("SET s:1 v EX 100", "SET s:1 w KEEPTTL", ""),
    ("", "SET s:1 w KEEPTTL", "ttl_missing"),
    ("SET s:1 v", "DELIFEQ s:1 v", ""),
    ("SET s:1 v", "DELEX s:1", ""),
    ("XADD s:1 5-1 f v; EXPIRE s:1 100", "XDELEX s:1 KEEPREF IDS 1 5-1", ""),
    ("", "VADD s:1 VALUES 2 1 2 a", "ttl_missing"),
];

#[test]
fn what_they_make_of_a_lifetime_is_told() {
    let (redis, proxy) = Proxy::with_redis(&rule("flag", ""));
    let (mut wire, mut told) = (proxy.wire(), 0.0);
    for (before, line, wanted) in FLAGGED {
        if !knows(&redis, line) {
            continue;
        }
        prepare(&redis, before);
        let before_it = if wanted.is_empty() { 0.0 } else { proxy.violated(wanted, "s") };
        assert!(!wire.ask(line).starts_with('-'), "{line}");
        if !wanted.is_empty() {
            told += 1.0;
            eventually(line, || proxy.violated(wanted, "s") == before_it + 1.0);
        }
        eventually("no look is pending", || {
            let looks = |outcome: &str| proxy.metric("respguard_ttl_checks_total", &[("outcome", outcome)]);
            looks("rechecked") == ["late", "missing", "dropped", "gone", "unanswered"].map(looks).iter().sum::<f64>()
        });
        assert_eq!(proxy.metric("respguard_violations_total", &[]), told, "behind {line}");
        redis.ask("FLUSHALL");
    }
}

/// Before, the command, and the least and the most that the key lives.
const FIXED: &[(&str, &str, i64, i64)] = &[
    ("", "HSETEX s:1 EX 100 FIELDS 1 f v", 40_000, 50_000),
    ("", "HSETEX s:1 EX 100 FIELDS 1 NX v", 40_000, 50_000),
    ("SET other x", "HSETEX s:1 FNX EX 100 FIELDS 1 f v", -1, -1),
    ("", "MSETEX 1 s:1 v", 40_000, 50_000),
    ("", "MSETEX 2 s:1 NX s:2 XX", 40_000, 50_000),
    ("", "MSETEX 1 s:1 v NX", -1, -1),
    ("", "MSETEX 1 s:1 v EX 100", 90_000, 100_000),
    ("", "MSETEX 1 s:1 v EX 7200", 3_590_000, 3_600_000),
    ("SET s:1 v EX 200", "MSETEX 1 s:1 v KEEPTTL", 190_000, 200_000),
    ("", "MSETEX 1 s:1 v KEEPTTL", 40_000, 50_000),
    ("SET s:1 v", "SET s:1 w IFEQ v", 40_000, 50_000),
    ("SET s:1 v", "SET s:1 w IFEQ other", -1, -1),
    ("SET s:1 v", "SET s:1 w IFEQ v EX 7200", 3_590_000, 3_600_000),
    ("", "VADD s:1 VALUES 2 1 2 a", 40_000, 50_000),
];

#[test]
fn they_are_fixed_where_they_write_for_certain() {
    let (redis, proxy) = Proxy::with_redis(&rule("fix", "default = \"50s\"\n"));
    let answers = |wire: &mut Wire, line: &str| text(wire.ask(line).as_bytes());
    let mut wire = proxy.wire();
    for (before, line, least, most) in FIXED {
        if !knows(&redis, line) {
            continue;
        }
        prepare(&redis, before);
        let straight = answers(&mut redis.wire(), line);
        prepare(&redis, before);
        assert_eq!(answers(&mut wire, line), straight, "{line}");
        let left = pttl(&redis, "s:1");
        assert!((*least..=*most).contains(&left), "{line}: {left}");
    }
}

#[test]
fn they_are_rejected_where_the_command_alone_shows_it() {
    let (redis, proxy) = Proxy::with_redis(&rule("reject", ""));
    let mut wire = proxy.wire();
    for (line, is_rejected) in [
        ("MSETEX 1 s:1 v", true),
        ("MSETEX 2 s:1 v s:2 v EX 7200", true),
        ("MSETEX 1 s:1 v EX 100", false),
        ("MSETEX 1 s:1 v KEEPTTL", false),
        ("SET s:1 w IFEQ v", true),
        ("SET s:1 w IFEQ v PX 7200000", true),
        ("HSETEX s:1 EX 7200 FIELDS 1 f v", false),
    ] {
        if knows(&redis, line) {
            let reply = wire.ask(line);
            assert_eq!(reply.contains("respguard"), is_rejected, "{line}: {reply}");
            assert!(!is_rejected || redis.ask("DBSIZE") == ":0\r\n", "{line}");
        }
        redis.ask("FLUSHALL");
    }
}

/// A SET within a group keeps its lifetime or gets the rule's; a group whose other members are newer does, too.
#[test]
fn groups_with_them_are_fixed_in_their_transaction() {
    let redis = RedisServer::start(&[]);
    let group = "[[group]]\nname = \"cart\"\ncommands = [\"HSETEX s:{u} ...\", \"SET s:{u}:n *\"]\n";
    let proxy = Proxy::start(&format!("{}{group}", rule("fix", "default = \"50s\"\n")), &redis);
    let line = "HSETEX s:1 EX 100 FIELDS 1 f v";
    if !knows(&redis, line) {
        return;
    }
    let replies = proxy.wire().pipeline(&[line, "SET s:1:n 5"]);
    assert_eq!(replies.concat(), ":1\r\n+OK\r\n");
    for key in ["s:1", "s:1:n"] {
        assert!((40_000..=50_000).contains(&pttl(&redis, key)), "{key}: {}", pttl(&redis, key));
    }
    assert_eq!(proxy.groups("cart", "applied"), 1.0);
}
