//! Groups that are applied once: the same again answers that it was, over any number of proxies.

use std::time::{Duration, Instant};

use crate::harness::wire::{requests, words};
use crate::harness::{Chaos, Proxy, RedisServer, Setup, Way, Wire, eventually, text};

const NO_BREAKER: &str = "[breaker]\nenabled = false\n";

/// `pay` with these keys beside its own.
fn rules(more: &str) -> String {
    format!(
        "[[group]]\nname = \"pay\"\natomic = \"guarded\"\n{more}\ncommands = [\"INCRBY balance:{{{{a}}}} *\", \"RPUSH log:{{{{a}}}} {{id}}\"]\n{NO_BREAKER}"
    )
}

fn by_id(more: &str) -> String {
    rules(&format!("once = \"10m\"\nonce_key = \"{{id}}\"\n{more}"))
}

const PAY: [&str; 2] = ["INCRBY balance:{a} 5", "RPUSH log:{a} p1"];

fn is_duplicate(reply: &str) -> bool {
    reply.starts_with("-DUPLICATE group pay was applied ") && reply.ends_with(" s ago; nothing was applied again\r\n")
}

#[track_caller]
fn assert_duplicate(replies: &[String]) {
    assert!(replies.iter().all(|reply| is_duplicate(reply)), "{replies:?}");
}

fn eval(redis: &RedisServer, script: &str) -> String {
    let mut wire = redis.wire();
    wire.send(&words(&[b"EVAL", script.as_bytes(), b"0"]));
    text(&wire.reply())
}

fn markers(redis: &RedisServer) -> usize {
    redis.ask("KEYS respguard:*").matches("once:pay").count()
}

#[test]
fn the_same_group_again_is_told_and_another_is_applied() {
    let (redis, proxy) = Proxy::with_redis(&by_id(""));
    assert_eq!(proxy.groups("pay", "duplicate"), 0.0, "it is there before it counts");
    assert_eq!(proxy.violated("duplicate", "pay"), 0.0);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&PAY).concat(), ":5\r\n:1\r\n");
    assert_duplicate(&wire.pipeline(&PAY));
    wire.send_line("HELLO 3");
    wire.reply();
    assert_duplicate(&wire.pipeline(&["incrby balance:{a} 7", PAY[1]]));
    assert_eq!(wire.pipeline(&["INCRBY balance:{a} 5", "RPUSH log:{a} p2"]).concat(), ":10\r\n:2\r\n");
    assert_eq!(redis.ask("GET balance:{a}"), "$2\r\n10\r\n");
    assert_eq!((proxy.groups("pay", "applied"), proxy.groups("pay", "duplicate")), (2.0, 2.0));
    assert_eq!(proxy.violated("duplicate", "pay"), 2.0);
    eventually("only the markers are left", || redis.ask("DBSIZE") == ":4\r\n" && markers(&redis) == 2);
    let lifetime: i64 =
        eval(&redis, "return redis.call('PTTL',redis.call('KEYS','respguard:*')[1])").trim()[1..].parse().expect("a number");
    assert!((500_000..=600_000).contains(&lifetime), "{lifetime}");
}

#[test]
fn what_did_not_run_leaves_no_marker() {
    let (redis, proxy) = Proxy::with_redis(&by_id(""));
    let mut wire = proxy.wire();
    redis.ask("SET log:{a} text");
    assert!(wire.pipeline(&PAY)[1].starts_with("-WRONGTYPE"));
    redis.ask("DEL log:{a}");
    redis.ask("ACL SETUSER default -rpush");
    assert!(wire.pipeline(&PAY)[1].starts_with("-NOPERM"));
    assert_eq!(markers(&redis), 0);
    redis.ask("ACL SETUSER default +rpush");
    assert_eq!(wire.pipeline(&PAY).concat(), ":5\r\n:1\r\n");
}

#[test]
fn after_its_time_a_group_is_applied_again() {
    let (redis, proxy) = Proxy::with_redis(&rules("once = \"300ms\"\nonce_key = \"{id}\""));
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&PAY).concat(), ":5\r\n:1\r\n");
    eventually("the marker has gone", || markers(&redis) == 0);
    assert_eq!(wire.pipeline(&PAY).concat(), ":10\r\n:2\r\n");
}

#[test]
fn by_their_digest_groups_are_the_same_whose_bytes_are() {
    let (redis, proxy) = Proxy::with_redis(&rules("once = \"10m\"\nonce_key = \"digest\""));
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&PAY).concat(), ":5\r\n:1\r\n");
    assert_duplicate(&wire.pipeline(&PAY));
    assert_eq!(wire.pipeline(&["INCRBY balance:{a} 6", PAY[1]]).concat(), ":11\r\n:2\r\n");
    let runs = "[[group]]\nname = \"run\"\natomic = \"guarded\"\nonce = \"10m\"\nonce_key = \"digest\"\nkeys = [\"k:*\"]\n";
    let proxy = Proxy::start(runs, &redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["SET k:1 a", "SET k:2 b"]).concat(), "+OK\r\n+OK\r\n", "without a question");
    assert!(wire.pipeline(&["SET k:1 a", "SET k:2 b"]).concat().contains("-DUPLICATE group run"));
}

