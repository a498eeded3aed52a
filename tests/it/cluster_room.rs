//! Before a cluster, long requests and merged replies share the room that there is: who keeps it and does not read gives way.

use std::time::{Duration, Instant};

use crate::harness::wire::requests;
use crate::harness::{Nodes, Proxy, Setup, Wire, eventually};

const MIB: usize = 1024 * 1024;

/// Room for 48 MiB, in one worker.
fn before(nodes: &Nodes) -> Proxy {
    let listen = "buffered_bytes_max = 67108864\n";
    Setup::before(1).cluster(&nodes.ports(), "request_timeout_ms = 10000\n").listen(listen).top("workers = 1").start()
}

/// Asks for 22 MiB of several nodes.
fn ask_for_much(wire: &mut Wire, keys: &[String]) {
    let all = keys.join(" ");
    let all = [&*all; 11].join(" ");
    wire.send(&requests(&[&format!("MGET {all}")]));
}

fn set_large(wire: &mut Wire, key: &str, bytes: usize) -> String {
    let value = "v".repeat(bytes);
    wire.ask(&format!("SET {key} {value}"))
}

/// Two keys of different nodes, with 1 MiB each.
fn large_keys(nodes: &Nodes, proxy: &Proxy) -> [String; 2] {
    let keys = [nodes.key_of(0, "large"), nodes.key_of(1, "large")];
    let mut wire = proxy.wire();
    keys.iter().for_each(|key| assert_eq!(set_large(&mut wire, key, MIB), "+OK\r\n"));
    keys
}

fn closed_slow(proxy: &Proxy) -> f64 {
    proxy.metric("respguard_clients_closed_total", &[("reason", "slow")])
}

/// Two that keep nearly all room, and read nothing.
fn take_all_room(proxy: &Proxy, keys: &[String]) -> [Wire; 2] {
    [(); 2].map(|()| {
        let kept = proxy.metric("respguard_kept_bytes", &[]);
        let mut idle = proxy.wire();
        ask_for_much(&mut idle, keys);
        let expected = kept + 10.0 * MIB as f64;
        eventually("its reply waits for it", || proxy.metric("respguard_kept_bytes", &[]) > expected);
        idle
    })
}

#[test]
fn a_long_request_waits_until_who_reads_nothing_gives_way() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let keys = large_keys(&nodes, &proxy);
    let _idle = take_all_room(&proxy, &keys);
    let mut wire = proxy.wire().patience(Duration::from_secs(30));
    assert_eq!(set_large(&mut wire, &keys[0], 10 * MIB), "+OK\r\n");
    assert_eq!(closed_slow(&proxy), 1.0, "one of them was enough");
    assert_eq!(wire.ask(&format!("STRLEN {}", keys[0])), format!(":{}\r\n", 10 * MIB));
}

#[test]
fn a_merged_reply_has_the_room_of_one_that_nobody_reads() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let keys = large_keys(&nodes, &proxy);
    let _idle = take_all_room(&proxy, &keys);
    // So long those that take it have to read nothing.
    std::thread::sleep(Duration::from_millis(3500));
    let mut wire = proxy.wire().patience(Duration::from_secs(30));
    ask_for_much(&mut wire, &keys);
    assert_eq!(wire.reply().len(), "*22\r\n".len() + 22 * (MIB + "$1048576\r\n\r\n".len()));
    assert!(closed_slow(&proxy) >= 1.0);
}

/// Who reads, though slowly, keeps its reply; a request that finds no room is refused after a while.
#[test]
fn who_reads_does_not_give_way() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let keys = large_keys(&nodes, &proxy);
    let slow = take_all_room(&proxy, &keys);
    std::thread::scope(|scope| {
        let readers = slow.map(|mut wire| {
            scope.spawn(move || {
                let mut stream = wire.stream().try_clone().expect("the same socket");
                let (mut read, mut piece) = (0, vec![0; 64 * 1024]);
                let all = "*22\r\n".len() + 22 * (MIB + "$1048576\r\n\r\n".len());
                while read < all {
                    let bytes = std::io::Read::read(&mut stream, &mut piece).expect("it is there");
                    assert!(bytes > 0, "closed after {read} bytes");
                    read += bytes;
                    std::thread::sleep(Duration::from_millis(50));
                }
                assert_eq!(wire.ask("PING"), "+PONG\r\n");
            })
        });
        let mut wire = proxy.wire().patience(Duration::from_secs(30));
        let since = Instant::now();
        let refused = set_large(&mut wire, &keys[0], 14 * MIB);
        let expected = "-ERR respguard: SET was not sent: it is longer than what may be held for a node (";
        assert!(refused.starts_with(expected), "{refused}");
        assert!(since.elapsed() > Duration::from_secs(4), "{:?}", since.elapsed());
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
        readers.into_iter().for_each(|reader| reader.join().expect("it has read all"));
        assert_eq!(set_large(&mut wire, &keys[0], 14 * MIB), "+OK\r\n");
    });
    assert_eq!(closed_slow(&proxy), 0.0);
}

/// Each has begun to send what there is no room for beside the others: some go, and the others are told so, soon.
#[test]
fn long_requests_that_come_together_do_not_hold_each_other_up() {
    let nodes = Nodes::start(2, false);
    let listen = "buffered_bytes_max = 8388608\n";
    let setup = Setup::before(1).cluster(&nodes.ports(), "request_timeout_ms = 3000\n").listen(listen).top("workers = 1");
    let proxy = setup.start();
    for bytes in [900_000, 1_250_000, 1_900_000] {
        let since = Instant::now();
        let replies = std::thread::scope(|scope| {
            let clients = [(); 8].map(|()| proxy.wire().patience(Duration::from_secs(30)));
            let send = |(at, mut wire): (usize, Wire)| set_large(&mut wire, &nodes.key_of(at % 2, "k"), bytes);
            let sent = clients.into_iter().enumerate().map(|client| scope.spawn(move || send(client))).collect::<Vec<_>>();
            sent.into_iter().map(|client| client.join().expect("it is answered")).collect::<Vec<_>>()
        });
        let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| **reply == "+OK\r\n");
        assert!(!done.is_empty() && refused.iter().all(|reply| reply.contains(" was not sent: ")), "{bytes}: {replies:?}");
        assert!(since.elapsed() < Duration::from_secs(10), "{bytes}: {:?}", since.elapsed());
    }
}

#[test]
fn what_was_answered_takes_no_room() {
    let nodes = Nodes::start(2, false);
    let proxy = before(&nodes);
    let mut wires = [0, 1].map(|at| (proxy.wire(), nodes.key_of(at, "k")));
    for (wire, key) in &mut wires {
        assert_eq!(set_large(wire, key, MIB), "+OK\r\n");
    }
    // Nothing is sent any more that could let it go.
    eventually("nothing is kept", || proxy.metric("respguard_kept_bytes", &[]) == 0.0);
}
