//! Reading requests, reading replies and other clients' progress do not hang on each other.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::harness::wire::{request, words};
use crate::harness::{PATIENT, Proxy, RedisServer, Setup, Wire, eventually};

const MIB: usize = 1024 * 1024;
/// Much goes through a build without optimisation.
const LONG: Duration = Duration::from_secs(90);

fn server() -> RedisServer {
    RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"])
}

fn set(redis: &RedisServer, key: &str, bytes: usize) {
    let mut direct = redis.wire().patience(LONG);
    direct.send(&words(&[b"SET", key.as_bytes(), &vec![b'v'; bytes]]));
    assert_eq!(direct.reply(), b"+OK\r\n");
}

fn one_worker(redis: &RedisServer) -> Proxy {
    Setup::new(redis).top("workers = 1").start()
}

/// One whose deadlines are none for what a build without optimisation works on for long.
fn patient(redis: &RedisServer) -> Proxy {
    Setup::new(redis).top("workers = 1").upstream(PATIENT).start()
}

fn closed(proxy: &Proxy) -> f64 {
    proxy.metric("respguard_clients_closed_total", &[])
}

/// Sends everything before it reads anything, as bulk loaders do; fails where that never ends.
fn send_all(wire: &mut Wire, bytes: &[u8]) {
    wire.stream().set_write_timeout(Some(LONG)).expect("a timeout");
    wire.stream().write_all(bytes).expect("all of it is taken while nothing is read");
}

#[test]
fn who_writes_everything_before_reading_anything_is_served() {
    let redis = server();
    let proxy = patient(&redis);
    set(&redis, "b", 8 * MIB);
    let mut wire = proxy.wire().patience(LONG);
    for _ in 0..3 {
        send_all(&mut wire, &[request("GET b"), words(&[b"SET", b"c", &vec![b'w'; 12 * MIB]]), request("INCR n")].concat());
        assert_eq!(wire.reply().len(), 8 * MIB + 12);
        assert_eq!(wire.reply(), b"+OK\r\n");
        assert!(wire.reply().starts_with(b":"));
    }
    assert_eq!(redis.ask("STRLEN c"), format!(":{}\r\n", 12 * MIB));
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]) + closed(&proxy), 0.0);
}

#[test]
fn behind_more_than_can_be_kept_who_reads_nothing_may_select_watch_and_send_what_is_large() {
    let redis = server();
    let proxy = Setup::new(&redis).top("workers = 1").listen("buffered_bytes_max = 2097152").start();
    set(&redis, "b", 8 * MIB);
    let (mut wire, mut other) = (proxy.wire().patience(LONG), proxy.wire());
    assert_eq!(other.ask("SET k v"), "+OK\r\n");
    let before = proxy.memory_peak();
    let large = words(&[b"SET", b"large", &vec![b'w'; 12 * MIB]]);
    let watched = [request("WATCH n"), request("MULTI"), request("INCR n"), request("EXEC")].concat();
    let sent =
        [request("GET b").repeat(4), request("SELECT 1"), watched, large, request("SELECT 0"), request("STRLEN b")].concat();
    send_all(&mut wire, &sent);
    assert_eq!(other.ask("GET k"), "$1\r\nv\r\n", "others have another connection");
    assert!(wire.replies(4).iter().all(|reply| reply.len() == 8 * MIB + 12));
    let rest = wire.replies(8).concat();
    let expected = format!("+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n+OK\r\n+OK\r\n:{}\r\n", 8 * MIB);
    assert_eq!(String::from_utf8_lossy(&rest), expected);
    assert_eq!((redis.ask("EXISTS n"), wire.ask("SELECT 1")), (":0\r\n".to_owned(), "+OK\r\n".to_owned()));
    assert_eq!(wire.ask("STRLEN large"), format!(":{}\r\n", 12 * MIB), "in the other db");
    let grown = (proxy.memory_peak() - before) as usize / MIB;
    assert!(grown < 34, "the server keeps what is not read: {grown} MiB");
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]) + closed(&proxy), 0.0);
    drop(wire);
    eventually("what it had alone goes with it", || {
        proxy.metric("respguard_upstream_connections", &[("state", "retired")]) == 0.0
    });
}

