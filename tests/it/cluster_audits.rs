//! Relations on a cluster: every primary is walked, what moves or dies meanwhile raises no false alarm, and repairs are made
//! where the slot is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use respguard_engine::route::slots::key_slot;

use crate::harness::proxy::command;
use crate::harness::{Nodes, Proxy, Setup, Wire, eventually};
use crate::relations::{audited, findings, post};

const RULES: &str = r#"
[[group]]
name = "upload"
atomic = "transaction"
commands = ["SET blobs:{{{id}}} *", "SET info:{{{id}}} *"]

[[relation]]
name = "pairs"
keys = ["blobs:{{{id}}}", "info:{{{id}}}"]
repair = "delete"

[[relation]]
name = "tokens"
from = "member {token} of sess:{{{user}}}"
needs = ["rt:{{{user}}}:{token}"]
repair = "remove"

[[relation]]
name = "spread"
from = "key left:{id}"
needs = ["right:{id}"]
repair = "delete"
"#;

const WHOLE: usize = 600;
const BROKEN: usize = 37;

fn before(nodes: &Nodes, log: &Path, keys_per_second: u32) -> Proxy {
    let times = "request_timeout_ms = 15000\nstall_timeout_ms = 30000\nretries_per_second = 100000\n";
    Setup::before(1).cluster(&nodes.ports(), times).top("workers = 1").rules(&audited(RULES, keys_per_second, log)).start()
}

/// What holds, and what is broken in each relation.
fn seed(proxy: &Proxy) -> [BTreeSet<String>; 3] {
    let mut lines = Vec::new();
    for id in 0..WHOLE {
        lines.extend([format!("SET blobs:{{{id}}} b"), format!("SET info:{{{id}}} i")]);
        lines.extend([format!("SADD sess:{{u{}}} t{id}", id / 4), format!("SET rt:{{u{}}}:t{id} x", id / 4)]);
        lines.extend([format!("SET left:{id} l"), format!("SET right:{id} r")]);
    }
    let mut broken: [BTreeSet<String>; 3] = Default::default();
    for lost in 0..BROKEN {
        let half = if lost % 2 == 0 { "blobs" } else { "info" };
        let pair = format!("{half}:{{lost{lost}}}");
        lines.extend([format!("SET {pair} x EX 90000"), format!("SADD sess:{{u{lost}}} lost"), format!("SET left:lost{lost} x")]);
        broken[0].insert(pair);
        broken[1].insert(format!("sess:{{u{lost}}} lost"));
        broken[2].insert(format!("left:lost{lost}"));
    }
    let mut wire = proxy.wire();
    for lines in lines.chunks(200) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert!(wire.pipeline(&lines).iter().all(|reply| !reply.starts_with('-')));
    }
    broken
}

fn assert_found(proxy: &Proxy, broken: &[BTreeSet<String>; 3]) {
    let report = post(proxy, "/audit");
    let found = findings(&report);
    for (relation, broken) in ["pairs", "tokens", "spread"].into_iter().zip(broken) {
        assert_eq!(&found[relation], broken, "{relation}: {}", report["relations"]);
    }
}

/// A client that makes pairs by the group and deletes them in transactions.
struct Traffic {
    over: Arc<AtomicBool>,
    pairs: Arc<AtomicU64>,
    client: JoinHandle<()>,
}

impl Traffic {
    fn start(proxy: &Proxy) -> Traffic {
        let (over, pairs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count, mut wire) = (Arc::clone(&over), Arc::clone(&pairs), proxy.wire());
        let client = thread::spawn(move || {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let id = number % 50;
                let (blob, info) = (format!("blobs:{{live{id}}}"), format!("info:{{live{id}}}"));
                // What is under way on a node that dies has an unknown outcome.
                let made = wire.pipeline(&[&format!("SET {blob} x"), &format!("SET {info} x")]);
                let deleted = wire.pipeline(&["MULTI", &format!("DEL {blob}"), &format!("DEL {info}"), "EXEC"]);
                count.fetch_add(u64::from(made[1] == "+OK\r\n" && deleted[3].starts_with('*')), Ordering::Relaxed);
            }
        });
        Traffic { over, pairs, client }
    }

    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.client.join().expect("a client that goes well");
        self.pairs.load(Ordering::Relaxed)
    }
}

/// Waits until an audit is so far under way.
fn until_walked(proxy: &Proxy, keys: u64) {
    eventually("an audit is under way", || {
        let shown: serde_json::Value = serde_json::from_str(&proxy.get("/audit").1).unwrap_or_default();
        shown["running"]["walked"].as_u64().is_some_and(|walked| walked >= keys)
    });
}

