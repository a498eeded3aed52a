//! Clients with little room in their sockets that write everything before they read anything: whatever the sizes, and
//! whatever they do to their connection, the order is kept and nothing is lost.

use std::collections::HashMap;
use std::time::Duration;

use fastrand::Rng;

use crate::harness::wire::{request, words};
use crate::harness::{Authority, Proxy, RedisServer, Setup, Wire};
use crate::sessions_at_random::Seeds;

const ROUNDS: u64 = 2;
const CLIENTS: u64 = 6;
const REQUESTS: usize = 40;
/// Less than what each of them asks for, but more than a segment of the loopback interface: below that TCP waits for its timers.
const ROOM: std::ops::Range<usize> = 130_000..250_000;
/// What one client may be sent, and may send, in all.
const BYTES_MAX: usize = 3 * 1024 * 1024;
/// Of clients that share a connection one may be closed if more than this waits, as others wait behind it. Who is alone is
/// served with far less.
const BUDGET_OF_MANY: usize = 128 * 1024 * 1024;
const BUDGET_OF_ONE: usize = 1024 * 1024;
const ALONE: u64 = 4;
const LONG: Duration = Duration::from_secs(120);

/// What one client sends, and what it is to hear.
#[derive(Default)]
struct Script {
    sent: Vec<u8>,
    /// How many replies to one step, and all of them.
    replies: Vec<(usize, Vec<u8>)>,
}

