//! Large values go from socket to socket without being copied, and what becomes of them is what becomes of those that are.

use std::time::Duration;

use crate::harness::redis::free_port;
use crate::harness::wire::words;
use crate::harness::{Authority, Proxy, RedisServer, Setup, Wire, eventually, request, text, within};

const MIB: usize = 1024 * 1024;
/// Below and above what is worth a pipe, and beyond what a pipe and one turn hold.
const SIZES: [usize; 4] = [70_000, 131_070, MIB, 3 * MIB + 1];
const LARGE: usize = 48 * MIB;
/// How long is waited for what a busy machine may be slow with.
const LONG: Duration = Duration::from_secs(90);
/// On a machine that is busy the server may take long.
const PATIENT: &str = "request_timeout_ms = 60000\nstall_timeout_ms = 60000\nqueue_timeout_ms = 60000";

/// So many bytes that tell where they belong.
fn value(bytes: usize) -> Vec<u8> {
    let mut value = vec![b'v'; bytes];
    for (at, chunk) in value.chunks_exact_mut(64).enumerate() {
        chunk[..8].copy_from_slice(&(at * 31 + bytes).to_be_bytes());
    }
    value
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// Pipes that the process has open.
fn pipes(proxy: &Proxy) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("it runs").flatten();
    files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("pipe:"))).count()
}

#[track_caller]
fn answers(wire: &mut Wire, sent: &[Vec<u8>], expected: &[Vec<u8>]) {
    wire.send(&sent.concat());
    for (at, expected) in expected.iter().enumerate() {
        let reply = wire.reply();
        let shown = String::from_utf8_lossy(&reply[..reply.len().min(60)]);
        assert!(reply == *expected, "reply {at} of {} bytes, not {}: {shown}", reply.len(), expected.len());
    }
}

/// Writes and reads values of all sizes, alone and behind each other.
fn play(wire: Wire) {
    let mut wire = wire.patience(LONG);
    for bytes in SIZES {
        let value = value(bytes);
        let (set, get, ok) = (words(&[b"SET", b"k", &value]), request("GET k"), b"+OK\r\n".to_vec());
        answers(&mut wire, std::slice::from_ref(&set), std::slice::from_ref(&ok));
        for _ in 0..2 {
            answers(&mut wire, std::slice::from_ref(&get), &[bulk(&value)]);
        }
        let both = [&b"*2\r\n"[..], &bulk(&value), &bulk(&value)].concat();
        let sent = [set.clone(), get.clone(), request("PING"), request("MGET k k"), set, request("STRLEN k"), get];
        let length = format!(":{bytes}\r\n").into_bytes();
        let expected = [ok.clone(), bulk(&value), b"+PONG\r\n".to_vec(), both.clone(), ok.clone(), length, bulk(&value)];
        answers(&mut wire, &sent, &expected);
        let sent = ["MULTI", "MGET k k", "EXEC", "CLIENT REPLY SKIP", "GET k", "PING"].map(request);
        let within = [&b"*1\r\n"[..], &both].concat();
        answers(&mut wire, &sent, &[ok, b"+QUEUED\r\n".to_vec(), within, b"+PONG\r\n".to_vec()]);
    }
}

#[test]
fn values_of_all_sizes_pass_over_tcp_unix_sockets_and_tls() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (far, near, tls_port) = (folder.path().join("far"), folder.path().join("near"), free_port());
    let shown = authority.issue("localhost", &["localhost"]);
    let (cert, key, ca) = (shown.cert.display(), shown.key.display(), authority.ca());
    let redis = RedisServer::start(&[
        &format!("--unixsocket {} --tls-port {tls_port} --tls-auth-clients no", far.display()),
        &format!("--tls-cert-file {cert} --tls-key-file {key} --tls-ca-cert-file {}", ca.display()),
    ]);
    let setup = || Setup::new(&redis).top("workers = 1").upstream(PATIENT);
    let over = |name: &str, setup: Setup, is_plain: bool, connect: &dyn Fn(&Proxy) -> Wire| {
        let proxy = setup.start();
        let before = pipes(&proxy);
        play(connect(&proxy));
        assert_eq!(proxy.metric("respguard_missed_wakeups_total", &[]), 0.0, "{name}");
        let mut wire = connect(&proxy).patience(LONG);
        let mut has_pipe = || {
            wire.send_line("GET k");
            let came = wire.bytes(MIB).len();
            let more = pipes(&proxy) > before;
            wire.bytes(bulk(&value(SIZES[3])).len() - came);
            more
        };
        match is_plain {
            true => eventually(&format!("there is a pipe over {name}"), has_pipe),
            false => assert!(!has_pipe(), "{name}"),
        }
    };
    let listen = format!("unix:{}", near.display());
    over("TCP", setup(), true, &Proxy::wire);
    over("unix sockets", setup().listen_on(&listen).reach(&format!("unix:{}", far.display())), true, &|_| Wire::unix(&near));
    over("a unix socket to the client", setup().listen_on(&listen), true, &|_| Wire::unix(&near));
    let tls = format!("tls = {{ cert = \"{cert}\", key = \"{key}\" }}");
    over("TLS to the client", setup().listen(&tls), false, &|proxy| Wire::tls(proxy.port(), &authority.client()));
    let upstream = format!("{PATIENT}\ntls = {{ ca = \"{}\", server_name = \"localhost\" }}", ca.display());
    let to_server = Setup::new(&redis).top("workers = 1").reach(&format!("127.0.0.1:{tls_port}")).upstream(&upstream);
    over("TLS to the server", to_server, false, &Proxy::wire);
}

