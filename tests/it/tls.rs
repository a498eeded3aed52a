//! TLS on either side of the proxy, and other ways to be reached: unix sockets, IPv6.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::HandshakeKind;

use crate::harness::certificates::TlsClient;
use crate::harness::redis::free_port;
use crate::harness::wire::requests;
use crate::harness::{Authority, Issued, PATIENCE, Proxy, RedisServer, Setup, Wire, eventually, request, signal};

/// A server that takes TLS on a second port, shows `shown` and, if `wants_certificates`, wants one of its clients.
fn tls_redis(authority: &Authority, shown: &Issued, wants_certificates: bool) -> (RedisServer, u16) {
    let port = free_port();
    let (cert, key, ca) = (shown.cert.display(), shown.key.display(), authority.ca());
    let wants = if wants_certificates { "yes" } else { "no" };
    let tls = format!("--tls-port {port} --tls-cert-file {cert} --tls-key-file {key} --tls-ca-cert-file {}", ca.display());
    (RedisServer::start(&[&tls, &format!("--tls-auth-clients {wants}")]), port)
}

fn upstream_tls(redis: &RedisServer, port: u16, keys: &str) -> Setup {
    Setup::new(redis).reach(&format!("127.0.0.1:{port}")).upstream(&format!("connect_timeout_ms = 5000\ntls = {{ {keys} }}"))
}

/// A proxy that shows `shown` to its clients.
fn tls_proxy(redis: &RedisServer, shown: &Issued, more: &str) -> Proxy {
    Setup::new(redis).listen(&listen_tls(shown, more)).start()
}

fn listen_tls(shown: &Issued, more: &str) -> String {
    format!("tls = {{ cert = \"{}\", key = \"{}\"{more} }}", shown.cert.display(), shown.key.display())
}

/// Asks until it is answered: a connection of the proxy's may just have been refused.
fn ping(wire: &mut Wire) {
    assert_eq!(wire.ask("PING"), "+PONG\r\n");
}

