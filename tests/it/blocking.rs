//! Blocking commands block the client that sent them and nobody else.

use std::time::{Duration, Instant};

use crate::harness::wire::{requests, words};
use crate::harness::{Proxy, RedisServer, Setup, Twin, Wire, eventually, request};

fn blocked(redis: &RedisServer) -> u64 {
    redis.info("clients", "blocked_clients")
}

fn client_id(wire: &mut Wire) -> String {
    wire.ask("CLIENT ID").trim_start_matches(':').trim().to_owned()
}

#[test]
fn twenty_blocked_clients_delay_nobody() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut waiting: Vec<Wire> = (0..20).map(|_| proxy.wire()).collect();
    for (place, wire) in waiting.iter_mut().enumerate() {
        wire.send_line(&format!("BLPOP queue:{place} 0"));
    }
    eventually("all are blocked", || blocked(&redis) == 20);
    let mut others: Vec<Wire> = (0..8).map(|_| proxy.wire()).collect();
    let start = Instant::now();
    for wire in &mut others {
        assert_eq!(wire.pipeline(&["PING", "SET k v", "GET k"])[2], "$1\r\nv\r\n");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "they wait for nobody: {:?}", start.elapsed());
    for (place, wire) in waiting.iter_mut().enumerate() {
        assert_eq!(others[place % 8].ask(&format!("RPUSH queue:{place} job-{place}")), ":1\r\n");
        let expected = format!("job-{place}\r\n");
        assert!(String::from_utf8_lossy(&wire.reply()).ends_with(&expected));
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
    }
    eventually("nobody is blocked", || blocked(&redis) == 0);
}

#[test]
fn a_timeout_answers_the_exact_null() {
    let twin = Twin::start("");
    for mut pair in [twin.pair(), twin.pair3()] {
        for line in [
            "BLPOP q 0.05",
            "BRPOP q r 0.05",
            "BLMOVE q r LEFT RIGHT 0.05",
            "BRPOPLPUSH q r 0.05",
            "BLMPOP 0.05 2 q r LEFT",
            "BZPOPMIN z 0.05",
            "BZPOPMAX z 0.05",
            "BZMPOP 0.05 1 z MIN",
            "XREAD BLOCK 50 STREAMS x $",
            "BLPOP q",
            "BLPOP q x",
            "BLPOP q -1",
        ] {
            pair.same_line(line);
        }
    }
}

#[test]
fn a_timeout_longer_than_the_request_deadline_is_no_timeout_of_ours() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 600\nstall_timeout_ms = 700").start();
    let mut wire = proxy.wire();
    let start = Instant::now();
    assert_eq!(wire.ask("BLPOP q 1"), "*-1\r\n");
    assert!(start.elapsed() >= Duration::from_millis(950));
    wire.send_line("BLPOP q 0");
    assert!(wire.is_silent_for(Duration::from_millis(1200)), "0 blocks for ever");
    redis.ask("LPUSH q job");
    assert_eq!(wire.reply(), b"*2\r\n$1\r\nq\r\n$3\r\njob\r\n");
    assert_eq!(proxy.metric("respguard_timeouts_total", &[]), 0.0);
}

#[test]
fn a_client_that_leaves_while_blocked_takes_no_element_with_it() {
    let (redis, proxy) = Proxy::with_redis("");
    for round in 0..10 {
        let mut wire = proxy.wire();
        wire.send_line(&format!("BLPOP q:{round} 0"));
        eventually("it is blocked", || blocked(&redis) == 1);
        drop(wire);
        eventually("it is not blocked any more", || blocked(&redis) == 0);
        assert_eq!(redis.ask(&format!("RPUSH q:{round} job")), ":1\r\n");
        assert_eq!(proxy.wire().ask(&format!("LLEN q:{round}")), ":1\r\n");
    }
}

