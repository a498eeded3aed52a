//! Counts what a worker allocates while it serves clients at a steady pace: nothing.

mod cluster;
mod counting;
#[path = "../it/harness/program.rs"]
mod program;
mod served;
#[path = "../command_table/server.rs"]
#[expect(dead_code, reason = "only the process is wanted here")]
mod server;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use respguard::net::upstream::Settings;
use respguard_engine::command::Table;
use respguard_engine::policy::rule::{TtlAction, Written, WrittenExpect, WrittenGroup, WrittenGuard, WrittenMember, WrittenTtl};
use respguard_engine::policy::{Policy, compile};
use respguard_resp::encode;

use cluster::Cluster;
use served::Worker;
use server::Server;

const CLIENTS: usize = 8;
const DEPTH: usize = 16;
const VALUE: [u8; 64] = [b'v'; 64];
/// Longer than the next flush of the counters, which enters new commands into the recorder, is away.
const STRETCH: Duration = Duration::from_millis(1500);
/// What is counted is no handful.
const COMMANDS_MIN: u64 = 100_000;
/// An allocation per command, per turn or per tick is in each of them.
const STRETCHES_MAX: usize = 12;

/// SET and GET in turn, of keys that several nodes of a cluster serve, and what Redis answers to them.
fn batch() -> (Vec<u8>, Vec<u8>) {
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    for number in 0..DEPTH / 2 {
        let key = format!("steady:{number}");
        encode::request(&mut requests, &[b"SET", key.as_bytes(), &VALUE]);
        encode::simple(&mut replies, "OK");
        encode::request(&mut requests, &[b"GET", key.as_bytes()]);
        encode::bulk(&mut replies, &VALUE);
    }
    (requests, replies)
}

/// Every client sends a whole batch, then every client takes its replies, for `long` and for [`COMMANDS_MIN`] at least.
fn play(clients: &mut [TcpStream], long: Duration) {
    let (requests, expected) = batch();
    let mut replies = vec![0; expected.len()];
    let (start, mut commands) = (Instant::now(), 0);
    while start.elapsed() < long || commands < COMMANDS_MIN {
        for client in clients.iter_mut() {
            client.write_all(&requests).expect("the worker takes requests");
        }
        for client in clients.iter_mut() {
            client.read_exact(&mut replies).expect("the worker answers in time");
            assert!(replies == expected, "{}", String::from_utf8_lossy(&replies));
        }
        commands += (CLIENTS * DEPTH) as u64;
    }
}

/// What the worker allocates at depth 16: while clients come, and over all commands of one stretch once they have been
/// served for a while. Whenever the machine keeps the server from answering for some milliseconds, the worker takes ways
/// that it has not taken before, and their buffers are made once: then the next stretch counts.
fn allocations_under(upstream: Settings, policy: Policy) -> (u64, Vec<u64>) {
    let worker = Worker::start(upstream, policy);
    let mut clients = Vec::new();
    let first = counting::on_worker(|| {
        clients.extend((0..CLIENTS).map(|_| worker.connect()));
        play(&mut clients, STRETCH);
    });
    let mut steady = Vec::new();
    while steady.last() != Some(&0) && steady.len() < STRETCHES_MAX {
        steady.push(counting::on_worker(|| play(&mut clients, STRETCH)));
    }
    drop(clients);
    worker.end();
    (first, steady)
}

/// Rules of every kind that look at every command and match none.
fn rules() -> Policy {
    let member = |template: &str| WrittenMember { template: template.into(), ..WrittenMember::default() };
    let group = WrittenGroup {
        name: "login".into(),
        commands: Some(["SET session:{id} *", "SADD sessions {id}"].map(member).into()),
        ..WrittenGroup::default()
    };
    let ttl = WrittenTtl { name: "sessions".into(), keys: vec!["session:*".into()], ..WrittenTtl::default() };
    let ttl = WrittenTtl { action: TtlAction::Fix, default: Some("1d".into()), keep: true, ..ttl };
    let commands = Some(["SET blob:* *", "GET blob:*"].map(str::to_owned).into());
    let guard = WrittenGuard { name: "blobs".into(), commands, value_bytes_max: Some(1), ..WrittenGuard::default() };
    let (command, reply) = ("GET config:*".to_owned(), "!nil".to_owned());
    let expect = WrittenExpect { name: "config".into(), command, reply, ..WrittenExpect::default() };
    let (expects, guards) = (vec![expect], vec![guard]);
    let written = Written { groups: vec![group], ttls: vec![ttl], expects, guards, ..Written::default() };
    compile(&written, &Table::builtin()).expect("good rules")
}

// One test: the counter is the process', and what one worker allocates must not hide behind another.
#[test]
fn a_worker_at_a_steady_pace_allocates_nothing() {
    let server = Server::start();
    let nodes = Cluster::start();
    let one = || served::settings(server.port());
    for (upstream, policy, what) in [
        (one(), Policy::passive(), "without rules"),
        (one(), rules(), "with rules that match nothing"),
        (nodes.settings(), Policy::passive(), "before a cluster"),
    ] {
        let (first, steady) = allocations_under(upstream, policy);
        assert!(first > CLIENTS as u64, "clients that come cost something, so the counter sees the worker: {first}");
        assert!(steady.contains(&0), "{what}: {steady:?} in stretches of {COMMANDS_MIN} commands or more");
    }
}
