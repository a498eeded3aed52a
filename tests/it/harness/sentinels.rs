//! A primary with a replica, and sentinels that watch them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Authority, Issued, PATIENCE, Program, RedisServer, Wire, eventually, free_port, text, within};

/// How soon the sentinels take a server for dead.
const DOWN_AFTER_MS: u32 = 500;
const SENTINELS: usize = 3;
/// Of its directory.
const LOG: &str = "sentinel.log";
const FOLLOW: &str = "--repl-diskless-sync-delay 0 --repl-ping-replica-period 1";

/// Two servers of which one follows the other, and three sentinels that know them as `m`.
pub struct Watched {
    pub servers: [RedisServer; 2],
    sentinels: Vec<Sentinel>,
    /// The servers' ports for TLS, if they have any.
    pub tls_ports: Vec<u16>,
}

struct Sentinel {
    port: u16,
    tls_port: Option<u16>,
    process: Child,
    directory: tempfile::TempDir,
}

impl Watched {
    /// Waits until the sentinels know each other and the replica. `more` goes into their configuration.
    pub fn start(more: &str) -> Watched {
        let first = RedisServer::start(&[FOLLOW]);
        let second = RedisServer::start(&[FOLLOW, &format!("--replicaof 127.0.0.1 {}", first.port())]);
        let primary = format!("127.0.0.1 {}", first.port());
        let sentinels = (0..SENTINELS).map(|_| Sentinel::start(&primary, more, None)).collect();
        Watched { servers: [first, second], sentinels, tls_ports: Vec::new() }.wait(more)
    }

    /// The same; each has an address of its own beside the usual one, from which it speaks to the others and which it tells.
    pub fn start_apart() -> Watched {
        let server = |at: usize, follow: &str| {
            let host = Watched::host(at);
            let own =
                format!("--bind 127.0.0.1 {host} --bind-source-addr {host} --replica-announce-ip {host} --protected-mode no");
            RedisServer::start(&[FOLLOW, &format!("{own}{follow}")])
        };
        let first = server(0, "");
        let second = server(1, &format!(" --replicaof {} {}", Watched::host(0), first.port()));
        let primary = format!("{} {}", Watched::host(0), first.port());
        let sentinels = (0..SENTINELS).map(|at| {
            let host = Watched::sentinel_host(at);
            let own = format!(
                "bind 127.0.0.1 {host}\nbind-source-addr {host}\nsentinel announce-ip {host}\n\
                 sentinel down-after-milliseconds m 2000"
            );
            Sentinel::start(&primary, &own, None)
        });
        let sentinels = sentinels.collect();
        Watched { servers: [first, second], sentinels, tls_ports: Vec::new() }.wait("")
    }

    /// The address that a server has for itself, where each has one.
    pub fn host(at: usize) -> String {
        format!("127.0.1.{}", at + 1)
    }

    /// That of a sentinel.
    pub fn sentinel_host(at: usize) -> String {
        format!("127.0.2.{}", at + 1)
    }

    /// The same; all of them speak TLS with each other, show this certificate, and listen without TLS too, for the tests.
    pub fn start_over_tls(authority: &Authority, shown: &Issued) -> Watched {
        let start = |more: &str| {
            let attempt = || {
                let port = free_port();
                let tls = tls_keys(authority, shown, port).map(|key| format!("--{key}")).join(" ");
                Some((RedisServer::try_start(Program::under_test(), &[FOLLOW, &tls, more])?, port))
            };
            (0..10).find_map(|_| attempt()).expect("a server finds ports that stay free")
        };
        let (first, first_port) = start("--tls-auth-clients no");
        let (second, second_port) = start(&format!("--tls-auth-clients no --replicaof 127.0.0.1 {first_port}"));
        let primary = format!("127.0.0.1 {first_port}");
        let sentinels = (0..SENTINELS).map(|_| Sentinel::start(&primary, "tls-auth-clients no", Some((authority, shown))));
        let sentinels = sentinels.collect();
        Watched { servers: [first, second], sentinels, tls_ports: vec![first_port, second_port] }.wait("")
    }

