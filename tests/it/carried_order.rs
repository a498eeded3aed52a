//! The order in which the commands of one connection reach the server, as MONITOR tells it.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use crate::carried::{GUARDED, rules};
use crate::harness::wire::requests;
use crate::harness::{RedisServer, Setup, Wire, text};

/// Lines that a client sends in one go: groups, and what else it does, each with a number of its own.
fn tagged(rng: &mut Rng, number: &mut u32) -> Vec<String> {
    let mut open: Vec<Vec<String>> = Vec::new();
    let mut lines = Vec::new();
    for _ in 0..rng.u32(2..14) {
        *number += 1;
        let tag = *number;
        let caller = match rng.u8(..6) {
            0 => vec![format!("HSET blob:{tag} f 1"), format!("HSET info:{tag} f 1")],
            1 => vec![format!("SADD s:{tag} a"), format!("SET t:{tag} v")],
            2 => vec![format!("SADD s:bad {tag}"), format!("SET t:bad {tag}")],
            3 => vec![format!("SADD s:{tag} a"), format!("SET t:{tag}")],
            _ => vec![rng.choice([format!("SET x {tag}"), format!("GET y:{tag}"), format!("PUBLISH c {tag}")]).expect("one")],
        };
        open.push(caller);
        while !open.is_empty() && rng.bool() {
            let place = rng.usize(..open.len());
            lines.push(open[place].remove(0));
            open.retain(|caller| !caller.is_empty());
        }
    }
    while !open.is_empty() {
        let place = rng.usize(..open.len());
        lines.push(open[place].remove(0));
        open.retain(|caller| !caller.is_empty());
    }
    lines
}

/// The client's commands as MONITOR tells them, up to `ECHO end`.
fn seen(monitor: &mut Wire) -> Vec<String> {
    let mut came = Vec::new();
    loop {
        let line = text(&monitor.reply());
        let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        match words.first().copied() {
            Some("ECHO") if words.get(1) == Some(&"end") => return came,
            Some("HSET" | "SADD" | "SET" | "GET" | "PUBLISH")
                if !words[1].starts_with("respguard:") && !line.contains(" lua]") =>
            {
                came.push(words.join(" "));
            }
            _ => {}
        }
    }
}

#[test]
fn the_commands_of_a_connection_reach_the_server_in_their_order() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).pipeline("hold_ms = 1\nhold_max_ms = 4\n").rules(&format!("{}{GUARDED}", rules())).start();
    redis.ask("SET s:bad text");
    let mut monitor = redis.wire();
    assert_eq!(monitor.ask("MONITOR"), "+OK\r\n");
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let (mut rng, mut wire, mut number) = (Rng::with_seed(seed), proxy.wire(), 0);
    let mut sent = Vec::new();
    for _ in 0..400 {
        let lines = tagged(&mut rng, &mut number);
        let cut = rng.usize(..=lines.len());
        for part in [&lines[..cut], &lines[cut..]] {
            wire.send(&requests(&part.iter().map(String::as_str).collect::<Vec<_>>()));
            if rng.bool() {
                thread::sleep(Duration::from_micros(rng.u64(..3000)));
            }
        }
        wire.replies(lines.len());
        sent.extend(lines);
    }
    wire.ask("ECHO end");
    let came = seen(&mut monitor);
    let mut at = 0;
    for (place, line) in came.iter().enumerate() {
        // A read that was sent in vain, behind a transaction that has not run, comes again in its place.
        if line.starts_with("GET ") && came[place + 1..].contains(line) {
            continue;
        }
        let found = sent[at..].iter().position(|sent| sent == line);
        at += found.unwrap_or_else(|| panic!("{line:?} came behind what was sent after it, seed {seed}")) + 1;
    }
    assert!(proxy.groups("blob", "applied") > 100.0 && proxy.groups("safe", "applied") > 100.0);
    assert!(proxy.groups("safe", "refused") > 100.0);
}
