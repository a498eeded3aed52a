//! Groups of which a member fails, or is refused: what is told of it, and what their clients read.

use super::*;

#[test]
fn a_member_that_fails_is_reported_and_replies_stay_redis_own() {
    let (_redis, proxy) = Proxy::with_redis(LOGIN);
    let mut wire = proxy.wire();
    wire.ask("SET sess:ann not-a-set");
    let replies = wire.pipeline(&MEMBERS);
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    assert_eq!(replies, ["+OK\r\n", wrong, ":1\r\n", wrong]);
    assert_eq!(proxy.groups("refresh-token", "torn"), 1.0);
    assert_eq!(proxy.violated("partial_failure", "refresh-token"), 1.0);
    assert_eq!(proxy.metric("respguard_partial_failures_total", &[("where", "group")]), 1.0);
    let event = proxy.logged("partial_failure");
    for part in ["\"kind\":\"partial_failure\"", "\"rule\":\"refresh-token\"", "sadd", "\"place\":2", "WRONGTYPE", "127.0.0.1"] {
        assert!(event.contains(part), "{part} in {event}");
    }
    assert!(!event.contains("ann") && !event.contains("not-a-set"), "{event}");
}

#[test]
fn with_on_partial_fail_every_member_says_so() {
    let redis = RedisServer::start(&[]);
    let rules = LOGIN.replace("atomic = \"transaction\"", "on_partial = \"fail\"");
    let proxy = Proxy::start(&rules, &redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES, "nothing failed: nothing changes");
    wire.ask("SET sess:ann not-a-set");
    let replies = wire.pipeline(&MEMBERS);
    for reply in &replies {
        assert!(reply.starts_with("-PARTIAL "), "{reply}");
        for part in ["refresh-token", "2", "SADD", "WRONGTYPE Operation against a key"] {
            assert!(reply.contains(part), "{part} in {reply}");
        }
    }
    assert_eq!(wire.ask("GET k"), "$-1\r\n");
    assert_eq!(proxy.groups("refresh-token", "torn"), 1.0);
    assert_eq!(proxy.violated("partial_failure", "refresh-token"), 1.0);
}

#[test]
fn a_member_that_is_refused_aborts_all_and_says_why() {
    let redis = RedisServer::start(&["--user", "app on >pw ~rt:* ~other:* &* +@all"]);
    let proxy = Proxy::start(LOGIN, &redis);
    for hello in ["HELLO 2 AUTH app pw", "HELLO 3 AUTH app pw"] {
        let mut wire = proxy.wire();
        wire.ask(hello);
        let own = wire.ask("SADD sess:ann t1");
        assert!(own.starts_with("-NOPERM"), "{own}");
        let replies = wire.pipeline(&MEMBERS);
        assert!(replies[0].starts_with("-EXECABORT Transaction discarded because of previous errors."), "{replies:?}");
        for place in 1..4 {
            assert!(replies[place].starts_with("-NOPERM"), "{replies:?}");
        }
        assert_eq!(replies[1], own, "the member's own error, verbatim");
        assert_eq!(wire.ask("EXISTS rt:ann:t1"), ":0\r\n", "nothing was applied");
    }
    assert_eq!(proxy.groups("refresh-token", "aborted"), 2.0);
    assert_eq!(proxy.violated("aborted", "refresh-token"), 2.0);
}

#[test]
fn a_server_without_memory_applies_nothing_of_a_group() {
    let redis = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let proxy = Proxy::start(LOGIN, &redis);
    let mut wire = proxy.wire();
    assert_eq!(redis.ask("CONFIG SET maxmemory 1"), "+OK\r\n");
    let replies = wire.pipeline(&MEMBERS);
    assert!(replies[0].starts_with("-OOM command not allowed"), "{replies:?}");
    for reply in &replies[1..] {
        assert!(reply.starts_with("-OOM") || reply.starts_with("-EXECABORT"), "{replies:?}");
    }
    assert_eq!(redis.ask("CONFIG SET maxmemory 0"), "+OK\r\n");
    assert_eq!(wire.ask("EXISTS rt:ann:t1"), ":0\r\n");
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES, "afterwards it works");
    assert_eq!(proxy.groups("refresh-token", "aborted"), 1.0);
    assert_eq!(proxy.groups("refresh-token", "applied"), 1.0);
}