#[test]
fn what_was_pushed_before_the_pop_in_the_same_write_is_popped() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    for round in 0..100 {
        let replies = wire.pipeline(&[&format!("LPUSH q job-{round}"), "BLPOP q 5", "GET k", "INCR n"]);
        assert_eq!(replies[0], ":1\r\n");
        assert!(replies[1].ends_with(&format!("job-{round}\r\n")));
        assert_eq!(replies[2..], ["$-1\r\n".to_owned(), format!(":{}\r\n", round + 1)]);
    }
}

#[test]
fn commands_behind_a_blocked_pop_wait_for_it() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    wire.send(&requests(&["SET k before", "BLPOP q 0", "GET k", "SET k after"]));
    assert_eq!(wire.reply(), b"+OK\r\n");
    eventually("it is blocked", || blocked(&redis) == 1);
    assert_eq!(redis.ask("GET k"), "$6\r\nbefore\r\n", "what is behind has not run");
    redis.ask("SET k meanwhile");
    redis.ask("LPUSH q job");
    assert_eq!(wire.reply(), b"*2\r\n$1\r\nq\r\n$3\r\njob\r\n");
    assert_eq!(wire.reply(), b"$9\r\nmeanwhile\r\n");
    assert_eq!(wire.reply(), b"+OK\r\n");
    assert_eq!(redis.ask("GET k"), "$5\r\nafter\r\n");
}

#[test]
fn a_blocked_read_of_a_stream_sees_what_is_added_after_the_call() {
    let (redis, proxy) = Proxy::with_redis("");
    let (mut reader, mut writer) = (proxy.wire(), proxy.wire());
    reader.send_line("XREAD BLOCK 0 STREAMS events $");
    eventually("it is blocked", || blocked(&redis) == 1);
    assert_eq!(writer.ask("XADD events 5-1 f v"), "$3\r\n5-1\r\n");
    let entry = "*1\r\n*2\r\n$6\r\nevents\r\n*1\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";
    assert_eq!(reader.reply(), entry.as_bytes());
    assert_eq!(reader.ask("XREAD STREAMS events 0"), entry, "without BLOCK it does not block");
    assert_eq!(writer.ask("XGROUP CREATE events g $"), "+OK\r\n");
    reader.send_line("XREADGROUP GROUP g me BLOCK 0 STREAMS events >");
    eventually("it is blocked", || blocked(&redis) == 1);
    writer.ask("XADD events 5-2 f v");
    assert!(String::from_utf8_lossy(&reader.reply()).contains("5-2"));
}

#[test]
fn client_unblock_reaches_a_blocked_client_of_the_proxy() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut others: Vec<Wire> = (0..4).map(|_| proxy.wire()).collect();
    for (place, other) in others.iter_mut().enumerate() {
        let mut wire = proxy.wire();
        let id = client_id(&mut wire);
        assert_eq!(other.ask(&format!("CLIENT UNBLOCK {id}")), ":0\r\n", "it is not blocked");
        wire.send_line("BLPOP q 0");
        eventually("it is blocked", || blocked(&redis) == 1);
        if place % 2 == 0 {
            assert_eq!(other.ask(&format!("CLIENT UNBLOCK {id}")), ":1\r\n");
            assert_eq!(wire.reply(), b"*-1\r\n");
        } else {
            assert_eq!(other.ask(&format!("CLIENT UNBLOCK {id} ERROR")), ":1\r\n");
            assert_eq!(wire.reply(), b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
        }
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
    }
    assert_eq!(others[0].ask("CLIENT UNBLOCK 987654321"), ":0\r\n");
}

