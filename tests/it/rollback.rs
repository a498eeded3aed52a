//! Groups that are rolled back: where a member fails, all is as it was before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::wire::words;
use crate::harness::{Proxy, RedisServer, Wire, eventually, text};

const SCRIPT: &str = "redis.call('SET',KEYS[1],ARGV[1]) return redis.call('INCR',KEYS[2])";
const RULES: &str = r#"
[[group]]
name = "script"
atomic = "rollback"
commands = ["EVAL * 2 {{u}}:* ...", "RPUSH {{u}}:log *"]

[[group]]
name = "pay"
atomic = "rollback"
once = "1m"
once_key = "{id}"
commands = [{ match = "HINCRBY {{b}}:balance {id} *", require = "exists" }, "LSET {{b}}:log 0 *"]

[[group]]
name = "run"
atomic = "rollback"
rollback_bytes_max = 100000
keys = ["{{r}}:*"]
"#;

fn eval(script: &str, more: &[&str]) -> Vec<u8> {
    let mut all = vec!["EVAL", script];
    all.extend(more);
    words(&all.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
}

fn ask(wire: &mut Wire, requests: &[Vec<u8>]) -> Vec<String> {
    wire.send(&requests.concat());
    wire.replies(requests.len()).iter().map(|reply| text(reply)).collect()
}

fn push(value: &str) -> Vec<u8> {
    words(&[b"RPUSH", b"{u}:log", value.as_bytes()])
}

#[track_caller]
pub(super) fn assert_nothing_is_left(redis: &RedisServer) {
    eventually("nothing of ours is left", || !redis.ask("KEYS *").contains("respguard:"));
}

#[test]
fn a_script_that_fails_takes_the_whole_group_back() {
    for protocol in ["2", "3"] {
        let (redis, proxy) = Proxy::with_redis(RULES);
        assert_eq!(proxy.groups("script", "rolled_back"), 0.0, "it is there before it counts");
        let mut wire = proxy.wire();
        wire.send_line(&format!("HELLO {protocol}"));
        wire.reply();
        let group = |value: &str| [eval(SCRIPT, &["2", "{u}:v", "{u}:n", value]), push(value)];
        assert_eq!(ask(&mut wire, &group("one")).concat(), ":1\r\n:1\r\n");
        redis.ask("SET {u}:n text");
        redis.ask("PEXPIRE {u}:v 100000");
        let replies = ask(&mut wire, &group("two"));
        assert!(replies[0].starts_with("-ERR value is not an integer"), "{replies:?}");
        let why = "-EXECABORT Transaction discarded because of previous errors. respguard: group script was not applied: member 1 of 2 (EVAL) answered ERR value is not an integer";
        assert!(replies[1].starts_with(why) && replies[1].ends_with("; all is as it was before\r\n"), "{replies:?}");
        assert_eq!(redis.ask("GET {u}:v"), "$3\r\none\r\n");
        assert_eq!((redis.ask("GET {u}:n"), redis.ask("LLEN {u}:log")), ("$4\r\ntext\r\n".to_owned(), ":1\r\n".to_owned()));
        assert!(redis.ask("PTTL {u}:v").trim()[1..].parse::<i64>().expect("a number") > 50_000);
        assert_eq!((proxy.groups("script", "applied"), proxy.groups("script", "rolled_back")), (1.0, 1.0));
        assert_eq!(proxy.violated("aborted", "script"), 1.0);
        assert_nothing_is_left(&redis);
        assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    }
}

#[test]
fn an_error_that_a_script_catches_counts() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    redis.ask("SET {u}:n text");
    let script = "redis.call('SET',KEYS[1],'x') redis.pcall('INCR',KEYS[2]) return 1";
    let replies = ask(&mut wire, &[eval(script, &["2", "{u}:v", "{u}:n"]), push("x")]);
    let caught = "an error was caught within a script; all is as it was before\r\n";
    assert!(replies.iter().all(|reply| reply.starts_with("-EXECABORT") && reply.ends_with(caught)), "{replies:?}");
    assert_eq!(redis.ask("EXISTS {u}:v {u}:log"), ":0\r\n");
}

