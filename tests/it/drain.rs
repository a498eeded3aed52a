//! How a process gives way: at once when told twice, to a successor, and not for want of file descriptors.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::proxy::command;
use crate::harness::wire::{request, requests};
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, signal, text};

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let redis = RedisServer::start(&[]);
    for second in ["TERM", "INT"] {
        let upstream = "request_timeout_ms = 60000\nstall_timeout_ms = 60000";
        let proxy = Setup::new(&redis).upstream(upstream).pipeline("drain_timeout_ms = 60000").start();
        let mut wire = proxy.wire();
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
        redis.pause();
        wire.send(&request("GET k"));
        eventually("it was sent on", || proxy.metric("respguard_commands_total", &[("command", "get")]) == 1.0);
        proxy.terminate();
        eventually("it drains", || proxy.get("/readyz").1.contains("draining"));
        signal(proxy.pid(), second);
        let ended = proxy.ended();
        assert_eq!(ended.status.code(), Some(0));
        assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
        redis.resume();
    }
}

#[test]
fn whoever_waits_is_answered_as_if_its_time_were_over() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).pipeline("drain_timeout_ms = 60000").start();
    let [mut wire, mut leaving] = [proxy.wire(), proxy.wire()];
    wire.send(&requests(&["BLPOP a 0", "PING", "BLPOP b 0", "ECHO end"]));
    leaving.send(&requests(&["BLPOP a 0", "QUIT"]));
    eventually("both are blocked", || redis.info("clients", "blocked_clients") == 2);
    proxy.terminate();
    assert_eq!(text(&wire.until_closed()), "*-1\r\n+PONG\r\n*-1\r\n$3\r\nend\r\n");
    assert_eq!(text(&leaving.until_closed()), "*-1\r\n+OK\r\n");
}

#[test]
fn a_successor_takes_over_the_address_before_its_forerunner_ends() {
    let redis = RedisServer::start(&[]);
    let first = Proxy::start("", &redis);
    let mut old = first.wire();
    assert_eq!(old.ask("SET k v"), "+OK\r\n");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("second.toml");
    let toml = Setup::new(&redis).toml(&format!("127.0.0.1:{}", first.port()), crate::harness::redis::free_port());
    std::fs::write(&file, toml).expect("a temporary file");
    let run = |arguments: &[&str]| {
        let mut run = command();
        run.arg("run").args(arguments).arg("--config").arg(&file).stdout(Stdio::null());
        run
    };
    let refused = run(&[]).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("--takeover"), "it says what can be done: {said}");
    let mut second = run(&["--takeover"]).stderr(Stdio::null()).spawn().expect("it runs");
    // The kernel shares new clients out between the two; the forerunner is stopped only when the successor listens.
    eventually("the successor serves clients too", || {
        let mut wires: Vec<Wire> = (0..16).map(|_| first.wire()).collect();
        let served = wires.iter_mut().all(|wire| wire.ask("GET k") == "$1\r\nv\r\n");
        assert!(served, "whoever takes a client serves it");
        first.metric("respguard_clients", &[]) < 17.0
    });
    let port = first.port();
    assert_eq!(first.stop().status.code(), Some(0));
    assert_eq!(old.until_closed(), b"");
    for _ in 0..8 {
        assert_eq!(Wire::connect(port).ask("GET k"), "$1\r\nv\r\n");
    }
    signal(second.id(), "TERM");
    assert_eq!(second.wait().expect("a child of ours").code(), Some(0));
}

#[test]
fn a_lack_of_file_descriptors_costs_new_clients_their_connection_and_nobody_else_anything() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    let limit = |files: usize| {
        let status =
            Command::new("prlimit").args(["--pid", &proxy.pid().to_string(), &format!("--nofile={files}:4096")]).status();
        assert!(status.expect("prlimit is there").success());
    };
    let open = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("it runs").count();
    limit(open + 2);
    let mut waiting: Vec<Wire> = (0..12).map(|_| proxy.wire()).collect();
    eventually("accepting fails", || proxy.log().contains("accepting a client failed"));
    assert_eq!(wire.ask("GET k"), "$1\r\nv\r\n", "who is there is served");
    limit(1024);
    for wire in &mut waiting {
        assert_eq!(wire.ask("GET k"), "$1\r\nv\r\n", "who waited is taken in");
    }
    assert_eq!(proxy.logs("accepting a client failed").matches("accepting a client failed").count(), 1, "told once");
}
