//! What no honest client sends to the REST front: each is told so, or closed, and costs nobody else anything.

use std::time::{Duration, Instant};

use crate::harness::{Http, Proxy, RedisServer, Setup, eventually};

fn stage(rest: &str) -> (RedisServer, Proxy) {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rest(rest).start();
    (redis, proxy)
}

#[test]
fn malformed_bodies_are_told_with_their_place() {
    let (redis, proxy) = stage("");
    let mut http = proxy.rest();
    let whole = r#"[["set","k","va\u00e9\"l"],["get",5,-1.5e3,true,null],["del","k"]]"#;
    let mut tried = 0;
    let mut try_body = |http: &mut Http, path: &str, body: &[u8]| {
        let answer = http.ask("POST", path, &[], body);
        let error = answer.json()["error"].as_str().map(str::to_owned).unwrap_or_default();
        let is_placed = error.starts_with("ERR respguard: the body is malformed: ") && error.contains("(byte ");
        assert!(answer.status == 400 && is_placed, "{path} {}: {}", body.escape_ascii(), answer.text());
        tried += 1;
    };
    for end in 0..whole.len() {
        try_body(&mut http, "/pipeline", &whole.as_bytes()[..end]);
        try_body(&mut http, "/multi-exec", &whole.as_bytes()[..end]);
    }
    for (at, _) in whole.match_indices(['[', ']', ',']) {
        for put in ["}", "{", "]", ":", "\u{1}", "'", "tru", "0x", "\\", "-", "\"\\x"] {
            let broken = format!("{}{put}{}", &whole[..at], &whole[at..]);
            if serde_json::from_str::<Vec<Vec<serde_json::Value>>>(&broken).is_err() {
                try_body(&mut http, "/pipeline", broken.as_bytes());
            }
        }
    }
    for body in ["{}", "\"x\"", "5", "null", "[[]]", "[{}]", "[5]", "[\"a\"]", "[[\"a\",{}]]", "[[\"a\",[1]]]", "[[\"a\"]]]"] {
        try_body(&mut http, "/pipeline", body.as_bytes());
    }
    for body in
        [&b"{}"[..], b"\"x\"", b"5", b"null", b"[[\"a\"]]", b"[]", b"[\"a\",{}]", b"[\"a\"]]", b"\xff", b"[\"\xc3\"]", b" "]
    {
        try_body(&mut http, "/", body);
    }
    assert!(tried > 300, "{tried}");
    assert_eq!(redis.wire().ask("DBSIZE"), ":0\r\n", "nothing of a malformed body is run");
    assert_eq!(http.get("/ping").status, 200, "the connection is as good as before");
}

