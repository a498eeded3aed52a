//! The primary is the server that sentinels name: it is found, and followed through failovers, by clients that know nothing
//! of it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Authority, PATIENCE, Proxy, RedisServer, Setup, Watched, Wire, eventually, free_port, proxy, text};

/// Requests may wait for a whole failover, also on a busy machine.
const TIMES: &str = "request_timeout_ms = 18000\nqueue_timeout_ms = 500\nstall_timeout_ms = 30000\nretries_per_second = 100000\n";

const GROUPS: &str = r#"
[[group]]
name = "marked"
atomic = "transaction"
resolve = true
commands = ["INCR n:{{{user}}}", "SADD s:{{{user}}} *"]
[[group]]
name = "plain"
atomic = "transaction"
commands = ["INCR p:{{{user}}}", "SADD q:{{{user}}} *"]
"#;

fn before(watched: &Watched) -> Proxy {
    Setup::new(&watched.servers[0]).found_by(&watched.ports(), TIMES).top("workers = 1").rules(GROUPS).start()
}

/// What a server answers; sentinels may end the connection on which it is asked, with all others.
fn ask(server: &RedisServer, line: &str) -> String {
    ask_from(server, line).1
}

/// The address from which the server was asked, and what it answers.
fn ask_from(server: &RedisServer, line: &str) -> (String, String) {
    let mut answer = None;
    eventually("the server answers", || {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", server.port())) else { return false };
        let mut wire = Wire::over(stream);
        answer = wire.try_send(&request(line)).ok().and_then(|()| wire.try_reply()).map(|reply| (wire.local(), text(&reply)));
        answer.is_some()
    });
    answer.unwrap_or_default()
}

/// What the proxy says on each connection first, and nobody else.
fn has_met_the_proxy(server: &RedisServer) -> bool {
    ask(server, "INFO commandstats").contains("cmdstat_client|info")
}

/// Whether a connection is there on which the proxy has said something.
pub fn has_the_proxy(server: &RedisServer) -> bool {
    let (own, all) = ask_from(server, "CLIENT LIST");
    let (own, asks) = (format!(" addr={own} "), "cmd=client|list");
    // Those of sentinels have names, that of the replica a flag. Redis 6.2 does not name the subcommand of who asks.
    let is_proxys =
        |line: &&str| line.contains(" name= ") && line.contains("flags=N ") && !line.contains(asks) && !line.contains(&own);
    all.lines().any(|line| is_proxys(&line) && !line.contains("cmd=NULL"))
}

fn status(proxy: &Proxy) -> serde_json::Value {
    serde_json::from_str(&proxy.get("/status").1).expect("JSON")
}

fn named(server: &RedisServer) -> String {
    format!("127.0.0.1:{}", server.port())
}

#[test]
fn clients_stay_connected_when_the_primary_dies_and_nothing_goes_to_it_when_it_comes_back() {
    let mut watched = Watched::start("");
    let proxy = before(&watched);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET k 1"), "+OK\r\n");
    let shown = &status(&proxy)["upstream"];
    assert_eq!((shown["address"].as_str(), shown["service"].as_str()), (Some(&*named(&watched.servers[0])), Some("m")));
    assert_eq!(shown["sentinels"].as_array().map(Vec::len), Some(3), "{shown}");
    assert!(shown["named_by"].is_string() && shown["since_seconds"].is_number(), "{shown}");
    eventually("the replica has it", || watched.servers[1].ask("GET k") == "$1\r\n1\r\n");

    watched.servers[0].kill();
    // New requests wait for the server that takes its place.
    assert_eq!(wire.ask("INCR k"), ":2\r\n");
    assert_eq!(watched.servers[1].ask("GET k"), "$1\r\n2\r\n");
    assert_eq!(status(&proxy)["upstream"]["address"].as_str(), Some(&*named(&watched.servers[1])));
    assert_eq!(proxy.metric("respguard_topology_changes_total", &[("kind", "primary")]), 2.0);
    assert_eq!(proxy.get("/readyz").0, 200);
    assert_eq!(status(&proxy)["breaker"].as_str(), Some("closed"));

    // With its old command line it takes itself for the primary. Sentinels that have only just switched are apt to switch
    // back: there are none any more.
    watched.kill_sentinels();
    watched.servers[0].restart();
    let since = Instant::now();
    let mut sent = 0;
    while since.elapsed() < Duration::from_secs(2) {
        assert_eq!(wire.ask("INCR n"), format!(":{}\r\n", sent + 1));
        assert!(!has_met_the_proxy(&watched.servers[0]), "{}", ask(&watched.servers[0], "CLIENT LIST"));
        sent += 1;
    }
    assert_eq!(watched.servers[1].ask("GET n"), format!("${}\r\n{sent}\r\n", sent.to_string().len()));
}

