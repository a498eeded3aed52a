//! Writes that rules give a TTL: alone, in groups of every kind, beside other rules, and for users who may not.

use crate::harness::{Proxy, RedisServer, Wire, eventually};

const FIX: &str = "[[ttl]]\nname = \"sessions\"\nkeys = [\"s:*\"]\naction = \"fix\"\ndefault = \"50s\"\ngrace_ms = 50\n";

fn pttl(redis: &RedisServer, key: &str) -> i64 {
    redis.ask(&format!("PTTL {key}")).trim().trim_start_matches(':').parse().expect("a number")
}

fn is_fixed(redis: &RedisServer, key: &str) -> bool {
    (1..=50_000).contains(&pttl(redis, key))
}

fn user(redis: &RedisServer, proxy: &Proxy, rights: &str) -> Wire {
    assert_eq!(redis.ask(&format!("ACL SETUSER app on >pw ~* &* +@all {rights}")), "+OK\r\n");
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("AUTH app pw"), "+OK\r\n");
    wire
}

fn unfixed(proxy: &Proxy) -> f64 {
    proxy.metric("respguard_ttl_checks_total", &[("outcome", "unfixed")])
}

#[test]
fn no_write_is_lost_of_a_user_who_may_not_set_ttls() {
    for rights in ["-pexpire", "-@all +set +incr +lpush +pttl +multi +exec +auth"] {
        let (redis, proxy) = Proxy::with_redis(FIX);
        let mut wire = user(&redis, &proxy, rights);
        let replies = wire.pipeline(&["SET s:a 1", "INCR s:a", "SET other 1", "LPUSH s:l x"]);
        assert_eq!(replies.concat(), "+OK\r\n:2\r\n+OK\r\n:1\r\n", "{rights}");
        assert_eq!(wire.ask("INCR s:a"), ":3\r\n");
        assert_eq!(pttl(&redis, "s:a"), -1, "{rights}");
        eventually("it is told", || proxy.violated("ttl_missing", "sessions") >= 2.0);
        assert_eq!(unfixed(&proxy), 1.0, "{rights}");
        proxy.logs("this user may not run PEXPIRE");
        // Other users are not concerned.
        assert_eq!(proxy.wire().ask("INCR s:b"), ":1\r\n");
        assert!(is_fixed(&redis, "s:b"), "{rights}");
    }
}

#[test]
fn a_right_that_is_taken_away_later_costs_what_is_under_way_and_no_more() {
    let (redis, proxy) = Proxy::with_redis(FIX);
    let mut wire = user(&redis, &proxy, "");
    assert_eq!(wire.ask("INCR s:a"), ":1\r\n");
    assert!(is_fixed(&redis, "s:a"));
    redis.ask("ACL SETUSER app -pexpire");
    let refused = wire.ask("INCR s:b");
    let why = "-EXECABORT Transaction discarded because of previous errors. respguard: group sessions was not applied: a command that respguard adds was refused: NOPERM";
    assert!(refused.starts_with(why), "{refused}");
    assert_eq!(redis.ask("EXISTS s:b"), ":0\r\n");
    assert_eq!(wire.ask("INCR s:b"), ":1\r\n");
    assert_eq!(unfixed(&proxy), 1.0);
}

#[test]
fn the_question_whether_a_user_may_changes_no_ttl() {
    let redis = RedisServer::start(&[]);
    redis.ask("SET s:forever x");
    redis.ask("SET s:minute x PX 60000");
    for (times, key) in (1..).zip(["s:forever", "s:minute", "s:none"]) {
        let proxy = Proxy::start(FIX, &redis);
        proxy.wire().ask(&format!("SET {key} y XX KEEPTTL"));
        let asked = format!("cmdstat_pexpire:calls={times},");
        assert!(redis.ask("INFO commandstats").contains(&asked), "{key}");
    }
    assert_eq!(pttl(&redis, "s:forever"), -1);
    assert!((50_001..=60_000).contains(&pttl(&redis, "s:minute")));
    assert_eq!(pttl(&redis, "s:none"), -2);
}

