//! Commands that would be a group but for one thing are told, with what does not match, and nothing else about them changes.

use std::time::Duration;

use crate::harness::{Proxy, RedisServer, Setup, eventually};

const LOGIN: &str = r#"
[[group]]
name = "login"
commands = ["SETEX rt:{user}:{token} {ttl} *", "SADD sess:{user} {token}", "EXPIRE sess:{user} {ttl}"]
"#;

/// The only violation that the proxy has told, once there is one.
fn told(proxy: &Proxy) -> String {
    eventually("it is told", || proxy.violated("near_miss", "login") == 1.0);
    let logged = || proxy.violations().into_iter().find(|line| line.contains("near_miss"));
    // The log is written beside the counters.
    eventually("it is logged", || logged().is_some());
    logged().expect("it is logged")
}

#[test]
fn each_way_to_miss_a_group_is_told_in_the_words_of_the_rule() {
    let redis = RedisServer::start(&[]);
    let (setex, sadd, expire) = ("SETEX rt:u:t 60 secret", "SADD sess:u t", "EXPIRE sess:u 60");
    for (lines, place, why) in [
        ([setex, sadd, "EXPIRE sess:u 999999"], 3, "{ttl} in `EXPIRE sess:{user} {ttl}` is another than in the other members"),
        ([setex, "SADD sess:zed t", "EXPIRE sess:zed 60"], 2, "{user} in `SADD sess:{user} {token}` is another than"),
        ([sadd, setex, expire], 1, "`SADD sess:{user} {token}` comes before `SETEX rt:{user}:{token} {ttl} *`"),
        ([setex, expire, sadd], 2, "`EXPIRE sess:{user} {ttl}` comes before `SADD sess:{user} {token}`"),
        (
            [setex, sadd, "EXPIRE session:u 60"],
            3,
            "the arguments of `EXPIRE sess:{user} {ttl}` have another form: `sess:{user}` does not fit",
        ),
        (
            [setex, "SADD sess:u t more", expire],
            2,
            "the arguments of `SADD sess:{user} {token}` have another form: there are more",
        ),
        (["SETEX tokens:u:t 60 secret", sadd, expire], 1, "`rt:{user}:{token}` does not fit"),
    ] {
        for hold in ["hold_ms = 0", "hold_ms = 2"] {
            let proxy = Setup::new(&redis).rules(LOGIN).pipeline(hold).start();
            let mut wire = proxy.wire();
            let direct = redis.wire().pipeline(&lines);
            assert_eq!(wire.pipeline(&lines).len(), direct.len());
            let told = told(&proxy);
            assert!(told.contains(why) && told.contains(&format!("\"place\":{place}")), "{lines:?}: {told}");
            for value in ["secret", "zed", "session:u", "tokens", "999999"] {
                assert!(!told.contains(value), "{told}");
            }
        }
    }
}

#[test]
fn what_is_no_near_miss_is_not_told() {
    let (_redis, proxy) = Proxy::with_redis(LOGIN);
    let mut wire = proxy.wire();
    let whole = ["SETEX rt:u:t 60 v", "SADD sess:u t", "EXPIRE sess:u 60"];
    wire.pipeline(&whole);
    wire.pipeline(&["SETEX rt:u:t 60 v", "SADD sess:u t", "GET k"]);
    wire.pipeline(&["SETEX rt:u:t 60 v", "SADD other t", "EXPIRE other 60"]);
    wire.pipeline(&["SETEX rt:u:t 60 v", "SADD sess:x t y", "EXPIRE sess:z 60"]);
    wire.pipeline(&["SETEX rt:a:t 60 v", "SETEX rt:u:t 60 v", "SADD sess:u t", "EXPIRE sess:u 60", "SETEX rt:b:t 60 v"]);
    for line in ["SETEX rt:u:t 60 v", "SADD sess:u x", "EXPIRE sess:u 60"] {
        wire.ask(line);
    }
    wire.pipeline(&["MULTI", "SETEX rt:u:t 60 v", "SADD sess:u t", "EXPIRE sess:u 61", "EXEC"]);
    wire.pipeline(&whole);
    eventually("groups are groups", || proxy.groups("login", "applied") == 3.0);
    assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "near_miss")]), 0.0);
}

#[test]
fn members_of_which_the_rest_comes_later_are_no_near_miss() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rules(LOGIN).pipeline("hold_ms = 2000\nhold_max_ms = 5000").start();
    let mut wire = proxy.wire();
    wire.send(&crate::harness::wire::requests(&["SETEX rt:u:t 60 v", "SADD sess:u t", "EXPIRE sess:other 60"]));
    assert!(wire.is_silent_for(Duration::from_millis(50)));
    wire.send_line("EXPIRE sess:u 60");
    assert_eq!(wire.replies(4).len(), 4);
    eventually("it is a group", || proxy.groups("login", "applied") == 1.0);
    assert_eq!(proxy.metric("respguard_violations_total", &[]), 0.0);
}

#[test]
fn it_is_told_once_a_second_for_each_connection() {
    let (_redis, proxy) = Proxy::with_redis(LOGIN);
    let lines = ["SETEX rt:u:t 60 v", "SADD sess:u t", "EXPIRE sess:u 120"];
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    for _ in 0..20 {
        wire.pipeline(&lines);
    }
    other.pipeline(&lines);
    eventually("each connection is told of", || proxy.violated("near_miss", "login") >= 2.0);
    assert!(proxy.violated("near_miss", "login") <= 6.0, "not of each batch");
    std::thread::sleep(Duration::from_millis(1100));
    let before = proxy.violated("near_miss", "login");
    wire.pipeline(&lines);
    eventually("it is told again", || proxy.violated("near_miss", "login") == before + 1.0);
}
