//! Clients that do not read their replies cost a bounded amount of memory, and nobody else his reply.

use std::time::{Duration, Instant};

use crate::harness::chaos::{Chaos, Way};
use crate::harness::wire::{text, words};
use crate::harness::{PATIENT, Proxy, RedisServer, Setup, Wire, eventually};

const MIB: u64 = 1024 * 1024;
/// A gigabyte goes through a build without optimisation.
const LONG: Duration = Duration::from_secs(90);

/// A hundred clients ask for what is large, and read nothing of it; the longest wait of another client meanwhile.
fn longest_wait_beside_a_hundred(connect: impl Fn() -> Wire) -> (Vec<Wire>, Duration) {
    let mut other = connect();
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    let mut slow: Vec<Wire> = (0..100).map(|_| connect()).collect();
    slow.iter_mut().for_each(|wire| wire.send_line("GET big"));
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    while start.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert_eq!(other.ask("PING"), "+PONG\r\n");
        longest = longest.max(asked.elapsed());
    }
    (slow, longest)
}

#[test]
fn a_hundred_clients_that_read_nothing_of_what_is_large_are_in_nobodys_way() {
    const SIZE: usize = 4 * MIB as usize;
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"]);
    let proxy = Setup::new(&redis).top("workers = 1").listen("buffered_bytes_max = 67108864");
    let proxy = proxy.upstream(PATIENT).start();
    let mut direct = redis.wire().patience(LONG);
    direct.send(&words(&[b"SET", b"big", &vec![b'v'; SIZE]]));
    assert_eq!(direct.reply(), b"+OK\r\n");
    let (slow, directly) = longest_wait_beside_a_hundred(|| redis.wire().patience(LONG));
    drop(slow);
    let (mut slow, longest) = longest_wait_beside_a_hundred(|| proxy.wire().patience(LONG));
    let peak = proxy.memory_peak();
    eprintln!("peak of memory {} MiB, longest wait of another client {longest:?}, directly {directly:?}", peak / MIB);
    assert!(peak < (64 + 32) * MIB + 101 * 64 * 1024, "400 MiB were asked for; the bound is 64 MiB: {} MiB", peak / MIB);
    assert!(longest < 4 * directly + Duration::from_secs(4), "each has a connection of its own: {longest:?}");
    for wire in &mut slow {
        assert_eq!(wire.reply().len(), SIZE + 12, "who takes its time gets all of it");
    }
    assert_eq!(proxy.metric("respguard_clients_closed_total", &[]), 0.0);
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 0.0);
    drop(slow);
    eventually("they are gone", || proxy.metric("respguard_clients", &[]) == 0.0);
    eventually("so are their connections", || retired(&proxy) == 0.0);
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn a_client_whose_replies_are_large_moves_to_a_connection_of_its_own_and_may_take_its_time() {
    const SIZE: usize = 80 * MIB as usize;
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream(PATIENT).start();
    let mut direct = redis.wire().patience(LONG);
    direct.send(&words(&[b"SET", b"big", &vec![b'v'; SIZE]]));
    assert_eq!(direct.reply(), b"+OK\r\n");
    let mut slow = proxy.wire().patience(LONG);
    slow.send_line("GET big");
    assert_eq!(slow.reply().len(), SIZE + 13, "on the shared connection, by a client that keeps up");
    let mut quick = proxy.wire().patience(LONG);
    let before = proxy.memory_peak();
    slow.send_line("GET big");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(quick.ask("PING"), "+PONG\r\n");
    }
    assert_eq!(slow.reply().len(), SIZE + 13, "more than is kept for one that shares its connection: it waits at the server");
    let grown = proxy.memory_peak().saturating_sub(before);
    assert!(grown < 32 * MIB, "{} MiB", grown / MIB);
    for _ in 0..10 {
        assert_eq!(slow.ask("PING"), "+PONG\r\n", "behind it the client goes on, alone and then with the others again");
    }
    eventually("the lease is idle", || proxy.metric("respguard_upstream_connections", &[("state", "leased")]) == 0.0);
}

const HELD: &str = r#"
[[group]]
name = "blob"
between = "pass"
commands = ["HSET blob:{id} ...", "HSET info:{id} ..."]
"#;

