//! The REST front before a cluster: the protocol's clients know as little of nodes and slots as those of RESP.

use serde_json::{Value, json};

use crate::harness::{Answer, Nodes, Proxy, Setup, eventually};

const RULES: &str = r#"
[[group]]
name = "upload"
atomic = "guarded"
commands = ["HSET blob:{{{id}}} * *", "LPUSH log:{{{id}}} *", "SADD index:{{{id}}} *"]

[[group]]
name = "apart"
commands = ["INCR a:{user}", "SADD b:{user} *"]
"#;

fn before(nodes: &Nodes) -> Proxy {
    let times = "request_timeout_ms = 15000\nstall_timeout_ms = 30000\n";
    Setup::before(1).cluster(&nodes.ports(), times).top("workers = 1").rest("").rules(RULES).start()
}

#[track_caller]
fn is(answer: &Answer, status: u16, body: &Value) {
    assert_eq!((answer.status, &answer.json()), (status, body), "{}", answer.text());
}

#[test]
fn commands_and_pipelines_reach_every_node_and_are_answered_in_their_order() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut http = proxy.rest();
    let keys: Vec<String> = (0..3).map(|at| nodes.key_of(at, "k")).collect();
    for (at, key) in keys.iter().enumerate() {
        is(&http.get(&format!("/set/{key}/{at}")), 200, &json!({"result": "OK"}));
        is(&http.post("/", &json!(["get", key]).to_string()), 200, &json!({"result": at.to_string()}));
    }
    let sets: Vec<Value> = (0..64).map(|n| json!(["set", format!("p{n}"), n])).collect();
    is(&http.post("/pipeline", &json!(sets).to_string()), 200, &json!(vec![json!({"result": "OK"}); 64]));
    let gets: Vec<Value> = (0..64).map(|n| json!(["get", format!("p{n}")])).collect();
    let values: Vec<Value> = (0..64).map(|n| json!({"result": n.to_string()})).collect();
    is(&http.post("/pipeline", &json!(gets).to_string()), 200, &json!(values));
    let mixed = json!([["mget", keys[2], "none", keys[0]], ["del", keys[0], keys[1]], ["lpush", "p1", "x"], ["dbsize"]]);
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    is(
        &http.post("/pipeline", &mixed.to_string()),
        200,
        &json!([{"result": ["2", null, "0"]}, {"result": 2}, {"error": wrong}, {"result": 65}]),
    );
    let crossed = "CROSSSLOT Keys in request don't hash to the same slot";
    let two = json!(["mset", keys[0], "1", keys[1], "2"]);
    is(&http.post("/", &two.to_string()), 400, &json!({"error": crossed}));
    // SCAN goes on over all nodes, with cursors as strings.
    let (mut cursor, mut seen) = ("0".to_owned(), 0);
    loop {
        let page = http.post("/", &json!(["scan", cursor, "count", "20"]).to_string()).json();
        seen += page["result"][1].as_array().map_or(0, Vec::len);
        page["result"][0].as_str().expect("a cursor").clone_into(&mut cursor);
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, 65);
}

