//! Simulations: a whole worker of the proxy between random clients and a model of Redis, in virtual time.
//!
//! The worker's own tasks, sockets and timers run, on one thread, against a paused clock, so that what is tried is
//! what is shipped: when bytes go, and what a lost connection costs, is decided by tasks as much as by the engine.
//! Everything random comes from one seed. `SEED=7 cargo test --test simulation seed` plays one again before one server, and
//! `.. nodes` before a cluster, `.. primary` where sentinels name another primary; `SOAK_SECONDS=600` plays for so long, and [`SOAK_SEEDS_MIN`] seeds at least; `SEEDS=10000`
//! plays so many, and both begin at `FROM=4000`, or at 0. `TRACE=1` says what happens.

#[path = "simulation/changes.rs"]
mod changes;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "simulation/line.rs"]
mod line;
#[path = "simulation/nodes.rs"]
mod nodes;
#[path = "simulation/pipeline.rs"]
mod pipeline;
#[path = "simulation/redis.rs"]
mod redis;
#[path = "simulation/judge.rs"]
mod reply_check;
#[path = "simulation/sentinels.rs"]
mod sentinels;
#[path = "simulation/server.rs"]
mod server;
#[path = "simulation/stage.rs"]
mod stage;
#[path = "simulation/time.rs"]
mod time;
#[path = "simulation/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::sleep;

use client::Client;
use faults::Faults;
use pipeline::Pipeline;
use stage::{End, Play, Stage, perform, play};

/// Seeds that are played where nothing else is said, and before a cluster or with sentinels.
const SEEDS: u64 = 200;
const CLUSTER_SEEDS: u64 = 40;
/// Seeds behind them that have once found something, and are played with them.
const FOUND: [u64; 17] = [255, 295, 370, 449, 586, 943, 1543, 2200, 3271, 3980, 4765, 5129, 5198, 6494, 7831, 8008, 8839];
const FOUND_BEFORE_PRIMARIES: [u64; 1] = [5041];
const FOUND_BEFORE_CLUSTERS: [u64; 32] = [
    64, 92, 113, 119, 123, 135, 137, 149, 208, 221, 427, 469, 576, 601, 101, 796, 1797, 2791, 2954, 9920, 12494, 264, 779, 2169,
    5934, 7593, 9762, 1148, 2033, 2737, 3070, 5138,
];
/// Seeds that a soak plays at least, however short it is meant to be.
const SOAK_SEEDS_MIN: u64 = 10_000;
/// After so many seeds it is said how far it has come.
const PROGRESS_EVERY: u64 = 500;

/// What goes wrong in the play with this seed.
fn play_of(seed: u64) -> Play {
    let mut rng = Rng::with_seed(seed);
    let late_max = Duration::from_millis(*rng.choice([5, 50, 400, 1500].iter()).expect("a choice"));
    let mut some = |most: u32| if rng.bool() { rng.u32(0..=most) } else { 0 };
    let faults = match seed % 6 {
        0 => Faults { piece_max: 40, late_max: Duration::from_millis(5), late: some(200), ..Faults::default() },
        _ => Faults {
            cut_in: some(700),
            cut_out: some(700),
            cut_bytes_max: 20 + some(6000) as usize,
            late: some(40),
            late_max,
            slow: some(20),
            refuse: some(40),
            piece_max: some(120) as usize,
            failover: (some(1) == 1).then_some(Duration::from_millis(500)),
            undone_max: some(4) as usize,
            junk: some(5),
            ..Faults::default()
        },
    };
    Play {
        seed,
        faults,
        clients: rng.u64(1..=5),
        sessions: 2,
        rounds: rng.u64(3..=12),
        exclusive: rng.u32(0..12) == 0,
        guarded: rng.bool(),
        shards: 0,
        is_watched: false,
    }
}

/// The same before a primary that another server replaces, again and again.
fn watched_play_of(seed: u64) -> Play {
    let play = play_of(seed);
    let faults = Faults { failover: Some(Duration::from_millis(300 + seed % 7 * 100)), ..play.faults };
    Play { faults, is_watched: true, ..play }
}