#[test]
fn what_cannot_be_kept_does_not_run() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    redis.wire().send(&words(&[b"SET", b"{r}:big", &vec![b'x'; 200_000]]));
    eventually("it is set", || redis.ask("STRLEN {r}:big") == ":200000\r\n");
    let replies = wire.pipeline(&["SET {r}:a 1", "APPEND {r}:big x"]);
    assert!(
        replies.iter().all(|reply| reply.contains("its keys take more than rollback_bytes_max (100000) of memory")),
        "{replies:?}"
    );
    assert_eq!(redis.ask("EXISTS {r}:a"), ":0\r\n");
    redis.ask("SET {r}:a old");
    // A string is kept as it is, all else as DUMP gives it.
    redis.ask("RPUSH {r}:b old");
    for lacking in ["dump", "restore", "info", "memory", "pexpiretime"] {
        redis.ask(&format!("ACL SETUSER {lacking} on >pw ~* +@all -{lacking}"));
        let mut wire = proxy.wire();
        assert_eq!(wire.ask(&format!("AUTH {lacking} pw")), "+OK\r\n");
        let replies = wire.pipeline(&["SET {r}:a 1", "SET {r}:b 1"]);
        assert!(
            replies.iter().all(|reply| reply.starts_with("-EXECABORT") && reply.contains("cannot be kept")),
            "{lacking}: {replies:?}"
        );
        assert_eq!(
            (redis.ask("GET {r}:a"), redis.ask("LINDEX {r}:b 0")),
            ("$3\r\nold\r\n".to_owned(), "$3\r\nold\r\n".to_owned()),
            "{lacking}"
        );
    }
    assert_eq!(proxy.groups("run", "refused"), 6.0);
    assert_nothing_is_left(&redis);
    let replies = wire.pipeline(&["SET {r}:a 1", "COPY {r}:a {r}:b DB 1"]);
    assert!(replies.iter().all(|reply| reply.contains("it may write to another database")), "{replies:?}");
}

#[test]
fn a_marker_of_what_was_rolled_back_is_none() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    let pay = ["HINCRBY {b}:balance p1 5", "LSET {b}:log 0 p1"];
    let replies = wire.pipeline(&pay);
    assert!(replies.iter().all(|reply| reply.contains("member 1 of 2 (HINCRBY) requires exists")), "{replies:?}");
    redis.ask("HSET {b}:balance other 1");
    assert_eq!(wire.pipeline(&pay)[1], "-ERR no such key\r\n");
    assert_eq!(redis.ask("HLEN {b}:balance"), ":1\r\n");
    redis.ask("RPUSH {b}:log x");
    assert_eq!(wire.pipeline(&pay).concat(), ":5\r\n+OK\r\n", "it may be tried again");
    assert!(wire.pipeline(&pay).iter().all(|reply| reply.starts_with("-DUPLICATE group pay")));
}

#[test]
fn who_waits_is_not_woken_by_what_is_taken_back() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    redis.ask("SET {r}:text x");
    let mut waiting = redis.wire();
    waiting.send_line("BLPOP {r}:list 0");
    eventually("it waits", || redis.info("clients", "blocked_clients") == 1);
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["RPUSH {r}:list a", "INCR {r}:text"]);
    assert!(replies[1].starts_with("-ERR value is not an integer"), "{replies:?}");
    assert!(waiting.is_silent_for(Duration::from_millis(200)));
    assert_eq!(wire.pipeline(&["RPUSH {r}:list b", "SET {r}:text 5"]).concat(), ":1\r\n+OK\r\n");
    assert_eq!(text(&waiting.reply()), "*2\r\n$8\r\n{r}:list\r\n$1\r\nb\r\n");
}

