//! What clients send is recorded on request, without passwords, and explained as it came.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::harness::proxy::command;
use crate::harness::{PATIENCE, Proxy, RedisServer, Setup, Wire, eventually, request, text, within};

const PAIR: &str = "[[group]]\nname = \"pair\"\ncommands = [\"SETEX rt:{user} * *\", \"SADD sess:{user} *\"]\n";
const SECRETS: [&str; 3] = ["hunter2", "correct-horse", "battery-staple"];

fn record(proxy: &Proxy, seconds: u32, out: &Path) -> Command {
    let mut command = command();
    command.args(["record", "--seconds", &seconds.to_string(), "--config"]).arg(proxy.config()).arg("--out").arg(out);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A recording that has begun.
fn begin(proxy: &Proxy, seconds: u32, out: &Path) -> Child {
    let child = record(proxy, seconds, out).spawn().expect("the program starts");
    eventually("the recording begins", || std::fs::read(out).is_ok_and(|bytes| bytes.starts_with(b"respguard-recording 1\n")));
    child
}

fn explained(proxy: &Proxy, recording: &Path) -> Output {
    command().args(["explain", "--whole", "--config"]).arg(proxy.config()).arg(recording).output().expect("the program starts")
}

#[test]
fn a_recording_has_what_clients_send_but_no_password_and_is_explained_with_its_times() {
    let redis = RedisServer::start(&[]);
    redis.ask("ACL SETUSER app on >hunter2 ~* +@all");
    let proxy = Setup::new(&redis).pipeline("hold_ms = 400\nhold_max_ms = 2000").rules(PAIR).start();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("recording");
    let mut old = proxy.wire();
    assert_eq!(old.ask("PING"), "+PONG\r\n");
    let child = begin(&proxy, 2, &out);

    let mut new = proxy.wire();
    assert_eq!(new.ask("AUTH app hunter2"), "+OK\r\n");
    let hello = request("HELLO 2 AUTH app correct-horse");
    for byte in &hello {
        new.send(&[*byte]);
    }
    assert!(text(&new.reply()).starts_with("-WRONGPASS"));
    assert!(old.ask("CONFIG SET masterauth battery-staple").starts_with("+OK"));
    new.send(&request("SETEX rt:ann 60 v"));
    assert!(new.is_silent_for(Duration::from_millis(60)), "held");
    new.send(&request("SADD sess:ann t"));
    assert_eq!(new.replies(2).iter().map(|reply| text(reply)).collect::<Vec<_>>(), ["+OK\r\n", ":1\r\n"]);
    drop(new);

    let ended = child.wait_with_output().expect("the program ends");
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    let recording = std::fs::read(&out).expect("the recording");
    let shown = text(&recording);
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.lines().last().is_some_and(|line| line.starts_with("end ") && line.ends_with(" time lost 0")), "{shown}");
    assert!(shown.contains("SETEX") && shown.contains("rt:ann"));

    let explained = explained(&proxy, &out);
    assert!(explained.status.success(), "{}", text(&explained.stderr));
    let page = text(&explained.stdout);
    for wanted in ["AUTH ***", "held, because this begins group pair", "in time", "in one write: MULTI, 3-4, EXEC", "has gone"] {
        assert!(page.contains(wanted), "{wanted} in {page}");
    }
    assert_eq!(page.matches("connected before the recording began").count(), 1, "{page}");
}

#[test]
fn only_one_recording_is_made_at_a_time_and_one_that_nobody_reads_makes_room() {
    let (_redis, proxy) = Proxy::with_redis("");
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let mut child = begin(&proxy, 600, &first);
    let refused = record(&proxy, 1, &second).output().expect("the program starts");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("409") && text(&refused.stderr).contains("one recording"),
        "{}",
        text(&refused.stderr)
    );
    child.kill().expect("a child of ours");
    child.wait().expect("a child of ours");
    let mut wire = proxy.wire();
    let again = within(PATIENCE, || {
        // What is recorded for nobody ends the recording.
        wire.ask("PING");
        record(&proxy, 1, &second).output().is_ok_and(|output| output.status.success())
    });
    assert!(again, "{}", proxy.log());
}

#[test]
fn a_recording_needs_the_token_where_there_is_one() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).admin("token_env = \"TOKEN\"").environment("TOKEN", "open-sesame").start();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("recording");
    let admin = format!("127.0.0.1:{}", proxy.admin_port());
    let ask = |token: Option<&str>| {
        let mut command = command();
        command.args(["record", "--seconds", "1", "--admin", &admin, "--out"]).arg(&out);
        if let Some(token) = token {
            command.args(["--token-env", "GIVEN"]).env("GIVEN", token);
        }
        command.output().expect("the program starts")
    };
    for wrong in [None, Some("open-sesam"), Some("")] {
        let refused = ask(wrong);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("(401)"), "{}", text(&refused.stderr));
        assert!(!out.exists(), "nothing is written");
    }
    assert!(ask(Some("open-sesame")).status.success());
    assert!(std::fs::read(&out).is_ok_and(|bytes| bytes.starts_with(b"respguard-recording 1\n")));
}

#[test]
fn a_reader_that_stands_still_costs_entries_and_no_traffic() {
    let (_redis, proxy) = Proxy::with_redis("");
    // Asked for and never read.
    let mut reader = Wire::connect(proxy.admin_port());
    reader.send(b"POST /record?seconds=600 HTTP/1.0\r\nHost: localhost\r\n\r\n");
    eventually("the recording begins", || proxy.log().contains("recording what clients send"));
    let mut wire = proxy.wire();
    let value = "x".repeat(60_000);
    // Far more than the way to the reader holds.
    for _ in 0..600 {
        assert_eq!(wire.ask(&format!("SET k {value}")), "+OK\r\n");
    }
    assert!(proxy.memory_peak() < 120 * 1024 * 1024, "{}", proxy.memory_peak());
    drop(reader);
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
}

#[test]
fn nobody_is_answered_who_could_come_from_elsewhere() {
    let (_redis, proxy) = Proxy::with_redis("");
    let (status, _) = proxy.http("POST", "/record?seconds=1", &[("Origin", "http://evil.example")]);
    assert_eq!(status, 403);
    let (status, body) = proxy.http("POST", "/record?seconds=0", &[]);
    assert_eq!((status, body.contains("from 1 to 600")), (400, true));
    assert_eq!(proxy.http("GET", "/record?seconds=1", &[]).0, 405);
}
