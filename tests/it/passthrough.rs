//! Without rules, what comes back through the proxy is byte for byte what Redis sends.

use std::io::{Read, Write};
use std::time::Instant;

use crate::harness::wire::{requests, words};
use crate::harness::{PATIENT, RedisServer, Setup, Twin, request, text};

/// Command lines whose replies do not depend on the time, on chance or on the connection.
const LINES: &str = include_str!("passthrough_lines.txt");

const SCRIPT: &[u8] = b"local v = redis.call('GET', KEYS[1]); return {v, ARGV[1], 3.9, {ok='FINE'}, false, {1, {2}}}";
const LIBRARY: &[u8] = b"#!lua name=lib\nredis.register_function('echo', function(keys, args) return args end)";
const LOOK: &[u8] = b"#!lua name=reading\n\
    redis.register_function{function_name='look', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}";

fn lines() -> Vec<&'static str> {
    LINES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// What cannot be written as words separated by spaces.
fn special() -> Vec<Vec<u8>> {
    vec![
        words(&[b"SET", b"script:in", b"\0\r\n\xff"]),
        words(&[b"EVAL", SCRIPT, b"1", b"script:in", b"\r\n$3\r\nabc"]),
        words(&[b"EVAL", b"return redis.error_reply('MINE is broken')", b"0"]),
        words(&[b"EVAL", b"return redis.call('INCR', KEYS[1])", b"1", b"script:in"]),
        words(&[b"EVAL", b"redis.setresp(3); return redis.call('HGETALL', KEYS[1])", b"1", b"h"]),
        words(&[b"EVAL", b"return {map={a=1}}", b"0"]),
        words(&[b"EVAL", b"redis.setresp(3); return {double=3.25}", b"0"]),
        words(&[b"EVAL", b"return )(", b"0"]),
        words(&[b"EVAL_RO", b"return redis.call('SET', KEYS[1], 1)", b"1", b"x"]),
        words(&[b"SCRIPT", b"LOAD", b"return ARGV[1]"]),
        words(&[b"EVALSHA", b"098e0f0d1448c0a81dafe820f66d460eb09263da", b"0", b"x"]),
        words(&[b"FUNCTION", b"LOAD", LIBRARY]),
        words(&[b"FUNCTION", b"LOAD", LIBRARY]),
        words(&[b"FUNCTION", b"LOAD", LOOK]),
        words(&[b"FCALL", b"echo", b"1", b"k", b"a", b"", b"\r\n"]),
        words(&[b"FCALL_RO", b"look", b"1", b"script:in"]),
        words(&[b"FCALL", b"nothing", b"0"]),
        words(&[b"FUNCTION", b"LIST", b"WITHCODE", b"LIBRARYNAME", b"lib"]),
        words(&[b"FUNCTION", b"DELETE", b"lib"]),
        words(&[b"FUNCTION", b"DELETE", b"reading"]),
        words(&[b"SET", b"", b""]),
        words(&[b"GET", b""]),
        words(&[b"ECHO", b""]),
        words(&[b"PING", b"\r\n"]),
        words(&[b"PUBLISH", b"nobody", b"x"]),
        words(&[b"", b"x"]),
        words(&[b"\xff\xfe\r\n", b"x"]),
        words(&[b"SET", b"bin\0key", &(0..=255).collect::<Vec<u8>>()]),
        words(&[b"GETRANGE", b"bin\0key", b"5", b"20"]),
        words(&[b"APPEND", b"bin\0key", b"\r\n+OK\r\n"]),
        words(&[b"GET", b"bin\0key"]),
    ]
}

