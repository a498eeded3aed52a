//! What befalls a cluster in an order chosen at random, under load: groups are whole or not there, single commands keep
//! their order, and no client learns of it.
//!
//! A short one always; for `SOAK_SECONDS` with all kinds of trouble, and in a network of its own with links that are cut.
//! `RESPGUARD_SEED` plays one again. Slots are moved as a whole where the server can: `SERVER=valkey9`.

mod singles;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::harness::{Ends, Network, Nodes, PATIENCE, Program, Proxy, Setup, Wire, eventually, within};
use respguard_engine::route::slots::key_slot;

/// Of each kind.
const CLIENTS: usize = 4;
/// Whoever is not a server: the proxy.
pub const PROXY: &str = "127.0.0.1";
/// The nodes need so long until they can take another blow.
const REST: Duration = Duration::from_secs(3);

/// A key that is counted up, and a set that gets a member with it.
pub const GROUPS: &str = r#"
[[group]]
name = "plain"
atomic = "transaction"
commands = ["INCR n:{{{user}}}", "SADD s:{{{user}}} *"]
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Failover,
    Reshard,
    /// CLUSTER MIGRATESLOTS.
    MoveWhole,
    Kill,
    Pause,
    /// The proxy does not reach a primary for a while.
    CutProxy,
    /// A primary is on the minority side, with the proxy.
    CutNodes,
    /// Nobody reaches a primary.
    CutAll,
}

