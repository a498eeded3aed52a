//! A private redis-server that ends when dropped.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::{PATIENCE, Program, Wire, request, signal, text, within};

/// A real redis-server on a port that is free.
pub struct RedisServer {
    program: &'static Program,
    port: u16,
    process: Option<Child>,
    arguments: Vec<String>,
    directory: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server with more arguments than the usual ones (words may be separated by spaces), and waits
    /// until it answers.
    pub fn start(arguments: &[&str]) -> RedisServer {
        for _ in 0..10 {
            let mut server = RedisServer::absent(arguments);
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server found no port that stays free");
    }

    /// A server of this kind, whatever the run is about.
    pub fn start_program(program: &'static Program, arguments: &[&str]) -> RedisServer {
        (0..10).find_map(|_| RedisServer::try_start(program, arguments)).expect("redis-server finds a port that stays free")
    }

    /// The same; nothing if a port of its was taken meanwhile.
    pub fn try_start(program: &'static Program, arguments: &[&str]) -> Option<RedisServer> {
        let mut server = RedisServer::absent(arguments);
        server.become_program(program);
        server.launch().then_some(server)
    }

    /// What `restart` starts from now on: an upgrade in place.
    pub fn become_program(&mut self, program: &'static Program) {
        self.program = program;
    }

    /// A server that is not there yet: `restart` starts it.
    pub fn absent(arguments: &[&str]) -> RedisServer {
        RedisServer {
            program: Program::under_test(),
            port: free_port(),
            process: None,
            arguments: arguments.iter().flat_map(|words| words.split(' ')).map(str::to_owned).collect(),
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// The TCP port of the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client of its own, straight to the server.
    pub fn wire(&self) -> Wire {
        Wire::connect(self.port)
    }

    /// The server stops to run, its connections stay.
    pub fn pause(&self) {
        signal(self.pid(), "STOP");
    }

    /// It runs again after `pause`.
    pub fn resume(&self) {
        signal(self.pid(), "CONT");
    }

    /// The server ends at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a process of ours");
            process.wait().expect("a child of ours");
        }
    }

    /// More arguments for the next start.
    pub fn with(&mut self, arguments: &str) {
        self.arguments.extend(arguments.split(' ').map(str::to_owned));
    }

    /// A new, empty server on the same port.
    pub fn restart(&mut self) {
        self.kill();
        assert!(within(PATIENCE, || self.launch()), "redis-server does not come back on {}", self.port);
    }

    /// The same server, with what it has written to its files, which it may take a while to load, and with more arguments.
    pub fn restart_without_waiting(&mut self, more: &[&str]) {
        self.kill();
        self.arguments.extend(more.iter().map(|&word| word.to_owned()));
        self.process = Some(self.spawn());
    }

    /// What one command answers, straight from the server, as text.
    pub fn ask(&self, line: &str) -> String {
        self.wire().ask(line)
    }

    /// The same, unless it is not there or does not answer soon.
    pub fn try_ask(&self, line: &str) -> Option<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let mut wire = Wire::over(stream).patience(Duration::from_secs(2));
        wire.try_send(&request(line)).ok()?;
        wire.try_reply().map(|reply| text(&reply))
    }

    /// One field of `INFO section`.
    pub fn info(&self, section: &str, field: &str) -> u64 {
        let all = self.ask(&format!("INFO {section}"));
        let value = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {field} in {all}"))
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// True when it answers; false when the port was taken meanwhile.
    fn spawn(&self) -> Child {
        Command::new(&self.program.path)
            .args(["--port", &self.port.to_string()])
            .args(self.program.arguments())
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("it has told its version")
    }

    fn launch(&mut self) -> bool {
        self.process = Some(self.spawn());
        let mut exited = false;
        let answers = within(PATIENCE, || {
            exited = self.process.as_mut().is_some_and(|process| process.try_wait().is_ok_and(|status| status.is_some()));
            exited || self.answers()
        });
        assert!(answers, "redis-server does not answer");
        !exited
    }

    fn answers(&self) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut wire = Wire::over(stream).patience(Duration::from_secs(2));
        wire.send(b"INFO server\r\n");
        // Another server may have been quicker to take the port.
        let own = format!("process_id:{}\r\n", self.pid());
        wire.try_reply().is_some_and(|reply| text(&reply).contains(&own) || reply.starts_with(b"-NOAUTH"))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where ports for servers begin.
const FIRST_PORT: u16 = 10_000;

/// A port that nobody listens on now. It lies below those that the system gives to connections: none of them takes it while its
/// server is not there yet, or is away.
pub fn free_port() -> u16 {
    static PORTS: OnceLock<(u16, u16)> = OnceLock::new();
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let (count, start) = *PORTS.get_or_init(|| {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let end = range.split_whitespace().next().and_then(|first| first.parse::<u16>().ok()).unwrap_or_default();
        let count = end.saturating_sub(FIRST_PORT).max(1000);
        (count, fastrand::u16(..count))
    });
    let next = || FIRST_PORT + ((u32::from(start) + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed))) % u32::from(count)) as u16;
    let free = (0..count).map(|_| next()).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("a free port")
}
