//! Random groups that are rolled back: after each that fails, all is as it was before.
//!
//! `RESPGUARD_GROUPS` says how many groups are tried, `RESPGUARD_SEED` from which seed. What only newer servers have is tried on
//! those that have it: `make test-servers TESTS=rollback_at_random`.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::harness::{Proxy, RedisServer, Wire, text};
use crate::preflight::{BEFORE, Generator, KEYS, bytes, shown};
use crate::rollback::assert_nothing_is_left;

/// Beside what a preflight can predict.
const UNPREDICTED: &[&str] = &[
    "SORT K STORE K",
    "SORT K ALPHA STORE K",
    "SORT K BY nosort LIMIT 0 1 STORE K",
    "RESTORE K 0 x",
    "RESTORE K 0 x REPLACE",
    "GEOSEARCHSTORE K K FROMLONLAT 13 38 BYRADIUS 200 km",
    "GEORADIUS K 13 38 200 km STORE K",
    "XSETID K 10-1",
    "XADD K 8-1 f v",
    "OBJECT FREQ K",
    "LCS K K",
];

/// What only some servers have.
const NEWER: &[&str] = &[
    "HSETEX K EX T FIELDS 1 M V",
    "HSETEX K FNX PX 500000 FIELDS 2 M V M V",
    "HSETEX K FXX KEEPTTL FIELDS 1 M V",
    "HSETEX K EX 100 FIELDS N M V",
    "HGETDEL K FIELDS 1 M",
    "HGETDEL K FIELDS 2 M M",
    "HGETEX K EX T FIELDS 1 M",
    "HGETEX K PERSIST FIELDS 2 M M",
    "HEXPIRE K T FIELDS 1 M",
    "HEXPIRE K T NX FIELDS 2 M M",
    "HPEXPIRE K 400000 GT FIELDS 1 M",
    "HEXPIREAT K 9999999999 FIELDS 1 M",
    "HPEXPIREAT K 1 FIELDS 1 M",
    "HPERSIST K FIELDS 1 M",
    "HTTL K FIELDS 1 M",
    "MSETEX 2 K V K V EX T",
    "MSETEX 1 K V NX EX 100",
    "MSETEX 2 K V K V XX KEEPTTL",
    "SET K V IFEQ V",
    "SET K V IFEQ 5 GET",
    "SET K V IFNE V",
    "DELIFEQ K V",
    "DELEX K IFEQ V",
    "XDELEX K KEEPREF IDS 1 Y",
    "XDELEX K ACKED IDS 1 5-1",
    "XACKDEL K G DELREF IDS 1 Y",
    "XADD K ACKED MAXLEN 1 X f v",
    "XTRIM K MAXLEN N DELREF",
    "BITOP DIFF K K K",
    "BITOP ONE K K K",
    "VADD f:1 VALUES 2 1 2 M",
    "VADD K VALUES 2 D D M",
    "VADD f:1 VALUES 3 1 2 3 M",
    "VREM f:1 M",
    "VSETATTR f:1 M {\"n\":N}",
    "VCARD K",
];

/// The same for what a key may be before a group.
const NEWER_BEFORE: &[&str] = &[
    "HSETEX K EX 1000 FIELDS 2 a 1 b x",
    "HSETEX K PX 500000 FIELDS 1 c 5",
    "HSETEX f:2 EX 1000 FIELDS 1 a 1.5",
    "VADD f:1 VALUES 2 1 0.5 a",
    "VADD f:1 VALUES 2 1 0.5 b",
];