#[test]
fn of_a_planned_failover_clients_see_nothing_but_a_pause() {
    let mut watched = Watched::start("");
    let proxy = before(&watched);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("INCR n"), ":1\r\n");
    eventually("the replica has it", || watched.servers[1].ask("GET n") == "$1\r\n1\r\n");
    assert_eq!(watched.ask("SENTINEL FAILOVER m"), "+OK\r\n");
    eventually("another server is the primary", || {
        // What is under way while the connection is ended is unknown.
        let reply = wire.ask("INCR n");
        assert!(reply.starts_with(':') || reply.starts_with("-TIMEOUT "), "{reply}");
        status(&proxy)["upstream"]["address"].as_str() == Some(&*named(&watched.servers[1]))
    });
    watched.kill_sentinels();
    eventually("the old one has no connection", || !has_the_proxy(&watched.servers[0]));
    assert!(wire.ask("INCR n").starts_with(':'));
    assert_eq!(wire.ask("SET k v"), "+OK\r\n");
    assert_eq!(watched.servers[1].ask("GET k"), "$1\r\nv\r\n");
}

#[test]
fn what_was_under_way_is_read_again_or_found_out_by_its_marker_and_the_rest_is_unknown() {
    let mut watched = Watched::start("");
    let proxy = before(&watched);
    let mut wires: Vec<Wire> = (0..5).map(|_| proxy.wire()).collect();
    assert_eq!(wires[0].ask("SET k v"), "+OK\r\n");
    eventually("the replica has it", || watched.servers[1].ask("GET k") == "$1\r\nv\r\n");
    // It is hit in the middle: what is sent now reaches a server that never carries it out.
    watched.servers[0].pause();
    wires[0].send_line("GET k");
    wires[1].send_line("INCR lone");
    wires[2].send(&[request("INCR n:{ann}"), request("SADD s:{ann} tag")].concat());
    wires[3].send(&[request("INCR p:{ann}"), request("SADD q:{ann} tag")].concat());
    wires[4].send(&[request("MULTI"), request("INCR own"), request("EXEC")].concat());
    let replies: Vec<String> = wires.iter_mut().map(|wire| text(&wire.reply())).collect();
    watched.kill_sentinels();
    assert_eq!(replies[0], "$1\r\nv\r\n", "a read goes out again");
    assert!(replies[1].starts_with("-TIMEOUT respguard: outcome of INCR unknown"), "{replies:?}");
    assert_eq!(replies[2], ":1\r\n", "by its marker it was not applied, and is sent again");
    assert!(replies[3].starts_with("-TIMEOUT respguard: outcome of group plain unknown"), "{replies:?}");
    assert_eq!(text(&wires[2].reply()), ":1\r\n");
    assert!(text(&wires[3].reply()).starts_with("-TIMEOUT "), "each member");
    let exec = wires[4].replies(2).pop().expect("two");
    assert!(exec.starts_with(b"-TIMEOUT "), "{}", text(&exec));
    assert_eq!(watched.servers[1].ask("GET n:{ann}"), "$1\r\n1\r\n");
    assert_eq!(watched.servers[1].ask("EXISTS p:{ann} q:{ann} own lone"), ":0\r\n");
    // The old one wakes up, and has no client that it could serve.
    watched.servers[0].resume();
    eventually("its connections are gone", || !has_the_proxy(&watched.servers[0]));
    assert_eq!(wires[1].ask("INCR lone"), ":1\r\n");
    assert_eq!(wires[2].ask("GET n:{ann}"), "$1\r\n1\r\n");
    watched.servers[0].kill();
}