#[test]
fn a_pipeline_that_is_a_group_of_one_slot_is_whole_or_not_at_all() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut http = proxy.rest();
    let upload = |id: &str| {
        let of = |name: &str| format!("{name}:{{{id}}}");
        json!([["hset", of("blob"), "f", "v"], ["lpush", of("log"), "x"], ["sadd", of("index"), "m"]]).to_string()
    };
    let done = json!([{"result": 1}, {"result": 1}, {"result": 1}]);
    for at in 0..3 {
        is(&http.post("/pipeline", &upload(&nodes.key_of(at, "u"))), 200, &done);
    }
    assert_eq!(proxy.groups("upload", "applied"), 3.0);
    is(&http.post("/", r#"["set","log:{bad}","no list"]"#), 200, &json!({"result": "OK"}));
    let failed = http.post("/pipeline", &upload("bad"));
    let errors: Vec<String> = failed
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["error"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(failed.status, 200);
    assert!(errors[0].starts_with("EXECABORT") && errors[1].starts_with("WRONGTYPE"), "{errors:?}");
    is(&http.post("/", r#"["exists","blob:{bad}"]"#), 200, &json!({"result": 0}));
    let user = (0..).map(|n| format!("u{n}")).find(|user| nodes.owner(&format!("a:{user}")) != nodes.owner(&format!("b:{user}")));
    let user = user.expect("there is one");
    let apart = http.post("/pipeline", &json!([["incr", format!("a:{user}")], ["sadd", format!("b:{user}"), "x"]]).to_string());
    let answered = apart.json();
    let error = |at: usize| answered[at]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error(0).starts_with("EXECABORT") && error(1).starts_with("CROSSSLOT"), "{answered}");
}

#[test]
fn transactions_run_on_one_node_and_over_several_are_discarded_for_each_command() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut http = proxy.rest();
    for at in 0..3 {
        let key = nodes.key_of(at, "n");
        let all = json!([["incr", key], ["lpush", key, "x"], ["get", key]]).to_string();
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        is(&http.post("/multi-exec", &all), 200, &json!([{"result": 1}, {"error": wrong}, {"result": "1"}]));
    }
    let [a, b] = [0, 1].map(|at| nodes.key_of(at, "x"));
    let crossed = http.post("/multi-exec", &json!([["set", a, "1"], ["set", b, "1"]]).to_string());
    assert_eq!((crossed.status, crossed.json().as_array().map(Vec::len)), (200, Some(2)), "{}", crossed.text());
    assert!(crossed.json().as_array().expect("a list").iter().all(|one| one["error"].is_string()), "{}", crossed.text());
    is(&http.post("/", &json!(["exists", a, b]).to_string()), 200, &json!({"result": 0}));
}

#[test]
fn limiters_scripts_run_on_every_node() {
    let nodes = Nodes::start(3, false);
    let proxy = before(&nodes);
    let mut http = proxy.rest();
    let script = "#!lua flags=allow-key-locking\nreturn redis.call('incr', KEYS[1])";
    // What the SDK knows: the digest of the script as it was before the flag was dropped.
    let loaded = http.post("/", &json!(["script", "load", script]).to_string()).json();
    let digest = loaded["result"].as_str().expect("a digest").to_owned();
    for round in 1..3 {
        for at in 0..3 {
            let key = nodes.key_of(at, "limit");
            is(&http.post("/pipeline", &json!([["evalsha", digest, "1", key]]).to_string()), 200, &json!([{"result": round}]));
        }
    }
    for server in &nodes.servers {
        assert_eq!(server.ask("SCRIPT FLUSH"), "+OK\r\n");
    }
    // As the SDK does: by digest, and where that is not known the script itself.
    for at in 0..3 {
        let key = nodes.key_of(at, "limit");
        let first = http.post("/pipeline", &json!([["evalsha", digest, "1", key]]).to_string()).json();
        if first[0]["error"].as_str().is_some_and(|error| error.contains("NOSCRIPT")) {
            is(&http.post("/pipeline", &json!([["eval", script, "1", key]]).to_string()), 200, &json!([{"result": 3}]));
        } else {
            assert_eq!(first, json!([{"result": 3}]));
        }
        is(&http.post("/pipeline", &json!([["evalsha", digest, "1", key]]).to_string()), 200, &json!([{"result": 4}]));
    }
}

#[test]
fn requests_wait_for_the_node_that_takes_a_dead_ones_place() {
    let mut nodes = Nodes::start(3, true);
    let proxy = before(&nodes);
    let mut http = proxy.rest();
    let (dead, alive) = (nodes.key_of(0, "k"), nodes.key_of(1, "k"));
    is(
        &http.post("/pipeline", &json!([["set", dead, "1"], ["set", alive, "1"]]).to_string()),
        200,
        &json!([{"result": "OK"}, {"result": "OK"}]),
    );
    eventually("the replica has it", || nodes.servers[3].ask("DBSIZE") == ":1\r\n");
    nodes.servers[0].kill();
    is(
        &http.post("/pipeline", &json!([["get", dead], ["get", alive]]).to_string()),
        200,
        &json!([{"result": "1"}, {"result": "1"}]),
    );
    is(&http.post("/", &json!(["incr", dead]).to_string()), 200, &json!({"result": 2}));
}

#[test]
fn what_is_not_done_on_a_cluster_is_refused_in_json() {
    let nodes = Nodes::start(1, false);
    let proxy = before(&nodes);
    let mut http = proxy.rest();
    let refused = http.ask("POST", "/monitor", &[("Accept", "text/event-stream")], b"[]");
    assert!(refused.status >= 400 && refused.json()["error"].is_string(), "{} {}", refused.status, refused.text());
    for command in [json!(["save"]), json!(["debug", "jmap"]), json!(["cluster", "forget", "x"])] {
        let answer = http.post("/", &command.to_string());
        assert!(answer.status == 400 && answer.json()["error"].is_string(), "{command}: {} {}", answer.status, answer.text());
    }
}
