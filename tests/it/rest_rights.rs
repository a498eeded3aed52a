//! Who may send REST requests, as whom, and that nobody else learns anything.

use serde_json::json;

use crate::harness::{Authority, Http, Proxy, RedisServer, Setup, eventually};

const TOKEN: &str = "token-x4711x";
const READER: &str = "reader-x4712x";
const USER: &str = "user-x4713x";

fn stage(more: &str) -> (RedisServer, Proxy) {
    let redis = RedisServer::start(&[]);
    assert_eq!(redis.wire().ask("ACL SETUSER app on >hunter2 ~app:* +@all"), "+OK\r\n");
    let tokens = "tokens = { app = { token_env = \"TOKEN\" }, reader = { token_env = \"READER\", read_only = true }, \
                  user = { token_env = \"USER_TOKEN\", username = \"app\", password_env = \"PASSWORD\" } }";
    let proxy = Setup::new(&redis).rest(&format!("{tokens}\naccess_log = true\n{more}"));
    let proxy = [("TOKEN", TOKEN), ("READER", READER), ("USER_TOKEN", USER), ("PASSWORD", "hunter2")]
        .into_iter()
        .fold(proxy, |proxy, (name, value)| proxy.environment(name, value))
        .start();
    (redis, proxy)
}

#[test]
fn without_its_token_nothing_is_run() {
    let (redis, proxy) = stage("");
    let mut http = proxy.rest();
    for (path, header) in [
        ("/flushall", "Bearer wrong"),
        ("/flushall?_token=wrong", ""),
        ("/flushall", ""),
        ("/flushall", "Basic dG9rZW46eA=="),
        ("/flushall", "Bearer "),
    ] {
        let answer = http.ask("POST", path, &[("Authorization", header)], b"");
        assert_eq!((answer.status, answer.json()), (401, json!({"error": "WRONGPASS invalid or missing auth token"})));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(http.get(&format!("/set/k/v?_token={TOKEN}")).json(), json!({"result": "OK"}));
    assert_eq!(redis.wire().ask("GET k"), "$1\r\nv\r\n");
    assert_eq!(proxy.metric("respguard_rest_requests_total", &[("code", "401")]), 5.0);
}

#[test]
fn a_reading_token_reads() {
    let (_redis, proxy) = stage("");
    let mut http = proxy.rest().token(READER);
    assert_eq!(http.get("/get/k").json(), json!({"result": null}));
    for path in ["/set/k/v", "/scan/0", "/keys/*", "/eval/return%201/0", "/publish/c/m", "/monitor"] {
        let answer = http.get(path);
        assert!(answer.status == 400 && answer.text().contains("NOPERM"), "{path}: {}", answer.text());
    }
    let many = http.post("/pipeline", r#"[["get","k"],["del","k"]]"#).json();
    assert!(many[0] == json!({"result": null}) && many[1]["error"].as_str().is_some_and(|error| error.starts_with("NOPERM")));
    http.begin("GET", "/subscribe/c", &[], b"");
    assert_eq!(http.head().status, 200);
}

#[test]
fn a_token_acts_for_its_own_user_and_loses_its_rights_with_him() {
    let (redis, proxy) = stage("");
    let mut http = proxy.rest().token(USER);
    assert_eq!(http.get("/set/app:1/x").json(), json!({"result": "OK"}));
    assert!(http.get("/set/other/x").text().contains("NOPERM"));
    assert_eq!(http.get("/acl/whoami").json(), json!({"result": "app"}));
    assert_eq!(proxy.rest().token(TOKEN).get("/acl/whoami").json(), json!({"result": "default"}));
    assert_eq!(redis.wire().ask("ACL SETUSER app off"), "+OK\r\n");
    assert!(redis.wire().ask("CLIENT KILL USER app").starts_with(':'));
    eventually("the user is not let in", || {
        let answer = http.get("/get/app:1");
        assert!(answer.json()["error"].is_string() || answer.status == 200, "{}", answer.text());
        answer.status == 401
    });
    assert_eq!(redis.wire().ask("ACL SETUSER app on"), "+OK\r\n");
    eventually("he is let in again", || http.get("/get/app:1").json() == json!({"result": "x"}));
}

#[test]
fn a_token_serves_where_clients_log_in_to_the_proxy() {
    let redis = RedisServer::start(&["--requirepass pear"]);
    let proxy = Setup::new(&redis)
        .listen("users = { app = { password_env = \"PASSWORD\" } }")
        .upstream("password_env = \"UPSTREAM\"")
        .rest("tokens = { app = { token_env = \"TOKEN\" } }")
        .environment("PASSWORD", "apple")
        .environment("UPSTREAM", "pear")
        .environment("TOKEN", TOKEN)
        .start();
    assert_eq!(proxy.rest().token(TOKEN).get("/set/k/v").json(), json!({"result": "OK"}));
    assert!(proxy.wire().ask("GET k").starts_with("-NOAUTH"));
}

#[test]
fn without_tokens_pages_of_other_sites_can_do_nothing() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rest("").start();
    redis.wire().ask("SET k v");
    let host = format!("127.0.0.1:{}", proxy.rest_port());
    let mut http = proxy.rest();
    for headers in [
        &[("Origin", "http://evil.example")][..],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Host", "evil.example")],
        &[("Host", "evil.example:8079"), ("Origin", "http://evil.example:8079")],
        &[("Origin", "null")],
    ] {
        for (method, path) in [("GET", "/flushall"), ("POST", "/flushall"), ("POST", "/")] {
            let body: &[u8] = if path == "/" { br#"["flushall"]"# } else { b"" };
            let answer = http.ask(method, path, headers, body);
            assert!(answer.status == 403 && answer.json()["error"].is_string(), "{headers:?}: {}", answer.text());
        }
        assert_eq!(http.ask("OPTIONS", "/", headers, b"").status, 403);
    }
    assert_eq!(http.ask("GET", "/get/k", &[("Host", &host), ("Sec-Fetch-Site", "none")], b"").json(), json!({"result": "v"}));
}

#[test]
fn pages_of_named_origins_may_read_the_answers() {
    let (_redis, proxy) = stage("cors = [\"https://app.example\"]");
    let mut http = proxy.rest();
    let origin = [("Origin", "https://app.example"), ("Access-Control-Request-Headers", "authorization,upstash-encoding")];
    let answer = http.ask("OPTIONS", "/pipeline", &origin, b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("https://app.example")));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization,upstash-encoding"));
    let mut http = proxy.rest().token(TOKEN);
    assert_eq!(http.ask("GET", "/ping", &origin, b"").header("access-control-allow-origin"), Some("https://app.example"));
    let other = http.ask("GET", "/ping", &[("Origin", "https://evil.example")], b"");
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
    let (_redis, without) = stage("");
    let answer = without.rest().token(TOKEN).ask("OPTIONS", "/", &origin, b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None));
}

