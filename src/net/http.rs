//! An HTTP listener with limits: connections, time per request, no bodies, errors as JSON.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

/// Connections at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// Bytes between whoever writes an answer over time and its connection.
const PIPE_BYTES: usize = 64 * 1024;
/// How long a new connection has for its first request's head, and any request for its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection lives beyond a request's time, for the answer that says so.
const OVERDUE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may live without a byte of an answer, from its first answer on.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests have once the listener is told to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves `routes` on `listener` until `shutdown`, then closes within [`STOP_TIMEOUT`].
pub async fn serve(listener: TcpListener, routes: Router, shutdown: CancellationToken) -> io::Result<()> {
    let routes = routes.layer(middleware::from_fn(limit_request));
    let stop = shutdown.clone().cancelled_owned();
    let serving = axum::serve(Limited::new(listener), routes).with_graceful_shutdown(stop);
    let overdue = async {
        shutdown.cancelled().await;
        sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        ended = serving.into_future() => ended,
        () = overdue => Ok(()),
    }
}

/// What an error answer says.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// What is wrong and what to do.
    pub error: &'static str,
    /// What there is instead; empty where that does not help.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub exists: &'static [&'static str],
}

/// An error answer in JSON.
pub fn problem(status: StatusCode, error: &'static str, exists: &'static [&'static str]) -> Response {
    (status, Json(Problem { error, exists })).into_response()
}

/// An answer of `content_type` that is written over time, and where to write it.
pub fn piped(content_type: &'static str) -> (DuplexStream, Response) {
    let (pipe, reading) = duplex(PIPE_BYTES);
    (pipe, ([(header::CONTENT_TYPE, content_type)], Body::from_stream(ReaderStream::new(reading))).into_response())
}

async fn limit_request(request: Request, next: Next) -> Response {
    if has_body(&request) {
        let refused = problem(StatusCode::PAYLOAD_TOO_LARGE, "requests with a body are not taken here", &[]);
        // The body was not read, so the connection cannot carry another request.
        return ([(header::CONNECTION, "close")], refused).into_response();
    }
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, "no answer within 5 seconds", &[]),
    }
}

fn has_body(request: &Request) -> bool {
    let headers = request.headers();
    headers.contains_key(header::TRANSFER_ENCODING) || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// A listener that hands out at most [`CONNECTIONS_MAX`] connections at a time.
struct Limited {
    listener: TcpListener,
    slots: Arc<Semaphore>,
}

impl Limited {
    fn new(listener: TcpListener) -> Limited {
        Limited { listener, slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl axum::serve::Listener for Limited {
    type Io = Deadlined;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Deadlined, SocketAddr) {
        loop {
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            let slot = slot.expect("nobody closes the semaphore");
            match self.listener.accept().await {
                Ok((stream, address)) => return (Deadlined::new(stream, slot), address),
                Err(error) => wait_out(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Out of file descriptors, accepting at once again would only spin.
async fn wait_out(error: &io::Error) {
    tracing::warn!(%error, "cannot accept an HTTP connection");
    sleep(Duration::from_millis(100)).await;
}

/// A connection that fails once it has gone too long without writing a byte of an answer.
///
/// What is read does not push the deadline back, so a request that trickles in ends with the deadline too; but once its head
/// is complete, there is time for its answer.
struct Deadlined {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    head: HeadEnd,
    /// A head has ended since a byte of an answer was written.
    owes_answer: bool,
    _slot: OwnedSemaphorePermit,
}

impl Deadlined {
    fn new(stream: TcpStream, slot: OwnedSemaphorePermit) -> Deadlined {
        let deadline = Box::pin(sleep(REQUEST_TIMEOUT));
        Deadlined { stream, deadline, head: HeadEnd::default(), owes_answer: false, _slot: slot }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn noted(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.owes_answer = false;
            self.deadline.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
        }
        written
    }
}

impl AsyncRead for Deadlined {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        // Once only: empty lines without a request keep nobody's connection.
        if self.head.ends_in(&into.filled()[before..]) && !self.owes_answer {
            self.owes_answer = true;
            let answered_by = Instant::now() + REQUEST_TIMEOUT + OVERDUE_TIMEOUT;
            let deadline = self.deadline.deadline().max(answered_by);
            self.deadline.as_mut().reset(deadline);
        }
        read
    }
}

/// Finds the empty line that ends a request's head.
#[derive(Debug, Default)]
struct HeadEnd {
    /// Whether the line that is being read has nothing on it so far.
    is_empty_line: bool,
}

impl HeadEnd {
    /// True if a head ends within the bytes that come next.
    fn ends_in(&mut self, bytes: &[u8]) -> bool {
        let mut ends = false;
        for byte in bytes {
            match byte {
                b'\n' => {
                    ends |= self.is_empty_line;
                    self.is_empty_line = true;
                }
                b'\r' => {}
                _ => self.is_empty_line = false,
            }
        }
        ends
    }
}

impl AsyncWrite for Deadlined {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line_however_it_is_cut() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..head.len() {
            let mut end = HeadEnd::default();
            assert!(!end.ends_in(&head[..cut]), "{cut}");
            assert!(end.ends_in(&head[cut..]), "{cut}");
        }
        assert!(HeadEnd::default().ends_in(b"GET / HTTP/1.0\n\n"));
    }

    /// A connection to a listener whose only route never answers.
    async fn connected() -> (TcpStream, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(std::future::pending::<Response>));
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, routes, shutdown.clone()));
        (TcpStream::connect(address).await.unwrap(), shutdown)
    }

    #[tokio::test]
    async fn empty_lines_keep_no_connection() {
        let (client, shutdown) = connected().await;
        let (mut reading, mut writing) = client.into_split();
        let trickle = async {
            while writing.write_all(b"\r\n\r\n").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let ended = async {
            // A reset ends it as well.
            let _ = reading.read_to_string(&mut String::new()).await;
        };
        let longest = 2 * REQUEST_TIMEOUT + OVERDUE_TIMEOUT;
        timeout(longest, async {
            tokio::select! { () = trickle => {} () = ended => {} }
        })
        .await
        .expect("it is closed");
        shutdown.cancel();
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_told_so() {
        let (mut client, shutdown) = connected().await;
        // The request's time begins later than its connection's.
        sleep(Duration::from_millis(500)).await;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(REQUEST_TIMEOUT + OVERDUE_TIMEOUT, client.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.0 504 ") && answer.contains("no answer within 5 seconds"), "{answer}");
        shutdown.cancel();
    }
}