#[test]
fn a_body_that_is_too_large_is_refused_however_it_comes() {
    let (redis, proxy) = stage("body_bytes_max = 4096");
    let value = "x".repeat(4096);
    let fits = format!(r#"["set","k","{}"]"#, "x".repeat(4096 - 14));
    assert_eq!((fits.len(), proxy.rest().post("/", &fits).status), (4096, 200));
    for path in ["/", "/pipeline", "/set/k"] {
        let mut http = proxy.rest();
        let answer = http.post(path, &format!(r#"["set","k","{value}"]"#));
        assert_eq!(answer.status, 413);
        assert!(answer.json()["error"].as_str().is_some_and(|error| error.starts_with("ERR max request size exceeded")));
        assert!(http.is_closed());
    }
    let mut http = proxy.rest();
    http.send(b"POST /set/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..5 {
        http.send(format!("400\r\n{}\r\n", "y".repeat(1024)).as_bytes());
    }
    http.send(b"0\r\n\r\n");
    assert_eq!(http.head().status, 413);
    let mut http = proxy.rest();
    http.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n");
    http.send(&vec![b'x'; 100_000]);
    eventually("it is refused", || proxy.metric("respguard_rest_requests_total", &[("code", "413")]) >= 5.0);
    assert_eq!(redis.wire().ask("STRLEN k"), ":4082\r\n");
}

#[test]
fn a_million_commands_in_one_pipeline_are_answered_or_refused() {
    let redis = RedisServer::start(&[]);
    // A busy machine takes its time for so many; it is not the deadline that is tried here.
    let proxy = Setup::new(&redis).upstream("request_timeout_ms = 300000\nstall_timeout_ms = 300000").rest("").start();
    let body = format!("[{}[\"ping\"]]", "[\"ping\"],".repeat(999_999));
    let mut http = proxy.rest().patience(Duration::from_secs(300));
    let answer = http.post("/pipeline", &body);
    let text = answer.text();
    match answer.status {
        200 => assert_eq!(text.matches("{\"result\":\"PONG\"}").count(), 1_000_000),
        status => assert!(status == 413 && text.contains("ERR max request size exceeded"), "{status} {text}"),
    }
    assert_eq!(proxy.rest().get("/ping").status, 200);
    assert!(proxy.memory_peak() < 300 << 20, "{} MiB", proxy.memory_peak() >> 20);
}

#[test]
fn heads_that_are_no_http_or_too_large_are_closed() {
    let (_redis, proxy) = stage("");
    let long = format!("GET /get/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "k".repeat(100_000));
    let many: String = (0..200).map(|n| format!("X-{n}: x\r\n")).collect();
    let many = format!("GET /ping HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    let both = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /flushall HTTP/1.1\r\n\r\n";
    for head in [
        "\r\n\r\n\r\n\0\0\0",
        "*1\r\n$4\r\nPING\r\n",
        "PING\r\n",
        "GET /ping HTTP/9.9\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost localhost\r\n\r\n",
        "GET /ping HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "GET /ping HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "GET /a b HTTP/1.1\r\n\r\n",
        &long,
        &many,
    ] {
        let mut http = proxy.rest();
        http.send(head.as_bytes());
        let line = http.line();
        let begin = &head[..head.len().min(60)];
        assert!(line.is_empty() || line.starts_with("HTTP/1.1 4"), "{line} to {begin}");
        if !line.is_empty() {
            let rest = http.until_closed();
            let body = rest.split("\r\n\r\n").nth(1).unwrap_or_default();
            assert!(rest.to_lowercase().contains("content-type: application/json"), "{rest} to {begin}");
            assert!(body.starts_with("{\"error\":\"") && body.ends_with("\"}"), "{body:?} to {begin}");
        }
    }
    let mut http = proxy.rest();
    http.send(both.as_bytes());
    assert_ne!(http.head().status, 200, "what two servers could cut in two ways is not run");
    assert_eq!(proxy.rest().get("/ping").status, 200);
}

#[test]
fn line_breaks_in_arguments_make_no_requests_and_no_headers() {
    let (redis, proxy) = stage("");
    let mut http = proxy.rest();
    let answer = http.get("/set/k/a%0D%0A%2A1%0D%0A%248%0D%0AFLUSHALL%0D%0A");
    assert_eq!(answer.text(), "{\"result\":\"OK\"}");
    let answer = http.get("/get/k");
    assert_eq!(answer.text(), "{\"result\":\"a\\r\\n*1\\r\\n$8\\r\\nFLUSHALL\\r\\n\"}");
    let answer = http.get("/x%0D%0AX-Forged:%201");
    assert!(answer.status == 400 && answer.header("x-forged").is_none());
    assert_eq!(redis.wire().ask("DBSIZE"), ":1\r\n");
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let (_redis, proxy) = stage("connections_max = 3");
    let mut within: Vec<Http> = (0..3).map(|_| proxy.rest()).collect();
    for http in &mut within {
        assert_eq!(http.get("/ping").status, 200);
    }
    let mut beyond = proxy.rest();
    let answer = beyond.head();
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    within.pop();
    eventually("there is room again", || {
        let mut http = proxy.rest();
        http.begin("GET", "/ping", &[], b"");
        http.head().status == 200
    });
}

#[test]
fn those_who_send_slowly_hold_nobody_up() {
    let (_redis, proxy) = stage("");
    let mut slow: Vec<Http> = (0..200).map(|_| proxy.rest()).collect();
    for (n, http) in slow.iter_mut().enumerate() {
        let begun: &[u8] = match n % 3 {
            0 => b"P",
            1 => b"POST / HTTP/1.1\r\nHost: loc",
            _ => b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n[\"pi",
        };
        http.send(begun);
    }
    let started = Instant::now();
    let mut http = proxy.rest();
    for _ in 0..100 {
        assert_eq!(http.get("/ping").status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    // A body that pauses is told so.
    let paused = &mut slow[2];
    let answer = paused.head();
    assert_eq!(answer.status, 408);
}

#[test]
fn who_does_not_read_large_answers_costs_no_memory() {
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"]);
    let upstream = "request_timeout_ms = 60000\nstall_timeout_ms = 60000";
    let proxy = Setup::new(&redis).listen("buffered_bytes_max = 67108864").upstream(upstream).rest("").start();
    let mut http = proxy.rest();
    assert_eq!(http.ask("POST", "/set/big", &[], &vec![b'x'; 8_000_000]).status, 200);
    let mut lazy: Vec<Http> = (0..40).map(|_| proxy.rest()).collect();
    for http in &mut lazy {
        http.begin("GET", "/get/big", &[], b"");
    }
    for _ in 0..50 {
        assert_eq!(http.get("/ping").status, 200);
    }
    eventually("all have begun", || lazy.iter_mut().all(|http| http.peek()));
    assert!(proxy.memory_peak() < 250 << 20, "{} MiB for 40 answers of 8 MB", proxy.memory_peak() >> 20);
}
