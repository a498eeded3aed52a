//! GET /slow: slow requests, with their client and where the time went.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AdminState;
use crate::net::http::problem;
use crate::telemetry::record::{rfc3339, unix_ms};
use crate::telemetry::slow::{KEPT_MAX, Slow};

/// Requests in one answer, unless more or fewer are asked for.
const LIMIT: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Params {
    /// The number of a client.
    client: Option<u64>,
    command: Option<String>,
    /// Only those with a greater number.
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn list(State(state): State<AdminState>, asked: Result<Query<Params>, QueryRejection>) -> Response {
    let Ok(Query(Params { client, command, after, limit })) = asked else {
        return problem(
            StatusCode::BAD_REQUEST,
            "expected client= (its number), command=, after= (a sequence number), limit=",
            &[],
        );
    };
    let command = command.map(|command| command.to_lowercase());
    let recent = state.slow.recent(limit.unwrap_or(LIMIT).clamp(1, KEPT_MAX), |slow| {
        client.is_none_or(|id| slow.request_owner.id == id)
            && command.as_ref().is_none_or(|command| slow.command.contains(command.as_str()))
            && after.is_none_or(|after| slow.sequence > after)
    });
    let threshold = state.slow.threshold().map(|threshold| u64::try_from(threshold.as_millis()).unwrap_or(u64::MAX));
    let shown: Vec<_> = recent.slow.iter().map(shown).collect();
    Json(json!({ "threshold_ms": threshold, "total": recent.total, "kept_max": KEPT_MAX, "slow": shown })).into_response()
}

fn shown(slow: &Slow) -> Value {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let (request_owner, waited) = (&slow.request_owner, slow.waited);
    json!({
        "sequence": slow.sequence,
        "at": rfc3339(slow.at),
        "at_ms": unix_ms(slow.at),
        "client": { "id": request_owner.id, "address": request_owner.address, "name": request_owner.name, "library": request_owner.library, "user": request_owner.user },
        "command": slow.command,
        "key_pattern": slow.key_pattern,
        "total_us": micros(waited.total()),
        "proxy_us": micros(waited.proxy),
        "behind_us": micros(waited.behind),
        "server_us": micros(waited.server),
        "timed_out": slow.timed_out,
        "delayed": slow.delayed,
    })
}
