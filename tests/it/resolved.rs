//! Groups with a marker: what a lost connection leaves unknown is found out, and no group runs twice.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::wire::requests;
use crate::harness::{Chaos, Proxy, RedisServer, Setup, Way, Wire, eventually, text};

const TIMES: &str = "request_timeout_ms = 4000\nqueue_timeout_ms = 3000\nstall_timeout_ms = 30000\nretries_per_second = 100000";
const COMMITTED: &str = "-COMMITTED group count was applied, its replies were lost\r\n";
const MEMBERS: [&str; 3] = ["INCR n:{ann}", "SADD s:{ann} tag", "GET n:{ann}"];

fn rules(atomic: &str) -> String {
    let commands = r#"["INCR n:{{{user}}}", "SADD s:{{{user}}} *", { match = "GET n:{{{user}}}", optional = true }]"#;
    let group = format!("[[group]]\nname = \"count\"\natomic = \"{atomic}\"\nresolve = true\ncommands = {commands}\n");
    group + "[breaker]\nenabled = false\n"
}

struct Bench {
    redis: RedisServer,
    chaos: Chaos,
    proxy: Proxy,
}

/// One worker, so that one connection carries all clients.
fn bench(atomic: &str, upstream: &str) -> Bench {
    let redis = RedisServer::start(&[]);
    let chaos = Chaos::before(redis.port());
    let setup = Setup::new(&redis).through(chaos.port()).top("workers = 1").upstream(upstream).rules(&rules(atomic));
    Bench { proxy: setup.start(), redis, chaos }
}

fn count(redis: &RedisServer) -> String {
    redis.ask("GET n:{ann}")
}

fn bulk(number: usize) -> String {
    format!("${}\r\n{number}\r\n", number.to_string().len())
}

#[test]
fn a_group_whose_answer_is_cut_off_is_told_to_have_been_applied() {
    for atomic in ["transaction", "guarded"] {
        let Bench { redis, chaos, proxy } = bench(atomic, TIMES);
        let mut wire = proxy.wire();
        assert_eq!(wire.pipeline(&MEMBERS).concat(), ":1\r\n:1\r\n$1\r\n1\r\n");
        let mut committed = 0;
        for (round, bytes) in (2..).zip((0..90).step_by(3)) {
            chaos.down(Way::Reset(bytes));
            // What stands behind the group in the same write is not sent before the group is settled.
            let replies = wire.pipeline(&["INCR n:{ann}", "SADD s:{ann} tag", "GET n:{ann}", "ECHO behind"]);
            if replies[0] == COMMITTED {
                assert_eq!(replies[3], "$6\r\nbehind\r\n");
                committed += 1;
                assert!(replies[..3].iter().all(|reply| reply == COMMITTED), "{replies:?}");
            } else {
                // All of the answer had come, or nothing of the group had gone before the cut.
                assert_eq!(replies[..3], [format!(":{round}\r\n"), ":0\r\n".to_owned(), bulk(round)], "cut behind {bytes}");
            }
            assert_eq!(count(&redis), bulk(round), "it ran once, cut behind {bytes} bytes");
            chaos.down(Way::Pass);
        }
        assert!(committed >= 15, "{committed}");
        assert_eq!(proxy.groups("count", "committed"), f64::from(committed));
        assert_eq!(proxy.metric("respguard_resolutions_total", &[("outcome", "committed")]), f64::from(committed));
        assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "unknown_outcome")]), 0.0);
        assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
        assert!(proxy.metric("respguard_upstream_kills_total", &[]) >= f64::from(committed));
    }
}

