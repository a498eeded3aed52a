//! Looks at the dashboard in a real headless Chromium, in each state that it can be in.

#[path = "it/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the integration tests use all of it, these only a part")]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Nodes, Proxy, RedisServer, Setup, eventually};

const RULES: &str = r#"
[[group]]
name = "blob"
commands = ["HSET blobs:{id} ...", "HSET info:{id} ..."]

[[group]]
name = "login"
commands = ["SETEX rt:{user}:{token} * *", { match = "SADD sess:{user} {token}", expect = "= 1" }, "EXPIRE sess:{user} *"]

[[group]]
name = "pair"
atomic = "guarded"
commands = ["SADD left:{id} *", "SADD right:{id} *"]

[[ttl]]
name = "counters"
keys = ["rate:*"]
grace_ms = 50

[[guard]]
name = "no-keys"
commands = ["KEYS *"]

[[expect]]
name = "watched"
command = "DEL watched:{id}"
reply = "= 1"
mode = "observe"

[[compress]]
name = "pages"
keys = ["page:*"]
min_bytes = 1024
algorithm = "zstd"
"#;

const TOKEN: &str = "open-sesame";

#[test]
fn without_traffic_it_says_that_there_is_nothing() {
    let redis = RedisServer::start(&[]);
    look("empty", &Setup::new(&redis).start());
}

#[test]
fn with_traffic_it_shows_what_goes_wrong_and_what_would_help() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rest("").rules(RULES).start();
    traffic(&redis, &proxy);
    assert_eq!(proxy.rest().get("/ping").status, 200);
    look("busy", &proxy);
}

#[test]
fn without_a_server_it_says_so() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rules(RULES).start();
    traffic(&redis, &proxy);
    redis.kill();
    eventually("the proxy knows that its server is gone", || proxy.get("/readyz").0 == 503);
    look("down", &proxy);
}

#[test]
fn where_a_token_is_wanted_it_asks_for_it_and_forgets_it() {
    let redis = RedisServer::start(&[]);
    let setup = Setup::new(&redis).rules(RULES).admin("token_env = \"TOKEN\"").environment("TOKEN", TOKEN);
    let proxy = setup.start();
    traffic(&redis, &proxy);
    look("asks", &proxy);
}

#[test]
fn where_the_server_stands_still_it_shows_breaker_and_mode() {
    let redis = RedisServer::start(&[]);
    // What went well before counts no longer after two seconds.
    let rules = format!("{RULES}[breaker]\nsampling_ms = 2000\n");
    let setup = Setup::new(&redis).rules(&rules).upstream("request_timeout_ms = 200\nstall_timeout_ms = 60000");
    let proxy = setup.start();
    traffic(&redis, &proxy);
    assert_eq!(proxy.http("POST", "/mode?mode=observe", &[]).0, 200);
    redis.pause();
    eventually("the breaker is open", || {
        let mut client = proxy.wire();
        client.send(b"GET a\r\n");
        client.reply();
        proxy.get("/status").1.contains("\"breaker\":\"open\"")
    });
    look("degraded", &proxy);
    redis.resume();
}

#[test]
fn an_hour_is_drawn_minute_by_minute() {
    let redis = RedisServer::start(&[]);
    look("hour", &Setup::new(&redis).rules(RULES).start());
}

#[test]
fn one_group_opens_with_its_rule_and_advice() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rules(RULES).start();
    traffic(&redis, &proxy);
    look("group", &proxy);
}

#[test]
fn fifty_groups_are_found_by_trouble_and_by_name() {
    let redis = RedisServer::start(&[]);
    let group =
        |n| format!("[[group]]\nname = \"group-{n}\"\ncommands = [\"SET one:{n}:{{id}} *\", \"SADD two:{n}:{{id}} *\"]\n");
    let proxy = Setup::new(&redis).rules(&(1..=50).map(group).collect::<String>()).start();
    redis.ask("SET two:17:a no-set");
    let mut client = proxy.wire();
    for n in [3, 9, 17] {
        client.send(format!("SET one:{n}:a v\r\nSADD two:{n}:a m\r\n").as_bytes());
        client.reply();
        client.reply();
    }
    eventually("a violation", || proxy.violated("partial_failure", "group-17") > 0.0);
    look("fifty", &proxy);
}

