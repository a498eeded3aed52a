//! Operators see which client did what: who is connected, and whose requests take long.

use std::time::Duration;

use serde_json::Value;

use crate::harness::proxy::command;
use crate::harness::{Proxy, RedisServer, Setup, eventually, text};

fn get(proxy: &Proxy, path: &str) -> Value {
    let (status, body) = proxy.get(path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

fn told(proxy: &Proxy, words: &[&str]) -> String {
    let output = command().args(words).arg("--config").arg(proxy.config()).output().expect("the program starts");
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn slow(proxy: &Proxy, filter: &str) -> Vec<Value> {
    get(proxy, &format!("/slow?{filter}"))["slow"].as_array().expect("a list").clone()
}

fn us(slow: &Value, field: &str) -> Duration {
    Duration::from_micros(slow[field].as_u64().expect(field))
}

#[test]
fn clients_are_listed_with_what_they_are_and_do_and_one_can_be_closed() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).start();
    let (mut billing, mut other) = (proxy.wire(), proxy.wire());
    // Servers before Redis 7.2 have no CLIENT SETINFO.
    let told_library = billing.ask("CLIENT SETINFO LIB-NAME redis-py") == "+OK\r\n";
    let library = if told_library { "redis-py 7.1.0" } else { "" };
    for line in ["CLIENT SETINFO LIB-VER 7.1.0", "CLIENT SETNAME billing-7", "SELECT 3"] {
        billing.ask(line);
    }
    billing.pipeline(&["SET k v", "GET k", "GET k"]);
    other.ask("PING");
    let all = get(&proxy, "/clients");
    assert_eq!((all["total"].as_u64(), all["matching"].as_u64()), (Some(2), Some(2)));
    let named = get(&proxy, &format!("/clients?name=BILLING&library={}", &library[..library.len().min(8)]));
    assert_eq!(named["matching"], 1);
    let client = &named["clients"][0];
    assert_eq!((client["library"].as_str(), client["db"].as_u64()), (Some(library), Some(3)));
    assert_eq!((client["address"].as_str(), client["requests"].as_u64()), (Some(billing.local().as_str()), Some(7)));
    let busiest = get(&proxy, "/clients?sort=requests&limit=1");
    assert_eq!((&busiest["clients"][0]["id"], busiest["matching"].as_u64()), (&client["id"], Some(2)));
    assert_eq!(get(&proxy, "/clients?command=get")["matching"], 1);
    assert_eq!(proxy.get("/clients?sort=beauty").0, 400);

    let table = told(&proxy, &["clients", "--name", "billing"]);
    assert!(table.contains("billing-7") && table.contains(library) && table.ends_with("1 of 2 clients\n"), "{table}");
    let id = client["id"].to_string();
    assert!(told(&proxy, &["clients", "--kill", &id]).contains(&format!("client {id} at {}", billing.local())));
    assert_eq!(text(&billing.until_closed()), "");
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    assert_eq!(proxy.http("POST", &format!("/clients/kill?id={id}"), &[]).0, 404);
    eventually("it has left", || get(&proxy, "/clients")["total"] == 1);
}

#[test]
fn a_client_is_counted_the_violations_and_the_timeouts_of_its_requests() {
    let redis = RedisServer::start(&[]);
    let rules = "[[guard]]\nname = \"no-keys\"\ncommands = [\"KEYS *\"]\naction = \"reject\"\n";
    let proxy = Setup::new(&redis).rules(rules).upstream("request_timeout_ms = 300").start();
    let mut wire = proxy.wire();
    assert!(wire.ask("KEYS *").starts_with("-ERR"));
    assert_eq!(wire.ask("GET k"), "$-1\r\n");
    redis.pause();
    assert!(wire.ask("GET k").starts_with("-TIMEOUT"));
    redis.resume();
    let client = &get(&proxy, "/clients")["clients"][0];
    assert_eq!((client["violations"].as_u64(), client["timeouts"].as_u64()), (Some(1), Some(1)), "{client}");
}

#[test]
fn what_the_server_takes_long_for_is_told_with_its_client_and_its_kind_of_key() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).top("workers = 1").admin("slow_ms = 100").start();
    let (mut culprit, mut behind) = (proxy.wire(), proxy.wire());
    culprit.ask("CLIENT SETNAME culprit");
    for wire in [&mut culprit, &mut behind] {
        assert_eq!(wire.ask("GET k"), "$-1\r\n");
    }
    assert!(slow(&proxy, "command=hgetall").is_empty());
    redis.pause();
    culprit.send_line("HGETALL sess:alice:cart");
    std::thread::sleep(Duration::from_millis(50));
    behind.send_line("GET k");
    std::thread::sleep(Duration::from_millis(300));
    redis.resume();
    assert_eq!((text(&culprit.reply()), text(&behind.reply())), ("*0\r\n".to_owned(), "$-1\r\n".to_owned()));
    let all = slow(&proxy, "command=hgetall");
    assert_eq!(all.len(), 1, "{all:?}");
    let told_of = &all[0];
    assert_eq!(told_of["client"]["name"], "culprit");
    assert_eq!(told_of["client"]["address"], culprit.local());
    assert_eq!((told_of["command"].as_str(), told_of["key_pattern"].as_str()), (Some("hgetall"), Some("sess:*")));
    assert!(us(told_of, "server_us") >= Duration::from_millis(300), "{told_of}");
    assert!(us(told_of, "total_us") >= us(told_of, "server_us"), "{told_of}");
    assert_eq!(told_of["timed_out"], false);
    // The other is shown as delayed by it or, on another connection, by itself.
    let delayed = told_of["delayed"].as_u64().expect("a number");
    assert!(delayed + slow(&proxy, "command=get").len() as u64 >= 1, "{told_of}");
    let table = told(&proxy, &["slow", "--command", "hgetall"]);
    assert!(table.contains("culprit") && table.contains("sess:*") && !table.contains("alice"), "{table}");
}

