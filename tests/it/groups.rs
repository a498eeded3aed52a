//! Groups of unmodified clients are applied together or not at all, and their replies stay what they were.

mod failures;

use std::time::{Duration, Instant};

use crate::harness::wire::{requests, words};
use crate::harness::{Proxy, RedisServer, Setup, Twin, Wire, eventually, request, text};

const LOGIN: &str = r#"
[[group]]
name = "refresh-token"
atomic = "transaction"
commands = [
  "SETEX rt:{user}:{token} {ttl} *",
  "SADD sess:{user} {token}",
  "EXPIRE sess:{user} *",
  { match = "SMEMBERS sess:{user}", optional = true },
]
"#;

const BLOB: &str = "[[group]]\nname = \"blob\"\nkeys = [\"blobs:*\", \"info:*\"]\n";

const MEMBERS: [&str; 4] = ["SETEX rt:ann:t1 100 token", "SADD sess:ann t1", "EXPIRE sess:ann 100", "SMEMBERS sess:ann"];
const REPLIES: &str = "+OK\r\n:1\r\n:1\r\n*1\r\n$2\r\nt1\r\n";

/// One that waits for the rest of a group longer than a busy machine keeps this test from sending it.
fn patient(redis: &RedisServer) -> Proxy {
    Setup::new(redis).pipeline("hold_ms = 5000\nhold_max_ms = 10000").rules(LOGIN).start()
}

/// What a real server's MONITOR shows, as the words of each command.
struct Monitor {
    wire: Wire,
    marks: Wire,
}

impl Monitor {
    fn on(redis: &RedisServer) -> Monitor {
        let mut wire = redis.wire();
        assert_eq!(wire.ask("MONITOR"), "+OK\r\n");
        Monitor { wire, marks: redis.wire() }
    }

    /// The names (and keys) of the commands since the last look, without those of handshakes: CLIENT ID, CLIENT INFO, the
    /// MULTI with its EXEC right behind it.
    fn seen(&mut self) -> Vec<String> {
        self.marks.ask("ECHO mark");
        let mut seen: Vec<String> = Vec::new();
        loop {
            let line = text(&self.wire.reply());
            let command = line.split_once("] ").map(|(_, command)| command.trim_end().replace('"', "")).expect("a command");
            let command = command.split(' ').take(2).collect::<Vec<_>>().join(" ");
            match &*command {
                "ECHO mark" => return seen,
                "CLIENT ID" | "CLIENT INFO" | "PING" => {}
                "EXEC" if seen.last().is_some_and(|last| last == "MULTI") => drop(seen.pop()),
                _ => seen.push(command),
            }
        }
    }
}

fn wrapped(members: &[&str]) -> Vec<String> {
    let names = members.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
    ["MULTI".to_owned()].into_iter().chain(names).chain(["EXEC".to_owned()]).collect()
}

fn bare(members: &[&str]) -> Vec<String> {
    let mut seen = wrapped(members);
    seen.pop();
    seen.remove(0);
    seen
}

#[test]
fn a_group_in_one_write_becomes_one_transaction() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut monitor = Monitor::on(&redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
    assert_eq!(monitor.seen(), wrapped(&MEMBERS));
    assert_eq!(proxy.groups("refresh-token", "applied"), 1.0);
    assert_eq!(proxy.metric("respguard_violations_total", &[]), 0.0);
    for command in ["setex", "sadd", "expire", "smembers"] {
        assert_eq!(proxy.metric("respguard_commands_total", &[("command", command)]), 1.0, "{command}");
    }
    assert_eq!(proxy.metric("respguard_commands_total", &[("command", "multi")]), 0.0);
}

