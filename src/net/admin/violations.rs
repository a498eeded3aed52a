//! GET /violations and /violations/stream: violations, newest first or as they happen.

use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::AdminState;
use crate::net::http::{piped, problem};
use crate::telemetry::record::SCHEMA;
use crate::telemetry::report::{KEPT_MAX, Reporter, ViolationFilter};
use respguard_engine::pipeline::violation::Kind;

/// Violations in one answer, unless more or fewer are asked for.
const LIMIT: usize = 100;
/// Streams at a time: each takes one of the listener's connections.
pub const STREAMS_MAX: usize = 16;
/// How often a stream without violations shows a sign of life; connections without one are closed.
const TICK: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    kind: Option<String>,
    rule: Option<Box<str>>,
    /// Milliseconds since 1970.
    since: Option<u64>,
    before: Option<u64>,
    after: Option<u64>,
    limit: Option<usize>,
}

impl Params {
    fn read(asked: Result<Query<Params>, QueryRejection>) -> Result<(ViolationFilter, usize), &'static str> {
        const EXPECTED: &str =
            "expected kind=, rule=, since= (milliseconds since 1970), before=, after= (sequence numbers), limit=";
        let Ok(Query(Params { kind, rule, since, before, after, limit })) = asked else { return Err(EXPECTED) };
        let kind = match kind.map(|word| Kind::from_word(&word)) {
            Some(None) => return Err("kind= is no kind of violation; docs/violations.md lists them"),
            kind => kind.flatten(),
        };
        let since = since.map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        Ok((ViolationFilter { kind, rule, since, before, after }, limit.unwrap_or(LIMIT).clamp(1, KEPT_MAX)))
    }
}

pub(super) async fn list(State(state): State<AdminState>, asked: Result<Query<Params>, QueryRejection>) -> Response {
    let (wanted, limit) = match Params::read(asked) {
        Ok(read) => read,
        Err(message) => return problem(StatusCode::BAD_REQUEST, message, &[]),
    };
    let recent = state.reporter.select(&wanted, limit + 1);
    let has_more = recent.records.len() > limit;
    let records = &recent.records[..recent.records.len().min(limit)];
    let next = records.last().filter(|_| has_more).map(|last| last.sequence);
    let shown: Vec<_> = records.iter().map(|record| record.shown()).collect();
    let body = json!({
        "schema": SCHEMA, "total": recent.total, "kept_max": recent.kept_max, "lost": recent.lost, "next": next, "violations": shown
    });
    Json(body).into_response()
}

/// Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
pub(super) async fn stream(
    State(state): State<AdminState>,
    headers: HeaderMap,
    asked: Result<Query<Params>, QueryRejection>,
) -> Response {
    let mut wanted = match Params::read(asked) {
        Ok((wanted, _)) => wanted,
        Err(message) => return problem(StatusCode::BAD_REQUEST, message, &[]),
    };
    let Ok(turn) = Arc::clone(&state.streams).try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "16 streams are open already; close one", &[]);
    };
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let newest = state.reporter.recent(0).total;
    // The numbers of a process that has ended mean nothing here.
    wanted.after = Some(seen.or(wanted.after).filter(|seen| *seen <= newest).unwrap_or(newest));
    let (pipe, answer) = piped("text/event-stream");
    let stream = Stream { reporter: state.reporter.clone(), wanted, pipe };
    tokio::spawn(stream.run(state.shutdown.clone(), turn));
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

struct Stream {
    reporter: Reporter,
    /// What has been sent is not wanted any more.
    wanted: ViolationFilter,
    pipe: DuplexStream,
}

impl Stream {
    /// Ends with the process, or when nobody reads any more.
    async fn run(mut self, shutdown: CancellationToken, _turn: OwnedSemaphorePermit) {
        let over = shutdown.cancelled_owned();
        tokio::select! {
            // Whoever reads has gone: nobody is left to tell.
            _ = self.send_all() => {}
            () = over => {}
        }
    }

    async fn send_all(&mut self) -> io::Result<()> {
        let mut news = self.reporter.news();
        self.pipe.write_all(b": violations as they come\n\n").await?;
        loop {
            news.borrow_and_update();
            self.send_new().await?;
            match timeout(TICK, news.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => self.pipe.write_all(b": still here\n\n").await?,
            }
        }
    }

    async fn send_new(&mut self) -> io::Result<()> {
        let recent = self.reporter.select(&self.wanted, KEPT_MAX);
        let after = self.wanted.after.unwrap_or_default();
        let mut text = String::new();
        if recent.lost > after {
            text.push_str(&format!("event: lost\ndata: {{\"lost\":{}}}\n\n", recent.lost - after));
        }
        for record in recent.records.iter().rev() {
            let shown = serde_json::to_string(&record.shown()).map_err(io::Error::other)?;
            text.push_str(&format!("id: {}\nevent: violation\ndata: {shown}\n\n", record.sequence));
        }
        self.wanted.after = Some(recent.total);
        self.pipe.write_all(text.as_bytes()).await
    }
}