#[test]
fn what_waits_in_the_proxy_for_a_server_is_told_as_such() {
    let mut redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("queue_timeout_ms = 20000\nrequest_timeout_ms = 20000").start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("GET k"), "$-1\r\n");
    redis.kill();
    wire.send_line("SET order:1 v");
    std::thread::sleep(Duration::from_millis(400));
    redis.restart();
    assert_eq!(text(&wire.reply()), "+OK\r\n");
    let all = slow(&proxy, "command=set");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(us(&all[0], "proxy_us") >= Duration::from_millis(300), "{all:?}");
    assert_eq!(all[0]["key_pattern"], "order:*");
}

#[test]
fn a_timeout_is_slow_and_waiting_by_ones_own_wish_is_not() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 300").admin("slow_ms = 200").start();
    let mut wire = proxy.wire();
    assert_eq!(wire.ask("BLPOP nothing 0.6"), "*-1\r\n");
    redis.pause();
    assert!(wire.ask("INCR hits:home").starts_with("-TIMEOUT"));
    redis.resume();
    let all = slow(&proxy, "");
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0]["command"].as_str(), all[0]["timed_out"].as_bool()), (Some("incr"), Some(true)));
    eventually("the late answer is no further one", || wire.ask("GET k") == "$-1\r\n");
    assert_eq!(slow(&proxy, "command=incr").len(), 1);
}

#[test]
fn nothing_is_kept_where_that_is_off() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).admin("slow_ms = 0").start();
    let mut wire = proxy.wire();
    redis.pause();
    wire.send_line("GET k");
    std::thread::sleep(Duration::from_millis(200));
    redis.resume();
    wire.reply();
    let answer = get(&proxy, "/slow");
    assert_eq!((answer["threshold_ms"].is_null(), answer["total"].as_u64()), (true, Some(0)));
    assert!(told(&proxy, &["slow"]).contains("slow_ms is 0"));
}

#[test]
fn who_has_not_the_token_sees_neither() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).admin("token_env = \"OPS_TOKEN\"").environment("OPS_TOKEN", "t-0-k-e-n").start();
    for path in ["/clients", "/slow"] {
        assert_eq!(proxy.get(path).0, 401, "{path}");
    }
    assert_eq!(proxy.http("POST", "/clients/kill?id=1", &[]).0, 401);
    assert_eq!(proxy.http("GET", "/slow", &[("Authorization", "Bearer t-0-k-e-n")]).0, 200);
}
