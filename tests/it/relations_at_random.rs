//! Random relations over random keyspaces, beside a checker in Python that knows no server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{RedisServer, Setup};

/// By key: its type, what it holds, and its lifetime in seconds.
type Space = BTreeMap<String, (&'static str, BTreeSet<String>, Option<u64>)>;
type Found = BTreeMap<String, BTreeSet<(String, Option<String>)>>;

const NAMES: [&str; 5] = ["a", "b", "a:b", "c", "é"];
const PREFIXES: [&str; 4] = ["k", "m", "n", "o"];

fn one<T: Copy>(random: &mut fastrand::Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

fn space(random: &mut fastrand::Rng) -> Space {
    let mut space = Space::new();
    for _ in 0..60 {
        let mut key = one(random, &PREFIXES).to_owned();
        for _ in 0..random.usize(1..=3) {
            key += &format!(":{}", one(random, &NAMES));
        }
        let type_ = one(random, &["set", "zset", "hash", "list", "string"]);
        let count = if type_ == "string" { 1 } else { random.usize(1..=4) };
        let element = |random: &mut fastrand::Rng| match random.u8(..3) {
            0 => format!("x-{}", one(random, &NAMES)),
            _ => one(random, &NAMES).to_owned(),
        };
        let elements = (0..count).map(|_| element(random)).collect();
        // Far enough apart for a busy machine.
        let ttl = one(random, &[None, Some(10_000), Some(20_000), Some(30_000)]);
        space.insert(key, (type_, elements, ttl));
    }
    space
}

fn key_pattern(random: &mut fastrand::Rng, captures: &[&str]) -> String {
    let mut pattern = one(random, &PREFIXES).to_owned();
    for capture in captures {
        pattern += &format!(":{{{capture}}}");
    }
    pattern
}

fn relation(random: &mut fastrand::Rng, number: usize) -> Value {
    let name = format!("r{number}");
    let both = [&["x"][..], &["x", "y"], &["y", "x"]];
    if random.bool() {
        let captures = both[random.usize(..2)];
        let mut keys = BTreeSet::new();
        while keys.len() < 2 + number % 2 {
            let mut order = captures.to_vec();
            if random.bool() {
                order.reverse();
            }
            keys.insert(key_pattern(random, &order));
        }
        let keys: Vec<_> = keys.into_iter().collect();
        return json!({ "name": name, "keys": keys });
    }
    let kind = one(random, &["key", "member", "field", "item", "value"]);
    let element = one(random, &["{x}", "x-{x}"]);
    let mut from_key = if kind == "key" { key_pattern(random, &["x", "y"]) } else { key_pattern(random, &["y"]) };
    if random.u8(..4) == 0 {
        from_key = from_key.replacen(':', ":*:", 1);
    }
    let from = if kind == "key" { format!("key {from_key}") } else { format!("{kind} {element} of {from_key}") };
    let needs: Vec<String> = (0..random.usize(1..=2))
        .filter_map(|_| {
            let captures = both[random.usize(..3)];
            let key = key_pattern(random, captures);
            match random.u8(..3) {
                0 => Some(format!("member {{x}} of {key}")),
                1 => Some(format!("field {{x}} of {key}")),
                _ => (key != from_key).then_some(key),
            }
        })
        .collect();
    if needs.is_empty() {
        return relation(random, number);
    }
    match one(random, &[None, None, Some("at-least"), Some("at-most")]) {
        Some(ttl) => json!({ "name": name, "from": from, "needs": needs, "ttl": ttl }),
        None => json!({ "name": name, "from": from, "needs": needs }),
    }
}

fn fill(redis: &RedisServer, space: &Space) {
    let mut wire = redis.wire();
    for (key, (type_, elements, ttl)) in space {
        for element in elements {
            let line = match *type_ {
                "set" => format!("SADD {key} {element}"),
                "zset" => format!("ZADD {key} 1 {element}"),
                "hash" => format!("HSET {key} {element} v"),
                "list" => format!("RPUSH {key} {element}"),
                _ => format!("SET {key} {element}"),
            };
            let reply = wire.ask(&line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
        }
        if let Some(ttl) = ttl {
            assert_eq!(wire.ask(&format!("EXPIRE {key} {ttl}")), ":1\r\n");
        }
    }
}

/// What the checker in Python finds.
fn naive(relations: &[Value], space: &Space) -> Found {
    let space =
        space.iter().map(|(key, (type_, elements, ttl))| (key, json!({ "type": type_, "elements": elements, "ttl": ttl })));
    let space: BTreeMap<_, _> = space.collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/relations_naive.py");
    let mut python =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is there");
    let told = json!({ "relations": relations, "space": space }).to_string();
    python.stdin.take().expect("a pipe").write_all(told.as_bytes()).expect("written");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let found: BTreeMap<String, Vec<(String, Option<String>)>> = serde_json::from_slice(&output.stdout).expect("JSON");
    found.into_iter().map(|(name, found)| (name, found.into_iter().collect())).collect()
}

fn found(report: &Value) -> Found {
    let relations = report["relations"].as_array().expect("a list").iter().map(|relation| {
        assert!(relation["outcome"] == "clean" || relation["outcome"] == "drift", "{relation}");
        let found = relation["findings"].as_array().expect("a list").iter();
        let found = found
            .map(|finding| (finding["key"].as_str().expect("a key").to_owned(), finding["element"].as_str().map(str::to_owned)));
        (relation["relation"].as_str().expect("a name").to_owned(), found.collect())
    });
    relations.collect()
}

fn toml(relations: &[Value]) -> String {
    let mut text = "[audit]\nevery = \"off\"\nkeys_per_second = 100000\ngrace_ms = 1\n".to_owned();
    for relation in relations {
        text += "[[relation]]\n";
        for (key, value) in relation.as_object().expect("an object") {
            text += &format!("{key} = {value}\n");
        }
    }
    text
}

#[test]
fn relations_at_random_are_what_a_naive_checker_says() {
    let rounds = if std::env::var_os("SOAK_SECONDS").is_some() { 30 } else { 3 };
    for _ in 0..rounds {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        let mut random = fastrand::Rng::with_seed(seed);
        let space = space(&mut random);
        let relations: Vec<Value> = (0..25).map(|number| relation(&mut random, number)).collect();
        let redis = RedisServer::start(&[]);
        fill(&redis, &space);
        let proxy = Setup::new(&redis).rules(&toml(&relations)).start();
        let (status, body) = proxy.http("POST", "/audit", &[]);
        assert_eq!(status, 200, "{body}");
        let report = serde_json::from_str(&body).expect("JSON");
        let (found, naive) = (found(&report), naive(&relations, &space));
        for relation in &relations {
            let name = relation["name"].as_str().expect("a name");
            assert_eq!(found[name], naive[name], "SEED={seed} {relation} {space:?}");
        }
        assert!(naive.values().any(|found| !found.is_empty()), "something is always broken");
    }
}
