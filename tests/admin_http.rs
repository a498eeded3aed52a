//! The admin endpoints as a scraper, a probe and a careless client meet them.

#[path = "admin_http/client.rs"]
mod client;
#[path = "admin_http/dashboard.rs"]
mod dashboard;
#[path = "admin_http/endpoints.rs"]
mod endpoints;
#[path = "admin_http/exposition_text.rs"]
mod exposition_text;

use std::time::Duration;

use client::{Connection, get};
use endpoints::Endpoints;
use exposition_text::Exposed;
use respguard::net::admin::violations::STREAMS_MAX;
use respguard::net::http::{CONNECTIONS_MAX, REQUEST_TIMEOUT, STOP_TIMEOUT};
use respguard::telemetry::label::{Direction, FailureScope, GroupOutcome, RequestClass, Side, TtlOutcome, UpstreamState};
use respguard::telemetry::latency::BOUNDS_NS;
use respguard::telemetry::worker_metrics::WorkerMetrics;
use respguard::telemetry::{names, readiness::Readiness};
use respguard_engine::pipeline::violation::{Kind, Violation};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

/// Room for a busy machine beyond a limit of the server.
const SLACK: Duration = Duration::from_secs(3);

#[tokio::test]
async fn metrics_show_what_a_worker_counted_up_to_the_scrape() {
    let endpoints = Endpoints::with_worker(count_one_of_each).await;
    let answer = get(endpoints.address, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let exposed = Exposed::read(&answer.body);

    for (series, value) in [
        ("respguard_commands_total{command=\"get\"}", 2.0),
        ("respguard_commands_total{command=\"other\"}", 1.0),
        ("respguard_bytes_total{direction=\"out\",side=\"upstream\"}", 42.0),
        ("respguard_clients", 1.0),
        ("respguard_upstream_connections{state=\"leased\"}", 1.0),
        ("respguard_groups_total{group=\"login \\\"x\\\"\",outcome=\"torn\"}", 1.0),
        ("respguard_ttl_checks_total{outcome=\"missing\",rule=\"sessions\"}", 1.0),
        ("respguard_partial_failures_total{where=\"group\"}", 1.0),
        ("respguard_timeouts_total", 3.0),
        ("respguard_out_of_sync_total", 1.0),
    ] {
        assert_eq!(exposed.value(series), Some(value), "{series} in\n{}", answer.body);
    }
    assert_eq!(exposed.value("respguard_commands_total{command=\"set\"}"), None);
    let version = format!("respguard_build_info{{version=\"{}\"}}", env!("RESPGUARD_VERSION"));
    assert_eq!(exposed.value(&version), Some(1.0));
}

#[tokio::test]
async fn request_seconds_is_a_true_histogram() {
    let endpoints = Endpoints::with_worker(count_one_of_each).await;
    let exposed = Exposed::read(&get(endpoints.address, "/metrics").await.body);
    assert_eq!(exposed.shape(names::REQUEST_SECONDS), Some("histogram"));

    let buckets = exposed.buckets(names::REQUEST_SECONDS);
    assert_eq!(buckets.len(), BOUNDS_NS.len() + 1);
    for pair in buckets.windows(2) {
        assert!(pair[0].0 < pair[1].0, "bounds rise: {pair:?}");
        assert!(pair[0].1 <= pair[1].1, "counts are cumulative: {pair:?}");
    }
    let (last_bound, all) = buckets[buckets.len() - 1];
    assert_eq!(last_bound, f64::INFINITY);
    assert_eq!(exposed.value("respguard_request_seconds_count"), Some(all));
    assert_eq!(all, 5.0);
    let at_most = |wanted| buckets.iter().find(|(bound, _)| *bound == wanted).map(|(_, count)| *count);
    assert_eq!([at_most(0.00005), at_most(0.0001), at_most(10.0)], [Some(0.0), Some(4.0), Some(4.0)]);
    // Four requests of 80 us and one of 20 s.
    assert_eq!(exposed.value("respguard_request_seconds_sum"), Some(20.000_32));
}

#[tokio::test]
async fn every_exposed_metric_is_one_of_the_names_with_its_shape_and_help() {
    let endpoints = Endpoints::with_worker(count_one_of_each).await;
    let exposed = Exposed::read(&get(endpoints.address, "/metrics").await.body);
    for family in exposed.families() {
        let metric = names::ALL.iter().find(|metric| metric.name == family);
        let metric = metric.unwrap_or_else(|| panic!("{family} is not among the names"));
        assert_eq!(exposed.shape(family), Some(format!("{:?}", metric.shape).to_lowercase().as_str()));
        assert_eq!(exposed.help(family), Some(metric.help));
    }
}

#[tokio::test]
async fn a_scrape_is_answered_while_a_worker_is_stuck() {
    let mut endpoints = Endpoints::unstarted();
    let _never_asked = endpoints.flushes.add_worker();
    let endpoints = endpoints.start().await;
    assert_eq!(get(endpoints.address, "/metrics").await.status, 200);
}

#[tokio::test]
async fn readiness_follows_start_upstream_and_drain() {
    let endpoints = Endpoints::start_plain().await;
    let readiness: &Readiness = &endpoints.readiness;
    let expect = async |status: u16, body: &str| {
        let answer = get(endpoints.address, "/readyz").await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    };
    expect(503, r#"{"ready":false,"reasons":["starting","upstream unavailable"]}"#).await;
    readiness.started();
    expect(503, r#"{"ready":false,"reasons":["upstream unavailable"]}"#).await;
    readiness.upstream(0, true);
    expect(200, r#"{"ready":true,"reasons":[]}"#).await;
    readiness.upstream(0, false);
    expect(503, r#"{"ready":false,"reasons":["upstream unavailable"]}"#).await;
    readiness.upstream(0, true);
    readiness.draining();
    expect(503, r#"{"ready":false,"reasons":["draining"]}"#).await;
}

#[tokio::test]
async fn health_is_ok_even_where_readiness_is_not() {
    let endpoints = Endpoints::start_plain().await;
    let answer = get(endpoints.address, "/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));

    let mut connection = Connection::open(endpoints.address).await;
    connection.send("HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let head = connection.rest().await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn a_wrong_path_and_a_wrong_method_are_told_what_exists() {
    let endpoints = Endpoints::start_plain().await;
    let answer = get(endpoints.address, "/metric").await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.body,
        r#"{"error":"no such path","exists":["/","/dashboard/{file}","/runbook","/metrics","/healthz","/readyz","/status","/groups","/rules","/history","/violations","/violations/stream","/clients","/clients/kill","/slow","/config","/reload","/mode","/drain","/record","/learn","/log","/audit","/audit/cancel","/repair","/repair/undo","/openapi.json"]}"#
    );

    let mut connection = Connection::open(endpoints.address).await;
    let answer = connection.ask("DELETE /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    assert_eq!(answer.body, r#"{"error":"this path does not take that method","exists":["GET","HEAD"]}"#);
}

#[tokio::test]
async fn a_body_is_refused_and_an_empty_one_is_not() {
    let endpoints = Endpoints::start_plain().await;
    for head in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let mut connection = Connection::open(endpoints.address).await;
        let answer = connection.ask(&format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n")).await;
        assert_eq!(answer.status, 413, "{head}");
        assert_eq!(connection.rest().await, "", "closed after {head}");
    }
    let mut connection = Connection::open(endpoints.address).await;
    let empty = "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(connection.ask(empty).await.status, 200);
    assert_eq!(connection.ask(empty).await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn the_connection_beyond_the_limit_waits_for_a_place() {
    let endpoints = Endpoints::start_plain().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut connection = Connection::open(endpoints.address).await;
        assert_eq!(connection.ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
        open.push(connection);
    }
    let mut late = Connection::open(endpoints.address).await;
    late.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(timeout(Duration::from_millis(300), late.answer()).await.is_err(), "there is no place");
    open.pop();
    assert_eq!(timeout(SLACK, late.answer()).await.expect("a place came free").status, 200);
}

#[tokio::test]
async fn a_request_that_trickles_in_is_cut_off_in_time() {
    let endpoints = Endpoints::start_plain().await;
    let mut connection = Connection::open(endpoints.address).await;
    let since = Instant::now();
    connection.send("GET /healthz HTTP/1.1\r\n").await;
    let trickle = async {
        // More of the head keeps coming, and must not push the deadline back.
        while connection.try_send("X: y\r\n").await && !connection.is_closed_within(Duration::from_millis(200)).await {}
    };
    timeout(REQUEST_TIMEOUT + SLACK, trickle).await.expect("cut off");
    assert!(since.elapsed() >= REQUEST_TIMEOUT - Duration::from_millis(100), "{:?}", since.elapsed());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_an_idle_or_an_unfinished_connection() {
    let endpoints = Endpoints::start_plain().await;
    let mut idle = Connection::open(endpoints.address).await;
    assert_eq!(idle.ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
    let mut unfinished = Connection::open(endpoints.address).await;
    unfinished.send("GET /healthz HTTP/1.1\r\n").await;
    sleep(Duration::from_millis(50)).await;
    endpoints.shutdown.cancel();
    let ended = timeout(STOP_TIMEOUT + SLACK, endpoints.serving).await.expect("ends in time");
    ended.expect("no panic").expect("no error");
}

#[tokio::test]
async fn the_description_names_every_path_with_its_methods_and_fields() {
    let endpoints = Endpoints::start_plain().await;
    let description = get(endpoints.address, "/openapi.json").await;
    let description: Value = serde_json::from_str(&description.body).expect("JSON");
    assert_eq!(description["openapi"], "3.1.0");
    let exists: Value = serde_json::from_str(&get(endpoints.address, "/nowhere").await.body).expect("JSON");
    let mut exists: Vec<_> = exists["exists"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    exists.sort_unstable();
    let paths = description["paths"].as_object().expect("paths");
    let mut described: Vec<_> = paths.keys().map(String::as_str).collect();
    described.sort_unstable();
    assert_eq!(described, exists);

    for (path, methods) in paths {
        let mut connection = Connection::open(endpoints.address).await;
        let answer = connection.ask(&format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(answer.status, 405, "{path}");
        let allowed = answer.header("allow").expect("methods").to_lowercase();
        let mut allowed: Vec<_> = allowed.split(", ").filter(|method| *method != "head").collect();
        allowed.sort_unstable();
        assert_eq!(methods.as_object().expect("methods").keys().map(String::as_str).collect::<Vec<_>>(), allowed, "{path}");
    }
    for path in ["/status", "/groups", "/rules", "/history", "/violations"] {
        let schema = &paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let mut described: Vec<_> = schema["required"].as_array().expect(path).iter().filter_map(Value::as_str).collect();
        described.sort_unstable();
        let mut connection = Connection::open(endpoints.address).await;
        let answer = connection.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        let mut fields: Vec<_> = answer.as_object().expect(path).keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(described, fields, "{path}");
    }
}

#[test]
fn the_reference_of_violations_says_of_every_kind_what_happened_what_it_means_and_what_to_do() {
    let reference = include_str!("../docs/violations.md");
    let table = reference.split("| kind | what happened | what it means | what to do |\n|---|---|---|---|\n").nth(1);
    let rows = table.and_then(|table| table.split("\n\n").next()).expect("the table").lines();
    let rows: Vec<Vec<_>> = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect();
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), kinds);
    for row in rows {
        assert!(row.len() == 4 && row.iter().all(|cell| cell.len() > 5), "{row:?}");
    }
}

#[tokio::test]
async fn a_stream_beyond_the_last_place_is_refused_and_a_shutdown_ends_the_others() {
    let endpoints = Endpoints::start_plain().await;
    let ask = "GET /violations/stream HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        let mut connection = Connection::open(endpoints.address).await;
        connection.send(ask).await;
        connection.until("violations as they come").await;
        open.push(connection);
    }
    let mut late = Connection::open(endpoints.address).await;
    late.send(ask).await;
    assert!(late.rest().await.starts_with("HTTP/1.0 503"));
    endpoints.reporter.violation(Violation::new(Kind::Guard), &"127.0.0.1:1");
    for connection in &mut open {
        connection.until("\"kind\":\"guard\"").await;
    }
    endpoints.shutdown.cancel();
    timeout(STOP_TIMEOUT + SLACK, endpoints.serving).await.expect("ends in time").expect("no panic").expect("no error");
}

/// What the worker counts that the tests of numbers share.
fn count_one_of_each(metrics: &WorkerMetrics) {
    metrics.rename_rules(&["login \"x\"".into()], &["sessions".into()]);
    metrics.command(2);
    metrics.command(2);
    metrics.command(99);
    metrics.add_bytes(Side::Upstream, Direction::Out, 42);
    metrics.observe_request(RequestClass::Others, Duration::from_micros(80), 4);
    metrics.observe_request(RequestClass::Others, Duration::from_secs(20), 1);
    metrics.client_accepted();
    metrics.upstream_moved(None, Some(UpstreamState::Leased));
    metrics.group(0, GroupOutcome::Torn);
    metrics.ttl_check(0, TtlOutcome::Missing);
    metrics.partial_failure(FailureScope::Group);
    metrics.add_timeouts(3);
    metrics.out_of_sync();
}
