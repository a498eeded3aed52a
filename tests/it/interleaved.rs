//! With `between = "pass"` members of groups that other commands stand between are brought together where commands on other keys
//! can be passed, and only there.

use std::io::Write;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::harness::wire::requests;
use crate::harness::{Pair, Proxy, RedisServer, Setup, Twin, eventually, request, text};

pub const RULES: &str = r#"
[[group]]
name = "login"
between = "pass"
commands = [
  "SETEX rt:{user}:{token} {ttl} *",
  "SADD sess:{user} {token}",
  "EXPIRE sess:{user} *",
  { match = "SCARD sess:{user}", optional = true },
]

[[group]]
name = "blob"
between = "pass"
commands = ["HSET blob:{id} ...", "HSET info:{id} ..."]

[[group]]
name = "count"
between = "pass"
commands = ["INCR n:{id}", "EXPIRE n:{id} *"]
"#;

fn proxy(redis: &RedisServer, hold_ms: u32, hold_max_ms: u32) -> Proxy {
    Setup::new(redis).pipeline(&format!("hold_ms = {hold_ms}\nhold_max_ms = {hold_max_ms}\n")).rules(RULES).start()
}

#[test]
fn what_is_held_lets_others_pass_and_replies_keep_the_order_of_the_requests() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 5000, 10_000);
    let mut wire = proxy.wire();
    wire.send(&requests(&["HSET blob:1 a 1", "SET other 1", "ECHO x"]));
    eventually("the foreign command has passed", || redis.ask("GET other") == "$1\r\n1\r\n");
    assert_eq!(redis.ask("EXISTS blob:1"), ":0\r\n", "the beginning is held");
    assert!(wire.is_silent_for(Duration::from_millis(50)), "replies wait for the first one");
    wire.send(&requests(&["INCR other", "HSET info:1 b 2", "GET other"]));
    let replies: Vec<_> = wire.replies(6).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies, [":1\r\n", "+OK\r\n", "$1\r\nx\r\n", ":2\r\n", ":1\r\n", "$1\r\n2\r\n"]);
    eventually("it is one group", || proxy.groups("blob", "applied") == 1.0);
    let completed = proxy.metric("respguard_holds_total", &[("group", "blob"), ("outcome", "completed")]);
    assert_eq!((completed, proxy.metric("respguard_hold_prefix_members_count", &[])), (1.0, 1.0));
    assert!(proxy.metric("respguard_hold_gap_seconds_count", &[]) >= 1.0);
}

#[test]
fn the_rest_of_what_is_planned_at_once_is_not_waited_for() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 5000, 10_000);
    let mut wire = proxy.wire();
    // As many as are planned at once, the last of them a beginning; all of it comes in one read.
    let behind = requests(&["HSET blob:1 a 1", "HSET info:1 a 1", "GET other"]);
    let start = Instant::now();
    wire.send(&[b"PING\r\n".repeat(4095), behind].concat());
    assert_eq!(wire.replies(4098).len(), 4098);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    eventually("it is one group", || proxy.groups("blob", "applied") == 1.0);
}

#[test]
fn nothing_is_held_before_what_can_be_no_member() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 5000, 10_000);
    let start = Instant::now();
    let mut wire = proxy.wire();
    let large = format!("PUBLISH c {}", "x".repeat(300_000));
    wire.send(&requests(&["HSET blob:1 a 1", &large]));
    assert_eq!((wire.reply(), wire.reply()), (b":1\r\n".to_vec(), b":0\r\n".to_vec()));
    wire.send(&requests(&["HSET blob:2 a 1"]));
    wire.send(b"*1\r\n+no request\r\n");
    assert_eq!(wire.reply(), b":1\r\n");
    assert!(text(&wire.reply()).starts_with("-ERR Protocol error"));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn any_number_of_instances_are_open_at_once() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 5000, 10_000);
    let mut wire = proxy.wire();
    for part in 0..2 {
        for id in 0..50 {
            let key = ["blob", "info"][part];
            wire.send(&request(&format!("HSET {key}:{id} f {id}")));
        }
    }
    assert!(wire.replies(100).iter().all(|reply| reply == b":1\r\n"));
    eventually("each is a group", || proxy.groups("blob", "applied") == 50.0);
}

