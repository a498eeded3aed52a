//! What a group's rule demands of its members: their order, and their replies.

use crate::harness::{Proxy, RedisServer, eventually, text};

const ANY_ORDER: &str = r#"
[[group]]
name = "login"
order = "any"
commands = ["SETEX rt:{user}:{token} * *", "SADD sess:{user} {token}", { match = "EXPIRE sess:{user} *", optional = true }]
"#;

#[test]
fn members_in_any_order_are_applied_together() {
    let (redis, proxy) = Proxy::with_redis(ANY_ORDER);
    let members = ["SETEX rt:u:t 60 v", "SADD sess:u t", "EXPIRE sess:u 60"];
    let mut wire = proxy.wire();
    for (round, order) in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]].into_iter().enumerate() {
        let commands = order.map(|place| members[place]);
        redis.ask("FLUSHALL");
        let direct = redis.wire().pipeline(&commands);
        redis.ask("FLUSHALL");
        assert_eq!(wire.pipeline(&commands), direct, "{order:?}");
        eventually("the group is applied", || proxy.groups("login", "applied") == (round + 1) as f64);
    }
}

#[test]
fn the_beginning_of_a_group_in_any_order_is_held() {
    let redis = RedisServer::start(&[]);
    let proxy = crate::harness::Setup::new(&redis).rules(ANY_ORDER).pipeline("hold_ms = 2000\nhold_max_ms = 5000").start();
    let mut wire = proxy.wire();
    wire.send_line("SADD sess:u t");
    assert!(wire.is_silent_for(std::time::Duration::from_millis(100)), "its rest may come");
    wire.send_line("SETEX rt:u:t 60 v");
    wire.send_line("EXPIRE sess:u 60");
    assert_eq!(wire.replies(3).concat(), b":1\r\n+OK\r\n:1\r\n");
    eventually("the group is applied", || proxy.groups("login", "applied") == 1.0);
}

fn blob(more: &str) -> String {
    format!("[[group]]\nname = \"blob\"\ncommands = [\"DEL blob:{{id}}\", \"DEL info:{{id}}\"]\nagree = \"all\"\n{more}")
}

#[test]
fn replies_that_do_not_agree_are_told_and_left_as_they_are() {
    let redis = RedisServer::start(&[]);
    for more in ["", "atomic = \"observe\""] {
        let proxy = Proxy::start(&blob(more), &redis);
        redis.ask("MSET blob:1 x info:1 x blob:2 x");
        let mut wire = proxy.wire();
        assert_eq!(wire.pipeline(&["DEL blob:1", "DEL info:1"]).concat(), ":1\r\n:1\r\n");
        assert_eq!(proxy.violated("expectation", "blob"), 0.0);
        assert_eq!(wire.pipeline(&["DEL blob:2", "DEL info:2"]).concat(), ":1\r\n:0\r\n");
        eventually("the difference is told", || proxy.violated("expectation", "blob") == 1.0);
        let told = proxy.logged("expectation");
        assert!(told.contains("\"place\":2"), "{told}");
    }
}

#[test]
fn replies_that_do_not_agree_are_partial_where_the_rule_fails_them() {
    let (redis, proxy) = Proxy::with_redis(&blob("on_partial = \"fail\""));
    redis.ask("MSET blob:1 x info:1 x blob:2 x");
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["DEL blob:1", "DEL info:1"]).concat(), ":1\r\n:1\r\n");
    let text = "-PARTIAL respguard: group blob was applied, but member 2 of 2 (DEL) answered 0, expected 1 as before\r\n";
    assert_eq!(wire.pipeline(&["DEL blob:2", "DEL info:2", "PING"]), [text, text, "+PONG\r\n"]);
    assert_eq!(redis.ask("EXISTS blob:2"), ":0\r\n", "it was applied");
}

const ROTATE: &str = r#"
[[group]]
name = "rotate"
commands = [{ match = "DEL rt:{user}:{old}", expect = ">= 1" }, { match = "EXPIRE s:{user} *", optional = true }, { match = "SET rt:{user}:{new} *", expect = "OK" }]
"#;

#[test]
fn a_member_that_does_not_do_what_is_expected_is_told_with_its_place() {
    let (redis, proxy) = Proxy::with_redis(ROTATE);
    redis.ask("SET rt:u:1 x");
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["DEL rt:u:1", "SET rt:u:2 x"]).concat(), ":1\r\n+OK\r\n");
    assert_eq!(proxy.violated("expectation", "rotate"), 0.0);
    assert_eq!(wire.pipeline(&["DEL rt:u:1", "EXPIRE s:u 5", "SET rt:u:3 x"]).concat(), ":0\r\n:0\r\n+OK\r\n");
    eventually("the missing token is told", || proxy.violated("expectation", "rotate") == 1.0);
    assert_eq!(proxy.groups("rotate", "applied"), 2.0);
}

const PREVIEW: &str = r#"
[[group]]
name = "preview"
commands = [
  "HSET blob:{id} *  *",
  "HSET info:{id} *  *",
  { match = "EXPIRE blob:{id} *", optional = true, expect = "1" },
  { match = "PERSIST info:{id}", optional = true, expect = "0" },
]
"#;

#[test]
fn an_optional_member_behind_another_command_of_the_same_write_belongs_to_the_group() {
    let (redis, proxy) = Proxy::with_redis(PREVIEW);
    let mut wire = proxy.wire();
    let mut monitor = redis.wire();
    monitor.ask("MONITOR");
    let lines = ["HSET blob:1 f v", "HSET info:1 f v", "GET other", "EXPIRE blob:1 60", "ECHO x", "PERSIST info:1", "GET other"];
    assert_eq!(wire.pipeline(&lines).concat(), ":1\r\n:1\r\n$-1\r\n:1\r\n$1\r\nx\r\n:0\r\n$-1\r\n");
    redis.ask("ECHO end");
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line.contains("end")) {
        seen.push(text(&monitor.reply()));
    }
    let names: Vec<_> = seen.iter().filter_map(|line| line.split('"').nth(1)).collect();
    let wrapped = ["MULTI", "HSET", "HSET", "GET", "EXPIRE", "ECHO", "PERSIST", "EXEC"];
    assert!(names.windows(wrapped.len()).any(|names| names == wrapped), "{names:?}");
    assert_eq!(proxy.violated("expectation", "preview"), 0.0);
    redis.ask("EXPIRE info:1 60");
    assert_eq!(wire.pipeline(&["HSET blob:1 f v", "HSET info:1 f v", "GET other", "PERSIST info:1"])[3], ":1\r\n");
    eventually("its reply is checked", || proxy.violated("expectation", "preview") == 1.0);
    assert_eq!(proxy.groups("preview", "applied"), 2.0);
    assert_eq!(proxy.violated("split", "preview"), 0.0);
    // What stands behind something that cannot ride stays outside, the group goes as it is, and its owner is told.
    assert_eq!(wire.pipeline(&["HSET blob:1 f v", "HSET info:1 f v", "TIME", "EXPIRE blob:1 60"]).len(), 4);
    eventually("it is applied", || proxy.groups("preview", "applied") == 3.0);
    eventually("it is told", || proxy.violated("split", "preview") == 1.0);
    let told = proxy.logged("split");
    assert!(told.contains("hset hset expire") && told.contains("cannot ride in its transaction"), "{told}");
}