#[test]
fn what_was_answered_the_first_time_is_answered_again() {
    let (redis, proxy) = Proxy::with_redis(&by_id("on_duplicate = \"replay\""));
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.pipeline(&PAY).concat(), ":5\r\n:1\r\n");
    eventually("the replies are kept", || markers(&redis) == 2);
    assert_eq!(other.pipeline(&PAY).concat(), ":5\r\n:1\r\n");
    assert_eq!(wire.pipeline(&[PAY[0], PAY[1], "PING"]).concat(), ":5\r\n:1\r\n+PONG\r\n");
    other.send_line("HELLO 3");
    other.reply();
    assert_duplicate(&other.pipeline(&PAY));
    assert_eq!(redis.ask("GET balance:{a}"), "$1\r\n5\r\n");
    assert_eq!((proxy.groups("pay", "duplicate"), proxy.violated("duplicate", "pay")), (3.0, 1.0));
}

#[test]
fn what_a_client_was_answered_that_had_left_is_answered_when_it_comes_again() {
    let redis = RedisServer::start(&[]);
    let chaos = Chaos::before(redis.port());
    let proxy = Setup::new(&redis).through(chaos.port()).top("workers = 1").rules(&by_id("on_duplicate = \"replay\"")).start();
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    assert_eq!(wire.pipeline(&["INCRBY balance:{b} 1", "RPUSH log:{b} p0"]).concat(), ":1\r\n:1\r\n");
    chaos.down(Way::Hold);
    wire.send(&requests(&PAY));
    eventually("it is applied", || redis.ask("EXISTS log:{a}") == ":1\r\n");
    drop(wire);
    chaos.down(Way::Pass);
    eventually("its replies are kept", || markers(&redis) == 2);
    assert_eq!(other.pipeline(&PAY).concat(), ":5\r\n:1\r\n");
}

#[test]
fn replies_beyond_16_kib_are_not_kept() {
    let redis = RedisServer::start(&[]);
    let commands = "commands = [\"GET value:{{a}}\", \"RPUSH log:{{a}} {id}\"]";
    let rules = format!(
        "[[group]]\nname = \"pay\"\natomic = \"guarded\"\nonce = \"10m\"\nonce_key = \"{{id}}\"\non_duplicate = \"replay\"\n{commands}\n"
    );
    let proxy = Proxy::start(&rules, &redis);
    let mut wire = proxy.wire();
    // `$16000` and its ends, and `:1`, are 15 bytes.
    for (length, kept) in [(16 * 1024 - 14, true), (16 * 1024 - 13, false), (300_000, false)] {
        let value = "x".repeat(length);
        redis.wire().send(&words(&[b"SET", b"value:{a}", value.as_bytes()]));
        eventually("it is set", || redis.ask("STRLEN value:{a}") == format!(":{length}\r\n"));
        redis.ask("DEL log:{a}");
        let push = format!("RPUSH log:{{a}} p{length}");
        let pair = ["GET value:{a}", &push];
        let first = wire.pipeline(&pair);
        assert_eq!(first[1], ":1\r\n");
        // What is kept goes out before the next command of the same client.
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
        let again = wire.pipeline(&pair);
        if kept { assert_eq!(again, first) } else { assert_duplicate(&again) }
    }
}

#[test]
fn a_marker_of_another_version_is_a_marker() {
    let (redis, proxy) = Proxy::with_redis(&by_id("on_duplicate = \"replay\""));
    let mut wire = proxy.wire();
    wire.pipeline(&PAY);
    eventually("the replies are kept", || markers(&redis) == 2);
    eval(
        &redis,
        "for _,k in ipairs(redis.call('KEYS','respguard:*')) do redis.call('SET',k,'2 what a later one says','KEEPTTL') end",
    );
    let told = "-DUPLICATE group pay was applied before; nothing was applied again\r\n";
    assert_eq!(wire.pipeline(&PAY), [told, told]);
}

#[test]
fn whoever_may_not_ask_for_the_marker_or_set_it_is_refused() {
    let (redis, proxy) = Proxy::with_redis(&by_id(""));
    for (user, rights, said) in [
        ("one", "-get", "whether it was applied before may not be asked: "),
        ("two", "resetkeys %R~respguard:* ~balance:* ~log:*", "its preflight cannot run"),
    ] {
        assert_eq!(redis.ask(&format!("ACL SETUSER {user} reset on >pw ~* &* +@all {rights}")), "+OK\r\n");
        let mut wire = proxy.wire();
        assert_eq!(wire.ask(&format!("AUTH {user} pw")), "+OK\r\n");
        let replies = wire.pipeline(&PAY);
        assert!(replies.iter().all(|reply| reply.starts_with("-EXECABORT") && reply.contains(said)), "{replies:?}");
    }
    assert_eq!(redis.ask("EXISTS balance:{a} log:{a}"), ":0\r\n");
}

