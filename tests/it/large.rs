//! Requests that are too large to be held whole get what small ones get: places, states, errors, deadlines.

use std::time::{Duration, Instant};

use crate::harness::wire::words;
use crate::harness::{Nodes, Pair, Proxy, RedisServer, Setup, Twin, Wire, eventually, request, text};

/// Below and above what is held whole, and what is held whole for the sake of a rule.
const SIZES: [usize; 3] = [100, 70_000, 9_000_000];

/// The words, `V` among them stands for a value of so many bytes.
fn sized(line: &str, bytes: usize) -> Vec<u8> {
    let value = vec![b'v'; bytes];
    words(&line.split(' ').map(|word| if word == "V" { &value[..] } else { word.as_bytes() }).collect::<Vec<_>>())
}

fn all_sized(lines: &[&str], bytes: usize) -> Vec<u8> {
    lines.iter().flat_map(|line| sized(line, bytes)).collect()
}

#[track_caller]
fn same_sized(pair: &mut Pair, lines: &[&str], bytes: usize) {
    let sent = all_sized(lines, bytes);
    pair.same(&sent, lines.len());
    for line in lines {
        pair.same(&sized(line, bytes), 1);
    }
}

#[test]
fn within_the_clients_own_transaction_a_large_command_keeps_its_place() {
    let twin = Twin::start("[[expect]]\nname = \"set\"\ncommand = \"SET m:* *\"\nreply = \"OK\"\naction = \"fail\"\n");
    for bytes in SIZES {
        let mut pair = twin.pair();
        same_sized(&mut pair, &["MULTI", "SET k V", "CLIENT GETNAME", "STRLEN k", "EXEC"], bytes);
        same_sized(&mut pair, &["MULTI", "CLIENT SETNAME me", "APPEND k V", "SET m:1 V", "CLIENT GETNAME", "EXEC"], bytes);
        same_sized(&mut pair, &["MULTI", "SET k V", "DISCARD", "WATCH k", "MULTI", "SET m:1 V", "EXEC"], bytes);
        same_sized(&mut pair, &["MULTI", "GET V V", "CLIENT GETNAME", "EXEC", "MULTI", "EXEC V", "EXEC"], bytes);
        same_sized(&mut pair, &["MULTI", "MULTI V", "WATCH V", "CLIENT GETNAME", "SET k V", "CLIENT GETNAME", "EXEC"], bytes);
    }
}

#[test]
fn what_a_large_command_does_to_its_connection_is_known() {
    let twin = Twin::start("");
    for bytes in SIZES {
        let mut pair = twin.pair();
        for line in ["NOSUCH V", "BLPOP V 0.01", "WATCH V", "ECHO V", "DISCARD V"] {
            same_sized(&mut pair, &[line, "MULTI", "CLIENT GETNAME", "INCR k", "EXEC", "CLIENT GETNAME"], bytes);
        }
        let mut own = twin.proxy.wire();
        own.ask("HELLO 3");
        let id = own.ask("CLIENT ID");
        for line in ["NOSUCH V", "WATCH V", "SUBSCRIBE V", "UNSUBSCRIBE V", "CLIENT SETNAME V", "BLPOP V 0.01"] {
            own.send(&sized(line, bytes));
            own.reply();
            assert_eq!(own.ask("CLIENT ID"), id, "{line} with {bytes} bytes");
        }
    }
}

#[test]
fn a_large_watch_guards_its_keys() {
    let twin = Twin::start("");
    for bytes in SIZES {
        let mut pair = twin.pair();
        pair.same(&sized("WATCH V", bytes), 1);
        twin.direct.wire().send(&sized("SET V changed", bytes));
        twin.proxy.wire().send(&sized("SET V changed", bytes));
        let exists = |wire: &mut Wire| {
            wire.send(&sized("EXISTS V", bytes));
            wire.reply() == b":1\r\n"
        };
        let (mut direct, mut behind) = (twin.direct.wire(), twin.behind.wire());
        eventually("both are changed", || exists(&mut direct) && exists(&mut behind));
        assert_eq!(text(&pair.same(&crate::harness::wire::requests(&["MULTI", "INCR n", "EXEC"]), 3)[2]), "*-1\r\n");
    }
}

