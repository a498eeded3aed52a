//! Relations between keys: what has drifted is found and nothing else, repaired, and put back.

mod keyspace;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::harness::proxy::command;
use crate::harness::{Proxy, RedisServer, Setup, eventually};
use keyspace::{Seeded, Traffic, state};

const FAULTS: usize = 37;

const RULES: &str = r#"
[[group]]
name = "upload"
commands = ["SET blobs:{id} *", "SET info:{id} *"]

[[relation]]
name = "blob-pairs"
keys = ["blobs:{id}", "info:{id}"]
repair = "delete"

[[relation]]
name = "session-tokens"
from = "member {token} of sess:{user}"
needs = ["rt:{user}:{token}"]
ttl = "at-least"
repair = "remove"

[[relation]]
name = "token-sessions"
from = "key rt:{user}:{token}"
needs = ["member {token} of sess:{user}"]
repair = "delete"

[[relation]]
name = "latest"
from = "value {id} of latest:{region}"
needs = ["snap:{region}:{id}", "member {id} of index:{region}"]
repair = "delete"

[[relation]]
name = "catalog"
from = "field {id} of catalog:{c}"
needs = ["entry:{c}:{id}"]
repair = "remove"

[[relation]]
name = "ranking"
from = "member {id} of index:{region}"
needs = ["snap:{region}:{id}"]
repair = "remove"

[[relation]]
name = "jobs"
from = "item {id} of queue:{q}"
needs = ["job:{q}:{id}"]
repair = "remove"
"#;

/// `[audit]` without a schedule, with a log of repairs, before these rules.
pub fn audited(rules: &str, keys_per_second: u32, log: &Path) -> String {
    format!(
        "[audit]\nevery = \"off\"\nkeys_per_second = {keys_per_second}\ngrace_ms = 100\nrepair_log = \"{}\"\n{rules}",
        log.display()
    )
}

/// Audits as quickly as they can, with a log of repairs beside the configuration.
pub fn setup(redis: &RedisServer, rules: &str, log: &Path) -> Setup {
    Setup::new(redis).rules(&audited(rules, 100_000, log))
}

pub fn post(proxy: &Proxy, path: &str) -> Value {
    let (status, body) = proxy.http("POST", path, &[]);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// Of each relation, what was found, as `key element`.
pub fn findings(report: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let relations = report["relations"].as_array().expect("a list").iter().map(|relation| {
        let found = relation["findings"].as_array().expect("a list").iter().map(|finding| {
            let element = finding["element"].as_str().map(|element| format!(" {element}")).unwrap_or_default();
            format!("{}{element}", finding["key"].as_str().expect("a key"))
        });
        (relation["relation"].as_str().expect("a name").to_owned(), found.collect())
    });
    relations.collect()
}

pub fn send_all(redis: &RedisServer, lines: &[String]) {
    let mut wire = redis.wire();
    for lines in lines.chunks(500) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        for (line, reply) in lines.iter().zip(wire.pipeline(&lines)) {
            assert!(!reply.starts_with('-'), "{line}: {reply}");
        }
    }
}

/// Larger with SOAK_SECONDS, as the other tests at random.
fn size() -> usize {
    if std::env::var_os("SOAK_SECONDS").is_some() { 24_000 } else { 1_000 }
}

