//! The redis-server and the proxies that are measured, each ended when dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a process may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

pub struct Redis {
    _process: Running,
    pub port: u16,
    _directory: TempDir,
}

pub struct Proxy {
    _process: Running,
    pub port: u16,
    _directory: TempDir,
}

struct Running(Child);

impl Redis {
    pub fn start() -> Redis {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(directory.path());
        Redis { _process: Running::start(command, port), port, _directory: directory }
    }
}

impl Proxy {
    /// Starts a proxy of one worker; `rules` are appended to its configuration.
    pub fn start(upstream_port: u16, rules: &str) -> Proxy {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (port, admin_port) = (free_port(), free_port());
        let file = directory.path().join("config.toml");
        let settings = format!(
            "workers = 1\nlisten.address = \"127.0.0.1:{port}\"\nupstream.address = \"127.0.0.1:{upstream_port}\"\n\
             admin.address = \"127.0.0.1:{admin_port}\"\n{rules}"
        );
        fs::write(&file, settings).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_respguard"));
        command.arg("run").arg("--config").arg(&file).args(["--log-level", "error"]);
        Proxy { _process: Running::start(command, port), port, _directory: directory }
    }
}

impl Running {
    fn start(mut command: Command, port: u16) -> Running {
        let child = command.stdout(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let running = Running(child);
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A connection without Nagle's delay.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    stream.set_nodelay(true).expect("set");
    stream
}

/// A port that the system calls free.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
