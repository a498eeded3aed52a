//! Links that are cut between the proxy and servers, and between servers: packets are dropped, and nobody is told. What can be
//! served is, within its deadline, and nothing is lost that the servers have not lost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clusters_at_random::{GROUPS, PROXY};
use crate::harness::{Ends, Network, Nodes, PATIENCE, Proxy, RedisServer, Setup, Watched, Wire, eventually, within};
use crate::sentinel::has_the_proxy;

const REQUEST_TIMEOUT: Duration = Duration::from_millis(8000);
/// How much later than its deadline a busy machine may let somebody know.
const LATE_MAX: Duration = Duration::from_secs(5);
/// Until when all is served again after links are whole.
const RECOVERY_MAX: Duration = Duration::from_secs(15);

/// Somebody who counts a key up, one request after the other.
#[derive(Default)]
struct Counter {
    key: String,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    unsent: AtomicU64,
    /// How long each of them took.
    took: Mutex<Vec<Duration>>,
}

impl Counter {
    fn of(key: String) -> Counter {
        Counter { key, ..Counter::default() }
    }

    fn play(&self, proxy: &Proxy, is_over: &AtomicBool) {
        let mut wire = proxy.wire().patience(Duration::from_secs(60));
        while !is_over.load(Ordering::SeqCst) {
            let begun = Instant::now();
            let reply = wire.ask(&format!("INCR {}", self.key));
            let took = begun.elapsed();
            let outcome = match &*reply {
                counted if counted.starts_with(':') => &self.acknowledged,
                unknown if unknown.starts_with("-TIMEOUT ") => &self.unknown,
                unsent if unsent.starts_with("-ERR respguard: INCR was not sent: ") => &self.unsent,
                _ => panic!("{}: {reply:?}", self.key),
            };
            outcome.fetch_add(1, Ordering::SeqCst);
            self.took.lock().expect("nobody panicked").push(took);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    fn failed(&self) -> u64 {
        self.unknown.load(Ordering::SeqCst) + self.unsent.load(Ordering::SeqCst)
    }

    /// Waits until something has been counted that was sent from now on.
    fn goes_on(&self, what: &str, longest: Duration) -> Duration {
        let (begun, before) = (Instant::now(), self.acknowledged());
        assert!(within(longest, || self.acknowledged() > before + 1), "not within {longest:?}: {what}");
        begun.elapsed()
    }

    /// What is there of it, and how much of what was acknowledged is not.
    fn judge(&self, wire: &mut Wire) -> (u64, u64) {
        let reply = wire.ask(&format!("GET {}", self.key));
        let counted = reply.lines().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
        let most = self.acknowledged() + self.unknown.load(Ordering::SeqCst);
        assert!(counted <= most, "{}: {counted} counted of at most {most}", self.key);
        (counted, self.acknowledged().saturating_sub(counted))
    }

    /// Bytes that one of its requests takes among what a primary passes on.
    fn bytes(&self) -> u64 {
        crate::harness::request(&format!("INCR {}", self.key)).len() as u64
    }
}

fn all_go_on(counters: &[Counter], what: &str, longest: Duration) {
    for counter in counters {
        counter.goes_on(what, longest);
    }
}

/// Sends groups of one user until it is over; how many were acknowledged, and how many have an unknown outcome.
fn send_groups(proxy: &Proxy, user: &str, is_over: &AtomicBool) -> (u64, u64) {
    let (mut wire, mut sent, mut told) = (proxy.wire().patience(Duration::from_secs(60)), 0, (0, 0));
    while !is_over.load(Ordering::SeqCst) {
        sent += 1;
        let replies = wire.pipeline(&[&format!("INCR n:{{{user}}}"), &format!("SADD s:{{{user}}} m{sent}")]);
        match (&*replies[0], &*replies[1]) {
            (count, ":1\r\n") if count.starts_with(':') => told.0 += 1,
            (first, second) if first.starts_with("-TIMEOUT ") && second.starts_with("-TIMEOUT ") => told.1 += 1,
            (first, second) if first.starts_with("-EXECABORT ") && second.starts_with('-') => {}
            (first, second) if first.starts_with("-ERR respguard: ") && second.starts_with('-') => {}
            _ => panic!("{user}: {replies:?}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    told
}

fn field(server: &RedisServer, name: &str) -> u64 {
    let all = server.try_ask("INFO replication").unwrap_or_default();
    all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok()).unwrap_or(0)
}

fn is_primary(server: &RedisServer) -> bool {
    server.try_ask("ROLE").is_some_and(|role| role.contains("master"))
}

/// How many bytes the old primary has written that the new one, which has just taken its place, never had.
fn lost_bytes(old: &RedisServer, new: &RedisServer) -> u64 {
    let shared = field(new, "second_repl_offset");
    assert!(shared > 0, "it has taken over");
    (field(old, "master_repl_offset") + 1).saturating_sub(shared)
}

/// All know who serves what, and every primary has a replica.
fn is_well(nodes: &Nodes) -> bool {
    let served = |server: &RedisServer| {
        let said = server.try_ask("CLUSTER INFO").unwrap_or_default();
        said.contains("cluster_state:ok") && said.contains("cluster_slots_ok:16384")
    };
    let primaries = nodes.servers.iter().filter(|server| is_primary(server));
    nodes.servers.iter().all(served)
        && primaries.filter(|server| server.ask("INFO replication").contains("state=online")).count() == nodes.primaries
}

#[test]
fn before_a_cluster_what_is_not_cut_off_is_served_and_nothing_is_lost_that_no_server_has_lost() {
    let test = "cut_links::before_a_cluster_what_is_not_cut_off_is_served_and_nothing_is_lost_that_no_server_has_lost";
    let Some(network) = Network::of_ones_own(test) else { return };
    let nodes = Nodes::start_apart(3);
    let times = format!(
        "request_timeout_ms = {}\nstall_timeout_ms = 2000\nheartbeat_ms = 1000\nheartbeat_timeout_ms = 1000\nconnect_timeout_ms = 1000\n",
        REQUEST_TIMEOUT.as_millis()
    );
    let proxy = Setup::before(1).cluster_at(&nodes.addresses(), &times).top("workers = 1").rules(GROUPS).start();
    let counters: Vec<Counter> = (0..3).map(|at| Counter::of(nodes.key_of(at, "k"))).collect();
    let users: Vec<String> = (0..3).map(|at| nodes.key_of(at, "u")).collect();
    let is_over = AtomicBool::new(false);
    let hosts: Vec<String> = (0..6).map(Nodes::host).collect();
    let (mut lost, mut told) = (0, Vec::new());
    std::thread::scope(|scope| {
        let ends = Ends(&is_over);
        counters.iter().for_each(|counter| drop(scope.spawn(|| counter.play(&proxy, &is_over))));
        let groups: Vec<_> = users.iter().map(|user| scope.spawn(|| send_groups(&proxy, user, &is_over))).collect();
        all_go_on(&counters, "all are served", PATIENCE);

        // The proxy alone does not reach a primary: the cluster is well, and the other shards are served as before.
        let before: Vec<u64> = counters.iter().map(Counter::failed).collect();
        network.cut(PROXY, &hosts[0]);
        eventually("a deadline is over", || counters[0].failed() > before[0]);
        all_go_on(&counters[1..], "other shards are served", PATIENCE);
        let failed: Vec<u64> = counters.iter().map(Counter::failed).collect();
        network.heal();
        let took = counters[0].goes_on("the shard is served again", RECOVERY_MAX);
        println!("one primary cut off from the proxy: {failed:?} failed, served again after {took:?}");
        assert_eq!(failed[1..], before[1..], "nothing for other shards has failed");
        assert!(nodes.servers[..3].iter().all(is_primary), "no primary was replaced");

        // A primary on the minority side, with the proxy, and then one that nobody reaches.
        for (old, new, is_seen) in [(0, 3, true), (3, 0, false)] {
            eventually("the cluster is well", || is_well(&nodes));
            let before: Vec<u64> = counters.iter().map(Counter::failed).collect();
            hosts.iter().enumerate().filter(|(at, _)| *at != old).for_each(|(_, host)| network.cut(&hosts[old], host));
            if !is_seen {
                network.cut(PROXY, &hosts[old]);
            }
            eventually("the replica takes its place", || is_primary(&nodes.servers[new]));
            let took = counters[0].goes_on("the shard is served by the new primary", RECOVERY_MAX);
            let bytes = lost_bytes(&nodes.servers[old], &nodes.servers[new]);
            let failed: Vec<u64> = counters.iter().map(Counter::failed).collect();
            network.heal();
            eventually("the old one follows", || !is_primary(&nodes.servers[old]));
            lost += bytes;
            println!("primary {old} cut off: first write {took:?} after its replica took over, {bytes} bytes were lost with it");
            assert_eq!(failed[1..], before[1..], "nothing for other shards has failed");
        }
        eventually("the cluster is well", || is_well(&nodes));
        all_go_on(&counters, "all are served again", RECOVERY_MAX);
        drop(ends);
        told.extend(groups.into_iter().map(|user| user.join().expect("it ends")));
    });
    let mut wire = proxy.wire();
    let mut gone = 0;
    for (at, counter) in counters.iter().enumerate() {
        let (counted, missing) = counter.judge(&mut wire);
        let mut took = counter.took.lock().expect("nobody panicked").clone();
        took.sort();
        let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
        println!(
            "shard {at}: {} acknowledged, {} failed, {counted} counted, {missing} lost; {median:?} at the median, {longest:?} at most",
            counter.acknowledged(),
            counter.failed()
        );
        assert!(longest < REQUEST_TIMEOUT + LATE_MAX, "deadlines are kept");
        assert!(at == 0 || missing == 0, "of shards whose primaries were not cut off nothing is lost");
        assert!(median < Duration::from_millis(500), "{median:?}");
        gone += missing * counter.bytes();
    }
    for (at, (user, (acknowledged, unknown))) in users.iter().zip(&told).enumerate() {
        let mut number = |line: &str| {
            let reply = wire.ask(line);
            reply.lines().last().and_then(|line| line.trim_start_matches(':').parse::<u64>().ok()).unwrap_or(0)
        };
        let (counted, members) = (number(&format!("GET n:{{{user}}}")), number(&format!("SCARD s:{{{user}}}")));
        println!("groups of shard {at}: {acknowledged} acknowledged, {unknown} unknown, {counted} applied");
        assert_eq!(counted, members, "of a group a part is there");
        assert!(counted <= acknowledged + unknown, "{counted} of {acknowledged} and {unknown}");
        let missing = acknowledged.saturating_sub(counted);
        assert!(at == 0 || missing == 0, "of shards whose primaries were not cut off nothing is lost");
        gone += missing * crate::harness::request(&format!("INCR n:{{{user}}}")).len() as u64;
    }
    println!("lost acknowledged writes have {gone} bytes, of {lost} that primaries had written and not passed on");
    assert!(gone <= lost, "what is lost was lost by a server");
}

#[test]
fn nothing_is_sent_to_a_primary_on_the_minority_side_once_sentinels_have_named_another() {
    let test = "cut_links::nothing_is_sent_to_a_primary_on_the_minority_side_once_sentinels_have_named_another";
    let Some(network) = Network::of_ones_own(test) else { return };
    let watched = Watched::start_apart();
    let sentinels: Vec<String> =
        watched.ports().iter().enumerate().map(|(at, port)| format!("{}:{port}", Watched::sentinel_host(at))).collect();
    let times = "request_timeout_ms = 20000\nqueue_timeout_ms = 500\nstall_timeout_ms = 2000\nheartbeat_ms = 1000\nheartbeat_timeout_ms = 1000\n";
    let proxy = Setup::before(1).found_at(&sentinels, times).top("workers = 1").start();
    let counter = Counter::of("n".to_owned());
    let is_over = AtomicBool::new(false);
    let named = || {
        let status: serde_json::Value = serde_json::from_str(&proxy.get("/status").1).expect("JSON");
        status["upstream"]["address"].as_str().map(str::to_owned)
    };
    let mut lost = 0;
    std::thread::scope(|scope| {
        let ends = Ends(&is_over);
        scope.spawn(|| counter.play(&proxy, &is_over));
        // With the proxy on its side, and then without it.
        for (old, new, is_seen) in [(0, 1, true), (1, 0, false)] {
            let (old_server, new_server) = (&watched.servers[old], &watched.servers[new]);
            counter.goes_on("the primary is there", PATIENCE);
            eventually("the other one follows", || {
                old_server.try_ask("INFO replication").is_some_and(|said| said.contains("state=online"))
            });
            network.cut(&Watched::host(old), &Watched::host(new));
            network.cut(&Watched::host(old), "127.0.2.0/24");
            if !is_seen {
                network.cut(&Watched::host(old), PROXY);
            }
            let next = format!("{}:{}", Watched::host(new), new_server.port());
            // Sentinels let some time pass between two switches.
            assert!(within(6 * PATIENCE, || named().as_ref() == Some(&next)), "sentinels name another: {:?}", named());
            let took = counter.goes_on("the new primary serves", RECOVERY_MAX);
            let calls = || {
                let all = old_server.ask("INFO commandstats");
                all.lines().find_map(|line| line.strip_prefix("cmdstat_incr:calls=")?.split(',').next()?.parse::<u64>().ok())
            };
            let before = calls();
            counter.goes_on("it goes on", PATIENCE);
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(calls(), before, "nothing more is sent to the old one");
            if is_seen {
                eventually("the proxy has no connection to it", || !has_the_proxy(old_server));
            }
            let bytes = lost_bytes(old_server, new_server);
            assert!(is_primary(old_server), "on its side it is the primary still");
            network.heal();
            // It takes itself for the primary until a sentinel tells it.
            let is_told = within(2 * PATIENCE, || {
                assert!(is_seen || named().as_ref() == Some(&next), "{:?}", named());
                !is_primary(old_server)
            });
            assert!(is_told, "a sentinel tells it whom to follow");
            lost += bytes;
            println!("primary {old} on the minority side: served {took:?} after the switch, {bytes} bytes were lost with it");
        }
        counter.goes_on("all is well", RECOVERY_MAX);
        drop(ends);
    });
    let (counted, missing) = counter.judge(&mut proxy.wire());
    let longest = counter.took.lock().expect("nobody panicked").iter().copied().max().unwrap_or_default();
    println!(
        "{} acknowledged, {} failed, {counted} counted, {missing} lost; {longest:?} at most",
        counter.acknowledged(),
        counter.failed()
    );
    let gone = missing * counter.bytes();
    println!("lost acknowledged writes have {gone} bytes, of {lost} that primaries had written and not passed on");
    assert!(gone <= lost, "what is lost was lost by a server");
    assert!(longest < Duration::from_secs(20) + LATE_MAX, "deadlines are kept");
}
