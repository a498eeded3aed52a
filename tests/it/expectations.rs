//! What rules expect of replies holds wherever a reply comes from: single commands, members of groups, transactions.

use crate::harness::{Proxy, RedisServer, Twin, eventually};

const RULES: &str = r#"
[[expect]]
name = "deleted"
command = "DEL rt:*"
reply = ">= 1"

[[expect]]
name = "there"
command = "GET must:*"
reply = "!nil"
action = "fail"

[[expect]]
name = "first"
command = "INCR once:*"
reply = "= 1"
action = "fail"

[[guard]]
name = "long"
commands = ["LRANGE ..."]
reply_bytes_max = 1000
"#;

const MISSING: &str = "-PARTIAL respguard: GET was applied, but answered nil, expected !nil (rule there)\r\n";

fn group(level: &str) -> String {
    format!(
        r#"
[[group]]
name = "rotate"
atomic = "{level}"
commands = ["DEL rt:{{u}}", "SADD s:{{u}} *", "GET must:{{u}}", {{ match = "LRANGE l:{{u}} 0 -1", optional = true }}]
"#
    )
}

fn told(proxy: &Proxy, kind: &str, rule: &str, times: f64) {
    eventually(&format!("{kind} {rule} {times}"), || proxy.violated(kind, rule) == times);
}

#[test]
fn members_of_groups_are_judged_at_every_level() {
    for level in ["observe", "transaction", "guarded"] {
        let (redis, proxy) = Proxy::with_redis(&format!("{RULES}{}", group(level)));
        redis.ask("MSET rt:a x must:a y");
        let mut wire = proxy.wire();
        let members = ["DEL rt:a", "SADD s:a 1", "GET must:a"];
        assert_eq!(wire.pipeline(&members).concat(), ":1\r\n:1\r\n$1\r\ny\r\n", "{level}");
        redis.ask("DEL must:a");
        assert_eq!(wire.pipeline(&members), [":0\r\n", ":0\r\n", MISSING], "{level}");
        told(&proxy, "expectation", "deleted", 1.0);
        told(&proxy, "expectation", "there", 1.0);
        assert_eq!(proxy.violated("partial_failure", "rotate"), 0.0, "{level}: every member has been applied");
        let outcome = if level == "observe" { "observed" } else { "applied" };
        assert_eq!(proxy.groups("rotate", outcome), 2.0, "{level}");
    }
}

#[test]
fn a_long_array_of_exec_is_judged_while_it_passes() {
    for level in ["transaction", "guarded"] {
        let (redis, proxy) = Proxy::with_redis(&format!("{RULES}{}", group(level)));
        let value = "x".repeat(400_000);
        (0..8).for_each(|_| drop(redis.ask(&format!("RPUSH l:a {value}"))));
        let list = redis.ask("LRANGE l:a 0 -1");
        let members = ["DEL rt:a", "SADD s:a 1", "GET must:a", "LRANGE l:a 0 -1", "PING"];
        for mut wire in [proxy.wire(), proxy.wire()] {
            let replies = wire.pipeline(&members);
            assert_eq!(replies[0], ":0\r\n", "{level}");
            assert_eq!(replies[2], MISSING, "{level}");
            assert!(replies[3] == list, "{level}: {} bytes", replies[3].len());
            assert_eq!(replies[4], "+PONG\r\n");
        }
        told(&proxy, "guard", "long", 2.0);
        told(&proxy, "expectation", "there", 2.0);
        assert_eq!(proxy.groups("rotate", "applied"), 2.0, "{level}");
    }
}

#[test]
fn a_group_that_fails_as_a_whole_is_judged_too() {
    let redis = RedisServer::start(&[]);
    let fails = group("transaction").replace("atomic", "on_partial = \"fail\"\natomic");
    let proxy = Proxy::start(&format!("{RULES}{fails}"), &redis);
    redis.ask("SET s:a text");
    let replies = proxy.wire().pipeline(&["DEL rt:a", "SADD s:a 1", "GET must:a"]);
    assert!(replies.iter().all(|reply| reply.starts_with("-PARTIAL respguard: group rotate was applied in part")), "{replies:?}");
    told(&proxy, "expectation", "deleted", 1.0);
    told(&proxy, "expectation", "there", 1.0);
}

