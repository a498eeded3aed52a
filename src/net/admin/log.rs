//! GET and POST /log: the log level, shown and changed at run time.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::net::http::problem;
use crate::telemetry::log;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    level: String,
}

pub(super) async fn show() -> Response {
    match log::level() {
        Some(level) => Json(json!({ "level": level })).into_response(),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, "this process has no log", &[]),
    }
}

pub(super) async fn change(wanted: Result<Query<Params>, QueryRejection>) -> Response {
    let Ok(Query(Params { level })) = wanted else {
        return problem(StatusCode::BAD_REQUEST, "?level= is wanted, such as info or info,respguard::net=debug", &[]);
    };
    match log::set_level(&level) {
        Ok(()) => {
            tracing::info!(level, "the log level was changed");
            show().await
        }
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error.to_string() }))).into_response(),
    }
}