    fn wait(self, more: &str) -> Watched {
        let watched = self;
        eventually("the sentinels know each other", || {
            watched.ports().iter().all(|&port| {
                let told = ask(port, more, "SENTINEL MASTER m");
                told.contains("num-slaves\r\n$1\r\n1") && told.contains("num-other-sentinels\r\n$1\r\n2")
            })
        });
        watched
    }

    /// Of the sentinels.
    pub fn ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|sentinel| sentinel.port).collect()
    }

    /// Of the sentinels, for TLS.
    pub fn sentinel_tls_ports(&self) -> Vec<u16> {
        self.sentinels.iter().filter_map(|sentinel| sentinel.tls_port).collect()
    }

    /// What the first sentinel answers.
    pub fn ask(&self, line: &str) -> String {
        ask(self.sentinels[0].port, "", line)
    }

    /// All sentinels end at once.
    pub fn kill_sentinels(&mut self) {
        self.sentinels.iter_mut().for_each(Sentinel::end);
    }

    /// A sentinel ends at once.
    pub fn kill_sentinel(&mut self, at: usize) {
        self.sentinels[at].end();
    }
}

/// What makes a server or a sentinel speak TLS on this port, and with others.
fn tls_keys(authority: &Authority, shown: &Issued, port: u16) -> [String; 5] {
    [
        format!("tls-port {port}"),
        "tls-replication yes".to_owned(),
        format!("tls-cert-file {}", shown.cert.display()),
        format!("tls-key-file {}", shown.key.display()),
        format!("tls-ca-cert-file {}", authority.ca().display()),
    ]
}

fn ask(port: u16, more: &str, line: &str) -> String {
    let mut wire = Wire::connect(port);
    if let Some(password) = more.split("requirepass ").nth(1) {
        wire.send(format!("AUTH {}\r\n", password.trim()).as_bytes());
        wire.reply();
    }
    wire.ask(line)
}

impl Sentinel {
    fn start(primary: &str, more: &str, tls: Option<(&Authority, &Issued)>) -> Sentinel {
        for _ in 0..10 {
            if let Some(sentinel) = Sentinel::launch(primary, more, tls) {
                return sentinel;
            }
        }
        panic!("a sentinel found no port that stays free");
    }

    fn launch(primary: &str, more: &str, tls: Option<(&Authority, &Issued)>) -> Option<Sentinel> {
        let (port, directory) = (free_port(), tempfile::tempdir().expect("a temporary directory"));
        let tls_port = tls.map(|_| free_port());
        let keys = tls.zip(tls_port).map(|((authority, shown), port)| tls_keys(authority, shown, port).join("\n"));
        let (file, log) = (directory.path().join("sentinel.conf"), directory.path().join(LOG));
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nlogfile {}\nsentinel monitor m {primary} 2\n\
             sentinel down-after-milliseconds m {DOWN_AFTER_MS}\nsentinel failover-timeout m 2000\n\
             sentinel parallel-syncs m 1\n{more}\n{}\n",
            directory.path().display(),
            log.display(),
            keys.unwrap_or_default()
        );
        std::fs::write(&file, configuration).expect("a temporary file");
        let process = Command::new(&Program::under_test().path).arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn();
        let mut sentinel = Sentinel { port, tls_port, process: process.expect("it has told its version"), directory };
        let mut ended = false;
        let own = format!("process_id:{}\r\n", sentinel.process.id());
        let answers = within(PATIENCE, || {
            ended = sentinel.process.try_wait().is_ok_and(|status| status.is_some());
            ended
                || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok_and(|stream| {
                    let mut wire = Wire::over(stream).patience(Duration::from_secs(2));
                    wire.send(b"INFO server\r\n");
                    wire.try_reply().is_some_and(|reply| text(&reply).contains(&own) || reply.starts_with(b"-NOAUTH"))
                })
        });
        assert!(answers, "a sentinel does not answer");
        (!ended).then_some(sentinel)
    }

    fn end(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join(LOG));
            eprintln!("the log of the sentinel on port {}:\n{}", self.port, log.unwrap_or_default());
        }
    }
}
