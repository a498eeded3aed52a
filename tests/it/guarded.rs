//! Guarded groups: nothing of a group that would fail is applied, and nothing runs unguarded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::wire::words;
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, text};

const LOGIN: &str = r#"
[[group]]
name = "login"
atomic = "guarded"
commands = [
  "SETEX rt:{user}:{token} {ttl} *",
  "SADD sess:{user} {token}",
  "INCR logins:{user}",
  { match = "SMEMBERS sess:{user}", optional = true },
]
"#;
const MEMBERS: [&str; 4] = ["SETEX rt:ann:t1 100 token", "SADD sess:ann t1", "INCR logins:ann", "SMEMBERS sess:ann"];
const REPLIES: &str = "+OK\r\n:1\r\n:1\r\n*1\r\n$2\r\nt1\r\n";
const WRONGTYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

fn not_applied(why: &str) -> String {
    format!("-EXECABORT Transaction discarded because of previous errors. respguard: group login was not applied: {why}\r\n")
}

/// What the preflight knows of a member, which answers this error.
fn would_answer(member: &str, error: &str) -> String {
    format!("{member} would answer {}", error.trim_start_matches('-').trim_end())
}

/// A user with these rights beside `~*` and `+@all`, logged in over the proxy.
fn user(redis: &RedisServer, proxy: &Proxy, rights: &str) -> Wire {
    assert_eq!(redis.ask(&format!("ACL SETUSER app on >pw ~* &* +@all {rights}")), "+OK\r\n");
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("AUTH app pw"), "+OK\r\n");
    wire
}

#[test]
fn replies_are_native_in_both_protocols() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
    wire.send_line("HELLO 3");
    wire.reply();
    assert_eq!(wire.pipeline(&MEMBERS).concat(), "+OK\r\n:0\r\n:2\r\n~1\r\n$2\r\nt1\r\n");
    let twice = [MEMBERS, MEMBERS].concat();
    assert_eq!(
        wire.pipeline(&twice).concat(),
        ["+OK\r\n:0\r\n:3\r\n~1\r\n$2\r\nt1\r\n", "+OK\r\n:0\r\n:4\r\n~1\r\n$2\r\nt1\r\n"].concat()
    );
    assert_eq!(proxy.groups("login", "applied"), 4.0);
    assert_eq!(redis.ask("KEYS respguard*"), "*0\r\n", "a preflight that finds nothing leaves nothing");
}

#[test]
fn a_member_that_would_fail_keeps_the_group_from_running() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut wire = proxy.wire();
    redis.ask("SET sess:ann text");
    let why = not_applied(&would_answer("member 2 of 4 (SADD)", WRONGTYPE));
    assert_eq!(wire.pipeline(&MEMBERS), [&*why, WRONGTYPE, &why, &why]);
    assert_eq!(redis.ask("EXISTS rt:ann:t1 logins:ann"), ":0\r\n");
    redis.ask("DEL sess:ann");
    redis.ask("SET logins:ann many");
    let integer = "-ERR value is not an integer or out of range\r\n";
    let why = not_applied(&would_answer("member 3 of 4 (INCR)", integer));
    assert_eq!(wire.pipeline(&MEMBERS), [&*why, &why, integer, &why]);
    assert_eq!(redis.ask("EXISTS rt:ann:t1 sess:ann"), ":0\r\n");
    assert_eq!(proxy.groups("login", "refused"), 2.0);
    assert_eq!(proxy.violated("aborted", "login"), 2.0);
    eventually("guards expire by themselves", || redis.ask("KEYS respguard*") == "*0\r\n");
    redis.ask("DEL logins:ann");
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
}

#[test]
fn what_the_arguments_tell_is_refused_before_anything_is_sent() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET behind 0"), "+OK\r\n");
    let lines = ["SETEX rt:ann:t1 0 token", "SADD sess:ann t1", "INCR logins:ann", "PING"];
    let expire_time = "-ERR invalid expire time in 'setex' command\r\n";
    let why = not_applied(&would_answer("member 1 of 3 (SETEX)", expire_time));
    let replies = wire.pipeline(&lines);
    assert_eq!(replies, [expire_time, &*why, &why, "+PONG\r\n"]);
    let ran = redis.ask("INFO commandstats");
    assert!(ran.contains("cmdstat_set:"), "{ran}");
    for name in ["setex", "sadd", "incr"] {
        assert!(!ran.contains(&format!("cmdstat_{name}:")), "{ran}");
    }
    assert_eq!(proxy.groups("login", "refused"), 1.0);
}