#[test]
fn wait_answers_for_the_clients_own_writes() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["SET k v", "WAIT 0 100", "GET k"])[1..], [":0\r\n", "$1\r\nv\r\n"]);
    let start = Instant::now();
    assert_eq!(wire.pipeline(&["SET k v", "WAIT 1 200", "GET k"])[1..], [":0\r\n", "$1\r\nv\r\n"]);
    assert!(start.elapsed() >= Duration::from_millis(190), "there is no replica to wait for");
    let mut other = proxy.wire();
    wire.send_line("WAIT 1 10000");
    let start = Instant::now();
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_client_that_leaves_behind_a_heap_of_requests_takes_nothing_with_it() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    // More than the proxy takes, but not more than the sockets hold: a client that cannot even send its end is not known
    // to have left.
    for behind in [request("PING").repeat(22_000), words(&[b"SET", b"k", &[b'x'; 100_000]]).repeat(3)] {
        let mut wire = proxy.wire();
        wire.send_line("BLPOP l 0");
        eventually("it is blocked", || blocked(&redis) == 1);
        let mut stream = wire.stream().try_clone().expect("a socket can be cloned");
        std::io::Write::write_all(&mut stream, &behind).expect("sent");
        drop((wire, stream));
        eventually("nobody is blocked", || blocked(&redis) == 0);
        assert_eq!(redis.ask("RPUSH l element"), ":1\r\n");
        assert_eq!(redis.ask("LPOP l"), "$7\r\nelement\r\n");
    }
}

#[test]
fn a_client_that_says_that_it_sends_no_more_takes_no_element_with_it() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").start();
    redis.ask("XGROUP CREATE x g $ MKSTREAM");
    let lines = [
        "BLPOP l 0",
        "BLPOP l 30",
        "BRPOP l 0",
        "BLMOVE l m LEFT LEFT 0",
        "BRPOPLPUSH l m 30",
        "BLMPOP 0 1 l LEFT",
        "BZPOPMIN z 0",
        "BZPOPMAX z 3",
        "BZMPOP 0 1 z MIN",
        "XREADGROUP GROUP g me BLOCK 0 STREAMS x >",
        "XREADGROUP GROUP g me BLOCK 30000 STREAMS x >",
    ];
    for line in lines {
        for before in [&[][..], &["CLIENT NO-EVICT ON"], &["HELLO 3"], &["SELECT 0", "WATCH k"]] {
            for at_once in [true, false] {
                let mut wire = proxy.wire();
                before.iter().for_each(|line| drop(wire.ask(line)));
                wire.send_line(line);
                if !at_once {
                    eventually("it is blocked", || blocked(&redis) == 1);
                }
                wire.finish_sending();
                assert_eq!(wire.until_closed(), b"", "{line} {before:?} {at_once}");
                eventually("nobody is blocked", || blocked(&redis) == 0);
                assert_eq!(redis.ask("RPUSH l e"), ":1\r\n");
                assert_eq!(redis.ask("ZADD z 1 e"), ":1\r\n");
                redis.ask("XADD x * f v");
                std::thread::sleep(Duration::from_millis(20));
                assert_eq!(redis.ask("EXISTS l z"), ":2\r\n", "{line} {before:?} {at_once}");
                assert!(redis.ask("XPENDING x g").starts_with("*4\r\n:0\r\n"), "{line} {before:?} {at_once}");
                redis.ask("DEL l z m");
                redis.ask("XGROUP SETID x g $");
            }
        }
    }
}

#[test]
fn a_client_that_says_that_it_sends_no_more_waits_for_nobody() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    for line in ["WAIT 1 0", "WAIT 1 20000", "BLPOP l 20"] {
        let mut wire = proxy.wire();
        wire.send_line(line);
        eventually("it is blocked", || blocked(&redis) == 1);
        wire.finish_sending();
        assert_eq!(wire.until_closed(), b"", "{line}");
        eventually("nobody is blocked", || blocked(&redis) == 0);
    }
    // What is there is given to who has only said that he sends no more.
    redis.ask("RPUSH l e");
    for _ in 0..20 {
        let mut wire = redis.wire();
        wire.send_line("RPOPLPUSH l l");
        wire.finish_sending();
        assert_eq!(wire.until_closed(), b"$1\r\ne\r\n");
    }
}