#[test]
fn what_has_drifted_at_random_is_found_under_traffic_repaired_and_put_back() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let redis = RedisServer::start(&[]);
    let seeded = Seeded::new(size(), &mut fastrand::Rng::with_seed(seed));
    send_all(&redis, &seeded.lines);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("repair.jsonl");
    let proxy = setup(&redis, RULES, &log).start();
    let traffic = Traffic::start(&proxy);
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(findings(&post(&proxy, "/audit")), seeded.faults);
    }
    let (keys, seconds) = (redis.ask("DBSIZE"), begun.elapsed().as_secs_f64());
    let rate = traffic.pairs.load(Ordering::Relaxed) as f64 / seconds;
    eprintln!("{} keys, 10 audits in {seconds:.1} s beside {rate:.0} pairs a second, made and deleted", keys.trim());
    // Everything that a repair may touch, as it was.
    let states = |keys: &BTreeSet<String>| -> BTreeMap<String, String> {
        keys.iter().map(|key| (key.clone(), state(&redis, key))).collect()
    };
    let before = states(&seeded.touched);
    let size_before = redis.ask("DBSIZE");
    let dry = post(&proxy, "/repair?force=true");
    assert_eq!((dry["apply"].as_bool(), dry["removed"].as_u64()), (Some(false), Some(0)));
    assert_eq!(findings(&dry), seeded.faults);
    assert_eq!(states(&seeded.touched), before, "a dry run changes nothing");
    assert!(!log.exists() || std::fs::read_to_string(&log).expect("read").is_empty());
    // Of what refers to the same thing one repair may do what another would: those are audited apart.
    let mut runs = Vec::new();
    let orphans = |relation: &str, report: &Value| {
        let all = report["relations"].as_array().expect("a list");
        all.iter().find(|one| one["relation"] == relation).map_or(0, |one| one["orphans"].as_u64().expect("a number"))
    };
    for relation in seeded.faults.keys() {
        let expected = orphans(relation, &dry);
        let report = post(&proxy, &format!("/repair?relation={relation}&apply=true&force=true"));
        assert_eq!(report["removed"].as_u64(), Some(expected), "{relation}: {report}");
        runs.push(report["id"].as_str().expect("an id").to_owned());
        let lines = std::fs::read_to_string(&log).expect("the log");
        assert!(lines.matches("\"dump\"").count() + lines.matches("\"element\"").count() >= expected as usize);
    }
    let after = post(&proxy, "/audit");
    assert_eq!(after["orphans"], 0, "{after}");
    let changed = states(&seeded.touched);
    assert!(changed.iter().all(|(key, state)| state != &before[key]), "each of them was touched");
    assert_eq!(proxy.metric("respguard_relation_orphans", &[("relation", "blob-pairs")]), 0.0);
    assert_eq!(
        proxy.metric("respguard_repaired_total", &[("relation", "blob-pairs"), ("action", "delete")]),
        2.0 * FAULTS as f64
    );
    // An index that was repaired first is put back last.
    for run in runs.iter().rev() {
        let undone = post(&proxy, &format!("/repair/undo?run={run}"));
        assert_eq!(undone["restored"].as_u64(), undone["things"].as_array().map(|things| things.len() as u64), "{undone}");
    }
    assert_eq!(states(&seeded.touched), before, "byte for byte, with its lifetime");
    assert!(traffic.stop() > 0);
    eventually("the keyspace is as large as before", || {
        let live = redis.ask("KEYS *live*").lines().filter(|line| line.contains("live")).count();
        let count: usize = redis.ask("DBSIZE").trim().trim_start_matches(':').parse().expect("a number");
        let before: usize = size_before.trim().trim_start_matches(':').parse().expect("a number");
        count - live <= before
    });
    assert_eq!(findings(&post(&proxy, "/audit")), seeded.faults);
    let violated = proxy.violated("orphan", "blob-pairs");
    assert!(violated >= 12.0 * 2.0 * FAULTS as f64, "{violated}");
    assert!(proxy.violated("relation_ttl", "session-tokens") >= FAULTS as f64);
    assert!(!proxy.log().contains("blobs:1") && !proxy.get("/metrics").1.contains("blobs:1"), "no key leaves the report");
}

pub const PAIRS: &str = "[[relation]]\nname = \"pairs\"\nkeys = [\"a:{x}\", \"b:{x}\"]\nrepair = \"delete\"\n";

