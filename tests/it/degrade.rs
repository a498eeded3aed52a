//! What a degrade rule answers while there is no server: what Redis would have answered about missing keys.

use crate::harness::wire::words;
use crate::harness::{Proxy, RedisServer, Setup, eventually};

const QUICK: &str = "request_timeout_ms = 500\nqueue_timeout_ms = 200\nconnect_timeout_ms = 300";
const RULES: &str = "[[degrade]]\nname = \"cache\"\nkeys = [\"cache:*\"]\nreads = \"nil\"\nwrites = \"ok\"\n\
                     [[degrade]]\nname = \"view\"\nkeys = [\"view:*\"]\nreads = \"nil\"\n\
                     [[group]]\nname = \"pair\"\nkeys = [\"cache:pair:*\"]\n";

/// Reads of keys that are not there: every form that a rule answers.
const READS: [&str; 66] = [
    "GET cache:a",
    "MGET cache:a cache:b cache:c",
    "GETRANGE cache:a 0 -1",
    "SUBSTR cache:a 0 1",
    "STRLEN cache:a",
    "EXISTS cache:a cache:b",
    "TYPE cache:a",
    "TTL cache:a",
    "PTTL cache:a",
    "EXPIRETIME cache:a",
    "PEXPIRETIME cache:a",
    "TOUCH cache:a cache:b",
    "GETBIT cache:a 7",
    "BITCOUNT cache:a",
    "BITCOUNT cache:a 0 -1",
    "HGET cache:a f",
    "HMGET cache:a f g",
    "HGETALL cache:a",
    "HKEYS cache:a",
    "HVALS cache:a",
    "HLEN cache:a",
    "HEXISTS cache:a f",
    "HSTRLEN cache:a f",
    "HRANDFIELD cache:a",
    "HRANDFIELD cache:a 2",
    "HRANDFIELD cache:a 2 WITHVALUES",
    "LRANGE cache:a 0 -1",
    "LINDEX cache:a 0",
    "LLEN cache:a",
    "LPOS cache:a x",
    "LPOS cache:a x COUNT 0",
    "SMEMBERS cache:a",
    "SISMEMBER cache:a m",
    "SMISMEMBER cache:a m n",
    "SCARD cache:a",
    "SRANDMEMBER cache:a",
    "SRANDMEMBER cache:a 3",
    "SINTER cache:a cache:b",
    "SUNION cache:a cache:b",
    "SDIFF cache:a cache:b",
    "SINTERCARD 2 cache:a cache:b",
    "ZSCORE cache:a m",
    "ZMSCORE cache:a m n",
    "ZRANK cache:a m",
    "ZREVRANK cache:a m",
    "ZCARD cache:a",
    "ZCOUNT cache:a 0 1",
    "ZLEXCOUNT cache:a - +",
    "ZRANGE cache:a 0 -1",
    "ZRANGE cache:a 0 -1 WITHSCORES",
    "ZREVRANGE cache:a 0 -1",
    "ZRANGEBYSCORE cache:a 0 1",
    "ZREVRANGEBYSCORE cache:a 1 0",
    "ZRANGEBYLEX cache:a - +",
    "ZREVRANGEBYLEX cache:a + -",
    "ZRANDMEMBER cache:a",
    "ZRANDMEMBER cache:a 2",
    "ZDIFF 2 cache:a cache:b",
    "ZINTER 2 cache:a cache:b",
    "ZUNION 2 cache:a cache:b",
    "ZINTERCARD 2 cache:a cache:b",
    "GEODIST cache:a m n",
    "PFCOUNT cache:a",
    "XLEN cache:a",
    "XRANGE cache:a - +",
    "XREVRANGE cache:a + -",
];

const WRITES: [&str; 8] = [
    "SET cache:a 1",
    "SET cache:a 1 EX 60",
    "SETEX cache:a 60 1",
    "PSETEX cache:a 60000 1",
    "MSET cache:a 1 cache:b 2",
    "HMSET cache:h f 1",
    "LTRIM cache:l 0 1",
    "PFMERGE cache:p cache:q",
];

/// What no rule can answer, or what is not the rule's.
const REFUSED: [&str; 16] = [
    "GET other",
    "MGET cache:a other",
    "MGET cache:a view:a",
    "SET view:a 1",
    "INCR cache:n",
    "SADD cache:s m",
    "DEL cache:a",
    "SET cache:a 1 GET",
    "GETSET cache:a 1",
    "EXPIRE cache:a 60",
    "SCAN 0",
    "DUMP cache:a",
    "BITPOS cache:a 1",
    "EVAL x 1 cache:a",
    "XREAD STREAMS cache:a 0",
    "PING",
];

fn degraded(proxy: &Proxy) -> f64 {
    proxy.metric("respguard_violations_total", &[("kind", "degraded")])
}