fn size(rng: &mut Rng) -> usize {
    match rng.u8(..10) {
        0..5 => rng.usize(..100),
        5..7 => rng.usize(..20_000),
        7 | 8 => rng.usize(60_000..300_000),
        _ => rng.usize(300_000..2_000_000),
    }
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

fn script(rng: &mut Rng, client: u64, protocol: &str) -> Script {
    let mut script = Script::default();
    let (mut values, mut counters, mut answered): (HashMap<String, Vec<u8>>, _, _) = (HashMap::new(), [0; 4], 0);
    let nil = if protocol == "3" { &b"_\r\n"[..] } else { b"$-1\r\n" };
    let mut db = 0;
    for _ in 0..REQUESTS {
        let key = format!("c{client}:{}", rng.u8(..3));
        let name = format!("{db}/{key}");
        let value = values.get(&name).cloned();
        let (request, reply) = match rng.u8(..13) {
            0..3 if script.sent.len() < BYTES_MAX => {
                let new = vec![rng.alphanumeric() as u8; size(rng)];
                values.insert(name, new.clone());
                (words(&[b"SET", key.as_bytes(), &new]), b"+OK\r\n".to_vec())
            }
            3..7 if answered < BYTES_MAX => (words(&[b"GET", key.as_bytes()]), value.map_or(nil.to_vec(), |value| bulk(&value))),
            7 => {
                counters[db] += 1;
                (words(&[b"INCR", format!("n{client}").as_bytes()]), format!(":{}\r\n", counters[db]).into_bytes())
            }
            8 => {
                let echoed = vec![b'e'; rng.usize(..1000)];
                (words(&[b"ECHO", &echoed]), bulk(&echoed))
            }
            9 => {
                db = rng.usize(..counters.len());
                (words(&[b"SELECT", db.to_string().as_bytes()]), b"+OK\r\n".to_vec())
            }
            10 if answered < BYTES_MAX => {
                let watched = [words(&[b"WATCH", key.as_bytes()]), request("MULTI"), words(&[b"GET", key.as_bytes()])].concat();
                let value = value.map_or(nil.to_vec(), |value| bulk(&value));
                let replies = [b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n", &value[..]].concat();
                ([watched, request("EXEC")].concat(), replies)
            }
            _ => {
                let length = value.map_or(0, |value| value.len());
                (words(&[b"STRLEN", key.as_bytes()]), format!(":{length}\r\n").into_bytes())
            }
        };
        answered += reply.len();
        script.sent.extend(request);
        script.replies.push((if reply.starts_with(b"+OK\r\n+OK") { 4 } else { 1 }, reply));
    }
    script
}

/// One client: it writes all, or a part at a time, and reads what has been asked for so far.
fn play(mut wire: Wire, script: &Script, rng: &mut Rng, protocol: &str) {
    if protocol == "3" {
        wire.send_line("HELLO 3");
        assert!(wire.reply().starts_with(b"%"));
    }
    wire.small_buffers(rng.usize(ROOM), LONG);
    wire.send(&script.sent);
    std::thread::sleep(Duration::from_millis(rng.u64(..200)));
    for (at, (frames, expected)) in script.replies.iter().enumerate() {
        let reply = wire.replies(*frames).concat();
        let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert!(reply == *expected, "reply {at}: {} of {} bytes, not {}", shown(&reply), reply.len(), shown(expected));
    }
    assert_eq!(wire.ask("PING"), "+PONG\r\n", "nothing else has come");
}

/// The same traffic over one way in: of several clients that share connections, and of one with nobody else, for whom hardly
/// anything is kept.
fn over(name: &str, listen: &str, setup: impl Fn(Setup) -> Setup, connect: impl Fn(&Proxy) -> Wire) {
    run(name, (CLIENTS, ROUNDS), &format!("buffered_bytes_max = {BUDGET_OF_MANY}\n{listen}"), &setup, &connect);
    let name = format!("{name} alone");
    run(&name, (1, ALONE), &format!("buffered_bytes_max = {BUDGET_OF_ONE}\n{listen}"), &setup, &connect);
}

fn run(
    name: &str,
    (clients, rounds): (u64, u64),
    listen: &str,
    setup: &impl Fn(Setup) -> Setup,
    connect: &impl Fn(&Proxy) -> Wire,
) {
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"]);
    // A machine that is busy with other tests is no fault of the order.
    let patient = "request_timeout_ms = 60000\nstall_timeout_ms = 60000\nqueue_timeout_ms = 60000";
    let proxy = setup(Setup::new(&redis).top("workers = 1").upstream(patient)).listen(listen).start();
    for seed in Seeds::new(name, 1, rounds) {
        assert_eq!(redis.ask("FLUSHALL"), "+OK\r\n");
        std::thread::scope(|scope| {
            for client in 0..clients {
                let (wire, mut rng) = (connect(&proxy).patience(LONG), Rng::with_seed(seed * 1000 + client));
                scope.spawn(move || {
                    let protocol = if (client + seed) % 2 == 0 { "2" } else { "3" };
                    let script = script(&mut rng, client, protocol);
                    play(wire, &script, &mut rng, protocol);
                });
            }
        });
    }
    let bugs = ["respguard_out_of_sync_total", "respguard_missed_wakeups_total"];
    for metric in ["respguard_timeouts_total", "respguard_clients_closed_total"].into_iter().chain(bugs) {
        assert_eq!(proxy.metric(metric, &[]), 0.0, "{name}: {metric}");
    }
}

#[test]
fn over_tcp_the_order_is_kept_whatever_the_sizes_are() {
    over("flow over tcp", "", |setup| setup, Proxy::wire);
}

#[test]
fn over_tls_the_order_is_kept_whatever_the_sizes_are() {
    let authority = Authority::new();
    let (shown, client) = (authority.issue("server", &["localhost", "127.0.0.1"]), authority.client());
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", shown.cert.display(), shown.key.display());
    over("flow over tls", &tls, |setup| setup, |proxy| Wire::tls(proxy.port(), &client));
}

#[test]
fn over_a_unix_socket_the_order_is_kept_whatever_the_sizes_are() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let near = folder.path().join("near");
    let listen = format!("unix:{}", near.display());
    over("flow over a unix socket", "", |setup| setup.listen_on(&listen), |_| Wire::unix(&near));
}
