//! A client's own MULTI, EXEC and WATCH behave as on a connection of its own, and leave nothing behind.

use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Setup, Twin, eventually, request, text};

/// Upstream connections that are inside MULTI.
fn in_multi(redis: &RedisServer) -> usize {
    redis.ask("CLIENT LIST TYPE normal").lines().filter(|line| is_in_multi(line)).count()
}

/// Valkey says `multi=0` of those that have left it.
fn is_in_multi(line: &str) -> bool {
    line.split(' ').any(|field| field.strip_prefix("flags=").is_some_and(|flags| flags.contains('x')))
}

/// The id of the only upstream connection inside MULTI.
fn id_in_multi(redis: &RedisServer) -> String {
    let list = redis.ask("CLIENT LIST TYPE normal");
    let line = list.lines().find(|line| is_in_multi(line)).expect("one is in MULTI");
    line.split_whitespace().find_map(|field| field.strip_prefix("id=")).expect("an id").to_owned()
}

#[test]
fn a_transaction_in_one_write_answers_as_redis_does() {
    let twin = Twin::start("");
    for mut pair in [twin.pair(), twin.pair3()] {
        pair.same(&requests(&["MULTI", "SET k 1", "INCR k", "HSET h f v", "HGETALL h", "ZADD z 1.5 a", "ZSCORE z a", "EXEC"]), 8);
        pair.same(&requests(&["MULTI", "EXEC"]), 2);
        pair.same(&requests(&["MULTI", "LPUSH k x", "GET k", "GET nothing", "EXEC", "GET k"]), 6);
        pair.same(&requests(&["GET k", "MULTI", "INCR k", "EXEC", "MULTI", "INCR k", "DISCARD", "GET k"]), 8);
        pair.same(&requests(&["MULTI", "BLPOP none 0", "PING", "EXEC"]), 4);
    }
}

#[test]
fn a_transaction_over_several_writes_answers_as_redis_does() {
    let twin = Twin::start("");
    for mut pair in [twin.pair(), twin.pair3()] {
        for line in ["MULTI", "SET k 1", "INCR k", "HSET h f v", "HGETALL h", "EXEC", "GET k"] {
            pair.same_line(line);
        }
        pair.same(&requests(&["MULTI", "INCR k"]), 2);
        pair.same(&requests(&["INCR k", "EXEC", "GET k"]), 3);
        pair.same(&requests(&["SET k 5", "MULTI"]), 2);
        pair.same(&requests(&["GET k", "SELECT 1", "SET k other", "EXEC", "GET k", "SELECT 0", "GET k"]), 7);
    }
}

#[test]
fn a_transaction_cut_at_every_byte_answers_as_redis_does() {
    let twin = Twin::start("");
    let mut pair = twin.pair();
    let bytes = requests(&["SET a 1", "MULTI", "INCR a", "GET a", "EXEC", "GET a"]);
    for cut in 1..bytes.len() {
        pair.direct.send(&bytes);
        pair.proxied.send(&bytes[..cut]);
        pair.proxied.send(&bytes[cut..]);
        pair.same_replies(&bytes, 6);
    }
    assert_eq!(in_multi(&twin.behind), 0);
}

#[test]
fn errors_while_queueing_abort_as_redis_does() {
    let twin = Twin::start("");
    for mut pair in [twin.pair(), twin.pair3()] {
        let lines = ["MULTI", "SET k never", "NOSUCH x", "GET", "EXEC", "GET k"];
        lines.iter().for_each(|line| drop(pair.same_line(line)));
        pair.same(&requests(&lines), lines.len());
        let nested = ["MULTI", "MULTI", "WATCH k", "SET n 1", "EXEC", "EXEC", "DISCARD"];
        nested.iter().for_each(|line| drop(pair.same_line(line)));
        pair.same(&requests(&nested), nested.len());
        let wrong = ["MULTI x", "EXEC x", "DISCARD x", "WATCH", "UNWATCH x", "MULTI", "EXEC x", "EXEC"];
        wrong.iter().for_each(|line| drop(pair.same_line(line)));
        pair.same(&requests(&wrong), wrong.len());
        let discarded = ["MULTI", "SET k never", "DISCARD", "GET k", "DISCARD"];
        discarded.iter().for_each(|line| drop(pair.same_line(line)));
        pair.same(&requests(&discarded), discarded.len());
    }
    assert_eq!(in_multi(&twin.behind), 0);
}

