//! An HTTP/1.1 client on a plain socket, which sees every byte.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer whose body has a declared length.
pub struct Answer {
    pub status: u16,
    pub body: String,
    headers: Vec<(String, String)>,
}

impl Answer {
    /// The value of a header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Asks for a path on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    Connection::open(address).await.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await
}

pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.expect("the listener takes connections");
        Connection { stream, read: Vec::new() }
    }

    pub async fn ask(&mut self, request: &str) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    pub async fn send(&mut self, bytes: &str) {
        assert!(self.try_send(bytes).await, "the connection is open");
    }

    /// Whether the bytes could be written.
    pub async fn try_send(&mut self, bytes: &str) -> bool {
        self.stream.write_all(bytes.as_bytes()).await.is_ok()
    }

    /// Whether the server closes within `wait`, without having said anything.
    pub async fn is_closed_within(&mut self, wait: Duration) -> bool {
        match timeout(wait, self.stream.read_buf(&mut self.read)).await {
            Ok(Ok(0)) | Ok(Err(_)) => true,
            Ok(Ok(_)) => panic!("an answer to half a request: {}", String::from_utf8_lossy(&self.read)),
            Err(_) => false,
        }
    }

    /// The next answer. Dropping the future loses nothing that was read.
    pub async fn answer(&mut self) -> Answer {
        loop {
            if let Some((answer, bytes)) = parse(&self.read) {
                self.read.drain(..bytes);
                return answer;
            }
            let n = self.stream.read_buf(&mut self.read).await.expect("readable");
            assert!(n > 0, "closed within an answer: {}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads on until this text has come.
    pub async fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.read).contains(text) {
            let n = timeout(Duration::from_secs(20), self.stream.read_buf(&mut self.read)).await;
            assert!(n.expect("in time").expect("readable") > 0, "closed before {text}");
        }
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> String {
        while let Ok(1..) = self.stream.read_buf(&mut self.read).await {}
        String::from_utf8(std::mem::take(&mut self.read)).expect("text")
    }
}

fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let head_bytes = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_bytes]).expect("text");
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ").expect("a status line")[..3].parse().expect("a status");
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: String::new() };
    let length: usize = answer.header("content-length").expect("a length").parse().expect("a number");
    let body = bytes.get(head_bytes..head_bytes + length)?;
    answer.body = String::from_utf8(body.to_vec()).expect("text");
    Some((answer, head_bytes + length))
}
