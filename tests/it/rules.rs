//! Rules about single commands: what must not pass, what must be answered, and what must expire.

use crate::harness::{Proxy, RedisServer, eventually};

const GUARDS: &str = r#"
[[guard]]
name = "no-keys"
commands = ["KEYS *", "FLUSHALL ...", "BLPOP ..."]
action = "reject"

[[guard]]
name = "small"
commands = ["SET ...", "HSET ..."]
value_bytes_max = 8
arguments_max = 5
action = "reject"

[[guard]]
name = "families"
commands = ["GET *", "SET ...", "MGET ..."]
keys_allowed = ["a:*", "b"]

[[guard]]
name = "long"
commands = ["LRANGE ..."]
reply_bytes_max = 20
"#;

#[test]
fn a_command_that_its_guard_rejects_is_answered_in_its_place_and_not_sent() {
    let (_redis, proxy) = Proxy::with_redis(GUARDS);
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["SET a:1 x", "KEYS *", "GET a:1", "flushall ASYNC", "BLPOP l 0", "GET a:1"]);
    let refused = |name: &str, why: &str| format!("-ERR respguard: {name} is refused by guard {why}\r\n");
    let expected = [
        "+OK\r\n".to_owned(),
        refused("KEYS", "no-keys: the command is not allowed"),
        "$1\r\nx\r\n".to_owned(),
        refused("FLUSHALL", "no-keys: the command is not allowed"),
        refused("BLPOP", "no-keys: the command is not allowed"),
        "$1\r\nx\r\n".to_owned(),
    ];
    assert_eq!(replies, expected);
    assert_eq!(wire.ask("SET a:1 123456789"), refused("SET", "small: an argument is longer than 8 bytes"));
    assert_eq!(wire.ask("SET a:1 12345678"), "+OK\r\n");
    assert_eq!(wire.ask("HSET a:h 1 1 2 2 3 3"), refused("HSET", "small: there are more than 5 arguments"));
    eventually("all are told", || proxy.violated("guard", "no-keys") == 3.0 && proxy.violated("guard", "small") == 2.0);
}

#[test]
fn a_guard_that_flags_lets_pass_and_tells() {
    let (_redis, proxy) = Proxy::with_redis(GUARDS);
    let mut wire = proxy.wire();
    assert_eq!(
        wire.pipeline(&["SET a:1 x", "SET b x", "GET other", "MGET a:1 c"]).concat(),
        "+OK\r\n+OK\r\n$-1\r\n*2\r\n$1\r\nx\r\n$-1\r\n"
    );
    eventually("keys outside are told", || proxy.violated("guard", "families") == 2.0);
    wire.ask("RPUSH l 1 2");
    assert_eq!(wire.ask("LRANGE l 0 -1"), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    assert_eq!(proxy.violated("guard", "long"), 0.0);
    wire.ask("RPUSH l 3");
    assert_eq!(wire.ask("LRANGE l 0 -1"), "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    eventually("a long reply is told", || proxy.violated("guard", "long") == 1.0);
}

#[test]
fn a_transaction_with_a_rejected_command_aborts_as_redis_does() {
    let (_redis, proxy) = Proxy::with_redis(GUARDS);
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    let refused = "-ERR respguard: KEYS is refused by guard no-keys: the command is not allowed\r\n";
    let lines = ["MULTI", "SET a:1 x", "KEYS *", "INCR n", "EXEC", "GET a:1"];
    let expected = ["+OK\r\n", "+QUEUED\r\n", refused, "+QUEUED\r\n", aborted, "$-1\r\n"];
    assert_eq!(proxy.wire().pipeline(&lines), expected, "in one go");
    let mut wire = proxy.wire();
    assert_eq!(lines.map(|line| wire.ask(line)), expected, "one by one");
    assert_eq!(wire.pipeline(&["MULTI", "INCR n", "EXEC"]).concat(), "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    eventually("both are told", || proxy.violated("guard", "no-keys") == 2.0);
}

#[test]
fn a_group_with_a_rejected_member_is_not_sent() {
    let redis = RedisServer::start(&[]);
    let group = "[[group]]\nname = \"pair\"\ncommands = [\"INCR a:{n}\", \"SET b *\"]\n";
    let proxy = Proxy::start(&format!("{GUARDS}{group}"), &redis);
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["GET b", "INCR a:1", "SET b 123456789", "GET b"]);
    let why = "guard small: an argument is longer than 8 bytes\r\n";
    let others = "-EXECABORT Transaction discarded because of previous errors. respguard: group pair was not sent: member 2 of 2 (SET) is refused by ";
    assert_eq!(replies[1..3], [format!("{others}{why}"), format!("-ERR respguard: SET is refused by {why}")]);
    assert_eq!(redis.ask("EXISTS a:1 b"), ":0\r\n");
    eventually("the group is told", || proxy.groups("pair", "aborted") == 1.0);
    assert_eq!(wire.pipeline(&["INCR a:1", "SET b 1"]).concat(), ":1\r\n+OK\r\n");
}

#[test]
fn observing_lets_everything_pass_and_tells() {
    let redis = RedisServer::start(&[]);
    let proxy = crate::harness::Setup::new(&redis).top("mode = \"observe\"").rules(GUARDS).start();
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["SET a:1 123456789", "KEYS *"]).concat(), "+OK\r\n*1\r\n$3\r\na:1\r\n");
    eventually("both are told", || proxy.violated("guard", "no-keys") == 1.0 && proxy.violated("guard", "small") == 1.0);
}