#[test]
fn replies_within_the_clients_own_transaction_are_judged() {
    let (_redis, proxy) = Proxy::with_redis(RULES);
    let lines = ["MULTI", "DEL rt:a", "SET n 1", "GET must:a", "GET n", "EXEC", "PING"];
    let array = format!("*4\r\n:0\r\n+OK\r\n{MISSING}$1\r\n1\r\n");
    let expected = ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &array, "+PONG\r\n"];
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&lines), expected, "in one go");
    assert_eq!(lines.map(|line| wire.ask(line)), expected, "one by one");
    wire.ask("HELLO 3");
    let array = array.replace("$-1", "_");
    assert_eq!(wire.pipeline(&lines)[5], array);
    told(&proxy, "expectation", "deleted", 3.0);
    told(&proxy, "expectation", "there", 3.0);

    let lines = ["MULTI", "CLIENT ID", "GET must:a", "CLIENT SETNAME x", "EXEC"];
    let replies = lines.map(|line| wire.ask(line));
    assert!(replies[4].starts_with("*3\r\n:") && replies[4].ends_with(&format!("\r\n{MISSING}+OK\r\n")), "{replies:?}");
    told(&proxy, "expectation", "there", 4.0);
}

#[test]
fn what_a_transaction_did_not_run_is_not_judged() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    assert_eq!(wire.pipeline(&["MULTI", "GET must:a", "DISCARD"]).concat(), "+OK\r\n+QUEUED\r\n+OK\r\n");
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    assert_eq!(wire.pipeline(&["MULTI", "GET must:a", "INCR", "EXEC"])[3], aborted);
    wire.ask("WATCH k");
    redis.ask("SET k 1");
    assert_eq!(wire.pipeline(&["MULTI", "GET must:a", "EXEC"])[2], "*-1\r\n");
    assert_eq!(wire.pipeline(&["MULTI", "GET must:a", "INCR once:1", "INCR once:1", "EXEC"])[4], {
        let second = "-PARTIAL respguard: INCR was applied, but answered 2, expected = 1 (rule first)\r\n";
        format!("*3\r\n{MISSING}:1\r\n{second}")
    });
    told(&proxy, "expectation", "there", 1.0);
    told(&proxy, "expectation", "first", 1.0);
    assert_eq!(redis.ask("GET once:1"), "$1\r\n2\r\n", "it was applied all the same");
}

#[test]
fn a_write_that_is_fixed_is_judged_too() {
    let redis = RedisServer::start(&[]);
    let fix = "[[ttl]]\nname = \"t\"\nkeys = [\"once:*\"]\naction = \"fix\"\ndefault = \"50s\"\n";
    let proxy = Proxy::start(&format!("{RULES}{fix}"), &redis);
    let mut wire = proxy.wire();
    let second = "-PARTIAL respguard: INCR was applied, but answered 2, expected = 1 (rule first)\r\n";
    assert_eq!(wire.pipeline(&["INCR once:1", "INCR once:1", "PING"]), [":1\r\n", second, "+PONG\r\n"]);
    assert_ne!(redis.ask("PTTL once:1"), ":-1\r\n");
    told(&proxy, "expectation", "first", 1.0);
}

