//! Random sessions, cut at random bytes, get from the proxy what they get from Redis alone.

use std::io::Write;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::harness::wire::words;
use crate::harness::{Sides, Wire, text};

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
    "RENAME K K",
    "EXEC",
    "DISCARD",
    "UNWATCH",
    "DBSIZE",
];

/// Those of them that a cluster answers alike also inside MULTI.
const ON_CLUSTERS: &[&str] = COMMANDS.split_at(COMMANDS.len() - 1).0;

/// Commands with a value that may be a large request.
const LONG: &[&str] = &[
    "SET K V",
    "SETEX K 100 V",
    "APPEND K V",
    "LPUSH K V V",
    "HSET K f V",
    "SADD K V",
    "MGET K V",
    "ECHO V",
    "PING V",
    "GET V V",
    "NOSUCH V",
    "DEL V",
    "DISCARD V",
    "EXEC V",
];

/// Sizes of values, and of those that may be too long to be held whole.
const SIZES: &[usize] = &[1, 10, 1000, 20_000];
const LARGE_SIZES: &[usize] = &[1, 1000, 70_000, 140_000, 300_000];

/// Passages of sessions that leave replies out.
const SILENT: &[&str] = &[
    "CLIENT REPLY SKIP;1;2",
    "CLIENT REPLY SKIP;CLIENT REPLY SKIP;1;2",
    "CLIENT REPLY SKIP;MULTI;1;EXEC;2",
    "CLIENT REPLY OFF;1;2;CLIENT REPLY ON;1",
    "CLIENT REPLY OFF;MULTI;1;2;EXEC;CLIENT REPLY ON;1",
    "CLIENT REPLY OFF;WATCH K;1;CLIENT REPLY SKIP;2;CLIENT REPLY ON;MULTI;1;EXEC",
    "CLIENT REPLY OFF;SELECT 1;1;SELECT 0;CLIENT REPLY ON",
    "CLIENT REPLY OFF;CLIENT SETNAME me;NOSUCH x;CLIENT REPLY ON;CLIENT GETNAME",
    "CLIENT REPLY MAYBE;1",
];