/// Those of the templates that the server knows.
fn known(redis: &RedisServer, templates: &[&'static str]) -> Vec<&'static str> {
    let mut wire = redis.wire();
    let filled = |template: &str| {
        let word = |word: &str| match word {
            "K" => "nothing".to_owned(),
            "N" | "D" => "1".to_owned(),
            "T" => "100".to_owned(),
            "X" | "Y" => "1-1".to_owned(),
            word => word.to_owned(),
        };
        template.split(' ').map(word).map(String::into_bytes).collect::<Vec<_>>()
    };
    let knows = |template: &&&str| {
        wire.send(&bytes(&[filled(template)]));
        let reply = text(&wire.reply());
        redis.ask("FLUSHALL");
        !["unknown command", "syntax error", "Invalid argument", "Unsupported"].iter().any(|why| reply.contains(why))
    };
    templates.iter().filter(knows).copied().collect()
}

/// What the keys hold, their lifetimes and those of their fields, and all that a stream or a vector set knows. What the server does
/// not have is an error twice.
fn state(redis: &mut Wire) -> Vec<Vec<u8>> {
    let lines: Vec<String> = (0..KEYS)
        .map(|key| format!("f:{key}"))
        .flat_map(|key| {
            [
                format!("DEBUG DIGEST-VALUE {key}"),
                format!("PEXPIRETIME {key}"),
                format!("TYPE {key}"),
                format!("HPEXPIRETIME {key} FIELDS 3 a b c"),
                format!("XINFO STREAM {key} FULL COUNT 0"),
                format!("VCARD {key}"),
                format!("VEMB {key} a"),
                format!("VEMB {key} b"),
                format!("VGETATTR {key} a"),
            ]
        })
        .collect();
    lines.iter().for_each(|line| redis.send_line(line));
    redis.replies(lines.len())
}

#[test]
fn random_groups_that_fail_leave_all_as_it_was_before() {
    let redis = RedisServer::start(&[]);
    let newer = known(&redis, NEWER);
    println!("newer: {newer:?}");
    fuzz(&redis, "keys = [\"f:*\"]", 2500, |generator| {
        let mut group = generator.group();
        for (share, templates) in [(100, UNPREDICTED), (150, &newer[..])] {
            if templates.is_empty() || generator.rng.u8(..) >= share {
                continue;
            }
            let template = generator.pick(templates);
            let at = generator.rng.usize(..=group.len());
            let line = generator.line(template);
            group.insert(at, line);
        }
        group
    });
}

/// Runs the commands in its first argument, by the function that is named in its second.
const RUNS: &str = "for _,c in ipairs(cjson.decode(ARGV[1])) do redis[ARGV[2]](unpack(c)) end return 1";

#[test]
fn random_scripts_that_fail_leave_all_as_it_was_before() {
    let redis = RedisServer::start(&[]);
    let newer = known(&redis, NEWER);
    fuzz(&redis, "commands = [\"EVAL ...\", \"APPEND f:* *\"]", 1500, |generator| {
        let quoted = |word: &[u8]| format!("\"{}\"", text(word).replace('"', "\\\""));
        let mut commands = generator.group();
        if !newer.is_empty() && generator.rng.bool() {
            let template = generator.pick(&newer);
            commands.push(generator.line(template));
        }
        let lines: Vec<String> = commands
            .iter()
            .map(|line| format!("[{}]", line.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(",")))
            .collect();
        let mut eval: Vec<Vec<u8>> = ["EVAL", RUNS, &KEYS.to_string()].map(|word| word.as_bytes().to_vec()).to_vec();
        eval.extend((0..KEYS).map(|key| format!("f:{key}").into_bytes()));
        eval.push(format!("[{}]", lines.join(",")).into_bytes());
        eval.push(generator.pick(&["call", "pcall"]).as_bytes().to_vec());
        vec![eval, generator.line("APPEND K V")]
    });
}

/// Sends random groups of a rule that is rolled back, to keys of random types; after each that fails all is as it was.
fn fuzz(redis: &RedisServer, rule: &str, usual: u64, mut group: impl FnMut(&mut Generator) -> Vec<Vec<Vec<u8>>>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (groups, seed) =
        (number("RESPGUARD_GROUPS").unwrap_or(usual), number("RESPGUARD_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32)));
    let before: Vec<&str> = BEFORE.iter().copied().chain(known(redis, NEWER_BEFORE)).collect();
    let proxy = Proxy::start(&format!("[[group]]\nname = \"f\"\natomic = \"rollback\"\n{rule}\n"), redis);
    let (mut client, mut direct) = (proxy.wire(), redis.wire());
    let mut generator = Generator { rng: Rng::with_seed(seed) };
    let (mut applied, mut failed, mut tried, begun) = (0, 0, 0, Instant::now());
    while tried < groups && (groups > usual || begun.elapsed() < Duration::from_secs(20)) {
        tried += 1;
        for _ in 0..4 {
            let template = generator.pick(&before);
            let line = generator.line(template);
            let own = vec![b"DEL".to_vec(), line[if template.starts_with("XGROUP") { 2 } else { 1 }].clone()];
            direct.send(&bytes(&[own, line]));
            direct.replies(2);
        }
        let group = group(&mut generator);
        let was = state(&mut direct);
        client.send(&bytes(&group));
        let replies: Vec<String> = client.replies(group.len()).iter().map(|reply| text(reply)).collect();
        if replies.iter().all(|reply| !reply.starts_with('-')) {
            applied += 1;
            continue;
        }
        failed += 1;
        assert!(replies.iter().all(|reply| reply.starts_with('-')), "seed {seed}: {} => {replies:?}", shown(&group));
        let after = state(&mut direct);
        assert_eq!(
            after.iter().map(|reply| text(reply)).collect::<Vec<_>>(),
            was.iter().map(|reply| text(reply)).collect::<Vec<_>>(),
            "seed {seed}: {} => {replies:?}",
            shown(&group)
        );
    }
    println!("seed {seed}: {tried} groups, {applied} applied, {failed} failed");
    assert!(failed * 10 >= tried * 3 && applied > 0, "both must be tried");
    assert_eq!(proxy.groups("f", "torn") + proxy.groups("f", "unguarded"), 0.0);
    assert_nothing_is_left(redis);
}
