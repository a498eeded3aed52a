//! Thousands of clients that begin and do not end, or ask and do not read: what is kept for them is bounded, and others
//! are served.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::wire::{request, words};
use crate::harness::{RedisServer, Setup, eventually};

const MIB: usize = 1024 * 1024;
const BUDGET: usize = 16 * MIB;
/// So many in each run of all tests; `FLOW_CLIENTS=10000` tries what the limits are made for.
const CLIENTS: usize = 400;
const TIME: Duration = Duration::from_secs(5);

struct Attacker {
    socket: TcpStream,
    bytes: Vec<u8>,
    written: usize,
}

impl Attacker {
    /// Sends what is taken; false when there is nothing left to send, or nobody to take it.
    fn go_on(&mut self) -> bool {
        match self.socket.write(&self.bytes[self.written..]) {
            Ok(written) => self.written += written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        self.written < self.bytes.len()
    }
}

/// What one of them sends: the unfinished member of a group, an unfinished first word, requests for what is large, many
/// requests for what is small.
fn attack(number: usize) -> Vec<u8> {
    let unfinished = |head: &[u8]| [head, &vec![b'x'; 300_000]].concat();
    match number % 4 {
        0 => unfinished(b"*4\r\n$4\r\nHSET\r\n$7\r\nblobs:1\r\n$1\r\nf\r\n$8000000\r\n"),
        1 => unfinished(b"*2\r\n$8000000\r\n"),
        2 => request("GET big").repeat(4),
        _ => request("INCR n").repeat(3_000),
    }
}

#[test]
fn what_is_kept_for_thousands_that_attack_is_bounded_and_others_are_served() {
    let clients = std::env::var("FLOW_CLIENTS").ok().and_then(|number| number.parse().ok()).unwrap_or(CLIENTS);
    let rule = "[[group]]\nname = \"blob\"\ncommands = [\"HSET blobs:{id} ...\", \"HSET info:{id} ...\"]\n";
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"]);
    let listen = format!("buffered_bytes_max = {BUDGET}\nclients_max = 20000");
    let patient = "request_timeout_ms = 60000\nstall_timeout_ms = 60000";
    let proxy = Setup::new(&redis).top("workers = 1").listen(&listen).upstream(patient).rules(rule).start();
    let mut other = proxy.wire().patience(Duration::from_secs(60));
    other.send(&words(&[b"SET", b"big", &vec![b'v'; 64 * 1024]]));
    assert_eq!(other.reply(), b"+OK\r\n");
    let mut attackers: Vec<Attacker> = (0..clients)
        .map(|number| {
            let socket = TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy listens");
            socket.set_nonblocking(true).expect("a socket");
            Attacker { socket, bytes: attack(number), written: 0 }
        })
        .collect();
    let (start, mut asked, mut longest) = (Instant::now(), 0, Duration::ZERO);
    let (mut sending, mut round) = (true, 0);
    while start.elapsed() < TIME || sending && round < 50 {
        sending = false;
        for some in attackers.chunks_mut(200) {
            for attacker in some {
                sending |= attacker.go_on();
            }
            let begun = Instant::now();
            assert_eq!(other.ask("SET k v"), "+OK\r\n");
            (asked, longest) = (asked + 1, longest.max(begun.elapsed()));
        }
        round += 1;
    }
    let (peak, bound) = (proxy.memory_peak() as usize, BUDGET + clients * 64 * 1024 + 40 * MIB);
    eprintln!("{clients} clients: peak of memory {} KiB of {}", peak / 1024, bound / 1024);
    eprintln!("another one was served {asked} times, the longest wait was {longest:?}");
    assert!(peak < bound, "{} MiB of {}", peak / MIB, bound / MIB);
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 0.0);
    drop(attackers);
    eventually("nothing is kept any more", || proxy.metric("respguard_kept_bytes", &[]) < MIB as f64);
    assert_eq!(other.ask("SET k v"), "+OK\r\n");
}