#[test]
fn a_degraded_reply_is_what_redis_says_about_missing_keys_and_each_is_counted() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).rules(RULES).start();
    let (mut two, mut three) = (proxy.wire(), proxy.wire());
    three.ask("HELLO 3");
    let expected = [two.pipeline(&READS), three.pipeline(&READS)];
    assert!(expected.iter().flatten().all(|reply| !reply.starts_with('-')), "{expected:?}");
    let written = two.pipeline(&WRITES);
    assert!(written.iter().all(|reply| reply == "+OK\r\n"), "{written:?}");
    assert_eq!(degraded(&proxy), 0.0, "with a server no rule speaks");
    redis.kill();
    for (wire, expected) in [&mut two, &mut three].into_iter().zip(&expected) {
        eventually("there is no server", || !wire.ask("GET cache:a").starts_with("-"));
        assert_eq!(&wire.pipeline(&READS), expected);
        assert!(wire.pipeline(&WRITES).iter().all(|reply| reply == "+OK\r\n"));
        assert_eq!(wire.ask("HGETALL view:a"), expected[17]);
    }
    let before = degraded(&proxy);
    assert!(before >= 2.0 * (READS.len() + WRITES.len() + 2) as f64, "{before}");
    for line in REFUSED {
        let reply = two.ask(line);
        assert!(reply.starts_with("-ERR respguard: "), "{line}: {reply}");
    }
    for reply in two.pipeline(&["SET cache:pair:a 1", "SET cache:pair:b 1"]) {
        assert!(reply.starts_with("-EXECABORT "), "a group is all or nothing: {reply}");
    }
    let replies = two.pipeline(&["MULTI", "SET cache:a 1", "EXEC"]);
    assert!(replies[1] != "+OK\r\n" && replies[2].starts_with('-'), "so is a transaction: {replies:?}");
    assert_eq!(degraded(&proxy), before);
    assert!(
        proxy.violations().iter().any(|line| line.contains("\"cache:*\"") && !line.contains("cache:a")),
        "by pattern, not by key"
    );
    let replies = two.pipeline(&["GET other", "GET cache:a", "GET other"]);
    assert!(replies[0].starts_with('-') && replies[1] == "$-1\r\n" && replies[2].starts_with('-'), "in order: {replies:?}");
    redis.restart();
    eventually("the server answers again", || {
        two.ask("SET cache:a back") == "+OK\r\n" && two.ask("GET cache:a") == "$4\r\nback\r\n"
    });
    assert_eq!(redis.ask("EXISTS cache:h"), ":0\r\n", "what was answered without a server was forgotten");
}

/// A stand-in for a lock would be everybody's, and wrong arguments are wrong without a server too.
#[test]
fn conditions_stay_errors_and_wrong_arguments_get_redis_own() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream(QUICK).rules(RULES).start();
    let mut wire = proxy.wire();
    let wrong = [
        "SETEX cache:a 0 v",
        "SETEX cache:a x v",
        "PSETEX cache:a -1 v",
        "SET cache:a v FOO",
        "SET cache:a v EX 0",
        "SET cache:a v NX XX",
        "SET cache:a v EX",
        "MSET cache:a 1 cache:b",
        "HMSET cache:h f",
        "LTRIM cache:l a b",
        "LRANGE cache:l a b",
        "GETRANGE cache:a x 1",
        "GETBIT cache:a -1",
        "ZCOUNT cache:z a b",
        "ZRANGE cache:z 0 1 FOO",
        "SRANDMEMBER cache:s x",
        "LPOS cache:l x RANK 0",
    ];
    let expected = wire.pipeline(&wrong);
    assert!(expected.iter().all(|reply| reply.starts_with('-')), "{expected:?}");
    redis.kill();
    eventually("there is no server", || wire.ask("GET cache:a") == "$-1\r\n");
    assert_eq!(wire.pipeline(&wrong), expected);
    let before = degraded(&proxy);
    for condition in
        ["NX", "XX", "NX PX 3000", "GET", "XX GET", "IFEQ old", "IFNE old", "IFDEQ 0123456789abcdef", "nx ex 5", "KEEPTTL NX"]
    {
        let reply = wire.ask(&format!("SET cache:lock t {condition}"));
        assert!(reply.starts_with('-'), "{condition}: {reply}");
    }
    for line in ["SETNX cache:lock t", "MSETNX cache:a 1", "HSETNX cache:h f v"] {
        assert!(wire.ask(line).starts_with("-ERR respguard: "), "{line}");
    }
    assert_eq!(wire.ask("SET cache:lock t KEEPTTL"), "+OK\r\n");
    assert_eq!(degraded(&proxy), before + 1.0);
}

#[test]
fn where_rules_only_observe_clients_get_the_error() {
    let redis = RedisServer::absent(&[]);
    let proxy = Setup::new(&redis).top("workers = 1\nmode = \"observe\"").upstream(QUICK).rules(RULES).start();
    let mut wire = proxy.wire();
    eventually("the breaker is open", || wire.ask("GET cache:a").contains("the breaker is open"));
    assert_eq!(degraded(&proxy), 0.0);
}

#[test]
fn a_client_whose_replies_were_large_is_answered_like_the_others() {
    let mut redis = RedisServer::start(&[]);
    let rules = format!("{RULES}[breaker]\nenabled = false\n");
    let proxy = Setup::new(&redis).top("workers = 1").upstream(QUICK).rules(&rules).start();
    let mut direct = redis.wire();
    direct.send(&words(&[b"SET", b"cache:large", &vec![b'v'; 2 << 20]]));
    assert_eq!(direct.reply(), b"+OK\r\n");
    let (mut large, mut other) = (proxy.wire(), proxy.wire());
    large.send_line("GET cache:large");
    assert_eq!(large.reply().len(), (2 << 20) + 12);
    redis.kill();
    eventually("there is no server", || other.ask("GET cache:a") == "$-1\r\n");
    assert_eq!(large.ask("GET cache:a"), "$-1\r\n");
}