#[test]
fn a_user_without_eval_is_refused_or_served_by_a_transaction_as_the_rule_says() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut wire = user(&redis, &proxy, "-eval");
    let why = not_applied("its preflight cannot run: this user may not run EVAL");
    assert_eq!(wire.pipeline(&MEMBERS), [&*why, &why, &why, &why]);
    assert_eq!(redis.ask("EXISTS rt:ann:t1"), ":0\r\n");
    proxy.logs("guarded groups cannot run their preflight");
    // Other users are not concerned.
    assert_eq!(proxy.wire().pipeline(&MEMBERS).concat(), REPLIES);

    redis.ask("FLUSHALL");
    let degraded = LOGIN.replace("atomic = \"guarded\"", "atomic = \"guarded\"\non_unsupported = \"transaction\"");
    let proxy = Proxy::start(&degraded, &redis);
    let mut wire = user(&redis, &proxy, "-eval");
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
    assert_eq!(proxy.violated("degraded", "login"), 1.0);
}

#[test]
fn rights_that_are_taken_away_later_never_let_a_group_run_unguarded() {
    for right in ["-eval", "-set", "-watch", "resetkeys ~rt:* ~sess:* ~logins:*"] {
        let (redis, proxy) = Proxy::with_redis(LOGIN);
        let mut wire = user(&redis, &proxy, "");
        assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
        redis.ask("FLUSHALL");
        redis.ask(&format!("ACL SETUSER app {right}"));
        let replies = wire.pipeline(&MEMBERS);
        // A preflight that needs to write nothing does not notice that it could not; one without WATCH is told of.
        if right == "-eval" || right.starts_with("reset") {
            assert!(replies.iter().all(|reply| reply.starts_with("-EXECABORT")), "{right}: {replies:?}");
            assert_eq!(redis.ask("DBSIZE"), ":0\r\n", "{right}");
        }
        if right == "-watch" {
            assert_eq!(proxy.violated("unguarded", "login"), 1.0);
        } else {
            assert_eq!(proxy.violated("unguarded", "login"), 0.0);
        }
        // From then on it is known, where something has been refused.
        if right != "-set" {
            redis.ask("FLUSHALL");
            let replies = wire.pipeline(&MEMBERS);
            assert!(replies.iter().all(|reply| reply.contains("its preflight cannot run")), "{right}: {replies:?}");
            assert_eq!(redis.ask("DBSIZE"), ":0\r\n", "{right}");
        }
    }
}

#[test]
fn guards_have_a_prefix_for_key_patterns() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).pipeline("guard_prefix = \"rt:guards:\"").rules(LOGIN).start();
    let mut wire = user(&redis, &proxy, "resetkeys ~rt:* ~sess:* ~logins:*");
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
    redis.ask("DEL sess:ann");
    redis.ask("SET sess:ann text");
    let why = not_applied(&would_answer("member 2 of 4 (SADD)", WRONGTYPE));
    assert_eq!(wire.pipeline(&MEMBERS), [&*why, WRONGTYPE, &why, &why]);
}

#[test]
fn a_refused_group_leaves_its_guard_to_nobody_but_those_who_listen() {
    let redis = RedisServer::start(&["--notify-keyspace-events KEA"]);
    let proxy = Proxy::start(LOGIN, &redis);
    let (mut wire, mut events, mut tracker) = (proxy.wire(), redis.wire(), redis.wire());
    tracker.ask("HELLO 3");
    assert_eq!(tracker.ask("CLIENT TRACKING ON BCAST PREFIX respguard:"), "+OK\r\n");
    events.ask("PSUBSCRIBE __keyevent@0__:*");
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
    redis.wire().pipeline(&["DEL rt:ann:t1 sess:ann logins:ann", "SET sess:ann text"]);
    let refused = wire.pipeline(&MEMBERS);
    assert_eq!(redis.wire().pipeline(&["DBSIZE", "KEYS *"]).concat(), ":1\r\n*1\r\n$8\r\nsess:ann\r\n", "{refused:?}");
    redis.ask("PUBLISH __keyevent@0__:end end");
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event: &String| !event.contains("keyevent@0__:end")) {
        seen.push(text(&events.reply()));
    }
    let of_guard: Vec<_> = seen.iter().filter(|event| event.contains("respguard:")).collect();
    let kinds = [":set\r\n", ":expire\r\n", ":del\r\n"];
    assert!(of_guard.len() == 3 && kinds.iter().zip(&of_guard).all(|(kind, event)| event.contains(kind)), "{of_guard:?}");
    let told = text(&tracker.reply());
    assert!(told.starts_with(">2\r\n") && told.contains("respguard:guard:"), "{told}");
}