#[test]
fn replies_are_those_of_the_unwrapped_commands_in_both_protocols() {
    let twin = Twin::start(LOGIN);
    for (mut pair, user) in [(twin.pair(), "two"), (twin.pair3(), "three")] {
        let lines: Vec<String> = MEMBERS.iter().map(|line| line.replace("ann", user)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        pair.same(&requests(&lines), 4);
        pair.same(&requests(&lines), 4);
        pair.same(&requests(&lines[..3]), 3);
        let inline: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect();
        pair.same(&inline, 4);
        pair.same_line(&format!("SET sess:{user} wrong-type"));
        pair.same(&requests(&lines), 4);
        pair.same(&requests(&["SETEX rt:x:t1 0 v", "SADD sess:x t1", "EXPIRE sess:x abc", "SMEMBERS sess:x"]), 4);
        pair.same(&requests(&["SETEX rt:y:t1 abc v", "SADD sess:y t1", "EXPIRE sess:y 10"]), 3);
        pair.same(&requests(&["DEL sess:x", "DEL sess:y"]), 2);
    }
    assert!(twin.proxy.groups("refresh-token", "applied") >= 8.0);
}

#[test]
fn a_group_cut_at_every_byte_is_still_one_transaction() {
    let redis = RedisServer::start(&[]);
    let proxy = patient(&redis);
    let mut monitor = Monitor::on(&redis);
    let mut wire = proxy.wire();
    let bytes = requests(&MEMBERS);
    let mut ends = Vec::new();
    for line in MEMBERS {
        ends.push(ends.last().unwrap_or(&0) + request(line).len());
    }
    for cut in 1..bytes.len() {
        redis.ask("DEL sess:ann");
        monitor.seen();
        wire.send(&bytes[..cut]);
        wire.send(&bytes[cut..]);
        let replies = wire.replies(4).concat();
        assert_eq!(text(&replies), REPLIES, "cut at {cut}");
        let seen = monitor.seen();
        if ends.contains(&cut) {
            continue;
        }
        let whole = seen == wrapped(&MEMBERS);
        // The end of the third member is the end of the group: what was cut off is optional.
        let shorter = cut > ends[2] && seen[..5] == wrapped(&MEMBERS[..3]);
        assert!(whole || shorter, "cut at {cut}: {seen:?}");
        assert!(!shorter, "cut at {cut}, inside the optional member: {seen:?}");
    }
    assert_eq!(proxy.groups("refresh-token", "unwrapped"), 0.0);
}

#[test]
fn a_group_byte_by_byte_is_still_one_transaction() {
    let redis = RedisServer::start(&[]);
    let rules = LOGIN;
    let proxy = Setup::new(&redis).rules(rules).pipeline("hold_ms = 50\nhold_max_ms = 2000").start();
    let mut monitor = Monitor::on(&redis);
    let mut wire = proxy.wire();
    for byte in requests(&MEMBERS) {
        wire.send(&[byte]);
    }
    assert_eq!(text(&wire.replies(4).concat()), REPLIES);
    let seen = monitor.seen();
    assert!(seen == wrapped(&MEMBERS) || seen[..5] == wrapped(&MEMBERS[..3]), "{seen:?}");
}

#[test]
fn every_spelling_of_a_member_is_recognised() {
    let redis = RedisServer::start(&[]);
    let rules =
        "[[group]]\nname = \"login\"\ncommands = [\"SETEX rt:{u} {ttl} *\", \"INCR n:{u}\", \"SET flag:{u} * NX PX *\"]\n";
    let proxy = Setup::new(&redis).pipeline("hold_ms = 0\n").rules(rules).start();
    let mut monitor = Monitor::on(&redis);
    let mut wire = proxy.wire();
    let spellings = [
        ["SETEX rt:a 100 v", "INCR n:a", "SET flag:a 1 NX PX 5000"],
        ["setex rt:a 100 v", "incr n:a", "set flag:a 1 px 5000 nx"],
        ["SET rt:a v EX 100", "INCRBY n:a 1", "SET flag:a 1 NX PX 5000"],
        ["sEt rt:a v ex 100", "iNcRbY n:a 1", "SET flag:a 1 Px 5000 Nx"],
        // A wildcard for a time takes it in any unit.
        ["SET rt:a v PX 100", "INCR n:a", "SET flag:a 1 NX EX 5000"],
        ["PSETEX rt:a 100 v", "INCR n:a", "SET flag:a 1 NX PXAT 9999999999999"],
    ];
    for lines in spellings {
        redis.ask("FLUSHALL");
        monitor.seen();
        assert_eq!(wire.pipeline(&lines).concat(), "+OK\r\n:1\r\n+OK\r\n");
        assert_eq!(monitor.seen(), wrapped(&lines), "{lines:?}");
    }
    for other in [
        ["SET rt:a v KEEPTTL", "INCR n:a", "SET flag:a 1 NX PX 5000"],
        ["SETEX rt:a 100 v", "INCRBY n:a 2", "SET flag:a 1 NX PX 5000"],
        ["SETEX rt:a 100 v", "INCR n:a", "SET flag:a 1 XX PX 5000"],
        ["SETEX rt:a 100 v", "INCR n:a", "SET flag:a 1 NX"],
        ["SETEX rt:a 100 v", "INCR n:b", "SET flag:a 1 NX PX 5000"],
    ] {
        monitor.seen();
        wire.pipeline(&other);
        assert_eq!(monitor.seen(), bare(&other), "{other:?}");
    }
}

#[test]
fn captures_that_do_not_agree_are_no_group() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).pipeline("hold_ms = 0\n").rules(LOGIN).start();
    let mut monitor = Monitor::on(&redis);
    let mut wire = proxy.wire();
    for lines in [
        ["SETEX rt:ann:t1 100 v", "SADD sess:bob t1", "EXPIRE sess:bob 100"],
        ["SETEX rt:ann:t1 100 v", "SADD sess:ann t2", "EXPIRE sess:ann 100"],
        ["SETEX rt:ann:t1 100 v", "SADD sess:ann t1", "EXPIRE sess:bob 100"],
        ["SETEX rt:ann: 100 v", "SADD sess:ann t1", "EXPIRE sess:ann 100"],
        ["SADD sess:ann t1", "SETEX rt:ann:t1 100 v", "EXPIRE sess:ann 100"],
        ["SETEX rt:ann:t1 100 v", "SADD sess:ann t1 t2", "EXPIRE sess:ann 100"],
    ] {
        wire.pipeline(&lines);
        assert_eq!(monitor.seen(), bare(&lines), "{lines:?}");
    }
    assert_eq!(proxy.metric("respguard_groups_total", &[]), 0.0);
}