fn request(line: &str) -> Vec<u8> {
    crate::harness::request(line)
}

#[test]
fn what_a_server_refuses_that_is_no_primary_any_more_goes_out_again_in_order() {
    let watched = Watched::start("sentinel failover-timeout m 60000");
    let proxy = before(&watched);
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET k old"), "+OK\r\n");
    let demoted = &watched.servers[0];
    assert_eq!(demoted.ask(&format!("REPLICAOF 127.0.0.1 {}", free_port())), "+OK\r\n");
    let mut group = proxy.wire();
    let lines = ["SET k new", "GET k", "INCR n", "INCR n", "SET j 1"];
    wire.send(&lines.iter().flat_map(|line| request(line)).collect::<Vec<_>>());
    group.send(&[request("INCR p:{ann}"), request("SADD q:{ann} tag")].concat());
    assert!(wire.is_silent_for(Duration::from_millis(200)), "it waits for a primary");
    assert_eq!(demoted.ask("REPLICAOF NO ONE"), "+OK\r\n");
    let replies: String = wire.replies(lines.len()).iter().map(|reply| text(reply)).collect();
    assert_eq!(replies, "+OK\r\n$3\r\nnew\r\n:1\r\n:2\r\n+OK\r\n");
    assert_eq!([text(&group.reply()), text(&group.reply())], [":1\r\n", ":1\r\n"]);
    assert_eq!(demoted.ask("GET n"), "$1\r\n2\r\n", "each was carried out once");
    assert!(proxy.metric("respguard_retries_total", &[("kind", "refused")]) >= 5.0);
    assert_eq!(proxy.metric("respguard_topology_changes_total", &[("kind", "lost")]), 1.0);
}

#[test]
fn what_only_looks_like_a_refusal_is_its_clients() {
    let watched = Watched::start("");
    let proxy = before(&watched);
    let mut wire = proxy.wire();
    let script = crate::harness::wire::words(&[b"EVAL", b"return redis.error_reply('READONLY of my own')", b"0"]);
    for _ in 0..3 {
        wire.send(&[script.clone(), request("PING")].concat());
        assert_eq!([text(&wire.reply()), text(&wire.reply())], ["-READONLY of my own\r\n", "+PONG\r\n"]);
    }
    assert_eq!(proxy.metric("respguard_topology_changes_total", &[]), 1.0);
}

#[test]
fn one_sentinel_that_is_left_is_enough() {
    let mut watched = Watched::start("");
    watched.kill_sentinel(0);
    watched.kill_sentinel(1);
    let proxy = before(&watched);
    assert_eq!(proxy.wire().ask("SET k v"), "+OK\r\n");
    watched.kill_sentinel(2);
    // Without any the server stays what it was.
    eventually("all are missed", || {
        let said = status(&proxy)["upstream"]["sentinels"].clone();
        said.as_array().is_some_and(|said| said.iter().all(|said| said["answers"] == false))
    });
    assert_eq!(proxy.wire().ask("GET k"), "$1\r\nv\r\n");
    assert_eq!(proxy.get("/readyz").0, 200);
}