#[test]
fn the_oldest_beginning_expires_although_bytes_keep_coming() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 60, 150);
    let mut wire = proxy.wire();
    wire.send(&request("HSET blob:1 a 1"));
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(15));
        wire.send(&request("INCR other"));
    }
    wire.send(&requests(&["HSET blob:2 a 1", "HSET info:2 a 1"]));
    assert_eq!(wire.replies(23).len(), 23);
    eventually("it is told", || proxy.violated("split", "blob") == 1.0 && proxy.groups("blob", "applied") == 1.0);
    assert_eq!(proxy.metric("respguard_split_members_count", &[]), 1.0);
}

#[test]
fn what_cannot_be_brought_together_passes_in_its_place_and_is_told_with_the_reason() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 2, 20);
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["HSET blob:1 a 1", "HGET blob:1 a", "HSET info:1 a 1"]);
    assert_eq!(replies.concat(), ":1\r\n$1\r\n1\r\n:1\r\n");
    eventually("it is told", || proxy.violated("split", "blob") == 1.0);
    let told = proxy.logged("split");
    assert!(told.contains("a command between its members has a key of one of them"), "{told}");
    assert_eq!(proxy.groups("blob", "applied"), 0.0);
}

#[test]
fn replies_that_would_wait_for_too_much_end_the_hold() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis, 10_000, 10_000);
    redis.wire().ask(&format!("SET big {}", "x".repeat(300_000)));
    let mut wire = proxy.wire();
    wire.send(&requests(&["HSET blob:1 a 1", "GET big"]));
    eventually("the reply waits", || proxy.metric("respguard_hold_prefix_members_count", &[]) == 1.0);
    wire.send(&request("GET other"));
    assert_eq!(wire.reply(), b":1\r\n");
    assert_eq!(wire.reply().len(), 300_011);
    assert_eq!(wire.reply(), b"$-1\r\n");
}

/// Interleavings for each of which everything is compared.
const INTERLEAVINGS: u64 = 10_000;

/// Instances of groups; `@` and `#` stand for small numbers, which instances may share.
const INSTANCES: &[&[&str]] = &[
    &["SETEX rt:u@:t# 1000 v", "SADD sess:u@ t#", "EXPIRE sess:u@ 1000", "SCARD sess:u@"],
    &["SETEX rt:u@:t# 1000 w", "SADD sess:u@ t#", "EXPIRE sess:u@ 1000"],
    &["SET rt:u@:t# x EX 1000", "SADD sess:u@ t#"],
    &["HSET blob:@ f #", "HSET info:@ g #"],
    &["HSET blob:@ f #", "HSET info:@ g #"],
    &["HSET blob:@ f #"],
    &["INCR n:@", "EXPIRE n:@ 1000"],
    &["RPUSH list:@ #", "INCR other:@"],
];

/// Commands of other callers.
const FOREIGN: &[&str] = &[
    "GET other:@",
    "INCR other:@",
    "APPEND other:@ z",
    "RPUSH list:@ #",
    "LPOP list:@",
    "HGET blob:@ f",
    "HSET info:@ g foreign",
    "DEL info:@",
    "SCARD sess:u@",
    "SADD sess:u@ foreign",
    "GET rt:u@:t#",
    "GET n:@",
    "DEL rt:u@:t# sess:u@",
    "SET n:@ #",
    "SET info:@ wrong",
    "MGET other:@ n:@",
    "RENAME other:@ other:#",
    "ECHO #",
    "PING",
    "DBSIZE",
    "PUBLISH c #",
    "EVAL return(redis.call('incr','other:#')) 0",
    "CLIENT SETNAME c#",
    "NOSUCHCOMMAND",
];

/// What nobody gets between.
const PASSAGES: &[&[&str]] = &[&["MULTI", "INCR other:@", "HGET blob:# f", "EXEC"], &["WATCH n:@", "MULTI", "GET n:@", "EXEC"]];

/// Several callers' commands, each caller's in their order.
pub fn interleaving(rng: &mut Rng) -> Vec<String> {
    let mut callers: Vec<Vec<String>> = Vec::new();
    for _ in 0..rng.usize(1..7) {
        let (i, j) = (rng.u32(..3), rng.u32(..3));
        let lines: &[&str] = match rng.u8(..10) {
            0..=5 => rng.choice(INSTANCES).expect("there are some"),
            6..=8 => std::slice::from_ref(rng.choice(FOREIGN).expect("there are some")),
            _ => rng.choice(PASSAGES).expect("there are some"),
        };
        let whole = lines[0] == "MULTI" || lines[0].starts_with("WATCH");
        let lines: Vec<_> = lines.iter().map(|line| line.replace('@', &i.to_string()).replace('#', &j.to_string())).collect();
        callers.push(if whole { vec![lines.join("\n")] } else { lines });
    }
    let mut all = Vec::new();
    while !callers.is_empty() {
        let caller = rng.usize(..callers.len());
        all.push(callers[caller].remove(0));
        if callers[caller].is_empty() {
            callers.remove(caller);
        }
    }
    all.join("\n").lines().map(str::to_owned).collect()
}