#[test]
fn groups_and_foreign_commands_stand_side_by_side_in_one_write() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut monitor = Monitor::on(&redis);
    let mut wire = proxy.wire();
    let other: Vec<String> = MEMBERS.iter().map(|line| line.replace("ann", "bob")).collect();
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let mut lines = vec!["SET before 1", "GET before"];
    lines.extend(MEMBERS);
    lines.extend(["INCR between"]);
    lines.extend(&other[..3]);
    lines.extend(MEMBERS);
    lines.extend(["GET before", "PING"]);
    let replies = wire.pipeline(&lines);
    let expected =
        format!("+OK\r\n$1\r\n1\r\n{REPLIES}:1\r\n+OK\r\n:1\r\n:1\r\n{}$1\r\n1\r\n+PONG\r\n", REPLIES.replacen(":1", ":0", 1));
    assert_eq!(replies.concat(), expected);
    let mut expected = vec!["SET before".to_owned(), "GET before".to_owned()];
    expected.extend(wrapped(&MEMBERS));
    expected.push("INCR between".to_owned());
    expected.extend(wrapped(&other[..3]));
    expected.extend(wrapped(&MEMBERS));
    expected.extend(["GET before".to_owned()]);
    assert_eq!(monitor.seen(), expected);
    assert_eq!(proxy.groups("refresh-token", "applied"), 3.0);
}

#[test]
fn the_form_without_templates_takes_each_run_of_matching_keys() {
    let (redis, proxy) = Proxy::with_redis(BLOB);
    let mut monitor = Monitor::on(&redis);
    let mut wire = proxy.wire();
    let run = ["HSET blobs:1 bytes abc", "HSET info:1 size 3", "EXPIRE info:1 100", "MSET blobs:2 a blobs:3 b"];
    wire.pipeline(&run);
    assert_eq!(monitor.seen(), wrapped(&run));
    let broken = ["HSET blobs:1 bytes abc", "HSET info:1 size 3", "GET other", "DEL blobs:1", "SET info:9 x"];
    wire.pipeline(&broken);
    let expected = [wrapped(&broken[..2]), bare(&broken[2..3]), wrapped(&broken[3..])].concat();
    assert_eq!(monitor.seen(), expected);
    let alone = ["GET other", "DEL blobs:1", "GET other"];
    wire.pipeline(&alone);
    assert_eq!(monitor.seen(), bare(&alone), "one command needs no transaction");
    let half = ["MSET blobs:2 a other b", "DEL other blobs:2"];
    wire.pipeline(&half);
    assert_eq!(monitor.seen(), bare(&half), "all keys must match");
    let blocking = ["LPUSH blobs:q x", "BLPOP blobs:q 1", "SET info:9 x"];
    assert_eq!(wire.pipeline(&blocking)[1], "*2\r\n$7\r\nblobs:q\r\n$1\r\nx\r\n");
    assert!(!monitor.seen().contains(&"MULTI".to_owned()));
}