/// The same before a cluster, in which slots move also where nothing goes wrong.
fn cluster_play_of(seed: u64) -> Play {
    let play = play_of(seed);
    let mut rng = Rng::with_seed(!seed);
    let mut some = |most: u64| rng.bool().then(|| Duration::from_millis(rng.u64(1..=most)));
    let (moves, deaths, stalls) = (some(200), some(1500), some(1500));
    let is_calm = play.faults.is_none();
    let faults = match is_calm {
        true => Faults { moves: Some(moves.unwrap_or(Duration::from_millis(20))), ..play.faults },
        false => Faults { moves, deaths, stalls, failover: None, ..play.faults },
    };
    Play { faults, exclusive: false, shards: rng.usize(1..=3), ..play }
}

/// The same where each client has its own connection to the nodes, as the program has it.
fn exclusive_cluster_play_of(seed: u64) -> Play {
    Play { exclusive: true, ..cluster_play_of(seed) }
}

/// Plays one seed; what is wrong with it.
fn breaches(of: &Play, answered: &mut BTreeMap<String, usize>) -> Vec<String> {
    match catch_unwind(AssertUnwindSafe(|| play(of))) {
        Ok(End { mut breaches, answered: more, metrics, .. }) => {
            if !metrics.contains("respguard_upstream_connections{state=\"leased\"} 0") {
                breaches.push("a lease is still held".to_owned());
            }
            more.into_iter().for_each(|(sort, count)| *answered.entry(sort).or_default() += count);
            breaches
        }
        Err(panic) => {
            let text =
                panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            vec![format!("panicked: {}", text.unwrap_or_default())]
        }
    }
}

#[test]
fn whatever_the_seed_replies_and_groups_stay_whole() {
    play_seeds(play_of, SEEDS, &FOUND);
}

#[test]
fn so_they_do_before_nodes_whose_slots_move_and_that_die() {
    play_seeds(cluster_play_of, CLUSTER_SEEDS, &FOUND_BEFORE_CLUSTERS);
}

#[test]
fn so_they_do_before_nodes_where_each_client_has_its_own_connection() {
    play_seeds(exclusive_cluster_play_of, CLUSTER_SEEDS, &FOUND_BEFORE_CLUSTERS);
}

#[test]
fn so_they_do_before_a_primary_that_another_server_replaces() {
    play_seeds(watched_play_of, CLUSTER_SEEDS, &FOUND_BEFORE_PRIMARIES);
}

fn play_seeds(play_of: fn(u64) -> Play, usual: u64, found_before: &[u64]) {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
        Some(text.parse::<u64>().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
    };
    let soak = number("SOAK_SECONDS").map(Duration::from_secs);
    let from = number("FROM").unwrap_or_default();
    let (first, least, longest) = match (number("SEED"), number("SEEDS"), soak) {
        (Some(seed), ..) => (seed, 1, Duration::ZERO),
        (None, Some(seeds), _) => (from, seeds, Duration::ZERO),
        (None, None, Some(soak)) => (from, SOAK_SEEDS_MIN, soak),
        (None, None, None) => (from, usual, Duration::ZERO),
    };
    let (found, start) = (Mutex::new((Vec::new(), BTreeMap::new(), 0)), Instant::now());
    // Where nothing is said they come behind those that are played anyway.
    let found_before = if (first, least) == (0, usual) && longest.is_zero() { found_before } else { &[] };
    let next = AtomicU64::new(0);
    let play_all = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let behind = at.checked_sub(least).filter(|_| start.elapsed() >= longest);
            let seed = behind.map_or(Some(first + at), |behind| found_before.get(behind as usize).copied());
            let Some(seed) = seed else { break };
            let mut answered = BTreeMap::new();
            let breaches = breaches(&play_of(seed), &mut answered);
            let mut found = found.lock().expect("nobody panicked with it");
            found.2 += 1;
            answered.into_iter().for_each(|(sort, count)| *found.1.entry(sort).or_default() += count);
            if !breaches.is_empty() {
                eprintln!("SEED={seed} {:?}\n  {}", play_of(seed), breaches[..breaches.len().min(8)].join("\n  "));
                found.0.push(seed);
            }
            if found.2 % PROGRESS_EVERY == 0 {
                let rate = found.2 as f64 / start.elapsed().as_secs_f64();
                eprintln!("{} seeds from {first}, {rate:.1} per second; failed: {:?}", found.2, found.0);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(play_all)));
    });
    let (failed, answered, count): (Vec<u64>, BTreeMap<String, usize>, u64) =
        found.into_inner().expect("nobody panicked with it");
    let rate = count as f64 / start.elapsed().as_secs_f64();
    eprintln!("{count} seeds from {first} in {:?}, {rate:.1} per second; replies: {answered:?}", start.elapsed());
    assert!(failed.is_empty(), "these seeds failed, play one again with SEED=..: {failed:?}");
}