/// Users of whom each lacks something, and passages in which a client becomes one of them, or the first one again.
const USERS: &[&str] = &[
    "ACL SETUSER reader on >pw ~* &* +@read +@connection +@transaction +@pubsub -select",
    "ACL SETUSER writer on >pw ~a ~b ~L &* +@all -@dangerous -incr",
    "ACL SETUSER plain on >pw ~* +@all -multi -exec -client|reply -watch",
    "ACL SETUSER bare on >pw ~* -@all +get +set +echo +ping",
];
const LOGINS: &[&str] = &[
    "AUTH reader pw;1;2",
    "AUTH writer pw;1;2",
    "AUTH plain pw;1;2",
    "AUTH bare pw;1;2",
    "AUTH bare wrong;1",
    "AUTH default any;1",
    "HELLO 3 AUTH writer pw;1",
    "HELLO 2 AUTH reader wrong;1",
    "RESET;1",
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

/// Those that a cluster answers alike: it has one database.
const OF_CLUSTERS: &[&str] = &[
    "MULTI;1;2;EXEC",
    "MULTI;1;2;3;DISCARD",
    "WATCH K;1;MULTI;2;EXEC",
    "WATCH K K;1;MULTI;2;3;EXEC",
    "WATCH K;1;UNWATCH",
    "WATCH K;MULTI;1;DISCARD;2",
    "MULTI;MULTI;1;EXEC",
    "MULTI;WATCH a;NOSUCHCOMMAND;EXEC",
    "MULTI;PING;EXEC",
    "MULTI;EXEC",
    "SELECT 0;1",
    "RPUSH L e;BLPOP L 1",
    "DEL L;BLPOP L 0.01",
    "MULTI;DEL L;BLPOP L 1;EXEC",
    "CLIENT SETNAME me;1;CLIENT GETNAME",
    "HELLO 3;1",
    "HELLO 2;1",
    "HELLO 9",
    "RESET;1",
    "WATCH K;RESET;1",
    "MULTI;1;RESET;2",
    "DBSIZE",
    "FLUSHALL;DBSIZE",
    "CLIENT REPLY SKIP;1;2",
    "CLIENT REPLY OFF;1;2;CLIENT REPLY ON;1",
    "CLIENT REPLY OFF;MULTI;1;2;EXEC;CLIENT REPLY ON;1",
    "HSET blobs:1 f 1;HSET info:1 g 2",
    "SUBSCRIBE ch;UNSUBSCRIBE ch;PING",
    "SETEX rt:u1:h1 60 v;SADD sess:u1 7;EXPIRE sess:u1 60;SMEMBERS sess:u1",
    "SETEX rt:u1:7 60 v;SADD sess:u1 7;EXPIRE sess:u1 60",
];

/// Commands about one key, and those that are cut up by slot.
const APART: &[&str] = &[
    "GET K",
    "SET K V",
    "INCR K",
    "DEL K K K",
    "UNLINK K K",
    "MGET K K K",
    "EXISTS K K K K",
    "TOUCH K K",
    "LPUSH K 1 2",
    "RPOP K",
    "SADD K 7",
    "HSET K f 1",
    "HGETALL K",
    "SETEX K 100 V",
    "EXPIRE K 100",
    "APPEND K z",
    "DBSIZE",
    "PING",
    "NOSUCHCOMMAND x",
    "GET",
    "MGET",
    "DEL",
    "TYPE K",
];
const APART_TOGETHER: &[&str] = &[
    "1;2;3;MULTI;INCR a;GET a;EXEC;1;2;3",
    "1;MULTI;SET b V;STRLEN b;DISCARD;2",
    "WATCH L;RPUSH L e;1;MULTI;RPOP L;EXEC",
    "RPUSH L e;1;2;BLPOP L 1;3",
    "HELLO 3;1",
    "HELLO 2;1",
    "RESET;1",
    "1;FLUSHALL;2",
];

/// What sessions are made of.
#[derive(Clone, Copy)]
struct Mix {
    passages: &'static [&'static [&'static str]],
    commands: &'static [&'static [&'static str]],
    sizes: &'static [usize],
    /// Some bytes come one by one.
    dribbles: bool,
    /// What stands before the names of keys.
    tag: &'static str,
}

const USUAL: Mix = Mix { passages: &[PASSAGES], commands: &[COMMANDS], sizes: SIZES, dribbles: false, tag: "" };
const LARGE: Mix = Mix { commands: &[COMMANDS, LONG], sizes: LARGE_SIZES, dribbles: true, ..USUAL };

#[test]
fn without_rules() {
    compare("", USUAL, 0);
}

#[test]
fn with_groups_and_ttls() {
    compare(RULES, USUAL, 1_000_000);
}

#[test]
fn with_values_too_long_to_be_held_whole() {
    compare("", LARGE, 2_000_000);
}

#[test]
fn with_groups_and_values_too_long_to_be_held_whole() {
    compare(RULES, LARGE, 3_000_000);
}

#[test]
fn with_replies_left_out() {
    compare("", Mix { passages: &[SILENT, PASSAGES], ..LARGE }, 4_000_000);
}

#[test]
fn as_users_who_may_not_do_everything() {
    compare("", Mix { passages: &[LOGINS, LOGINS, SILENT, PASSAGES], dribbles: true, ..USUAL }, 5_000_000);
}

/// Three shards, of which one has all keys; what is answered otherwise there (docs/transparency.md) is left out.
const CLUSTERED: Mix = Mix { passages: &[OF_CLUSTERS], commands: &[ON_CLUSTERS], tag: "{t}", dribbles: true, ..USUAL };
/// Keys of many slots, and no commands about several.
const SPREAD: Mix = Mix { passages: &[APART_TOGETHER], commands: &[APART], tag: "", ..CLUSTERED };

#[test]
fn before_a_cluster() {
    compare_on(Sides::of_a_cluster(3, "", PATIENT), "", CLUSTERED, 6_000_000);
}

#[test]
fn before_a_cluster_with_groups_and_ttls() {
    let tagged = RULES
        .replace(" rt:", " {{t}}rt:")
        .replace(" sess:", " {{t}}sess:")
        .replace("\"blobs:*\", \"info:*", "\"{{t}}blobs:*\", \"{{t}}info:*");
    compare_on(Sides::of_a_cluster(3, &tagged, PATIENT), &tagged, CLUSTERED, 7_000_000);
}

#[test]
fn before_a_cluster_with_large_values() {
    compare_on(Sides::of_a_cluster(3, "", PATIENT), "", Mix { sizes: LARGE_SIZES, ..CLUSTERED }, 8_000_000);
}

#[test]
fn before_a_cluster_with_keys_of_many_slots() {
    compare_on(Sides::of_a_cluster(3, "", PATIENT), "", SPREAD, 9_000_000);
}

/// A machine that does other things too is not a difference.
const PATIENT: &str = "request_timeout_ms = 15000\n";

fn compare(rules: &str, mix: Mix, first_seed: u64) {
    compare_on(Sides::of_servers(rules, PATIENT), rules, mix, first_seed);
}

fn compare_on(sides: Sides, rules: &str, mix: Mix, first_seed: u64) {
    let sessions_max = if mix.sizes == LARGE_SIZES { SESSIONS / 3 } else { SESSIONS };
    for user in USERS {
        sides.all_do(user);
    }
    let mut sessions = 0;
    for seed in Seeds::new("sessions", first_seed, sessions_max) {
        let mut commands = session(mix, &mut Rng::with_seed(seed));
        if !rules.is_empty() {
            leave_out_what_aborts_a_run(&mut commands);
        }
        sides.all_do("FLUSHALL");
        let direct = played(sides.direct().wire(), &commands, mix.dribbles, &mut Rng::with_seed(seed));
        let proxied = played(sides.proxy().wire(), &commands, mix.dribbles, &mut Rng::with_seed(seed));
        assert!(direct == proxied, "sessions, seed {seed}\n{}", difference(&commands, &direct, &proxied));
        sessions += 1;
    }
    eprintln!("{sessions} sessions, no difference");
    assert_eq!(sides.proxy().metric("respguard_out_of_sync_total", &[]), 0.0);
}

/// A command that lacks its key aborts the run that it stands in, as docs/atomicity.md says, and Redis runs the rest.
fn leave_out_what_aborts_a_run(commands: &mut Vec<String>) {
    let is_malformed = |line: &str| line == "GET" || line.starts_with("GET ") && line.split(' ').count() > 2;
    let is_near =
        |line: Option<&String>| line.is_some_and(|line| is_malformed(line) || line.contains("blobs:") || line.contains("info:"));
    let all = commands.clone();
    let mut at = 0_usize..;
    commands.retain(|line| {
        let at = at.next().unwrap_or_default();
        let before = at.checked_sub(1).and_then(|before| all.get(before));
        !is_malformed(line) || !(is_near(before) || is_near(all.get(at + 1)))
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

fn session(mix: Mix, rng: &mut Rng) -> Vec<String> {
    let mut commands = Vec::new();
    for _ in 0..rng.usize(2..25) {
        if rng.u8(..) < 90 {
            for part in one_of(mix.passages, rng).split(';') {
                let any = part.parse::<u8>().is_ok();
                let part = if any { one_of(mix.commands, rng) } else { part };
                commands.push(mix.filled(part, rng));
            }
        } else {
            let any = one_of(mix.commands, rng);
            commands.push(mix.filled(any, rng));
        }
    }
    commands
}

impl Mix {
    fn filled(self, command: &str, rng: &mut Rng) -> String {
        let line = filled_with(command, self.sizes, rng);
        if self.tag.is_empty() {
            return line;
        }
        let word = |word: &str| if KEYS.contains(&word) { format!("{}{word}", self.tag) } else { word.to_owned() };
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }
}

fn one_of(lists: &[&'static [&'static str]], rng: &mut Rng) -> &'static str {
    let list = if lists.len() == 1 { lists[0] } else { lists[rng.usize(..lists.len())] };
    list[rng.usize(..list.len())]
}

/// The command with keys and values in the places for them.
pub fn filled(command: &str, rng: &mut Rng) -> String {
    filled_with(command, SIZES, rng)
}

fn filled_with(command: &str, sizes: &[usize], rng: &mut Rng) -> String {
    let word = |word: &str, rng: &mut Rng| match word {
        "K" => KEYS[rng.usize(..KEYS.len())].to_owned(),
        "V" => "y".repeat(sizes[rng.usize(..sizes.len())]),
        other => other.to_owned(),
    };
    command.split(' ').map(|part| word(part, rng)).collect::<Vec<_>>().join(" ")
}

/// Sends the commands in random pieces and returns one text per reply.
fn played(mut wire: Wire, commands: &[String], dribbles: bool, rng: &mut Rng) -> Vec<String> {
    let mut bytes: Vec<u8> = commands.iter().flat_map(|line| crate::harness::request(line)).collect();
    bytes.extend(words(&[b"ECHO", END.as_bytes()]));
    let longest = [bytes.len(), 30, 200, 3000][rng.usize(..4)].max(bytes.len() / 500);
    let mut stream = wire.stream().try_clone().expect("a socket can be cloned");
    let mut rng = rng.clone();
    let sender = std::thread::spawn(move || {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let longest = if dribbles && rng.bool() { 4 } else { longest };
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
