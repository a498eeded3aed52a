//! What went wrong is shown, streamed and kept: newest first, as it comes, and in a file.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::proxy::command;
use crate::harness::{Proxy, RedisServer, Setup, Wire, eventually};

const PAIR: &str = "[[group]]\nname = \"pair\"\ncommands = [\"SET a:{id} *\", \"SET b:{id} *\"]\n";

/// A pipeline of which one command fails and the other does not.
fn fail_in_part(wire: &mut Wire) {
    let replies = wire.pipeline(&["SET text x", "INCR text"]);
    assert!(replies[1].starts_with("-ERR"), "{replies:?}");
}

fn ask(proxy: &Proxy, query: &str) -> Value {
    let (status, body) = proxy.get(&format!("/violations{query}"));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn sequences(answer: &Value) -> Vec<u64> {
    let violations = answer["violations"].as_array().expect("a list");
    violations.iter().map(|violation| violation["sequence"].as_u64().expect("a number")).collect()
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn violations_are_listed_newest_first_with_filters_and_a_cursor() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).pipeline("hold_ms = 1\nhold_max_ms = 1").rules(PAIR).start();
    let mut wire = proxy.wire();
    for _ in 0..4 {
        fail_in_part(&mut wire);
    }
    assert_eq!(wire.ask("SET a:1 x"), "+OK\r\n");
    eventually("all are told", || ask(&proxy, "")["total"] == 5);

    let all = ask(&proxy, "");
    assert_eq!(
        (sequences(&all), &all["lost"], &all["next"], &all["kept_max"]),
        (vec![5, 4, 3, 2, 1], &0.into(), &Value::Null, &1000.into())
    );
    let newest = &all["violations"][0];
    assert_eq!((&newest["kind"], &newest["rule"], &newest["commands"][0]), (&"split".into(), &"pair".into(), &"set".into()));
    assert_eq!(all["violations"][1]["error"], "ERR");
    assert!(!all.to_string().contains("text"), "no key is shown");

    assert_eq!(sequences(&ask(&proxy, "?kind=split")), [5]);
    assert_eq!(sequences(&ask(&proxy, "?rule=pair")), [5]);
    assert_eq!(sequences(&ask(&proxy, "?after=3")), [5, 4]);
    let since = newest["at_ms"].as_u64().expect("a number") + 1;
    assert_eq!(sequences(&ask(&proxy, &format!("?since={since}"))), [0u64; 0]);
    let page = ask(&proxy, "?kind=partial_failure&limit=3");
    assert_eq!((sequences(&page), &page["next"]), (vec![4, 3, 2], &2.into()));
    let page = ask(&proxy, "?kind=partial_failure&limit=3&before=2");
    assert_eq!((sequences(&page), &page["next"]), (vec![1], &Value::Null));
    for wrong in ["?kind=worse", "?limit=many", "?colour=red"] {
        assert_eq!(proxy.get(&format!("/violations{wrong}")).0, 400, "{wrong}");
    }
}

#[test]
fn a_stream_has_violations_as_they_come_and_goes_on_where_it_was_left() {
    let (_redis, proxy) = Proxy::with_redis("");
    let mut wire = proxy.wire();
    fail_in_part(&mut wire);
    eventually("it is told", || ask(&proxy, "")["total"] == 1);

    let open = |headers: &str| {
        let mut reader = Wire::connect(proxy.admin_port());
        reader.send(format!("GET /violations/stream HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
        BufReader::new(reader.stream().try_clone().expect("a socket"))
    };
    let next_event = |reader: &mut BufReader<std::net::TcpStream>| {
        let mut event = Vec::new();
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).expect("in time") > 0, "the stream goes on");
            match line.trim_end() {
                "" if event.iter().any(|line: &String| line.starts_with("data: ")) => return event,
                "" => event.clear(),
                line => event.push(line.to_owned()),
            }
        }
    };
    let mut fresh = open("");
    let mut line = String::new();
    while line != ": violations as they come\n" {
        line.clear();
        fresh.read_line(&mut line).expect("in time");
    }
    fail_in_part(&mut wire);
    let event = next_event(&mut fresh);
    assert_eq!(&event[..2], ["id: 2", "event: violation"]);
    let data: Value = serde_json::from_str(event[2].trim_start_matches("data: ")).expect("JSON");
    assert_eq!((&data["kind"], &data["sequence"]), (&"partial_failure".into(), &2.into()));

    let mut again = open("Last-Event-ID: 1\r\n");
    assert_eq!(next_event(&mut again)[0], "id: 2", "what was missed comes first");
    fail_in_part(&mut wire);
    assert_eq!([next_event(&mut fresh)[0].as_str(), next_event(&mut again)[0].as_str()], ["id: 3"; 2]);
}

