//! What members of guarded groups require of their keys: where it is not so, nothing runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Proxy, RedisServer, Setup};

const RULES: &str = r#"
[[group]]
name = "both"
atomic = "guarded"
commands = [{ match = "DEL a:{id}", require = "exists" }, { match = "DEL b:{id}", require = "exists" }]

[[group]]
name = "rotate"
atomic = "guarded"
commands = [
  { match = "DEL rt:{user}:{old}", require = "ttl > 0" },
  { match = "SETEX rt:{user}:{new} * *", require = "absent" },
  { match = "SADD sess:{user} {new}", require = "type set", optional = true },
]

[[group]]
name = "swap"
atomic = "guarded"
commands = ["ECHO {old}", { match = "SET value:{id} *", require = "= {old}" }]
"#;

const DENIED: &str = "which may not be asked: ";

fn aborted(group: &str, why: &str) -> String {
    format!("-EXECABORT Transaction discarded because of previous errors. respguard: group {group} was not applied: {why}\r\n")
}

#[test]
fn two_deletes_that_must_both_find_their_key_do_or_do_nothing() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    for (set, why) in [
        ("MSET x:1 1 y:1 1", "member 1 of 2 (DEL) requires exists"),
        ("SET b:1 1", "member 1 of 2 (DEL) requires exists"),
        ("MSET a:1 1", "member 2 of 2 (DEL) requires exists"),
    ] {
        redis.ask("FLUSHALL");
        redis.ask(set);
        let before = redis.ask("DBSIZE");
        let text = aborted("both", why);
        assert_eq!(wire.pipeline(&["DEL a:1", "DEL b:1"]), [text.clone(), text]);
        assert_eq!(redis.ask("DBSIZE"), before, "{why}");
    }
    redis.ask("MSET a:1 1 b:1 1");
    assert_eq!(wire.pipeline(&["DEL a:1", "DEL b:1"]).concat(), ":1\r\n:1\r\n");
    assert_eq!((proxy.groups("both", "refused"), proxy.groups("both", "applied")), (3.0, 1.0));
    assert_eq!(proxy.violated("aborted", "both"), 3.0);
    let told = proxy.get("/violations?rule=both").1;
    assert!(told.contains("member 2 of 2 (DEL) requires exists") && told.contains("\"place\":2"), "{told}");
}

#[test]
fn a_token_is_rotated_only_if_the_old_one_is_still_there() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    let rotate = ["DEL rt:ann:t1", "SETEX rt:ann:t2 100 x"];
    let why = |why| aborted("rotate", why);
    let gone = why("member 1 of 2 (DEL) requires ttl > 0");
    assert_eq!(wire.pipeline(&rotate), [gone.clone(), gone.clone()]);
    redis.ask("SET rt:ann:t1 x");
    assert_eq!(wire.pipeline(&rotate), [gone.clone(), gone], "it has no TTL");
    redis.ask("EXPIRE rt:ann:t1 100");
    redis.ask("SET rt:ann:t2 x");
    let there = why("member 2 of 2 (SETEX) requires absent");
    assert_eq!(wire.pipeline(&rotate), [there.clone(), there]);
    redis.ask("DEL rt:ann:t2");
    let with_set = [rotate[0], rotate[1], "SADD sess:ann t2"];
    let no_set = why("member 3 of 3 (SADD) requires type set");
    assert_eq!(wire.pipeline(&with_set), [no_set.clone(), no_set.clone(), no_set]);
    redis.ask("SADD sess:ann t1");
    assert_eq!(wire.pipeline(&with_set).concat(), ":1\r\n+OK\r\n:1\r\n");
    wire.send_line("HELLO 3");
    wire.reply();
    assert_eq!(wire.pipeline(&["DEL rt:ann:t2", "SETEX rt:ann:t3 100 x"]).concat(), ":1\r\n+OK\r\n");
}

#[test]
fn a_value_is_swapped_only_if_it_is_the_old_one() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    let swap = ["ECHO one", "SET value:1 two"];
    let unmet = aborted("swap", "member 2 of 2 (SET) requires = {old}");
    assert_eq!(wire.pipeline(&swap), [unmet.clone(), unmet.clone()]);
    redis.ask("SADD value:1 one");
    assert_eq!(wire.pipeline(&swap), [unmet.clone(), unmet.clone()], "it is no string");
    redis.ask("SET value:1 one");
    assert_eq!(wire.pipeline(&swap).concat(), "$3\r\none\r\n+OK\r\n");
    assert_eq!(wire.pipeline(&swap), [unmet.clone(), unmet], "once");
    assert_eq!(redis.ask("GET value:1"), "$3\r\ntwo\r\n");
}

#[test]
fn of_clients_that_swap_the_same_value_one_does() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    for round in 0..50 {
        redis.ask("SET value:1 old");
        let won: usize = std::thread::scope(|scope| {
            let clients = (0..4).map(|client| {
                let proxy = &proxy;
                scope.spawn(move || {
                    let replies = proxy.wire().pipeline(&["ECHO old", &format!("SET value:1 {round}-{client}")]);
                    usize::from(replies[1] == "+OK\r\n")
                })
            });
            clients.collect::<Vec<_>>().into_iter().map(|client| client.join().expect("a client")).sum()
        });
        assert_eq!(won, 1, "round {round}");
    }
}

#[test]
fn what_may_not_be_asked_is_not_taken_for_true() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    redis.ask("SET value:1 one");
    redis.ask("ACL SETUSER app on >pw ~* +@all -get -type");
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("AUTH app pw"), "+OK\r\n");
    let replies = wire.pipeline(&["ECHO one", "SET value:1 two"]).concat();
    assert!(replies.matches(DENIED).count() == 2 && replies.starts_with("-EXECABORT"), "{replies}");
    let replies = wire.pipeline(&["DEL a:1", "DEL b:1"]).concat();
    assert!(replies.matches(DENIED).count() == 2 && replies.starts_with("-EXECABORT"), "{replies}");
    assert_eq!(redis.ask("GET value:1"), "$3\r\none\r\n");
}

#[test]
fn what_changes_while_it_is_asked_is_asked_again() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let stop = Arc::new(AtomicBool::new(false));
    let other = {
        let (stop, mut wire) = (Arc::clone(&stop), redis.wire());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                wire.pipeline(&["DEL a:1", "SET a:1 1", "DEL b:1", "SET b:1 1"]);
            }
        })
    };
    let mut wire = proxy.wire();
    let mut applied = 0;
    for _ in 0..300 {
        let replies = wire.pipeline(&["DEL a:1", "DEL b:1"]);
        let both = replies.concat() == ":1\r\n:1\r\n";
        assert!(both || replies.iter().all(|reply| reply.starts_with("-EXECABORT")), "one alone: {replies:?}");
        applied += usize::from(both);
    }
    stop.store(true, Ordering::Relaxed);
    other.join().expect("it ends");
    assert!(applied > 0, "none was applied");
}

#[test]
fn what_is_observed_requires_nothing() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1\nmode = \"observe\"").rules(RULES).start();
    assert_eq!(proxy.wire().pipeline(&["DEL a:1", "DEL b:1"]).concat(), ":0\r\n:0\r\n");
}