#[test]
fn a_large_subscription_is_confirmed_and_ends() {
    let twin = Twin::start("");
    for bytes in SIZES {
        for mut pair in [twin.pair(), twin.pair3()] {
            pair.same(&sized("SUBSCRIBE V b", bytes), 2);
            pair.same_line("PING");
            pair.same(&sized("GET V", bytes), 1);
            pair.same(&sized("UNSUBSCRIBE V b", bytes), 2);
            pair.same_line("GET k");
        }
    }
}

#[test]
fn bytes_that_are_no_request_within_a_large_one_end_it_as_in_redis() {
    let twin = Twin::start("");
    for bytes in SIZES {
        let mut broken = sized("SET k V", bytes);
        broken[1] = b'4';
        broken.extend_from_slice(b"!x\r\n");
        let mut pair = twin.pair();
        let sent = [request("PING"), broken].concat();
        pair.direct.send(&sent);
        pair.proxied.send(&sent);
        let [direct, proxied] = [pair.direct.until_closed(), pair.proxied.until_closed()];
        assert_eq!(text(&direct), text(&proxied), "{bytes} bytes");
    }
}

/// The id that the server knows the connection by which is inside MULTI.
fn id_in_multi(redis: &RedisServer) -> Option<String> {
    let list = redis.ask("CLIENT LIST TYPE normal");
    // The number of queued commands does not tell: Valkey 9 says 0 of a client whose transaction has ended.
    let is_inside =
        |line: &&str| line.split_whitespace().any(|field| field.strip_prefix("flags=").is_some_and(|flags| flags.contains('x')));
    let line = list.lines().find(is_inside)?;
    line.split_whitespace().find_map(|field| field.strip_prefix("id=")).map(str::to_owned)
}

#[test]
fn in_a_transaction_that_is_lost_large_commands_are_taken_as_small_ones_are() {
    let (redis, proxy) = Proxy::with_redis("");
    for bytes in SIZES {
        let mut wire = proxy.wire();
        assert_eq!(wire.ask("MULTI"), "+OK\r\n");
        let id = id_in_multi(&redis).expect("it has a connection");
        assert_eq!(redis.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
        eventually("it is gone", || id_in_multi(&redis).is_none());
        wire.send(&all_sized(&["SET lost V", "INCR lost"], bytes));
        assert_eq!(wire.reply(), b"+QUEUED\r\n", "{bytes} bytes");
        assert_eq!(wire.reply(), b"+QUEUED\r\n");
        assert!(wire.ask("EXEC").starts_with("-EXECABORT"));
        assert_eq!(wire.ask("EXISTS lost"), ":0\r\n");
    }
}

#[test]
fn without_a_server_or_a_lease_large_commands_are_refused_and_their_client_stays() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").upstream("leases_max = 1").start();
    let mut taken = proxy.wire();
    assert_eq!(taken.ask("MULTI"), "+OK\r\n");
    let mut wire = proxy.wire();
    for bytes in [70_000, 9_000_000] {
        wire.send(&all_sized(&["SET k V", "PING"], bytes));
        let refused = text(&wire.reply());
        assert!(refused.starts_with("-ERR respguard: "), "{refused}");
        assert_eq!(wire.reply(), b"+PONG\r\n");
    }
    drop(taken);
    redis.kill();
    for bytes in SIZES {
        wire.send(&sized("SET k V", bytes));
        let refused = text(&wire.reply());
        assert!(refused.starts_with("-ERR ") || refused.starts_with("-TIMEOUT "), "{refused}");
    }
    redis.restart();
    // A PING may go over the spare connection, past a breaker that is still open.
    eventually("it is served again", || wire.ask("SET small v") == "+OK\r\n");
    // While the breaker tries the server it lets few pass, and those that others send count too.
    eventually("large ones as well", || {
        wire.send(&sized("SET k V", 70_000));
        wire.reply() == b"+OK\r\n"
    });
}