/// So many clients send so many requests each, all of which are answered in the end; the longest wait of another one, and how
/// long all of it took.
fn many_at_once(proxy: &Proxy, redis: &RedisServer, clients: usize, requests: usize) -> (Duration, Duration) {
    let mut wires: Vec<Wire> = (0..clients).map(|_| proxy.wire().patience(LONG)).collect();
    let (mut other, mut longest) = (proxy.wire().patience(LONG), Duration::ZERO);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for wire in &mut wires {
            scope.spawn(|| {
                send_all(wire, &request("INCR n").repeat(requests));
                let (mut piece, mut left) = (vec![0; 64 * 1024], requests);
                while left > 0 {
                    let read = wire.stream().read(&mut piece).expect("a reply");
                    assert!(read > 0, "{left} replies have not come");
                    left -= piece[..read].iter().filter(|byte| **byte == b'\n').count();
                }
            });
        }
        let all = format!("${}\r\n{}\r\n", (clients * requests).to_string().len(), clients * requests);
        while redis.ask("GET n") != all {
            let asked = Instant::now();
            assert_eq!(other.ask("SET k v"), "+OK\r\n");
            longest = longest.max(asked.elapsed());
            assert!(begun.elapsed() < LONG, "of {all:?} there is {:?}", redis.ask("GET n"));
        }
    });
    (longest, begun.elapsed())
}

#[test]
fn who_waits_for_room_on_a_connection_goes_on_when_there_is_some() {
    let redis = server();
    let proxy = Setup::new(&redis).top("workers = 1").listen("buffered_bytes_max = 2097152").start();
    let mut direct = redis.wire();
    direct.send(&request("DEBUG SLEEP 1"));
    // Each comes in one read, and waits as a whole: nothing more comes that would have it looked at again.
    many_at_once(&proxy, &redis, 60, 2_000);
    assert_eq!(direct.reply(), b"+OK\r\n");
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 0.0);
}

#[test]
fn what_each_client_may_keep_anyway_leaves_the_rest_to_others() {
    let redis = server();
    let proxy = Setup::new(&redis).top("workers = 1").listen("buffered_bytes_max = 8388608").start();
    let head = [&b"*2\r\n$3\r\nGET\r\n$100000\r\n"[..], &[b'k'; 60_000]].concat();
    let mut wires: Vec<Wire> = (0..300).map(|_| proxy.wire().patience(LONG)).collect();
    wires.iter_mut().for_each(|wire| wire.send(&head));
    eventually("all of it has been read", || {
        let read = proxy.metric("respguard_bytes_total", &[("side", "client"), ("direction", "in")]);
        read >= (wires.len() * head.len()) as f64
    });
    let kept = proxy.metric("respguard_kept_bytes", &[]);
    assert!(kept < MIB as f64, "{kept} bytes count");
    assert_eq!(proxy.wire().ask("PING"), "+PONG\r\n");
}

#[test]
fn many_small_requests_whose_replies_nobody_reads_yet_are_passed_on() {
    const REQUESTS: usize = 150_000;
    let redis = server();
    let proxy = patient(&redis);
    set(&redis, "k", 1000);
    let mut wire = proxy.wire().patience(LONG);
    let before = proxy.memory_peak();
    let start = Instant::now();
    send_all(&mut wire, &request("GET k").repeat(REQUESTS));
    let sent = start.elapsed();
    let grown = (proxy.memory_peak() - before) as usize / MIB;
    assert!(wire.replies(REQUESTS).iter().all(|reply| reply.len() == 1009));
    eprintln!("all sent after {sent:?}, all read after {:?}, memory grew by {grown} MiB", start.elapsed());
    assert!(grown < 100, "the server keeps what nobody reads: {grown} MiB");
    eventually("what it had alone is given back", || {
        proxy.metric("respguard_upstream_connections", &[("state", "retired")]) == 0.0
    });
}

#[test]
fn who_reads_late_gets_all_of_it() {
    // On a busy machine a request of the other one may come to stand behind it: then it is read, as far as may be kept.
    let mut grown = (0..3).map(|_| mib_grown_by_who_reads_late());
    assert!(grown.any(|grown| grown < 32), "it does not wait at the server");
}

fn mib_grown_by_who_reads_late() -> usize {
    let redis = server();
    let proxy = one_worker(&redis);
    set(&redis, "b", MIB);
    let (mut slow, mut other) = (proxy.wire().patience(LONG), proxy.wire());
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    let before = proxy.memory_peak();
    send_all(&mut slow, &request("GET b").repeat(150));
    let start = Instant::now();
    // Longer than any deadline of its own.
    while start.elapsed() < Duration::from_secs(7) {
        assert_eq!(other.ask("PING"), "+PONG\r\n");
        std::thread::sleep(Duration::from_millis(10));
    }
    for reply in slow.replies(150) {
        assert_eq!(reply.len(), MIB + 12);
    }
    let grown = (proxy.memory_peak() - before) as usize / MIB;
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]) + closed(&proxy), 0.0);
    grown
}