/// A proxy before a server with a value of 1 MiB, and as many requests for it behind the beginning of a group.
fn behind_a_beginning(listen: &str, requests: usize) -> (RedisServer, Proxy, Vec<u8>) {
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"]);
    let proxy = Setup::new(&redis).top("workers = 1").listen(listen).upstream(PATIENT);
    let proxy = proxy.pipeline("hold_ms = 50\nhold_max_ms = 200\n").rules(HELD).start();
    let mut direct = redis.wire();
    direct.send(&words(&[b"SET", b"big", &vec![b'v'; MIB as usize]]));
    assert_eq!(direct.reply(), b"+OK\r\n");
    let mut sent = words(&[b"HSET", b"blob:1", b"a", b"1"]);
    (0..requests).for_each(|_| sent.extend_from_slice(&words(&[b"GET", b"big"])));
    (redis, proxy, sent)
}

#[test]
fn large_replies_that_wait_for_what_is_held_come_in_its_place() {
    let (_redis, proxy, sent) = behind_a_beginning("", 40);
    let mut wire = proxy.wire().patience(LONG);
    wire.send(&sent);
    assert_eq!(wire.reply(), b":1\r\n");
    assert!(wire.replies(40).iter().all(|reply| reply.len() as u64 == MIB + 12));
    eventually("nothing is kept", || proxy.metric("respguard_kept_bytes", &[]) < MIB as f64);
}

#[test]
fn large_replies_that_wait_for_what_is_held_are_bounded_in_memory() {
    for listen in ["", "buffered_bytes_max = 16777216"] {
        let (_redis, proxy, sent) = behind_a_beginning(listen, 250);
        let mut quick = proxy.wire().patience(LONG);
        assert_eq!(quick.ask("PING"), "+PONG\r\n");
        let before = proxy.memory_peak();
        let mut wire = proxy.wire().patience(LONG);
        wire.send(&sent);
        assert!(wire.until_closed().is_empty(), "it is closed, and has seen nothing out of its order");
        assert_eq!(quick.ask("PING"), "+PONG\r\n", "what is still owed to it goes by");
        let grown = proxy.memory_peak().saturating_sub(before);
        assert!(grown < 160 * MIB, "250 MiB were asked for: {} MiB", grown / MIB);
        eventually("nothing is kept", || proxy.metric("respguard_kept_bytes", &[]) < MIB as f64);
    }
}

