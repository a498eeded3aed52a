//! Repairs of relations beside whoever writes at the same time, and audits that lose their lock or never had a right to it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::harness::proxy::command;
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, text};
use crate::relations::{PAIRS, findings, pairs, post, setup};

/// Forwards to a server, and writes there when the first removal is on its way: behind the look, before the EXEC.
fn with_a_writer_in_between(server: u16, line: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let written = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let Ok(mut to_server) = TcpStream::connect(("127.0.0.1", server)) else { return };
            let (mut answers, mut to_client) = (to_server.try_clone().expect("cloned"), client.try_clone().expect("cloned"));
            thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut to_client);
                let _ = to_client.shutdown(Shutdown::Both);
            });
            let written = Arc::clone(&written);
            thread::spawn(move || {
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = client.read(&mut bytes) {
                    let is_removal = bytes[..count].windows(6).any(|word| word == b"UNLINK");
                    if is_removal && !written.swap(true, Ordering::SeqCst) {
                        assert_eq!(Wire::connect(server).ask(line), "+OK\r\n");
                    }
                    if to_server.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                let _ = to_server.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn whoever_mends_it_between_the_look_and_the_removal_wins() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 20, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let port = with_a_writer_in_between(redis.port(), "SET b:lost0 v");
    let proxy = setup(&redis, PAIRS, &log).through(port).start();
    let report = post(&proxy, "/repair?apply=true");
    assert_eq!(report["removed"], 0, "{report}");
    assert_eq!(report["relations"][0]["findings"][0]["result"], "fixed", "{report}");
    assert_eq!((redis.ask("GET a:lost0"), redis.ask("GET b:lost0")), ("$1\r\nv\r\n".to_owned(), "$1\r\nv\r\n".to_owned()));
    let lines = std::fs::read_to_string(&log).expect("the log");
    assert!(lines.lines().next().is_some_and(|line| line.contains("\"dump\"")), "it was about to be removed: {lines}");
    let (status, _) = proxy.http("POST", &format!("/repair/undo?run={}", report["id"].as_str().expect("an id")), &[]);
    assert_eq!(status, 404, "there is nothing to be put back");
}

#[test]
fn writers_that_race_a_repair_never_find_half_of_it() {
    const BROKEN: usize = 300;
    let redis = Arc::new(RedisServer::start(&[]));
    pairs(&redis, 3000, BROKEN);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let proxy = setup(&redis, PAIRS, &log).start();
    let mended = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (redis, log, mended) = (Arc::clone(&redis), log.clone(), Arc::clone(&mended));
            thread::spawn(move || {
                let mut wire = redis.wire();
                eventually("a repair has begun to remove", || std::fs::metadata(&log).is_ok_and(|log| log.len() > 0));
                for x in (0..BROKEN).filter(|x| x % 2 == writer) {
                    wire.ask(&format!("WATCH a:lost{x}"));
                    if wire.ask(&format!("EXISTS a:lost{x}")) == ":1\r\n" {
                        let replies = wire.pipeline(&["MULTI", &format!("SET b:lost{x} v"), "EXEC"]);
                        mended.fetch_add(usize::from(replies[2].starts_with("*1")), Ordering::SeqCst);
                    } else {
                        wire.ask("UNWATCH");
                    }
                }
            })
        })
        .collect();
    let report = post(&proxy, "/repair?apply=true&force=true");
    writers.into_iter().for_each(|writer| writer.join().expect("a client that goes well"));
    let (mut whole, mut gone) = (0, 0);
    for x in 0..BROKEN {
        match &*redis.ask(&format!("EXISTS a:lost{x} b:lost{x}")) {
            ":2\r\n" => whole += 1,
            ":0\r\n" => gone += 1,
            half => panic!("{x}: {half}"),
        }
    }
    assert_eq!((whole, Some(gone)), (mended.load(Ordering::SeqCst), report["removed"].as_u64()), "{report}");
    let kept = std::fs::read_to_string(&log).expect("the log");
    assert!(kept.matches("\"dump\"").count() as u64 >= gone);
    eprintln!("{whole} were mended, {gone} removed");
}

/// Posts, and gives the answer's body when it is whole.
fn begin(proxy: &Proxy, path: &str) -> thread::JoinHandle<String> {
    let (port, path) = (proxy.admin_port(), path.to_owned());
    thread::spawn(move || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let request = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut text = String::new();
        // Of a proxy that is killed there is no end.
        let _ = socket.read_to_string(&mut text);
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    })
}

/// Audits so slowly that the audit can be met at work.
fn slow(redis: &RedisServer) -> Proxy {
    let rules = format!("[audit]\nevery = \"off\"\nkeys_per_second = 50\ngrace_ms = 1\n{}", PAIRS.replace("delete", "report"));
    Setup::new(redis).rules(&rules).start()
}

const LOCK: &str = "respguard:guard:audit";

fn is_at_work(proxy: &Proxy) -> bool {
    let shown: Value = serde_json::from_str(&proxy.get("/audit").1).expect("JSON");
    shown["running"]["relation"] == "pairs"
}

