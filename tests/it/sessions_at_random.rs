//! Random sessions, cut at random bytes, get from the proxy what they get from Redis alone.

use std::io::Write;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::harness::wire::words;
use crate::harness::{Twin, Wire, text};

const SESSIONS: u64 = 120;
const KEYS: [&str; 7] = ["a", "b", "L", "rt:u1:h1", "sess:u1", "blobs:1", "info:1"];
const END: &str = "the end of the session";

const RULES: &str = r#"
[[group]]
name = "refresh-token"
commands = [
  "SETEX rt:{user}:{token} {ttl} *",
  "SADD sess:{user} {token}",
  "EXPIRE sess:{user} *",
  { match = "SMEMBERS sess:{user}", optional = true },
]

[[group]]
name = "blob"
keys = ["blobs:*", "info:*"]

[[ttl]]
name = "sessions"
keys = ["rt:*", "sess:*"]
"#;

/// Single commands; `K` stands for any key, `V` for any value.
pub const COMMANDS: &[&str] = &[
    "GET K",
    "SET K V",
    "INCR K",
    "DEL K",
    "LPUSH K 1 2",
    "RPOP K",
    "SADD K 7",
    "SMEMBERS K",
    "HSET K f 1",
    "HGETALL K",
    "ZADD K 1 m",
    "ZRANGE K 0 -1 WITHSCORES",
    "SETEX K 100 V",
    "EXPIRE K 100",
    "PERSIST K",
    "EXISTS K K",
    "PING",
    "ECHO hi",
    "MGET K K",
    "NOSUCHCOMMAND x",
    "GET",
    "SET K 1 EX 0",
    "SETEX K -1 v",
    "TYPE K",
    "XADD K 1-1 f v",
    "XRANGE K - +",
    "OBJECT ENCODING K",
    "OBJECT NOSUB x",
    "STRLEN K",
    "APPEND K z",
    "DBSIZE",
    "RENAME K K",
    "EXEC",
    "DISCARD",
    "UNWATCH",
];

/// Commands that belong together, separated by `;`.
const PASSAGES: &[&str] = &[
    "MULTI;1;2;EXEC",
    "MULTI;1;2;3;DISCARD",
    "WATCH K;1;MULTI;2;EXEC",
    "WATCH K;1;UNWATCH",
    "MULTI;MULTI;1;EXEC",
    "MULTI;WATCH a;NOSUCHCOMMAND;EXEC",
    "SELECT 1",
    "SELECT 0",
    "SELECT 99",
    "SELECT 1;1;SELECT 0;2",
    "RPUSH L e;BLPOP L 1",
    "DEL L;BLPOP L 0.01",
    "MULTI;DEL L;BLPOP L 1;EXEC",
    "CLIENT SETNAME me;1;CLIENT GETNAME",
    "HELLO 3;1",
    "HELLO 2;1",
    "HELLO 9",
    "RESET;1",
    "MULTI;SELECT 1;1;EXEC;2",
    "HSET blobs:1 f 1;HSET info:1 g 2",
    "SUBSCRIBE ch;UNSUBSCRIBE ch;PING",
    "SETEX rt:u1:h1 60 v;SADD sess:u1 7;EXPIRE sess:u1 60;SMEMBERS sess:u1",
    "SETEX rt:u1:7 60 v;SADD sess:u1 7;EXPIRE sess:u1 60",
];

#[test]
fn without_rules() {
    compare("", 0);
}

#[test]
fn with_groups_and_ttls() {
    compare(RULES, 1_000_000);
}

