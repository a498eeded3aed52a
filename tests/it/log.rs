//! A log that nobody reads, or that cannot be written, costs lines of the log and nothing else.

use std::fs::OpenOptions;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::proxy::command;
use crate::harness::{PATIENCE, RedisServer, Setup, Wire, eventually, free_port, signal, within};

const NO_KEYS: &str = "[[guard]]\nname = \"no-keys\"\ncommands = [\"KEYS *\"]\naction = \"reject\"\n";

/// A proxy whose standard error the test has in hand.
struct Logging {
    process: Child,
    port: u16,
    admin_port: u16,
    _folder: tempfile::TempDir,
}

impl Logging {
    fn start(redis: &RedisServer, stderr: impl Into<Stdio>) -> Logging {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, admin_port) = (free_port(), free_port());
        let config = folder.path().join("config.toml");
        let text = Setup::new(redis).rules(NO_KEYS).toml(&format!("127.0.0.1:{port}"), admin_port);
        std::fs::write(&config, text).expect("written");
        let mut program = command();
        program.args(["run", "--log-format", "json", "--config"]).arg(&config).stdout(Stdio::null()).stderr(stderr);
        let mut logging = Logging { process: program.spawn().expect("it starts"), port, admin_port, _folder: folder };
        // The admin endpoint is the last to be served.
        eventually("it is ready", || {
            assert_eq!(logging.process.try_wait().expect("a child of ours"), None, "it runs");
            logging.try_get("GET", "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
        });
        logging
    }

    fn try_get(&self, method: &str, path: &str) -> Option<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.admin_port)).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(socket, "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn get(&self, path: &str) -> String {
        self.try_get("GET", path).expect("an answer")
    }

    /// Log lines that the metrics say are lost; `None` where they do not say.
    fn lost(&self) -> Option<u64> {
        let text = self.get("/metrics");
        text.lines().find_map(|line| line.strip_prefix("respguard_log_lost_total "))?.parse().ok()
    }

    /// A client that breaks a rule, which is logged, many times; it is answered each time.
    fn break_a_rule(&self, times: usize) {
        let mut wire = Wire::connect(self.port);
        for _ in 0..times {
            let reply = wire.ask("KEYS *");
            assert!(reply.starts_with("-ERR") && reply.contains("no-keys"), "{reply}");
        }
        assert_eq!(wire.ask("PING"), "+PONG\r\n");
    }

    /// SIGTERM; whether it then ends in good order.
    fn stop(mut self) -> bool {
        signal(self.process.id(), "TERM");
        let mut status = None;
        within(PATIENCE, || {
            status = self.process.try_wait().expect("a child of ours");
            status.is_some()
        });
        status.is_some_and(|status| status.success())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().expect("a pipe")
}

/// Writes into the pipe until it holds no more. The thread that does so ends with the reader.
fn fill(writer: &PipeWriter) {
    let mut writer = writer.try_clone().expect("a descriptor");
    let (sender, written) = std::sync::mpsc::channel();
    std::thread::spawn(move || while writer.write_all(b"full\n").is_ok() && sender.send(()).is_ok() {});
    while written.recv_timeout(Duration::from_millis(500)).is_ok() {}
}

#[test]
fn a_log_whose_reader_has_gone_costs_lines_and_the_loss_is_counted() {
    let redis = RedisServer::start(&[]);
    let (reader, writer) = pipe();
    let proxy = Logging::start(&redis, writer);
    assert_eq!(proxy.lost(), Some(0), "counted before anything is lost");
    drop(reader);
    proxy.break_a_rule(20);
    eventually("losses are counted", || proxy.lost().is_some_and(|lost| lost > 0));
    proxy.break_a_rule(20);
    assert!(proxy.get("/healthz").starts_with("HTTP/1.0 200"));
    assert!(proxy.stop());
}

#[test]
fn a_log_on_a_full_disk_keeps_nobody_from_starting() {
    let redis = RedisServer::start(&[]);
    let proxy = Logging::start(&redis, OpenOptions::new().write(true).open("/dev/full").expect("there is one"));
    proxy.break_a_rule(20);
    eventually("losses are counted", || proxy.lost().is_some_and(|lost| lost > 0));
    assert!(proxy.stop());
}

#[test]
fn a_log_reader_that_stands_still_holds_nobody_up_and_is_told_what_it_missed() {
    let redis = RedisServer::start(&[]);
    let (mut reader, writer) = pipe();
    let proxy = Logging::start(&redis, writer.try_clone().expect("a descriptor"));
    fill(&writer);
    drop(writer);
    let since = Instant::now();
    proxy.break_a_rule(100);
    // Each of these is logged; together they are more than may wait.
    let level = format!("info,respguard::{}=info", "x".repeat(60_000));
    let mut socket = TcpStream::connect(("127.0.0.1", proxy.admin_port)).expect("it listens");
    for _ in 0..100 {
        write!(socket, "POST /log?level={level} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").expect("sent");
        let mut answer = vec![0; 60_000];
        socket.read_exact(&mut answer).expect("an answer");
    }
    assert!(since.elapsed() < PATIENCE, "nothing waits for the log");
    eventually("losses are counted", || proxy.lost().is_some_and(|lost| lost > 0));
    proxy.break_a_rule(10);

    let mut said = Vec::new();
    let mut chunk = vec![0; 65_536];
    while !String::from_utf8_lossy(&said).contains("log lines were dropped") {
        let read = reader.read(&mut chunk).expect("readable");
        assert!(read > 0, "the loss is told");
        said.extend_from_slice(&chunk[..read]);
        proxy.break_a_rule(1);
    }
    let drain = std::thread::spawn(move || while reader.read(&mut chunk).is_ok_and(|read| read > 0) {});
    assert!(proxy.stop());
    drain.join().expect("no panic");
}

#[test]
fn a_log_reader_that_stands_still_does_not_keep_the_process_from_ending() {
    let redis = RedisServer::start(&[]);
    let (_reader, writer) = pipe();
    let proxy = Logging::start(&redis, writer.try_clone().expect("a descriptor"));
    fill(&writer);
    proxy.break_a_rule(20);
    assert!(proxy.stop());
}
