//! An HTTP/1.1 client that keeps its connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::PATIENCE;

/// What a request was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, which it must be.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One connection.
pub struct Http {
    stream: BufReader<TcpStream>,
    headers: Vec<(String, String)>,
}

impl Http {
    /// To this port of the loopback address.
    pub fn connect(port: u16) -> Http {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("set");
        Http { stream: BufReader::new(stream), headers: Vec::new() }
    }

    /// Waits so long for an answer.
    pub fn patience(mut self, patience: Duration) -> Http {
        self.stream.get_mut().set_read_timeout(Some(patience)).expect("a timeout");
        self
    }

    /// With this header in each request.
    pub fn with(mut self, name: &str, value: &str) -> Http {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this token in each request.
    pub fn token(self, token: &str) -> Http {
        self.with("Authorization", &format!("Bearer {token}"))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("it is open");
    }

    /// Sends a request without waiting for its answer.
    pub fn begin(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = (!has_host).then_some(("Host", "localhost"));
        let lines: String = host
            .into_iter()
            .chain(own)
            .chain(headers.iter().copied())
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!("{method} {path} HTTP/1.1\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
        self.send(&[head.as_bytes(), body].concat());
    }

    /// A request and its answer.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.begin(method, path, headers, body);
        let mut answer = self.head();
        if method != "HEAD" {
            answer.body = self.body(&answer);
        }
        answer
    }

    /// What a POST of this body is answered.
    pub fn post(&mut self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[], body.as_bytes())
    }

    /// What a GET is answered.
    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// The status line and the headers of the next answer.
    pub fn head(&mut self) -> Answer {
        let status = self.line();
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{status:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        Answer { status, headers, body: Vec::new() }
    }

    /// Everything up to the end of the stream.
    pub fn until_closed(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset behind what was read does not matter.
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// The next line, without its end; empty at the end of the stream.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line in time");
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    fn body(&mut self, answer: &Answer) -> Vec<u8> {
        let mut body = Vec::new();
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                body.extend_from_slice(&chunk);
            }
            return body;
        }
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a number"));
        body.resize(length, 0);
        self.stream.read_exact(&mut body).expect("as much as was said");
        body
    }

    /// The next part of an answer that comes in parts; `None` is its end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line();
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("{size:?} is no length"));
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).expect("as much as was said");
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    /// Fills `into` with what comes next.
    pub fn read(&mut self, into: &mut [u8]) {
        self.stream.read_exact(into).expect("as much as was wanted");
    }

    /// True when something has come.
    pub fn peek(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([_, ..]))
    }

    /// True when the other side has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([]) | Err(_))
    }
}
