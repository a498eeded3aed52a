//! Client for the admin endpoints of a running respguard.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::Secret;
use crate::net::address::Address;

/// How long connecting, and the wait for the next byte, may take; a recording shows a sign of life every five seconds.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest head of an answer.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// The longest answer that is read whole.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("no respguard answers at {address}: {source}; is it running, and is this its [admin] address?")]
    Unreachable { address: Address, source: io::Error },
    #[error("{address} does not answer as respguard does")]
    Foreign { address: Address },
    #[error("respguard at {address} refuses ({status}): {message}")]
    Refused { address: Address, status: u16, message: String },
}

impl RemoteError {
    /// The `error` of a refusal's JSON.
    pub fn error(&self) -> Option<String> {
        let RemoteError::Refused { message, .. } = self else { return None };
        Some(serde_json::from_str::<Value>(message).ok()?["error"].as_str()?.to_owned())
    }

    /// What a refusal says by itself; else the whole error.
    pub fn reason(&self) -> String {
        self.error().unwrap_or_else(|| match self {
            RemoteError::Refused { message, .. } => message.clone(),
            other => other.to_string(),
        })
    }
}

/// Its address, and the token that it requires.
#[derive(Debug, Clone)]
pub struct Remote {
    pub address: Address,
    pub token: Option<Secret>,
}

/// An answer whose body has not been read.
pub struct Answer {
    pub status: u16,
    pub body: BufReader<TcpStream>,
}

impl Remote {
    /// Whether it is ready for clients.
    pub fn is_ready(&self) -> Result<bool, RemoteError> {
        Ok(self.ask("GET", "/readyz")?.status == 200)
    }

    /// The body of a good answer, to be read as it comes.
    pub fn stream(&self, method: &str, path: &str) -> Result<BufReader<TcpStream>, RemoteError> {
        let answer = self.ask(method, path)?;
        match answer.status {
            200..300 => Ok(answer.body),
            status => Err(self.refusal(status, answer.body)),
        }
    }

    /// The configuration that it runs with.
    pub fn config(&self) -> Result<Map<String, Value>, RemoteError> {
        match self.json("GET", "/config")?["config"].take() {
            Value::Object(config) => Ok(config),
            _ => Err(RemoteError::Foreign { address: self.address.clone() }),
        }
    }

    /// The body of a good answer.
    ///
    /// # Errors
    /// Nobody answers, the answer is a refusal, or it is no JSON.
    pub fn json(&self, method: &str, path: &str) -> Result<Value, RemoteError> {
        let mut text = String::new();
        let read = self.stream(method, path)?.take(BODY_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|source| self.unreachable(source))?;
        serde_json::from_str(&text).map_err(|_| RemoteError::Foreign { address: self.address.clone() })
    }

    fn ask(&self, method: &str, path: &str) -> Result<Answer, RemoteError> {
        let asked = self.connect().and_then(|mut socket| {
            let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {}\r\n", token.expose()));
            let (address, token) = (&self.address, token.unwrap_or_default());
            // As HTTP/1.0, so that the body comes as it is and ends with the connection.
            write!(socket, "{method} {path} HTTP/1.0\r\nHost: {address}\r\n{token}Content-Length: 0\r\n\r\n")?;
            Ok(BufReader::new(socket))
        });
        let mut body = asked.map_err(|source| self.unreachable(source))?;
        let status = read_head(&mut body).map_err(|source| self.unreachable(source))?;
        let status = status.ok_or_else(|| RemoteError::Foreign { address: self.address.clone() })?;
        Ok(Answer { status, body })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let Address::Tcp { host, port } = &self.address else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (host.as_str(), *port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(socket) => {
                    socket.set_read_timeout(Some(TIMEOUT))?;
                    socket.set_write_timeout(Some(TIMEOUT))?;
                    return Ok(socket);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn unreachable(&self, source: io::Error) -> RemoteError {
        RemoteError::Unreachable { address: self.address.clone(), source }
    }

    fn refusal(&self, status: u16, body: impl Read) -> RemoteError {
        let mut message = String::new();
        // What has come of the message is worth showing.
        let _ = body.take(BODY_BYTES_MAX).read_to_string(&mut message);
        RemoteError::Refused { address: self.address.clone(), status, message: message.trim().to_owned() }
    }
}

/// The status, once the whole head has been read; `None` when it is no HTTP.
fn read_head(body: &mut impl BufRead) -> io::Result<Option<u16>> {
    let mut head = body.take(HEAD_BYTES_MAX);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|status| status.parse().ok());
    while line.trim_end() != "" {
        line.clear();
        head.read_line(&mut line)?;
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_its_blank_line_and_the_body_is_left() {
        let mut text = &b"HTTP/1.0 409 Conflict\r\na: b\r\n\r\nbody"[..];
        assert_eq!(read_head(&mut text).expect("read"), Some(409));
        assert_eq!(text, b"body");
    }

    #[test]
    fn what_is_no_http_has_no_status() {
        for mut text in [&b"-ERR wrong\r\n"[..], b"", b"HTTP/1.1 x\r\n\r\n", b"HTTP/1.1"] {
            assert_eq!(read_head(&mut text).expect("read"), None);
        }
    }
}
