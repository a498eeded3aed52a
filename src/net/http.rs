//! An HTTP listener with limits: connections, time per request, no bodies, errors as JSON.

mod places;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use http_body::{Frame, SizeHint};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use places::{Busy, Place, Places};
pub use places::{CONNECTIONS_MAX, SPARE_MAX};

/// How long a new connection has for its first request's head, and any request for its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live without a byte of an answer, from its first answer on.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests have once the listener is told to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What is answered whoever else asks for what.
pub type Probes = &'static [&'static str];

/// Serves `routes` on `listener` until `shutdown`, then closes within [`STOP_TIMEOUT`].
///
/// Of more than [`CONNECTIONS_MAX`] connections those that are idle give way, and where none is, [`SPARE_MAX`] more
/// are answered what they ask of `probes`.
pub async fn serve(listener: TcpListener, routes: Router, probes: Probes, shutdown: CancellationToken) -> io::Result<()> {
    let routes = routes.layer(middleware::from_fn_with_state(probes, limit_request));
    let stop = shutdown.clone().cancelled_owned();
    let routes = routes.into_make_service_with_connect_info::<Place>();
    let serving = axum::serve(Limited { listener, places: Places::default() }, routes).with_graceful_shutdown(stop);
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

async fn limit_request(
    State(probes): State<Probes>,
    ConnectInfo(place): ConnectInfo<Place>,
    request: Request,
    next: Next,
) -> Response {
    let busy = place.begin_request();
    let response = if place.is_spare() && !probes.contains(&request.uri().path()) {
        let refused = problem(StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way: ask again later", &[]);
        ([(header::CONNECTION, "close")], refused).into_response()
    } else {
        answer(request, next).await
    };
    response.map(|body| Body::new(Held { body, _busy: busy }))
}

/// A body whose connection is busy until it has been sent.
struct Held {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn answer(request: Request, next: Next) -> Response {
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

/// A listener that hands out connections with their places.
struct Limited {
    listener: TcpListener,
    places: Places,
}

impl axum::serve::Listener for Limited {
    type Io = Deadlined;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Deadlined, SocketAddr) {
        loop {
            match self.listener.accept().await {
                // Without a place it is closed: not even a probe could be answered.
                Ok((stream, address)) => {
                    if let Some(place) = self.places.enter() {
                        return (Deadlined::new(stream, place), address);
                    }
                }
                Err(error) => wait_out(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Limited>> for Place {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Place {
        stream.io().place.clone()
    }
}

/// Out of file descriptors, accepting at once again would only spin.
async fn wait_out(error: &io::Error) {
    tracing::warn!(%error, "cannot accept an HTTP connection");
    sleep(Duration::from_millis(100)).await;
}

/// A connection that fails once it has gone too long without writing a byte of an answer.
///
/// What is read does not push the deadline back, so a request that trickles in ends with the deadline too. One that is
/// to give way to another ends as if its client had closed it.
struct Deadlined {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    /// The deadline has been put off for a request that is being answered.
    is_extended: bool,
    leave: Pin<Box<WaitForCancellationFutureOwned>>,
    place: Place,
}

impl Deadlined {
    fn new(stream: TcpStream, place: Place) -> Deadlined {
        let leave = Box::pin(place.leave().cancelled_owned());
        Deadlined { stream, deadline: Box::pin(sleep(REQUEST_TIMEOUT)), is_extended: false, leave, place }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.deadline.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        if self.is_extended || !self.place.is_busy() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // The head has come in time; what it asks for has a timeout of its own.
        self.is_extended = true;
        self.deadline.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
        self.check(context)
    }

    fn noted(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.is_extended = false;
            self.deadline.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
        }
        written
    }
}

impl AsyncRead for Deadlined {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        if self.leave.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
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