#[test]
fn forty_clients_that_read_nothing_are_in_nobodys_way() {
    let redis = server();
    let proxy = Setup::new(&redis).top("workers = 1").upstream("queue_timeout_ms = 7000\nrequest_timeout_ms = 7000").start();
    set(&redis, "b", MIB / 4);
    let mut others: Vec<Wire> = (0..5).map(|_| proxy.wire()).collect();
    let mut slow: Vec<Wire> = (0..40).map(|_| proxy.wire().patience(LONG)).collect();
    slow.iter_mut().for_each(|wire| wire.send(&request("GET b").repeat(8)));
    let (start, mut waits) = (Instant::now(), Vec::new());
    // Longer than any deadline of theirs.
    while start.elapsed() < Duration::from_secs(8) {
        for other in &mut others {
            let asked = Instant::now();
            assert_eq!(other.ask("PING"), "+PONG\r\n");
            assert_eq!(other.ask("SET k v"), "+OK\r\n");
            waits.push(asked.elapsed());
        }
    }
    waits.sort();
    eprintln!(
        "waits of the others: {} of them, half {:?}, longest {:?}",
        waits.len(),
        waits[waits.len() / 2],
        waits[waits.len() - 1]
    );
    // A busy machine may stop anybody for a while; who waited for those that read nothing would wait all the time.
    assert!(waits[waits.len() / 2] < Duration::from_millis(500), "{waits:?}");
    assert!(waits[waits.len() - 1] < Duration::from_secs(7), "{waits:?}");
    for wire in &mut slow {
        assert!(wire.replies(8).iter().all(|reply| reply.len() == MIB / 4 + 11));
    }
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]) + closed(&proxy), 0.0);
    eventually("elastic by nature", || proxy.metric("respguard_upstream_connections", &[("state", "retired")]) == 0.0);
}

#[test]
fn reads_go_on_while_the_server_lets_no_write_pass() {
    let redis = server();
    let proxy = patient(&redis);
    let (mut writers, mut readers): (Vec<Wire>, Vec<Wire>) = (0..6).map(|_| (proxy.wire(), proxy.wire())).unzip();
    readers.iter_mut().chain(&mut writers).for_each(|wire| assert_eq!(wire.ask("GET n"), "$-1\r\n"));
    assert_eq!(redis.ask("CLIENT PAUSE 600000 WRITE"), "+OK\r\n");
    let start = Instant::now();
    let (mut waits, mut begun) = (Vec::new(), 0);
    while start.elapsed() < Duration::from_millis(2000) || begun < writers.len() {
        // One more begins to write now and then.
        if begun < writers.len() && start.elapsed() > Duration::from_millis(100 + 250 * begun as u64) {
            writers[begun].send_line("INCR n");
            begun += 1;
        }
        for reader in &mut readers {
            let asked = Instant::now();
            assert_eq!(reader.ask("GET n"), "$-1\r\n");
            waits.push(asked.elapsed());
        }
    }
    waits.sort();
    // Each of six writes may hold up one read of each reader until the connection is known to be stuck.
    let usual = (waits.len() * 99 / 100).min(waits.len().saturating_sub(1 + writers.len() * readers.len()));
    eprintln!("{} reads, the slowest {:?}, usually {:?}", waits.len(), waits[waits.len() - 1], waits[usual]);
    assert!(waits[usual] < Duration::from_millis(300), "they do not wait for the writes: {waits:?}");
    assert_eq!(redis.ask("GET n"), "$-1\r\n", "no write has passed");
    assert_eq!(redis.ask("CLIENT UNPAUSE"), "+OK\r\n");
    let mut counted: Vec<_> = writers.iter_mut().map(|wire| wire.reply()).collect();
    counted.sort();
    assert_eq!(counted, [b":1\r\n", b":2\r\n", b":3\r\n", b":4\r\n", b":5\r\n", b":6\r\n"], "each has run once");
    for wire in readers.iter_mut().chain(&mut writers) {
        assert_eq!(wire.ask("GET n"), "$1\r\n6\r\n");
    }
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 0.0);
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn who_is_owed_reads_behind_somebody_elses_large_reply_gets_them_over_another_connection() {
    let redis = server();
    let proxy = one_worker(&redis);
    set(&redis, "big", 64 * MIB);
    assert_eq!(redis.ask("SET k v"), "+OK\r\n");
    let (mut slow, mut reader, mut writer) = (proxy.wire().patience(LONG), proxy.wire(), proxy.wire());
    for wire in [&mut slow, &mut reader, &mut writer] {
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
    }
    let commands = || proxy.metric("respguard_commands_total", &[]);
    redis.pause();
    for (wire, line) in [(&mut slow, "GET big"), (&mut reader, "GET k"), (&mut writer, "APPEND k w")] {
        let before = commands();
        wire.send_line(line);
        eventually("it is on its way", || commands() > before);
    }
    redis.resume();
    let start = Instant::now();
    let read = reader.reply();
    eprintln!("the read came after {:?}", start.elapsed());
    assert!(read == b"$1\r\nv\r\n" || read == b"$2\r\nvw\r\n");
    assert_eq!(writer.reply(), b":2\r\n", "who is owed a write gets it as it comes");
    assert_eq!(reader.ask("APPEND k x"), ":3\r\n");
    assert_eq!(slow.reply().len(), 64 * MIB + 13, "and nobody is closed");
    assert_eq!(slow.ask("GET k"), "$3\r\nvwx\r\n");
    assert_eq!(closed(&proxy), 0.0);
}