#[test]
fn a_member_of_wrong_arity_aborts_all_and_an_unknown_command_is_no_member() {
    let twin = Twin::start(BLOB);
    let mut pair = twin.pair();
    let own = pair.same_line("HSET info:1 size");
    let replies = pair.proxied.pipeline(&["SET blobs:1 x", "HSET info:1 size", "SET blobs:2 y"]);
    assert_eq!(replies[1], own, "the member's own error, verbatim");
    assert!(replies[0].starts_with("-EXECABORT ") && replies[2].starts_with("-EXECABORT "), "{replies:?}");
    assert_eq!(twin.behind.ask("EXISTS blobs:1 blobs:2"), ":0\r\n", "nothing was applied");
    pair.same(&requests(&["SET blobs:1 x", "NOSUCH info:1", "SET blobs:2 y", "GET blobs:1"]), 4);
}

#[test]
fn a_member_of_a_run_that_does_not_say_its_keys_keeps_all_of_it_from_running() {
    for atomic in ["transaction", "guarded"] {
        let (redis, proxy) = Proxy::with_redis(&format!("[[group]]\nname = \"k\"\nkeys = [\"k:*\"]\natomic = \"{atomic}\"\n"));
        let mut wire = proxy.wire();
        for malformed in [
            "SADD k:f",
            "ZUNIONSTORE k:d 01 k:z",
            "ZMPOP 01 k:z MIN",
            "LMPOP 3 k:l LEFT",
            "SINTERCARD 5 k:a",
            "XREADGROUP GROUP g c",
            "XREADGROUP GROUP g c STREAMS k:s",
        ] {
            let own = redis.ask(malformed);
            for place in 0..3 {
                let mut lines = vec!["SET k:a 1", "SET k:b 2"];
                lines.insert(place, malformed);
                let mut replies = wire.pipeline(&lines);
                assert_eq!(replies.remove(place), own, "{malformed} at {place}, {atomic}");
                assert!(replies.iter().all(|reply| reply.starts_with("-EXECABORT ")), "{malformed} at {place}: {replies:?}");
                assert_eq!(redis.ask("DBSIZE"), ":0\r\n", "{malformed} at {place}, {atomic}");
            }
        }
        assert_eq!(wire.pipeline(&["SET k:a 1", "SET k:b 2"]).concat(), "+OK\r\n+OK\r\n");
        assert_eq!(wire.pipeline(&["ZUNIONSTORE other 01 k:z", "SET k:c 2"])[1], "+OK\r\n", "it is about another key");
    }
}

#[test]
fn where_a_rule_only_observes_nothing_is_wrapped() {
    let observing = LOGIN.replace("atomic = \"transaction\"", "atomic = \"observe\"");
    let by_mode = format!("{LOGIN}mode = \"observe\"\n");
    for (top, rules) in [("workers = 2", &*observing), ("workers = 2\nmode = \"observe\"", LOGIN), ("workers = 2", &*by_mode)] {
        let redis = RedisServer::start(&[]);
        let proxy = Setup::new(&redis).top(top).rules(rules).start();
        let mut monitor = Monitor::on(&redis);
        let mut wire = proxy.wire();
        assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
        assert_eq!(monitor.seen(), bare(&MEMBERS));
        assert_eq!(proxy.groups("refresh-token", "observed"), 1.0);
        wire.ask("SET sess:ann not-a-set");
        assert!(wire.pipeline(&MEMBERS)[1].starts_with("-WRONGTYPE"));
        assert_eq!(proxy.groups("refresh-token", "torn"), 1.0);
        assert_eq!(proxy.violated("partial_failure", "refresh-token"), 1.0);
    }
}

#[test]
fn observing_leaves_the_replies_of_a_torn_group_alone() {
    let redis = RedisServer::start(&[]);
    let rules = LOGIN.replace("atomic = \"transaction\"", "on_partial = \"fail\"");
    let proxy = Setup::new(&redis).top("workers = 2\nmode = \"observe\"").rules(&rules).start();
    let mut wire = proxy.wire();
    wire.ask("SET sess:ann not-a-set");
    assert_eq!(wire.pipeline(&MEMBERS)[0], "+OK\r\n");
    assert_eq!(proxy.violated("partial_failure", "refresh-token"), 1.0);
}
