//! What stands between the members of groups goes in their transaction: nothing changes places, and nobody can tell.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::wire::{requests, words};
use crate::harness::{Act, FakeServer, Proxy, RedisServer, Setup, Twin, Wire, eventually, request, text};
use crate::interleaved::{self, ONLOOKERS};

pub(super) const GUARDED: &str = r#"
[[group]]
name = "safe"
atomic = "guarded"
commands = ["SADD s:{id} *", "SET t:{id} *"]
"#;

/// The groups of `interleaved`, between whose members nothing changes places.
pub(super) fn rules() -> String {
    interleaved::RULES.replace("between = \"pass\"\n", "")
}

fn proxy(redis: &RedisServer) -> Proxy {
    Setup::new(redis).rules(&format!("{}{GUARDED}", rules())).start()
}

#[test]
fn commands_are_carried_in_their_place_and_share_the_groups_moment() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis);
    let mut wire = proxy.wire();
    let lines = ["GET x", "HSET blob:1 a 1", "INCR x", "HGET blob:1 a", "PUBLISH c m", "HSET info:1 b 1", "GET x"];
    assert_eq!(wire.pipeline(&lines).concat(), "$-1\r\n:1\r\n:1\r\n$1\r\n1\r\n:0\r\n:1\r\n$1\r\n1\r\n");
    eventually("it is one group", || proxy.groups("blob", "applied") == 1.0);
    assert_eq!(proxy.violated("split", "blob"), 0.0);
}

#[test]
fn who_writes_before_it_publishes_is_never_seen_to_have_published_first() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut wire, mut looks) = (redis.wire(), 0);
            while !over.load(Ordering::Relaxed) {
                let ready = wire.ask("GET ready");
                if let Some(n) = ready.lines().nth(1) {
                    assert_eq!(wire.ask(&format!("EXISTS blob:{n}")), ":1\r\n", "blob:{n} was published before it was written");
                    looks += 1;
                }
            }
            looks
        });
        let mut wire = proxy.wire();
        for n in 0..1500 {
            wire.pipeline(&[&format!("HSET blob:{n} a 1"), &format!("SET ready {n}"), &format!("HSET info:{n} b 1")]);
        }
        over.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("nothing was out of order") > 0);
    });
    eventually("all are groups", || proxy.groups("blob", "applied") == 1500.0);
}

#[test]
fn two_that_write_a_flag_and_read_the_others_never_miss_each_other() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis);
    let (mut one, mut other) = (proxy.wire(), proxy.wire());
    for round in 0..300 {
        let lines = |mine: &str, theirs: &str| {
            let lines = [format!("HSET blob:{mine} f {round}"), format!("HGET blob:{theirs} f"), format!("HSET info:{mine} f 1")];
            requests(&lines.each_ref().map(String::as_str))
        };
        one.send(&lines("1", "2"));
        other.send(&lines("2", "1"));
        let seen = [one.replies(3).swap_remove(1), other.replies(3).swap_remove(1)];
        let now = format!("\r\n{round}\r\n");
        assert!(seen.iter().any(|flag| text(flag).ends_with(&now)), "round {round}: {seen:?}");
    }
    eventually("all are groups", || proxy.groups("blob", "applied") == 600.0);
}

#[test]
fn a_carried_command_that_is_refused_answers_its_own_error_and_the_rest_goes_without_it() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER app on >pw ~* &* +@all -incr -eval");
    let proxy = proxy(&redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("AUTH app pw"), "+OK\r\n");
    let lines = ["HSET blob:1 a 1", "INCR x", "SET y 1", "GET z z", "HSET info:1 b 1", "GET y"];
    let replies = wire.pipeline(&lines);
    assert!(replies[1].starts_with("-NOPERM "), "{replies:?}");
    assert_eq!(replies[3], "-ERR wrong number of arguments for 'get' command\r\n");
    assert_eq!([&*replies[0], &*replies[2], &*replies[4], &*replies[5]].concat(), ":1\r\n+OK\r\n:1\r\n$1\r\n1\r\n");
    eventually("the group is applied", || proxy.groups("blob", "applied") == 1.0);
    assert_eq!(proxy.groups("blob", "aborted"), 0.0);
}

#[test]
fn a_carried_commands_run_time_error_is_its_own() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis);
    let replies = proxy.wire().pipeline(&["SET x v", "HSET blob:1 a 1", "INCR x", "HSET info:1 b 1"]);
    assert_eq!(replies.concat(), "+OK\r\n:1\r\n-ERR value is not an integer or out of range\r\n:1\r\n");
    eventually("the group is applied", || proxy.groups("blob", "applied") == 1.0);
    assert_eq!(proxy.violated("partial_failure", "blob"), 0.0);
}