#[test]
fn before_a_cluster_it_lists_the_nodes() {
    let mut nodes = Nodes::start(3, false);
    for server in &nodes.servers {
        assert_eq!(server.ask("CONFIG SET cluster-require-full-coverage no"), "+OK\r\n");
    }
    let setup = Setup::before(1).cluster(&nodes.ports(), "request_timeout_ms = 2000\n");
    let proxy = setup.start();
    let key = nodes.key_of(0, "k");
    nodes.servers[2].kill();
    eventually("it is missed", || proxy.get("/status").1.contains("\"available\":false"));
    let mut client = proxy.wire();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                assert_eq!(client.ask(&format!("SET {key} v")), "+OK\r\n");
            }
        });
        look("cluster", &proxy);
        drop(done);
    });
}

/// Groups that are applied, and violations of several kinds.
fn traffic(redis: &RedisServer, proxy: &Proxy) {
    redis.ask("SET sess:torn no-set");
    redis.ask("SET right:1 no-set");
    redis.ask("ACL SETUSER narrow on nopass ~blobs:* +@all");
    let mut client = proxy.wire();
    for user in 0..20 {
        client.send(format!("SETEX rt:{user}:t 60 v\r\nSADD sess:{user} t\r\nEXPIRE sess:{user} 60\r\n").as_bytes());
        let replies = [client.reply(), client.reply(), client.reply()];
        assert!(replies.iter().all(|reply| !reply.starts_with(b"-")));
    }
    let page = "a page of many words ".repeat(1_000);
    client.send(format!("SET page:1 \"{page}\"\r\nGET page:1\r\n").as_bytes());
    assert_eq!(client.reply(), b"+OK\r\n");
    assert_eq!(client.reply(), format!("${}\r\n{page}\r\n", page.len()).into_bytes());
    for (lines, replies) in [
        ("SETEX rt:torn:t 60 v\r\nSADD sess:torn t\r\nEXPIRE sess:torn 60\r\n", 3),
        ("SADD sess:again t\r\n", 1),
        ("SETEX rt:again:t 60 v\r\nSADD sess:again t\r\nEXPIRE sess:again 60\r\n", 3),
        ("SADD left:1 a\r\nSADD right:1 a\r\n", 2),
        ("SETEX rt:split:t 60 v\r\n", 1),
        ("INCR rate:9\r\n", 1),
        ("KEYS none:*\r\n", 1),
        ("AUTH narrow x\r\n", 1),
        ("HSET blobs:8 f v\r\nHSET info:8 f v\r\n", 2),
    ] {
        client.send(lines.as_bytes());
        for _ in 0..replies {
            client.reply();
        }
    }
    for (kind, rule) in [
        ("partial_failure", "login"),
        ("expectation", "login"),
        ("split", "login"),
        ("ttl_missing", "counters"),
        ("guard", "no-keys"),
        ("aborted", "blob"),
        ("aborted", "pair"),
    ] {
        eventually(kind, || proxy.violated(kind, rule) > 0.0);
    }
}

/// Opens the dashboard and checks what is to be seen in this state.
fn look(state: &str, proxy: &Proxy) {
    let Some(chromium) = chromium() else {
        assert!(std::env::var_os("CI").is_none(), "Chromium is missing: the package `chromium` of Debian has it");
        eprintln!(
            "SKIPPED: the dashboard was not looked at, for Chromium is missing (Debian's package `chromium`, or CHROMIUM=path)"
        );
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard");
    assert!(folder.join("node_modules").exists(), "{}/node_modules is missing: run `make setup`", folder.display());
    let pictures = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&pictures).expect("a folder for pictures");
    let mut node = Command::new("node");
    node.current_dir(folder).env("CHROMIUM", chromium).args([
        "look.mjs",
        &format!("http://127.0.0.1:{}/", proxy.admin_port()),
        state,
    ]);
    let output = node.arg(&pictures).args([&proxy.port().to_string(), TOKEN]).output().expect("node is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{state}, with pictures in {}: {said}", pictures.display());
    println!("{said}{}", pictures.display());
}

/// Where Chromium is, if it is there.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from);
    named.or_else(|| usual.into_iter().find(|place| place.is_file()))
}