/// What goes on while troubles come.
#[derive(Default)]
struct Play {
    is_over: AtomicBool,
    /// A primary was lost: what it had acknowledged and not passed on is lost with it.
    may_lose: AtomicBool,
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

/// Reads both keys of a group in one transaction until it is over; how often it has seen them.
fn read(proxy: &Proxy, users: &[String], is_over: &AtomicBool) -> u64 {
    let (mut wire, mut seen) = (proxy.wire().patience(Duration::from_secs(60)), 0);
    while !is_over.load(Ordering::Relaxed) {
        for user in users {
            let lines = ["MULTI", &format!("GET n:{{{user}}}"), &format!("SCARD s:{{{user}}}"), "EXEC"];
            let replies = wire.pipeline(&lines);
            let exec: Vec<&str> = replies[3].lines().collect();
            match exec[..] {
                ["*2", _, counted, members] => {
                    assert_eq!(counted, members.trim_start_matches(':'), "{user}: a part of a group was seen");
                    seen += 1;
                }
                ["*2", "$-1", ":0"] => {}
                [error] if error.starts_with('-') => {}
                _ => panic!("{user}: {replies:?}"),
            }
        }
    }
    seen
}

/// The node that is the primary of this shard now, by the number that it has among all.
fn primary(nodes: &Nodes, shard: usize) -> Option<usize> {
    [shard, shard + nodes.primaries].into_iter().find(|at| primary_is(nodes, *at))
}

fn primary_is(nodes: &Nodes, at: usize) -> bool {
    nodes.servers[at].try_ask("ROLE").is_some_and(|role| role.contains("master"))
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

/// A slot with something in it.
fn used_slot(random: &mut Rng) -> u16 {
    let (client, key) = (random.usize(..CLIENTS), random.usize(..singles::KEYS));
    match random.u8(..3) {
        0 => key_slot(format!("u{client}").as_bytes()),
        1 => key_slot(singles::counter(&format!("s{client}"), key).as_bytes()),
        _ => key_slot(singles::value(&format!("s{client}"), key).as_bytes()),
    }
}

/// Who has the slot now, and another one that is to get it.
fn move_of(nodes: &Nodes, slot: u16, random: &mut Rng) -> Option<(usize, usize)> {
    let primaries: Vec<usize> = (0..nodes.primaries).filter_map(|shard| primary(nodes, shard)).collect();
    let has = |at: &usize| {
        nodes.servers[*at].try_ask(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).is_some_and(|reply| reply != ":0\r\n")
    };
    let from = primaries.iter().copied().find(has)?;
    let others: Vec<usize> = primaries.into_iter().filter(|at| *at != from).collect();
    others.get(random.usize(..others.len().max(1))).map(|to| (from, *to))
}

fn strike(nodes: &mut Nodes, trouble: Trouble, random: &mut Rng, may_lose: &AtomicBool, network: Option<&Network>) {
    let shard = random.usize(..nodes.primaries);
    let Some(old) = primary(nodes, shard) else { return };
    let heir = if old == shard { shard + nodes.primaries } else { shard };
    match trouble {
        Trouble::Failover => {
            nodes.servers[heir].try_ask("CLUSTER FAILOVER");
            eventually("the replica is the primary", || primary(nodes, shard) == Some(heir));
        }
        Trouble::Reshard => {
            let slot = used_slot(random);
            let Some((old, to)) = move_of(nodes, slot, random) else { return };
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
        Trouble::MoveWhole => {
            let slot = used_slot(random);
            let Some((old, to)) = move_of(nodes, slot, random) else { return };
            let moved = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {}", nodes.id(to));
            eventually("the move begins", || nodes.servers[old].ask(&moved) == "+OK\r\n");
            let count = format!("CLUSTER COUNTKEYSINSLOT {slot}");
            // A move that fails leaves everything where it was.
            within(Duration::from_secs(10), || {
                nodes.servers[to].ask(&count) != ":0\r\n" && nodes.servers[old].ask(&count) == ":0\r\n"
            });
        }
        Trouble::Kill => {
            may_lose.store(true, Ordering::SeqCst);
            nodes.servers[old].kill();
            eventually("the replica is the primary", || primary(nodes, shard) == Some(heir));
            nodes.servers[old].restart();
        }
        Trouble::Pause => {
            may_lose.store(true, Ordering::SeqCst);
            nodes.servers[old].pause();
            let is_replaced = within(PATIENCE, || primary_is(nodes, heir));
            nodes.servers[old].resume();
            assert!(is_replaced, "the cluster has replaced the primary that was stopped");
        }
        Trouble::CutProxy | Trouble::CutNodes | Trouble::CutAll => {
            let Some(network) = network else { return };
            let others = (0..nodes.servers.len()).filter(|at| *at != old && trouble != Trouble::CutProxy);
            let apart = others.map(Nodes::host).chain((trouble != Trouble::CutNodes).then(|| PROXY.to_owned()));
            may_lose.fetch_or(trouble != Trouble::CutProxy, Ordering::SeqCst);
            apart.for_each(|other| network.cut(&Nodes::host(old), &other));
            let replaced = || trouble != Trouble::CutProxy && primary_is(nodes, heir);
            within(if trouble == Trouble::CutProxy { REST } else { PATIENCE }, replaced);
            assert!(
                trouble == Trouble::CutProxy || primary_is(nodes, heir),
                "the cluster has replaced the primary that was cut off"
            );
            network.heal();
        }
    }
    eventually("the cluster is well", || all_is_well(nodes));
}

fn soak() -> Option<u64> {
    std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok())
}

#[test]
fn groups_are_whole_on_a_cluster_that_troubles_befall_at_random() {
    // Of what is only for a while: nothing is lost by it, whatever else the machine does.
    let mut kinds = vec![Trouble::Failover, Trouble::Reshard];
    if Program::under_test().version >= (9, 0) {
        kinds.push(Trouble::MoveWhole);
    }
    if soak().is_some() {
        kinds.extend([Trouble::Kill, Trouble::Pause]);
    }
    befall(Nodes::start(3, true), &kinds, None);
}

/// What is true of cut links within a short time `cut_links` says.
#[test]
fn groups_are_whole_on_a_cluster_whose_links_are_cut_at_random() {
    let test = "clusters_at_random::groups_are_whole_on_a_cluster_whose_links_are_cut_at_random";
    if soak().is_none() {
        return;
    }
    let Some(network) = Network::of_ones_own(test) else { return };
    let kinds = [Trouble::CutProxy, Trouble::CutNodes, Trouble::CutAll, Trouble::Failover, Trouble::Reshard, Trouble::Pause];
    befall(Nodes::start_apart(3), &kinds, Some(&network));
}

fn befall(mut nodes: Nodes, kinds: &[Trouble], network: Option<&Network>) {
    let seed = std::env::var("RESPGUARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("RESPGUARD_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let seeds = match network {
        Some(_) => nodes.addresses(),
        None => nodes.ports().iter().map(|port| format!("{PROXY}:{port}")).collect(),
    };
    let times = "request_timeout_ms = 8000\nstall_timeout_ms = 30000\n";
    let proxy = Setup::before(1).cluster_at(&seeds, times).top("workers = 1").rules(GROUPS).start();
    let play = Play::default();
    let users: Vec<String> = (0..CLIENTS).map(|n| format!("u{n}")).collect();
    let mut struck = Vec::new();
    let (told, singles, seen): (Vec<Told>, Vec<singles::Told>, u64) = std::thread::scope(|scope| {
        let (server, Play { is_over, may_lose }) = (&proxy, &play);
        let ends = Ends(is_over);
        let writers: Vec<_> = users.iter().map(|user| scope.spawn(|| write(&proxy, user, is_over))).collect();
        let reader = scope.spawn(|| read(&proxy, &users, is_over));
        let of_one = |n: usize| (format!("s{n}"), seed.wrapping_add(n as u64));
        let singles: Vec<_> = (0..CLIENTS)
            .map(of_one)
            .map(|(name, seed)| scope.spawn(move || singles::play(server, name, seed, is_over, may_lose)))
            .collect();
        let until = Instant::now() + Duration::from_secs(soak().unwrap_or(0));
        while struck.len() < kinds.len() || Instant::now() < until {
            let trouble = kinds.get(struck.len()).copied().unwrap_or_else(|| kinds[random.usize(..kinds.len())]);
            strike(&mut nodes, trouble, &mut random, may_lose, network);
            struck.push(trouble);
            std::thread::sleep(if soak().is_some() { REST } else { Duration::from_millis(200) });
        }
        drop(ends);
        let told = writers.into_iter().map(|writer| writer.join().expect("it ends")).collect();
        let singles = singles.into_iter().map(|client| client.join().expect("it ends")).collect();
        (told, singles, reader.join().expect("it ends"))
    });
    let loses = play.may_lose.into_inner();
    assert!(seen > 0, "groups were read");
    for client in &singles {
        let lost = client.judge(&proxy);
        let (name, commands, unknown) = (client.name(), client.commands, client.unknown());
        println!("{name}: {commands} commands, {unknown} of unknown outcome, {lost} acknowledged and lost by servers");
        assert!(loses || lost == 0, "{name}: {lost} lost although no server was: {struck:?}");
    }
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