/// Sends one of everything again and again, while each connection to the server is cut a byte later than the one before.
async fn walk_through(stage: Rc<Stage>, cuts: impl Iterator<Item = (Option<usize>, Option<usize>)>) {
    stage.server.next_cuts.borrow_mut().extend(cuts);
    let mut client = Client::new(0, 1, &stage);
    client.leaves = false;
    let mut session = client.connect();
    while !stage.server.next_cuts.borrow().is_empty() {
        let mut pipeline = Pipeline::new(&session, true);
        pipeline.add_one_of_each(&mut client.rng, &mut stage.ledger.borrow_mut());
        client.run(&mut session, pipeline).await.expect("the client's own connection is never closed");
        sleep(Duration::from_millis(30)).await;
    }
}

/// Cuts what the server receives and what it sends behind every byte up to these, in such steps.
fn walk(guarded: bool, (received, sent): (usize, usize), step: usize) -> [End; 2] {
    // Never, unless the script says so.
    let faults = Faults { cut_in: 1000, cut_bytes_max: usize::MAX, ..Faults::default() };
    let play =
        Play { seed: 1, faults, clients: 0, sessions: 0, rounds: 0, exclusive: false, guarded, shards: 0, is_watched: false };
    let received = (0..received).step_by(step).map(|at| (Some(at), None));
    let sent = (0..sent).step_by(step).map(|at| (None, Some(at)));
    [perform(&play, |stage| walk_through(stage, received)), perform(&play, |stage| walk_through(stage, sent))]
}

#[test]
fn an_upstream_connection_may_be_cut_behind_every_byte_on_either_side() {
    for end in walk(false, (1300, 600), 1) {
        assert!(end.breaches.is_empty(), "{:#?}", end.breaches);
        let [whole, lost] = ["data", "TIMEOUT"].map(|sort| end.answered.get(sort).copied().unwrap_or(0));
        assert!(whole > 1000 && lost > 1000, "some were cut short, and not all: {:?}", end.answered);
    }
}

#[test]
fn so_may_one_that_carries_guarded_groups() {
    let ends = walk(true, (14_000, 2000), 37);
    for end in &ends {
        assert!(end.breaches.is_empty(), "{:#?}", end.breaches);
    }
    for sort in ["data", "TIMEOUT", "COMMITTED", "WRONGTYPE", "DUPLICATE"] {
        let answered = ends.iter().any(|end| end.answered.contains_key(sort));
        assert!(answered, "nothing was answered {sort}: {:?}", ends.each_ref().map(|end| &end.answered));
    }
}

#[test]
fn a_seed_is_played_alike_every_time() {
    let plays = [1, 2, 3, 10].map(play_of).into_iter();
    // Both had connections of several protocols to several nodes when two plays went different ways.
    let of_clusters = [1313, 2169, 4, 9].map(cluster_play_of);
    let of_primaries = [1, 2, 5, 8].map(watched_play_of);
    for play_again in plays.chain(of_clusters).chain(of_primaries) {
        let [first, second] = [play(&play_again), play(&play_again)];
        assert_eq!(first.applied, second.applied, "{play_again:?}");
        assert_eq!(first.answered, second.answered, "{play_again:?}");
    }
}
