//! End to end on the loopback: Redis alone beside Redis behind the proxy, in rounds that alternate.
//!
//! `cargo bench --bench pipeline` takes about two minutes, with `-- --quick` a quarter of one. Behind `--`, a word
//! picks the scenarios whose name contains it, `--beside PATH` measures another build of the proxy in the same rounds,
//! and `--rounds N` plays so many.

mod holds;
mod load;
mod processes;
mod scenario;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use load::Load;
use processes::{Proxy, Redis};
use scenario::{GROUP, GROUPS, GUARDED, IDLE_RULES, Job};
use table::{Measured, Table};

const CLIENTS: usize = 50;
const DEPTHS: [usize; 3] = [1, 16, 64];

/// What the command line asks for.
struct Wishes {
    rounds: usize,
    round: Duration,
    /// Builds of the proxy, each with what is added to the names of its rows.
    builds: Vec<(String, PathBuf)>,
    /// Only scenarios whose name contains it.
    only: Option<String>,
}

/// One way to Redis, with clients connected to it.
struct Way {
    name: String,
    job: Job,
    load: Load,
    /// The proxy on the way.
    proxy: Option<u32>,
}

fn main() {
    let wishes = Wishes::read(std::env::args().skip(1));
    let redis = Redis::start();
    redis.set("key", &[b'v'; scenario::VALUE_BYTES]);
    table::print_head();
    get(&redis, &wishes);
    groups(&redis, &wishes);
    holds::run(&redis, &wishes);
}

impl Wishes {
    fn read(mut arguments: impl Iterator<Item = String>) -> Wishes {
        let own = (String::new(), PathBuf::from(env!("CARGO_BIN_EXE_respguard")));
        let mut wishes = Wishes { rounds: 9, round: Duration::from_millis(500), builds: vec![own], only: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => (wishes.rounds, wishes.round) = (3, Duration::from_millis(150)),
                "--rounds" => wishes.rounds = arguments.next().and_then(|rounds| rounds.parse().ok()).expect("a number"),
                "--beside" => {
                    let path = PathBuf::from(arguments.next().expect("a path"));
                    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
                    wishes.builds.push((format!(" ({name})"), path));
                }
                // Cargo's own.
                option if option.starts_with("--") => {}
                word => wishes.only = Some(word.to_owned()),
            }
        }
        wishes
    }

    fn include(&self, scenario: &str) -> bool {
        self.only.as_ref().is_none_or(|only| scenario.contains(only.as_str()))
    }
}

/// GET of 64 bytes at several depths.
fn get(redis: &Redis, wishes: &Wishes) {
    let setups =
        [("1 worker", 1, ""), ("workers = 0", 0, ""), ("1 worker, rules", 1, IDLE_RULES), ("workers = 0, rules", 0, IDLE_RULES)];
    let proxies = start(redis, wishes, &setups);
    for depth in DEPTHS {
        let name = format!("GET depth {depth}");
        if !wishes.include(&name) {
            continue;
        }
        let job = Job::get(depth);
        let mut ways = vec![Way::direct(redis, &job)];
        ways.extend(proxies.iter().map(|(name, proxy)| Way::through(name, proxy, &job)));
        play(&name, redis, &mut ways, wishes);
    }
}

/// A group of four commands: the client's own MULTI and EXEC straight to Redis, and the bare commands through the proxy.
fn groups(redis: &Redis, wishes: &Wishes) {
    // Groups of two workers would meet on the same keys: one connection carries them all.
    let setups = [("1 worker, wraps", 1, GROUP), ("workers = 0, wraps", 0, GROUP), ("1 worker, guards", 1, GUARDED)];
    let proxies = start(redis, wishes, &setups);
    for groups in GROUPS {
        let name = format!("{groups} x 4 as a group");
        if !wishes.include(&name) {
            continue;
        }
        let mut ways = vec![Way::direct(redis, &Job::transaction(groups))];
        ways.extend(proxies.iter().map(|(name, proxy)| Way::through(name, proxy, &Job::group(groups))));
        play(&name, redis, &mut ways, wishes);
    }
}

fn start(redis: &Redis, wishes: &Wishes, setups: &[(&str, usize, &str)]) -> Vec<(String, Proxy)> {
    let each = setups.iter().flat_map(|setup| wishes.builds.iter().map(move |build| (setup, build)));
    each.map(|((name, workers, rules), (build, path))| {
        (format!("{name}{build}"), Proxy::start(path, redis.port, *workers, rules))
    })
    .collect()
}

/// Measures every way in every round, each round beginning with another one, and prints a line for each.
fn play(what: &str, redis: &Redis, ways: &mut [Way], wishes: &Wishes) {
    let mut table = Table::new(what, ways.iter().map(|way| way.name.clone()).collect());
    for round in 0..wishes.rounds {
        for turn in 0..ways.len() {
            let place = (round + turn) % ways.len();
            table.enter(place, ways[place].measure(redis, wishes.round));
        }
    }
    table.print();
}

impl Way {
    fn direct(redis: &Redis, job: &Job) -> Way {
        Way::to("direct", redis.port, None, job)
    }

    fn through(name: &str, proxy: &Proxy, job: &Job) -> Way {
        Way::to(name, proxy.port, Some(proxy.id()), job)
    }

    fn to(name: &str, port: u16, proxy: Option<u32>, job: &Job) -> Way {
        let mut load = Load::connect(port, CLIENTS);
        load.check(job);
        Way { name: name.to_owned(), job: job.clone(), load, proxy }
    }

    fn measure(&mut self, redis: &Redis, round: Duration) -> Measured {
        self.load.play(&self.job, round / 5);
        let cpu = |id: Option<u32>| id.map_or(Duration::ZERO, processes::cpu_time);
        let (proxy_before, redis_before) = (cpu(self.proxy), cpu(Some(redis.id())));
        let played = self.load.play(&self.job, round);
        let per_unit = |spent: Duration| spent.as_secs_f64() * 1e6 / (played.batches * self.job.units) as f64;
        let (p50, p99) = played.latencies();
        Measured {
            per_second: (played.batches * self.job.units) as f64 / played.elapsed.as_secs_f64(),
            proxy_us: per_unit(cpu(self.proxy) - proxy_before),
            redis_us: per_unit(cpu(Some(redis.id())) - redis_before),
            p50_us: p50,
            p99_us: p99,
        }
    }
}
