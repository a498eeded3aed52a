//! Runs unmodified client libraries and tools through the proxy before a real redis-server.

#[path = "clients/fred_crate.rs"]
mod fred_crate;
#[path = "it/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the integration tests use all of it, these only a part")]
mod harness;
#[path = "clients/redis_crate.rs"]
mod redis_crate;
#[path = "clients/script.rs"]
mod script;
#[path = "clients/tools.rs"]
mod tools;

use std::process::{Command, Stdio};

use fred::types::RespVersion;
use harness::{Act, Authority, Chaos, FakeServer, Nodes, Proxy, RedisServer, Setup, Way, eventually};

const RULES: &str = r#"
[[group]]
name = "refresh-token"
atomic = "transaction"
commands = [
  "SETEX rt:{user}:{token} {ttl} *",
  "SADD sess:{user} {token}",
  "EXPIRE sess:{user} *",
  { match = "SMEMBERS sess:{user}", optional = true },
]

[[ttl]]
name = "sessions"
keys = ["rt:*", "sess:*"]
action = "flag"
"#;

/// A server, and a proxy with [`RULES`] before it.
struct Stage {
    redis: RedisServer,
    proxy: Proxy,
}

impl Stage {
    fn new() -> Stage {
        Stage::holding("")
    }

    /// With these keys of `[pipeline]`.
    fn holding(pipeline: &str) -> Stage {
        let redis = RedisServer::start(&[]);
        let proxy = Setup::new(&redis).pipeline(pipeline).rules(RULES).start();
        Stage { redis, proxy }
    }

    /// Every one of `groups` was applied whole, and no reply came that nobody awaited.
    #[track_caller]
    fn applied(&self, groups: u32) {
        assert!(groups > 0);
        assert_eq!(self.proxy.groups("refresh-token", "applied"), f64::from(groups), "groups applied");
        assert_eq!(self.proxy.violated("split", "refresh-token"), 0.0);
        self.in_step();
    }