/// Everything that both servers know, as they answer it.
fn state(pair: &mut Pair) {
    let mut lines = vec!["DBSIZE".to_owned()];
    for i in 0..3 {
        for key in ["blob", "info"] {
            lines.extend([format!("HGET {key}:{i} f"), format!("HGET {key}:{i} g"), format!("TYPE {key}:{i}")]);
        }
        lines.extend([format!("GET other:{i}"), format!("LRANGE list:{i} 0 -1"), format!("GET n:{i}")]);
        lines.extend([format!("SCARD sess:u{i}"), format!("EXPIRETIME missing:{i}")]);
        for j in 0..3 {
            lines.extend([format!("GET rt:u{i}:t{j}"), format!("SISMEMBER sess:u{i} t{j}")]);
        }
    }
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    pair.same(&requests(&lines), lines.len());
}

/// Rules that look at everything and change nothing, and a group whose members come in any order.
pub const ONLOOKERS: &str = r#"
[[group]]
name = "pair"
between = "pass"
order = "any"
commands = ["INCR other:{id}", "RPUSH list:{id} *"]

[[ttl]]
name = "expiring"
keys = ["rt:*", "sess:*", "n:*", "info:*"]

[[expect]]
name = "found"
command = "GET *"
reply = "!nil"

[[guard]]
name = "small"
value_bytes_max = 1
"#;

/// Sends the same straight and, in pieces, through the proxy: replies, and what is left of it, are the same.
pub fn same_in_pieces(pair: &mut Pair, lines: &[String], about: &str, rng: &mut Rng) {
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let bytes = requests(&lines);
    pair.direct.send(&bytes);
    send_in_pieces(pair, &bytes, rng);
    pair.same_replies(format!("{about}: {}", lines.join(" | ")).as_bytes(), lines.len());
    state(pair);
    if rng.u8(..4) == 0 {
        pair.same_line("FLUSHALL");
    }
}

/// Compares what is left of so many interleavings, sent through a proxy with these rules and straight.
pub fn compare(rules: &str, interleavings: u64) -> Twin {
    let seed = std::env::var("RESPGUARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("RESPGUARD_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let twin = Twin::with(&[], |setup| setup.pipeline("hold_ms = 1\nhold_max_ms = 4\n").rules(rules));
    let mut pair = twin.pair();
    for round in 0..interleavings {
        let lines = interleaving(&mut rng);
        same_in_pieces(&mut pair, &lines, &format!("round {round} of seed {seed}"), &mut rng);
    }
    twin
}

#[test]
fn ten_thousand_interleavings_leave_redis_as_the_same_commands_sent_straight() {
    let twin = compare(RULES, INTERLEAVINGS);
    let wrapped = ["login", "blob", "count"].map(|group| twin.proxy.groups(group, "applied"));
    assert!(wrapped.iter().all(|groups| *groups > 1000.0), "{wrapped:?}");
    assert!(twin.proxy.violated("split", "blob") > 100.0, "some cannot be brought together");
}

#[test]
fn rules_that_only_look_on_change_nothing() {
    let twin = compare(&format!("{RULES}{ONLOOKERS}"), 1000);
    assert!(["login", "pair"].iter().all(|group| twin.proxy.groups(group, "applied") > 10.0));
    let told = [("ttl_missing", "expiring"), ("expectation", "found"), ("guard", "small")];
    assert!(told.iter().all(|(kind, rule)| twin.proxy.violated(kind, rule) > 0.0), "each of them has seen something");
}

/// Now and then cut into pieces with time between them.
fn send_in_pieces(pair: &mut Pair, bytes: &[u8], rng: &mut Rng) {
    let mut rest = bytes;
    while rng.u8(..3) == 0 && rest.len() > 1 {
        let (piece, behind) = rest.split_at(rng.usize(1..rest.len()));
        pair.proxied.stream().write_all(piece).expect("the proxy takes it");
        std::thread::sleep(Duration::from_micros(rng.u64(..1500)));
        rest = behind;
    }
    pair.proxied.stream().write_all(rest).expect("the proxy takes it");
}
