//! Rules are proposed from what clients send, and do what they were proposed for.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::proxy::command;
use crate::harness::wire::words;
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually, text};

const ROUNDS: usize = 12;
/// Requests that a client with auto-pipelining puts into one write.
const AT_ONCE: usize = 10;
const SECRETS: [&str; 4] = ["what-the-token-stands-for", "image/png", "hunter2", "correct-horse"];

/// The demo's stories: each a name for the proposed group, the number of groups in a round, and the round's commands.
fn stories(round: usize) -> Vec<(&'static str, usize, Vec<Vec<String>>)> {
    let line = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (upload, preview, recording) = ("x".repeat(48 * 1024), "p".repeat(20 * 1024), "r".repeat(40 * 1024));
    let blob = vec![
        line(format!("HSET blobs:1 version {round} bytes {upload}")),
        line(format!("HSET info:1 version {round} type image/png preview {preview}")),
    ];
    let snapshot = vec![
        line(format!("SET snap:time:{} {recording}", round % 4)),
        line(format!("SET snap:id:s{round} {recording}")),
        line(format!("SET snap:latest {recording}")),
        line(format!("ZADD snap:index {round} s{round}")),
        line(format!("ZREMRANGEBYSCORE snap:index -inf {}", round as i64 - 10)),
        line("DEL snap:live".to_owned()),
    ];
    let user = |place: usize| format!("user-{place}-{}", "n".repeat(place * 7 % 23));
    let token = "t".repeat(64);
    let login = |user: String| {
        vec![
            line(format!("SETEX rt:{user}:{token} 900 what-the-token-stands-for")),
            line(format!("SADD sess:{user} {token}")),
            line(format!("EXPIRE sess:{user} 900")),
            line(format!("SMEMBERS sess:{user}")),
        ]
    };
    let path = "/a/path/as/long/as/paths/are".repeat(6);
    let rate = |user: String| vec![line(format!("INCR rate:{user}:{path}")), line(format!("EXPIRE rate:{user}:{path} 60"))];
    let users = |place: usize| user((place + round) % AT_ONCE);
    vec![
        ("blobs-info", 1, blob),
        ("snap", 1, snapshot),
        ("rt-sess", AT_ONCE, (0..AT_ONCE).flat_map(|place| login(users(place))).collect()),
        ("rate", AT_ONCE, (0..AT_ONCE).flat_map(|place| rate(users(place))).collect()),
    ]
}

/// Each story in one write; every reply is awaited before the next.
fn play(wire: &mut Wire, rounds: std::ops::Range<usize>) {
    for round in rounds {
        for (_, _, commands) in stories(round) {
            let requests: Vec<u8> =
                commands.iter().flat_map(|command| words(&command.iter().map(String::as_bytes).collect::<Vec<_>>())).collect();
            wire.send(&requests);
            wire.replies(commands.len());
        }
    }
}

fn learn(proxy: &Proxy, time: &str, out: &Path) -> Child {
    let mut command = command();
    command.args(["learn", "--for", time, "--config"]).arg(proxy.config()).arg("--out").arg(out);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    eventually("it watches", || std::fs::read(out).is_ok_and(|text| text.starts_with(b"# Watching")));
    child
}

fn ended(child: Child) -> Output {
    child.wait_with_output().expect("the program ends")
}

fn check(file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_respguard")).args(["check", "--config"]).arg(file).output().expect("the program starts")
}

fn setup(redis: &RedisServer, rules: &str) -> Setup {
    // Long holds, for a machine that does other things too.
    Setup::new(redis).pipeline("hold_ms = 500\nhold_max_ms = 5000").rules(rules)
}

/// Counts of one outcome, by group.
fn outcomes(proxy: &Proxy, outcome: &str) -> Vec<(&'static str, f64)> {
    stories(0).iter().map(|(name, _, _)| (*name, proxy.groups(name, outcome))).collect()
}

fn all_of(rounds: usize) -> Vec<(&'static str, f64)> {
    stories(0).iter().map(|(name, groups, _)| (*name, (groups * rounds) as f64)).collect()
}

