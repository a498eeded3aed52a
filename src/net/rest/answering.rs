//! Answers an authorised request: its commands are parsed and run, and their replies written.

use std::rc::Rc;

use axum::http::request::Parts;
use hyper::StatusCode;
use hyper::body::Incoming;

use super::body::{Answer, RequestBytes, read};
use super::busy::Busy;
use super::call::{Call, Rules, Shape};
use super::commands::Rights;
use super::events::{Events, Feed};
use super::json::{self, Arguments};
use super::replies::Format;
use super::running_call::RunningCall;
use super::{Rest, path, request, status, text};
use crate::telemetry::label::RestEndpoint;

/// An answer up to here is given out as a whole; beyond, while it comes in.
const WHOLE_BYTES: usize = 64 * 1024;
/// An error that the server has no words for.
const NO_TRANSACTIONS: &str = "NOPERM this token's user may not run MULTI and EXEC: nothing was sent";

/// An answer with what HTTP says of it.
pub struct Done {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub answer: Answer,
    /// How many commands there were.
    pub commands: usize,
}

impl Done {
    /// `{"error": text}`.
    pub fn error(status: StatusCode, text: &[u8], busy: Busy) -> Done {
        let mut out = Vec::new();
        text::error(text, &mut out);
        Done { status, content_type: "application/json", answer: Answer::whole(out, busy), commands: 0 }
    }
}

/// Runs a request of the token at this place.
pub async fn answer(rest: &Rc<Rest>, parts: &Parts, endpoint: RestEndpoint, token: usize, body: Incoming, busy: Busy) -> Done {
    let format = match request::format(endpoint, &parts.headers) {
        Ok(format) => format,
        Err(error) => return Done::error(StatusCode::BAD_REQUEST, error.as_bytes(), busy),
    };
    if let Some((feed, names)) = request::feed(endpoint, parts.uri.path()) {
        return listen(rest, feed, &names, token, busy).await;
    }
    let kept = RequestBytes::new(&rest.host.shared.context);
    let body = match read(body, rest.host.front.body_bytes_max, &kept).await {
        Ok(body) => body,
        Err((status, error)) => return Done::error(status, error.as_bytes(), busy),
    };
    let call = match call(rest, parts, endpoint, token, &body) {
        Ok(call) => call,
        Err(error) => return Done::error(StatusCode::BAD_REQUEST, error.as_bytes(), busy),
    };
    drop(body);
    kept.set(call.bytes());
    run(rest, call, format, token, busy, kept).await
}

/// Reads the commands of a request.
fn call(rest: &Rest, parts: &Parts, endpoint: RestEndpoint, token: usize, body: &[u8]) -> Result<Call, String> {
    let table = std::sync::Arc::clone(&rest.host.shared.context.table());
    let rights = Rights {
        read_only: rest.host.front.tokens.get(token).read_only,
        longest_wait: rest.host.shared.pool.settings.request_timeout,
    };
    let rules = Rules { table: &table, scripts: &rest.host.front.scripts, rights };
    let malformed = |error: json::Malformed| error.text(body);
    let mut call = match endpoint {
        RestEndpoint::MultiExec => Call::new(Shape::Transaction, body.len()),
        RestEndpoint::Pipeline => Call::new(Shape::Pipeline, body.len()),
        _ => Call::new(Shape::One, body.len()),
    };
    if call.shape != Shape::One {
        json::commands(body, &mut |args| call.add(args, rules)).map_err(malformed)?;
    } else {
        let mut arguments = Arguments::default();
        path::segments(parts.uri.path()).for_each(|segment| arguments.push(&segment));
        if arguments.args().is_empty() {
            json::command(body, &mut arguments).map_err(malformed)?;
        } else if !body.is_empty() {
            arguments.push(body);
        }
        path::add_query(parts.uri.query(), &mut arguments);
        call.add(arguments.args(), rules);
    }
    call.finish();
    Ok(call)
}

async fn run(rest: &Rc<Rest>, mut call: Call, format: Format, token: usize, busy: Busy, kept: RequestBytes) -> Done {
    let (shape, commands) = (call.shape, call.slots.len());
    let mut refused = None;
    let mut conversation = None;
    if call.has_request() {
        match rest.converse(token).await {
            Err((status, error)) => {
                call.refuse(&error);
                refused = Some(status);
            }
            Ok(begun) if shape == Shape::Transaction && !begun.can_transact() => {
                call.refuse(NO_TRANSACTIONS);
                rest.give(begun);
            }
            Ok(begun) => conversation = Some(begun),
        }
    }
    let mut running = RunningCall::new(rest, conversation, call, format);
    std::future::poll_fn(|cx| running.poll(cx, WHOLE_BYTES)).await;
    let content_type = if format == Format::Resp2 { "application/octet-stream" } else { "application/json" };
    if !running.is_over() {
        let answer = Answer::streamed(running, busy, kept);
        return Done { status: StatusCode::OK, content_type, answer, commands };
    }
    // A refused token is told so whatever it asked for; else a pipeline's errors are elements.
    let is_one = shape == Shape::One;
    let status = match (refused, running.error()) {
        (Some(status), _) if is_one || status == StatusCode::UNAUTHORIZED => status,
        (None, Some(error)) if is_one => status::of_error(error),
        _ => StatusCode::OK,
    };
    Done { status, content_type, answer: Answer::whole(running.take(), busy), commands }
}

/// Listens to channels, or to all commands.
async fn listen(rest: &Rc<Rest>, feed: Feed, names: &[Vec<u8>], token: usize, busy: Busy) -> Done {
    if names.is_empty() && feed != Feed::Monitor {
        let error = b"ERR respguard: there is no channel in the path: /subscribe/CHANNEL";
        return Done::error(StatusCode::BAD_REQUEST, error, busy);
    }
    if feed == Feed::Monitor && rest.host.front.tokens.get(token).read_only {
        let error = b"NOPERM this token may only read: it has no permissions to run the 'monitor' command";
        return Done::error(StatusCode::BAD_REQUEST, error, busy);
    }
    let conversation = match rest.converse(token).await {
        Ok(conversation) => conversation,
        Err((status, error)) => return Done::error(status, error.as_bytes(), busy),
    };
    match Events::begin(conversation, &feed.request(names)).await {
        Ok(events) => {
            let answer = Answer::events(events, busy);
            Done { status: StatusCode::OK, content_type: "text/event-stream", answer, commands: 1 }
        }
        Err(error) => Done::error(status::of_error(&error), &error, busy),
    }
}
