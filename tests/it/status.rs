//! How the process stands, what became of its groups, and what it logs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Proxy, RedisServer, Setup, eventually};

const PAIR: &str = "[[group]]\nname = \"pair\"\ncommands = [\"SET a:{id} *\", \"INCR b:{id}\"]\n";

fn json(proxy: &Proxy, method: &str, path: &str) -> (u16, Value) {
    let (status, body) = proxy.http(method, path, &[]);
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[test]
fn the_status_shows_clients_connections_and_whether_the_server_is_there() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Proxy::start("", &redis);
    let mut wires: Vec<_> = (0..3).map(|_| proxy.wire()).collect();
    wires.iter_mut().for_each(|wire| assert_eq!(wire.ask("PING"), "+PONG\r\n"));
    wires[0].send_line("BLPOP nothing 0");
    eventually("a lease is there", || json(&proxy, "GET", "/status").1["upstream"]["connections"]["leased"] == 1);
    let (_, status) = json(&proxy, "GET", "/status");
    assert_eq!((&status["clients"], &status["workers"], &status["ready"]), (&3.into(), &2.into(), &true.into()), "{status}");
    assert_eq!(status["upstream"]["address"], format!("127.0.0.1:{}", redis.port()));
    assert!(status["version"].as_str().is_some_and(|version| version.starts_with(env!("CARGO_PKG_VERSION"))));
    redis.kill();
    eventually("its loss is shown", || {
        let (_, status) = json(&proxy, "GET", "/status");
        status["upstream"]["available"] == false && status["ready"] == false
    });
}

#[test]
fn groups_show_what_became_of_them_and_those_that_never_came() {
    let redis = RedisServer::start(&[]);
    let idle = "[[group]]\nname = \"idle\"\nkeys = [\"idle:*\"]\n";
    let proxy = Setup::new(&redis).pipeline("hold_ms = 1\nhold_max_ms = 1").rules(&(PAIR.to_owned() + idle)).start();
    let mut wire = proxy.wire();
    wire.pipeline(&["SET a:1 x", "INCR b:1"]);
    wire.ask("SET b:2 text");
    wire.pipeline(&["SET a:2 x", "INCR b:2"]);
    wire.ask("SET a:3 x");
    eventually("all is counted", || json(&proxy, "GET", "/groups").1["groups"][1]["split"] == 1);
    let (_, answer) = json(&proxy, "GET", "/groups");
    let (idle, pair) = (&answer["groups"][0], &answer["groups"][1]);
    assert_eq!((&idle["name"], &idle["matched"], &idle["last_seen_ms"]), (&"idle".into(), &0.into(), &Value::Null));
    for (field, wanted) in [("matched", 2), ("wrapped", 2), ("applied", 1), ("torn", 1), ("aborted", 0), ("held", 1)] {
        assert_eq!(pair[field], wanted, "{field} in {pair}");
    }
    assert!(pair["last_seen_ms"].is_u64() && pair["in_force"] == true);

    proxy.rewrite(&Setup::new(&redis));
    assert_eq!(json(&proxy, "POST", "/reload").0, 200);
    let (_, answer) = json(&proxy, "GET", "/groups");
    assert_eq!(answer["groups"].as_array().map(Vec::len), Some(1), "what was never seen is gone with its rule");
    assert_eq!((&answer["groups"][0]["in_force"], &answer["groups"][0]["matched"]), (&false.into(), &2.into()));
}

#[test]
fn a_group_shows_how_long_its_rest_takes_and_all_fields_that_are_described() {
    let redis = RedisServer::start(&[]);
    let other = "[[group]]\nname = \"other\"\ncommands = [\"SET c:{id} *\", \"INCR d:{id}\"]\n";
    let proxy = Setup::new(&redis).pipeline("hold_ms = 5000\nhold_max_ms = 10000").rules(&(PAIR.to_owned() + other)).start();
    let mut wire = proxy.wire();
    let pause = Duration::from_millis(400);
    for n in 0..3 {
        wire.send_line(&format!("SET a:{n} x"));
        assert!(wire.is_silent_for(pause), "held");
        wire.send_line(&format!("INCR b:{n}"));
        wire.replies(2);
    }
    let counts = |group: &Value| -> Vec<u64> {
        group["hold_gap"]["buckets"].as_array().expect("buckets").iter().filter_map(|bucket| bucket["count"].as_u64()).collect()
    };
    eventually("the gaps are counted", || counts(&json(&proxy, "GET", "/groups").1["groups"][1]).iter().sum::<u64>() >= 3);
    let (_, answer) = json(&proxy, "GET", "/groups");
    let (other, pair) = (&answer["groups"][0], &answer["groups"][1]);
    assert_eq!(counts(other).iter().sum::<u64>(), 0);
    assert_eq!(counts(pair).last(), Some(&3), "longer than 50 ms: {pair}");
    let bounds: Vec<_> = pair["hold_gap"]["buckets"].as_array().expect("buckets").iter().map(|one| &one["up_to_us"]).collect();
    assert_eq!((bounds[0], bounds[bounds.len() - 1]), (&50.into(), &Value::Null));
    assert_eq!(pair["hold_gap"]["median_us"], Value::Null, "half are beyond all bounds");

    let (_, description) = json(&proxy, "GET", "/openapi.json");
    let described = &description["components"]["schemas"]["Group"];
    let fields = |object: &Value| object.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(fields(pair), fields(&described["properties"]));
    let required = described["required"].as_array().expect("a list").iter().filter_map(Value::as_str);
    assert_eq!(fields(pair), required.map(str::to_owned).collect());
}

#[test]
fn what_is_logged_changes_while_the_process_runs() {
    let (_redis, proxy) = Proxy::with_redis("");
    assert_eq!(json(&proxy, "GET", "/log").1["level"], "info");
    assert_eq!(json(&proxy, "POST", "/log?level=error").1["level"], "error");
    let mut wire = proxy.wire();
    wire.pipeline(&["SET text x", "INCR text"]);
    eventually("it is counted", || proxy.violated("partial_failure", "") == 1.0);
    assert!(proxy.violations().is_empty(), "a warning is no error");
    assert_eq!(json(&proxy, "POST", "/log?level=warn").0, 200);
    wire.pipeline(&["SET text x", "INCR text"]);
    eventually("it is logged", || proxy.violations().len() == 1);
    let (status, answer) = json(&proxy, "POST", "/log?level=respguard=loud");
    assert!(status == 400 && answer["error"].as_str().is_some_and(|error| error.contains("loud")), "{answer}");
    assert_eq!(json(&proxy, "GET", "/log").1["level"], "warn");
    assert_eq!(proxy.http("POST", "/log?level=trace", &[("Origin", "http://evil.example")]).0, 403);
}
