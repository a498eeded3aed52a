//! The REST front's streams: subscriptions and the monitor as server-sent events.

use crate::harness::{Http, Proxy, RedisServer, Setup, eventually};

fn stage() -> (RedisServer, Proxy) {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rest("").start();
    (redis, proxy)
}

fn begin(proxy: &Proxy, path: &str) -> Http {
    let mut http = proxy.rest().with("Accept", "text/event-stream");
    http.begin("POST", path, &[], b"[]");
    let head = http.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    http
}

/// Everything up to what is waited for.
#[track_caller]
fn read_until(http: &mut Http, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let chunk = http.chunk().unwrap_or_else(|| panic!("it ended with {text:?}"));
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

#[test]
fn messages_to_channels_are_events() {
    let (redis, proxy) = stage();
    let mut http = begin(&proxy, "/subscribe/chat/%C3%A9");
    assert_eq!(read_until(&mut http, ",2\n\n"), "data: subscribe,chat,1\n\ndata: subscribe,é,2\n\n");
    assert_eq!(redis.wire().ask("PUBLISH chat hello,you"), ":1\r\n");
    assert_eq!(read_until(&mut http, "\n\n"), "data: message,chat,hello,you\n\n");
    let mut publisher = proxy.rest();
    assert_eq!(publisher.ask("POST", "/publish/chat/a%0Ab", &[], b"").text(), "{\"result\":1}");
    assert_eq!(read_until(&mut http, "\n\n"), "data: message,chat,a\ndata: b\n\n");
    drop(http);
    eventually("the subscription is gone", || redis.wire().ask("PUBLISH chat x") == ":0\r\n");
}

#[test]
fn messages_to_patterns_are_events() {
    let (redis, proxy) = stage();
    let mut http = begin(&proxy, "/psubscribe/c*");
    assert_eq!(read_until(&mut http, "\n\n"), "data: psubscribe,c*,1\n\n");
    assert_eq!(redis.wire().ask("PUBLISH chat hi"), ":1\r\n");
    assert_eq!(read_until(&mut http, "\n\n"), "data: pmessage,c*,chat,hi\n\n");
}

#[test]
fn the_monitor_begins_with_ok_and_shows_what_is_run() {
    let (redis, proxy) = stage();
    let mut http = begin(&proxy, "/monitor");
    assert_eq!(read_until(&mut http, "\n\n"), "data: \"OK\"\n\n");
    redis.wire().ask("SET seen 1");
    let shown = read_until(&mut http, "\"SET\" \"seen\" \"1\"\n\n");
    assert!(shown.starts_with("data: "), "{shown}");
}

#[test]
fn many_streams_do_not_hold_up_requests() {
    let (_redis, proxy) = stage();
    let mut streams: Vec<Http> = (0..50).map(|_| begin(&proxy, "/subscribe/all")).collect();
    let mut http = proxy.rest();
    assert_eq!(http.get("/publish/all/x").text(), "{\"result\":50}");
    for stream in &mut streams {
        read_until(stream, "data: message,all,x\n\n");
    }
    assert_eq!(http.get("/ping").status, 200);
}

#[test]
fn a_stream_ends_with_the_process_and_with_its_connection() {
    let (redis, proxy) = stage();
    let mut http = begin(&proxy, "/subscribe/c");
    read_until(&mut http, "\n\n");
    assert!(redis.wire().ask("CLIENT KILL TYPE pubsub").starts_with(':'));
    assert_eq!(http.chunk(), None, "its connection is lost: the client subscribes anew");
    let mut http = begin(&proxy, "/subscribe/c");
    read_until(&mut http, "\n\n");
    proxy.terminate();
    assert_eq!(http.chunk(), None);
    assert!(proxy.ended().status.success());
}

#[test]
fn what_cannot_be_listened_to_is_told_in_json() {
    let (_redis, proxy) = stage();
    let mut http = proxy.rest();
    for (method, path, status) in [("POST", "/subscribe", 400), ("GET", "/psubscribe/", 400), ("DELETE", "/monitor", 405)] {
        let answer = http.ask(method, path, &[], b"");
        assert!(answer.status == status && answer.json()["error"].is_string(), "{path}: {}", answer.text());
    }
}