#[test]
fn a_client_is_closed_only_where_others_wait_behind_it_and_no_more_can_be_kept() {
    let redis = server();
    let proxy = Setup::new(&redis).top("workers = 1").listen("buffered_bytes_max = 16777216").start();
    set(&redis, "big", 40 * MIB);
    let (mut slow, mut behind, mut other) = (proxy.wire(), proxy.wire().patience(LONG), proxy.wire());
    for wire in [&mut slow, &mut behind, &mut other] {
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
    }
    let commands = || proxy.metric("respguard_commands_total", &[]);
    redis.pause();
    for (wire, line) in [(&mut slow, "GET big"), (&mut behind, "INCR n")] {
        let before = commands();
        wire.send_line(line);
        eventually("it is on its way", || commands() > before);
    }
    redis.resume();
    assert_eq!(behind.reply(), b":1\r\n");
    eventually("it is closed and counted", || proxy.metric("respguard_clients_closed_total", &[("reason", "slow")]) == 1.0);
    assert!(proxy.log().contains("others wait behind its unread replies"));
    let mut patient = proxy.wire().patience(LONG);
    patient.send_line("GET big");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    assert_eq!(patient.reply().len(), 40 * MIB + 13, "alone it may take its time, whatever may be kept");
    assert_eq!(closed(&proxy), 1.0);
}

/// Each sends what it can, until it is told that there is no more room, and closed.
fn unfinished(proxy: &Proxy, clients: usize, head: &[u8]) -> usize {
    let senders: Vec<_> = (0..clients)
        .map(|_| {
            let (mut wire, bytes) = (proxy.wire(), [head, &vec![b'x'; 4 * MIB]].concat());
            std::thread::spawn(move || {
                wire.stream().set_write_timeout(Some(Duration::from_secs(20))).expect("a timeout");
                let is_taken = wire.stream().write_all(&bytes).is_ok();
                let told = wire.until_closed();
                assert!(is_taken || told.is_empty() || told.starts_with(b"-ERR respguard: no room is left"));
            })
        })
        .collect();
    let (mut other, mut asked) = (proxy.wire(), 0);
    while senders.iter().any(|sender| !sender.is_finished()) {
        assert_eq!(other.ask("SET k v"), "+OK\r\n", "whose requests are small is served all the time");
        asked += 1;
    }
    senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
    asked
}

#[test]
fn what_clients_have_begun_to_send_counts_and_who_wants_more_than_there_is_is_told_so() {
    const CLIENTS: usize = 100;
    let rule = "[[group]]\nname = \"blob\"\ncommands = [\"HSET blobs:{id} ...\", \"HSET info:{id} ...\"]\n";
    let redis = server();
    for head in [&b"*4\r\n$4\r\nHSET\r\n$7\r\nblobs:1\r\n$1\r\nf\r\n$8000000\r\n"[..], b"*2\r\n$8000000\r\n"] {
        let proxy = Setup::new(&redis).top("workers = 1").listen("buffered_bytes_max = 8388608").rules(rule).start();
        assert_eq!(proxy.wire().ask("PING"), "+PONG\r\n");
        let asked = unfinished(&proxy, CLIENTS, head);
        let (peak, bound) = (proxy.memory_peak() as usize, 8 * MIB + CLIENTS * 64 * 1024 + 32 * MIB);
        eprintln!("peak of memory {} KiB of {}, another client was served {asked} times", peak / 1024, bound / 1024);
        assert!(peak < bound, "{} MiB", peak / MIB);
        assert!(proxy.metric("respguard_clients_closed_total", &[("reason", "unfinished")]) >= 50.0);
        let mut large = proxy.wire();
        large.send(&words(&[b"HSET", b"blobs:1", b"f", &vec![b'x'; MIB]]));
        large.send(&words(&[b"HSET", b"info:1", b"f", b"x"]));
        assert!(large.replies(2).iter().all(|reply| reply.starts_with(b":")), "when they have gone there is room again");
    }
}