#[test]
fn each_command_answers_as_redis_does_in_resp2() {
    let twin = Twin::start("");
    let mut pair = twin.pair();
    for line in lines() {
        pair.same_line(line);
    }
    for bytes in special() {
        pair.same(&bytes, 1);
    }
    assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn each_command_answers_as_redis_does_in_resp3() {
    let twin = Twin::start("");
    let mut pair = twin.pair3();
    for line in lines() {
        pair.same_line(line);
    }
    for bytes in special() {
        pair.same(&bytes, 1);
    }
    assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn all_commands_in_one_write_answer_in_order_in_both_protocols() {
    let twin = Twin::start("");
    let mut bytes = requests(&lines());
    special().iter().for_each(|request| bytes.extend_from_slice(request));
    let count = lines().len() + special().len();
    twin.pair().same(&bytes, count);
    twin.pair().same(b"FLUSHALL\r\n", 1);
    twin.pair3().same(&bytes, count);
}

#[test]
fn rules_that_do_not_match_change_nothing() {
    let rules = "[[group]]\nname = \"other\"\ncommands = [\"SET none:{a} *\", \"GET none:{a}\"]\n\
        [[group]]\nname = \"keys\"\nkeys = [\"never:*\"]\n[[ttl]]\nname = \"none\"\nkeys = [\"absent:*\"]\naction = \"flag\"\n";
    let twin = Twin::start(rules);
    let mut bytes = requests(&lines());
    special().iter().for_each(|request| bytes.extend_from_slice(request));
    twin.pair().same(&bytes, lines().len() + special().len());
    let mut pair = twin.pair3();
    for line in lines() {
        pair.same_line(line);
    }
}

#[test]
fn the_exact_pass_through_answers_as_redis_does() {
    let twin = Twin::with(&[], |setup| setup.upstream("sharing = \"never\""));
    let mut pair = twin.pair();
    for line in lines() {
        pair.same_line(line);
    }
    pair.same(&requests(&lines()), lines().len());
}

#[test]
fn inline_commands_answer_as_redis_does() {
    let twin = Twin::start("");
    let mut pair = twin.pair();
    for line in [
        "PING\r\n",
        "ping\n",
        "   PING   spaced  \r\n",
        "SET inline 'one two'\r\n",
        "GET inline\r\n",
        "SET inline \"a\\r\\n\\x41\\\"\\t\"\r\n",
        "GET inline\n",
        "SET inline ''\r\n",
        "GET inline\r\n",
        "NOSUCH thing\r\n",
        "GET\r\n",
        "HSET h f v\r\n",
        "HGETALL h\r\n",
        "ECHO \"\\xff\\x00\"\r\n",
    ] {
        pair.same(line.as_bytes(), 1);
    }
    pair.same(b"\r\n\r\nPING\r\n\r\n*0\r\n*-1\r\nECHO end\r\n", 2);
    pair.same(b"PING\r\n*1\r\n$4\r\nPING\r\nGET inline\r\n*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n", 4);
}

#[test]
fn requests_cut_at_every_byte_answer_the_same() {
    let twin = Twin::start("");
    let mut pair = twin.pair();
    let mut bytes =
        requests(&["SET k v", "LPUSH l a b c", "LRANGE l 0 -1", "NOSUCH", "GET l", "INCR n", "MULTI", "SET k w", "EXEC"]);
    bytes.extend_from_slice(b"ECHO 'in line'\r\nMGET k n\r\n");
    bytes.extend_from_slice(&words(&[b"SET", b"bin", b"\r\n$5\r\n\0"]));
    bytes.extend_from_slice(&request("GET bin"));
    for byte in &bytes {
        pair.proxied.send(&[*byte]);
    }
    pair.direct.send(&bytes);
    pair.same_replies(&bytes, 13);
    for cut in 1..bytes.len() {
        let (head, tail) = bytes.split_at(cut);
        pair.proxied.send(head);
        pair.proxied.send(tail);
        pair.direct.send(&bytes);
        pair.same_replies(&bytes, 13);
    }
}

#[test]
fn a_pipeline_of_a_thousand_answers_in_order() {
    let twin = Twin::start("");
    let bytes: Vec<u8> = (0..1000)
        .flat_map(|i| match i % 5 {
            0 => request(&format!("SET key:{i} value-{i}")),
            1 => request(&format!("GET key:{}", i - 1)),
            2 => request(&format!("LPUSH key:{} x", i - 2)),
            3 => request("INCR counter"),
            _ => request(&format!("ECHO {i}")),
        })
        .collect();
    let mut pair = twin.pair();
    pair.same(&bytes, 1000);
    twin.pair3().same(&bytes, 1000);
    let deep: Vec<u8> = bytes.repeat(20);
    pair.same(&deep, 20_000);
}

#[test]
fn many_clients_get_their_own_replies() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    std::thread::scope(|scope| {
        for client in 0..24 {
            let mut wire = proxy.wire();
            scope.spawn(move || {
                for round in 0..60 {
                    let lines: Vec<String> = (0..16).map(|i| format!("ECHO c{client}-r{round}-{i}")).collect();
                    let replies = wire.pipeline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
                    for (line, reply) in lines.iter().zip(replies) {
                        assert_eq!(reply.split("\r\n").nth(1), line.strip_prefix("ECHO "));
                    }
                }
            });
        }
    });
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    assert!(redis.info("clients", "connected_clients") < 10, "clients share connections");
}

#[test]
fn values_around_the_streaming_limit_pass_unchanged() {
    let twin = Twin::start("");
    let mut pair = twin.pair();
    for size in [65_400, 65_500, 65_535, 65_536, 65_537, 70_000, 262_144, 1_048_576] {
        let value = pattern(size as u64, size);
        let mut bytes = words(&[b"SET", b"large", &value]);
        bytes.extend_from_slice(&requests(&["STRLEN large", "GET large", "APPEND large x", "GET small"]));
        pair.same(&bytes, 5);
    }
    let value = pattern(0, 16 * 1024 * 1024);
    pair.same(&words(&[b"SET", b"large", &value]), 1);
    pair.same(&requests(&["GET large", "STRLEN large"]), 2);
}

#[test]
fn a_client_that_pauses_before_it_reads_a_reply_of_64_mb_gets_all_of_it() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 60000\nstall_timeout_ms = 60000").start();
    let mut wire = proxy.wire();
    let value = pattern(0, 64 * 1024 * 1024);
    wire.send(&words(&[b"SET", b"large", &value]));
    assert_eq!(wire.reply(), b"+OK\r\n");
    wire.send(&requests(&["GET large", "PING"]));
    // The pause itself is what is tested: long enough for the reply to fill every buffer on its way.
    std::thread::sleep(std::time::Duration::from_millis(700));
    let reply = wire.reply();
    assert!(reply.starts_with(b"$67108864\r\n") && reply[11..reply.len() - 2] == value);
    assert_eq!(wire.reply(), b"+PONG\r\n");
}