#[test]
fn violations_are_in_the_file_a_moment_later_and_all_of_them_after_the_end() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("violations.jsonl");
    let proxy = Proxy::start(&format!("[violations]\nfile = \"{}\"\nfile_bytes_max = 1048576\n", file.display()), &redis);
    let mut wire = proxy.wire();
    fail_in_part(&mut wire);
    eventually("it is written", || lines(&file).len() == 1);
    assert_eq!((&lines(&file)[0]["schema"], &lines(&file)[0]["kind"]), (&1.into(), &"partial_failure".into()));
    for _ in 0..200 {
        fail_in_part(&mut wire);
    }
    drop(wire);
    assert!(proxy.stop().status.success());
    let sequences: Vec<_> = lines(&file).iter().map(|line| line["sequence"].as_u64().expect("a number")).collect();
    assert_eq!(sequences, (1..=201).collect::<Vec<_>>());
}

#[test]
fn a_file_that_cannot_be_written_is_refused_at_the_start_and_later_costs_no_traffic() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.toml");
    let text =
        "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[violations]\nfile = \"no/such/v.jsonl\"\n";
    std::fs::write(&config, text).expect("written");
    let output = command().args(["run", "--config"]).arg(&config).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("no/such/v.jsonl") && said.contains("[violations] file"), "{said}");

    let file = folder.path().join("v.jsonl");
    let rules = format!("[violations]\nfile = \"{}\"\nfile_bytes_max = 1024\nfiles_kept = 1\n", file.display());
    let proxy = Proxy::start(&rules, &redis);
    // Nothing can be put aside there.
    std::fs::create_dir(folder.path().join("v.jsonl.1")).expect("a folder");
    std::fs::write(folder.path().join("v.jsonl.1/in_the_way"), "x").expect("a file");
    let mut wire = proxy.wire();
    for _ in 0..50 {
        fail_in_part(&mut wire);
    }
    eventually("losses are counted", || proxy.metric("respguard_violations_file_lost_total", &[]) > 0.0);
    proxy.logs("violations cannot be written to their file");
    assert_eq!(ask(&proxy, "")["total"], 50, "in memory they are");
}

#[test]
fn files_put_aside_stay_while_no_descriptor_is_left() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("v.jsonl");
    let rules = format!("[violations]\nfile = \"{}\"\nfile_bytes_max = 1024\nfiles_kept = 2\n", file.display());
    let proxy = Proxy::start(&rules, &redis);
    let mut wire = proxy.wire();
    let aside = |number: usize| lines(&folder.path().join(format!("v.jsonl.{number}")));
    eventually("two files are put aside", || {
        fail_in_part(&mut wire);
        !aside(2).is_empty()
    });
    let total = || ask(&proxy, "")["total"].as_u64().expect("a number");
    // The file may be put aside once more before the limit holds: what is there then must stay.
    let limit = |descriptors: &str| {
        let status = Command::new("prlimit").args(["--pid", &proxy.pid().to_string(), descriptors]).status();
        assert!(status.expect("util-linux is there").success());
    };
    let told = total();
    eventually("all are written", || lines(&file).last().is_some_and(|line| line["sequence"] == told));
    let before = [aside(1), aside(2)];
    // Nothing new can be opened; what is open stays.
    limit("--nofile=8:");
    for _ in 0..70 {
        fail_in_part(&mut wire);
    }
    eventually("the file is full", || proxy.log().contains("violations cannot be written to their file"));
    assert_eq!([aside(1), aside(2)], before);
    limit("--nofile=1024:");
    eventually("it is put aside when that can be", || {
        fail_in_part(&mut wire);
        aside(2) == before[0]
    });
}

#[test]
fn violations_want_the_token_where_there_is_one() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).admin("token_env = \"TOKEN\"").environment("TOKEN", "open-sesame").start();
    for path in ["/violations", "/violations/stream"] {
        assert_eq!(proxy.get(path).0, 401, "{path}");
    }
    let (status, _) = proxy.http("GET", "/violations", &[("Authorization", "Bearer open-sesame")]);
    assert_eq!(status, 200);
    assert!(proxy.wire().patience(Duration::from_secs(20)).ask("PING").starts_with("+PONG"));
}