#[test]
fn a_large_value_is_looked_at_before_any_of_it_is_sent() {
    let redis = RedisServer::start(&[]);
    let proxy = Proxy::start(
        "[[guard]]\nname = \"g\"\ncommands = [\"SET ...\"]\nvalue_bytes_max = 200000\naction = \"reject\"\n",
        &redis,
    );
    let mut wire = proxy.wire();
    assert_eq!(wire.ask(&format!("SET a {}", "x".repeat(200_000))), "+OK\r\n");
    let refused = "-ERR respguard: SET is refused by guard g: an argument is longer than 200000 bytes\r\n";
    assert_eq!(wire.ask(&format!("SET b {}", "x".repeat(200_001))), refused);
    assert_eq!(wire.ask("EXISTS a b"), ":1\r\n");
}

const EXPECTS: &str = r#"
[[expect]]
name = "deleted"
command = "DEL rt:{user}:{token}"
reply = ">= 1"

[[expect]]
name = "there"
command = "GET must:*"
reply = "!nil"
action = "fail"
"#;

#[test]
fn a_reply_that_is_not_what_is_expected_is_told_or_replaced() {
    let (redis, proxy) = Proxy::with_redis(EXPECTS);
    redis.ask("MSET rt:u:1 x must:1 x");
    redis.ask("RPUSH must:list x");
    let mut wire = proxy.wire();
    let replaced = "-PARTIAL respguard: GET was applied, but answered nil, expected !nil (rule there)\r\n";
    let replies = wire.pipeline(&["DEL rt:u:1", "DEL rt:u:1", "GET must:1", "GET must:2", "PING", "DEL other"]);
    assert_eq!(replies, [":1\r\n", ":0\r\n", "$1\r\nx\r\n", replaced, "+PONG\r\n", ":0\r\n"]);
    eventually("both are told", || {
        proxy.violated("expectation", "deleted") == 1.0 && proxy.violated("expectation", "there") == 1.0
    });
    assert!(wire.ask("GET must:list").starts_with("-WRONGTYPE"), "the server's own error says more");
    let mut own = proxy.wire();
    assert_eq!(own.pipeline(&["HELLO 3", "GET must:2"])[1], replaced);
}

fn ttl(action: &str) -> String {
    format!("[[ttl]]\nname = \"sessions\"\nkeys = [\"s:*\"]\ngrace_ms = 100\n{action}\n")
}