#[test]
fn a_group_that_did_not_arrive_whole_is_sent_again_and_its_client_never_notices() {
    for atomic in ["transaction", "guarded"] {
        let Bench { redis, chaos, proxy } = bench(atomic, TIMES);
        let mut wire = proxy.wire();
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
        let mut round = 0;
        for bytes in (0..1200).step_by(25) {
            round += 1;
            // Each connection is asked once whether it can carry guarded groups.
            assert_eq!(wire.pipeline(&["INCR n:{bob}", "SADD s:{bob} tag"]).concat().matches(':').count(), 2);
            chaos.up(Way::Reset(bytes));
            let replies = wire.pipeline(&MEMBERS);
            let added = if round == 1 { ":1\r\n" } else { ":0\r\n" };
            if replies[0] == COMMITTED {
                // What came behind the group was cut, or its answer with it.
                assert!(bytes > 200 && replies.iter().all(|reply| reply == COMMITTED), "{bytes}: {replies:?}");
            } else {
                assert_eq!(replies, [format!(":{round}\r\n"), added.to_owned(), bulk(round)], "cut behind {bytes} bytes");
            }
            assert_eq!(count(&redis), bulk(round), "it ran once, cut behind {bytes} bytes");
            chaos.up(Way::Pass);
        }
        assert!(proxy.metric("respguard_retries_total", &[("kind", "group")]) >= 8.0);
        assert_eq!(proxy.metric("respguard_violations_total", &[]), 0.0);
    }
}

#[test]
fn groups_of_several_clients_are_settled_each_for_itself() {
    let Bench { redis, chaos, proxy } = bench("transaction", TIMES);
    let mut wires: Vec<Wire> = (0..8).map(|_| proxy.wire()).collect();
    wires.iter_mut().for_each(|wire| assert_eq!(wire.ask("PING"), "+PONG\r\n"));
    for bytes in [0, 40, 150, 300, 450, 600] {
        chaos.down(Way::Reset(bytes));
        wires.iter_mut().for_each(|wire| wire.send(&requests(&MEMBERS)));
        for wire in &mut wires {
            let replies: Vec<String> = wire.replies(3).iter().map(|reply| text(reply)).collect();
            assert!(replies[0] == COMMITTED || replies[0].starts_with(':'), "{replies:?}");
        }
        chaos.down(Way::Pass);
    }
    assert_eq!(count(&redis), bulk(48));
}

#[test]
fn a_client_that_has_gone_leaves_a_counted_outcome() {
    let Bench { redis, chaos, proxy } = bench("transaction", TIMES);
    let mut other = proxy.wire();
    assert_eq!(other.ask("PING"), "+PONG\r\n", "what is held is the connection that is there");
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).expect("a listener");
    // With its end it is reset.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("set");
    chaos.down(Way::Hold);
    stream.write_all(&requests(&MEMBERS)).expect("written");
    eventually("the group has run", || count(&redis) == bulk(1));
    drop(stream);
    eventually("the client has left", || proxy.metric("respguard_clients", &[]) == 1.0);
    chaos.reset();
    eventually("its group is counted", || proxy.groups("count", "unknown") == 1.0);
    assert_eq!(proxy.metric("respguard_resolutions_total", &[("outcome", "unknown")]), 1.0);
    assert_eq!(other.ask("GET n:{ann}"), bulk(1), "the connection has come back");
}

#[test]
fn the_marker_lies_in_the_groups_slot_and_goes_by_itself() {
    let Bench { redis, proxy, chaos: _chaos } = bench("transaction", TIMES);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&MEMBERS).concat(), ":1\r\n:1\r\n$1\r\n1\r\n");
    let keys = redis.ask("KEYS respguard:guard:*");
    let marker = keys.lines().nth(2).expect("one key").trim().to_owned();
    assert!(marker.starts_with("respguard:guard:{ann}:"), "{marker}");
    let ttl: i64 = redis.ask(&format!("PTTL {marker}")).trim().trim_start_matches(':').parse().expect("a number");
    assert!((4_000..=34_000).contains(&ttl), "{ttl}");
}