/// Rules that are always met change no byte of any answer, wherever EXEC's array is cut.
#[test]
fn what_meets_its_expectation_is_byte_for_byte_the_servers() {
    let commands = ["GET *", "LRANGE ...", "HGETALL *", "SET ...", "INCR *", "ZADD ..."];
    let rule = |(at, command): (usize, &str)| {
        format!("[[expect]]\nname = \"r{at}\"\ncommand = \"{command}\"\nreply = \"!QUEUED\"\naction = \"fail\"\n")
    };
    let rules: String = (0..).zip(commands).map(rule).collect();
    let twin = Twin::start(&rules);
    for mut pair in [twin.pair(), twin.pair3()] {
        let value = "v".repeat(3000);
        pair.same_line(&format!("RPUSH l {value} b {value}"));
        pair.same_line("HSET h a 1 b 2");
        let body = ["SET a 1", "INCR a", "LRANGE l 0 -1", "HGETALL h", "GET none", "ZADD a 1 x", "GET l", "ZADD z INCR 1 x"];
        let lines: Vec<&str> = ["MULTI"].into_iter().chain(body.repeat(40)).chain(["EXEC", "PING"]).collect();
        pair.same(&crate::harness::wire::requests(&lines), lines.len());
        lines.iter().for_each(|line| drop(pair.same_line(line)));
    }
    assert_eq!(twin.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

/// For each matcher a command that meets it and one that does not, as Redis answers them in either protocol.
#[test]
fn every_matcher_judges_what_redis_answers() {
    let cases = [
        ("= 1", "INCR fresh", "INCR five"),
        ("!= 0", "EXISTS five", "EXISTS none"),
        ("< 1", "EXISTS none", "EXISTS five"),
        ("<= 5", "STRLEN hello", "STRLEN long"),
        ("> 5", "STRLEN long", "STRLEN hello"),
        (">= 2", "LLEN list", "LLEN none"),
        ("OK", "SET status x", "SET status x GET"),
        ("hello", "GET hello", "GET long"),
        ("!string", "TYPE list", "TYPE hello"),
        ("nil", "GET none", "GET hello"),
        ("!nil", "GET hello", "GET none"),
        ("error", "GET list", "GET hello"),
        ("!error", "GET none", "GET list"),
        ("length >= 2", "LRANGE list 0 -1", "LRANGE list 0 0"),
        ("length = 4", "HGETALL hash", "HGETALL none"),
        ("bytes <= 5", "GET hello", "GET long"),
    ];
    for (wanted, met, unmet) in cases {
        let redis = RedisServer::start(&[]);
        let pattern = match met.split(' ').next() {
            Some("SET") => "SET * * ...".to_owned(),
            Some("LRANGE") => "LRANGE * * *".to_owned(),
            name => format!("{} *", name.unwrap_or_default()),
        };
        let rule = format!("[[expect]]\nname = \"r\"\ncommand = \"{pattern}\"\nreply = \"{wanted}\"\n");
        let proxy = Proxy::start(&rule, &redis);
        for line in ["MSET five 5 hello hello long 1234567", "RPUSH list a b", "HSET hash a 1 b 2"] {
            redis.ask(line);
        }
        for hello in ["HELLO 2", "HELLO 3"] {
            redis.ask("DEL fresh status");
            redis.ask("SET five 5");
            let mut wire = proxy.wire();
            wire.ask(hello);
            let before = proxy.violated("expectation", "r");
            wire.ask(met);
            assert_eq!(proxy.violated("expectation", "r"), before, "{wanted}: {met}, {hello}");
            wire.ask(unmet);
            told(&proxy, "expectation", "r", before + 1.0);
        }
    }
}

#[test]
fn an_answer_beyond_what_is_kept_passes_as_it_is() {
    let redis = RedisServer::start(&[]);
    let rules = "[[group]]\nname = \"g\"\non_partial = \"fail\"\ncommands = [\"SADD s *\", \"LRANGE l 0 -1\"]\n";
    let proxy = Proxy::start(rules, &redis);
    redis.ask("SET s text");
    let value = "x".repeat(3 * 1024 * 1024);
    (0..6).for_each(|_| drop(redis.ask(&format!("RPUSH l {value}"))));
    let replies = proxy.wire().pipeline(&["SADD s 1", "LRANGE l 0 -1", "PING"]);
    assert!(replies[0].starts_with("-WRONGTYPE"), "{}", replies[0]);
    assert!(replies[1] == redis.ask("LRANGE l 0 -1") && replies[2] == "+PONG\r\n");
    assert_eq!((proxy.groups("g", "torn"), proxy.violated("partial_failure", "g")), (1.0, 1.0));
}