/// Takes about 10 s in a debug build: 1 GB over three sockets.
#[test]
fn a_value_of_512_mb_streams_through_in_bounded_memory() {
    // On a busy machine the client may be kept from reading for longer than it is waited for; then up to 64 MiB are kept.
    let mut grown = (0..3).map(|_| kib_grown_by_512_mb_there_and_back());
    assert!(grown.any(|grown| grown < 16 * 1024), "the proxy grew by 16 MiB or more each time");
}

fn kib_grown_by_512_mb_there_and_back() -> u64 {
    const SIZE: u64 = 512 * 1024 * 1024;
    const CHUNK: usize = 1024 * 1024;
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 20000\nstall_timeout_ms = 20000").start();
    let start = Instant::now();
    let mut wire = proxy.wire();
    let mut other = proxy.wire();
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    let before = proxy.memory_peak();
    let stream = wire.stream();
    stream.write_all(format!("*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n${SIZE}\r\n").as_bytes()).expect("sent");
    for at in (0..SIZE).step_by(CHUNK) {
        stream.write_all(&pattern(at, CHUNK)).expect("sent");
        if at == SIZE / 2 {
            assert_eq!(other.ask("SET small 1"), "+OK\r\n", "others are not held up by half a request");
        }
    }
    stream.write_all(b"\r\n").expect("sent");
    let mut ok = [0; 5];
    stream.read_exact(&mut ok).expect("a reply");
    assert_eq!(&ok, b"+OK\r\n");
    stream.write_all(&requests(&["GET huge", "PING"])).expect("sent");
    let mut header = vec![0; format!("${SIZE}\r\n").len()];
    stream.read_exact(&mut header).expect("a reply");
    assert_eq!(text(&header), format!("${SIZE}\r\n"));
    let mut chunk = vec![0; CHUNK];
    for at in (0..SIZE).step_by(CHUNK) {
        stream.read_exact(&mut chunk).expect("the value goes on");
        assert!(chunk == pattern(at, CHUNK), "the value differs at {at}");
    }
    let mut rest = [0; 9];
    stream.read_exact(&mut rest).expect("the next reply");
    assert_eq!(&rest, b"\r\n+PONG\r\n");
    let grown = (proxy.memory_peak() - before) / 1024;
    eprintln!("512 MB there and back in {:?}, grown by {grown} KiB", start.elapsed());
    assert!(grown < 80 * 1024, "the proxy grew by {grown} KiB");
    grown
}

#[test]
fn a_client_that_does_not_read_costs_bounded_memory_and_nobody_else_waits() {
    const REQUESTS: usize = 4000;
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(PATIENT).start();
    let mut slow = proxy.wire();
    let value = pattern(0, 60_000);
    slow.send(&words(&[b"SET", b"k", &value]));
    assert_eq!(slow.reply(), b"+OK\r\n");
    let mut expected = b"$60000\r\n".to_vec();
    expected.extend_from_slice(&value);
    expected.extend_from_slice(b"\r\n");
    slow.send(&request("GET k").repeat(REQUESTS));
    for _ in 0..4 {
        let mut other = proxy.wire();
        for _ in 0..50 {
            assert_eq!(other.ask("PING"), "+PONG\r\n");
        }
    }
    // It may be given up as one that does not read, and its own requests may have waited too long; until then it
    // gets what it asked for and nothing else.
    let mut whole = 0;
    while let Some(reply) = (whole < REQUESTS).then(|| slow.try_reply()).flatten() {
        assert!(
            reply == expected || reply.starts_with(b"-TIMEOUT "),
            "after {whole} replies: {}",
            text(&reply[..reply.len().min(80)])
        );
        whole += 1;
    }
    assert!(whole > 0);
    let peak = proxy.memory_peak();
    assert!(peak < 160 * 1024 * 1024, "the proxy took {} MB", peak / 1024 / 1024);
}