#[test]
fn where_a_group_is_refused_the_others_and_what_is_carried_go_without_it() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis);
    let mut wire = proxy.wire();
    wire.ask("SET s:1 text");
    let lines = ["SADD s:1 a", "HSET blob:1 a 1", "INCR n", "SET t:1 v", "INCR n", "HSET info:1 b 1", "GET n"];
    let replies = wire.pipeline(&lines);
    assert!(replies[0].starts_with("-WRONGTYPE ") && replies[3].starts_with("-EXECABORT "), "{replies:?}");
    let rest = [1, 2, 4, 5, 6].map(|at| replies[at].as_str()).concat();
    assert_eq!(rest, ":1\r\n:1\r\n:2\r\n:1\r\n$1\r\n2\r\n");
    assert_eq!(redis.ask("EXISTS t:1"), ":0\r\n");
    eventually("each is counted", || proxy.groups("safe", "refused") == 1.0 && proxy.groups("blob", "applied") == 1.0);
    // A group that is refused before anything is sent.
    let replies = wire.pipeline(&["SADD s:2", "INCR n", "SADD s:2 a", "INCR n", "SET t:2 v"]);
    assert_eq!(replies[1..].concat(), ":3\r\n:1\r\n:4\r\n+OK\r\n", "{replies:?}");
}

#[test]
fn what_a_member_depends_on_is_followed_or_the_group_is_refused() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis);
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["SADD s:1 a", "DEL s:1", "SET t:1 v"]);
    assert_eq!(replies.concat(), ":1\r\n:1\r\n+OK\r\n");
    redis.ask("SET s:2 text");
    let replies = wire.pipeline(&["GET x", "SADD s:3 a", "SET s:3 v", "SET t:3 v", "GET s:3"]);
    assert_eq!(replies[1..].concat(), ":1\r\n+OK\r\n+OK\r\n$1\r\nv\r\n");
    eventually("both are applied", || proxy.groups("safe", "applied") == 2.0);
}

#[test]
fn a_client_that_blocks_is_served_between_what_pushes_and_what_reads() {
    let twin = Twin::with(&[], |setup| setup.rules(&rules()));
    let mut blocked = twin.pair();
    blocked.direct.send_line("BLPOP l 10");
    blocked.proxied.send_line("BLPOP l 10");
    for redis in [&twin.direct, &twin.behind] {
        eventually("it is blocked", || redis.info("clients", "blocked_clients") == 1);
    }
    let lines = ["HSET blob:1 a 1", "LPUSH l j", "LLEN l", "LPOP l", "HSET info:1 b 1"];
    let replies = twin.pair().same(&requests(&lines), lines.len());
    assert_eq!(text(&replies.concat()), ":1\r\n:1\r\n:0\r\n$-1\r\n:1\r\n");
    blocked.same_replies(b"BLPOP", 1);
    eventually("it is told", || twin.proxy.violated("split", "blob") == 1.0);
}

#[test]
fn interleavings_leave_redis_as_the_same_commands_sent_straight() {
    let twin = interleaved::compare(&rules(), 5000);
    let wrapped = ["login", "blob", "count"].map(|group| twin.proxy.groups(group, "applied"));
    assert!(wrapped.iter().all(|groups| *groups > 500.0), "{wrapped:?}");
}

#[test]
fn interleavings_are_the_same_under_rules_that_only_look_on() {
    let onlookers = ONLOOKERS.replace("between = \"pass\"\n", "");
    let twin = interleaved::compare(&format!("{}{onlookers}", rules()), 1000);
    assert!(["login", "pair"].iter().all(|group| twin.proxy.groups(group, "applied") > 10.0));
}

#[test]
fn what_is_held_is_held_no_longer_than_it_may_be() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).pipeline("hold_ms = 60\nhold_max_ms = 150\n").rules(&rules()).start();
    let mut wire = proxy.wire();
    let start = Instant::now();
    wire.send(&request("HSET blob:1 a 1"));
    while start.elapsed() < Duration::from_millis(300) {
        thread::sleep(Duration::from_millis(15));
        wire.send(&request("INCR other"));
    }
    wire.send(&requests(&["HSET blob:2 a 1", "HSET info:2 a 1"]));
    assert_eq!(wire.reply(), b":1\r\n");
    eventually("it is told", || proxy.violated("split", "blob") == 1.0 && proxy.groups("blob", "applied") == 1.0);
}