#[test]
fn what_is_learnt_from_the_demos_stories_is_good_and_wraps_all_of_them() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER app on >hunter2 ~* +@all");
    let proxy = setup(&redis, "").start();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("learnt.toml");
    let child = learn(&proxy, "2s", &out);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("AUTH app hunter2"), "+OK\r\n");
    assert!(wire.ask("AUTH app correct-horse").starts_with("-WRONGPASS"));
    play(&mut wire, 0..ROUNDS);
    let ended = ended(child);
    assert!(ended.status.success(), "{}", text(&ended.stderr));

    let learnt = std::fs::read_to_string(&out).expect("what was learnt");
    for secret in SECRETS {
        assert!(!learnt.contains(secret), "{secret} in {learnt}");
    }
    let checked = check(&out);
    assert!(checked.status.success(), "{}\n{learnt}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("4 groups"), "{}\n{learnt}", text(&checked.stdout));

    let looking_on = setup(&redis, &learnt).start();
    play(&mut looking_on.wire(), 0..5);
    eventually("all are seen", || outcomes(&looking_on, "observed") == all_of(5));
    let acting = setup(&redis, &learnt.replace("mode = \"observe\"\n", "")).start();
    play(&mut acting.wire(), 0..5);
    eventually("all are wrapped", || outcomes(&acting, "applied") == all_of(5));
    assert_eq!(acting.metric("respguard_violations_total", &[]), 0.0, "{:?}", acting.violations());
}

/// A recording of the stories.
fn recorded(folder: &Path, proxy: &Proxy) -> PathBuf {
    let out = folder.join("recording");
    let mut command = command();
    command.args(["record", "--seconds", "2", "--config"]).arg(proxy.config()).arg("--out").arg(&out);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    eventually("the recording begins", || std::fs::read(&out).is_ok_and(|bytes| bytes.starts_with(b"respguard-recording 1\n")));
    play(&mut proxy.wire(), 0..ROUNDS);
    assert!(ended(child).status.success());
    out
}

#[test]
fn what_is_learnt_from_a_recording_explains_it() {
    let (_redis, proxy) = Proxy::with_redis("");
    let folder = tempfile::tempdir().expect("a folder");
    let recording = recorded(folder.path(), &proxy);
    let learnt = || command().arg("learn").arg(&recording).output().expect("the program starts");
    let (first, second) = (learnt(), learnt());
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(text(&first.stdout), text(&second.stdout), "the same recording, the same text");

    let rules = folder.path().join("learnt.toml");
    let long_holds = "\n[pipeline]\nhold_ms = 500\nhold_max_ms = 5000\n";
    std::fs::write(&rules, text(&first.stdout) + long_holds).expect("the folder takes a file");
    assert!(check(&rules).status.success(), "{}", text(&first.stdout));
    let explained =
        command().args(["explain", "--whole", "--config"]).arg(&rules).arg(&recording).output().expect("the program starts");
    let page = text(&explained.stdout);
    for (name, groups, _) in stories(0) {
        let seen = page.matches(&format!("group {name} (transaction")).count();
        assert_eq!(seen, groups * ROUNDS, "{name} in {}", text(&first.stdout));
    }
}

#[test]
fn what_is_no_recording_and_no_time_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("commands");
    std::fs::write(&file, "GET a\n").expect("the folder takes a file");
    let run = |args: &[&str]| command().arg("learn").args(args).output().expect("the program starts");
    let refused = run(&[file.to_str().expect("text")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("commands:1: ") && text(&refused.stderr).contains("respguard-recording 1"));
    for wrong in [&["--for", "11m"][..], &["--for", "60"], &[], &["--for", "1s", "file"]] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn learning_needs_the_token_and_is_not_for_others_pages() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).admin("token_env = \"TOKEN\"").environment("TOKEN", "open-sesame").start();
    assert_eq!(proxy.http("POST", "/learn?seconds=1", &[]).0, 401);
    assert_eq!(proxy.http("POST", "/learn?seconds=1", &[("Authorization", "Bearer open-sesam")]).0, 401);
    let (status, body) = proxy.http("POST", "/learn?seconds=1", &[("Authorization", "Bearer open-sesame")]);
    assert_eq!(status, 200);
    assert!(body.starts_with("# Watching for 1 s.\n# Proposed by `respguard learn`. Clients: 0, commands: 0,"), "{body}");

    let open = Proxy::start("", &redis);
    assert_eq!(open.http("POST", "/learn?seconds=1", &[("Origin", "http://evil.example")]).0, 403);
    assert_eq!(open.http("GET", "/learn?seconds=1", &[]).0, 405);
    assert_eq!(open.http("POST", "/learn?seconds=601", &[]).0, 400);
}

#[test]
fn learning_and_recording_take_turns_and_the_end_of_the_proxy_ends_both() {
    let (_redis, proxy) = Proxy::with_redis("");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("learnt.toml");
    let child = learn(&proxy, "10m", &out);
    assert_eq!(proxy.http("POST", "/record?seconds=1", &[]).0, 409);
    assert_eq!(proxy.wire().ask("PING"), "+PONG\r\n");
    let started = Instant::now();
    proxy.terminate();
    let ended = ended(child);
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    assert!(std::fs::read_to_string(&out).is_ok_and(|text| text.contains("Clients: 1, commands: 1,")));
}
