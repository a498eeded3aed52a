//! What befalls a cluster in an order chosen at random, under load: groups are whole or not there, and no client learns of it.
//!
//! A short one always; for `SOAK_SECONDS` with all kinds of trouble. `RESPGUARD_SEED` plays one again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::harness::{Nodes, Proxy, Setup, Wire, eventually, within};

const CLIENTS: usize = 4;
/// The nodes need so long until they can take another blow.
const REST: Duration = Duration::from_secs(3);

const GROUPS: &str = r#"
[[group]]
name = "plain"
atomic = "transaction"
commands = ["INCR n:{{{user}}}", "SADD s:{{{user}}} *"]
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Failover,
    Reshard,
    Kill,
    Pause,
}

/// What one client was told of its groups.
#[derive(Debug, Default)]
struct Told {
    acknowledged: u64,
    unknown: u64,
}

/// Sends groups of one user until it is over.
fn write(proxy: &Proxy, user: &str, is_over: &AtomicBool) -> Told {
    let mut told = Told::default();
    let mut wire = proxy.wire().patience(Duration::from_secs(60));
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
        sent += 1;
        let replies = wire.pipeline(&[&format!("INCR n:{{{user}}}"), &format!("SADD s:{{{user}}} m{sent}")]);
        let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
        match replies[..] {
            [count, ":1\r\n"] if count.starts_with(':') => told.acknowledged += 1,
            [first, second] if first.starts_with("-TIMEOUT ") && second.starts_with("-TIMEOUT ") => told.unknown += 1,
            // It waited to its deadline, and nothing was sent.
            [first, second] if first.starts_with("-ERR respguard: ") && second.starts_with('-') => {}
            [first, second] if first.starts_with("-EXECABORT respguard: ") && second.starts_with('-') => {}
            _ => panic!("{user}: {replies:?}"),
        }
    }
    told
}

/// The node that is the primary of this shard now, by the number that it has among all.
fn primary(nodes: &Nodes, shard: usize) -> Option<usize> {
    let is_primary = |at: &usize| {
        let answers = nodes.servers[*at].try_ask("ROLE");
        answers.is_some_and(|role| role.contains("master"))
    };
    [shard, shard + nodes.primaries].into_iter().find(is_primary)
}

fn all_is_well(nodes: &Nodes) -> bool {
    let well = |text: &str| text.contains("cluster_state:ok") && text.contains("cluster_slots_ok:16384");
    let served = (0..nodes.servers.len()).all(|at| nodes.servers[at].try_ask("CLUSTER INFO").is_some_and(|text| well(&text)));
    served
        && (0..nodes.primaries).all(|shard| {
            let Some(at) = primary(nodes, shard) else { return false };
            nodes.servers[at].try_ask("INFO replication").is_some_and(|text| text.contains("state=online"))
        })
}

fn strike(nodes: &mut Nodes, trouble: Trouble, random: &mut Rng) {
    let shard = random.usize(..nodes.primaries);
    let Some(old) = primary(nodes, shard) else { return };
    let heir = if old == shard { shard + nodes.primaries } else { shard };
    match trouble {
        Trouble::Failover => {
            nodes.servers[heir].try_ask("CLUSTER FAILOVER");
            eventually("the replica is the primary", || primary(nodes, shard) == Some(heir));
        }
        Trouble::Reshard => {
            let Some(to) = primary(nodes, (shard + 1) % nodes.primaries) else { return };
            let slot = random.u16(..16384);
            // Only one that is there can be given away.
            let keys = format!("CLUSTER GETKEYSINSLOT {slot} 100");
            if nodes.servers[old].ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", nodes.id(to))) == "+OK\r\n" {
                nodes.servers[to].ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", nodes.id(old)));
                let port = nodes.servers[to].port();
                let listed = nodes.servers[old].ask(&keys);
                for key in listed.lines().filter(|line| !line.starts_with(['*', '$'])) {
                    nodes.servers[old].ask(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000"));
                }
                let taken = format!("CLUSTER SETSLOT {slot} NODE {}", nodes.id(to));
                for at in [to, old] {
                    nodes.servers[at].ask(&taken);
                }
            }
        }
        Trouble::Kill => {
            nodes.servers[old].kill();
            eventually("the replica is the primary", || primary(nodes, shard) == Some(heir));
            nodes.servers[old].restart();
        }
        Trouble::Pause => {
            nodes.servers[old].pause();
            let is_replaced = within(Duration::from_secs(10), || {
                nodes.servers[heir].try_ask("ROLE").is_some_and(|role| role.contains("master"))
            });
            nodes.servers[old].resume();
            assert!(is_replaced, "the cluster has replaced the primary that was stopped");
        }
    }
    eventually("the cluster is well", || all_is_well(nodes));
}

#[test]
fn groups_are_whole_on_a_cluster_that_troubles_befall_at_random() {
    let soak: Option<u64> = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let seed = std::env::var("RESPGUARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("RESPGUARD_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    // Of what is only for a while: nothing is lost by it, whatever else the machine does.
    let kinds: &[Trouble] = match soak {
        None => &[Trouble::Failover, Trouble::Reshard],
        Some(_) => &[Trouble::Failover, Trouble::Reshard, Trouble::Kill, Trouble::Pause],
    };
    let mut nodes = Nodes::start(3, true);
    let times = "request_timeout_ms = 8000\nstall_timeout_ms = 30000\n";
    let proxy = Setup::before(1).cluster(&nodes.ports(), times).top("workers = 1").rules(GROUPS).start();
    let is_over = AtomicBool::new(false);
    let users: Vec<String> = (0..CLIENTS).map(|n| format!("u{n}")).collect();
    let mut struck = Vec::new();
    let told: Vec<Told> = std::thread::scope(|scope| {
        let writers: Vec<_> = users.iter().map(|user| scope.spawn(|| write(&proxy, user, &is_over))).collect();
        let until = Instant::now() + Duration::from_secs(soak.unwrap_or(0));
        while struck.len() < kinds.len() || Instant::now() < until {
            let trouble = kinds.get(struck.len()).copied().unwrap_or_else(|| kinds[random.usize(..kinds.len())]);
            strike(&mut nodes, trouble, &mut random);
            struck.push(trouble);
            std::thread::sleep(if soak.is_some() { REST } else { Duration::from_millis(200) });
        }
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("it ends")).collect()
    });
    let loses = struck.iter().any(|trouble| matches!(trouble, Trouble::Kill | Trouble::Pause));
    let mut wire = proxy.wire();
    for (user, told) in users.iter().zip(&told) {
        let number = |wire: &mut Wire, line: &str| -> u64 {
            let reply = wire.ask(line);
            reply.lines().last().and_then(|line| line.trim_start_matches(':').parse().ok()).unwrap_or(0)
        };
        let counted = number(&mut wire, &format!("GET n:{{{user}}}"));
        let members = number(&mut wire, &format!("SCARD s:{{{user}}}"));
        println!("{user}: {told:?}, {counted} counted, {members} members, after {} troubles", struck.len());
        assert_eq!(counted, members, "of a group a part is there: {struck:?}");
        assert!(counted <= told.acknowledged + told.unknown, "{user}: {told:?}, {counted}: {struck:?}");
        assert!(loses || counted >= told.acknowledged, "{user}: {told:?}, {counted}: {struck:?}");
        assert!(told.acknowledged > 0);
    }
}