pub fn pairs(redis: &RedisServer, whole: usize, broken: usize) {
    let lines = (0..whole).flat_map(|x| [format!("SET a:{x} v"), format!("SET b:{x} v")]);
    send_all(redis, &lines.chain((0..broken).map(|x| format!("SET a:lost{x} v"))).collect::<Vec<_>>());
}

#[test]
fn a_repair_stops_where_much_looks_broken_and_at_its_limit() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 20, 10);
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = setup(&redis, PAIRS, &folder.path().join("log")).start();
    let report = post(&proxy, "/repair?apply=true");
    assert_eq!((report["outcome"].as_str(), report["removed"].as_u64()), (Some("stopped"), Some(0)), "{report}");
    assert!(report["relations"][0]["reason"].as_str().expect("a reason").contains("is the rule right?"));
    assert_eq!(redis.ask("EXISTS a:lost1"), ":1\r\n");
    let report = post(&proxy, "/repair?apply=true&force=true&max=4");
    assert_eq!((report["outcome"].as_str(), report["removed"].as_u64()), (Some("stopped"), Some(4)), "{report}");
    let removed = report["relations"][0]["findings"].as_array().expect("a list");
    let ids: Vec<&str> = removed.iter().filter_map(|finding| finding["id"].as_str()).collect();
    assert_eq!(ids.len(), 4);
    let one = post(&proxy, &format!("/repair/undo?id={}", ids[0]));
    assert_eq!(one["restored"], 1, "{one}");
    let again = post(&proxy, &format!("/repair/undo?id={}", ids[0]));
    assert_eq!((again["restored"].as_u64(), again["things"][0]["outcome"].as_str()), (Some(0), Some("stands")));
    assert_eq!(proxy.http("POST", "/repair/undo?id=none", &[]).0, 404);
    assert_eq!(proxy.http("POST", "/audit?relation=none", &[]).0, 404);
    assert_eq!(proxy.http("POST", "/repair?max=0", &[]).0, 400);
    assert_eq!(proxy.metric("respguard_audit_runs_total", &[("relation", "pairs"), ("outcome", "stopped")]), 2.0);
}

#[test]
fn whoever_fixes_it_meanwhile_wins() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 20, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = setup(&redis, PAIRS, &folder.path().join("log")).start();
    // Something that is broken only for a moment is never told.
    let redis = Arc::new(redis);
    let (over, other) = (Arc::new(AtomicBool::new(false)), Arc::clone(&redis));
    let stop = Arc::clone(&over);
    let writer = thread::spawn(move || {
        let mut wire = other.wire();
        while !stop.load(Ordering::Relaxed) {
            for line in ["SET a:moment v", "SET b:moment v", "DEL a:moment", "DEL b:moment"] {
                wire.ask(line);
            }
        }
    });
    for _ in 0..5 {
        let report = post(&proxy, "/audit");
        // At the third look it may by chance be between two commands, as anything that is not written at once.
        let found = &findings(&report)["pairs"];
        assert!(found.contains("a:lost0") && found.len() <= 2, "{found:?}");
    }
    over.store(true, Ordering::Relaxed);
    writer.join().expect("a client that goes well");
}