#[test]
fn readers_see_all_or_nothing_and_what_others_write_is_never_lost() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    redis.ask("SET {r}:text x");
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wire = redis.wire();
            while !stop.load(Ordering::Relaxed) {
                let seen = wire.ask("MGET {r}:a {r}:b");
                assert!(seen == "*2\r\n$-1\r\n$-1\r\n" || !seen.contains("$-1"), "torn: {seen}");
            }
        });
        let other = scope.spawn(|| {
            let (mut wire, mut written) = (redis.wire(), 0);
            while !stop.load(Ordering::Relaxed) {
                written += 1;
                assert_eq!(wire.ask("INCR {r}:count"), format!(":{written}\r\n"), "an older value was put back");
                std::thread::sleep(Duration::from_micros(500));
            }
            written
        });
        let mut wire = proxy.wire();
        for round in 0..400 {
            let last = if round % 2 == 0 { "INCR {r}:text" } else { "DEL {r}:a {r}:b" };
            let replies = wire.pipeline(&["SET {r}:a 1", "GET {r}:count", "SET {r}:b 1", last]);
            assert!(replies.iter().all(|reply| !reply.starts_with("-PARTIAL")), "{replies:?}");
        }
        stop.store(true, Ordering::Relaxed);
        other.join().expect("it ends")
    });
    assert_eq!(redis.ask("GET {r}:count"), format!("${}\r\n{written}\r\n", written.to_string().len()));
}

/// A script that uses up memory, and a member that fails behind it.
const GROWS: &str = "redis.call('SET',KEYS[1],string.rep('x',1000000)) return redis.call('SET',KEYS[2],'1')";

#[test]
fn where_memory_is_used_up_nothing_runs_and_what_used_it_up_is_taken_back() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    let group = |script: &str| [eval(script, &["2", "{u}:v", "{u}:n", "one"]), push("one")];
    assert_eq!(ask(&mut wire, &group(SCRIPT)).concat(), ":1\r\n:1\r\n");
    redis.ask("CONFIG SET maxmemory 1");
    let replies = ask(&mut wire, &group(SCRIPT));
    assert!(replies.iter().all(|reply| reply.starts_with('-')), "{replies:?}");
    assert_eq!(redis.ask("GET {u}:n"), "$1\r\n1\r\n", "nothing has run");
    // Enough for the group to begin, and not for what it does.
    redis.ask(&format!("CONFIG SET maxmemory {}", redis.info("memory", "used_memory") + 400_000));
    redis.ask("DEL {u}:log");
    redis.ask("SET {u}:log text");
    let replies = ask(&mut wire, &group(GROWS));
    assert!(replies[1].starts_with("-WRONGTYPE "), "{replies:?}");
    assert!(replies[0].starts_with("-EXECABORT ") && replies[0].contains("all is as it was before"), "{replies:?}");
    assert_eq!(redis.ask("GET {u}:v"), "$3\r\none\r\n", "restored although memory was used up");
    redis.ask("CONFIG SET maxmemory 0");
    redis.ask("DEL {u}:log");
    assert_eq!(ask(&mut wire, &group(SCRIPT)).concat(), ":2\r\n:1\r\n");
    assert_eq!(proxy.groups("script", "torn") + proxy.groups("script", "unguarded"), 0.0);
    assert_nothing_is_left(&redis);
}

#[test]
fn what_was_kept_and_is_evicted_before_the_group_runs_is_kept_again() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    let long = "x".repeat(400_000);
    let group = [eval(SCRIPT, &["2", "{u}:v", "{u}:n", "one"]), push("one")];
    // The server keeps the scripts from then on, too.
    assert_eq!(ask(&mut wire, &group).concat(), ":1\r\n:1\r\n");
    redis.ask("CONFIG SET maxmemory-policy volatile-lru");
    redis.ask("DEL {u}:n {u}:log");
    redis.ask("SET {u}:log text");
    for round in 0..10 {
        redis.ask("CONFIG SET maxmemory 0");
        redis.ask(&format!("SET {{u}}:v {long}"));
        // Not enough for a second copy: among the few keys that may be evicted is what is kept.
        let enough = redis.info("memory", "used_memory") + 200_000;
        redis.ask(&format!("CONFIG SET maxmemory {enough}"));
        let replies = ask(&mut wire, &group);
        assert!(replies[0].starts_with("-EXECABORT "), "round {round}: {replies:?}");
        assert_eq!(redis.ask("STRLEN {u}:v"), ":400000\r\n", "round {round}");
        assert_eq!(redis.ask("EXISTS {u}:n"), ":0\r\n", "round {round}");
    }
    assert!(redis.info("stats", "evicted_keys") > 0, "it was evicted");
    assert_eq!(proxy.groups("script", "torn"), 0.0);
    redis.ask("CONFIG SET maxmemory 0");
    assert_nothing_is_left(&redis);
}

