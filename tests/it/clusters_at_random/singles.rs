//! Clients of which each pipelines single commands over keys in many slots, and what they are told of each key.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;

use crate::harness::Proxy;

/// Each client's own.
pub const KEYS: usize = 24;
const DEPTH: usize = 16;

/// What one client knows of one of its keys.
#[derive(Debug, Default, Clone)]
struct Key {
    /// What INCR answered last.
    counted: u64,
    acknowledged: u64,
    /// Of those nobody knows whether they were applied.
    unknown: u64,
    /// What was set last, and whether that is sure.
    set: u64,
    is_sure: bool,
}

/// What is known when it is over.
#[derive(Debug, Default)]
pub struct Told {
    name: String,
    keys: Vec<Key>,
    pub commands: u64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Count(usize),
    Set(usize, u64),
    Get(usize),
}

/// Sends pipelines until it is over. Servers may lose what they have acknowledged if `may_lose` is set meanwhile.
pub fn play(proxy: &Proxy, name: String, seed: u64, is_over: &AtomicBool, may_lose: &AtomicBool) -> Told {
    let (mut random, mut written) = (Rng::with_seed(seed), 0);
    let mut wire = proxy.wire().patience(Duration::from_secs(60));
    let mut told = Told { name, keys: vec![Key::default(); KEYS], commands: 0 };
    while !is_over.load(Ordering::Relaxed) {
        let mut step = || {
            let at = random.usize(..KEYS);
            match random.u8(..3) {
                0 => Step::Count(at),
                1 => {
                    written += 1;
                    Step::Set(at, written)
                }
                _ => Step::Get(at),
            }
        };
        let steps: Vec<Step> = (0..DEPTH).map(|_| step()).collect();
        let lines: Vec<String> = steps.iter().map(|step| told.line(*step)).collect();
        let replies = wire.pipeline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        for (step, reply) in steps.into_iter().zip(&replies) {
            told.note(step, reply, may_lose.load(Ordering::SeqCst));
        }
        told.commands += DEPTH as u64;
    }
    told
}

/// The name of a client's counter.
pub fn counter(client: &str, at: usize) -> String {
    format!("c:{client}:{at}")
}

/// That of one of its values.
pub fn value(client: &str, at: usize) -> String {
    format!("v:{client}:{at}")
}

impl Told {
    pub fn name(&self) -> &str {
        &self.name
    }

    fn line(&self, step: Step) -> String {
        let name = &self.name;
        match step {
            Step::Count(at) => format!("INCR {}", counter(name, at)),
            Step::Set(at, number) => format!("SET {0} {0}#{number}", value(name, at)),
            Step::Get(at) => format!("GET {}", value(name, at)),
        }
    }

    /// Each reply is that of its command, and on one key each sees what those before it did.
    fn note(&mut self, step: Step, reply: &str, may_lose: bool) {
        let name = &self.name;
        let is_unknown = reply.starts_with("-TIMEOUT ");
        let is_unsent = reply.starts_with("-ERR respguard: ") && reply.contains(" was not sent: ");
        match step {
            Step::Count(at) => {
                let key = &mut self.keys[at];
                match reply.strip_prefix(':').and_then(|number| number.trim_end().parse::<u64>().ok()) {
                    Some(number) => {
                        let most = key.acknowledged + key.unknown + 1;
                        assert!(number <= most, "{name}: INCR {at} answered {number} after {key:?}");
                        assert!(may_lose || number > key.counted, "{name}: INCR {at} answered {number} after {key:?}");
                        (key.counted, key.acknowledged) = (number, key.acknowledged + 1);
                    }
                    None if is_unknown => key.unknown += 1,
                    None => assert!(is_unsent, "{name}: INCR {at}: {reply:?}"),
                }
            }
            Step::Set(at, number) => {
                let key = &mut self.keys[at];
                match reply {
                    "+OK\r\n" => (key.set, key.is_sure) = (number, true),
                    _ if is_unknown => key.is_sure = false,
                    _ => assert!(is_unsent, "{name}: SET {at}: {reply:?}"),
                }
            }
            Step::Get(at) => {
                let key = &self.keys[at];
                let own = format!("{}#", value(name, at));
                match reply.lines().nth(1).and_then(|value| value.strip_prefix(&own)) {
                    Some(number) => {
                        let number: u64 = number.parse().expect("a number");
                        let is_last = number == key.set || !key.is_sure;
                        assert!(may_lose || is_last, "{name}: GET {at} answered #{number} after {key:?}");
                    }
                    None if reply == "$-1\r\n" => {
                        assert!(may_lose || key.set == 0 || !key.is_sure, "{name}: GET {at} answered nothing after {key:?}");
                    }
                    None => assert!(is_unknown || is_unsent, "{name}: GET {at}: {reply:?}"),
                }
            }
        }
    }

    /// Compares the counters with what was told; how many acknowledged ones are not there.
    pub fn judge(&self, proxy: &Proxy) -> u64 {
        let mut wire = proxy.wire();
        let mut lost = 0;
        for (at, key) in self.keys.iter().enumerate() {
            let reply = wire.ask(&format!("GET {}", counter(&self.name, at)));
            let counted = reply.lines().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
            assert!(counted <= key.acknowledged + key.unknown, "{} {at}: {counted} counted of {key:?}", self.name);
            lost += key.acknowledged.saturating_sub(counted);
        }
        lost
    }

    /// How many of its commands have an outcome that nobody knows.
    pub fn unknown(&self) -> u64 {
        self.keys.iter().map(|key| key.unknown).sum()
    }
}