#[test]
fn without_a_server_in_time_the_outcome_stays_unknown() {
    let upstream = "request_timeout_ms = 500\nqueue_timeout_ms = 400\nstall_timeout_ms = 30000";
    let Bench { redis: _redis, chaos, proxy } = bench("transaction", upstream);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    chaos.refuse(true);
    chaos.down(Way::Reset(0));
    let replies = wire.pipeline(&MEMBERS);
    assert!(replies.iter().all(|reply| reply.starts_with("-TIMEOUT respguard: outcome of group count unknown: ")), "{replies:?}");
    assert_eq!(proxy.metric("respguard_resolutions_total", &[("outcome", "unknown")]), 1.0);
    assert_eq!(proxy.groups("count", "unknown"), 1.0);
    chaos.refuse(false);
    eventually("it is back", || proxy.wire().ask("PING") == "+PONG\r\n");
    assert_eq!(wire.ask("ECHO on"), "$2\r\non\r\n");
}

/// A user who may do everything but this.
fn user(bench: &Bench, rights: &str) -> Wire {
    assert_eq!(bench.redis.ask(&format!("ACL SETUSER app on >pw ~* &* +@all {rights}")), "+OK\r\n");
    let mut wire = bench.proxy.wire();
    assert_eq!(wire.ask("AUTH app pw"), "+OK\r\n");
    wire
}

#[test]
fn who_may_not_find_out_is_told_so() {
    for (rights, command) in [("-client|kill", "client|kill"), ("-exists", "exists")] {
        let bench = bench("transaction", TIMES);
        // The user of all: a named user whose only connection is lost, while those of others live, is closed instead.
        assert_eq!(bench.redis.ask(&format!("ACL SETUSER default {rights}")), "+OK\r\n");
        let mut wire = bench.proxy.wire();
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
        // So much that the group has gone before it comes into force.
        bench.chaos.up(Way::Reset(60));
        let replies = wire.pipeline(&MEMBERS);
        let unknown = "-TIMEOUT respguard: outcome of group count unknown: the connection to the server was lost before the \
                       reply, and whether it was applied may not be asked: NOPERM";
        assert!(replies.iter().all(|reply| reply.starts_with(unknown) && reply.contains(command)), "{replies:?}");
        assert_eq!(count(&bench.redis), "$-1\r\n", "it is not sent again");
        assert_eq!(bench.proxy.metric("respguard_resolutions_total", &[("outcome", "denied")]), 1.0);
    }
}

#[test]
fn who_may_not_set_the_marker_has_no_such_groups() {
    let bench = bench("transaction", TIMES);
    let mut wire = user(&bench, "resetkeys ~n:* ~s:*");
    let replies = wire.pipeline(&MEMBERS);
    let refused = "-EXECABORT Transaction discarded because of previous errors. respguard: group count was not applied: a command \
                   that respguard adds was refused: NOPERM";
    assert!(replies.iter().all(|reply| reply.starts_with(refused)), "{replies:?}");
    assert_eq!(count(&bench.redis), "$-1\r\n");
    assert_eq!(bench.proxy.groups("count", "aborted"), 1.0);
}

#[test]
fn what_the_budget_does_not_allow_is_not_sent_again_and_told_not_to_have_been_applied() {
    let upstream = "request_timeout_ms = 4000\nretry_share = 0.001\nretries_per_second = 0";
    let Bench { redis, chaos, proxy } = bench("transaction", upstream);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    chaos.up(Way::Reset(60));
    let replies = wire.pipeline(&MEMBERS);
    let aborted = "-EXECABORT Transaction discarded because of previous errors. respguard: group count was not applied: the \
                   connection to the server was lost before the reply, and it is not sent again: too many requests";
    assert!(replies.iter().all(|reply| reply.starts_with(aborted)), "{replies:?}");
    assert_eq!(count(&redis), "$-1\r\n");
    assert_eq!(proxy.metric("respguard_retries_refused_total", &[("kind", "group")]), 1.0);
    assert_eq!(proxy.metric("respguard_resolutions_total", &[("outcome", "aborted")]), 1.0);
}

