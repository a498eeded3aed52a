//! One HTTP connection, over which requests come one after the other (HTTP/1.1) or side by side (HTTP/2).

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use super::Rest;
use super::busy::{Activity, Busy};
use super::refusals::WithBodies;
use super::respond::respond;
use crate::net::stream::Stream;
use crate::telemetry::gauge;

/// How long a connection may be open without a whole request's head, and between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the last answers have to leave once a connection is to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Requests side by side over HTTP/2.
const STREAMS_MAX: u32 = 128;
const HEADERS_BYTES_MAX: u32 = 64 * 1024;

/// Runs what HTTP/2 needs beside on the worker's own thread.
#[derive(Clone)]
struct OwnThread;

impl<F> hyper::rt::Executor<F> for OwnThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves a connection until it ends; the permit is one of those that there are for connections.
pub async fn serve(rest: Rc<Rest>, stream: Stream, peer: Arc<str>, permit: OwnedSemaphorePermit) {
    let _counted = rest.count_connection();
    let _permit = permit;
    let stream = match &rest.host.front.acceptor {
        None => stream,
        Some(acceptor) => match stream.accept_tls(acceptor).await {
            Ok(stream) => stream,
            Err(error) => {
                gauge::count_failed_handshake();
                debug!(client = %peer, %error, "an HTTP connection cannot be used");
                return;
            }
        },
    };
    let activity = Activity::new();
    let service = service_fn(|request| {
        let (rest, peer, busy) = (Rc::clone(&rest), Arc::clone(&peer), Busy::new(&activity));
        async move { Ok::<_, Infallible>(respond(&rest, request, &peer, busy).await) }
    });
    let mut builder = auto::Builder::new(OwnThread);
    builder.http1().max_buf_size(HEAD_BYTES_MAX);
    builder.http2().max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEADERS_BYTES_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(WithBodies::new(stream)), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = idle(&activity) => None,
        () = rest.stopping.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            loop {
                match timeout(END_TIMEOUT, connection.as_mut()).await {
                    Ok(ended) => break ended,
                    // What is being answered has deadlines of its own.
                    Err(_) if activity.is_busy() => {}
                    Err(_) => return,
                }
            }
        }
    };
    if let Err(error) = ended {
        debug!(client = %peer, error, "an HTTP connection ended");
    }
}

/// Returns when nothing has been answered for too long.
async fn idle(activity: &Activity) {
    loop {
        let deadline = activity.idle_since() + IDLE_TIMEOUT;
        if activity.is_busy() {
            sleep(IDLE_TIMEOUT).await;
        } else if Instant::now() >= deadline {
            return;
        } else {
            sleep_until(deadline).await;
        }
    }
}