fn group(level: &str, more: &str) -> String {
    format!(
        "[[group]]\nname = \"pair\"\natomic = \"{level}\"\n{more}\ncommands = [\"INCR n:{{u}}\", \"SADD s:{{u}} *\", {{ match = \"EXPIRE s:{{u}} *\", optional = true }}]\n"
    )
}

#[test]
fn groups_of_every_kind_are_fixed_within_their_transaction() {
    for (level, more) in
        [("transaction", ""), ("guarded", ""), ("transaction", "order = \"any\""), ("guarded", "order = \"any\"")]
    {
        let (redis, proxy) = Proxy::with_redis(&format!("{FIX}{}", group(level, more)));
        let mut wire = proxy.wire();
        let case = format!("{level} {more}");
        let (incr, sadd) = ("INCR n:1", "SADD s:1 x");
        let in_order = more.is_empty();
        let members = if in_order { [incr, sadd] } else { [sadd, incr] };
        assert_eq!(wire.pipeline(&[members[0], members[1], "PING"]).concat(), ":1\r\n:1\r\n+PONG\r\n", "{case}");
        assert!(is_fixed(&redis, "s:1") && pttl(&redis, "n:1") == -1, "{case}");
        // Apart, and with a TTL of the client's own.
        assert_eq!(
            wire.pipeline(&["INCR n:2", "GET other", "SADD s:2 x", "EXPIRE s:2 900"]).concat(),
            ":1\r\n$-1\r\n:1\r\n:1\r\n"
        );
        assert!(pttl(&redis, "s:2") > 50_000, "{case}: the client's own TTL wins");
        // A member that would fail.
        redis.ask("SET s:3 text");
        let replies = wire.pipeline(&["INCR n:3", "SADD s:3 x"]);
        assert!(replies[1].starts_with("-WRONGTYPE"), "{case}: {replies:?}");
        if level == "guarded" {
            assert_eq!((redis.ask("EXISTS n:3"), pttl(&redis, "s:3")), (":0\r\n".to_owned(), -1), "{case}");
        }
        assert_eq!(proxy.groups("pair", "applied"), 2.0, "{case}");
        assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
    }
}

#[test]
fn a_guarded_group_of_a_user_without_the_right_runs_unfixed() {
    let (redis, proxy) = Proxy::with_redis(&format!("{FIX}{}", group("guarded", "")));
    let mut wire = user(&redis, &proxy, "-pexpire");
    assert_eq!(wire.pipeline(&["INCR n:1", "SADD s:1 x"]).concat(), ":1\r\n:1\r\n");
    assert_eq!(pttl(&redis, "s:1"), -1);
    assert_eq!((proxy.groups("pair", "applied"), unfixed(&proxy)), (1.0, 1.0));
}

/// Nothing is set behind a write that may not have happened, in a group as little as alone.
#[test]
fn conditional_writes_are_not_followed_by_a_ttl() {
    for level in ["transaction", "guarded"] {
        let redis = RedisServer::start(&[]);
        let groups = format!(
            "[[group]]\nname = \"claim\"\natomic = \"{level}\"\ncommands = [\"SET s:{{u}} * NX\", \"INCR n:{{u}}\"]\n[[group]]\nname = \"score\"\natomic = \"{level}\"\ncommands = [\"ZADD s:{{u}} GT * m\", \"INCR n:{{u}}\"]\n"
        );
        let proxy = Proxy::start(&format!("{FIX}{groups}"), &redis);
        redis.ask("SET s:a x");
        redis.ask("ZADD s:z 9 m");
        let mut wire = proxy.wire();
        assert_eq!(wire.pipeline(&["SET s:a y NX", "INCR n:a"]).concat(), "$-1\r\n:1\r\n", "{level}");
        assert_eq!(wire.pipeline(&["ZADD s:z GT 1 m", "INCR n:z"]).concat(), ":0\r\n:1\r\n", "{level}");
        for line in ["SETNX s:a y", "HSETNX s:h f v", "MSETNX s:a 1 s:b 2", "SET s:z y XX GET"] {
            wire.ask(line);
        }
        assert_eq!((pttl(&redis, "s:a"), pttl(&redis, "s:z")), (-1, -1), "{level}");
        eventually("they are told", || proxy.violated("ttl_missing", "sessions") >= 1.0);
    }
}

