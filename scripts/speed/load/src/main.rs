//! The load generator of `scripts/bench`: does what lines on its standard input say, and answers each with one line of JSON.
//!
//! ```text
//! connect NAME PORT CLIENTS      connections of one thread to a port of the loopback
//! connect-http NAME PORT CLIENTS the same, to be played with rest and webdis
//! connect-tls NAME PORT CLIENTS FILE  the same with TLS, to servers that the authority in this file vouches for
//! play NAME JOB SECONDS          each client sends the next batch when the former is answered: get:DEPTH,
//!                                groups:COUNT, transactions:COUNT, json:KILOBYTES, rest:COUNT or webdis:1
//! bulk PORT BYTES SECONDS        one client of its own sends pipelines of so many bytes
//! json PORT KILOBYTES SECONDS    one client of its own writes and reads a value of JSON of so many KB
//! close NAME
//! ```

mod clients;
mod http;
mod job;
mod socket;

use std::collections::HashMap;
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clients::{Clients, Played};
use job::Job;

fn main() {
    let mut known = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        println!("{}", obey(&mut known, &words));
    }
}

fn obey(known: &mut HashMap<String, Clients>, words: &[&str]) -> String {
    match *words {
        ["connect", name, port, count] => {
            known.insert(name.to_owned(), Clients::connect(number(port), number(count), None, clients::hello));
            "{}".to_owned()
        }
        ["connect-http", name, port, count] => {
            known.insert(name.to_owned(), Clients::connect(number(port), number(count), None, http::hello));
            "{}".to_owned()
        }
        ["connect-tls", name, port, count, authority] => {
            let tls = socket::tls(authority);
            known.insert(name.to_owned(), Clients::connect(number(port), number(count), Some(&tls), clients::hello));
            "{}".to_owned()
        }
        ["play", name, job, seconds] => {
            let clients = known.get_mut(name).expect("it is connected");
            let job = Job::named(job);
            clients.check(&job);
            told(clients.play(&job, length(seconds)), job.units)
        }
        ["bulk", port, bytes, seconds] => pipelines(number(port), &Job::bulk(number(bytes)), length(seconds)),
        ["json", port, kilobytes, seconds] => pipelines(number(port), &Job::json(number(kilobytes)), length(seconds)),
        ["close", name] => {
            known.remove(name);
            "{}".to_owned()
        }
        _ => panic!("not understood: {words:?}"),
    }
}

fn number<N: FromStr>(word: &str) -> N {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn length(seconds: &str) -> Duration {
    Duration::from_secs_f64(number(seconds))
}

fn told(mut played: Played, units: usize) -> String {
    let sorted = &mut played.latencies_ns;
    sorted.sort_unstable();
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100] as f64 / 1e3;
    let (units, seconds) = (played.batches * units, played.elapsed.as_secs_f64());
    format!("{{\"units\":{units},\"seconds\":{seconds},\"p50_us\":{},\"p99_us\":{}}}", at(50), at(99))
}

/// Sends one pipeline after the other, each when the former is answered.
fn pipelines(port: u16, job: &Job, long: Duration) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    stream.set_nodelay(true).expect("set");
    let mut came = vec![0; job.replies.len()];
    let (start, mut pipelines) = (Instant::now(), 0);
    while start.elapsed() < long {
        stream.write_all(&job.requests).expect("written");
        stream.read_exact(&mut came).expect("answered");
        assert!(came == job.replies, "{:?}", String::from_utf8_lossy(&came));
        pipelines += 1;
    }
    format!("{{\"pipelines\":{pipelines},\"seconds\":{}}}", start.elapsed().as_secs_f64())
}
