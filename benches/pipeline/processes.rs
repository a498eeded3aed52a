//! The redis-server and the proxies that are measured, each ended when dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use respguard::engine::resp::encode;
use tempfile::TempDir;

/// How long a process may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

pub struct Redis {
    process: Running,
    pub port: u16,
    _directory: TempDir,
}

pub struct Proxy {
    process: Running,
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
        Redis { process: Running::start(command, port), port, _directory: directory }
    }

    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    pub fn set(&self, key: &str, value: &[u8]) {
        use std::io::{Read, Write};
        let mut request = Vec::new();
        encode::request(&mut request, &[b"SET", key.as_bytes(), value]);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a listener");
        stream.write_all(&request).expect("written");
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).expect("answered");
        assert_eq!(&reply, b"+OK\r\n");
    }
}

impl Proxy {
    /// Starts a build of the proxy; `rules` are appended to its configuration.
    pub fn start(build: &Path, upstream_port: u16, workers: usize, rules: &str) -> Proxy {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (port, admin_port) = (free_port(), free_port());
        let file = directory.path().join("config.toml");
        let settings = format!(
            "workers = {workers}\nlisten.address = \"127.0.0.1:{port}\"\nupstream.address = \"127.0.0.1:{upstream_port}\"\n\
             admin.address = \"127.0.0.1:{admin_port}\"\n{rules}"
        );
        fs::write(&file, settings).expect("written");
        let mut command = Command::new(build);
        command.arg("run").arg("--config").arg(&file).args(["--log-level", "error"]);
        Proxy { process: Running::start(command, port), port, _directory: directory }
    }

    pub fn id(&self) -> u32 {
        self.process.0.id()
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

/// What all threads of a process have run, to the nanosecond.
pub fn cpu_time(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the process runs");
    let ran = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ran.sum())
}