#[test]
fn a_connection_whose_beginnings_are_never_completed_is_held_no_more() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).pipeline("hold_ms = 100\nhold_max_ms = 100\n").rules(&rules()).start();
    let mut wire = proxy.wire();
    for n in 0..8 {
        wire.pipeline(&[&format!("INCR n:{n}"), "GET x"]);
    }
    let start = Instant::now();
    for n in 0..60 {
        wire.pipeline(&[&format!("INCR n:{n}"), "GET x"]);
    }
    assert!(start.elapsed() < Duration::from_secs(4), "60 holds would take 6 s: {:?}", start.elapsed());
}

#[test]
fn what_rode_in_a_transaction_of_which_nobody_knows_shares_that() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 300\n").rules(&rules()).start();
    let mut wire = proxy.wire();
    wire.ask("PING");
    redis.pause();
    wire.send(&requests(&["HSET blob:1 a 1", "INCR x", "GET y", "HSET info:1 b 1"]));
    let replies: Vec<_> = wire.replies(4).iter().map(|reply| text(reply)).collect();
    redis.resume();
    assert!(replies.iter().all(|reply| reply.starts_with("-TIMEOUT respguard: outcome of ")), "{replies:?}");
    assert!(replies[1].contains("outcome of INCR unknown") && replies[0].contains("group blob"), "{replies:?}");
    eventually("it is told", || proxy.violated("unknown_outcome", "blob") == 1.0);
}

#[test]
fn reads_that_rode_in_a_transaction_whose_connection_is_lost_are_read_again() {
    let redis = RedisServer::start(&[]);
    redis.ask("SET y 7");
    let proxy = proxy(&redis);
    let mut wire = proxy.wire();
    wire.ask("PING");
    redis.pause();
    wire.send(&requests(&["HSET blob:1 a 1", "INCR x", "GET y", "HSET info:1 b 1"]));
    // The server ends the connection once it goes on: what kills it stands in its way first.
    thread::sleep(Duration::from_millis(200));
    let killer = thread::scope(|scope| {
        let killing = scope.spawn(|| {
            let mut killer = redis.wire();
            killer.send_line("CLIENT KILL TYPE normal SKIPME yes");
            killer.reply()
        });
        redis.resume();
        killing.join().expect("killed")
    });
    let replies: Vec<_> = wire.replies(4).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies[2], "$1\r\n7\r\n", "{replies:?} {}", text(&killer));
    let all = replies[0].starts_with("-TIMEOUT") == replies[3].starts_with("-TIMEOUT");
    assert!(all && replies[0].starts_with("-TIMEOUT") == replies[1].starts_with("-TIMEOUT"), "{replies:?}");
}

/// How often the server has refused to queue a command.
fn refusals(redis: &RedisServer, name: &str) -> u64 {
    let (all, begin) = (redis.ask("INFO commandstats"), format!("cmdstat_{name}:"));
    let line = all.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_default();
    let count = line.split(',').find_map(|field| field.strip_prefix("rejected_calls="));
    count.map_or(0, |count| count.parse().expect("a number"))
}

#[test]
fn a_group_that_is_only_observed_is_counted_where_its_members_ride() {
    let redis = RedisServer::start(&[]);
    let seen = "[[group]]\nname = \"seen\"\natomic = \"observe\"\ncommands = [\"SADD o:{id} *\", \"SET p:{id} *\"]\n";
    let proxy = Setup::new(&redis).rules(&format!("{}{seen}", rules())).start();
    let mut wire = proxy.wire();
    let lines = ["HSET blob:1 a 1", "SADD o:1 x", "SET p:1 v", "HSET info:1 b 1"];
    assert_eq!(wire.pipeline(&lines).concat(), ":1\r\n:1\r\n+OK\r\n:1\r\n");
    eventually("it is observed", || proxy.groups("seen", "observed") == 1.0 && proxy.groups("blob", "applied") == 1.0);
    redis.ask("SET o:2 text");
    wire.pipeline(&["HSET blob:2 a 1", "SADD o:2 x", "SET p:2 v", "HSET info:2 b 1"]);
    eventually("it is torn", || proxy.groups("seen", "torn") == 1.0 && proxy.violated("partial_failure", "seen") == 1.0);
    assert_eq!(proxy.groups("blob", "applied"), 2.0);
}