#[test]
fn who_may_not_delete_leaves_a_guard_for_a_millisecond() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut wire = user(&redis, &proxy, "-del");
    redis.ask("SET sess:ann text");
    assert_eq!(wire.pipeline(&MEMBERS)[1], WRONGTYPE);
    eventually("the guard has gone", || redis.ask("DBSIZE") == ":1\r\n");
}

#[test]
fn a_group_that_would_make_the_server_compare_too_many_keys_is_not_sent() {
    let redis = RedisServer::start(&[]);
    let rule = "[[group]]\nname = \"k\"\nkeys = [\"k:*\"]\natomic = \"guarded\"\n";
    // The second member comes in many pieces.
    let proxy = Setup::new(&redis).pipeline("hold_ms = 5000\nhold_max_ms = 10000").rules(rule).start();
    let mut wire = proxy.wire();
    let many = |command: &str, count: usize| (0..count).fold(command.to_owned(), |line, key| format!("{line} k:{key}"));
    assert_eq!(wire.pipeline(&["SET k:a 1", &many("SUNIONSTORE k:d", 256)]).concat(), "+OK\r\n:0\r\n");
    // Connections of the proxy's own may say something meanwhile, but none of these.
    let calls = |redis: &RedisServer| -> Vec<String> {
        let stats = redis.ask("INFO commandstats");
        let ours = ["set", "sunionstore", "watch", "type", "exists"].map(|name| format!("cmdstat_{name}:"));
        let lines = stats.lines().filter(|line| ours.iter().any(|name| line.starts_with(name)));
        lines.filter_map(|line| Some(line.split_once(',')?.0.to_owned())).collect()
    };
    let before = calls(&redis);
    assert!(before.iter().any(|line| line == "cmdstat_sunionstore:calls=1"), "{before:?}");
    let refused = wire.pipeline(&["SET k:b 1", &many("SUNIONSTORE k:d", 40_000)]);
    let why =
        "nobody can tell whether member 2 of 2 (SUNIONSTORE) would fail: the group would have to ask about more than 256 keys";
    assert!(refused.iter().all(|reply| reply.starts_with("-EXECABORT ") && reply.contains(why)), "{refused:?}");
    assert_eq!(calls(&redis), before, "nothing was sent");
    assert_eq!(redis.ask("EXISTS k:b"), ":0\r\n");
    // What has no question may name as many as it likes.
    assert_eq!(wire.pipeline(&["SET k:b 1", &many("DEL", 40_000)]).concat(), "+OK\r\n:0\r\n");
}

#[test]
fn a_user_who_may_only_read_some_keys_is_guarded_too() {
    let rules =
        "[[group]]\nname = \"login\"\natomic = \"guarded\"\ncommands = [\"HGET conf:{user} *\", \"HSET seen:{user} *  *\"]\n";
    let (redis, proxy) = Proxy::with_redis(&rules.replace("*  *", "* *"));
    let mut wire = user(&redis, &proxy, "resetkeys %R~conf:* ~seen:* ~respguard:guard:*");
    assert_eq!(wire.pipeline(&["HGET conf:ann a", "HSET seen:ann a 1"]).concat(), "$-1\r\n:1\r\n");
    redis.ask("SET conf:ann text");
    let replies = wire.pipeline(&["HGET conf:ann a", "HSET seen:ann b 1"]);
    assert_eq!(replies[0], WRONGTYPE);
    assert_eq!(redis.ask("HEXISTS seen:ann b"), ":0\r\n");
}

#[test]
fn a_read_only_replica_applies_nothing() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
    let before = redis.ask("DEBUG DIGEST");
    redis.ask("REPLICAOF 127.0.0.1 1");
    let replies = wire.pipeline(&MEMBERS);
    assert!(replies.iter().all(|reply| reply.starts_with("-READONLY") || reply.starts_with("-EXECABORT")), "{replies:?}");
    assert_eq!(redis.ask("DEBUG DIGEST"), before);
    redis.ask("REPLICAOF NO ONE");
    assert_eq!(wire.pipeline(&MEMBERS).concat(), "+OK\r\n:0\r\n:2\r\n*1\r\n$2\r\nt1\r\n");
    assert_eq!(proxy.violated("unguarded", "login"), 0.0);
}