#[test]
fn a_watched_key_that_another_client_changes_fails_the_transaction() {
    let (_redis, proxy) = Proxy::with_redis("");
    let (mut one, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(one.ask("WATCH k"), "+OK\r\n");
    assert_eq!(other.ask("SET k theirs"), "+OK\r\n");
    assert_eq!(one.pipeline(&["MULTI", "SET k mine", "EXEC"])[2], "*-1\r\n");
    assert_eq!(one.ask("GET k"), "$6\r\ntheirs\r\n");

    assert_eq!(one.pipeline(&["WATCH k", "GET k"])[1], "$6\r\ntheirs\r\n");
    assert_eq!(one.pipeline(&["MULTI", "SET k mine", "EXEC"])[2], "*1\r\n+OK\r\n", "unchanged: it applies");

    assert_eq!(one.pipeline(&["WATCH k", "UNWATCH"])[1], "+OK\r\n");
    assert_eq!(other.ask("SET k again"), "+OK\r\n");
    assert_eq!(one.pipeline(&["MULTI", "SET k mine", "EXEC"])[2], "*1\r\n+OK\r\n", "forgotten: it applies");

    let mut third = proxy.wire();
    assert!(third.ask("HELLO 3").starts_with('%'));
    assert_eq!(third.ask("WATCH k"), "+OK\r\n");
    assert_eq!(one.ask("SET k first"), "+OK\r\n");
    assert_eq!(third.pipeline(&["MULTI", "SET k mine", "EXEC"])[2], "_\r\n");
}

#[test]
fn what_a_client_wrote_just_before_its_watch_does_not_disturb_the_watch() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    for round in 0..200 {
        let replies = wire.pipeline(&["INCR k", "WATCH k", "GET k", "MULTI", "INCR k", "EXEC"]);
        assert_eq!(replies[5], format!("*1\r\n:{}\r\n", 2 * round + 2), "{replies:?}");
    }
}

#[test]
fn concurrent_check_and_set_loses_no_update() {
    let (redis, proxy) = Proxy::with_redis("");
    let (clients, rounds) = (6, 30);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            let mut wire = proxy.wire();
            scope.spawn(move || {
                let mut done = 0;
                while done < rounds {
                    let seen = wire.pipeline(&["WATCH n", "GET n"]).remove(1);
                    let next = seen.split("\r\n").nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) + 1;
                    let replies = wire.pipeline(&["MULTI", &format!("SET n {next}"), "EXEC"]);
                    done += u64::from(replies[2] != "*-1\r\n");
                }
            });
        }
    });
    assert_eq!(redis.ask("GET n"), "$3\r\n180\r\n");
}

#[test]
fn a_client_gone_in_mid_transaction_leaves_nothing() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut multi = proxy.wire();
    assert_eq!(multi.pipeline(&["MULTI", "SET k never"]), ["+OK\r\n", "+QUEUED\r\n"]);
    assert_eq!(in_multi(&redis), 1);
    drop(multi);
    eventually("no connection is left in MULTI", || in_multi(&redis) == 0);

    let mut watch = proxy.wire();
    assert_eq!(watch.ask("WATCH k"), "+OK\r\n");
    drop(watch);
    eventually("the client has left", || proxy.metric("respguard_clients", &[]) == 0.0);
    for _ in 0..8 {
        let mut next = proxy.wire();
        assert_eq!(next.ask("SET k v"), "+OK\r\n");
        assert_eq!(next.ask("MULTI"), "+OK\r\n");
        assert_eq!(redis.ask("SET k outside"), "+OK\r\n");
        assert_eq!(next.pipeline(&["GET k", "EXEC"])[1], "*1\r\n$7\r\noutside\r\n", "no watch of the former client");
    }
    let mut cut = proxy.wire();
    cut.send(&requests(&["MULTI", "SET k never"]));
    cut.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk");
    drop(cut);
    eventually("no connection is left in MULTI", || in_multi(&redis) == 0);
    assert_eq!(redis.ask("GET k"), "$7\r\noutside\r\n");
}

#[test]
fn other_clients_are_never_inside_somebody_elses_transaction() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut open = proxy.wire();
    assert_eq!(open.pipeline(&["SET k 1", "MULTI", "INCR k"]), ["+OK\r\n", "+OK\r\n", "+QUEUED\r\n"]);
    for _ in 0..10 {
        assert_eq!(proxy.wire().ask("GET k"), "$1\r\n1\r\n");
    }
    assert_eq!(open.ask("EXEC"), "*1\r\n:2\r\n");
}

#[test]
fn a_transaction_whose_connection_is_lost_aborts_and_the_client_lives() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["MULTI", "SET k never"])[1], "+QUEUED\r\n");
    assert_eq!(redis.ask(&format!("CLIENT KILL ID {}", id_in_multi(&redis))), ":1\r\n");
    eventually("the connection is gone", || in_multi(&redis) == 0);
    assert_eq!(wire.ask("SET k never"), "+QUEUED\r\n");
    assert!(wire.ask("EXEC").starts_with("-EXECABORT "));
    assert_eq!(wire.ask("GET k"), "$-1\r\n", "the client goes on, nothing was applied");
    assert_eq!(wire.pipeline(&["MULTI", "SET k now", "EXEC"])[2], "*1\r\n+OK\r\n");
}

