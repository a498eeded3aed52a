//! Adds a JSON body to errors of the HTTP library: every error of the front is JSON.
//!
//! A head that is too long or cannot be read never becomes a request: the library answers it with a bare status.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::stream::Stream;

/// How such an answer begins and ends. Every answer of ours to a wrong request has a body.
const BEGINNING: &[u8] = b"HTTP/1.1 4";
const END: &[u8] = b"\r\n\r\n";

/// A connection whose bare refusals have a body.
pub(super) struct WithBodies {
    stream: Stream,
    /// What stands in the place of a refusal, and how much of it has been written.
    instead: Vec<u8>,
    written: usize,
}

impl WithBodies {
    pub(super) fn new(stream: Stream) -> WithBodies {
        WithBodies { stream, instead: Vec::new(), written: 0 }
    }

    /// Writes what stands in the place of a refusal.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.instead.len() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.instead[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for WithBodies {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for WithBodies {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        match with_body(bytes) {
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Some(instead) => {
                (self.instead, self.written) = (instead, 0);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The same refusal with a body; `None` for everything else.
fn with_body(answer: &[u8]) -> Option<Vec<u8>> {
    if !answer.starts_with(BEGINNING) || !answer.ends_with(END) {
        return None;
    }
    let head = std::str::from_utf8(answer.strip_suffix(END)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?;
    let is = |line: &&str, name: &str| line.split(':').next().is_some_and(|known| known.eq_ignore_ascii_case(name));
    let mut is_bare = false;
    let mut kept = Vec::new();
    for line in lines {
        if is(&line, "content-type") {
            return None;
        }
        if is(&line, "content-length") {
            is_bare = line.ends_with(" 0");
        } else {
            kept.push(line);
        }
    }
    if !is_bare {
        return None;
    }
    let reason = status.strip_prefix("HTTP/1.1 ").unwrap_or_default();
    let body = json!({ "error": format!("ERR the request cannot be read: {reason}") }).to_string();
    let kept: String = kept.iter().map(|line| format!("{line}\r\n")).collect();
    Some(format!("{status}\r\n{kept}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_refusal_gets_a_body_and_keeps_its_status_and_headers() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let text = String::from_utf8(with_body(bare).expect("it is one")).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("both");
        assert_eq!(body, r#"{"error":"ERR the request cannot be read: 431 Request Header Fields Too Large"}"#);
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}",
                body.len()
            )
        );
    }

    #[test]
    fn everything_else_is_as_it_is() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n{}",
            b"HTTP/1.1 4",
            b"$12\r\nHTTP/1.1 400\r\n",
        ] {
            assert_eq!(with_body(answer), None, "{}", answer.escape_ascii());
        }
    }
}
