//! A rolling upgrade: an old process and its successor serve side by side, and the old one leaves, while clients go on.

use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::harness::http::Http;
use crate::harness::proxy::command;
use crate::harness::redis::free_port;
use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, signal};

const RULES: &str = r#"
[[group]]
name = "pay"
atomic = "guarded"
commands = ["INCR paid:{user}", "RPUSH log:{user} *"]

[[group]]
name = "once"
atomic = "guarded"
once = "10m"
once_key = "{id}"
commands = ["HSET order:{id} state *", "RPUSH orders {id}"]
"#;

/// What clients saw.
#[derive(Default)]
struct Seen {
    applied: AtomicU64,
    /// The connection ended before the reply: nobody knows.
    unknown: AtomicU64,
    refused: AtomicU64,
    connected: AtomicU64,
}

/// A successor, ended when dropped.
struct Successor(Child);

impl Successor {
    fn stop(mut self) {
        signal(self.0.id(), "TERM");
        assert_eq!(self.0.wait().expect("a child of ours").code(), Some(0));
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Tells the clients to end, whatever becomes of the test.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_ready(admin: u16) -> bool {
    TcpStream::connect(("127.0.0.1", admin)).is_ok() && Http::connect(admin).get("/readyz").status == 200
}

/// Pays and connects anew whenever it is sent away, until it is told to end.
fn pay(port: u16, user: usize, over: &AtomicBool, seen: &Seen) {
    let group = requests(&[&format!("INCR paid:{user}"), &format!("RPUSH log:{user} x")]);
    while !over.load(Ordering::Relaxed) {
        let mut wire = Wire::connect(port);
        seen.connected.fetch_add(1, Ordering::Relaxed);
        while !over.load(Ordering::Relaxed) {
            if wire.try_send(&group).is_err() {
                seen.unknown.fetch_add(1, Ordering::Relaxed);
                break;
            }
            match (wire.try_reply(), wire.try_reply()) {
                (Some(first), Some(second)) if first.starts_with(b":") && second.starts_with(b":") => {
                    seen.applied.fetch_add(1, Ordering::Relaxed);
                }
                (Some(_), Some(_)) => {
                    seen.refused.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    seen.unknown.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

/// The number that the server answers, `:5` or `5` in a bulk string.
fn number(redis: &RedisServer, line: &str) -> u64 {
    let said = redis.ask(line);
    let last = said.lines().last().unwrap_or_default();
    last.trim_start_matches(':').parse().unwrap_or_else(|_| panic!("{line}: {said}"))
}

#[test]
fn clients_pay_on_while_one_process_follows_another_and_nothing_is_half_done() {
    const USERS: usize = 4;
    const PROCESSES: usize = 3;
    let redis = RedisServer::start(&[]);
    let first = Proxy::start(RULES, &redis);
    let port = first.port();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (over, seen) = (AtomicBool::new(false), Seen::default());
    thread::scope(|scope| {
        for user in 0..USERS {
            let (over, seen) = (&over, &seen);
            scope.spawn(move || pay(port, user, over, seen));
        }
        let ends = Ends(&over);
        let goes_on = |seen: &Seen| {
            let before = seen.applied.load(Ordering::Relaxed);
            eventually("clients pay", || seen.applied.load(Ordering::Relaxed) > before + 20);
        };
        goes_on(&seen);
        let (mut first, mut old) = (Some(first), None);
        for number in 0..PROCESSES {
            let file = directory.path().join(format!("{number}.toml"));
            let admin = free_port();
            let toml = Setup::new(&redis).rules(RULES).toml(&format!("127.0.0.1:{port}"), admin);
            std::fs::write(&file, toml).expect("a temporary file");
            let mut next = command();
            next.args(["run", "--takeover", "--config"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
            let next = Successor(next.spawn().expect("it runs"));
            // Not before the successor serves does the old one leave.
            eventually("the successor is ready", || is_ready(admin));
            goes_on(&seen);
            if let Some(first) = first.take() {
                assert_eq!(first.stop().status.code(), Some(0));
            }
            if let Some(old) = old.replace(next) {
                Successor::stop(old);
            }
            goes_on(&seen);
        }
        drop(ends);
    });
    let (applied, unknown) = (seen.applied.load(Ordering::Relaxed), seen.unknown.load(Ordering::Relaxed));
    let mut paid = 0;
    for user in 0..USERS {
        let by = number(&redis, &format!("GET paid:{user}"));
        assert_eq!(by, number(&redis, &format!("LLEN log:{user}")), "no group is half done");
        paid += by;
    }
    assert!((applied..=applied + unknown).contains(&paid), "{applied} known, {unknown} unknown, {paid} paid");
    assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    assert!(seen.connected.load(Ordering::Relaxed) >= USERS as u64);
}

#[test]
fn what_the_old_process_applied_once_its_successor_does_not_apply_again() {
    let redis = RedisServer::start(&[]);
    let (old, new) = (Proxy::start(RULES, &redis), Proxy::start(RULES, &redis));
    let order = ["HSET order:7 state paid", "RPUSH orders 7"];
    assert_eq!(old.wire().pipeline(&order), [":1\r\n", ":1\r\n"]);
    let again = new.wire().pipeline(&order);
    assert!(again.iter().all(|reply| reply.starts_with("-DUPLICATE ")), "{again:?}");
    assert_eq!(old.stop().status.code(), Some(0));
    assert!(new.wire().pipeline(&order)[0].starts_with("-DUPLICATE "));
    assert_eq!(redis.ask("LLEN orders"), ":1\r\n");
}