#[test]
fn every_primary_is_walked_and_what_is_broken_is_repaired_at_its_node_and_put_back() {
    let nodes = Nodes::start(3, false);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("repair.jsonl");
    let proxy = before(&nodes, &log, 100_000);
    let broken = seed(&proxy);
    let traffic = Traffic::start(&proxy);
    for _ in 0..3 {
        assert_found(&proxy, &broken);
    }
    let dump = |wire: &mut Wire, key: &str| (wire.ask(&format!("DUMP {key}")), wire.ask(&format!("PEXPIRETIME {key}")));
    let mut wire = proxy.wire();
    let keys: Vec<&str> = broken[0].iter().map(String::as_str).collect();
    let kept: Vec<_> = keys.iter().map(|key| dump(&mut wire, key)).collect();
    let report = post(&proxy, "/repair?apply=true&force=true");
    assert_eq!(report["removed"].as_u64(), Some(2 * BROKEN as u64), "{report}");
    // Keys of several slots cannot be watched together: what refers across them is told, and stays.
    let spread = &report["relations"][2];
    assert_eq!((spread["repair"].as_str(), spread["orphans"].as_u64()), (Some("report"), Some(BROKEN as u64)), "{spread}");
    assert!(spread["findings"][0]["action"].is_null());
    let left = [BTreeSet::new(), BTreeSet::new(), broken[2].clone()];
    assert_found(&proxy, &left);
    assert_eq!(wire.ask("SISMEMBER sess:{u1} lost"), ":0\r\n");
    let undone = post(&proxy, &format!("/repair/undo?run={}", report["id"].as_str().expect("an id")));
    assert_eq!(undone["restored"].as_u64(), Some(2 * BROKEN as u64), "{undone}");
    assert_eq!(keys.iter().map(|key| dump(&mut wire, key)).collect::<Vec<_>>(), kept);
    assert_found(&proxy, &broken);
    assert!(traffic.stop() > 0);
}

#[test]
fn one_proxy_audits_a_cluster_at_a_time() {
    let nodes = Nodes::start(3, false);
    let folder = tempfile::tempdir().expect("a folder");
    let slow = before(&nodes, &folder.path().join("a"), 100);
    let other = before(&nodes, &folder.path().join("b"), 100_000);
    seed(&slow);
    thread::scope(|scope| {
        let audit = scope.spawn(|| post(&slow, "/audit"));
        until_walked(&slow, 1);
        assert_eq!(other.http("POST", "/audit", &[]).0, 409);
        assert_eq!(slow.http("POST", "/audit/cancel", &[]).0, 200);
        assert_eq!(audit.join().expect("it ends")["outcome"], "cancelled");
    });
    assert_eq!(other.http("POST", "/audit", &[]).0, 200, "the lock was given back");
}

#[test]
fn slots_that_move_in_the_midst_of_an_audit_raise_no_false_alarm_and_hide_nothing() {
    let nodes = Nodes::start(3, false);
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = before(&nodes, &folder.path().join("log"), 700);
    let broken = seed(&proxy);
    let traffic = Traffic::start(&proxy);
    // To where the walk has been already, and to where it has yet to come.
    let slots: Vec<(u16, usize)> = broken[0].iter().take(8).map(|key| (key_slot(key.as_bytes()), nodes.owner(key))).collect();
    thread::scope(|scope| {
        let audit = scope.spawn(|| assert_found(&proxy, &broken));
        until_walked(&proxy, 100);
        for (place, (slot, from)) in slots.iter().enumerate() {
            nodes.move_slot(*slot, *from, (*from + 1 + place % 2) % 3);
        }
        audit.join().expect("exactly what is broken is found");
    });
    // One that stays half moved for long, with a key of which the other half is nowhere: what is asked about both waits.
    let lost = broken[0].last().expect("there is one");
    let (slot, from) = (key_slot(lost.as_bytes()), nodes.owner(lost));
    let to = (from + 1) % 3;
    nodes.begin_move(slot, from, to);
    thread::scope(|scope| {
        let audit = scope.spawn(|| assert_found(&proxy, &broken));
        until_walked(&proxy, 300);
        thread::sleep(Duration::from_millis(500));
        nodes.migrate(lost, from, to);
        nodes.end_move(slot, from, to);
        audit.join().expect("exactly what is broken is found");
    });
    assert!(traffic.stop() > 0);
}

#[test]
fn an_audit_goes_on_when_a_primary_dies_and_says_when_nobody_takes_its_place() {
    let mut nodes = Nodes::start(3, true);
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = before(&nodes, &folder.path().join("log"), 1500);
    let broken = seed(&proxy);
    let size = |server: &crate::harness::RedisServer| server.ask("DBSIZE");
    eventually("the replicas have all", || (0..3).all(|at| size(&nodes.servers[at]) == size(&nodes.servers[at + 3])));
    let traffic = Traffic::start(&proxy);
    thread::scope(|scope| {
        let audit = scope.spawn(|| assert_found(&proxy, &broken));
        until_walked(&proxy, 50);
        nodes.servers[0].kill();
        audit.join().expect("exactly what is broken is found");
    });
    assert!(traffic.stop() > 0);
    assert!(proxy.metric("respguard_topology_changes_total", &[("kind", "slots")]) >= 2.0);
}

#[test]
fn check_says_which_relations_are_only_reported_on_a_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("respguard.toml");
    let toml = format!("[upstream]\ncluster = [\"127.0.0.1:1\"]\n[audit]\nrepair_log = \"log\"\n{RULES}");
    std::fs::write(&path, toml).expect("a file");
    let output = command().args(["check", "--config"]).arg(&path).output().expect("it runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("its keys can lie in different slots of the cluster").count(), 1, "{said}");
    assert!(said.contains("relation[2].repair"), "{said}");
}