#[test]
fn one_proxy_audits_at_a_time_and_a_lost_lock_ends_by_itself() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 1000, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let slow = |log: &str| {
        let rules = format!(
            "[audit]\nevery = \"off\"\nkeys_per_second = 50\ngrace_ms = 1\nrepair_log = \"{}\"\n{PAIRS}",
            folder.path().join(log).display()
        );
        Setup::new(&redis).rules(&rules).start()
    };
    let (one, other) = (slow("one"), slow("other"));
    let port = one.admin_port();
    let audit = thread::spawn(move || {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        std::io::Write::write_all(&mut socket, b"POST /audit HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            .expect("sent");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut socket, &mut text).expect("an answer");
        text
    });
    eventually("it has begun", || one.get("/audit").1.contains("\"relation\":\"pairs\""));
    let (status, body) = other.http("POST", "/audit", &[]);
    assert!(status == 409 && body.contains("another proxy"), "{status} {body}");
    let (status, body) = one.http("POST", "/audit", &[]);
    assert!(status == 409 && body.contains("under way already"), "{status} {body}");
    let ttl: i64 = redis.ask("PTTL respguard:guard:audit").trim().trim_start_matches(':').parse().expect("a number");
    assert!((1..=30_000).contains(&ttl), "{ttl}");
    assert!(one.http("POST", "/audit/cancel", &[]).1.contains("true"));
    let answer = audit.join().expect("it ends");
    assert!(answer.contains("\"outcome\":\"cancelled\""), "{answer}");
    assert_eq!(redis.ask("EXISTS respguard:guard:audit"), ":0\r\n", "the lock is given back");
    assert_eq!(findings(&post(&setup(&redis, PAIRS, &folder.path().join("x")).start(), "/audit"))["pairs"].len(), 1);
}

#[test]
fn an_audit_goes_on_after_a_lost_connection_and_begins_again_with_another_server() {
    let mut redis = RedisServer::start(&["--appendonly", "yes"]);
    pairs(&redis, 600, 2);
    let folder = tempfile::tempdir().expect("a folder");
    let rules = format!("[audit]\nevery = \"off\"\nkeys_per_second = 300\ngrace_ms = 1\n{}", PAIRS.replace("delete", "report"));
    let proxy = Setup::new(&redis).rules(&rules).start();
    let port = proxy.admin_port();
    let audit = thread::spawn(move || {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        std::io::Write::write_all(&mut socket, b"POST /audit HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            .expect("sent");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut socket, &mut text).expect("an answer");
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("a body")
    });
    let walked = || {
        let shown: Value = serde_json::from_str(&proxy.get("/audit").1).expect("JSON");
        shown["running"]["walked"].as_u64().unwrap_or_default()
    };
    eventually("some was walked", || walked() > 20);
    redis.ask("CLIENT KILL TYPE normal");
    let so_far = walked();
    eventually("more was walked", || walked() > so_far + 20);
    redis.ask("DEBUG SLEEP 0");
    redis.restart_without_waiting(&[]);
    let report: Value = serde_json::from_str(&audit.join().expect("it ends")).expect("JSON");
    assert_eq!(findings(&report)["pairs"].len(), 2, "{report}");
    assert_eq!(report["outcome"], "drift");
    drop(folder);
}

#[test]
fn what_the_user_may_not_ask_is_unknown_and_not_broken() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 3, 1);
    let mut admin = redis.wire();
    for line in [
        "ACL SETUSER reader on >secret ~* +@all -exists",
        "ACL SETUSER good on >secret ~* +@all -@scripting",
        "ACL SETUSER default on >other ~* +@all",
    ] {
        assert_eq!(admin.ask(line), "+OK\r\n");
    }
    for (user, outcome) in [("reader", "unknown"), ("good", "drift")] {
        let rules = format!("[audit]\nevery = \"off\"\ngrace_ms = 1\n{}", PAIRS.replace("delete", "report"));
        let proxy = Setup::new(&redis)
            .upstream(&format!("probe = {{ username = \"{user}\", password_env = \"PROBE\" }}"))
            .environment("PROBE", "secret")
            .rules(&rules)
            .start();
        let report = post(&proxy, "/audit");
        assert_eq!(report["outcome"].as_str(), Some(outcome), "{report}");
        let reason = &report["relations"][0]["reason"];
        assert_eq!(reason.as_str(), (outcome == "unknown").then_some("NOPERM"), "{report}");
        assert_eq!(proxy.violated("orphan", "pairs"), if outcome == "drift" { 1.0 } else { 0.0 });
    }
}

