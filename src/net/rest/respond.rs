//! Answers one HTTP request: authorisation, response, metrics and access log.

use std::rc::Rc;
use std::time::Instant;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tracing::info;

use super::answering::{Done, answer};
use super::body::Answer;
use super::connection::Busy;
use super::{Rest, request, status};

static SYNC_TOKEN: HeaderName = HeaderName::from_static(SYNC_TOKEN_NAME);
const SYNC_TOKEN_NAME: &str = "upstash-sync-token";
/// How long a browser may rely on what it was allowed.
const PREFLIGHT_SECONDS: u64 = 600;

/// What a request is answered.
pub async fn respond(rest: &Rc<Rest>, request: Request<Incoming>, peer: &str, busy: Busy) -> Response<Answer> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let endpoint = request::endpoint(parts.uri.path());
    let metrics = &rest.shared.context.metrics;
    if request::is_resent(&parts.headers) {
        metrics.rest_resent();
    }
    let mut token = None;
    let is_preflight = parts.method == Method::OPTIONS && !rest.front.cors.is_empty();
    let done = if is_preflight {
        Done { status: StatusCode::NO_CONTENT, content_type: "", answer: Answer::whole("", busy), commands: 0 }
    } else {
        match rest.front.tokens.admit(&parts.uri, &parts.headers) {
            Err((status, error)) => Done::error(status, error.as_bytes(), busy),
            Ok(_) if !request::takes(endpoint, &parts.method) => {
                let error = format!("ERR respguard: this is requested with {}", request::methods(endpoint));
                Done::error(StatusCode::METHOD_NOT_ALLOWED, error.as_bytes(), busy)
            }
            Ok(place) => {
                token = Some(place);
                answer(rest, &parts, endpoint, place, body, busy).await
            }
        }
    };
    let elapsed = started.elapsed();
    metrics.rest_request(endpoint, done.status.as_u16(), elapsed);
    if rest.front.access_log {
        info!(
            client = peer,
            token = token.map_or("", |place| &*rest.front.tokens.get(place).name),
            endpoint = endpoint.as_str(),
            method = parts.method.as_str(),
            status = done.status.as_u16(),
            commands = done.commands,
            bytes = done.answer.bytes(),
            micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "rest request"
        );
    }
    let mut response = Response::new(done.answer);
    *response.status_mut() = done.status;
    let headers = response.headers_mut();
    if !done.content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(done.content_type));
    }
    headers.insert(&SYNC_TOKEN, HeaderValue::from(rest.front.next_sync()));
    describe(done.status, request::methods(endpoint), parts.version, headers);
    allow_origin(&rest.front.cors, &parts, is_preflight, headers);
    response
}

/// What a status wants to be said beside it.
fn describe(status: StatusCode, methods: &'static str, version: Version, headers: &mut HeaderMap) {
    if let Some(seconds) = status::retry_after(status) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        // Not all of the body was read: the connection cannot carry another request.
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT if version < Version::HTTP_2 => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        StatusCode::OK if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") => {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        _ => {}
    }
}

/// Lets pages of the origins that are named read the answer (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
fn allow_origin(allowed: &[String], parts: &Parts, is_preflight: bool, headers: &mut HeaderMap) {
    if allowed.is_empty() {
        return;
    }
    let Some(origin) = parts.headers.get(header::ORIGIN) else { return };
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if !allowed.iter().any(|known| known == "*" || known.as_bytes() == origin.as_bytes()) {
        return;
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SYNC_TOKEN_NAME));
    if is_preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("HEAD, GET, POST, PUT"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_SECONDS));
        if let Some(wanted) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
    }
}