#[test]
fn clients_that_send_much_and_are_answered_nothing_are_bounded_too() {
    let redis = RedisServer::start(&[]);
    let upstream = "request_timeout_ms = 60000\nstall_timeout_ms = 60000\nheartbeat_ms = 60000";
    let proxy = Setup::new(&redis).top("workers = 1").listen("buffered_bytes_max = 1048576").upstream(upstream).start();
    let mut wires: Vec<Wire> = (0..50).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
    }
    let before = proxy.memory_peak();
    redis.pause();
    let request = words(&[b"SET", b"k", &vec![b'v'; 10_000]]);
    let batch: Vec<u8> = request.iter().copied().cycle().take(request.len() * 400).collect();
    let senders: Vec<_> = wires
        .into_iter()
        .map(|mut wire| {
            let batch = batch.clone();
            std::thread::spawn(move || {
                wire.send(&batch);
                wire.replies(400).iter().all(|reply| reply == b"+OK\r\n")
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(700));
    let peak = proxy.memory_peak() - before;
    eprintln!("peak of memory grew by {} MiB", peak / MIB);
    assert!(peak < 60 * MIB, "200 MB were sent: {} MiB", peak / MIB);
    redis.resume();
    for sender in senders {
        assert!(sender.join().expect("no panic"), "every request is answered once the server goes on");
    }
}

#[test]
fn clients_with_large_replies_leave_connections_to_those_that_need_one() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream("leases_max = 2\nrequest_timeout_ms = 60000").start();
    let mut direct = redis.wire();
    direct.send(&words(&[b"SET", b"big", &vec![b'v'; 2 * MIB as usize]]));
    assert_eq!(direct.reply(), b"+OK\r\n");
    assert_eq!(direct.ask("RPUSH list a"), ":1\r\n");
    let mut large: Vec<Wire> = (0..2).map(|_| proxy.wire()).collect();
    for wire in &mut large {
        wire.send_line("GET big");
        assert_eq!(wire.reply().len() as u64, 2 * MIB + 12);
    }
    let mut other = proxy.wire();
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    redis.pause();
    large.iter_mut().for_each(|wire| wire.send_line("GET big"));
    eventually("they are on their way", || proxy.metric("respguard_commands_total", &[("command", "get")]) >= 4.0);
    other.send_line("BLPOP list 0");
    // It is refused at once or not at all.
    let refused = !other.is_silent_for(Duration::from_millis(100));
    redis.resume();
    assert!(!refused, "{}", text(&other.reply()));
    assert_eq!(other.reply(), b"*2\r\n$4\r\nlist\r\n$1\r\na\r\n");
    for wire in &mut large {
        assert_eq!(wire.reply().len() as u64, 2 * MIB + 12);
    }
}

/// A server with a value of 100 MiB, and a proxy with one worker.
fn with_large_value(rules: &str) -> (RedisServer, Proxy) {
    with_large_value_and(|setup| setup.rules(rules))
}

fn with_large_value_and(more: impl FnOnce(Setup) -> Setup) -> (RedisServer, Proxy) {
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"]);
    let proxy = more(Setup::new(&redis).top("workers = 1").upstream(PATIENT)).start();
    let mut direct = redis.wire().patience(LONG);
    direct.send(&words(&[b"SET", b"big", &vec![b'v'; 100 * MIB as usize]]));
    assert_eq!(direct.reply(), b"+OK\r\n");
    (redis, proxy)
}

/// Each sends when what the former has sent is on its way; the server reads all of it together.
fn send_in_turn(redis: &RedisServer, proxy: &Proxy, requests: &mut [(&mut Wire, &str)]) {
    let commands = || proxy.metric("respguard_commands_total", &[]);
    redis.pause();
    for (wire, line) in requests {
        let before = commands();
        wire.send_line(line);
        eventually("it is on its way", || commands() > before);
    }
    redis.resume();
}

/// As [`with_large_value`], with a forwarder that can keep a connection stuck.
fn behind_a_forwarder() -> (RedisServer, Chaos, Proxy) {
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"]);
    let chaos = Chaos::before(redis.port());
    let proxy = Setup::new(&redis).through(chaos.port()).top("workers = 1").upstream(PATIENT).start();
    let mut direct = redis.wire().patience(LONG);
    direct.send(&words(&[b"SET", b"big", &vec![b'v'; 100 * MIB as usize]]));
    assert_eq!(direct.reply(), b"+OK\r\n");
    assert_eq!(proxy.wire().ask("PING"), "+PONG\r\n");
    (redis, chaos, proxy)
}

/// Sends in turn, and waits until the connection is stuck. It stays so until more may pass: what others are owed behind a large
/// reply is read otherwise, and that may be over before anybody looks.
fn get_stuck(redis: &RedisServer, chaos: &Chaos, proxy: &Proxy, requests: &mut [(&mut Wire, &str)]) {
    chaos.down(Way::Stop(4 * MIB as usize));
    send_in_turn(redis, proxy, requests);
    eventually("the connection is stuck, and there is another one", || retired(proxy) >= 1.0);
}

fn retired(proxy: &Proxy) -> f64 {
    proxy.metric("respguard_upstream_connections", &[("state", "retired")])
}

#[test]
fn who_begins_to_ask_beside_a_reader_that_is_stuck_is_answered_over_another_connection() {
    let (_redis, proxy) = with_large_value("");
    let mut quick: Vec<Wire> = (0..10).map(|_| proxy.wire()).collect();
    let mut ask = |value: &str| -> Vec<Duration> {
        let asked = quick.iter_mut().enumerate().map(|(number, wire)| {
            let begun = Instant::now();
            assert_eq!(wire.ask(&format!("SET k{number} {value}")), "+OK\r\n");
            assert_eq!(wire.ask(&format!("GET k{number}")), format!("$1\r\n{value}\r\n"));
            begun.elapsed()
        });
        asked.collect()
    };
    ask("a");
    let mut slow = proxy.wire().patience(LONG);
    slow.send_line("GET big");
    eventually("the connection is stuck, and there is another one", || retired(&proxy) == 1.0);
    let mut waits = ask("b");
    waits.sort();
    assert_eq!(retired(&proxy), 1.0, "it is the slow reader's own");
    assert_eq!(slow.reply().len() as u64, 100 * MIB + 14, "who gets all of it");
    eventually("what was retired is closed", || retired(&proxy) == 0.0);
    eprintln!("waits of those that begin to ask: {waits:?}");
    // A busy machine may stop some of them for a while.
    assert!(waits[waits.len() / 2] < Duration::from_millis(250), "{waits:?}");
    assert!(waits[waits.len() - 1] < Duration::from_secs(2), "{waits:?}");
    assert_eq!(proxy.metric("respguard_upstream_connections", &[("state", "shared")]), 1.0);
    ask("c");
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn who_is_owed_something_behind_a_reader_that_is_stuck_stays_there_until_it_has_come() {
    let (redis, chaos, proxy) = behind_a_forwarder();
    let (mut slow, mut behind) = (proxy.wire(), proxy.wire());
    get_stuck(&redis, &chaos, &proxy, &mut [(&mut slow, "GET big"), (&mut behind, "SET list a")]);
    behind.send_line("APPEND list b");
    behind.send_line("GET list");
    chaos.down(Way::Pass);
    assert_eq!(behind.replies(3), [&b"+OK\r\n"[..], b":2\r\n", b"$2\r\nab\r\n"], "in the order of the requests");
    eventually("what was retired is closed", || retired(&proxy) == 0.0);
    assert_eq!(behind.ask("APPEND list c"), ":3\r\n", "over the connection that is left");
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn a_retired_connection_that_is_lost_is_made_good_before_its_clients_go_on_elsewhere() {
    let (redis, chaos, proxy) = behind_a_forwarder();
    let (mut slow, mut writer, mut reader) = (proxy.wire(), proxy.wire(), proxy.wire());
    assert_eq!(redis.ask("SET here 1"), "+OK\r\n");
    let requests: &mut [(&mut Wire, &str)] =
        &mut [(&mut slow, "GET big"), (&mut writer, "SET list a"), (&mut reader, "GET here")];
    get_stuck(&redis, &chaos, &proxy, requests);
    let clients = redis.ask("CLIENT LIST");
    let field = |line: &str, name: &str| {
        let value = line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_default().to_owned();
        value.parse::<u64>().unwrap_or_default()
    };
    let stuck = clients.lines().max_by_key(|line| field(line, "omem=")).expect("there are connections");
    assert!(field(stuck, "omem=") > MIB, "{stuck}");
    assert_eq!(redis.ask(&format!("CLIENT KILL ID {}", field(stuck, "id="))), ":1\r\n");
    chaos.down(Way::Pass);
    let lost = text(&writer.reply());
    assert!(lost.starts_with("-TIMEOUT respguard: outcome of SET unknown"), "{lost}");
    assert_eq!(reader.reply(), b"$1\r\n1\r\n", "a read goes out once more");
    slow.until_closed();
    assert_eq!(writer.ask("APPEND list b"), ":2\r\n", "behind what was lost");
    assert_eq!(reader.ask("GET here"), "$1\r\n1\r\n");
    eventually("what was retired is closed", || retired(&proxy) == 0.0);
    // What was somebody's own may wait for its next client meanwhile.
    let shared = || proxy.metric("respguard_upstream_connections", &[("state", "shared")]);
    eventually("one shared connection is left", || shared() == 1.0);
    assert_eq!(proxy.get("/readyz").0, 200);
    assert_eq!(writer.ask("APPEND list c"), ":3\r\n", "over the connection that is left");
}

#[test]
fn what_is_owed_on_a_retired_connection_comes_before_the_process_ends() {
    let (redis, chaos, proxy) = behind_a_forwarder();
    let (mut slow, mut behind) = (proxy.wire(), proxy.wire());
    get_stuck(&redis, &chaos, &proxy, &mut [(&mut slow, "GET big"), (&mut behind, "SET list a")]);
    proxy.terminate();
    chaos.down(Way::Pass);
    assert_eq!(behind.until_closed(), b"+OK\r\n");
    drop(slow);
    assert!(proxy.ended().status.success());
}

#[test]
fn a_guarded_group_goes_over_the_connection_that_has_taken_the_place_of_a_retired_one() {
    let rule = "[[group]]\nname = \"pair\"\natomic = \"guarded\"\ncommands = [\"SET a:{id} *\", \"SADD b:{id} *\"]\n";
    let (redis, proxy) = with_large_value(rule);
    let (mut slow, mut writer) = (proxy.wire(), proxy.wire());
    assert_eq!(writer.pipeline(&["SET a:1 x", "SADD b:1 x"]), ["+OK\r\n", ":1\r\n"]);
    slow.send_line("GET big");
    eventually("the connection is stuck, and there is another one", || retired(&proxy) == 1.0);
    assert_eq!(writer.pipeline(&["SET a:1 y", "SADD b:1 y"]), ["+OK\r\n", ":1\r\n"]);
    assert_eq!(redis.ask("SET b:2 text"), "+OK\r\n");
    let refused = writer.pipeline(&["SET a:2 y", "SADD b:2 y"]);
    assert!(refused[0].starts_with("-EXECABORT"), "{refused:?}");
    assert_eq!((proxy.groups("pair", "applied"), redis.ask("EXISTS a:2")), (2.0, ":0\r\n".to_owned()));
}

#[test]
fn a_group_whose_connection_is_closed_while_its_beginning_is_held_goes_over_the_one_that_is_left() {
    let rule = "[[group]]\nname = \"pair\"\natomic = \"transaction\"\ncommands = [\"SET a:{id} *\", \"SADD b:{id} *\"]\n";
    let (_redis, proxy) = with_large_value_and(|setup| setup.pipeline("hold_ms = 10000\nhold_max_ms = 10000").rules(rule));
    let (mut slow, mut writer) = (proxy.wire(), proxy.wire());
    writer.send_line("SET a:1 x");
    eventually("the beginning is held", || proxy.metric("respguard_hold_prefix_members_count", &[]) == 1.0);
    slow.send_line("GET big");
    eventually("the connection is stuck, and there is another one", || retired(&proxy) == 1.0);
    drop(slow);
    eventually("what was retired is closed", || retired(&proxy) == 0.0);
    writer.send_line("SADD b:1 x");
    assert_eq!(writer.replies(2).iter().map(|reply| text(reply)).collect::<Vec<_>>(), ["+OK\r\n", ":1\r\n"]);
    assert_eq!(proxy.groups("pair", "applied"), 1.0);
}

#[test]
fn a_connection_that_could_not_say_in_time_what_was_lost_is_still_retired_when_it_is_stuck() {
    let (redis, proxy) = with_large_value_and(|setup| setup.upstream("request_timeout_ms = 500"));
    let (mut slow, mut bound) = (proxy.wire(), proxy.wire());
    assert_eq!(bound.ask("WATCH k"), "+OK\r\n");
    assert_eq!(bound.ask("MULTI"), "+OK\r\n");
    redis.pause();
    let lost = bound.ask("EXEC");
    assert!(lost.starts_with("-TIMEOUT "), "{lost}");
    let unanswered = || proxy.metric("respguard_upstream_kills_total", &[("outcome", "unanswered")]);
    eventually("the server has not ended in time what was lost", || unanswered() >= 1.0);
    redis.resume();
    eventually("the server answers", || bound.ask("PING") == "+PONG\r\n");
    slow.send_line("GET big");
    eventually("the connection is stuck, and there is another one", || retired(&proxy) == 1.0);
    drop(slow);
    eventually("what was retired is closed", || retired(&proxy) == 0.0);
}

#[test]
fn clients_with_a_connection_of_their_own_go_on_and_come_back_while_the_shared_one_is_retired() {
    let (redis, proxy) = with_large_value("");
    let (mut watcher, mut queuer, mut subscriber, mut slow) = (proxy.wire(), proxy.wire(), proxy.wire(), proxy.wire());
    assert_eq!(watcher.ask("WATCH k"), "+OK\r\n");
    assert_eq!(queuer.ask("MULTI"), "+OK\r\n");
    assert_eq!(subscriber.ask("SUBSCRIBE c"), "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    slow.send_line("GET big");
    eventually("the connection is stuck, and there is another one", || retired(&proxy) == 1.0);
    assert_eq!(redis.ask("SET k other"), "+OK\r\n");
    assert_eq!(watcher.pipeline(&["MULTI", "SET k own", "EXEC", "GET k"])[2..], ["*-1\r\n", "$5\r\nother\r\n"]);
    assert_eq!(queuer.pipeline(&["SET m 1", "EXEC", "GET m"]), ["+QUEUED\r\n", "*1\r\n+OK\r\n", "$1\r\n1\r\n"]);
    assert_eq!(redis.ask("PUBLISH c hi"), ":1\r\n");
    assert_eq!(subscriber.reply(), b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n");
    drop(slow);
    eventually("what was retired is closed", || retired(&proxy) == 0.0);
    assert_eq!(subscriber.ask("UNSUBSCRIBE c"), "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n");
    for wire in [&mut watcher, &mut queuer, &mut subscriber] {
        assert_eq!(wire.pipeline(&["SET n 1", "GET n"]), ["+OK\r\n", "$1\r\n1\r\n"]);
    }
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn each_client_that_reads_nothing_has_a_connection_of_its_own_as_far_as_there_are_leases() {
    let (_redis, proxy) = with_large_value_and(|setup| setup.upstream(&format!("leases_max = 6\n{PATIENT}")));
    let mut slow: Vec<Wire> = Vec::new();
    for number in 1..=6 {
        let mut wire = proxy.wire().patience(LONG);
        wire.send_line("GET big");
        slow.push(wire);
        eventually("it has its own", || retired(&proxy) == f64::from(number));
    }
    let mut last = proxy.wire().patience(LONG);
    last.send_line("GET big");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(retired(&proxy), 6.0, "there are no more leases");
    drop(slow);
    eventually("the last one has its own", || retired(&proxy) == 1.0);
    assert_eq!(proxy.wire().ask("PING"), "+PONG\r\n");
    drop(last);
    eventually("what was retired is closed", || retired(&proxy) == 0.0);
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}
