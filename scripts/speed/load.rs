//! The load generator of `scripts/bench`: does what it is told by lines on its standard input, and answers each with one.
//!
//! ```text
//! connect NAME PORT CLIENTS      connections of one thread to a port of the loopback
//! play NAME JOB SECONDS          each client sends the next batch when the former is answered: get:DEPTH,
//!                                groups:COUNT or transactions:COUNT
//! bulk PORT BYTES SECONDS        one client of its own sends pipelines of so many bytes
//! close NAME
//! ```

#[path = "../../benches/pipeline/load.rs"]
mod load;
#[path = "../../benches/pipeline/scenario.rs"]
#[expect(dead_code, reason = "the rules there are those of the benches")]
mod scenario;

use std::collections::HashMap;
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use respguard::engine::resp::encode;

use load::{Load, Played};
use scenario::Job;

/// Bytes of each value that a bulky pipeline sets.
const BULK_VALUE_BYTES: usize = 1000;

fn main() {
    let mut loads = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        println!("{}", obey(&mut loads, &words));
    }
}

fn obey(loads: &mut HashMap<String, Load>, words: &[&str]) -> String {
    match *words {
        ["connect", name, port, clients] => {
            loads.insert(name.to_owned(), Load::connect(number(port), number(clients)));
            "{}".to_owned()
        }
        ["play", name, job, seconds] => {
            let load = loads.get_mut(name).expect("it is connected");
            let job = job_of(job);
            load.check(&job);
            told(&load.play(&job, Duration::from_secs_f64(number(seconds))), job.units)
        }
        ["bulk", port, bytes, seconds] => bulk(number(port), number(bytes), Duration::from_secs_f64(number(seconds))),
        ["close", name] => {
            loads.remove(name);
            "{}".to_owned()
        }
        _ => panic!("not understood: {words:?}"),
    }
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn job_of(word: &str) -> Job {
    match word.split_once(':') {
        Some(("get", depth)) => Job::get(number(depth)),
        Some(("groups", count)) => Job::group(number(count)),
        Some(("transactions", count)) => Job::transaction(number(count)),
        _ => panic!("no such job: {word}"),
    }
}

fn told(played: &Played, units: usize) -> String {
    let (p50, p99) = played.latencies();
    let (units, seconds) = (played.batches * units, played.elapsed.as_secs_f64());
    format!("{{\"units\":{units},\"seconds\":{seconds},\"p50_us\":{p50},\"p99_us\":{p99}}}")
}

/// Sends one pipeline after the other, each when the former is answered.
fn bulk(port: u16, bytes: usize, long: Duration) -> String {
    let mut requests = Vec::new();
    let mut commands = 0;
    while requests.len() < bytes {
        encode::request(&mut requests, &[b"SET", b"bulk", &[b'v'; BULK_VALUE_BYTES]]);
        commands += 1;
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    stream.set_nodelay(true).expect("set");
    let mut replies = vec![0; commands * b"+OK\r\n".len()];
    let (start, mut pipelines) = (Instant::now(), 0);
    while start.elapsed() < long {
        stream.write_all(&requests).expect("written");
        stream.read_exact(&mut replies).expect("answered");
        assert!(replies.chunks(5).all(|reply| reply == b"+OK\r\n"));
        pipelines += 1;
    }
    format!("{{\"pipelines\":{pipelines},\"seconds\":{}}}", start.elapsed().as_secs_f64())
}