#[test]
fn inside_the_clients_own_multi_or_watch_nothing_is_wrapped() {
    let twin = Twin::start(LOGIN);
    let mut monitor = Monitor::on(&twin.behind);
    let mut pair = twin.pair();
    let mut lines = vec!["MULTI"];
    lines.extend(MEMBERS);
    lines.push("EXEC");
    pair.same(&requests(&lines), 6);
    assert_eq!(monitor.seen(), bare_of(&lines));
    pair.same(&requests(&["MULTI"]), 1);
    pair.same(&requests(&MEMBERS), 4);
    pair.same(&requests(&["EXEC"]), 1);
    assert_eq!(monitor.seen(), bare_of(&lines));
    pair.same(&requests(&["WATCH k"]), 1);
    pair.same(&requests(&MEMBERS), 4);
    pair.same(&requests(&["UNWATCH"]), 1);
    let mut watched = vec!["WATCH k"];
    watched.extend(MEMBERS);
    watched.push("UNWATCH");
    assert_eq!(monitor.seen(), bare_of(&watched));
    assert_eq!(twin.proxy.metric("respguard_groups_total", &[("outcome", "applied")]), 0.0);
    assert_eq!(twin.proxy.groups("refresh-token", "unwrapped"), 1.0, "within a MULTI it needs no other");
    assert_eq!(twin.proxy.violated("unwrapped", "refresh-token"), 1.0);
    let told = twin.proxy.logged("unwrapped");
    assert!(told.contains("the client's own WATCH is in force"), "{told}");
    pair.same(&requests(&MEMBERS), 4);
    assert_eq!(monitor.seen(), wrapped(&MEMBERS), "afterwards it is");
}

#[test]
fn groups_of_a_resp3_subscriber_are_groups() {
    for level in ["transaction", "guarded"] {
        let twin = Twin::start(&LOGIN.replace("\"transaction\"", &format!("\"{level}\"")));
        for redis in [&twin.direct, &twin.behind] {
            redis.ask("CONFIG SET notify-keyspace-events KEA");
        }
        let mut pair = twin.pair3();
        pair.same(&request("SUBSCRIBE __keyevent@0__:sadd __keyevent@0__:expire"), 2);
        // Servers do not agree on whether an event goes before the reply to the command that it is about, or behind all of
        // a transaction's.
        pair.same_apart_from_pushes(&requests(&MEMBERS), 7);
        pair.same_apart_from_pushes(
            &requests(&["SUBSCRIBE more", "SETEX rt:bob:t1 100 token", "SADD sess:bob t1", "EXPIRE sess:bob 100", "GET k"]),
            8,
        );
        pair.same(&request("UNSUBSCRIBE more __keyevent@0__:expire x"), 3);
        eventually("both are groups", || twin.proxy.groups("refresh-token", "applied") == 2.0);
        assert_eq!(twin.proxy.metric("respguard_violations_total", &[]), 0.0);
    }
}

#[test]
fn a_group_behind_the_last_unsubscribe_of_a_resp2_client_is_a_group() {
    let twin = Twin::start(LOGIN);
    let mut pair = twin.pair();
    pair.same(&request("SUBSCRIBE a"), 1);
    pair.same(&requests(&MEMBERS), 4);
    let mut lines = vec!["UNSUBSCRIBE a"];
    lines.extend(MEMBERS);
    pair.same(&requests(&lines), 5);
    eventually("it is a group", || twin.proxy.groups("refresh-token", "applied") == 1.0);
}

