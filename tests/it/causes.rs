//! What a group's members are answered, and its owner told, says which member was the reason and what the server said of it.

use crate::harness::{Proxy, RedisServer, eventually};

/// `user` may do everything but SADD.
fn without_sadd(redis: &RedisServer) {
    assert_eq!(redis.ask("ACL SETUSER user on >secret ~* &* +@all -sadd"), "+OK\r\n");
}

fn login(atomic: &str) -> String {
    format!(
        "[[group]]\nname = \"login\"\natomic = \"{atomic}\"\ncommands = [\"SETEX rt:{{user}} * *\", \"SADD sess:{{user}} *\", \"EXPIRE sess:{{user}} *\"]\n"
    )
}

fn not_applied(why: &str) -> String {
    format!("-EXECABORT Transaction discarded because of previous errors. respguard: group login was not applied: {why}\r\n")
}

const LOGIN: [&str; 3] = ["SETEX rt:u 60 v", "SADD sess:u t", "EXPIRE sess:u 60"];

#[test]
fn a_refused_member_is_named_to_the_others_with_its_error() {
    let redis = RedisServer::start(&[]);
    without_sadd(&redis);
    for level in ["transaction", "guarded"] {
        let proxy = Proxy::start(&login(level), &redis);
        let mut wire = proxy.wire();
        assert_eq!(wire.ask("AUTH user secret"), "+OK\r\n");
        let replies = wire.pipeline(&LOGIN);
        let error = replies[1].strip_prefix('-').and_then(|reply| reply.strip_suffix("\r\n")).expect("an error");
        assert!(error.starts_with("NOPERM ") && error.contains("'sadd'"), "{error}");
        let others = not_applied(&format!("member 2 of 3 (SADD) answered {error}"));
        assert_eq!([&replies[0], &replies[2]], [&others, &others], "{level}");
        assert_eq!(redis.ask("EXISTS rt:u sess:u"), ":0\r\n");
    }
}

#[test]
fn what_a_preflight_predicts_is_told_to_the_others() {
    let (redis, proxy) = Proxy::with_redis(&login("guarded"));
    let mut wire = proxy.wire();
    redis.ask("SET sess:u string");
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    let others = not_applied(&format!("member 2 of 3 (SADD) would answer {wrong}"));
    assert_eq!(wire.pipeline(&LOGIN), [others.clone(), format!("-{wrong}\r\n"), others]);
    let invalid = "ERR value is not an integer or out of range";
    let others = not_applied(&format!("member 3 of 3 (EXPIRE) would answer {invalid}"));
    let replies = wire.pipeline(&["SETEX rt:u 60 v", "SADD sess:u t", "EXPIRE sess:u soon"]);
    assert_eq!(replies, [others.clone(), others, format!("-{invalid}\r\n")]);
}

const SCRIPT: &str = "EVALSHA 0000000000000000000000000000000000000000 1 s:1";

fn script(on_partial: &str) -> String {
    format!(
        "[[group]]\nname = \"script\"\non_partial = \"{on_partial}\"\ncommands = [\"SET k:{{id}} *\", \"EVALSHA * 1 s:{{id}}\"]\n\
         [[group]]\nname = \"stream\"\non_partial = \"{on_partial}\"\ncommands = [\"SET k:{{id}} *\", \"XGROUP CREATE x:{{id}} * * MKSTREAM\"]\n"
    )
}

#[test]
fn a_missing_script_and_a_consumer_group_that_exists_are_failures_of_a_member() {
    let (redis, proxy) = Proxy::with_redis(&script("report"));
    let mut wire = proxy.wire();
    assert!(wire.pipeline(&["SET k:1 v", SCRIPT])[1].starts_with("-NOSCRIPT "));
    eventually("it is torn", || proxy.groups("script", "torn") == 1.0);
    assert_eq!(proxy.violated("partial_failure", "script"), 1.0);
    redis.ask("XGROUP CREATE x:1 g $ MKSTREAM");
    assert!(wire.pipeline(&["SET k:1 v", "XGROUP CREATE x:1 g $ MKSTREAM"])[1].starts_with("-BUSYGROUP "));
    eventually("it is torn", || proxy.groups("stream", "torn") == 1.0);

    let proxy = Proxy::start(&script("fail"), &redis);
    let mut wire = proxy.wire();
    let replies = wire.pipeline(&["SET k:1 v", SCRIPT]);
    let text =
        "-PARTIAL respguard: group script was applied in part: member 2 of 2 (EVALSHA) answered NOSCRIPT No matching script.";
    assert!(replies.iter().all(|reply| reply.starts_with(text)), "{replies:?}");
    let replies = wire.pipeline(&["SET k:1 v", "XGROUP CREATE x:1 g $ MKSTREAM"]);
    let text = "-PARTIAL respguard: group stream was applied in part: member 2 of 2 (XGROUP CREATE) answered BUSYGROUP ";
    assert!(replies.iter().all(|reply| reply.starts_with(text)), "{replies:?}");

    let observed = script("report").replace("on_partial", "atomic = \"observe\"\non_partial");
    let proxy = Proxy::start(&observed, &redis);
    assert!(proxy.wire().pipeline(&["SET k:1 v", SCRIPT])[1].starts_with("-NOSCRIPT "));
    eventually("it is torn", || proxy.groups("script", "torn") == 1.0);
}

#[test]
fn outside_of_groups_they_are_answers() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    redis.ask("XGROUP CREATE x:1 g $ MKSTREAM");
    assert!(wire.pipeline(&["SET k:1 v", SCRIPT])[1].starts_with("-NOSCRIPT "));
    assert!(wire.pipeline(&["SET k:1 v", "XGROUP CREATE x:1 g $ MKSTREAM"])[1].starts_with("-BUSYGROUP "));
    assert_eq!(proxy.metric("respguard_partial_failures_total", &[]), 0.0);
}

#[test]
fn a_pipeline_without_a_write_is_counted_and_not_told() {
    let (redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    redis.ask("SET string v");
    let failed = || proxy.metric("respguard_partial_failures_total", &[("where", "pipeline")]);
    wire.pipeline(&["PING", "CONFIG GET", "GET string"]);
    wire.pipeline(&["GET string", "LLEN string", "EXISTS string"]);
    wire.pipeline(&["MULTI", "GET string", "LLEN string", "EXEC"]);
    eventually("they are counted", || failed() == 2.0);
    assert_eq!(proxy.metric("respguard_partial_failures_total", &[("where", "transaction")]), 1.0);
    assert_eq!(proxy.violated("partial_failure", ""), 0.0);
    for (told, write) in
        [["SET k v", "LLEN string"], ["EVAL return(1) 0", "LLEN string"], ["LPUSH string x", "GET string"]].iter().enumerate()
    {
        wire.pipeline(write);
        eventually("a write is told", || proxy.violated("partial_failure", "") == told as f64 + 1.0);
    }
    wire.pipeline(&["MULTI", "SET k v", "LLEN string", "EXEC"]);
    eventually("a write is told", || proxy.violated("partial_failure", "") == 4.0);
}