#[test]
fn a_group_whose_reply_was_lost_is_told_to_its_sender_and_to_those_who_send_it_again() {
    let redis = RedisServer::start(&[]);
    let chaos = Chaos::before(redis.port());
    let upstream = "request_timeout_ms = 4000\nqueue_timeout_ms = 3000\nstall_timeout_ms = 30000\nretries_per_second = 100000";
    let start = |resolve: &str| {
        Setup::new(&redis).through(chaos.port()).top("workers = 1").upstream(upstream).rules(&by_id(resolve)).start()
    };
    for (resolve, lost) in [("resolve = true", "-COMMITTED"), ("", "-TIMEOUT")] {
        let proxy = start(resolve);
        let (mut wire, mut other) = (proxy.wire(), proxy.wire());
        wire.pipeline(&["INCRBY balance:{a} 1", &format!("RPUSH log:{{a}} first{lost}")]);
        let pay = ["INCRBY balance:{a} 5".to_owned(), format!("RPUSH log:{{a}} {lost}")];
        let pay = pay.each_ref().map(String::as_str);
        chaos.down(Way::Reset(0));
        let replies = wire.pipeline(&pay);
        assert!(replies.iter().all(|reply| reply.starts_with(lost)), "{replies:?}");
        eventually("it was applied", || redis.ask("LRANGE log:{a} -1 -1").contains(lost));
        chaos.down(Way::Pass);
        let mut again = Vec::new();
        eventually("the server is there again", || {
            again = other.pipeline(&pay);
            !again[0].starts_with("-EXECABORT") && !again[0].starts_with("-TIMEOUT")
        });
        assert_duplicate(&again);
    }
    assert_eq!(redis.ask("LLEN log:{a}"), ":4\r\n");
}

/// Sends the group until it is known what became of it; true when it was applied by this.
fn settled(wire: &mut Wire, pay: &[&str]) -> (bool, bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut was_unknown = false;
    loop {
        let replies = wire.pipeline(pay);
        if replies[0].starts_with(':') && replies[1].starts_with(':') {
            return (true, was_unknown);
        }
        if replies.iter().all(|reply| is_duplicate(reply)) {
            return (false, was_unknown);
        }
        let passes = ["-TIMEOUT", "-EXECABORT"];
        assert!(replies.iter().all(|reply| passes.iter().any(|passing| reply.starts_with(passing))), "{replies:?}");
        was_unknown |= replies[0].starts_with("-TIMEOUT");
        assert!(Instant::now() < deadline, "{replies:?}");
    }
}

#[test]
fn of_duplicates_sent_at_random_over_two_proxies_one_is_applied() {
    const CLIENTS: usize = 8;
    let soak: Option<u64> = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let (least, longest) = soak.map_or((60, 0), |seconds| (1000, seconds));
    let began = Instant::now();
    let redis = RedisServer::start(&[]);
    let chaos = [Chaos::before(redis.port()), Chaos::before(redis.port())];
    let upstream = "request_timeout_ms = 2000\nqueue_timeout_ms = 2000\nconnect_timeout_ms = 500\nstall_timeout_ms = 30000";
    let start = |chaos: &Chaos| Setup::new(&redis).through(chaos.port()).upstream(upstream).rules(&by_id("")).start();
    let proxies = chaos.each_ref().map(start);
    let mut wires: Vec<Wire> = (0..CLIENTS).map(|client| proxies[client % 2].wire()).collect();
    let (mut round, mut unknown) = (0, 0);
    while round < least || began.elapsed() < Duration::from_secs(longest) {
        let push = format!("RPUSH log:{{a}} r{round}");
        let pay = ["INCRBY balance:{a} 1", &push];
        let settled: Vec<(bool, bool)> = std::thread::scope(|scope| {
            let clients: Vec<_> = wires.iter_mut().map(|wire| scope.spawn(|| settled(wire, &pay))).collect();
            if fastrand::bool() {
                std::thread::sleep(Duration::from_micros(fastrand::u64(0..2000)));
                match fastrand::u8(0..3) {
                    0 => chaos[0].reset(),
                    1 => chaos[1].down(Way::Reset(fastrand::usize(0..300))),
                    _ => drop(redis.ask("CLIENT KILL TYPE normal SKIPME yes")),
                }
            }
            clients.into_iter().map(|client| client.join().expect("a client")).collect()
        });
        let applied = settled.iter().filter(|(applied, _)| *applied).count();
        let was_unknown = settled.iter().any(|(_, unknown)| *unknown);
        round += 1;
        unknown += usize::from(was_unknown);
        assert!(applied == 1 || applied == 0 && was_unknown, "round {round}: {applied} clients were told that they did it");
        let done = format!(":{round}\r\n");
        assert_eq!(redis.ask("LLEN log:{a}"), done, "round {round}: applied once");
    }
    assert_eq!(redis.ask("GET balance:{a}"), format!("${}\r\n{round}\r\n", round.to_string().len()));
    println!("{round} rounds, {unknown} with an unknown outcome");
    for proxy in &proxies {
        assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    }
}
