//! What holding the beginnings of groups costs: those who send none, and those who send one without its rest.
//!
//! `cargo bench --bench holds` takes half a minute, with `-- --quick` a few seconds.

#[path = "../../scripts/speed/load/src/clients.rs"]
mod clients;
#[path = "../../scripts/speed/load/src/http.rs"]
#[expect(dead_code, reason = "the load generator speaks HTTP too")]
mod http;
#[path = "../../scripts/speed/load/src/job.rs"]
#[expect(dead_code, reason = "only GET is played here")]
mod job;
mod processes;
#[path = "../../scripts/speed/load/src/socket.rs"]
#[expect(dead_code, reason = "the load generator speaks TLS too")]
mod socket;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use respguard_resp::encode;

use clients::Clients;
use job::Job;
use processes::{Proxy, Redis, connect};

/// The group that is waited for.
const GROUP: &str = r#"
[[group]]
name = "order"
commands = ["SET order:{id} *", "HSET order-info:{id} state *", "SADD orders {id}", "EXPIRE order-info:{id} *"]
"#;
/// Beginnings in a round.
const BEGINNINGS: usize = 50;
const GET: &str = "GET of others";
const LONE: &str = "lone beginning";

/// How much is played.
struct MatchSpan {
    rounds: usize,
    round: Duration,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, round_ms) = if quick { (3, 150) } else { (9, 500) };
    let extent = MatchSpan { rounds, round: Duration::from_millis(round_ms) };
    let redis = Redis::start();
    others(&redis, &extent);
    println!("{LONE:<18}{:<26}{:>10}{:>10}{:>10}{:>12}{:>16}", "", "p50 ms", "p99 ms", "max ms", "asleep p50", "asleep max ms");
    for (gap_ms, max_ms) in [(2, 20), (5, 20), (10, 10)] {
        prefixes(&redis, &extent, gap_ms, max_ms);
    }
}

/// GETs, which begin no group: without rules, with a group that is waited for, and while others are waited for.
fn others(redis: &Redis, extent: &MatchSpan) {
    println!(
        "{GET:<18}{:<26}{:>10}{:>10}{:>10}{:>10}{:>12}{:>12}",
        "", "p50 us", "p90 us", "p99 us", "p99.9 us", "p50 ratio", "p99 ratio"
    );
    // So long that what is held in a round stays held through it.
    let long = format!("[pipeline]\nhold_ms = 5000\nhold_max_ms = 5000\n{GROUP}");
    let proxies = ["", GROUP, &long].map(|rules| Proxy::start(redis.port, rules));
    let get = Job::named("get:1");
    set_key(redis);
    for clients in [1, 50] {
        let mut loads = [0, 1, 2].map(|at| Clients::connect(proxies[at].port, clients, None, clients::hello));
        loads.iter_mut().for_each(|load| load.check(&get));
        let mut latencies = [Vec::new(), Vec::new(), Vec::new()];
        let mut holding = Vec::new();
        for round in 0..extent.rounds {
            for turn in 0..loads.len() {
                let at = (round + turn) % loads.len();
                if at == 2 {
                    holding = (0..10).map(|_| held(proxies[2].port, round)).collect();
                }
                loads[at].play(&get, extent.round / 5);
                latencies[at].extend(loads[at].play(&get, extent.round).latencies_ns);
                holding.clear();
            }
        }
        let names = ["no rules", "a group", "a group, 10 held"];
        latencies.iter_mut().for_each(|all| all.sort_unstable());
        for (name, own) in names.iter().zip(&latencies) {
            let us = |of: &Vec<u64>, per_mille: usize| at(of, per_mille) as f64 / 1e3;
            println!(
                "{GET:<18}{:<26}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>12.2}{:>12.2}",
                format!("{name}, {clients} clients"),
                us(own, 500),
                us(own, 900),
                us(own, 990),
                us(own, 999),
                us(own, 500) / us(&latencies[0], 500),
                us(own, 990) / us(&latencies[0], 990),
            );
        }
    }
}

/// What the GETs ask for.
fn set_key(redis: &Redis) {
    let (mut stream, mut request) = (connect(redis.port), Vec::new());
    encode::request(&mut request, &[b"SET", b"key", &[b'v'; 64]]);
    stream.write_all(&request).expect("written");
    stream.read_exact(&mut [0; 5]).expect("answered");
}

/// A client whose beginning of a group is held, until it leaves.
fn held(port: u16, n: usize) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(&beginning(n)).expect("written");
    stream
}

/// The first member of a group and nothing behind it; then with other commands behind it that keep the gap from ending.
fn prefixes(redis: &Redis, extent: &MatchSpan, gap_ms: u64, max_ms: u64) {
    let rules = format!("[pipeline]\nhold_ms = {gap_ms}\nhold_max_ms = {max_ms}\n{GROUP}");
    let proxy = Proxy::start(redis.port, &rules);
    let (mut alone, mut followed, mut asleep) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..extent.rounds * BEGINNINGS {
        let mut stream = connect(proxy.port);
        let start = Instant::now();
        stream.write_all(&beginning(n)).expect("written");
        stream.read_exact(&mut [0; 5]).expect("answered");
        alone.push(start.elapsed().as_nanos() as u64);
        followed.push(keep_waiting(&mut stream, n, Duration::from_millis(gap_ms) / 2));
        // What the machine makes of a sleep as long as the gap.
        let start = Instant::now();
        std::thread::sleep(Duration::from_millis(gap_ms));
        asleep.push(start.elapsed().as_nanos() as u64);
    }
    asleep.sort_unstable();
    for (what, mut own) in [("alone", alone), ("GETs behind it", followed)] {
        own.sort_unstable();
        let ms = |of: &[u64], per_mille: usize| at(of, per_mille) as f64 / 1e6;
        println!(
            "{LONE:<18}{:<26}{:>10.2}{:>10.2}{:>10.2}{:>12.2}{:>16.2}",
            format!("{gap_ms} ms, max {max_ms}, {what}"),
            ms(&own, 500),
            ms(&own, 990),
            ms(&own, 1000),
            ms(&asleep, 500),
            ms(&asleep, 1000),
        );
    }
}

/// Sends a beginning and then a GET of another key in each `pause`, until the beginning is answered: how long that took.
fn keep_waiting(stream: &mut TcpStream, n: usize, pause: Duration) -> u64 {
    let mut get = Vec::new();
    encode::request(&mut get, &[b"GET", b"nothing"]);
    let start = Instant::now();
    stream.write_all(&beginning(n)).expect("written");
    stream.set_read_timeout(Some(pause)).expect("set");
    let mut gets = 0;
    let mut reply = [0; 5];
    while stream.read(&mut reply[..]).is_err() {
        stream.write_all(&get).expect("written");
        gets += 1;
    }
    let took = start.elapsed().as_nanos() as u64;
    assert_eq!(&reply, b"+OK\r\n");
    stream.set_read_timeout(None).expect("set");
    stream.read_exact(&mut vec![0; gets * b"$-1\r\n".len()]).expect("the GETs are answered behind it");
    took
}

fn beginning(n: usize) -> Vec<u8> {
    let mut request = Vec::new();
    encode::request(&mut request, &[b"SET", format!("order:{n}").as_bytes(), b"v"]);
    request
}

/// What so many of a thousand did not exceed.
fn at(sorted: &[u64], per_mille: usize) -> u64 {
    sorted[(sorted.len() - 1) * per_mille / 1000]
}