/// Writes that fail by what their keys hold, and by their arguments.
const FAILING: [&str; 12] = [
    "INCR s:hash",
    "INCR s:max",
    "INCR s:text",
    "INCRBYFLOAT s:text 1",
    "APPEND s:hash x",
    "HSET s:text f v",
    "HINCRBY s:hash f 1",
    "LPUSH s:text x",
    "XADD s:stream 1-1 f v",
    "ZADD s:zset nan m",
    "SETBIT s:text x 1",
    "GETSET s:hash x",
];

fn keys_without_ttl(redis: &RedisServer) -> Vec<&'static str> {
    redis.ask("DEL s:hash s:max s:text s:stream s:zset s:new");
    redis.ask("HSET s:hash f text");
    redis.ask("SET s:max 9223372036854775807");
    redis.ask("SET s:text text");
    redis.ask("XADD s:stream 5-5 f v");
    redis.ask("ZADD s:zset 1 m");
    vec!["s:hash", "s:max", "s:text", "s:stream", "s:zset"]
}

/// A write that fails changes nothing, and so does what was added to it.
#[test]
fn a_failed_write_gives_no_ttl() {
    let (redis, proxy) = Proxy::with_redis(FIX);
    let mut wire = proxy.wire();
    let keys = keys_without_ttl(&redis);
    let none_has_one = || keys.iter().all(|key| pttl(&redis, key) == -1);
    for line in FAILING {
        assert!(wire.ask(line).starts_with('-'), "{line}");
        assert!(none_has_one(), "{line}: before its reply");
    }
    // Others stand behind it: the replies do not wait.
    let replies = wire.pipeline(&["INCR s:hash", "INCR s:new", "LPUSH s:text x", "PING", "XADD s:stream 1-1 f v"]);
    assert!(replies[0].starts_with('-') && replies[1] == ":1\r\n" && replies[3] == "+PONG\r\n", "{replies:?}");
    eventually("none has one", none_has_one);
    assert!(is_fixed(&redis, "s:new"));
    // One that has a TTL keeps it.
    redis.ask("PEXPIRE s:hash 9000");
    assert!(wire.ask("INCR s:hash").starts_with("-WRONGTYPE"));
    assert!((1..=9000).contains(&pttl(&redis, "s:hash")));
    assert_eq!(wire.ask("GET s:new"), "$1\r\n1\r\n");
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn a_failed_member_gives_no_ttl_and_one_that_did_write_does() {
    let redis = RedisServer::start(&[]);
    let group =
        "[[group]]\nname = \"pair\"\ncommands = [\"INCR s:{a} \", \"HSET s:{b} f v\", \"INCR s:{a}\"]\n".replace("{a} ", "{a}");
    let proxy = Proxy::start(&format!("{FIX}{group}"), &redis);
    let mut wire = proxy.wire();
    keys_without_ttl(&redis);
    let replies = wire.pipeline(&["INCR s:hash", "HSET s:n f v", "INCR s:hash"]);
    assert!(replies[0].starts_with('-') && replies[1] == ":1\r\n" && replies[2].starts_with('-'), "{replies:?}");
    assert_eq!(pttl(&redis, "s:hash"), -1, "both members that write it have failed");
    assert!(is_fixed(&redis, "s:n"));
    redis.ask("SET s:near 9223372036854775806");
    let replies = wire.pipeline(&["INCR s:near", "HSET s:m f v", "INCR s:near"]);
    assert!(replies[0].starts_with(':') && replies[2].starts_with('-'), "{replies:?}");
    assert!(is_fixed(&redis, "s:near"), "one of them has written it");
}

#[test]
fn within_the_clients_own_transaction_a_missing_ttl_is_only_told() {
    let (redis, proxy) = Proxy::with_redis(FIX);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["MULTI", "INCR s:1", "EXEC", "PING"]).concat(), "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n+PONG\r\n");
    for line in ["MULTI", "INCR s:2", "EXEC"] {
        wire.ask(line);
    }
    eventually("both are told", || proxy.violated("ttl_missing", "sessions") == 2.0);
    assert_eq!((pttl(&redis, "s:1"), pttl(&redis, "s:2")), (-1, -1));
}

