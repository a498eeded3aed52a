//! A primary with a replica, and sentinels that watch them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{PATIENCE, Program, RedisServer, Wire, eventually, free_port, text, within};

/// How soon the sentinels take a server for dead.
const DOWN_AFTER_MS: u32 = 500;
const SENTINELS: usize = 3;

/// Two servers of which one follows the other, and three sentinels that know them as `m`.
pub struct Watched {
    pub servers: [RedisServer; 2],
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    port: u16,
    process: Child,
    _directory: tempfile::TempDir,
}

impl Watched {
    /// Waits until the sentinels know each other and the replica. `more` goes into their configuration.
    pub fn start(more: &str) -> Watched {
        let follow = "--repl-diskless-sync-delay 0 --repl-ping-replica-period 1";
        let first = RedisServer::start(&[follow]);
        let second = RedisServer::start(&[follow, &format!("--replicaof 127.0.0.1 {}", first.port())]);
        let sentinels = (0..SENTINELS).map(|_| Sentinel::start(first.port(), more)).collect();
        let watched = Watched { servers: [first, second], sentinels };
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

fn ask(port: u16, more: &str, line: &str) -> String {
    let mut wire = Wire::connect(port);
    if let Some(password) = more.split("requirepass ").nth(1) {
        wire.send(format!("AUTH {}\r\n", password.trim()).as_bytes());
        wire.reply();
    }
    wire.ask(line)
}

impl Sentinel {
    fn start(primary: u16, more: &str) -> Sentinel {
        for _ in 0..10 {
            if let Some(sentinel) = Sentinel::launch(primary, more) {
                return sentinel;
            }
        }
        panic!("a sentinel found no port that stays free");
    }

    fn launch(primary: u16, more: &str) -> Option<Sentinel> {
        let (port, directory) = (free_port(), tempfile::tempdir().expect("a temporary directory"));
        let file = directory.path().join("sentinel.conf");
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor m 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds m {DOWN_AFTER_MS}\nsentinel failover-timeout m 2000\n\
             sentinel parallel-syncs m 1\n{more}\n",
            directory.path().display()
        );
        std::fs::write(&file, configuration).expect("a temporary file");
        let process = Command::new(&Program::under_test().path).arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn();
        let mut sentinel = Sentinel { port, process: process.expect("it has told its version"), _directory: directory };
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
    }
}
