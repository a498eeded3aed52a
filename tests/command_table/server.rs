//! A private redis-server, ended when dropped.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Connection, Value};
use respguard_resp::request::{Args, Span};

use crate::program::Program;

/// What scripts/install-servers calls the server that this run is about.
pub fn server_name() -> String {
    std::env::var("SERVER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "redis7".to_owned())
}

pub struct Server {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Starts redis-server on a port that the OS calls free and waits until it answers.
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// The same, with more arguments.
    pub fn start_with(arguments: &[&str]) -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let program = Program::under_test();
        let process = Command::new(&program.path)
            .args(["--port", &port.to_string()])
            .args(program.arguments())
            .args(arguments)
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("it has told its version");
        let server = Server { process, port, _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn connect(&self) -> Connection {
        redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))
            .and_then(|client| client.get_connection())
            .expect("redis-server accepts connections")
    }

    /// The bytes of the answer to `request`, which is the last thing answered before PING.
    pub fn raw(&self, hello: &str, request: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        let timeout = Some(Duration::from_secs(10));
        stream.set_read_timeout(timeout).expect("a timeout");
        write!(stream, "{hello}\r\n").expect("sent");
        let mut bytes = vec![0; 64 * 1024];
        let _hello = stream.read(&mut bytes).expect("an answer to HELLO");
        write!(stream, "{request}\r\nPING\r\n").expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n+PONG\r\n") {
            let count = stream.read(&mut bytes).expect("an answer in time");
            assert_ne!(count, 0, "the server closed");
            answer.extend_from_slice(&bytes[..count]);
        }
        answer.truncate(answer.len() - b"+PONG\r\n".len());
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// One request, word by word.
pub struct Request {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Request {
    pub fn new<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Request {
        let mut request = Request { bytes: Vec::new(), spans: Vec::new() };
        for word in words {
            let start = request.bytes.len() as u32;
            request.bytes.extend_from_slice(word);
            let end = request.bytes.len() as u32;
            request.spans.push(Span { start, end });
        }
        request
    }

    /// Words separated by single blanks; two blanks make an empty word.
    pub fn parse(text: &str) -> Request {
        Request::new(text.split(' ').map(str::as_bytes))
    }

    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }

    /// Sends it; an error reply is the error.
    pub fn run(&self, connection: &mut Connection) -> Result<Value, String> {
        let mut command = redis::Cmd::new();
        for word in self.args().iter() {
            command.arg(word);
        }
        match command.query::<Value>(connection) {
            Ok(Value::ServerError(error)) => Err(format!("{error:?}")),
            Ok(value) => Ok(value),
            Err(error) => Err(error.to_string()),
        }
    }
}
