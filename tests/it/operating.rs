//! A running proxy is looked at and steered from the shell.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Output, Stdio};

use crate::harness::proxy::command;
use crate::harness::wire::requests;
use crate::harness::{Proxy, RedisServer, Setup, eventually, text};

const GUARD: &str = "[[guard]]\nname = \"no-keys\"\ncommands = [\"KEYS *\"]\naction = \"reject\"\n";
const PAIR: &str = "[[group]]\nname = \"pair\"\ncommands = [\"SET a:{id} *\", \"SET b:{id} *\"]\n";

fn ask(proxy: &Proxy, words: &[&str]) -> Output {
    command().args(words).arg("--config").arg(proxy.config()).output().expect("the program starts")
}

/// A copy of its configuration, which stays as it is.
fn kept(proxy: &Proxy) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    std::fs::copy(proxy.config(), &file).expect("copied");
    (folder, file)
}

/// What a command that succeeds prints.
fn told(proxy: &Proxy, words: &[&str]) -> String {
    let output = ask(proxy, words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn status_says_what_a_person_asks_first_and_ends_as_the_proxy_stands() {
    let redis = RedisServer::start(&[]);
    let soon = "request_timeout_ms = 1000\nqueue_timeout_ms = 1000\nconnect_timeout_ms = 1000";
    let proxy = Setup::new(&redis).upstream(soon).start();
    let _client = proxy.wire();
    eventually("it is ready", || ask(&proxy, &["status"]).status.success());
    let shown = told(&proxy, &["status"]);
    for line in ["ready", "mode         enforce", "clients      1 on 2 workers", "available", "breaker      closed"] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    let json: serde_json::Value = serde_json::from_str(&told(&proxy, &["status", "--json"])).expect("JSON");
    assert_eq!((json["mode"].as_str(), json["mode_is_switched"].as_bool()), (Some("enforce"), Some(false)));
    redis.pause();
    let mut wire = proxy.wire();
    wire.send(&requests(&["GET k"; 6]));
    eventually("it is not ready", || ask(&proxy, &["status"]).status.code() == Some(1));
    redis.resume();
}

#[test]
fn groups_are_a_table_of_what_became_of_them() {
    let (_redis, proxy) = Proxy::with_redis(PAIR);
    assert_eq!(proxy.wire().pipeline(&["SET a:1 v", "SET b:1 v"]).concat(), "+OK\r\n+OK\r\n");
    eventually("it is counted", || proxy.groups("pair", "applied") == 1.0);
    assert_eq!(
        told(&proxy, &["groups"]),
        "group  matched  wrapped  applied  held  split\npair         1        1        1     0      0\n"
    );
}

#[test]
fn violations_are_shown_and_followed_as_they_come() {
    let (_redis, proxy) = Proxy::with_redis(GUARD);
    let mut wire = proxy.wire();
    assert!(wire.ask("KEYS *").starts_with("-ERR"));
    eventually("it is kept", || told(&proxy, &["violations"]).lines().count() == 1);
    let line = told(&proxy, &["violations", "--kind", "guard", "--rule", "no-keys"]);
    assert!(line.contains("  guard  rule=\"no-keys\"  commands=\"keys\""), "{line}");
    assert_eq!(told(&proxy, &["violations", "--rule", "another & more"]), "");
    let wrong = ask(&proxy, &["violations", "--kind", "nothing"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("no kind of violation"), "{}", text(&wrong.stderr));

    let mut following = command()
        .args(["violations", "--follow", "--json", "--config"])
        .arg(proxy.config())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(following.stdout.take().expect("its output")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert!(first.contains("\"sequence\":1"), "{first}");
    wire.ask("KEYS *");
    let second = lines.next().expect("a line").expect("text");
    assert!(second.contains("\"sequence\":2"), "{second}");
    following.kill().expect("it runs");
    following.wait().expect("a child of ours");
}

#[test]
fn top_prints_one_frame_for_scripts_and_wants_a_terminal_else() {
    let (_redis, proxy) = Proxy::with_redis(&[PAIR, GUARD].concat());
    let mut wire = proxy.wire();
    wire.ask("CLIENT SETNAME billing");
    wire.pipeline(&["SET a:1 v", "SET b:1 v"]);
    wire.ask("KEYS *");
    eventually("it is kept", || told(&proxy, &["violations"]).lines().count() == 1);
    let frame = told(&proxy, &["top", "--once", "--sort", "age"]);
    for part in ["ready", "1 clients on 2 workers", "requests/s", "pair", "billing", "no-keys", "sort (age)"] {
        assert!(frame.contains(part), "{part} in\n{frame}");
    }
    let filtered = told(&proxy, &["top", "--once", "--filter", "nobody"]);
    assert!(!filtered.contains("billing"), "{filtered}");
    let refused = ask(&proxy, &["top"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("--once prints one frame"), "{}", text(&refused.stderr));
}

#[test]
fn an_operator_switches_the_rules_off_until_the_next_reload() {
    let (_redis, proxy) = Proxy::with_redis(GUARD);
    let mut wires = [proxy.wire(), proxy.wire(), proxy.wire()];
    let are_refused = |wires: &mut [crate::harness::Wire]| {
        wires.iter_mut().map(|wire| wire.ask("KEYS *").starts_with("-ERR")).collect::<Vec<_>>()
    };
    assert_eq!(are_refused(&mut wires), [true; 3]);
    assert!(told(&proxy, &["mode", "observe"]).contains("observe, until the next reload"));
    assert_eq!(are_refused(&mut wires), [false; 3]);
    assert!(told(&proxy, &["status"]).contains("observe (an operator has switched it"));
    assert_eq!(proxy.metric("respguard_mode", &[("mode", "observe")]), 1.0);
    proxy.logs("an operator has switched the rules' mode");
    eventually("it is only reported", || proxy.violated("guard", "no-keys") == 6.0);

    assert!(told(&proxy, &["reload"]).contains("is in force"));
    assert_eq!(are_refused(&mut wires), [true; 3]);
    assert_eq!(proxy.metric("respguard_mode", &[("mode", "enforce")]), 1.0);
    assert!(told(&proxy, &["mode", "enforce"]).contains("enforce, as configured"));
    let (status, answer) = proxy.http("POST", "/mode?mode=loud", &[]);
    assert!(status == 400 && answer.contains("expected mode=observe or mode=enforce"), "{answer}");
}

#[test]
fn an_operator_needs_neither_good_rules_nor_other_credentials_to_reach_it() {
    let (_redis, proxy) = Proxy::with_redis(GUARD);
    let (_folder, file) = kept(&proxy);
    let good = std::fs::read_to_string(&file).expect("it is there");
    let wrong = "[rest]\ntokens = { app = { token_env = \"SET_WHERE_IT_RUNS\" } }\n[[group]]\nname = \"half-written\"\n";
    std::fs::write(&file, good + wrong).expect("written");
    let ask = |words: &[&str]| command().args(words).arg("--config").arg(&file).output().expect("the program starts");
    let switched = ask(&["mode", "observe"]);
    assert!(switched.status.success(), "{}", text(&switched.stderr));
    assert_eq!(proxy.metric("respguard_mode", &[("mode", "observe")]), 1.0);
    let checked = ask(&["check"]);
    assert!(text(&checked.stderr).contains("SET_WHERE_IT_RUNS"), "{}", text(&checked.stderr));
}

#[test]
fn a_reload_that_is_refused_says_why_and_ends_with_1() {
    let (redis, proxy) = Proxy::with_redis(GUARD);
    let (_folder, good) = kept(&proxy);
    proxy.rewrite(&Setup::new(&redis).rules("[[guard]]\nname = \"no-keys\"\ncommands = [\"KEYZ *\"]\n"));
    let output = command().args(["reload", "--config"]).arg(&good).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("KEYZ"), "{}", text(&output.stderr));
}

#[test]
fn a_drain_from_the_shell_ends_the_process_in_good_order() {
    let (_redis, proxy) = Proxy::with_redis(GUARD);
    let (_folder, file) = kept(&proxy);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    assert!(told(&proxy, &["drain"]).contains("takes no new clients"));
    drop(wire);
    assert!(proxy.ended().status.success());
    let output = command().args(["status", "--config"]).arg(file).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "nobody answers any more");
}