#[test]
fn a_watch_whose_connection_is_lost_aborts_and_the_client_lives() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("WATCH k"), "+OK\r\n");
    kill_watching(&redis, &proxy);
    assert_eq!(wire.ask("GET k"), "$-1\r\n", "commands outside of MULTI go on");
    let replies = wire.pipeline(&["MULTI", "SET k never", "EXEC"]);
    assert!(replies[2].starts_with("-EXECABORT "), "{replies:?}");
    assert_eq!(wire.pipeline(&["GET k", "MULTI", "SET k now", "EXEC"])[3], "*1\r\n+OK\r\n");
}

#[test]
fn a_client_whose_watch_was_lost_changes_its_db_and_nobody_elses() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(other.ask("SET where first"), "+OK\r\n");
    assert_eq!(wire.ask("WATCH k"), "+OK\r\n");
    kill_watching(&redis, &proxy);
    assert_eq!(wire.pipeline(&["SELECT 5", "GET where"]), ["+OK\r\n", "$-1\r\n"]);
    for wire in [&mut other, &mut proxy.wire()] {
        assert_eq!(wire.ask("GET where"), "$5\r\nfirst\r\n");
    }
}

/// Ends the connection on which a client watches a key, and waits until the proxy has seen it.
fn kill_watching(redis: &RedisServer, proxy: &Proxy) {
    let list = redis.ask("CLIENT LIST TYPE normal");
    let line = list.lines().find(|line| line.contains("cmd=watch")).expect("the watching connection");
    let id = line.split_whitespace().find_map(|field| field.strip_prefix("id=")).expect("an id");
    assert_eq!(redis.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    eventually("the connection is gone", || !redis.ask("CLIENT LIST TYPE normal").contains("cmd=watch"));
    eventually("the proxy knows", || proxy.metric("respguard_upstream_connections", &[("state", "leased")]) == 0.0);
}

#[test]
fn a_transaction_of_which_a_member_failed_is_counted_by_place_and_never_by_value() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    wire.ask("SET secret-key secret-value");
    let replies = wire.pipeline(&["MULTI", "SET fine 1", "LPUSH secret-key x", "EXEC"]);
    assert!(replies[3].starts_with("*2\r\n+OK\r\n-WRONGTYPE "), "{replies:?}");
    assert_eq!(proxy.violated("partial_failure", ""), 1.0);
    assert_eq!(proxy.metric("respguard_partial_failures_total", &[("where", "transaction")]), 1.0);
    let event = proxy.logged("partial_failure");
    assert!(event.contains("\"place\":2") && event.contains("lpush") && event.contains("WRONGTYPE"), "{event}");
    assert!(!proxy.log().contains("secret"), "{}", proxy.log());

    wire.pipeline(&["MULTI", "SET fine 1", "EXEC"]);
    wire.pipeline(&["MULTI", "LPUSH fine 1", "EXEC"]);
    assert_eq!(proxy.violated("partial_failure", ""), 1.0, "all or nothing is no partial failure");
    let mut over_several = proxy.wire();
    for line in ["MULTI", "SET fine 1", "LPUSH fine x", "EXEC"] {
        over_several.ask(line);
    }
    assert_eq!(proxy.violated("partial_failure", ""), 2.0);
}

#[test]
fn a_plain_pipeline_that_failed_in_part_is_a_violation_and_one_that_failed_whole_is_none() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    wire.send(&requests(&["SET k v", "LPUSH k x", "SET k w"]));
    assert!(text(&wire.replies(3)[1]).starts_with("-WRONGTYPE"));
    assert_eq!(proxy.violated("partial_failure", ""), 1.0);
    assert_eq!(proxy.metric("respguard_partial_failures_total", &[("where", "pipeline")]), 1.0);
    wire.pipeline(&["LPUSH k x", "LPUSH k y"]);
    wire.pipeline(&["SET k x", "GET k"]);
    wire.send(&request("LPUSH k x"));
    wire.reply();
    let script = "EVALSHA 0000000000000000000000000000000000000000 0";
    assert!(wire.pipeline(&["SET k x", script])[1].starts_with("-NOSCRIPT"));
    assert_eq!(proxy.violated("partial_failure", ""), 1.0);
}

#[test]
fn an_exec_with_conditions_ends_the_transaction_as_the_server_says() {
    let (redis, proxy) = Proxy::with_redis("");
    let (mut wire, mut straight) = (proxy.wire(), redis.wire());
    for lines in [
        &["MULTI", "SET a 1", "EXEC IFEQ a 1", "EXEC", "PING"][..],
        &["MULTI", "SET a 1", "EXEC NX marker", "MULTI", "SET a 2", "EXEC", "GET a"],
        &["WATCH a", "MULTI", "GET a", "EXEC IFNE a 1", "GET a"],
        &["EXEC NX marker", "PING"],
    ] {
        for line in lines {
            assert_eq!(wire.ask(line), straight.ask(line), "{line} of {lines:?}");
        }
        assert_eq!(wire.pipeline(lines), straight.pipeline(lines), "{lines:?}");
    }
    eventually("the lease went back", || proxy.metric("respguard_upstream_connections", &[("state", "leased")]) == 0.0);
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}
