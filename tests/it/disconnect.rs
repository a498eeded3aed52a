//! What a client that leaves, or says that it will, is still given and what it leaves behind.

use std::time::Duration;

use socket2::SockRef;

use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Twin, eventually, text};

#[test]
fn a_client_that_leaves_behind_a_blocked_pop_loses_nothing_whatever_it_sent_next() {
    let (redis, proxy) = Proxy::with_redis("");
    let blocked = || redis.info("clients", "blocked_clients");
    for next in ["GET a", "SELECT 1", "HELLO 3", "SUBSCRIBE x", "MONITOR", "RESET", "QUIT", "WATCH a", "CLIENT UNBLOCK 1"] {
        let mut wire = proxy.wire();
        wire.send(&requests(&["BLPOP queue 0", next]));
        eventually("it is blocked", || blocked() == 1);
        drop(wire);
        eventually("it is not blocked any more", || blocked() == 0);
        assert_eq!(redis.ask("RPUSH queue job"), ":1\r\n", "{next}");
        assert_eq!(redis.ask("LLEN queue"), ":1\r\n", "{next}");
        redis.ask("DEL queue");
    }
}

#[test]
fn so_does_one_whose_pop_blocks_only_after_it_has_left() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    wire.send(&requests(&["WATCH a", "DEBUG SLEEP 0.5", "BLPOP queue 0", "SELECT 1"]));
    eventually("it has been read", || proxy.metric("respguard_commands_total", &[("command", "blpop")]) == 1.0);
    drop(wire);
    eventually("nobody waits for it", || proxy.metric("respguard_clients", &[]) == 0.0);
    assert_eq!(redis.ask("RPUSH queue job"), ":1\r\n");
    assert_eq!(redis.ask("LLEN queue"), ":1\r\n");
}

#[test]
fn one_that_says_that_it_will_leave_gets_what_need_not_be_waited_for() {
    let twin = Twin::start("");
    for number in 0..50 {
        twin.pair().same_line(&format!("RPUSH queue job-{number}"));
        let [direct, proxied] = twin.ends_of(b"BLPOP queue 5\r\n");
        assert!(direct.contains(&format!("job-{number}")), "{direct}");
        assert_eq!(proxied, direct);
    }
}

#[test]
fn what_blocks_ends_with_one_that_says_that_it_will_leave() {
    let (redis, proxy) = Proxy::with_redis("");
    let cases = [
        (&["BLPOP queue 0"][..], ""),
        (&["RPUSH full job", "BLPOP full 0", "BLPOP queue 0"], ":1\r\n*2\r\n$4\r\nfull\r\n$3\r\njob\r\n"),
        (&["BLPOP queue 0", "SELECT 1"], ""),
    ];
    for (lines, expected) in cases {
        let mut wire = proxy.wire();
        wire.send(&requests(lines));
        wire.finish_sending();
        assert_eq!(text(&wire.until_closed()), expected);
        eventually("nobody waits for it", || redis.info("clients", "blocked_clients") == 0);
        assert_eq!(redis.ask("RPUSH queue job"), ":1\r\n", "{lines:?}");
        assert_eq!(redis.ask("DEL queue"), ":1\r\n", "{lines:?}");
    }
}

#[test]
fn what_waits_for_another_connection_is_not_sent_for_one_whose_connection_was_reset() {
    let twin = Twin::start("");
    let lines = requests(&["DEBUG SLEEP 0.5", "SELECT 1", "SET y 1"]);
    for mut wire in [twin.direct.wire(), twin.proxy.wire()] {
        wire.send(&lines);
        // It is read, and the server sleeps.
        std::thread::sleep(Duration::from_millis(200));
        SockRef::from(&*wire.stream()).set_linger(Some(Duration::ZERO)).expect("closing is a reset");
    }
    eventually("nobody waits for it", || twin.proxy.metric("respguard_clients", &[]) == 0.0);
    let set = |server: &RedisServer| server.wire().pipeline(&["SELECT 1", "EXISTS y"]).swap_remove(1);
    assert_eq!([set(&twin.direct), set(&twin.behind)], [":1\r\n", ":0\r\n"]);
}

#[test]
fn everything_before_a_quit_is_answered() {
    let twin = Twin::start("");
    for lines in [
        &["SET a 1", "GET a", "QUIT"][..],
        &["SUBSCRIBE ch", "PING", "QUIT"],
        &["BLPOP nothing 0.1", "PING", "QUIT"],
        &["MULTI", "INCR b", "QUIT"],
        &["WATCH a", "GET a", "QUIT", "GET a"],
        &["SELECT 1", "QUIT"],
    ] {
        twin.pair().same_end(&requests(lines));
    }
}

#[test]
fn everything_before_a_protocol_error_is_answered() {
    let twin = Twin::start("");
    for lines in [&["SET a 1", "GET a"][..], &["SUBSCRIBE ch", "PING"], &["MULTI", "INCR b"], &["SELECT 1"]] {
        let mut bytes = requests(lines);
        bytes.extend_from_slice(b"*1\r\n$x\r\n");
        twin.pair().same_end(&bytes);
    }
}

#[test]
fn a_reset_in_the_same_write_comes_after_what_stands_before_it() {
    let twin = Twin::start("");
    for lines in [
        &["MULTI", "RESET", "EXEC", "PING"][..],
        &["MULTI", "INCR a", "RESET", "GET a", "PING"],
        &["WATCH a", "RESET", "PING", "PING"],
        &["BLPOP nothing 0.05", "RESET", "PING", "PING"],
        &["SUBSCRIBE ch", "RESET", "PING", "GET a"],
        &["SELECT 1", "SET b 1", "RESET", "GET b"],
    ] {
        twin.pair().same(&requests(lines), lines.len());
    }
}
