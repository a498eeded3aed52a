//! Rules about commands of a module, JSON.SET and its kin: on a server that has it, and on one that has not.
//!
//! `SERVER=redis74` has it; each test says for both what must come of it.

use crate::harness::{Proxy, RedisServer, Setup, eventually, proxy};

const RULES: &str = r#"
[[group]]
name = "document"
commands = ["JSON.SET doc:{id} $ *", "SADD docs {id}"]

[[group]]
name = "visit"
atomic = "rollback"
commands = ["JSON.NUMINCRBY doc:{id} $.visits *", "INCR visits"]

[[ttl]]
name = "drafts"
keys = ["draft:*"]
action = "fix"
default = "50s"
"#;

fn has_documents(redis: &RedisServer) -> bool {
    !redis.ask("JSON.GET nothing").starts_with("-ERR unknown command")
}

#[test]
fn a_group_with_a_document_is_applied_whole_or_not_at_all() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    for protocol in ["2", "3"] {
        redis.ask("FLUSHALL");
        redis.ask("ACL SETUSER writer on >pw ~doc:* +@all +multi +exec");
        let mut wire = proxy.wire();
        wire.send_line(&format!("HELLO {protocol}"));
        wire.reply();
        let replies = wire.pipeline(&["JSON.SET doc:1 $ 5", "SADD docs 1"]);
        if !has_documents(&redis) {
            assert!(replies[0].starts_with("-ERR unknown command"), "{replies:?}");
            assert!(replies[1].starts_with("-EXECABORT Transaction discarded"), "{replies:?}");
            assert_eq!(redis.ask("EXISTS doc:1 docs"), ":0\r\n");
            continue;
        }
        assert_eq!(replies, ["+OK\r\n", ":1\r\n"]);
        // The second key is not the user's.
        assert_eq!(wire.ask("AUTH writer pw"), "+OK\r\n");
        let replies = wire.pipeline(&["JSON.SET doc:2 $ 5", "SADD docs 2"]);
        assert!(replies[0].starts_with("-EXECABORT") && replies[1].starts_with("-NOPERM"), "{replies:?}");
        assert_eq!((redis.ask("EXISTS doc:1 doc:2"), redis.ask("SCARD docs")), (":1\r\n".to_owned(), ":1\r\n".to_owned()));
    }
    let applied = if has_documents(&redis) { 2.0 } else { 0.0 };
    assert_eq!((proxy.groups("document", "applied"), proxy.groups("document", "aborted")), (applied, 2.0));
}

#[test]
fn a_document_is_put_back_where_another_member_fails() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    let visit = ["JSON.NUMINCRBY doc:1 $.visits 1", "INCR visits"];
    if !has_documents(&redis) {
        let replies = wire.pipeline(&visit);
        assert!(replies.iter().all(|reply| reply.starts_with('-')), "{replies:?}");
        assert_eq!(redis.ask("EXISTS visits"), ":0\r\n");
        return;
    }
    redis.ask(r#"JSON.SET doc:1 $ {"visits":7}"#);
    redis.ask("PEXPIRE doc:1 100000");
    assert_eq!(wire.pipeline(&visit), ["$3\r\n[8]\r\n", ":1\r\n"]);
    redis.ask("SET visits many");
    let replies = wire.pipeline(&visit);
    assert!(replies[0].starts_with("-EXECABORT") && replies[0].contains("all is as it was before"), "{replies:?}");
    assert!(replies[1].starts_with("-ERR value is not an integer"), "{replies:?}");
    assert_eq!(redis.ask("JSON.GET doc:1 $.visits"), "$3\r\n[8]\r\n");
    assert!(redis.ask("PTTL doc:1").trim()[1..].parse::<i64>().expect("a number") > 50_000);
    // The document is of another type: the member that comes first fails.
    redis.ask("SET doc:1 text");
    redis.ask("SET visits 1");
    let replies = wire.pipeline(&visit);
    assert!(replies.iter().all(|reply| reply.starts_with('-')), "{replies:?}");
    assert_eq!(redis.ask("GET visits"), "$1\r\n1\r\n");
    assert_eq!((proxy.groups("visit", "applied"), proxy.groups("visit", "rolled_back")), (1.0, 2.0));
    assert_eq!(proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn a_document_has_the_ttl_that_its_rule_wants() {
    let (redis, proxy) = Proxy::with_redis(RULES);
    let mut wire = proxy.wire();
    if !has_documents(&redis) {
        assert!(wire.ask("JSON.SET draft:1 $ 5").starts_with("-ERR unknown command"));
        assert_eq!(redis.ask("EXISTS draft:1"), ":0\r\n");
        return;
    }
    assert_eq!(wire.ask("JSON.SET draft:1 $ 5"), "+OK\r\n");
    eventually("it expires", || redis.ask("TTL draft:1") != ":-1\r\n");
    redis.ask("EXPIRE draft:1 5000");
    assert_eq!(wire.ask("JSON.SET draft:1 $ 6"), "+OK\r\n");
    assert_eq!(wire.ask("JSON.MGET draft:1 draft:2 $"), "*2\r\n$3\r\n[6]\r\n$-1\r\n");
    let left = redis.ask("TTL draft:1").trim()[1..].parse::<i64>().expect("a number");
    assert!(left > 4000, "a document keeps its TTL: {left}");
}

#[test]
fn the_check_names_what_the_server_lacks_and_what_no_preflight_decides() {
    let redis = RedisServer::start(&[]);
    let check = |rules: &str, connect: &[&str]| {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("c.toml");
        std::fs::write(&file, Setup::new(&redis).rules(rules).toml("127.0.0.1:0", 0)).expect("a temporary file");
        let output = proxy::command().arg("check").args(connect).arg("--config").arg(&file).output().expect("it is built");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = check(RULES, &["--connect"]);
    let lacking = "does not have JSON.SET, which rule \"document\" is about";
    assert_eq!((code, said.contains(lacking)), if has_documents(&redis) { (Some(0), false) } else { (Some(1), true) }, "{said}");
    let guarded = RULES.replace("name = \"document\"", "name = \"document\"\natomic = \"guarded\"");
    let (code, said) = check(&guarded, &[]);
    let why = "JSON.SET cannot be in a guarded group: nobody can tell before it runs whether it fails";
    assert!(code == Some(1) && said.contains(why), "{said}");
    // Who may not ask for the commands is not told that they are absent.
    redis.ask("ACL SETUSER default -command");
    let (code, said) = check(RULES, &["--connect"]);
    assert!(code == Some(0) && said.contains("has the commands of the rules is not known"), "{said}");
}