#[test]
fn a_write_that_leaves_no_ttl_is_rejected_before_it_is_sent() {
    let (_redis, proxy) = Proxy::with_redis(&ttl("action = \"reject\"\nmax = \"60s\""));
    let mut wire = proxy.wire();
    let refused = "-ERR respguard: SET is refused by ttl rule sessions: it would leave a key without a TTL\r\n";
    assert_eq!(wire.pipeline(&["SET s:1 x", "GET s:1", "SET other x"]), [refused, "$-1\r\n", "+OK\r\n"]);
    assert_eq!(wire.pipeline(&["SET s:1 x", "EXPIRE s:1 9"]).concat(), "+OK\r\n:1\r\n", "what follows gives it one");
    assert_eq!(wire.ask("SET s:1 x EX 60"), "+OK\r\n");
    assert_eq!(wire.ask("SADD s:2 x"), ":1\r\n", "the set may have had one");
    let long = "-ERR respguard: SETEX is refused by ttl rule sessions: its TTL is longer than max\r\n";
    assert_eq!(wire.ask("SETEX s:1 61 x"), long);
    assert_eq!(wire.ask("PERSIST s:1"), refused.replace("SET", "PERSIST"));
    eventually("all are told", || proxy.violated("ttl_rejected", "sessions") == 3.0);
    assert_eq!(proxy.violated("ttl_too_long", "sessions"), 0.0, "nothing has been written");
}

/// What the command by itself says of the lifetime, whatever the spelling.
#[test]
fn every_spelling_of_a_lifetime_is_measured() {
    let (redis, proxy) = Proxy::with_redis(&ttl("action = \"reject\"\nmax = \"60s\""));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let (near, far) = (now + 30, now + 3600);
    let mut wire = proxy.wire();
    let mut dump = redis.wire();
    dump.ask("SET other x");
    dump.send_line("DUMP other");
    let payload = dump.reply();
    let payload = &payload[payload.iter().position(|byte| *byte == b'\n').expect("a header") + 1..payload.len() - 2];
    let mut restore = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(|word| if word == "PAYLOAD" { payload } else { word.as_bytes() }).collect();
        wire.send(&crate::harness::wire::words(&words));
        crate::harness::text(&wire.reply())
    };
    let no_ttl = "it would leave a key without a TTL\r\n";
    let too_long = "its TTL is longer than max\r\n";
    for (line, why) in [
        ("SET s:1 x NX", no_ttl),
        ("SET s:1 x NX KEEPTTL", no_ttl),
        ("SET s:1 x XX", no_ttl),
        ("SETNX s:1 x", no_ttl),
        ("MSETNX s:1 x s:2 x", no_ttl),
        ("RESTORE s:1 0 PAYLOAD", no_ttl),
        ("RESTORE s:1 0 PAYLOAD REPLACE", no_ttl),
        ("SET s:1 x NX EX 61", too_long),
        (&format!("SET s:1 x EXAT {far}"), too_long),
        (&format!("SET s:1 x PXAT {far}000"), too_long),
        (&format!("GETEX s:1 EXAT {far}"), too_long),
        (&format!("EXPIREAT s:1 {far}"), too_long),
        (&format!("PEXPIREAT s:1 {far}000"), too_long),
        (&format!("EXPIREAT s:1 {far} NX"), too_long),
        ("EXPIRE s:1 61 GT", too_long),
        (&format!("RESTORE s:1 {far}000 PAYLOAD ABSTTL"), too_long),
        ("RESTORE s:1 61000 PAYLOAD", too_long),
    ] {
        let reply = restore(line);
        assert!(reply.starts_with("-ERR respguard: ") && reply.ends_with(why), "{line}: {reply}");
    }
    assert_eq!(redis.ask("EXISTS s:1 s:2"), ":0\r\n");
    for (line, reply) in [
        (format!("SET s:1 x EXAT {near}"), "+OK\r\n"),
        (format!("EXPIREAT s:1 {near}"), ":1\r\n"),
        (format!("RESTORE s:1 {near}000 PAYLOAD REPLACE ABSTTL"), "+OK\r\n"),
        ("SET s:9 x NX EX 60".to_owned(), "+OK\r\n"),
    ] {
        assert_eq!(restore(&line), reply, "{line}");
    }
    eventually("all are told", || proxy.violated("ttl_rejected", "sessions") == 17.0);
}