#[test]
fn where_a_carried_command_is_refused_for_want_of_memory_the_whole_transaction_is_and_nothing_goes_again() {
    let redis = RedisServer::start(&[]);
    let proxy = proxy(&redis);
    let mut wire = proxy.wire();
    wire.ask("SET x 1");
    redis.ask("CONFIG SET maxmemory 1");
    let replies = wire.pipeline(&["HSET blob:1 a 1", "INCR x", "HSET info:1 b 1"]);
    assert!(replies.iter().all(|reply| reply.starts_with("-OOM ")), "{replies:?}");
    // Redis refuses even what wants no memory then.
    let quiet = "[[group]]\nname = \"gone\"\ncommands = [\"DEL a:{id}\", \"DEL b:{id}\"]\n";
    let frugal = Setup::new(&redis).rules(quiet).start();
    let replies = frugal.wire().pipeline(&["DEL a:1", "INCR x", "DEL b:1"]);
    let is_refused = |reply: &String| reply.starts_with("-OOM ") || reply.starts_with("-EXECABORT ");
    assert!(replies.iter().all(is_refused) && replies[1].starts_with("-OOM "), "{replies:?}");
    assert_eq!((refusals(&redis, "hset"), refusals(&redis, "del")), (2, 2), "each transaction was sent once");
    assert_eq!(refusals(&redis, "incr"), 4, "what stood between has run alone");
    redis.ask("CONFIG SET maxmemory 0");
    assert_eq!(redis.ask("GET x"), "$1\r\n1\r\n");
    eventually("each is told", || frugal.violated("aborted", "gone") == 1.0 && proxy.violated("aborted", "blob") == 1.0);
    assert_eq!(wire.pipeline(&["HSET blob:1 a 1", "INCR x", "HSET info:1 b 1"]).concat(), ":1\r\n:2\r\n:1\r\n");
}

#[test]
fn all_carried_commands_that_the_server_refuses_are_left_out_at_once() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER app on >pw ~* &* +@all -incr -append -getset -strlen");
    let proxy = proxy(&redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("AUTH app pw"), "+OK\r\n");
    // All that the server refuses of one transaction is left out of the next.
    let lines = ["HSET blob:1 a 1", "INCR x", "APPEND x 1", "HSET info:1 b 1"];
    let replies = wire.pipeline(&lines);
    assert!(replies[1].starts_with("-NOPERM ") && replies[2].starts_with("-NOPERM "), "{replies:?}");
    assert_eq!([&*replies[0], &*replies[3]].concat(), ":1\r\n:1\r\n");
    assert_eq!((refusals(&redis, "incr"), refusals(&redis, "append")), (1, 1), "the first was refused, and the second not");
    eventually("it is a group", || proxy.groups("blob", "applied") == 1.0);
}

/// A server that refuses another command in each of three transactions, as one does whose rights are changed meanwhile.
fn refuser(riders: [&'static str; 3]) -> (FakeServer, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let (refused_so_far, open) = (Arc::clone(&count), Mutex::new(None::<(usize, bool)>));
    let server = FakeServer::start(move |words| {
        let mut open = open.lock().expect("nobody panicked with it");
        let said = match (&*words[0].to_uppercase(), &mut *open) {
            ("MULTI", _) => {
                *open = Some((0, false));
                "+OK\r\n".to_owned()
            }
            ("EXEC", Some((_, true))) => {
                refused_so_far.fetch_add(1, Ordering::Relaxed);
                *open = None;
                "-EXECABORT Transaction discarded because of previous errors.\r\n".to_owned()
            }
            ("EXEC", Some((queued, _))) => {
                let replies = format!("*{queued}\r\n{}", ":1\r\n".repeat(*queued));
                *open = None;
                replies
            }
            (name, Some((_, refused))) if riders.get(refused_so_far.load(Ordering::Relaxed)) == Some(&name) => {
                *refused = true;
                "-NOPERM no\r\n".to_owned()
            }
            (_, Some((queued, _))) => {
                *queued += 1;
                "+QUEUED\r\n".to_owned()
            }
            ("HSET" | "INCR" | "APPEND" | "STRLEN" | "GET", None) => ":1\r\n".to_owned(),
            _ => "-ERR no\r\n".to_owned(),
        };
        Act::Say(said.into_bytes())
    });
    (server, count)
}

#[test]
fn a_transaction_that_is_refused_three_times_over_its_carried_commands_goes_out_unwrapped_and_is_told() {
    let (server, refusals) = refuser(["INCR", "APPEND", "STRLEN"]);
    let proxy = Setup::before(server.port()).top("workers = 1").rules(&rules()).start();
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["HSET blob:1 a 1", "INCR x", "APPEND x 1", "STRLEN x", "GET x", "HSET info:1 b 1"]);
    assert_eq!(replies.concat(), ":1\r\n-NOPERM no\r\n-NOPERM no\r\n-NOPERM no\r\n:1\r\n:1\r\n");
    assert_eq!(refusals.load(Ordering::Relaxed), 3);
    eventually("it is told", || proxy.violated("split", "blob") == 1.0);
    assert_eq!(proxy.groups("blob", "applied"), 0.0);
    let replies = wire.pipeline(&["HSET blob:2 a 1", "INCR x", "HSET info:2 b 1"]);
    assert_eq!(replies.concat(), ":1\r\n:1\r\n:1\r\n");
    eventually("the next one is wrapped again", || proxy.groups("blob", "applied") == 1.0);
}