/// One worker, before a server that keeps `k`, a large value.
fn with_large() -> (RedisServer, Proxy, Vec<u8>) {
    let redis = RedisServer::start(&["--client-output-buffer-limit normal 0 0 0"]);
    let value = value(LARGE);
    redis.wire().send(&words(&[b"SET", b"k", &value]));
    assert!(within(LONG, || redis.ask("EXISTS k") == ":1\r\n"), "it is there");
    let proxy = Setup::new(&redis).top("workers = 1").upstream(PATIENT).start();
    (redis, proxy, value)
}

fn patient(proxy: &Proxy) -> Wire {
    proxy.wire().patience(LONG)
}

/// A client that has had the beginning of the large value, and has little room for more; and how much it has had.
fn reader(mut wire: Wire, value: &[u8]) -> (Wire, usize) {
    wire.small_buffers(64 * 1024, LONG);
    wire.send_line("GET k");
    let beginning = wire.bytes(3 * MIB);
    assert!(bulk(value).starts_with(&beginning));
    (wire, beginning.len())
}

/// A client that has sent the beginning of a large value; and how much it has sent.
fn writer(mut wire: Wire, value: &[u8]) -> (Wire, usize) {
    let request = words(&[b"SET", b"other", value]);
    let half = request.len() / 2;
    wire.send(&request[..half]);
    (wire, half)
}

#[test]
fn who_leaves_amid_a_large_value_leaves_nothing_behind() {
    let (_redis, proxy, value) = with_large();
    let (mut other, before) = (patient(&proxy), pipes(&proxy));
    other.ask("PING");
    drop((reader(patient(&proxy), &value), writer(patient(&proxy), &value)));
    answers(&mut other, &[request("EXISTS other"), request("GET k")], &[b":0\r\n".to_vec(), bulk(&value)]);
    assert!(within(LONG, || pipes(&proxy) == before), "pipes that nobody needs are closed");
}

#[test]
fn who_reads_late_gets_all_of_it_while_others_go_on() {
    let (_redis, proxy, value) = with_large();
    let ((mut late, had), mut other) = (reader(patient(&proxy), &value), patient(&proxy));
    for n in 1..=100 {
        assert_eq!(other.ask("INCR n"), format!(":{n}\r\n"));
    }
    answers(&mut other, &[request("GET k")], &[bulk(&value)]);
    let rest = bulk(&value).split_off(had);
    assert!(late.bytes(rest.len()) == rest, "it is whole");
    assert_eq!(late.ask("PING"), "+PONG\r\n");
    assert_eq!(proxy.metric("respguard_missed_wakeups_total", &[]), 0.0);
}

#[test]
fn who_is_killed_amid_a_large_value_is_closed() {
    let (_redis, proxy, value) = with_large();
    let mut admin = patient(&proxy);
    for begun in [reader, writer] {
        let mut wire = patient(&proxy);
        let id = wire.ask("CLIENT ID");
        let (mut victim, _) = begun(wire, &value);
        assert_eq!(admin.ask(&format!("CLIENT KILL ID {}", &id[1..].trim())), ":1\r\n");
        victim.until_closed();
        assert_eq!(admin.ask("EXISTS other"), ":0\r\n");
    }
}

#[test]
fn when_the_server_dies_amid_a_large_value_its_reader_is_closed_and_its_writer_told() {
    let (mut redis, proxy, value) = with_large();
    let ((mut reads, had), (mut writes, sent)) = (reader(patient(&proxy), &value), writer(patient(&proxy), &value));
    redis.kill();
    let (came, left) = (reads.until_closed(), bulk(&value).split_off(had));
    assert!(came.len() < left.len() && left.starts_with(&came), "{} of {} bytes more", came.len(), left.len());
    writes.send(&words(&[b"SET", b"other", &value])[sent..]);
    let reply = String::from_utf8_lossy(&writes.reply()).into_owned();
    assert!(reply.starts_with('-'), "{reply}");
}

