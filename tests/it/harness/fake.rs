//! A server of a few lines that answers what a test tells it to, however wrong.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use respguard_resp::request::{Args, Limits, Parsed, RequestParser, odd_line_ends};

/// What the server does about one request.
pub enum Act {
    Say(Vec<u8>),
    /// The last words on this connection.
    SayAndClose(Vec<u8>),
}

type Answer = Arc<dyn Fn(&[String]) -> Act + Send + Sync>;

/// It listens until the test ends.
pub struct FakeServer {
    port: u16,
}

impl FakeServer {
    /// Answers each request with what `answer` makes of its words. The questions with which a proxy opens a connection
    /// are answered as Redis would.
    pub fn start(answer: impl Fn(&[String]) -> Act + Send + Sync + 'static) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let answer: Answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(stream, &*answer));
            }
        });
        FakeServer { port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&[String]) -> Act) {
    let mut parser = RequestParser::new(Limits::default());
    let (mut spans, mut arena) = (Vec::new(), Vec::new());
    let (mut input, mut params) = (Vec::new(), true);
    let mut chunk = [0; 4096];
    loop {
        loop {
            let (bytes, inline) = match parser.parse(&input, &mut spans, &mut arena, usize::MAX) {
                Parsed::Request { bytes, inline } => (bytes, inline),
                Parsed::Nothing { bytes } => (bytes, false),
                _ => break,
            };
            // As Valkey, it takes nothing else for the end of a line.
            if !inline && odd_line_ends(&input[..bytes], &spans).next().is_some() {
                let _ = stream.write_all(b"-ERR Protocol error: invalid CRLF in request\r\n");
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
            if spans.is_empty() {
                input.drain(..bytes);
                continue;
            }
            let base = if inline { &arena } else { &input };
            let words: Vec<String> =
                Args::new(base, &spans).iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            input.drain(..bytes);
            spans.clear();
            arena.clear();
            let act = match words.join(" ").as_str() {
                "CLIENT ID" if params => Act::Say(b":1\r\n".to_vec()),
                "CLIENT INFO" if params => Act::Say(b"$6\r\nid=1\r\n\r\n".to_vec()),
                "PING" if params => Act::Say(b"+PONG\r\n".to_vec()),
                "MULTI" if params => Act::Say(b"+OK\r\n".to_vec()),
                "EXEC" if params => {
                    params = false;
                    Act::Say(b"*0\r\n".to_vec())
                }
                "COMMAND" => Act::Say(b"-ERR no\r\n".to_vec()),
                _ => answer(&words),
            };
            // The proxy may have left.
            let said = match &act {
                Act::Say(bytes) | Act::SayAndClose(bytes) => stream.write_all(bytes),
            };
            if said.is_err() || matches!(act, Act::SayAndClose(_)) {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(read) => input.extend_from_slice(&chunk[..read]),
        }
    }
}