fn compare(rules: &str, first_seed: u64) {
    let twin = Twin::start(rules);
    let mut sessions = 0;
    for seed in Seeds::new("sessions", first_seed, SESSIONS) {
        let mut commands = session(&mut Rng::with_seed(seed));
        if !rules.is_empty() {
            leave_out_what_aborts_a_run(&mut commands);
        }
        twin.direct.ask("FLUSHALL");
        twin.behind.ask("FLUSHALL");
        let direct = played(twin.direct.wire(), &commands, &mut Rng::with_seed(seed));
        let proxied = played(twin.proxy.wire(), &commands, &mut Rng::with_seed(seed));
        assert!(direct == proxied, "sessions, seed {seed}\n{}", difference(&commands, &direct, &proxied));
        sessions += 1;
    }
    eprintln!("{sessions} sessions, no difference");
    assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

/// A command that lacks its key aborts the run that it stands in, as docs/atomicity.md says, and Redis runs the rest.
fn leave_out_what_aborts_a_run(commands: &mut Vec<String>) {
    let is_near =
        |line: Option<&String>| line.is_some_and(|line| line == "GET" || line.contains("blobs:") || line.contains("info:"));
    let all = commands.clone();
    let mut at = 0_usize..;
    commands.retain(|line| {
        let at = at.next().unwrap_or_default();
        let before = at.checked_sub(1).and_then(|before| all.get(before));
        line != "GET" || !(is_near(before) || is_near(all.get(at + 1)))
    });
}

/// Seeds from `first` on: so many, or the one that `SEED` in the environment says, or with `SOAK_SECONDS` in the environment as many as the time allows, other ones each
/// time.
pub struct Seeds {
    next: u64,
    left: u64,
    deadline: Option<Instant>,
}

impl Seeds {
    pub fn new(what: &str, first: u64, count: u64) -> Seeds {
        let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
        if let Some(seed) = number("SEED") {
            return Seeds { next: seed, left: 1, deadline: None };
        }
        let soak = number("SOAK_SECONDS").map(Duration::from_secs);
        let next = if soak.is_some() { fastrand::u64(first..u64::MAX / 2) } else { first };
        eprintln!("{what}: seeds from {next} on");
        Seeds { next, left: count, deadline: soak.map(|soak| Instant::now() + soak) }
    }
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let over = self.deadline.map_or(self.left == 0, |deadline| Instant::now() >= deadline);
        self.left = self.left.saturating_sub(1);
        self.next += 1;
        (!over).then(|| self.next - 1)
    }
}

fn session(rng: &mut Rng) -> Vec<String> {
    let mut commands = Vec::new();
    for _ in 0..rng.usize(2..25) {
        if rng.u8(..) < 90 {
            let exec_stream = PASSAGES[rng.usize(..PASSAGES.len())];
            for part in exec_stream.split(';') {
                let any = part.parse::<u8>().is_ok();
                commands.push(filled(if any { COMMANDS[rng.usize(..COMMANDS.len())] } else { part }, rng));
            }
        } else {
            commands.push(filled(COMMANDS[rng.usize(..COMMANDS.len())], rng));
        }
    }
    commands
}

/// The command with keys and values in the places for them.
pub fn filled(command: &str, rng: &mut Rng) -> String {
    let word = |word: &str, rng: &mut Rng| match word {
        "K" => KEYS[rng.usize(..KEYS.len())].to_owned(),
        "V" => "y".repeat([1, 10, 1000, 20_000][rng.usize(..4)]),
        other => other.to_owned(),
    };
    command.split(' ').map(|part| word(part, rng)).collect::<Vec<_>>().join(" ")
}

/// Sends the commands in random pieces and returns one text per reply.
fn played(mut wire: Wire, commands: &[String], rng: &mut Rng) -> Vec<String> {
    let mut bytes: Vec<u8> = commands.iter().flat_map(|line| crate::harness::request(line)).collect();
    bytes.extend(words(&[b"ECHO", END.as_bytes()]));
    let longest = [bytes.len(), 30, 200, 3000][rng.usize(..4)].max(bytes.len() / 500);
    let mut stream = wire.stream().try_clone().expect("a socket can be cloned");
    let mut rng = rng.clone();
    let sender = std::thread::spawn(move || {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rng.usize(1..=longest).min(rest.len()));
            stream.write_all(piece).expect("the session is read");
            rest = behind;
            if rng.u8(..) < 60 {
                std::thread::sleep(Duration::from_micros([100, 500, 3000][rng.usize(..3)]));
            }
        }
    });
    let mut replies = Vec::new();
    while replies.last().is_none_or(|last: &String| !last.contains(END)) {
        replies.push(without_id(&text(&wire.reply())));
    }
    sender.join().expect("the sender ends");
    replies
}

/// HELLO tells the client's id, which the two servers count apart.
fn without_id(reply: &str) -> String {
    match reply.split_once("id\r\n:") {
        Some((before, after)) => {
            format!("{before}id\r\n{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => reply.to_owned(),
    }
}

fn difference(commands: &[String], direct: &[String], proxied: &[String]) -> String {
    let place = direct.iter().zip(proxied).position(|(a, b)| a != b).unwrap_or(direct.len().min(proxied.len()));
    let short = |text: &str| text.chars().take(120).collect::<String>();
    let commands: Vec<_> = commands.iter().map(|line| short(line)).collect();
    format!(
        "{commands:#?}\nreply {place}\n  Redis: {:?}\n  proxy: {:?}",
        direct.get(place).map(|reply| short(reply)),
        proxied.get(place).map(|reply| short(reply))
    )
}
