//! However a client spells a command, it is the member that its template means, and goes on as it came.

use crate::harness::{Proxy, RedisServer, eventually};

const RULES: &str = r#"
[[group]]
name = "login"
unlink = "as-del"
commands = [
  "SETEX rt:{user}:{token} {ttl} *",
  "EXPIRE sess:{user} *",
  "HSET user:{user} ...",
  "INCR logins:{user}",
  "DEL old:{user}",
]
"#;

#[test]
fn every_spelling_is_wrapped_and_passed_on_as_it_was_sent() {
    let redis = RedisServer::start(&[]);
    let proxy = Proxy::start(RULES, &redis);
    let spelt: [[&str; 5]; 3] = [
        ["setex rt:u:t 60 v", "EXPIRE sess:u 60", "HSET user:u a 1", "INCR logins:u", "DEL old:u"],
        ["SET rt:u:t v PX 60000", "PEXPIRE sess:u 60000 gt", "HMSET user:u a 1", "INCRBY logins:u 1", "UNLINK old:u"],
        [
            "SET rt:u:t v EXAT 9999999999",
            "EXPIREAT sess:u 9999999999 NX",
            "HSET user:u a 1",
            "DECRBY logins:u -1",
            "unlink old:u",
        ],
    ];
    let mut wire = proxy.wire();
    for members in [spelt[0], [spelt[1][0], "PEXPIRE sess:u 60000", spelt[1][2], spelt[1][3], spelt[1][4]]] {
        redis.ask("FLUSHALL");
        redis.ask("SADD sess:u t");
        redis.ask("SET old:u x");
        let direct = redis.wire().pipeline(&members);
        redis.ask("FLUSHALL");
        redis.ask("SADD sess:u t");
        redis.ask("SET old:u x");
        assert_eq!(wire.pipeline(&members), direct);
    }
    eventually("both groups are counted", || proxy.groups("login", "applied") == 2.0);
    // An option that the template does not name makes it another command.
    wire.pipeline(&spelt[1]);
    wire.pipeline(&[spelt[2][0], "EXPIREAT sess:u 9999999999", spelt[2][2], spelt[2][3], spelt[2][4]]);
    eventually("the group with the times since the epoch too", || proxy.groups("login", "applied") == 3.0);
}
