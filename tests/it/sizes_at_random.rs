//! The same random session, with values below and above what is held whole, hears the same but for the values.
//!
//! The lengths are lowered for the proxy under test, so that a few KiB are a large request.

use fastrand::Rng;

use crate::harness::wire::words;
use crate::harness::{Proxy, RedisServer, Setup, Wire, text};
use crate::sessions_at_random::Seeds;

const SESSIONS: u64 = 60;
const KEYS: [&str; 6] = ["a", "b", "L", "rt:u1:h1", "sess:u1", "blobs:1"];

/// Held whole, cut through unless a rule is about it, and never held whole.
const SIZES: [usize; 3] = [1_000, 4_000, 40_000];
const LIMITS: &str = "2048 20480";
const _: () = assert!(SIZES[0] < 2_048 && 2_048 < SIZES[1] && SIZES[1] < 20_480 && 20_480 < SIZES[2]);

/// What rules do that hold at each length, beyond that of the second limit too.
const GROUPS: &str = r#"
[[group]]
name = "pair"
commands = ["SETEX rt:{user}:{token} {ttl} *", "SADD sess:{user} {token}"]

[[group]]
name = "blob"
keys = ["blobs:*"]
"#;

/// What rules do that need the whole request.
const RULES: &str = r#"
[[guard]]
name = "no-rename"
commands = ["RENAME * *", "SETRANGE * * *"]
action = "reject"

[[ttl]]
name = "sessions"
keys = ["sess:*"]
default = "100s"
action = "fix"

[[expect]]
name = "set"
command = "SET m:* * *"
reply = "OK"
action = "fail"
"#;

/// Single commands; `K` stands for any key, `V` for a value of the size under test.
const COMMANDS: &[&str] = &[
    "SET K V",
    "SET K V",
    "SETEX K 100 V",
    "APPEND K V",
    "GETSET K V",
    "GET K",
    "STRLEN K",
    "DEL K",
    "INCR K",
    "LPUSH K V V",
    "LPOP K",
    "LINDEX K 0",
    "SADD K V 7",
    "SCARD K",
    "HSET K f V",
    "HGET K f",
    "ZADD K 1 V",
    "ZSCORE K V",
    "TTL K",
    "TYPE K",
    "EXISTS K V",
    "ECHO V",
    "PING",
    "PING V",
    "MGET K V",
    "DEL V",
    "NOSUCH V",
    "GET V V",
    "SET K V NX",
    "SET K V EX 0",
    "RENAME K K",
    "SET m:1 V NX",
    "SETRANGE K 5 V",
    "EVAL return(#ARGV[1]) 1 K V",
    "PUBLISH ch V",
    "PERSIST K",
    "EXPIRE K V",
    "DISCARD",
    "EXEC",
    "EXEC V",
    "DISCARD V",
    "UNWATCH V",
    "SETEX rt:u1:h1 60 V;SADD sess:u1 h1",
    "SETEX rt:u1:7 60 V;SADD sess:u1 7",
    "SET blobs:1 V;STRLEN blobs:1",
];

/// Commands that belong together; `|` separates pipelines, a number any single command, `~` comes from another client.
const PASSAGES: &[&str] = &[
    "MULTI;1;2;EXEC",
    "MULTI|1|2;3|EXEC",
    "MULTI;1;2;DISCARD",
    "MULTI;SET K V;CLIENT GETNAME;STRLEN K;EXEC",
    "MULTI|SET K V|CLIENT GETNAME|1|EXEC",
    "MULTI;MULTI V;WATCH V;1;EXEC",
    "MULTI;NOSUCH V;1;EXEC",
    "MULTI;GET V V;1;EXEC",
    "MULTI;BLPOP V 0.01;1;EXEC",
    "MULTI;SELECT 1;SET K V;GET K;EXEC;1;SELECT 0",
    "WATCH K;1;MULTI;2;EXEC",
    "WATCH K V|MULTI|SET K V|EXEC",
    "WATCH K|~SET K V|MULTI;1;EXEC",
    "WATCH V|~SET K V|MULTI|SET K V|EXEC",
    "WATCH K V|~APPEND K V|MULTI|APPEND K V|EXEC",
    "WATCH V;UNWATCH;MULTI;1;EXEC",
    "SELECT 1;SET K V;1;SELECT 0",
    "SELECT V;1",
    "BLPOP V 0.01;1",
    "RPUSH L V;BLPOP L 1",
    "CLIENT SETNAME me;1;CLIENT GETNAME",
    "SUBSCRIBE V;1;UNSUBSCRIBE V;1",
    "SUBSCRIBE ch;SET K V;UNSUBSCRIBE ch;SET K V",
    "PSUBSCRIBE c*;PUBLISHED V;PUNSUBSCRIBE c*",
    "~SET K V|1",
    "RESET;1",
    "HELLO 3;1|1",
    "HELLO 2;1|1",
];