#[test]
fn what_only_changes_a_lifetime_gives_none() {
    let (_redis, proxy) = Proxy::with_redis(&ttl("action = \"reject\""));
    let mut wire = proxy.wire();
    for option in ["XX", "GT"] {
        let replies = wire.pipeline(&["SET s:1 x", &format!("EXPIRE s:1 100 {option}")]);
        assert!(replies[0].starts_with("-ERR respguard: SET is refused"), "{option}: {replies:?}");
    }
    for option in ["NX", "LT"] {
        let replies = wire.pipeline(&["SET s:1 x", &format!("EXPIRE s:1 100 {option}")]);
        assert_eq!(replies.concat(), "+OK\r\n:1\r\n", "{option}");
    }
}

#[test]
fn scripts_on_declared_keys_are_looked_at_and_never_fixed() {
    let (redis, proxy) = Proxy::with_redis(&ttl("action = \"fix\"\ndefault = \"50s\""));
    let mut wire = proxy.wire();
    let set = "return redis.call('set',KEYS[1],'x')";
    let ask = |wire: &mut crate::harness::Wire, words: &[&str]| {
        wire.send(&crate::harness::wire::words(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()));
        crate::harness::text(&wire.reply())
    };
    let sha = ask(&mut wire, &["SCRIPT", "LOAD", set]);
    let sha = sha.lines().nth(1).expect("a bulk string").to_owned();
    let library = "#!lua name=l\nredis.register_function('f', function(keys) return redis.call('set', keys[1], 'x') end)";
    ask(&mut wire, &["FUNCTION", "LOAD", library]);
    for words in [&["EVAL", set, "1", "s:1"], &["EVALSHA", &sha, "1", "s:2"], &["FCALL", "f", "1", "s:3"]] {
        assert_eq!(ask(&mut wire, words), "+OK\r\n");
    }
    for line in [&["MULTI"][..], &["EVAL", set, "1", "s:4"], &["EXEC"]] {
        ask(&mut wire, line);
    }
    ask(&mut wire, &["EVAL", "return redis.call('set',KEYS[1],'x','EX',9)", "1", "s:5"]);
    ask(&mut wire, &["EVAL", "return 1", "0"]);
    eventually("all are told", || proxy.violated("ttl_missing", "sessions") == 4.0);
    for key in ["s:1", "s:2", "s:3", "s:4"] {
        assert_eq!(redis.ask(&format!("TTL {key}")), ":-1\r\n");
    }
}

#[test]
fn what_touches_all_keys_touches_those_outside() {
    let redis = RedisServer::start(&[]);
    let guard = "[[guard]]\nname = \"mine\"\nkeys_allowed = [\"a:*\"]\naction = \"reject\"\n\
                 [[guard]]\nname = \"declared\"\ncommands = [\"EVAL * 0 ...\", \"EVALSHA * 0 ...\", \"FCALL * 0 ...\"]\naction = \"reject\"\n";
    let proxy = Proxy::start(guard, &redis);
    redis.ask("SET other 1");
    let mut wire = proxy.wire();
    for line in ["FLUSHALL", "FLUSHDB ASYNC", "SWAPDB 0 1"] {
        let reply = wire.ask(line);
        assert!(reply.ends_with("is refused by guard mine: a key is not among those allowed\r\n"), "{line}: {reply}");
    }
    assert!(wire.ask("EVAL x 0").contains("is refused by guard declared"));
    assert_eq!(wire.ask("SET a:1 x"), "+OK\r\n");
    assert_eq!(redis.ask("EXISTS other"), ":1\r\n");
}