/// What `check --connect` says about these sentinels: its exit code, and all that it prints.
fn checked(sentinels: &[u16], service: &str, more: &str) -> (Option<i32>, String) {
    let ports: Vec<_> = sentinels.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let text = format!(
        "[upstream]\nsentinels = [{}]\nservice = \"{service}\"\n{more}\n[admin]\naddress = \"127.0.0.1:0\"\n",
        ports.join(", ")
    );
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("c.toml");
    std::fs::write(&file, text).expect("a temporary file");
    let output =
        proxy::command().args(["check", "--connect", "--config"]).arg(&file).env("HUSH", "hush").env("WRONG", "x").output();
    let output = output.expect("the proxy is built");
    (output.status.code(), text_of(&output.stdout) + &text_of(&output.stderr))
}

#[test]
fn sentinels_want_credentials_of_their_own_and_what_is_wrong_is_said_by_name() {
    let watched = Watched::start("requirepass hush");
    let server = watched.servers[0].port();
    let good = checked(&watched.ports(), "m", "sentinel_password_env = \"HUSH\"");
    assert_eq!(good.0, Some(0), "{}", good.1);
    assert!(good.1.contains(&format!("127.0.0.1:{server} is the primary")), "{}", good.1);
    let absent = free_port();
    for (sentinels, service, password, wanted) in [
        (&watched.ports()[..], "m", "sentinel_password_env = \"WRONG\"", "refuses the credentials"),
        (&watched.ports(), "m", "", "refuses the credentials"),
        (&watched.ports(), "other", "sentinel_password_env = \"HUSH\"", "watches no service \"other\""),
        (&[server], "m", "", "is no sentinel"),
        (&[absent], "m", "", "cannot connect"),
    ] {
        let (code, said) = checked(sentinels, service, password);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(wanted), "{said}\n{wanted}");
    }
    let upstream = format!("{TIMES}sentinel_password_env = \"HUSH\"");
    let setup = Setup::new(&watched.servers[0]).found_by(&watched.ports(), &upstream).environment("HUSH", "hush");
    assert_eq!(setup.start().wire().ask("SET k v"), "+OK\r\n");
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn sentinels_and_servers_are_followed_over_tls_when_the_primary_dies() {
    let authority = Authority::new();
    let shown = authority.issue("server", &["localhost", "127.0.0.1"]);
    let mut watched = Watched::start_over_tls(&authority, &shown);
    let trusts =
        |authority: &Authority| format!("connect_timeout_ms = 5000\ntls = {{ ca = \"{}\" }}\n", authority.ca().display());
    let (tls, ports) = (trusts(&authority), watched.sentinel_tls_ports());
    let setup = Setup::new(&watched.servers[0]).found_by(&ports, &format!("{TIMES}{tls}"));
    let proxy = setup.top("workers = 1").rules(GROUPS).start();
    let named = |at: usize| format!("127.0.0.1:{}", watched.tls_ports[at]);
    let (first, second) = (named(0), named(1));
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("SET k 1"), "+OK\r\n");
    assert_eq!(status(&proxy)["upstream"]["address"].as_str(), Some(&*first));
    let says_all = |primary: &str| {
        let (code, said) = checked(&ports, "m", &tls);
        assert_eq!(code, Some(0), "{said}");
        assert!(ports.iter().all(|port| said.contains(&format!("127.0.0.1:{port}"))), "{said}");
        assert!(said.contains(&format!("{primary} is the primary")), "{said}");
    };
    says_all(&first);
    // Who trusts another authority is told so, and by whom.
    let (code, said) = checked(&ports, "m", &trusts(&Authority::named("others")));
    assert_eq!(code, Some(1), "{said}");
    assert!(ports.iter().all(|port| said.contains(&format!("127.0.0.1:{port}"))) && said.contains("TLS"), "{said}");
    eventually("the replica has it", || watched.servers[1].ask("GET k") == "$1\r\n1\r\n");

    watched.servers[0].kill();
    assert_eq!(wire.ask("INCR k"), ":2\r\n");
    assert_eq!(wire.pipeline(&["INCR n:{ann}", "SADD s:{ann} tag"]), [":1\r\n", ":1\r\n"]);
    assert_eq!(watched.servers[1].ask("MGET k n:{ann}"), "*2\r\n$1\r\n2\r\n$1\r\n1\r\n");
    assert_eq!(status(&proxy)["upstream"]["address"].as_str(), Some(&*second));
    says_all(&second);
}

