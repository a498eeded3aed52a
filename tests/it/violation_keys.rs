//! Violations name the key that they are about where the configuration asks for it: in the file and at the endpoint, nowhere else.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Proxy, RedisServer, Setup, eventually};

const RULES: &str = r#"
[[group]]
name = "pair"
commands = ["SADD first:{id} *", "SADD second:{id} *"]

[[group]]
name = "strict"
atomic = "guarded"
commands = ["SADD left:{id} *", "SADD right:{id} *"]

[[group]]
name = "watched"
atomic = "observe"
commands = ["SADD one:{id} *", "SADD two:{id} *"]

[[ttl]]
name = "counters"
keys = ["rate:*"]
grace_ms = 1

[[ttl]]
name = "refused"
keys = ["must:*"]
action = "reject"

[[guard]]
name = "no-getdel"
commands = ["GETDEL *"]

[[expect]]
name = "deleted"
command = "DEL old:{id}"
reply = "= 1"
"#;

/// What goes wrong, by rule and kind, and the key that it is about.
const WANTED: [(&str, &str, &str); 10] = [
    ("pair", "partial_failure", "second:1"),
    ("pair", "split", "first:2"),
    ("pair", "aborted", "second:no"),
    ("strict", "aborted", "right:1"),
    ("watched", "partial_failure", "two:1"),
    ("counters", "ttl_missing", "rate:1"),
    ("refused", "ttl_rejected", "must:1"),
    ("no-getdel", "guard", "secret:1"),
    ("deleted", "expectation", "old:1"),
    ("", "partial_failure", "text:1"),
];

fn go_wrong(redis: &RedisServer, proxy: &Proxy) {
    for key in ["second:1", "right:1", "two:1", "text:1"] {
        redis.ask(&format!("SET {key} x"));
    }
    redis.ask("ACL SETUSER narrow on nopass ~first:* ~guard* +@all");
    let mut wire = proxy.wire();
    for commands in [
        &["SADD first:1 a", "SADD second:1 a"][..],
        &["SADD first:2 a"],
        &["SADD left:1 a", "SADD right:1 a"],
        &["SADD one:1 a", "SADD two:1 a"],
        &["INCR rate:1"],
        &["SET must:1 v"],
        &["GETDEL secret:1"],
        &["DEL old:1"],
        &["SET plain:1 v", "INCR text:1"],
        &["AUTH narrow x"],
        &["SADD first:no a", "SADD second:no a"],
    ] {
        wire.pipeline(commands);
    }
    for (rule, kind, _) in WANTED {
        eventually(&format!("{kind} of {rule}"), || proxy.violated(kind, rule) > 0.0);
    }
}

fn violations(proxy: &Proxy) -> Vec<Value> {
    let (_, body) = proxy.get("/violations");
    serde_json::from_str::<Value>(&body).expect("JSON")["violations"].as_array().expect("a list").clone()
}

/// The keys by rule and kind.
fn keys(violations: &[Value]) -> BTreeMap<(String, String), Option<String>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = |violation: &Value| violation.get("key").and_then(Value::as_str).map(str::to_owned);
    violations.iter().map(|violation| ((text(&violation["rule"]), text(&violation["kind"])), key(violation))).collect()
}

fn start(redis: &RedisServer, file: &Path, form: &str) -> Proxy {
    let rules = format!("{RULES}[violations]\nfile = \"{}\"\n{form}\n", file.display());
    Setup::new(redis).rules(&rules).start()
}

/// As docs/violations.md says.
fn hash(key: &str) -> String {
    let line = format!("printf %s {key} | sha256sum | cut -c1-16");
    let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_full_key_is_that_of_the_command_at_fault_and_neither_the_log_nor_a_metric_has_it() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("v.jsonl");
    let proxy = start(&redis, &file, "keys = \"full\"");
    go_wrong(&redis, &proxy);
    let found = keys(&violations(&proxy));
    for (rule, kind, key) in WANTED {
        assert_eq!(found[&(rule.to_owned(), kind.to_owned())].as_deref(), Some(key), "{kind} of {rule}");
    }
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    for (rule, _, key) in WANTED {
        eventually(&format!("the file has the key of {rule}"), || written().contains(&format!("\"key\":\"{key}\"")));
    }
    let (log, metrics) = (proxy.log(), proxy.get("/metrics").1);
    for (_, _, key) in WANTED {
        assert!(!log.contains(key), "{key} in the log");
        assert!(!metrics.contains(key), "{key} in the metrics");
    }
}

#[test]
fn a_hash_is_there_in_place_of_the_key() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("v.jsonl");
    let proxy = start(&redis, &file, "keys = \"hash\"");
    go_wrong(&redis, &proxy);
    let found = keys(&violations(&proxy));
    for (rule, kind, key) in WANTED {
        assert_eq!(found[&(rule.to_owned(), kind.to_owned())].as_deref(), Some(hash(key).as_str()), "{kind} of {rule}");
        assert!(!std::fs::read_to_string(&file).unwrap_or_default().contains(key));
    }
}

#[test]
fn no_key_is_named_by_default_and_a_reload_follows() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("v.jsonl");
    let proxy = start(&redis, &file, "");
    go_wrong(&redis, &proxy);
    assert!(violations(&proxy).iter().all(|violation| violation.get("key").is_none()));
    let rules = format!("{RULES}[violations]\nfile = \"{}\"\nkeys = \"full\"\n", file.display());
    proxy.rewrite(&Setup::new(&redis).rules(&rules));
    let (status, answer) = proxy.http("POST", "/reload", &[]);
    assert!(status == 200 && answer.contains("\"needs_restart\":[]"), "{answer}");
    proxy.wire().ask("GETDEL late:1");
    eventually("the key is named", || {
        violations(&proxy).iter().any(|violation| violation.get("key").is_some_and(|key| key == "late:1"))
    });
}