#[test]
fn no_token_is_ever_told_to_anybody() {
    let (_redis, proxy) = stage("");
    let mut http = proxy.rest().token(USER);
    http.get("/set/app:k/secret-value");
    http.get(&format!("/get/app:k?_token={USER}"));
    http.post("/pipeline", r#"[["set","app:k","x"],["lpush","app:k","y"]]"#);
    proxy.rest().get(&format!("/get/k?_token=wrong-{TOKEN}"));
    eventually("the requests are logged", || proxy.log().matches("rest request").count() == 4);
    let (_, metrics) = proxy.get("/metrics");
    let (_, status) = proxy.get("/status");
    let (_, config) = proxy.get("/config");
    let (_, violations) = proxy.get("/violations");
    assert!(violations.contains("rest:user"), "{violations}");
    for text in [proxy.log(), metrics, status, config, violations] {
        for secret in [TOKEN, READER, USER, "hunter2", "secret-value", "app:k"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains("rest request")).expect("a line");
    for part in ["\"token\":\"user\"", "\"endpoint\":\"command\"", "\"status\":200", "\"commands\":1"] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn over_tls_both_versions_of_http_are_spoken() {
    let authority = Authority::new();
    let shown = authority.issue("proxy", &["localhost"]);
    let redis = RedisServer::start(&[]);
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", shown.cert.display(), shown.key.display());
    let proxy = Setup::new(&redis).rest(&tls).start();
    let url = format!("https://localhost:{}/set/k/v", proxy.rest_port());
    for (version, wanted) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let output = std::process::Command::new("curl")
            .args(["-sS", "--noproxy", "*", version, "--cacert"])
            .arg(authority.ca())
            .args(["-w", " %{http_version}", &url])
            .output()
            .expect("curl is there");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, format!("{{\"result\":\"OK\"}} {wanted}"));
    }
    let mut plain = Http::connect(proxy.rest_port());
    plain.send(b"GET / HTTP/1.1\r\n\r\n");
    assert!(plain.is_closed() || !plain.line().starts_with("HTTP/1.1 2"));
}