#[test]
fn without_rules_a_size_makes_no_difference() {
    compare("", &SIZES, 0);
}

#[test]
fn under_groups_a_size_makes_no_difference() {
    compare(GROUPS, &SIZES, 1_000_000);
}

#[test]
fn under_rules_a_size_makes_no_difference_up_to_what_is_held_whole() {
    compare(&format!("{GROUPS}{RULES}"), &SIZES[..2], 2_000_000);
}

fn compare(rules: &str, sizes: &[usize], first_seed: u64) {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rules(rules).environment("RESPGUARD_TEST_WHOLE_BYTES", LIMITS).start();
    let mut sessions = 0;
    for seed in Seeds::new("sizes", first_seed, SESSIONS) {
        for hello in [None, Some("HELLO 3")] {
            let steps = session(&mut Rng::with_seed(seed), hello);
            let [small, large @ ..] = &sizes.iter().map(|&size| played(&redis, &proxy, &steps, size)).collect::<Vec<_>>()[..]
            else {
                panic!("there are sizes");
            };
            for (size, large) in sizes[1..].iter().zip(large) {
                let place = small.iter().zip(large).position(|(a, b)| a != b);
                assert!(
                    place.is_none() && small.len() == large.len(),
                    "sizes, seed {seed}, {size} bytes\n{steps:#?}\nreply {place:?}: {:?}",
                    place.map(|place| (&small[place], &large[place]))
                );
            }
            sessions += 1;
        }
    }
    eprintln!("{sessions} sessions, no difference");
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    assert_eq!(proxy.metric("respguard_missed_wakeups_total", &[]), 0.0);
}

/// Pipelines of commands.
fn session(rng: &mut Rng, hello: Option<&str>) -> Vec<Vec<String>> {
    let mut steps: Vec<Vec<String>> = hello.iter().map(|hello| vec![(*hello).to_owned()]).collect();
    for _ in 0..rng.usize(2..14) {
        let passage = if rng.bool() { PASSAGES[rng.usize(..PASSAGES.len())] } else { "1" };
        for step in passage.split('|') {
            let mut commands = Vec::new();
            for part in step.split(';') {
                let any = part.parse::<u8>().is_ok();
                let lines = if any { COMMANDS[rng.usize(..COMMANDS.len())] } else { part };
                commands.extend(lines.split(';').map(|line| with_keys(line, rng)));
            }
            steps.push(commands);
        }
    }
    steps
}

fn with_keys(line: &str, rng: &mut Rng) -> String {
    let words = line.split(' ').map(|word| if word == "K" { KEYS[rng.usize(..KEYS.len())] } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// One text for each reply, without the values.
fn played(redis: &RedisServer, proxy: &Proxy, steps: &[Vec<String>], size: usize) -> Vec<String> {
    redis.ask("FLUSHALL");
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    let mut replies = Vec::new();
    for step in steps {
        let from_other = step[0].starts_with('~');
        let wire: &mut Wire = if from_other { &mut other } else { &mut wire };
        let value = vec![b'y'; size];
        let bytes: Vec<u8> = step.iter().flat_map(|line| sized(line.trim_start_matches('~'), &value)).collect();
        wire.send(&bytes);
        for line in step {
            match wire.frame() {
                Ok(reply) => replies.push(format!("{line}: {}", without_values(&text(&reply)))),
                Err(error) => panic!("{size} bytes, no reply to {line}: {error}\n{steps:#?}\n{replies:#?}"),
            }
        }
    }
    replies
}

fn sized(line: &str, value: &[u8]) -> Vec<u8> {
    words(&line.split(' ').map(|word| if word == "V" { value } else { word.as_bytes() }).collect::<Vec<_>>())
}

/// The reply with each value, and each number that may be the length of one or a client's id, in one form.
fn without_values(reply: &str) -> String {
    let line = |line: &str| {
        let number = line.strip_prefix(['$', ':']).and_then(|digits| digits.parse::<u64>().ok());
        match number {
            Some(number) if number >= SIZES[0] as u64 => format!("{}many", &line[..1]),
            _ => line.to_owned(),
        }
    };
    let lines = reply.split("\r\n").map(line).collect::<Vec<_>>().join("\r\n");
    let (mut out, mut run) = (String::new(), 0);
    for char in without_id(&lines).chars() {
        run = if char == 'y' { run + 1 } else { 0 };
        if run < 50 {
            out.push(char);
        }
    }
    out
}

/// `HELLO` tells the client's id.
fn without_id(reply: &str) -> String {
    match reply.split_once("id\r\n:") {
        Some((before, after)) => format!("{before}id\r\n{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => reply.to_owned(),
    }
}