fn bare_of(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_large_member_is_still_in_the_transaction() {
    let redis = RedisServer::start(&[]);
    let proxy = patient(&redis);
    let mut monitor = Monitor::on(&redis);
    let mut wire = proxy.wire();
    for size in [60_000, 66_000, 200_000, 2_000_000] {
        redis.ask("DEL sess:ann");
        monitor.seen();
        let value = vec![b'v'; size];
        let mut bytes = words(&[b"SETEX", b"rt:ann:t1", b"100", &value]);
        bytes.extend_from_slice(&requests(&MEMBERS[1..]));
        wire.send(&bytes);
        assert_eq!(text(&wire.replies(4).concat()), REPLIES);
        assert_eq!(monitor.seen(), wrapped(&MEMBERS), "{size} bytes");
        assert_eq!(wire.ask("STRLEN rt:ann:t1"), format!(":{size}\r\n"));
        monitor.seen();
    }
    assert_eq!(proxy.groups("refresh-token", "applied"), 4.0);
}

#[test]
fn a_deep_pipeline_of_groups_is_wrapped_throughout() {
    let redis = RedisServer::start(&[]);
    let proxy = patient(&redis);
    let mut wire = proxy.wire();
    let bytes: Vec<u8> = (0..500)
        .flat_map(|i| {
            let lines = [
                format!("SETEX rt:u{i}:t 100 v"),
                format!("SADD sess:u{i} t"),
                format!("EXPIRE sess:u{i} 100"),
                format!("ECHO {i}"),
            ];
            requests(&lines.each_ref().map(String::as_str))
        })
        .collect();
    wire.send(&bytes);
    for i in 0..500 {
        assert_eq!(text(&wire.replies(4).concat()), format!("+OK\r\n:1\r\n:1\r\n${}\r\n{i}\r\n", i.to_string().len()));
    }
    assert_eq!(proxy.groups("refresh-token", "applied"), 500.0, "{:?}", proxy.violations().first());
}

/// Reads both halves in one script until `deadline` or until they differ; true when they did.
fn sees_half(redis: &RedisServer, rounds: u32, longest: Duration) -> bool {
    let mut reader = redis.wire();
    let script = b"return (redis.call('GET', 'pair:a') or '') == (redis.call('GET', 'pair:b') or '') and 1 or 0";
    let bytes = words(&[b"EVAL", script, b"2", b"pair:a", b"pair:b"]);
    let deadline = Instant::now() + longest;
    (0..rounds).take_while(|_| Instant::now() < deadline).any(|_| {
        reader.send(&bytes);
        reader.reply() == b":0\r\n"
    })
}

#[test]
fn a_reader_never_sees_half_a_group() {
    let (redis, proxy) = Proxy::with_redis("[[group]]\nname = \"pair\"\nkeys = [\"pair:*\"]\n");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (mut wire, stop) = (proxy.wire(), &stop);
            scope.spawn(move || {
                for round in 0..u32::MAX {
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                    let value = format!("{writer}-{round}");
                    wire.pipeline(&[&format!("SET pair:a {value}"), &format!("SET pair:b {value}")]);
                }
            });
        }
        let seen = sees_half(&redis, 4000, Duration::from_secs(8));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(!seen, "half a group was seen");
    });
    assert!(proxy.groups("pair", "applied") > 0.0);
}

#[test]
fn without_rules_a_reader_does_see_halves() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    // Two writes far apart in one pipeline: the server serves others between two reads of its socket.
    let mut bytes = request("SET pair:a 1");
    bytes.extend_from_slice(&words(&[b"SET", b"filler", &vec![b'x'; 4_000_000]]));
    bytes.extend_from_slice(&request("SET pair:b 1"));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| sees_half(&redis, u32::MAX, Duration::from_secs(20)));
        while !reader.is_finished() {
            wire.send(&bytes);
            wire.replies(3);
            wire.pipeline(&["DEL pair:a", "DEL pair:b"]);
        }
        assert!(reader.join().expect("the reader"), "half of what is no group can be seen");
    });
}

#[test]
fn members_that_come_after_each_others_replies_pass_unwrapped_and_promptly() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut monitor = Monitor::on(&redis);
    let mut wire = proxy.wire();
    let start = Instant::now();
    for _ in 0..10 {
        for line in MEMBERS {
            wire.ask(line);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(!monitor.seen().contains(&"MULTI".to_owned()));
    assert_eq!(proxy.groups("refresh-token", "applied"), 0.0);
}

#[test]
fn where_multi_is_not_allowed_groups_pass_and_are_counted_unwrapped() {
    let redis = RedisServer::start(&["--user", "plain on >pw ~* &* +@all -multi -exec"]);
    let proxy = Proxy::start(LOGIN, &redis);
    let mut wire = proxy.wire();
    wire.ask("AUTH plain pw");
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
    eventually("it is counted", || proxy.groups("refresh-token", "unwrapped") == 1.0);
    assert_eq!(proxy.violated("unwrapped", "refresh-token"), 1.0);
}
