//! Request and response bodies, within limits.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, timeout_at};

use super::busy::Busy;
use super::events::Events;
use super::running_call::RunningCall;
use crate::net::context::Context as Worker;

/// How long a body may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may pause.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How much is taken of a body that is too large, and for how long, before its client is told.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are given out at once, when it is not there as a whole.
const PART_BYTES: usize = 16 * 1024;

/// Bytes that a request keeps, among those that are kept for all clients.
pub struct RequestBytes {
    worker: Rc<Worker>,
    bytes: Cell<usize>,
}

impl RequestBytes {
    /// None yet.
    pub fn new(worker: &Rc<Worker>) -> RequestBytes {
        RequestBytes { worker: Rc::clone(worker), bytes: Cell::new(0) }
    }

    /// So many now.
    pub fn set(&self, bytes: usize) {
        self.worker.kept.change(&self.bytes, bytes);
    }
}

impl Drop for RequestBytes {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Reads a request's body.
///
/// # Errors
/// It is too large, too slow, or there is no room for it: what the request is answered.
pub async fn read(mut body: Incoming, bytes_max: usize, kept: &RequestBytes) -> Result<Bytes, (StatusCode, String)> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > bytes_max as u64 {
        return too_large(body, bytes_max).await;
    }
    if kept.worker.kept.is_over_limit() {
        let text = "ERR respguard: too much is kept for clients already (buffered_bytes_max), nothing was sent";
        return Err((StatusCode::TOO_MANY_REQUESTS, text.to_owned()));
    }
    let deadline = Instant::now() + BODY_TIMEOUT;
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    loop {
        // What is there already needs no timer.
        let at_hand = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
        let frame = match at_hand {
            Poll::Ready(frame) => Ok(frame),
            Poll::Pending => timeout_at(deadline.min(Instant::now() + PAUSE_TIMEOUT), body.frame()).await,
        };
        let piece = match frame {
            Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "ERR respguard: the body comes too slowly".to_owned())),
            Ok(None) if rest.is_empty() => return Ok(first),
            Ok(None) => return Ok(rest.freeze()),
            Ok(Some(Err(_))) => return Err((StatusCode::BAD_REQUEST, "ERR respguard: the body was cut".to_owned())),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        if first.len().max(rest.len()) + piece.len() > bytes_max {
            return too_large(body, bytes_max).await;
        }
        if first.is_empty() {
            first = piece;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&piece);
        }
        kept.set(first.len().max(rest.capacity()));
    }
}

/// A client reads what it is answered only when it has sent all: as much as may be is taken from it and forgotten.
async fn too_large(mut body: Incoming, bytes_max: usize) -> Result<Bytes, (StatusCode, String)> {
    let (deadline, mut left) = (Instant::now() + DISCARD_TIMEOUT, DISCARD_BYTES_MAX);
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(less) => left = less,
            None => break,
        }
    }
    let text = format!("ERR max request size exceeded (respguard: body_bytes_max = {bytes_max})");
    Err((StatusCode::PAYLOAD_TOO_LARGE, text))
}

/// What a request is answered.
pub struct Answer {
    content: Content,
    /// Its connection is not idle before it is done.
    _busy: Busy,
    _kept: Option<RequestBytes>,
}

enum Content {
    Whole(Bytes),
    Replies(Box<RunningCall>),
    Events(Box<Events>),
}

impl Answer {
    /// One that is there as a whole.
    pub fn whole(bytes: impl Into<Bytes>, busy: Busy) -> Answer {
        Answer { content: Content::Whole(bytes.into()), _busy: busy, _kept: None }
    }

    /// One that is given out while it comes in.
    pub fn streamed(running: RunningCall, busy: Busy, kept: RequestBytes) -> Answer {
        Answer { content: Content::Replies(Box::new(running)), _busy: busy, _kept: Some(kept) }
    }

    /// One that does not end by itself.
    pub fn events(events: Events, busy: Busy) -> Answer {
        Answer { content: Content::Events(Box::new(events)), _busy: busy, _kept: None }
    }

    /// Bytes of it that are known.
    pub fn bytes(&self) -> Option<usize> {
        if let Content::Whole(bytes) = &self.content { Some(bytes.len()) } else { None }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = match &mut self.content {
            Content::Whole(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
            Content::Events(events) => ready!(events.poll_bytes(cx)),
            Content::Replies(running) => {
                ready!(running.poll(cx, PART_BYTES));
                if running.is_broken() {
                    // A client must not take what is there for the whole.
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
                }
                running.has_written().then(|| running.take())
            }
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Replies(running) => running.is_over() && !running.is_broken() && !running.has_written(),
            Content::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes().map_or_else(SizeHint::default, |bytes| SizeHint::with_exact(bytes as u64))
    }
}