/// The server is waited for no longer than this; on a machine that is busy it may need some of it.
const WAIT: Duration = Duration::from_secs(8);

/// One worker that waits for replies no longer than [`WAIT`].
fn short_of_time(redis: &RedisServer) -> Proxy {
    let upstream = format!("request_timeout_ms = {}\nstall_timeout_ms = 60000\nqueue_timeout_ms = 60000", WAIT.as_millis());
    Setup::new(redis).top("workers = 1").upstream(&upstream).start()
}

#[test]
fn a_reply_that_has_begun_may_take_longer_than_requests_wait() {
    let (redis, _proxy, value) = with_large();
    let proxy = short_of_time(&redis);
    let (mut reads, had) = reader(patient(&proxy), &value);
    redis.pause();
    // What has come already is read, and then nothing comes for a while.
    let mut rest = reads.until_silent_for(WAIT + WAIT / 4);
    redis.resume();
    rest.extend(reads.bytes(bulk(&value).len() - had - rest.len()));
    assert!(rest == bulk(&value)[had..], "it is whole");
    assert!(within(LONG, || reads.ask("PING") == "+PONG\r\n"), "it is served");
}

#[test]
fn who_pauses_for_longer_than_requests_wait_while_it_sends_is_waited_for() {
    let redis = RedisServer::start(&[]);
    let proxy = short_of_time(&redis);
    let value = value(8 * MIB);
    let (mut writes, sent) = writer(patient(&proxy), &value);
    // The time that this takes is what the test is about.
    std::thread::sleep(WAIT + WAIT / 4);
    writes.send(&words(&[b"SET", b"other", &value])[sent..]);
    assert_eq!(text(&writes.reply()), "+OK\r\n");
    answers(&mut writes, &[request("GET other")], &[bulk(&value)]);
}

#[test]
fn a_server_that_takes_no_more_of_a_large_value_has_its_time_and_its_writer_goes_on() {
    let (redis, _proxy, value) = with_large();
    let proxy = short_of_time(&redis);
    let ((mut writes, sent), mut other) = (writer(patient(&proxy), &value), patient(&proxy));
    assert_eq!(other.ask("PING"), "+PONG\r\n");
    redis.pause();
    writes.send(&words(&[b"SET", b"other", &value])[sent..]);
    let reply = text(&writes.reply());
    assert!(reply.starts_with("-TIMEOUT"), "{reply}");
    redis.resume();
    // The connections that were silent meanwhile are made anew.
    assert!(within(LONG, || other.ask("PING") == "+PONG\r\n"), "the server is back");
    assert!(within(LONG, || writes.ask("PING") == "+PONG\r\n"), "its writer is served");
    answers(&mut other, &[request("GET k")], &[bulk(&value)]);
}

#[test]
fn a_reload_changes_nothing_for_what_is_under_way() {
    let (redis, proxy, value) = with_large();
    let (mut reads, had) = reader(patient(&proxy), &value);
    let (mut writes, sent) = writer(patient(&proxy), &value);
    proxy.rewrite(&Setup::new(&redis).top("workers = 1").upstream(PATIENT));
    assert_eq!(proxy.http("POST", "/reload", &[]).0, 200);
    let rest = reads.bytes(bulk(&value).len() - had);
    assert!(rest == bulk(&value)[had..], "it is whole");
    writes.send(&words(&[b"SET", b"other", &value])[sent..]);
    assert_eq!(text(&writes.reply()), "+OK\r\n");
    answers(&mut writes, &[request("GET other")], &[bulk(&value)]);
    assert_eq!(proxy.metric("respguard_missed_wakeups_total", &[]), 0.0);
}

#[test]
fn who_reads_a_large_value_when_the_process_ends_gets_all_of_it() {
    let (redis, _proxy, value) = with_large();
    let proxy = Setup::new(&redis).top("workers = 1").upstream(PATIENT).pipeline("drain_timeout_ms = 90000").start();
    let (mut reads, had) = reader(patient(&proxy), &value);
    proxy.terminate();
    eventually("it drains", || proxy.get("/readyz").1.contains("draining"));
    let rest = reads.until_closed();
    assert!(rest == bulk(&value)[had..], "{} of {} bytes", rest.len(), bulk(&value).len() - had);
}
