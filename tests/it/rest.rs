//! The REST front: single commands, pipelines and transactions over HTTP, before the same rules as RESP clients.

use serde_json::json;

use crate::harness::{Answer, Http, PATIENT, Proxy, RedisServer, Setup, eventually};

const GUARDED: &str = r#"
[[group]]
name = "upload"
atomic = "guarded"
commands = ["HSET blob:{id} * *", "LPUSH log:{id} *", "SADD index {id}"]

[[ttl]]
name = "sessions"
keys = ["sess:*"]
action = "reject"
"#;

struct Stage {
    redis: RedisServer,
    proxy: Proxy,
}

impl Stage {
    fn new() -> Stage {
        Stage::with("")
    }

    fn with(rules: &str) -> Stage {
        let redis = RedisServer::start(&[]);
        let proxy = Setup::new(&redis).upstream(PATIENT).rest("").rules(rules).start();
        Stage { redis, proxy }
    }

    fn http(&self) -> Http {
        self.proxy.rest()
    }
}

#[track_caller]
fn is(answer: &Answer, status: u16, body: serde_json::Value) {
    assert_eq!((answer.status, answer.json()), (status, body));
}

#[test]
fn one_command_comes_in_the_body_or_in_the_path() {
    let stage = Stage::new();
    let mut http = stage.http();
    is(&http.post("/", r#"["SET", "k", 5]"#), 200, json!({"result": "OK"}));
    is(&http.get("/get/k"), 200, json!({"result": "5"}));
    is(&http.post("/", r#"["incrby","k",9007199254740993]"#), 200, json!({"result": 9007199254740998_i64}));
    is(&http.ask("PUT", "/set/a%20b%2Fc?EX=100", &[], b"v w"), 200, json!({"result": "OK"}));
    is(&http.get("/ttl/a%20b%2Fc"), 200, json!({"result": 100}));
    is(&http.get("/get/a%20b%2Fc"), 200, json!({"result": "v w"}));
    is(&http.get("/get/nothing"), 200, json!({"result": null}));
    is(&http.get("/mget/k/nothing"), 200, json!({"result": ["9007199254740998", null]}));
    is(&http.post("/", r#"["eval","return {1,{'a',redis.status_reply('OK')}}","0"]"#), 200, json!({"result": [1, ["a", "OK"]]}));
    // curl sends a form's content type with whatever it sends.
    let form = http.ask("POST", "/", &[("Content-Type", "application/x-www-form-urlencoded")], br#"["echo","x"]"#);
    is(&form, 200, json!({"result": "x"}));
    let head = http.ask("HEAD", "/get/k", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    is(&http.get("/ping"), 200, json!({"result": "PONG"}));
}

#[test]
fn strings_come_in_base64_where_that_is_asked_for() {
    let stage = Stage::new();
    let mut http = stage.http().with("Upstash-Encoding", "base64");
    is(&http.post("/", r#"["set","k","OK"]"#), 200, json!({"result": "OK"}));
    is(&http.get("/get/k"), 200, json!({"result": "T0s="}));
    is(&http.post("/", r#"["eval","return {redis.status_reply('OK')}","0"]"#), 200, json!({"result": ["T0s="]}));
    is(
        &http.post("/pipeline", r#"[["ping"],["lpush","k","x"]]"#),
        200,
        json!([
            {"result": "UE9ORw=="},
            {"error": "WRONGTYPE Operation against a key holding the wrong kind of value"},
        ]),
    );
    let mut plain = stage.http();
    assert_eq!(stage.redis.wire().ask("SETBIT bits 0 1"), ":0\r\n");
    is(&plain.get("/get/bits"), 200, json!({"result": "\u{fffd}"}));
    is(&http.get("/get/bits"), 200, json!({"result": "gA=="}));
}

#[test]
fn replies_come_as_resp2_where_that_is_asked_for() {
    let stage = Stage::new();
    for name in ["Upstash-Response-Format", "Upstash-Reponse-Format"] {
        let mut http = stage.http().with(name, "resp2");
        let answer = http.post("/", r#"["set","k","v"]"#);
        assert_eq!((answer.text().as_str(), answer.header("content-type")), ("+OK\r\n", Some("application/octet-stream")));
        assert_eq!(http.post("/pipeline", r#"[["get","k"],["nosuch"],["ping"]]"#).text().lines().next(), Some("$1"));
        assert_eq!(http.get("/lpush/k/x").status, 400);
        assert_eq!(http.post("/multi-exec", r#"[["ping"]]"#).status, 400);
    }
    for (format, encoding) in [("xml", ""), ("resp2", "base64")] {
        let mut http = stage.http().with("Upstash-Response-Format", format).with("Upstash-Encoding", encoding);
        let answer = http.get("/get/k");
        assert!(answer.status == 400 && answer.json()["error"].is_string());
    }
}

#[test]
fn a_pipeline_answers_each_command_in_its_place() {
    let stage = Stage::new();
    let mut http = stage.http();
    let body = r#"[["set","k","v"],["subscribe","c"],["lpush","k","x"],["client","setinfo","LIB-NAME","x"],["get","k"]]"#;
    let answer = http.post("/pipeline", body);
    assert_eq!(answer.status, 200);
    let read = answer.json();
    assert_eq!(read[0], json!({"result": "OK"}));
    assert!(read[1]["error"].as_str().is_some_and(|error| error.contains("request /subscribe")), "{read}");
    assert!(read[2]["error"].as_str().is_some_and(|error| error.starts_with("WRONGTYPE")));
    assert_eq!((&read[3], &read[4]), (&json!({"result": "OK"}), &json!({"result": "v"})));
    is(&http.post("/pipeline", "[]"), 200, json!([]));
    let many = serde_json::to_string(&vec![["incr", "n"]; 20_000]).expect("JSON");
    let answer = http.post("/pipeline", &many).json();
    let answers = answer.as_array().expect("an array");
    assert!(answers.len() == 20_000 && answers[19_999] == json!({"result": 20_000}));
}

#[test]
fn a_transaction_answers_as_a_pipeline_and_runs_whole_or_not_at_all() {
    let stage = Stage::new();
    let mut http = stage.http();
    is(
        &http.post("/multi-exec", r#"[["set","k","v"],["lpush","k","x"],["get","k"]]"#),
        200,
        json!([
            {"result": "OK"},
            {"error": "WRONGTYPE Operation against a key holding the wrong kind of value"},
            {"result": "v"},
        ]),
    );
    let discarded = http.post("/multi-exec", r#"[["set","k","w"],["nosuch","x"]]"#);
    let read = discarded.json();
    assert_eq!(discarded.status, 200, "both SDKs take n errors, and neither takes one object");
    assert_eq!(read[0], json!({"error": "EXECABORT Transaction discarded because of previous errors."}));
    assert!(read[1]["error"].as_str().is_some_and(|error| error.starts_with("ERR unknown command")), "{read}");
    let refused = http.post("/multi-exec", r#"[["set","k","w"],["watch","k"]]"#).json();
    assert!(refused[0]["error"].as_str().is_some_and(|error| error.starts_with("EXECABORT ")), "{refused}");
    is(&http.get("/get/k"), 200, json!({"result": "v"}));
    is(&http.post("/multi-exec", "[]"), 200, json!([]));
    assert_eq!(stage.proxy.metric("respguard_partial_failures_total", &[("where", "transaction")]), 1.0);
}

#[test]
fn a_pipeline_is_a_group_where_a_rule_says_so() {
    let stage = Stage::with(GUARDED);
    let mut http = stage.http();
    assert_eq!(stage.redis.wire().ask("SET log:7 x"), "+OK\r\n");
    let upload = |id: u32| format!(r#"[["hset","blob:{id}","f","v"],["lpush","log:{id}","x"],["sadd","index","{id}"]]"#);
    let read = http.post("/pipeline", &upload(7)).json();
    assert!(read[0]["error"].as_str().is_some_and(|error| error.starts_with("EXECABORT ")), "{read}");
    assert!(read[1]["error"].as_str().is_some_and(|error| error.starts_with("WRONGTYPE ")), "{read}");
    is(&http.get("/exists/blob:7/index"), 200, json!({"result": 0}));
    is(&http.post("/pipeline", &upload(8)), 200, json!([{"result": 1}, {"result": 1}, {"result": 1}]));
    assert_eq!((stage.proxy.groups("upload", "refused"), stage.proxy.groups("upload", "applied")), (1.0, 1.0));
    eventually("the violation is logged", || !stage.proxy.violations().is_empty());
    assert!(stage.proxy.violations()[0].contains("\"client\":\"rest\""), "{:?}", stage.proxy.violations());
    let rejected = http.post("/", r#"["set","sess:1","x"]"#);
    assert_eq!(rejected.status, 400, "{}", rejected.text());
}

#[test]
fn the_beginning_of_a_group_is_not_waited_for_where_nothing_can_follow() {
    let redis = RedisServer::start(&[]);
    let rules = "[[group]]\nname = \"pair\"\nkeys = [\"a:*\", \"b:*\"]\n";
    let proxy = Setup::new(&redis).pipeline("hold_ms = 5000\nhold_max_ms = 10000").rest("").rules(rules).start();
    let mut http = proxy.rest();
    let started = std::time::Instant::now();
    for n in 0..5 {
        is(&http.post("/", &format!(r#"["set","a:{n}","x"]"#)), 200, json!({"result": "OK"}));
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(proxy.metric("respguard_holds_total", &[]), 0.0);
}

#[test]
fn every_answer_has_another_sync_token() {
    let stage = Stage::new();
    let mut http = stage.http();
    let mut seen = std::collections::HashSet::new();
    for (path, body) in
        [("/", r#"["ping"]"#), ("/pipeline", r#"[["ping"]]"#), ("/multi-exec", r#"[["ping"]]"#), ("/", "x"), ("/", r#"["ping"]"#)]
    {
        let answer = http.ask("POST", path, &[("upstash-sync-token", "")], body.as_bytes());
        assert!(seen.insert(answer.header("upstash-sync-token").expect("a token").to_owned()));
    }
}

#[test]
fn scripts_with_the_flag_that_only_upstash_knows_run_and_are_found_again() {
    let stage = Stage::new();
    let mut http = stage.http();
    let script = "#!lua flags=allow-key-locking\nreturn redis.call('incr', KEYS[1])";
    let sha = sha1_smol::Sha1::from(script).digest().to_string();
    let by_sha = json!(["evalsha", sha, 1, "n"]).to_string();
    let eval = json!(["eval", script, 1, "n"]).to_string();
    let unknown = http.post("/", &by_sha).json();
    // In the server's own words, which are not the same on Valkey.
    let direct = stage.redis.ask(&format!("EVALSHA {sha} 1 n"));
    assert!(direct.starts_with("-NOSCRIPT No matching script."), "{direct}");
    assert_eq!(unknown, json!({"error": direct[1..].trim_end()}));
    is(&http.post("/", &eval), 200, json!({"result": 1}));
    is(&http.post("/", &by_sha), 200, json!({"result": 2}));
    is(&http.post("/pipeline", &format!("[{by_sha},{eval}]")), 200, json!([{"result": 3}, {"result": 4}]));
    is(&http.post("/", &json!(["script", "exists", sha, "x"]).to_string()), 200, json!({"result": [1, 0]}));
    is(&http.post("/", r#"["script","flush"]"#), 200, json!({"result": "OK"}));
    assert_eq!(http.post("/", &by_sha).json(), unknown, "the server has forgotten it");
    is(&http.post("/", &eval), 200, json!({"result": 5}));
    is(&http.post("/multi-exec", &format!("[{by_sha}]")), 200, json!([{"result": 6}]));
    is(&http.post("/", &json!(["script", "load", script]).to_string()), 200, json!({"result": sha}));
    // Another process knows nothing of it: its client sends it again.
    let other = Setup::new(&stage.redis).rest("").start();
    let mut http = other.rest();
    assert_eq!(http.post("/", &by_sha).json(), unknown);
    is(&http.post("/", &eval), 200, json!({"result": 7}));
    is(&http.post("/", &by_sha), 200, json!({"result": 8}));
}

#[test]
fn a_server_that_is_down_is_told_in_json_with_a_status_for_one_and_elements_for_many() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("queue_timeout_ms = 100\nconnect_timeout_ms = 200").rest("").start();
    let mut http = proxy.rest();
    eventually("the server is reached", || http.get("/ping").status == 200);
    drop(redis);
    eventually("the connection is lost", || {
        let answer = http.get("/get/k");
        assert!(answer.json()["error"].is_string());
        answer.status == 503
    });
    let answer = http.get("/get/k");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    for path in ["/pipeline", "/multi-exec"] {
        let answer = http.post(path, r#"[["get","a"],["get","b"]]"#);
        let read = answer.json();
        assert_eq!((answer.status, read.as_array().map(Vec::len)), (200, Some(2)), "{read}");
        assert!(read[0]["error"].is_string() && read[1]["error"].is_string(), "{read}");
    }
    assert!(proxy.metric("respguard_rest_requests_total", &[("endpoint", "command"), ("code", "503")]) > 0.0);
}

#[test]
fn what_takes_too_long_is_told_so_and_blocking_for_ever_is_refused() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 1000").rest("").start();
    let mut http = proxy.rest();
    let answer = http.get("/blpop/l/0");
    assert!(answer.status == 400 && answer.text().contains("at most 1000 ms"), "{}", answer.text());
    is(&http.get("/blpop/l/0.1"), 200, json!({"result": null}));
    redis.pause();
    let answer = http.post("/", r#"["get","k"]"#);
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(answer.text().contains("TIMEOUT respguard: outcome of GET unknown"), "{}", answer.text());
    redis.resume();
    eventually("it goes on", || http.get("/ping").status == 200);
}

#[test]
fn a_large_reply_comes_while_it_comes_in() {
    let stage = Stage::new();
    let value = "x".repeat(3_000_000);
    let mut http = stage.http();
    is(&http.ask("POST", "/set/big", &[], value.as_bytes()), 200, json!({"result": "OK"}));
    let answer = http.get("/get/big");
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.json(), json!({"result": value}));
    let answer = http.post("/pipeline", r#"[["get","big"],["ping"],["get","big"]]"#).json();
    assert!(answer[0] == answer[2] && answer[1] == json!({"result": "PONG"}) && answer[0]["result"] == json!(value));
    is(&http.get("/ping"), 200, json!({"result": "PONG"}));
}

#[test]
fn a_thousand_connections_share_a_few_to_the_server() {
    let stage = Stage::new();
    let mut clients: Vec<Http> = (0..1000).map(|_| stage.http()).collect();
    for round in 0..3 {
        for (n, http) in clients.iter_mut().enumerate() {
            http.begin("POST", "/pipeline", &[], format!(r#"[["set","k{n}","{round}"],["get","k{n}"]]"#).as_bytes());
        }
        for http in &mut clients {
            let head = http.head();
            assert_eq!(head.status, 200);
            let length: usize = head.header("content-length").and_then(|length| length.parse().ok()).expect("a length");
            let mut body = vec![0; length];
            http.read(&mut body);
            let read: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(read, json!([{"result": "OK"}, {"result": round.to_string()}]));
        }
    }
    assert!(stage.proxy.metric("respguard_upstream_connections", &[]) < 20.0);
    assert_eq!(stage.proxy.metric("respguard_rest_requests_total", &[("endpoint", "pipeline"), ("code", "200")]), 3000.0);
    assert_eq!(stage.proxy.metric("respguard_out_of_sync_total", &[]), 0.0);
}

#[test]
fn conversations_are_used_again_and_let_go() {
    let stage = Stage::new();
    let mut http = stage.http();
    for _ in 0..50 {
        assert_eq!(http.get("/ping").status, 200);
    }
    let taken_in = stage.proxy.metric("respguard_client_connections_total", &[("outcome", "accepted")]);
    assert!(taken_in <= 10.0, "{taken_in} for 50 requests one after the other");
    eventually("an idle one is let go", || stage.proxy.metric("respguard_clients", &[]) == 0.0);
}

#[test]
fn a_client_that_leaves_while_its_request_runs_leaves_nothing_behind() {
    let stage = Stage::new();
    for _ in 0..20 {
        let mut http = stage.http();
        http.begin("GET", "/blpop/nothing/1", &[], b"");
        drop(http);
    }
    eventually("all are gone", || stage.proxy.metric("respguard_clients", &[]) == 0.0);
    assert_eq!(stage.proxy.metric("respguard_panics_total", &[]), 0.0);
}

#[test]
fn a_shutdown_answers_what_is_under_way() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 2000").rest("").start();
    let (mut waiting, mut idle) = (proxy.rest(), proxy.rest());
    assert_eq!(idle.get("/ping").status, 200);
    waiting.begin("GET", "/blpop/nothing/1", &[], b"");
    eventually("it blocks", || redis.wire().ask("CLIENT LIST").contains("cmd=blpop"));
    proxy.terminate();
    let head = waiting.head();
    assert_eq!(head.status, 200);
    assert!(idle.is_closed());
    assert!(proxy.ended().status.success());
}

#[test]
fn counts_are_there_from_the_start() {
    let stage = Stage::new();
    let (_, text) = stage.proxy.get("/metrics");
    for series in [
        "respguard_rest_requests_total{endpoint=\"command\",code=\"200\"} 0",
        "respguard_rest_requests_total{endpoint=\"monitor\",code=\"504\"} 0",
        "respguard_rest_resent_total 0",
    ] {
        assert!(text.lines().any(|line| line == series), "{series}");
    }
    let mut http = stage.http().with("Upstash-Telemetry-Retry", "1");
    http.get("/ping");
    assert_eq!(stage.proxy.metric("respguard_rest_resent_total", &[]), 1.0);
    let without = Setup::new(&stage.redis).start();
    assert!(!without.get("/metrics").1.contains("respguard_rest_"));
}