#[test]
fn a_client_that_reads_late_gets_every_reply() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(PATIENT).start();
    let mut slow = proxy.wire();
    let value = pattern(0, 60_000);
    slow.send(&words(&[b"SET", b"k", &value]));
    assert_eq!(slow.reply(), b"+OK\r\n");
    slow.send(&request("GET k").repeat(300));
    let mut other = proxy.wire();
    for _ in 0..100 {
        assert_eq!(other.ask("PING"), "+PONG\r\n");
    }
    for _ in 0..300 {
        let reply = slow.reply();
        assert!(reply.starts_with(b"$60000\r\n") && reply[8..60_008] == value);
    }
    assert_eq!(slow.ask("PING"), "+PONG\r\n");
}

#[test]
fn malformed_requests_get_redis_error_and_end_the_connection() {
    let twin = Twin::start("");
    for bytes in [
        &b"*x\r\n"[..],
        b"*1\r\nx\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$-5\r\n",
        b"*2147483648\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$4 \r\nPING\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n:1\r\n",
        b"GET 'unbalanced\r\n",
        b"GET \"a\"b\r\n",
        b"*2\r\n$3\r\nGET\r\n*1\r\n$1\r\na\r\n",
    ] {
        twin.pair().same_end(bytes);
        let mut behind = requests(&["SET k v", "GET k"]);
        behind.extend_from_slice(bytes);
        behind.extend_from_slice(&request("SET k never"));
        twin.pair().same_end(&behind);
        assert_eq!(twin.behind.ask("GET k"), "$1\r\nv\r\n", "nothing behind the error has run");
    }
    let endless = vec![b'x'; 70 * 1024];
    twin.pair().same_end(&endless);
    twin.pair().same_end(&[b"*".as_slice(), &vec![b'1'; 70 * 1024]].concat());
}

#[test]
fn a_client_that_has_sent_its_last_still_gets_every_reply() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    let mut wire = proxy.wire();
    wire.send(&requests(&["SET k v", "GET k", "DEBUG SLEEP 0.1", "PING"]));
    wire.finish_sending();
    assert_eq!(text(&wire.until_closed()), "+OK\r\n$1\r\nv\r\n+OK\r\n+PONG\r\n");

    let mut wire = proxy.wire();
    wire.send(&requests(&["GET k", "MULTI", "SET k w", "EXEC"]));
    wire.send(b"*2\r\n$3\r\nGET\r\n$1");
    wire.finish_sending();
    assert_eq!(text(&wire.until_closed()), "$1\r\nv\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
}

#[test]
fn quit_answers_what_came_before_it_and_closes() {
    let twin = Twin::start("");
    twin.pair().same_end(&requests(&["SET k v", "GET k", "QUIT", "SET k never"]));
    twin.pair().same_end(b"quit\r\n");
    twin.pair().same_end(&requests(&["MULTI", "SET k never", "QUIT"]));
    twin.pair3().same_end(&requests(&["GET k", "QUIT"]));
    assert_eq!(twin.behind.ask("GET k"), "$1\r\nv\r\n");
}

#[test]
fn a_server_behind_a_proxy_of_two_workers_serves_clients_that_come_and_go() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    for round in 0..200 {
        let mut wire = proxy.wire();
        wire.send(&requests(&["INCR visits", "BLPOP nothing 0.001", "MULTI", "INCR visits"]));
        assert_eq!(wire.reply(), format!(":{}\r\n", round + 1).as_bytes());
    }
    crate::harness::eventually("the proxy knows that they have left", || proxy.metric("respguard_clients", &[]) == 0.0);
    assert_eq!(redis.ask("GET visits"), "$3\r\n200\r\n");
    assert_eq!(proxy.metric("respguard_commands_total", &[("command", "blpop")]), 200.0);
}

/// Bytes that tell where they belong: `length` of them from the offset `at` on.
fn pattern(at: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut word = at / 8;
    while bytes.len() < length {
        bytes.extend_from_slice(&(word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
        word += 1;
    }
    bytes.truncate(length);
    bytes
}
