//! However a client spells a command, it is the member that its template means, and goes on as it came.

use crate::harness::{Proxy, RedisServer, eventually};

const RULES: &str = r#"
[[group]]
name = "login"
unlink = "as-del"
commands = [
  "SETEX rt:{user}:{token} 60 *",
  "EXPIRE sess:{user} *",
  "HSET user:{user} ...",
  "INCR logins:{user}",
  "DEL old:{user}",
]
"#;

/// What the server holds, as far as clients can tell it apart.
fn state(redis: &RedisServer) -> Vec<String> {
    redis.wire().pipeline(&["GET rt:u:t", "HGETALL user:u", "GET logins:u", "EXISTS old:u"])
}

#[test]
fn every_spelling_is_wrapped_and_passed_on_as_it_was_sent() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    let fresh = || ["FLUSHALL", "SADD sess:u t", "SET old:u x"].map(|line| redis.ask(line));
    for (round, members) in [
        ["setex rt:u:t 60 v", "EXPIRE sess:u 60", "HSET user:u a 1", "INCR logins:u", "DEL old:u"],
        ["SET rt:u:t v PX 60000", "PEXPIRE sess:u 60000", "HMSET user:u a 1", "INCRBY logins:u 1", "UNLINK old:u"],
        ["PSETEX rt:u:t 60000 v", "EXPIREAT sess:u 9999999999", "HSET user:u a 1", "DECRBY logins:u -1", "unlink old:u"],
    ]
    .iter()
    .enumerate()
    {
        fresh();
        let (direct, left) = (redis.wire().pipeline(members), state(&redis));
        fresh();
        assert_eq!((wire.pipeline(members), state(&redis)), (direct, left));
        eventually("the group is applied", || proxy.groups("login", "applied") == (round + 1) as f64);
    }
    wire.pipeline(&["SETEX rt:u:t 61 v", "EXPIRE sess:u 60", "HSET user:u a 1", "INCR logins:u", "DEL old:u"]);
    assert_eq!(proxy.groups("login", "applied"), 3.0, "another time is another command");
}

#[test]
fn a_time_is_bound_by_what_it_means_however_it_is_written() {
    let redis = RedisServer::start(&[]);
    let rules = "[[group]]\nname = \"t\"\ncommands = [\"SETEX rt:{u} {ttl} *\", \"EXPIRE sess:{u} {ttl}\"]\n";
    let proxy = Proxy::start(rules, &redis);
    let mut wire = proxy.wire();
    redis.ask("SET sess:u x");
    let same = [
        ("SETEX rt:u 60 v", "EXPIRE sess:u 60"),
        ("PSETEX rt:u 60000 v", "EXPIRE sess:u 60"),
        ("SET rt:u v EX 60", "PEXPIRE sess:u 60000"),
        ("SET rt:u v PX 60000", "PEXPIRE sess:u 60000"),
        ("SET rt:u v EXAT 9999999999", "PEXPIREAT sess:u 9999999999000"),
        ("SET rt:u v PXAT 9999999999000", "EXPIREAT sess:u 9999999999"),
    ];
    for (round, (set, expire)) in (1..).zip(same) {
        assert_eq!(wire.pipeline(&[set, expire]).concat(), "+OK\r\n:1\r\n", "{set}, {expire}");
        eventually("the group is applied", || proxy.groups("t", "applied") == f64::from(round));
    }
    wire.pipeline(&["SETEX rt:u 60 v", "EXPIRE sess:u 120"]);
    wire.pipeline(&["SETEX rt:u 60 v", "PEXPIRE sess:u 60"]);
    assert_eq!(proxy.groups("t", "applied"), 6.0, "another time is another group");
}