#[test]
fn a_scheduled_run_repairs_only_where_it_is_told_to() {
    for (repair, left) in [(false, ":1\r\n"), (true, ":0\r\n")] {
        let redis = RedisServer::start(&[]);
        pairs(&redis, 20, 1);
        let folder = tempfile::tempdir().expect("a folder");
        let audit = format!(
            "[audit]\nevery = \"1s\"\nkeys_per_second = 100000\ngrace_ms = 1\nrepair = {repair}\nrepair_log = \"{}\"\n{PAIRS}",
            folder.path().join("log").display()
        );
        let proxy = Setup::new(&redis).rules(&audit).start();
        let outcome = if repair { "repaired" } else { "drift" };
        eventually("a run has come to its end", || {
            proxy.metric("respguard_audit_runs_total", &[("relation", "pairs"), ("outcome", outcome)]) >= 1.0
        });
        assert_eq!(redis.ask("EXISTS a:lost0"), left);
    }
}

#[test]
fn a_proxy_that_is_killed_in_the_middle_of_a_repair_loses_nothing() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 3000, 500);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let proxy = setup(&redis, PAIRS, &log).start();
    let port = proxy.admin_port();
    let repair = thread::spawn(move || {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        std::io::Write::write_all(
            &mut socket,
            b"POST /repair?apply=true HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        )
        .expect("sent");
        // It ends without an answer.
        let _ = std::io::Read::read_to_string(&mut socket, &mut String::new());
    });
    let is_left = |x: usize| redis.ask(&format!("EXISTS a:lost{x}")) == ":1\r\n";
    eventually("some are removed", || {
        redis.ask("DBSIZE").trim().trim_start_matches(':').parse::<usize>().expect("a number") < 6480
    });
    drop(proxy);
    repair.join().expect("it ends");
    let lost: Vec<usize> = (0..500).filter(|x| !is_left(*x)).collect();
    assert!(!lost.is_empty() && lost.len() < 500, "in the middle: {}", lost.len());
    let proxy = setup(&redis, PAIRS, &log).start();
    let lines = std::fs::read_to_string(&log).expect("the log");
    let run = lines.split("\"run\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a run");
    redis.ask("DEL respguard:guard:audit");
    let undone = post(&proxy, &format!("/repair/undo?run={run}"));
    assert_eq!(undone["restored"].as_u64(), Some(lost.len() as u64), "{undone}");
    assert!((0..500).all(is_left));
}

#[test]
fn the_command_line_shows_repairs_and_ends_with_what_was_found() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 20, 2);
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = setup(&redis, PAIRS, &folder.path().join("log")).start();
    let run = |arguments: &[&str]| {
        let output = command().args(arguments).arg("--config").arg(proxy.config()).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, text) = run(&["audit"]);
    assert!(code == Some(1) && text.contains("a:lost0: without b:{x}"), "{code:?} {text}");
    let (code, text) = run(&["audit", "--relation", "pairs", "--json"]);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, report["orphans"].as_u64()), (Some(1), Some(2)));
    let (code, text) = run(&["repair"]);
    assert!(code == Some(1) && text.contains("would delete") && text.contains("nothing was removed"), "{code:?} {text}");
    let (code, text) = run(&["repair", "--relation", "pairs", "--apply"]);
    assert!(code == Some(0) && text.contains("2 removed"), "{code:?} {text}");
    assert_eq!(run(&["audit"]).0, Some(0));
    let id = text.split("--undo-run ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a run");
    let (code, text) = run(&["repair", "--undo-run", id]);
    assert!(code == Some(0) && text.contains("2 restored"), "{code:?} {text}");
    assert_eq!(run(&["audit", "--relation", "none"]).0, Some(1));
    let (code, text) = run(&["explain", "relation", "pairs"]);
    assert!(code == Some(0) && text.contains("SCAN MATCH a:*") && text.contains("EXISTS b:{x}"), "{text}");
    let (code, text) = run(&["check"]);
    assert!(code == Some(0) && text.contains("1 relations"), "{text}");
}