/// Groups of which half fail.
fn applied_and_taken_back(redis: &RedisServer, proxy: &Proxy) {
    let mut wire = proxy.wire();
    for round in 0..40 {
        redis.ask(if round % 2 == 0 { "DEL {u}:log" } else { "SET {u}:log text" });
        let value = format!("v{round}");
        let replies = ask(&mut wire, &[eval(SCRIPT, &["2", "{u}:v", "{u}:n", &value]), push(&value)]);
        assert_eq!(replies.iter().any(|reply| reply.starts_with('-')), round % 2 == 1, "{replies:?}");
    }
    assert_nothing_is_left(redis);
}

#[test]
fn replicas_hold_what_their_primary_holds() {
    let redis = RedisServer::start(&["--enable-debug-command yes --repl-diskless-sync-delay 0"]);
    let replica = RedisServer::start(&["--enable-debug-command yes", &format!("--replicaof 127.0.0.1 {}", redis.port())]);
    eventually("it follows", || replica.ask("INFO replication").contains("master_link_status:up"));
    let proxy = Proxy::start(RULES, &redis);
    applied_and_taken_back(&redis, &proxy);
    eventually("both hold the same", || redis.ask("DEBUG DIGEST") == replica.ask("DEBUG DIGEST"));
    assert_eq!(replica.ask("GET {u}:v"), "$3\r\nv38\r\n");
}

#[test]
fn what_the_log_of_writes_restores_is_what_was_there() {
    let mut redis = RedisServer::start(&["--enable-debug-command yes --appendonly yes --appendfsync always"]);
    let proxy = Proxy::start(RULES, &redis);
    applied_and_taken_back(&redis, &proxy);
    let before = redis.ask("DEBUG DIGEST");
    redis.restart();
    eventually("it has read its log", || redis.ask("DEBUG DIGEST") == before);
    assert_eq!(redis.ask("GET {u}:v"), "$3\r\nv38\r\n");
}

#[test]
fn an_answer_that_is_too_long_to_be_kept_until_its_end_is_told_as_applied_or_taken_back() {
    const LONG: &str = "redis.call('SET',KEYS[1],ARGV[1]) return string.rep('x',17*1024*1024)";
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    let replies = ask(&mut wire, &[eval(LONG, &["2", "{u}:v", "{u}:n", "one"]), push("one")]);
    let why = "-COMMITTED group script was applied, its replies are too long to be kept";
    assert!(replies.iter().all(|reply| reply.starts_with(why)), "{}", replies.concat().chars().take(300).collect::<String>());
    assert_eq!(redis.ask("GET {u}:v"), "$3\r\none\r\n");
    redis.ask("SET {u}:log text");
    let replies = ask(&mut wire, &[eval(LONG, &["2", "{u}:v", "{u}:n", "two"]), push("two")]);
    assert!(replies[0].starts_with("-EXECABORT ") && replies[1].starts_with("-WRONGTYPE "), "{replies:?}");
    assert_eq!(redis.ask("GET {u}:v"), "$3\r\none\r\n", "it was taken back");
    eventually("both are counted", || (proxy.groups("script", "committed"), proxy.groups("script", "rolled_back")) == (1.0, 1.0));
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
    assert_nothing_is_left(&redis);
}