#[test]
fn what_stands_between_is_carried_up_to_eight_megabytes() {
    let redis = RedisServer::start(&[]);
    // Longer than any pause while so much is on its way.
    let proxy = Setup::new(&redis).pipeline("hold_ms = 5000\nhold_max_ms = 10000\n").rules(&rules()).start();
    let mut wire = proxy.wire();
    let value = "x".repeat(50_000);
    let riders = |count: usize| {
        let mut lines = vec!["HSET blob:1 a 1".to_owned()];
        lines.extend((0..count).map(|n| format!("SET large:{n} {value}")));
        lines.push("HSET info:1 b 1".to_owned());
        lines
    };
    let mut play = |count: usize, piece: usize| {
        redis.ask("DEL blob:1 info:1");
        let lines = riders(count);
        let bytes = requests(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        for part in bytes.chunks(piece) {
            wire.send(part);
        }
        let replies: Vec<_> = wire.replies(lines.len()).iter().map(|reply| text(reply)).collect();
        assert!(replies[1..=count].iter().all(|reply| reply == "+OK\r\n"), "{replies:?}");
        assert_eq!([&*replies[0], &*replies[count + 1]].concat(), ":1\r\n:1\r\n");
    };
    play(20, usize::MAX);
    eventually("it is a group", || proxy.groups("blob", "applied") == 1.0);
    play(200, usize::MAX);
    eventually("it is told", || proxy.violated("split", "blob") == 1.0);
    // Whether the rest is in sight where it is cut, or yet to come.
    play(200, 500_000);
    eventually("it is told again", || proxy.violated("split", "blob") == 2.0);
    assert_eq!(proxy.groups("blob", "applied"), 1.0);
}

#[test]
fn a_guarded_group_that_depends_on_what_is_carried_goes_as_a_transaction_where_its_rule_says_so() {
    let redis = RedisServer::start(&[]);
    let rule = |more: &str| {
        format!("[[group]]\nname = \"later\"\natomic = \"guarded\"\n{more}commands = [\"SET u:{{id}} *\", \"SADD v:{{id}} *\"]\n")
    };
    let soft = Setup::new(&redis).rules(&rule("on_unsupported = \"transaction\"\n")).start();
    let mut wire = soft.wire();
    // What a script makes of the set's key nobody can tell before it has run.
    let lines = |n: u32, call: &str| {
        let script = format!("return redis.call('{call}',KEYS[1],'v')");
        [
            requests(&[&format!("SET u:{n} v")]),
            words(&[b"EVAL", script.as_bytes(), b"1", format!("v:{n}").as_bytes()]),
            requests(&[&format!("SADD v:{n} a")]),
        ]
        .concat()
    };
    let play = |wire: &mut Wire, bytes: Vec<u8>| {
        wire.send(&bytes);
        wire.replies(3).iter().map(|reply| text(reply)).collect::<Vec<_>>()
    };
    assert_eq!(play(&mut wire, lines(1, "SADD")).concat(), "+OK\r\n:1\r\n:1\r\n");
    eventually("it is applied", || soft.groups("later", "applied") == 1.0);
    // So it can tear, which a guarded group cannot.
    let replies = play(&mut wire, lines(2, "SET"));
    assert_eq!(replies[..2].concat(), "+OK\r\n+OK\r\n");
    assert!(replies[2].starts_with("-WRONGTYPE "), "{replies:?}");
    eventually("it is told", || soft.groups("later", "torn") == 1.0 && soft.groups("later", "refused") == 0.0);
    let strict = Setup::new(&redis).rules(&rule("")).start();
    let replies = play(&mut strict.wire(), lines(3, "SADD"));
    assert!(replies[0].starts_with("-EXECABORT ") && replies[0].contains("a command between the members"), "{replies:?}");
    assert_eq!(replies[1], ":1\r\n", "what stood between runs alone");
    eventually("it is refused", || strict.groups("later", "refused") == 1.0);
    assert_eq!(redis.ask("EXISTS u:3"), ":0\r\n");
}