#[test]
fn behind_a_command_that_blocks_the_group_waits_and_is_settled_all_the_same() {
    let Bench { redis, chaos, proxy } = bench("transaction", TIMES);
    let mut wire = proxy.wire();
    let mut pipeline = vec!["BLPOP nothing 0.2"];
    pipeline.extend(MEMBERS);
    wire.send(&requests(&pipeline));
    assert!(wire.is_silent_for(Duration::from_millis(50)));
    let replies: Vec<String> = wire.replies(4).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies.concat(), "*-1\r\n:1\r\n:1\r\n$1\r\n1\r\n");
    chaos.down(Way::Reset(0));
    assert_eq!(wire.pipeline(&MEMBERS), [COMMITTED; 3]);
    assert_eq!(count(&redis), bulk(2));
}

#[test]
fn members_that_empty_or_exchange_dbs_leave_the_marker_where_it_is_looked_for() {
    let group = |name: &str, commands: &str| {
        format!("[[group]]\nname = \"{name}\"\natomic = \"transaction\"\nresolve = true\ncommands = [{commands}]\n")
    };
    let rules = group("swap", r#""SWAPDB 0 1", "INCR runs""#) + &group("empty", r#""FLUSHALL", "INCR again""#);
    let redis = RedisServer::start(&[]);
    let chaos = Chaos::before(redis.port());
    let rules = rules + "[breaker]\nenabled = false\n";
    let proxy = Setup::new(&redis).through(chaos.port()).top("workers = 1").upstream(TIMES).rules(&rules).start();
    assert_eq!(redis.ask("SET side zero"), "+OK\r\n");
    let mut wire = proxy.wire();
    for (name, members) in [("swap", ["SWAPDB 0 1", "INCR runs"]), ("empty", ["FLUSHALL", "INCR again"])] {
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
        chaos.down(Way::Reset(0));
        let committed = format!("-COMMITTED group {name} was applied, its replies were lost\r\n");
        assert_eq!(wire.pipeline(&members), [committed.clone(), committed]);
        if name == "swap" {
            assert_eq!(redis.ask("EXISTS side"), ":0\r\n", "it lies in the other db");
            assert_eq!(redis.ask("GET runs"), "$1\r\n1\r\n");
        }
    }
    assert_eq!(proxy.metric("respguard_retries_total", &[("kind", "group")]), 0.0);
}

#[test]
fn a_refused_marker_is_not_taken_for_a_refused_ttl() {
    let fix = "[[ttl]]\nname = \"counters\"\nkeys = [\"n:*\"]\naction = \"fix\"\ndefault = \"60s\"\n";
    let redis = RedisServer::start(&[]);
    let chaos = Chaos::before(redis.port());
    let setup = Setup::new(&redis).through(chaos.port()).top("workers = 1");
    let bench = Bench { proxy: setup.rules(&(rules("transaction") + fix)).start(), redis, chaos };
    let mut wire = user(&bench, "resetkeys ~n:* ~s:*");
    assert!(wire.pipeline(&MEMBERS).iter().all(|reply| reply.starts_with("-EXECABORT ")));
    assert_eq!(wire.ask("SET n:{bob} 1"), "+OK\r\n");
    let ttl: i64 = bench.redis.ask("TTL n:{bob}").trim().trim_start_matches(':').parse().expect("a number");
    assert!((1..=60).contains(&ttl), "writes are fixed as before: {ttl}");
}

#[test]
fn a_group_whose_members_stand_apart_leaves_a_connection_of_its_own_for_its_marker_too() {
    let Bench { redis, proxy, chaos: _chaos } = bench("transaction", TIMES);
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["BLPOP nothing 0.2", "INCR n:{ann}", "GET other", "SADD s:{ann} tag"]);
    assert_eq!(replies.concat(), "*-1\r\n:1\r\n$-1\r\n:1\r\n");
    assert_eq!(proxy.groups("count", "applied"), 1.0);
    let keys = redis.ask("KEYS respguard:guard:*");
    assert!(keys.starts_with("*1\r\n"), "its marker: {keys}");
}