#[test]
fn without_a_primary_clients_are_told_in_time_and_the_process_is_not_ready() {
    let absent = [free_port(), free_port()];
    let redis = RedisServer::absent(&[]);
    let upstream = "request_timeout_ms = 700\nqueue_timeout_ms = 100";
    let proxy = Setup::new(&redis).found_by(&absent, upstream).start();
    let since = Instant::now();
    let reply = proxy.wire().ask("SET k v");
    assert!(reply.starts_with("-ERR respguard: SET was not sent"), "{reply}");
    assert!(since.elapsed() < PATIENCE / 2);
    let (code, body) = proxy.get("/readyz");
    assert!(code == 503 && body.contains("no primary is known"), "{code} {body}");
}

#[test]
fn rest_goes_on_at_the_next_primary_with_its_pipelines_groups_and_scripts() {
    let mut watched = Watched::start("");
    let setup = Setup::new(&watched.servers[0]).found_by(&watched.ports(), TIMES).top("workers = 1");
    let proxy = setup.rest("").rules(GROUPS).start();
    let mut http = proxy.rest();
    let script = r#"["eval","return redis.call('incr',KEYS[1])","1","k"]"#;
    let loaded = http.post("/", r#"["script","load","return redis.call('incr',KEYS[1])"]"#).json();
    let cached = format!(r#"["evalsha",{},"1","k"]"#, loaded["result"]);
    assert_eq!(http.post("/", &cached).text(), r#"{"result":1}"#);
    eventually("the replica has it", || watched.servers[1].ask("GET k") == "$1\r\n1\r\n");
    // Up to Redis 6.2 SCRIPT LOAD goes on to replicas.
    assert_eq!(watched.servers[1].ask("SCRIPT FLUSH"), "+OK\r\n");

    watched.servers[0].kill();
    // It waits for the server that takes the place of the dead one.
    let group = http.post("/pipeline", r#"[["incr","n:{ann}"],["sadd","s:{ann}","tag"],["get","k"]]"#);
    assert_eq!((group.status, group.text().as_str()), (200, r#"[{"result":1},{"result":1},{"result":"1"}]"#));
    assert_eq!(proxy.groups("marked", "applied"), 1.0);
    let unknown = http.post("/", &cached);
    assert!(unknown.text().contains("NOSCRIPT"), "the next server has not got it, and SDKs send the script: {}", unknown.text());
    assert_eq!(http.post("/", script).text(), r#"{"result":2}"#);
    assert_eq!(http.post("/", &cached).text(), r#"{"result":3}"#);
    let all = http.post("/multi-exec", r#"[["incr","k"],["get","k"]]"#);
    assert_eq!(all.text(), r#"[{"result":4},{"result":"4"}]"#);
    assert_eq!(watched.servers[1].ask("GET k"), "$1\r\n4\r\n");

    // None can take its place any more: one command is told by the status, a pipeline by an error for each.
    watched.kill_sentinels();
    watched.servers[1].kill();
    let one = http.post("/", r#"["get","k"]"#);
    assert!([503, 504].contains(&one.status) && one.json()["error"].is_string(), "{} {}", one.status, one.text());
    let several = http.post("/pipeline", r#"[["get","k"],["get","n:{ann}"]]"#);
    assert_eq!((several.status, several.json().as_array().map(Vec::len)), (200, Some(2)), "{}", several.text());
    assert!(several.json()[1]["error"].is_string(), "{}", several.text());
}