#[test]
fn a_connection_that_is_lost_under_a_large_command_costs_the_client_that_command_alone() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    let sent = sized("SET k V", 3_000_000);
    let (first, rest) = sent.split_at(200_000);
    wire.send(first);
    let uploading = || {
        let list = redis.ask("CLIENT LIST TYPE normal");
        let mut lines = list.lines().filter(|line| line.starts_with("id=") && !line.contains("cmd=client"));
        let line = lines.find(|line| !line.contains(" qbuf=0 "))?;
        line.split_whitespace().find_map(|field| field.strip_prefix("id=")).map(str::to_owned)
    };
    eventually("a part of it is there", || uploading().is_some());
    redis.ask(&format!("CLIENT KILL ID {}", uploading().expect("it is there")));
    let told = text(&wire.reply());
    assert!(told.starts_with("-TIMEOUT respguard: outcome of SET unknown"), "{told}");
    wire.send(rest);
    assert_eq!(wire.ask("EXISTS k"), ":0\r\n");
}

#[test]
fn a_large_command_that_the_server_does_not_take_is_answered_in_time() {
    let redis = RedisServer::start(&[]);
    // What goes before the pause has this time too, on a busy machine.
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 2500\nheartbeat_timeout_ms = 60000").start();
    for bytes in SIZES.into_iter().chain([40_000_000]) {
        let mut wire = proxy.wire();
        // With one that is there already only the server is waited for.
        assert_eq!(wire.pipeline(&["WATCH k", "PING"])[1], "+PONG\r\n");
        redis.pause();
        let sent = sized("SET k V", bytes);
        let mut stream = wire.stream().try_clone().expect("a socket can be cloned");
        let sender = std::thread::spawn(move || std::io::Write::write_all(&mut stream, &sent));
        let begun = Instant::now();
        let told = text(&wire.reply());
        // A connection of its own is not to be had.
        let in_time = told.starts_with("-TIMEOUT ") || bytes > 100 && told.contains("was not sent: the server is unavailable");
        assert!(in_time, "{bytes} bytes: {told}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        redis.resume();
        sender.join().expect("the sender ends").expect("all of it is taken");
        assert_eq!(wire.ask("PING"), "+PONG\r\n", "{bytes} bytes");
    }
}

#[test]
fn a_client_that_is_slow_to_send_a_large_command_has_the_time() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 700").start();
    let mut wire = proxy.wire();
    let sent = sized("SET k V", 3_000_000);
    for piece in sent.chunks(1_000_000) {
        wire.send(piece);
        std::thread::sleep(Duration::from_millis(900));
    }
    assert_eq!(wire.reply(), b"+OK\r\n");
}

#[test]
fn before_a_cluster_large_replies_come_whole() {
    let nodes = Nodes::start(1, false);
    let proxy = Setup::before(1).cluster(&nodes.ports(), "request_timeout_ms = 20000\nstall_timeout_ms = 60000\n").start();
    let mut wire = proxy.wire();
    for key in ["{t}1", "{t}2", "{t}3"] {
        wire.send(&sized(&format!("SET {key} V"), 1_500_000));
        assert_eq!(text(&wire.reply()), "+OK\r\n");
    }
    for _ in 0..10 {
        wire.send(&crate::harness::wire::requests(&["MGET {t}1 {t}2 {t}3", "GET {t}1", "PING"]));
        let lengths: Vec<usize> = wire.replies(3).iter().map(Vec::len).collect();
        assert_eq!(lengths, [4 + 3 * 1_500_012, 1_500_012, 7]);
    }
}