#[test]
fn redis_is_reached_over_tls_with_a_client_certificate() {
    let authority = Authority::new();
    let (redis, port) = tls_redis(&authority, &authority.issue("redis", &["redis.test"]), true);
    let own = authority.issue("proxy", &["proxy.test"]);
    let keys = format!(
        "ca = \"{}\", server_name = \"redis.test\", cert = \"{}\", key = \"{}\"",
        authority.ca().display(),
        own.cert.display(),
        own.key.display()
    );
    let proxy = upstream_tls(&redis, port, &keys).start();
    let mut wire = proxy.wire();
    let large = "x".repeat(3_000_000);
    assert_eq!(wire.pipeline(&["SET k v", "GET k", "MULTI", "INCR n", "EXEC"])[4], "*1\r\n:1\r\n");
    assert_eq!(wire.ask(&format!("SET large {large}")), "+OK\r\n");
    assert_eq!(wire.ask("GET large"), format!("${}\r\n{large}\r\n", large.len()));
    let batch: Vec<String> = (0..5000).map(|n| format!("SET k{n} {n}")).collect();
    let lines: Vec<&str> = batch.iter().map(String::as_str).collect();
    assert!(wire.pipeline(&lines).iter().all(|reply| reply == "+OK\r\n"));
    wire.send_line("BLPOP l 0");
    assert_eq!(redis.ask("LPUSH l x"), ":1\r\n");
    assert_eq!(wire.reply(), b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n");
    eventually("the proxy is ready", || proxy.get("/readyz").0 == 200);
}

#[test]
fn a_server_that_is_not_the_wanted_one_is_refused_and_the_reason_told() {
    let (authority, unauthenticated, namesake) = (Authority::new(), Authority::named("strangers"), Authority::new());
    let good = authority.issue("redis", &["redis.test"]);
    let expired = authority.issue_expired("old", &["redis.test"]);
    let ca = |authority: &Authority| format!("ca = \"{}\"", authority.ca().display());
    let name = ", server_name = \"redis.test\"";
    let cases = [
        ("wrong name", &good, false, format!("{}, server_name = \"other.test\"", ca(&authority)), "is for another name"),
        ("wrong host", &good, false, ca(&authority), "is for another name"),
        ("unknown CA", &good, false, format!("{}{name}", ca(&unauthenticated)), "no CA that is trusted has issued"),
        ("renewed CA", &good, false, format!("{}{name}", ca(&namesake)), "no CA that is trusted has issued"),
        ("expired", &expired, false, format!("{}{name}", ca(&authority)), "the server's certificate has expired"),
        ("no client certificate", &good, true, format!("{}{name}", ca(&authority)), "wants a client certificate"),
    ];
    for (case, shown, wants, keys, told) in cases {
        let (redis, port) = tls_redis(&authority, shown, wants);
        let proxy = upstream_tls(&redis, port, &keys).start();
        let log = proxy.logs("no upstream connection");
        assert!(log.contains(&format!("no TLS with 127.0.0.1:{port}: ")) && log.contains(told), "{case}: {log}");
        eventually("the reason is told", || {
            let (status, body) = proxy.get("/readyz");
            status == 503 && body.contains("\"upstream TLS handshake failed\"")
        });
        assert!(proxy.wire().ask("GET k").starts_with("-ERR respguard: "), "{case}: nothing reaches the server");
    }
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_silent() {
    let authority = Authority::new();
    let redis = RedisServer::start(&[]);
    let ca = format!("tls = {{ ca = \"{}\" }}", authority.ca().display());
    let proxy = Setup::new(&redis).upstream(&format!("connect_timeout_ms = 300\n{ca}")).start();
    // Redis waits for the end of a line.
    eventually("the reason is logged", || proxy.log().contains("did not answer the TLS handshake within 300 ms"));
    eventually("the reason is told", || proxy.get("/readyz").1.contains("upstream TLS handshake failed"));
    let http = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = http.local_addr().expect("a port").port();
    std::thread::spawn(move || {
        for mut socket in http.incoming().flatten() {
            // Whoever has asked may have gone.
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let proxy = Setup::new(&redis).reach(&format!("127.0.0.1:{port}")).upstream(&ca).start();
    eventually("the reason is logged", || proxy.log().contains("the server does not speak TLS at this address"));
}

#[test]
fn a_server_that_comes_to_be_trusted_is_reached_without_a_restart() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (redis, port) = tls_redis(&authority, &authority.issue("redis", &["localhost"]), false);
    let ca = other.ca();
    let proxy = upstream_tls(&redis, port, &format!("ca = \"{}\", server_name = \"localhost\"", ca.display())).start();
    eventually("the server is refused", || proxy.log().contains("no upstream connection"));
    std::fs::copy(authority.ca(), &ca).expect("a temporary file");
    eventually("the server is trusted", || proxy.get("/readyz").0 == 200);
    ping(&mut proxy.wire());
}

/// Whether a connection of this client's began with a whole handshake.
fn handshake(proxy: &Proxy, client: &TlsClient) -> HandshakeKind {
    let mut stream = client.over(TcpStream::connect(("127.0.0.1", proxy.port())).expect("it listens"));
    stream.write_all(&request("PING")).expect("it takes bytes");
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).expect("an answer");
    assert_eq!(&reply, b"+PONG\r\n");
    stream.conn.handshake_kind().expect("it is over")
}

#[test]
fn a_client_that_comes_back_resumes_its_session_however_many_came_in_between() {
    let authority = Authority::new();
    let redis = RedisServer::start(&[]);
    let shown = authority.issue("proxy", &["localhost"]);
    let proxy = tls_proxy(&redis, &shown, "");
    let clients = [authority.client(), authority.old_client()];
    for client in &clients {
        assert_eq!(handshake(&proxy, client), HandshakeKind::Full);
        assert_eq!(handshake(&proxy, client), HandshakeKind::Resumed);
    }
    for _ in 0..140 {
        assert_eq!(handshake(&proxy, &authority.client()), HandshakeKind::Full);
    }
    for client in &clients {
        assert_eq!(handshake(&proxy, client), HandshakeKind::Resumed);
    }
    let renewed = authority.issue("renewed", &["localhost"]);
    std::fs::copy(&renewed.key, &shown.key).expect("a temporary file");
    std::fs::copy(&renewed.cert, &shown.cert).expect("a temporary file");
    eventually("the new certificate is shown", || handshake(&proxy, &clients[0]) == HandshakeKind::Full);
}

#[test]
fn clients_are_met_with_tls_of_both_versions() {
    let authority = Authority::new();
    let redis = RedisServer::start(&[]);
    let proxy = tls_proxy(&redis, &authority.issue("proxy", &["localhost"]), "");
    for client in [authority.client(), authority.old_client()] {
        let mut wire = Wire::tls(proxy.port(), &client);
        assert_eq!(wire.pipeline(&["SET k v", "GET k"]), ["+OK\r\n", "$1\r\nv\r\n"]);
        let large = "x".repeat(3_000_000);
        assert_eq!(wire.ask(&format!("SET large {large}")), "+OK\r\n");
        assert_eq!(wire.ask("GET large"), format!("${}\r\n{large}\r\n", large.len()));
        let lines: Vec<String> = (0..20_000).map(|n| format!("ECHO {n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let replies = wire.pipeline(&lines);
        assert!(replies.iter().enumerate().all(|(n, reply)| reply.ends_with(&format!("\r\n{n}\r\n"))));
        assert_eq!(wire.ask("QUIT"), "+OK\r\n");
        assert_eq!(wire.until_closed(), b"");
    }
}

#[test]
fn a_pipeline_that_spans_tls_records_is_one_batch() {
    let authority = Authority::new();
    let redis = RedisServer::start(&[]);
    let rules = "[[group]]\nname = \"pair\"\ncommands = [\"SET a:{id} *\", \"SADD all {id}\"]\n";
    let shown = authority.issue("proxy", &["localhost"]);
    let proxy = Setup::new(&redis).listen(&listen_tls(&shown, "")).pipeline("hold_ms = 0").rules(rules).start();
    let mut wire = Wire::tls(proxy.port(), &authority.client());
    ping(&mut wire);
    let value = "v".repeat(3_000);
    let lines: Vec<String> = (0..20).flat_map(|n| [format!("SET a:{n} {value}"), format!("SADD all {n}")]).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    wire.send(&requests(&lines));
    assert!(wire.replies(40).iter().all(|reply| !reply.starts_with(b"-")));
    eventually("all groups are counted", || proxy.groups("pair", "applied") == 20.0);
    assert_eq!(proxy.violated("split", "pair"), 0.0);
}

#[test]
fn with_a_client_ca_only_its_clients_get_in() {
    let (authority, unauthenticated) = (Authority::new(), Authority::new());
    let redis = RedisServer::start(&[]);
    let more = format!(", client_ca = \"{}\"", authority.ca().display());
    let proxy = tls_proxy(&redis, &authority.issue("proxy", &["localhost"]), &more);
    let client = authority.client_as(&authority.issue("ann", &["ann"]));
    ping(&mut Wire::tls(proxy.port(), &client));
    let foreign = authority.client_as(&unauthenticated.issue("eve", &["eve"]));
    for (who, client) in [("without a certificate", authority.client()), ("with a foreign one", foreign)] {
        let mut wire = Wire::tls(proxy.port(), &client);
        // In TLS 1.3 the client learns only from the first answer that it is refused.
        let _ = wire.try_send(&request("PING"));
        assert_eq!(wire.try_reply(), None, "{who}");
    }
    eventually("refused handshakes are counted", || proxy.metric("respguard_tls_handshakes_failed_total", &[]) == 2.0);
    ping(&mut Wire::tls(proxy.port(), &client));
    eventually("nobody stays behind", || proxy.metric("respguard_clients", &[]) == 0.0);
}

#[test]
fn who_speaks_no_tls_is_closed_and_holds_up_nobody() {
    let authority = Authority::new();
    let redis = RedisServer::start(&[]);
    let shown = authority.issue("proxy", &["localhost"]);
    let proxy = Setup::new(&redis).listen(&format!("clients_max = 20\n{}", listen_tls(&shown, ""))).start();
    let mut plain = proxy.wire();
    plain.send(&request("PING"));
    assert!(!plain.until_closed().starts_with(b"+PONG"));
    let mut silent: Vec<TcpStream> =
        (0..15).map(|_| TcpStream::connect(("127.0.0.1", proxy.port())).expect("it listens")).collect();
    for half in silent.iter_mut().take(5) {
        half.write_all(b"\x16\x03\x01").expect("sent");
    }
    let started = Instant::now();
    ping(&mut Wire::tls(proxy.port(), &authority.client()));
    assert!(started.elapsed() < Duration::from_secs(4), "others wait for handshakes that never come");
    eventually("silent clients are given up", || proxy.metric("respguard_tls_handshakes_failed_total", &[]) == 16.0);
}

#[test]
fn certificates_are_replaced_under_traffic() {
    let (old, new) = (Authority::new(), Authority::new());
    let redis = RedisServer::start(&[]);
    let files = old.issue("proxy", &["localhost"]);
    let proxy = tls_proxy(&redis, &files, "");
    let mut before = Wire::tls(proxy.port(), &old.client());
    ping(&mut before);
    let replacement = new.issue("proxy", &["localhost"]);
    std::fs::copy(&replacement.cert, &files.cert).expect("a temporary file");
    std::fs::copy(&replacement.key, &files.key).expect("a temporary file");
    eventually("new clients see the new certificate", || {
        ping(&mut before);
        let mut wire = Wire::tls(proxy.port(), &new.client()).patience(Duration::from_secs(5));
        wire.try_send(&request("PING")).is_ok() && wire.try_reply().is_some()
    });
    let mut late = Wire::tls(proxy.port(), &old.client());
    assert!(late.try_send(&request("PING")).is_err(), "the old certificate is shown no more");
    // Half a replacement is none: the certificate in force stays.
    std::fs::write(&files.cert, "no certificate").expect("a temporary file");
    signal(proxy.pid(), "HUP");
    eventually("the reason is told", || proxy.log().contains("proxy.crt holds no certificate"));
    ping(&mut Wire::tls(proxy.port(), &new.client()));
    ping(&mut before);
    std::fs::copy(&replacement.cert, &files.cert).expect("a temporary file");
    let told = || proxy.log().matches("certificates were read again").count();
    let so_far = told();
    signal(proxy.pid(), "HUP");
    eventually("SIGHUP reads them again", || told() > so_far);
    let reloaded = || serde_json::from_str::<serde_json::Value>(&proxy.http("POST", "/reload", &[]).1).expect("JSON");
    assert_eq!(reloaded()["certificates"], serde_json::json!({ "replaced": true }));
    std::fs::write(&files.cert, "no certificate").expect("a temporary file");
    let answer = reloaded();
    assert_eq!((&answer["outcome"], &answer["certificates"]["replaced"]), (&"refused".into(), &false.into()), "{answer}");
    std::fs::copy(&replacement.cert, &files.cert).expect("a temporary file");
    let good = std::fs::read_to_string(proxy.config()).expect("the configuration");
    std::fs::write(proxy.config(), good + "\nnonsense = 1\n").expect("a temporary file");
    let refused = reloaded();
    assert_eq!((&refused["outcome"], &refused["certificates"]["replaced"]), (&"refused".into(), &true.into()), "{refused}");
    assert!(answer["certificates"]["error"].as_str().is_some_and(|error| error.contains("holds no certificate")), "{answer}");
    ping(&mut Wire::tls(proxy.port(), &new.client()));
    ping(&mut before);
}

#[test]
fn redis_cli_speaks_tls_through_the_proxy() {
    let authority = Authority::new();
    let redis = RedisServer::start(&[]);
    let more = format!(", client_ca = \"{}\"", authority.ca().display());
    let proxy = tls_proxy(&redis, &authority.issue("proxy", &["localhost"]), &more);
    let own = authority.issue("cli", &["cli"]);
    let cli = |arguments: &[&str]| {
        let mut command = Command::new("redis-cli");
        command
            .args(["-h", "localhost", "-p", &proxy.port().to_string(), "--tls", "--sni", "localhost", "--cacert"])
            .arg(authority.ca());
        let output = command.arg("--cert").arg(&own.cert).arg("--key").arg(&own.key).args(arguments).output();
        String::from_utf8(output.expect("redis-cli is installed").stdout).expect("text")
    };
    assert_eq!(cli(&["SET", "cli", "a b"]), "OK\n");
    assert_eq!(cli(&["-3", "GET", "cli"]), "a b\n");
    assert_eq!(cli(&["-r", "3", "INCR", "n"]), "1\n2\n3\n");
}

#[test]
fn tls_clients_reach_a_tls_server_until_the_drain_ends() {
    let authority = Authority::new();
    let (redis, port) = tls_redis(&authority, &authority.issue("redis", &["localhost"]), false);
    let keys = format!("ca = \"{}\", server_name = \"localhost\"", authority.ca().display());
    let shown = authority.issue("proxy", &["localhost"]);
    let proxy = upstream_tls(&redis, port, &keys).listen(&listen_tls(&shown, "")).start();
    let mut wire = Wire::tls(proxy.port(), &authority.client());
    let mut blocked = Wire::tls(proxy.port(), &authority.client());
    ping(&mut wire);
    blocked.send_line("BLPOP l 0");
    wire.send(&requests(&["SET k v", "GET k"]));
    assert_eq!(wire.replies(2), [b"+OK\r\n".to_vec(), b"$1\r\nv\r\n".to_vec()]);
    eventually("one client blocks", || redis.info("clients", "blocked_clients") == 1);
    proxy.terminate();
    assert_eq!(blocked.reply(), b"*-1\r\n");
    assert_eq!(wire.until_closed(), b"");
    assert!(proxy.ended().status.success());
}

#[test]
fn unix_sockets_serve_on_either_side() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (near, far) = (folder.path().join("near"), folder.path().join("far"));
    let redis = RedisServer::start(&[&format!("--unixsocket {}", far.display())]);
    let listen = format!("unix:{}", near.display());
    let setup = || Setup::new(&redis).listen_on(&listen).reach(&format!("unix:{}", far.display()));
    let proxy = setup().start();
    let mut wire = Wire::unix(&near);
    assert_eq!(wire.pipeline(&["SET k v", "GET k"]), ["+OK\r\n", "$1\r\nv\r\n"]);
    let info = wire.ask("CLIENT INFO");
    assert!(info.contains(&format!("addr={}:0", near.display())) && info.contains(" flags=U "), "{info}");
    assert!(proxy.stop().status.success());
    assert!(!near.exists(), "the socket is cleaned up");
    // What a process that was killed has left is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&near).expect("a socket"));
    assert!(near.exists());
    let proxy = setup().listen("unix_mode = \"0620\"").start();
    ping(&mut Wire::unix(&near));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&near).expect("a socket").permissions());
    assert_eq!(mode & 0o7777, 0o620);
    drop(proxy);
}

#[test]
fn ipv6_serves_on_either_side() {
    let redis = RedisServer::start(&["--bind 127.0.0.1 ::1"]);
    let proxy = Setup::new(&redis).listen_on("[::1]:0").reach(&format!("[::1]:{}", redis.port())).start();
    let connected = TcpStream::connect(("::1", proxy.port())).expect("it listens");
    let mut wire = Wire::over(connected);
    assert_eq!(wire.pipeline(&["SET k v", "GET k"]), ["+OK\r\n", "$1\r\nv\r\n"]);
    assert!(wire.ask("CLIENT INFO").contains("addr=[::1]:"));
    assert!(TcpStream::connect_timeout(&([127, 0, 0, 1], proxy.port()).into(), PATIENCE).is_err());
    eventually("the proxy is ready", || proxy.get("/readyz").0 == 200);
}

#[test]
fn who_reads_a_large_reply_slowly_over_tls_gets_all_of_it_and_others_are_answered_meanwhile() {
    let authority = Authority::new();
    let (redis, port) = tls_redis(&authority, &authority.issue("redis", &["redis.test"]), false);
    let keys = format!("ca = \"{}\", server_name = \"redis.test\"", authority.ca().display());
    let shown = authority.issue("proxy", &["localhost"]);
    let upstream = format!("request_timeout_ms = 20000\nconnect_timeout_ms = 5000\ntls = {{ {keys} }}");
    let setup = Setup::new(&redis).reach(&format!("127.0.0.1:{port}")).upstream(&upstream);
    let proxy = setup.top("workers = 1").listen(&listen_tls(&shown, "")).start();
    let client = authority.client();
    let value = "v".repeat(8_000_000);
    assert_eq!(redis.ask(&format!("SET big {value}")), "+OK\r\n");
    let (mut slow, mut quick) = (Wire::tls(proxy.port(), &client), Wire::tls(proxy.port(), &client));
    for round in 0..2 {
        slow.send(&requests(&["GET big", "INCR n", "GET big"]));
        for number in 0..20 {
            assert_eq!(quick.ask(&format!("SET k {number}")), "+OK\r\n");
        }
        let replies = slow.replies(3);
        assert!(replies[0].len() == value.len() + 12 && replies[0] == replies[2]);
        assert_eq!(replies[1], format!(":{}\r\n", round + 1).as_bytes());
    }
}