    #[track_caller]
    fn in_step(&self) {
        assert_eq!(self.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
        assert_eq!(self.proxy.metric("respguard_timeouts_total", &[]), 0.0);
        assert_eq!(self.proxy.metric("respguard_upstream_reconnects_total", &[]), 0.0);
    }

    #[track_caller]
    fn passed(&self, done: &script::Done) {
        println!("{}: {} checks, {} groups", done.client, done.checks, done.groups);
        self.applied(done.groups);
    }
}

#[test]
fn redis_py_works_and_its_pipelines_are_groups() {
    let stage = Stage::new();
    stage.passed(&script::python("redis_py_sync.py", stage.proxy.port()));
}

#[test]
fn redis_py_works_over_tls_with_a_certificate_and_a_password() {
    let authority = Authority::new();
    let (shown, own) = (authority.issue("proxy", &["localhost"]), authority.issue("app", &["app"]));
    let redis = RedisServer::start(&[]);
    let listen = format!(
        "users = {{ app = {{ password_env = \"APP\" }} }}\ntls = {{ cert = \"{}\", key = \"{}\", client_ca = \"{}\" }}",
        shown.cert.display(),
        shown.key.display(),
        authority.ca().display()
    );
    let proxy = Setup::new(&redis).listen(&listen).environment("APP", "apple").rules(RULES).start();
    let stage = Stage { redis, proxy };
    let settings = serde_json::json!({
        "host": "localhost", "username": "app", "password": "apple", "ssl": true,
        "ssl_ca_certs": authority.ca(), "ssl_certfile": own.cert, "ssl_keyfile": own.key,
    });
    stage.passed(&script::python_with("redis_py_sync.py", stage.proxy.port(), &[&settings.to_string()]));
}

/// A proxy before a cluster of three, for clients that know of clusters: to them it is the only node.
fn on_a_cluster(run: impl FnOnce(u16) -> script::Done) {
    const TAGGED: &str = r#"
[[group]]
name = "refresh-token"
atomic = "transaction"
commands = ["SETEX rt:{{{user}}}:{token} {ttl} *", "SADD sess:{{{user}}} {token}", "EXPIRE sess:{{{user}}} *"]
"#;
    let nodes = Nodes::start(3, false);
    let proxy = Setup::before(1).cluster(&nodes.ports(), "").rules(TAGGED).start();
    let done = run(proxy.port());
    assert_eq!(proxy.groups("refresh-token", "applied"), f64::from(done.groups), "groups applied");
    assert_eq!(proxy.metric("respguard_redirects_total", &[("kind", "moved")]), 0.0);
}

#[test]
fn cluster_aware_clients_work_unmodified() {
    on_a_cluster(|port| script::python("redis_py_cluster.py", port));
    on_a_cluster(|port| script::node("ioredis_cluster.mjs", port, &[]));
    on_a_cluster(|port| script::node("node_redis_cluster.mjs", port, &[]));
}

#[test]
fn redis_py_asyncio_works_and_its_pipelines_are_groups() {
    let stage = Stage::new();
    stage.passed(&script::python("redis_py_asyncio.py", stage.proxy.port()));
}

/// Cuts off the reply to the second group of the script, in both protocols: it is sent again, and was applied once.
fn sends_again(run: impl FnOnce(u16, &str) -> script::Done) {
    const ONCE: &str = r#"
[[group]]
name = "pay"
atomic = "guarded"
once = "10m"
once_key = "{id}"
on_duplicate = "replay"
commands = ["INCRBY balance:{{a}} *", "RPUSH log:{{a}} {id}"]
"#;
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rules(ONCE).start();
    let chaos = Chaos::before(proxy.port());
    std::thread::scope(|scope| {
        let cuts = scope.spawn(|| {
            for _ in 0..2 {
                eventually("the script is ready", || redis.ask("EXISTS ready") == ":1\r\n");
                chaos.down(Way::Reset(0));
                redis.ask("DEL ready");
                redis.ask("SET armed 1");
            }
        });
        let done = run(chaos.port(), &redis.port().to_string());
        cuts.join().expect("it cuts");
        assert_eq!((done.checks, done.groups), (2, 4));
    });
    assert_eq!(proxy.groups("pay", "applied"), 4.0);
    assert!(proxy.groups("pay", "duplicate") >= 2.0, "what was cut off came again");
    assert_eq!(proxy.violated("duplicate", "pay"), 0.0, "it was answered as the first time");
}

#[test]
fn what_redis_py_sends_again_by_itself_is_applied_once() {
    sends_again(|port, server| script::python_with("once.py", port, &[server]));
}

#[test]
fn what_ioredis_sends_again_by_itself_is_applied_once() {
    sends_again(|port, server| script::node("once.mjs", port, &[server]));
}

/// Compresses what the script stores; the document has decoders for what is stored.
fn compressing(run: impl FnOnce(u16, &[&str]) -> script::Done) {
    const RULES: &str = "[[compress]]\nname = \"pages\"\nkeys = [\"page:*\"]\n\
                         [[compress]]\nname = \"lz4\"\nkeys = [\"lz4:*\"]\nalgorithm = \"lz4\"\n";
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rules(RULES).start();
    let document = script::root().join("docs/compression.md");
    let done = run(proxy.port(), &[&redis.port().to_string(), document.to_str().expect("text")]);
    assert_eq!(done.checks, 2);
    assert_eq!(proxy.metric("respguard_compress_failed_total", &[("rule", "pages")]), 0.0);
}

#[test]
fn redis_py_stores_ten_megabytes_of_json_compressed_and_reads_them_back() {
    compressing(|port, more| script::python_with("compressed.py", port, more));
}

#[test]
fn node_redis_and_ioredis_store_ten_megabytes_of_json_compressed_and_read_them_back() {
    for client in ["redis", "ioredis"] {
        compressing(|port, more| script::node("compressed.mjs", port, &[more, &[client]].concat()));
    }
}

#[test]
fn node_redis_works_and_its_pipelines_and_turns_are_groups() {
    let stage = Stage::new();
    stage.passed(&script::node("node_redis.mjs", stage.proxy.port(), &[]));
}

/// A front for the SDKs that speak Upstash's protocol, and its port.
fn upstash() -> Stage {
    let redis = RedisServer::start(&[]);
    let rest = "tokens = { sdk = { token_env = \"REST_TOKEN\" } }";
    let proxy = Setup::new(&redis).rest(rest).environment("REST_TOKEN", "token").rules(RULES).start();
    Stage { redis, proxy }
}

#[test]
fn upstashs_sdk_its_rate_limits_and_vercels_work_and_their_pipelines_are_groups() {
    for more in [&["token"][..], &["token", "plain"]] {
        let stage = upstash();
        stage.passed(&script::node("upstash_rest.mjs", stage.proxy.rest_port(), more));
    }
}

#[test]
fn upstashs_sdk_for_python_and_its_rate_limits_work_and_its_pipelines_are_groups() {
    for more in [&["token"][..], &["token", "plain"]] {
        let stage = upstash();
        stage.passed(&script::python_with("upstash_rest.py", stage.proxy.rest_port(), more));
    }
}

#[test]
fn ioredis_works_and_its_pipelines_are_groups() {
    let stage = Stage::new();
    stage.passed(&script::node("ioredis.mjs", stage.proxy.port(), &["ioredis"]));
}

#[test]
fn ioredis_5_works_and_its_pipelines_are_groups() {
    let stage = Stage::new();
    stage.passed(&script::node("ioredis.mjs", stage.proxy.port(), &["ioredis5"]));
}

#[test]
fn the_redis_crate_works_and_its_pipelines_are_groups() {
    let stage = Stage::new();
    let port = stage.proxy.port();
    stage.applied(redis_crate::blocking(port, "resp2") + redis_crate::blocking(port, "resp3"));
}

#[test]
fn the_redis_crate_multiplexed_works_and_its_pipelines_are_groups() {
    let stage = Stage::new();
    let port = stage.proxy.port();
    let groups = runtime().block_on(async {
        let resp2 = redis_crate::multiplexed(port, "resp2").await;
        stage.redis.ask("FLUSHALL");
        resp2 + redis_crate::multiplexed(port, "resp3").await
    });
    stage.applied(groups);
}

#[test]
fn fred_works_and_its_pipelines_are_groups_where_their_beginning_is_held() {
    // A pipeline's first command is written alone: a hold longer than any pause of a busy machine joins them.
    let stage = Stage::holding("hold_ms = 500\nhold_max_ms = 1000");
    let port = stage.proxy.port();
    let groups = runtime()
        .block_on(async { fred_crate::all(port, RespVersion::RESP2).await + fred_crate::all(port, RespVersion::RESP3).await });
    stage.applied(groups);
}

#[test]
fn older_versions_of_redis_py_see_what_they_would_see_straight_and_their_pipelines_are_groups() {
    script::measured(&["redis-py 5", "redis-py 6", "redis-py 7", "redis-py asyncio 5"], &["pipeline", "pipelines"]);
}

#[test]
fn older_versions_of_node_redis_see_what_they_would_see_straight_and_their_pipelines_are_groups() {
    script::measured(&["node-redis 4", "node-redis 5"], &["pipeline", "pipelines", "loose", "loose-many"]);
}

#[test]
fn the_document_about_clients_is_what_its_measurements_make() {
    script::tool(Command::new(script::root().join("scripts/measure-clients")).arg("--check"), Stdio::null());
}

#[test]
fn redis_cli_works_plainly_in_resp3_and_with_mass_insertion() {
    let stage = Stage::new();
    tools::redis_cli(stage.proxy.port());
    tools::redis_cli_pipe(stage.proxy.port());
    assert_eq!(stage.redis.ask("GET mass:9999"), "$4\r\n9999\r\n");
    stage.in_step();
}

#[test]
fn redis_benchmark_ends_without_an_error() {
    let stage = Stage::new();
    tools::redis_benchmark(stage.proxy.port());
    stage.in_step();
}

#[test]
fn asking_a_server_without_maintenance_notifications_for_them_keeps_a_client_on_shared_connections() {
    let stage = Stage::new();
    let mut client = stage.proxy.wire();
    let refused = client.ask("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip");
    assert_eq!(refused, stage.redis.ask("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip"));
    assert!(client.ask("PING").starts_with("+PONG"));
    assert_eq!(stage.proxy.metric("respguard_upstream_connections", &[("state", "leased")]), 0.0);
}

#[test]
fn redis_py_is_told_of_a_drain_and_goes_to_the_successor_without_an_error() {
    let (old, new) = (RedisServer::start(&[]), RedisServer::start(&[]));
    old.ask("SET who first");
    new.ask("SET who second");
    let first = Proxy::start("", &old);
    let folder = tempfile::tempdir().expect("a folder");
    let (file, ready) = (folder.path().join("second.toml"), folder.path().join("ready"));
    let toml = Setup::new(&new).toml(&format!("127.0.0.1:{}", first.port()), harness::redis::free_port());
    std::fs::write(&file, toml).expect("a file");
    let done = std::thread::scope(|scope| {
        let port = first.port();
        let ready = &ready;
        let asking =
            scope.spawn(move || script::python_with("maint_notifications.py", port, &[ready.to_str().expect("a path in UTF-8")]));
        eventually("redis-py is connected", || ready.exists() || asking.is_finished());
        let mut run = harness::proxy::command();
        run.args(["run", "--takeover", "--config"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let mut second = run.spawn().expect("it runs");
        eventually("the successor takes clients too", || {
            let mut wires: Vec<_> = (0..8).map(|_| first.wire()).collect();
            wires.iter_mut().any(|wire| wire.ask("GET who") == "$6\r\nsecond\r\n")
        });
        first.terminate();
        let done = asking.join().expect("it ends well");
        harness::signal(second.id(), "TERM");
        second.wait().expect("a child of ours");
        done
    });
    assert_eq!(done.checks, 1);
}

/// A server that answers SET of a word with the error that begins with it.
fn server_of_errors() -> FakeServer {
    const HELLO: &[u8] =
        b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.2.11\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n\
        $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
    FakeServer::start(|words| {
        let is = |place: usize, word: &str| words.get(place).is_some_and(|given| given.eq_ignore_ascii_case(word));
        let word = words.get(1).filter(|word| is(0, "SET") && word.bytes().all(|byte| byte.is_ascii_uppercase()));
        Act::Say(match word {
            Some(word) => format!("-{word} respguard: text\r\n").into_bytes(),
            None if is(0, "HELLO") && is(1, "3") => HELLO.to_vec(),
            None => b"+OK\r\n".to_vec(),
        })
    })
}

#[test]
fn redis_py_shows_our_errors_as_documented() {
    script::python("errors.py", server_of_errors().port());
}

#[test]
fn node_redis_and_ioredis_show_our_errors_as_documented() {
    script::node("errors.mjs", server_of_errors().port(), &[]);
}

#[test]
fn the_redis_crate_tells_our_errors_by_their_first_word() {
    let server = server_of_errors();
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", server.port())).expect("an address");
    let mut connection = client.get_connection().expect("connected");
    for word in ["EXECABORT", "PARTIAL", "TIMEOUT", "COMMITTED", "DUPLICATE"] {
        let done = redis::pipe().cmd("SET").arg(word).arg(1).cmd("SET").arg("k").arg(1).query::<()>(&mut connection);
        let errors = done.expect_err(word).into_server_errors().expect("they are the server's");
        assert_eq!(errors.iter().map(|(at, error)| (*at, error.code())).collect::<Vec<_>>(), [(0, word)]);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}