#[test]
fn no_key_of_a_long_run_is_overlooked() {
    let (_redis, proxy) = Proxy::with_redis(&ttl(""));
    let mut wire = proxy.wire();
    let writes: Vec<String> = (0..1000).map(|at| format!("SET s:{at} x")).collect();
    wire.pipeline(&writes.iter().map(String::as_str).collect::<Vec<_>>());
    eventually("all are told", || proxy.violated("ttl_missing", "sessions") == 1000.0);
    let pairs: Vec<String> = (0..9000).map(|at| format!("s:m{at} x")).collect();
    assert_eq!(wire.ask(&format!("MSET {}", pairs.join(" "))), "+OK\r\n");
    eventually("what is beyond is told as such", || proxy.violated("too_large", "sessions") == 1.0);
}

#[test]
fn all_keys_of_one_command_are_fixed() {
    let (redis, proxy) = Proxy::with_redis(&ttl("action = \"fix\"\ndefault = \"50s\""));
    let pairs: Vec<String> = (0..300).map(|at| format!("s:{at} x")).collect();
    assert_eq!(proxy.wire().ask(&format!("MSET {}", pairs.join(" "))), "+OK\r\n");
    for at in [0, 64, 299] {
        assert_ne!(redis.ask(&format!("TTL s:{at}")), ":-1\r\n", "{at}");
    }
}

/// A lifetime of the client's own that comes in the same batch is not forestalled by the default.
#[test]
fn the_clients_own_conditional_lifetime_wins_within_a_batch() {
    let redis = RedisServer::start(&[]);
    let group = "[[group]]\nname = \"pair\"\ncommands = [\"INCR n:{u}\", \"SADD s:{u} *\"]\n";
    let proxy = Proxy::start(&format!("{}{group}", ttl("action = \"fix\"\ndefault = \"50s\"")), &redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["INCR s:1", "EXPIRE s:1 900 NX"]).concat(), ":1\r\n:1\r\n");
    assert_eq!(wire.pipeline(&["INCR n:2", "SADD s:2 x", "EXPIRE s:2 900 NX"]).concat(), ":1\r\n:1\r\n:1\r\n");
    assert_eq!(wire.ask("INCR s:3"), ":1\r\n");
    assert_eq!(wire.ask("EXPIRE s:3 900 NX"), ":0\r\n", "in a later write the default is there");
}

#[test]
fn a_write_without_a_ttl_is_fixed_in_its_own_transaction() {
    let (redis, proxy) = Proxy::with_redis(&ttl("action = \"fix\"\ndefault = \"50s\""));
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["PING", "INCR s:1", "INCR s:1", "GET s:1"]), ["+PONG\r\n", ":1\r\n", ":2\r\n", "$1\r\n2\r\n"]);
    let ttl = |key: &str| redis.ask(&format!("PTTL {key}")).trim().trim_start_matches(':').parse::<i64>().expect("a number");
    assert!((1..=50_000).contains(&ttl("s:1")));
    redis.ask("PEXPIRE s:1 5000");
    wire.ask("INCR s:1");
    assert!(ttl("s:1") <= 5000, "a TTL that is there stays");
    assert_eq!(wire.ask("SET s:2 x GET"), "$-1\r\n");
    assert!(ttl("s:2") > 0);
    assert_eq!(wire.pipeline(&["SADD s:3 x", "EXPIRE s:3 900"]).concat(), ":1\r\n:1\r\n");
    assert!(ttl("s:3") > 50_000, "the client's own TTL wins");
    redis.ask("SET s:4 x");
    assert_eq!(wire.ask("SET s:4 y NX"), "$-1\r\n");
    assert_eq!(ttl("s:4"), -1, "nothing is set behind a write that may not have happened");
    assert!(wire.ask("LPUSH s:4 x").starts_with("-WRONGTYPE"));
    assert_eq!(wire.ask("INCR s:1 2"), "-ERR wrong number of arguments for 'incr' command\r\n");
}