#[test]
fn the_lock_of_a_proxy_that_was_killed_ends_by_itself() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 1000, 1);
    let (one, other) = (slow(&redis), setup(&redis, &PAIRS.replace("delete", "report"), std::path::Path::new("unused")).start());
    let audit = begin(&one, "/audit");
    eventually("it has begun", || is_at_work(&one));
    drop(one);
    audit.join().expect("it ends");
    assert_eq!(other.http("POST", "/audit", &[]).0, 409, "the lock is still there");
    let ttl: i64 = redis.ask(&format!("PTTL {LOCK}")).trim().trim_start_matches(':').parse().expect("a number");
    assert!((1..=30_000).contains(&ttl), "{ttl}");
    // As if that time had passed.
    redis.ask(&format!("PEXPIRE {LOCK} 1"));
    eventually("it has ended", || redis.ask(&format!("EXISTS {LOCK}")) == ":0\r\n");
    assert_eq!(findings(&post(&other, "/audit"))["pairs"].len(), 1);
}

#[test]
fn an_audit_ends_with_whoever_asked_for_it_and_when_it_is_told_to() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 2000, 1);
    let proxy = slow(&redis);
    let cancelled = || proxy.metric("respguard_audit_runs_total", &[("relation", "pairs"), ("outcome", "cancelled")]);
    let mut socket = TcpStream::connect(("127.0.0.1", proxy.admin_port())).expect("it listens");
    socket.write_all(b"POST /audit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").expect("sent");
    eventually("it has begun", || is_at_work(&proxy));
    drop(socket);
    eventually("it has ended", || cancelled() == 1.0 && !is_at_work(&proxy));

    let audit = begin(&proxy, "/audit");
    eventually("another has begun", || is_at_work(&proxy));
    let cancel = || command().args(["audit", "--cancel", "--config"]).arg(proxy.config()).output().expect("it runs");
    assert_eq!(text(&cancel().stdout), "ended\n");
    assert!(audit.join().expect("it ends").contains("\"outcome\":\"cancelled\""));
    assert_eq!(text(&cancel().stdout), "nothing was under way\n");
    assert_eq!((cancelled(), redis.ask(&format!("EXISTS {LOCK}"))), (2.0, ":0\r\n".to_owned()));
}

#[test]
fn whoever_has_lost_the_lock_stops() {
    let redis = RedisServer::start(&[]);
    pairs(&redis, 2000, 1);
    let proxy = slow(&redis);
    let audit = begin(&proxy, "/audit");
    eventually("it has begun", || is_at_work(&proxy));
    assert_eq!(redis.ask(&format!("SET {LOCK} somebody-else")), "+OK\r\n");
    let report: Value = serde_json::from_str(&audit.join().expect("it ends")).expect("JSON");
    assert_eq!(report["outcome"], "failed", "{report}");
    assert_eq!(report["relations"][0]["reason"], "another proxy has taken the lock");
    assert_eq!(redis.ask(&format!("GET {LOCK}")), "$13\r\nsomebody-else\r\n", "and leaves it alone");
}

#[test]
fn a_server_that_refuses_scheduled_audits_makes_relations_unknown_and_is_told_of_once() {
    const PROBE: &str = "probe = { username = \"reader\", password_env = \"PROBE\" }";
    for (upstream, word) in [("", "NOAUTH"), (PROBE, "NOPERM")] {
        let redis = RedisServer::start(&[]);
        pairs(&redis, 3, 1);
        let mut admin = redis.wire();
        // The reader has the right to all but the key of the lock.
        for line in ["ACL SETUSER reader on >secret ~a:* ~b:* +@all", "ACL SETUSER default on >other ~* +@all"] {
            assert_eq!(admin.ask(line), "+OK\r\n");
        }
        let other = "[[relation]]\nname = \"others\"\nkeys = [\"a:{x}\", \"c:{x}\"]\n";
        let rules = format!("[audit]\nevery = \"1s\"\ngrace_ms = 1\n{}{other}", PAIRS.replace("delete", "report"));
        let proxy = Setup::new(&redis).upstream(upstream).environment("PROBE", "secret").rules(&rules).start();
        let unknown = |relation| proxy.metric("respguard_audit_runs_total", &[("relation", relation), ("outcome", "unknown")]);
        eventually("it was tried more than once", || unknown("pairs") >= 3.0 && unknown("others") >= 3.0);
        for outcome in ["clean", "drift", "failed"] {
            assert_eq!(proxy.metric("respguard_audit_runs_total", &[("outcome", outcome)]), 0.0, "{outcome}");
        }
        assert_eq!(proxy.violated("orphan", "pairs"), 0.0);
        let log = proxy.log();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN") && line.contains("audit")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains(word), "{warnings:#?}");
        // Whoever asks is told each time.
        eventually("it is between two runs", || {
            let (status, body) = proxy.http("POST", "/audit", &[]);
            if status == 200 {
                let report: Value = serde_json::from_str(&body).expect("JSON");
                assert_eq!(report["outcome"], "unknown", "{report}");
                assert!(report["relations"][0]["reason"].as_str().expect("a reason").contains(word), "{report}");
            }
            status == 200
        });
        // What is given back its rights is audited again.
        assert_eq!(admin.ask("ACL SETUSER reader ~*"), "+OK\r\n");
        assert_eq!(admin.ask("ACL SETUSER default nopass"), "+OK\r\n");
        eventually("it finds out", || {
            proxy.metric("respguard_audit_runs_total", &[("relation", "pairs"), ("outcome", "drift")]) >= 1.0
        });
    }
}
