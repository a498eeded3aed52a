//! Relations are proposed from groups, declared or learnt, with how often they hold among the keys that are there.

use std::process::{Output, Stdio};

use crate::harness::proxy::command;
use crate::harness::{Proxy, RedisServer, Setup, eventually, text};
use crate::relations::{send_all, setup};

const GROUPS: &str = r#"
[[group]]
name = "blob"
commands = ["HSET blobs:{id} ...", "HSET info:{id} ..."]

[[group]]
name = "login"
commands = ["SETEX rt:{user}:{token} {ttl} *", "SADD sess:{user} {token}", "EXPIRE sess:{user} {ttl}"]
"#;

fn check(proxy: &Proxy) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        command().arg("check").arg("--config").arg(proxy.config()).output().expect("the program starts");
    (status.code(), text(&stdout) + &text(&stderr))
}

#[test]
fn check_proposes_what_follows_from_groups_until_it_is_declared() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let undeclared = setup(&redis, GROUPS, &folder.path().join("log")).start();
    let (code, said) = check(&undeclared);
    assert_eq!(code, Some(0), "{said}");
    let proposed = &said[said.find("[[relation]]").unwrap_or_else(|| panic!("{said}"))..];
    for relation in [
        "name = \"blobs-info\"\nkeys = [\"blobs:{id}\", \"info:{id}\"]\n",
        "name = \"sess-rt\"\nfrom = \"member {token} of sess:{user}\"\nneeds = [\"rt:{user}:{token}\"]\n",
        "name = \"rt-sess\"\nfrom = \"key rt:{user}:{token}\"\nneeds = [\"member {token} of sess:{user}\"]\n",
    ] {
        assert!(proposed.contains(relation), "{relation}\n{said}");
    }
    let declared = setup(&redis, &format!("{GROUPS}{proposed}"), &folder.path().join("log")).start();
    let (code, said) = check(&declared);
    assert!(code == Some(0) && said.contains("3 relations") && !said.contains("[[relation]]"), "{code:?} {said}");
}

/// What one client sends, a pipeline after the other.
fn live() -> Vec<Vec<String>> {
    let one = |id: usize| {
        let (user, token) = (format!("u{}", id % 5), format!("a{id}f"));
        let blob = vec![format!("HSET blobs:1{id:03} v x"), format!("HSET info:1{id:03} v x")];
        let login = vec![
            format!("SETEX rt:{user}:{token} 900 secret-value"),
            format!("SADD sess:{user} {token}"),
            format!("EXPIRE sess:{user} 900"),
        ];
        [blob, login]
    };
    (0..30).flat_map(one).collect()
}

/// What `learn` writes while one client uploads blobs and logs in.
fn learnt(proxy: &Proxy, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("learnt.toml");
    let mut learn = command();
    learn.args(["learn", "--for", "3s"]).args(arguments).arg("--config").arg(proxy.config()).arg("--out").arg(&out);
    let child = learn.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    eventually("it watches", || std::fs::read(&out).is_ok_and(|text| text.starts_with(b"# Watching")));
    let mut wire = proxy.wire();
    for requests in live() {
        let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
        let replies = wire.pipeline(&requests);
        assert!(replies.iter().all(|reply| !reply.starts_with('-')), "{replies:?}");
    }
    let ended = child.wait_with_output().expect("it ends");
    let learnt = std::fs::read_to_string(&out).expect("what was learnt");
    assert!(ended.status.success(), "{}{learnt}", text(&ended.stderr));
    assert!(!learnt.contains("secret-value"));
    // It is good as it is.
    let read = command().arg("check").arg("--config").arg(&out).output().expect("the program starts");
    assert!(read.status.success(), "{}{learnt}", text(&read.stderr));
    learnt
}

#[test]
fn learn_counts_in_a_sample_of_the_keys_how_often_relations_hold() {
    let redis = RedisServer::start(&[]);
    // Of 200 pairs one is broken (99.8 % of what is looked at holds), of 100 members twenty.
    let blobs = (0..200).flat_map(|id| [format!("HSET blobs:{id} v x"), format!("HSET info:{id} v x")]);
    let tokens = (0..100).map(|id| format!("SADD sess:u{} b{id}f", id % 5));
    let whole = (20..100).map(|id| format!("SET rt:u{}:b{id}f x", id % 5));
    let lines: Vec<String> = blobs.chain(tokens).chain(whole).chain(["DEL info:13".to_owned()]).collect();
    // The counts are the same however quickly the client sends it once more.
    send_all(&redis, &live().concat());
    send_all(&redis, &lines);
    // It needs no [audit].
    let proxy = Setup::new(&redis).start();
    let said = learnt(&proxy, &["--sample-keys", "10000"]);
    assert!(said.contains("# Looking at keys"), "{said}");
    let blobs = said.split("\n\n").find(|part| part.contains("keys = [\"blobs:")).unwrap_or_else(|| panic!("{said}"));
    assert!(blobs.starts_with("# Holds in 458 of 459 that were looked at (99.8 %).\n[[relation]]\n"), "{blobs}");
    let members = said.split("\n\n").find(|part| part.contains("from = \"member")).unwrap_or_else(|| panic!("{said}"));
    assert!(
        members.starts_with("# No relation: holds in 110 of 130 that were looked at (84.6 %) only.\n#   [[relation]]\n"),
        "{members}"
    );
    let keys = said.split("\n\n").find(|part| part.contains("from = \"key rt:")).unwrap_or_else(|| panic!("{said}"));
    assert!(keys.starts_with("# Holds in 110 of 110 that were looked at (100.0 %).\n[[relation]]\n"), "{keys}");
    assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "orphan")]), 0.0, "nobody has declared anything");
    assert_eq!(redis.ask("EXISTS respguard:guard:audit"), ":0\r\n");

    let said = learnt(&proxy, &[]);
    assert!(said.contains("# Follows from what a group writes; --sample-keys 10000 counts"), "{said}");
    let wrong = command().args(["learn", "recording", "--sample-keys", "10"]).output().expect("the program starts");
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(proxy.http("POST", "/learn?seconds=1&sample_keys=0", &[]).0, 400);
}

#[test]
fn a_sample_is_no_larger_than_what_was_asked_for() {
    let redis = RedisServer::start(&[]);
    let blobs = (0..3000).flat_map(|id| [format!("HSET blobs:{id} v x"), format!("HSET info:{id} v x")]);
    send_all(&redis, &blobs.collect::<Vec<_>>());
    let proxy = Setup::new(&redis).start();
    let said = learnt(&proxy, &["--sample-keys", "100"]);
    let blobs = said.split("\n\n").find(|part| part.contains("keys = [\"blobs:")).unwrap_or_else(|| panic!("{said}"));
    let held = blobs.split("# Holds in ").nth(1).and_then(|rest| rest.split(' ').nth(2)).unwrap_or_else(|| panic!("{said}"));
    let looked_at: usize = held.replace(',', "").parse().expect("a number");
    // A batch is looked at as a whole, in both walks.
    assert!((200..=600).contains(&looked_at), "{said}");
}