#[test]
fn what_is_fixed_may_still_be_rejected_and_a_watch_outlives_it() {
    let redis = RedisServer::start(&[]);
    let guard = "[[guard]]\nname = \"small\"\nvalue_bytes_max = 8\naction = \"reject\"\n";
    let proxy = Proxy::start(&format!("{}{guard}", ttl("action = \"fix\"\ndefault = \"50s\"")), &redis);
    let mut wire = proxy.wire();
    assert!(wire.ask("SET s:1 123456789").starts_with("-ERR respguard: SET is refused by guard small"));
    assert_eq!(wire.ask("WATCH k"), "+OK\r\n");
    assert_eq!(wire.ask("SET s:1 1"), "+OK\r\n");
    assert_eq!(redis.ask("SET k changed"), "+OK\r\n");
    assert_eq!(wire.pipeline(&["MULTI", "SET n 1", "EXEC"]).concat(), "+OK\r\n+QUEUED\r\n*-1\r\n");
    assert_eq!(wire.ask("SET s:1 2"), "+OK\r\n");
    assert!(redis.ask("TTL s:1") != ":-1\r\n", "fixed again behind the EXEC");
}

#[test]
fn a_group_is_fixed_within_its_transaction() {
    let redis = RedisServer::start(&[]);
    let group = "[[group]]\nname = \"pair\"\ncommands = [\"INCR n:{u}\", \"SADD s:{u} *\"]\n";
    let proxy = Proxy::start(&format!("{}{group}", ttl("action = \"fix\"\ndefault = \"50s\"")), &redis);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["INCR n:1", "SADD s:1 x", "PING"]).concat(), ":1\r\n:1\r\n+PONG\r\n");
    eventually("the group is applied", || proxy.groups("pair", "applied") == 1.0);
    assert_ne!(redis.ask("PTTL s:1"), ":-1\r\n");
    assert_eq!(redis.ask("PTTL n:1"), ":-1\r\n", "no rule is about it");
}

#[test]
fn a_set_keeps_the_ttl_that_there_is() {
    let (redis, proxy) = Proxy::with_redis(&ttl("keep = true"));
    redis.ask("SET s:1 x EX 50");
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["SET s:1 y", "GET s:1", "SET s:2 x"]), ["+OK\r\n", "$1\r\ny\r\n", "+OK\r\n"]);
    assert_ne!(redis.ask("TTL s:1"), ":-1\r\n");
    assert_eq!(wire.pipeline(&["MULTI", "SET s:1 z", "EXEC"]).concat(), "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    assert_ne!(redis.ask("TTL s:1"), ":-1\r\n");
    eventually("a new key has none", || proxy.violated("ttl_missing", "sessions") == 1.0);
    assert_eq!(proxy.violated("ttl_dropped", "sessions"), 0.0);
}

#[test]
fn only_a_sample_is_verified() {
    let (_redis, proxy) = Proxy::with_redis(&ttl("sample = 0.25"));
    let mut wire = proxy.wire();
    for key in 0..40 {
        assert_eq!(wire.ask(&format!("SADD s:{key} x")), ":1\r\n");
    }
    eventually("a quarter is told", || proxy.violated("ttl_missing", "sessions") == 10.0);
}

#[test]
fn what_is_too_large_to_be_looked_at_is_told_where_a_rule_is_about_it() {
    let redis = RedisServer::start(&[]);
    let rules = r#"
[[group]]
name = "blob"
commands = ["HSET info:{id} ...", "SET blob:{id} *"]

[[guard]]
name = "small"
commands = ["APPEND log:* *"]
value_bytes_max = 100
action = "reject"
"#;
    let proxy = Proxy::start(rules, &redis);
    let mut wire = proxy.wire();
    let value = "x".repeat(9 * 1024 * 1024);
    assert_eq!(wire.ask(&format!("SET other {value}")), "+OK\r\n", "no rule is about it");
    assert_eq!(wire.pipeline(&["HSET info:1 f v", &format!("SET blob:1 {value}"), "PING"]).concat(), ":1\r\n+OK\r\n+PONG\r\n");
    assert_eq!(proxy.violated("too_large", "blob"), 1.0);
    assert!(wire.ask(&format!("APPEND log:1 {value}")).starts_with("-ERR respguard: APPEND is refused by guard small"));
    assert_eq!((proxy.violated("too_large", "small"), proxy.violated("guard", "small")), (0.0, 1.0), "its header tells");
    assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "too_large")]), 1.0);
}