/// The first INCR of a rate limiter gets its TTL in the same transaction, the later ones do not prolong it.
#[test]
fn a_rate_limiter_counts_within_one_window() {
    let (redis, proxy) = Proxy::with_redis(FIX);
    let mut wires = [proxy.wire(), proxy.wire()];
    assert_eq!(wires[0].ask("INCR s:rate"), ":1\r\n");
    let first = pttl(&redis, "s:rate");
    assert!((1..=50_000).contains(&first));
    redis.ask("PEXPIRE s:rate 20000");
    for round in 2..20 {
        assert_eq!(wires[round % 2].ask("INCR s:rate"), format!(":{round}\r\n"));
    }
    assert!(pttl(&redis, "s:rate") <= 20_000);
    assert_eq!(proxy.metric("respguard_violations_total", &[]), 0.0);
}

#[test]
fn keep_and_fix_go_together_in_groups_and_alone() {
    for level in ["transaction", "guarded"] {
        let redis = RedisServer::start(&[]);
        let group = format!("[[group]]\nname = \"g\"\natomic = \"{level}\"\ncommands = [\"SET s:{{u}} *\", \"INCR n:{{u}}\"]\n");
        let proxy = Proxy::start(&format!("{FIX}keep = true\n{group}"), &redis);
        redis.ask("SET s:a x PX 9000");
        redis.ask("SET s:b x PX 9000");
        let mut wire = proxy.wire();
        assert_eq!(wire.pipeline(&["SET s:a y", "INCR n:a"]).concat(), "+OK\r\n:1\r\n", "{level}");
        assert_eq!(wire.ask("SET s:b y"), "+OK\r\n");
        assert!((1..=9000).contains(&pttl(&redis, "s:a")) && (1..=9000).contains(&pttl(&redis, "s:b")), "{level}: kept");
        assert_eq!(wire.pipeline(&["SET s:c y", "INCR n:c"]).concat(), "+OK\r\n:1\r\n", "{level}");
        assert_eq!(wire.ask("SET s:d y"), "+OK\r\n");
        assert!(is_fixed(&redis, "s:c") && is_fixed(&redis, "s:d"), "{level}: a new key is fixed");
        assert_eq!(proxy.violated("ttl_dropped", "sessions"), 0.0);
    }
}

#[test]
fn reject_and_max_hold_in_groups_and_in_transactions() {
    for level in ["transaction", "guarded"] {
        let redis = RedisServer::start(&[]);
        let rule = "[[ttl]]\nname = \"sessions\"\nkeys = [\"s:*\"]\naction = \"reject\"\nmax = \"60s\"\n";
        let group =
            format!("[[group]]\nname = \"g\"\natomic = \"{level}\"\ncommands = [\"INCR n:{{u}}\", \"SET s:{{u}} ...\"]\n");
        let proxy = Proxy::start(&format!("{rule}{group}"), &redis);
        let mut wire = proxy.wire();
        let missing = "-ERR respguard: SET is refused by ttl rule sessions: it would leave a key without a TTL\r\n";
        let long = "-ERR respguard: SET is refused by ttl rule sessions: its TTL is longer than max\r\n";
        let replies = wire.pipeline(&["INCR n:a", "SET s:a x"]);
        assert!(replies[0].starts_with("-EXECABORT") && replies[1] == missing, "{level}: {replies:?}");
        assert_eq!(wire.pipeline(&["INCR n:a", "SET s:a x EX 61"])[1], long, "{level}");
        assert_eq!(redis.ask("DBSIZE"), ":0\r\n", "{level}");
        assert_eq!(wire.pipeline(&["INCR n:a", "SET s:a x EX 60"]).concat(), ":1\r\n+OK\r\n", "{level}");
        let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
        assert_eq!(wire.pipeline(&["MULTI", "INCR n:a", "SET s:a x", "EXEC"])[2..], [missing, aborted], "{level}");
        assert_eq!(proxy.groups("g", "aborted"), 2.0, "{level}");
        assert_eq!(
            (proxy.violated("ttl_rejected", "sessions"), proxy.metric("respguard_violations_total", &[("kind", "ttl_missing")])),
            (3.0, 0.0),
            "{level}"
        );
    }
}