#[test]
fn a_server_out_of_memory_applies_nothing_of_a_group_that_would_fail() {
    let rules =
        "[[group]]\nname = \"login\"\natomic = \"guarded\"\ncommands = [\"SREM sess:{user} *\", \"HDEL seen:{user} *\"]\n";
    let (redis, proxy) = Proxy::with_redis(rules);
    let mut wire = proxy.wire();
    redis.ask("SADD sess:ann t1");
    redis.ask("SET seen:ann text");
    redis.ask("CONFIG SET maxmemory 1");
    let replies = wire.pipeline(&["SREM sess:ann t1", "HDEL seen:ann t1"]);
    assert!(replies.iter().all(|reply| reply.starts_with('-')), "{replies:?}");
    redis.ask("CONFIG SET maxmemory 0");
    assert_eq!(redis.ask("SISMEMBER sess:ann t1"), ":1\r\n");
    assert_eq!(proxy.violated("unguarded", "login"), 0.0);
}

#[test]
fn a_server_that_forgets_its_scripts_guards_all_the_same() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Proxy::start(LOGIN, &redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
    let why = not_applied(&would_answer("member 2 of 4 (SADD)", WRONGTYPE));
    redis.ask("SCRIPT FLUSH SYNC");
    redis.ask("DEL sess:ann");
    redis.ask("SET sess:ann text");
    assert_eq!(wire.pipeline(&MEMBERS), [&*why, WRONGTYPE, &why, &why]);
    redis.restart();
    eventually("the proxy is back", || wire.ask("PING") == "+PONG\r\n");
    redis.ask("SET sess:ann text");
    assert_eq!(wire.pipeline(&MEMBERS), [&*why, WRONGTYPE, &why, &why]);
}

/// A writer changes the type of one of the group's keys all the time. Members of more than a read of the server's let
/// it come between the preflight and the transaction.
#[test]
fn what_others_change_meanwhile_tears_nothing() {
    let rules = "[[group]]\nname = \"upload\"\natomic = \"guarded\"\ncommands = [\"SET blob:{id} *\", \"INCR uploads\", \"HSET info:{id} state *\", \"INCR done\"]\n";
    let (redis, proxy) = Proxy::with_redis(rules);
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (mut wire, over) = (redis.wire(), Arc::clone(&over));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                wire.pipeline(&["DEL info:1", "SET info:1 text"]);
                wire.pipeline(&["DEL info:1", "HSET info:1 f v"]);
            }
        })
    };
    let blob = vec![b'x'; 48 * 1024];
    let mut group = words(&[b"SET", b"blob:1", &blob]);
    for line in ["INCR uploads", "HSET info:1 state done", "INCR done"] {
        group.extend(crate::harness::request(line));
    }
    let (mut wire, begun, mut applied, mut refused) = (proxy.wire(), Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(3) {
        wire.send(&group);
        let failed = wire.replies(4).iter().filter(|reply| reply.starts_with(b"-")).count();
        assert!(failed == 0 || failed == 4, "torn");
        applied += u32::from(failed == 0);
        refused += u32::from(failed == 4);
    }
    over.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends");
    let count = format!("${}\r\n{applied}\r\n", applied.to_string().len());
    assert_eq!((redis.ask("GET uploads"), redis.ask("GET done")), (count.clone(), count));
    assert!(applied > 0 && refused > 0, "both must be seen: {applied} and {refused}");
    assert_eq!(proxy.groups("upload", "torn") + proxy.groups("upload", "unguarded"), 0.0);
    let aborted = proxy.groups("upload", "aborted");
    println!("{applied} applied, {refused} not, {aborted} of them after {} attempts", 3);
}

/// Another client's change between preflight and transaction, made certain: the server is held while both wait.
#[test]
fn a_group_whose_keys_others_change_is_tried_again() {
    let (redis, proxy) = Proxy::with_redis(LOGIN);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&MEMBERS).concat(), REPLIES);
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (mut wire, over) = (redis.wire(), Arc::clone(&over));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                wire.pipeline(&["SADD sess:ann other", "SREM sess:ann other"]);
            }
        })
    };
    let token = vec![b'x'; 40 * 1024];
    let (mut again, mut applied) = (0, 0);
    for round in 0..400 {
        let mut group = words(&[b"SETEX", b"rt:ann:t1", b"100", &token]);
        group.extend(crate::harness::wire::requests(&["SADD sess:ann t1", "INCR logins:ann"]));
        wire.send(&group);
        let replies: Vec<_> = wire.replies(3).iter().map(|reply| text(reply)).collect();
        let failed = replies.iter().filter(|reply| reply.starts_with('-')).count();
        assert!(
            failed == 0 || replies.iter().all(|reply| reply.contains("other clients changed its keys")),
            "{round}: {replies:?}"
        );
        applied += u64::from(failed == 0);
        again += u64::from(failed > 0);
    }
    over.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends");
    let logins = redis.ask("GET logins:ann");
    assert!(logins.contains(&(applied + 1).to_string()), "{logins:?} for {applied}: each group once or not at all");
    println!("{applied} applied, {again} given up");
}
