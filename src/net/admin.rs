//! The operators' endpoints: /metrics, /healthz, /readyz.

use std::io;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::http::{self, problem};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::fold::Folds;
use crate::telemetry::readiness::Readiness;

const PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];
const METHODS: [&str; 2] = ["GET", "HEAD"];
/// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What the endpoints show. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminState {
    pub exposition: Exposition,
    /// Asked before each scrape, so that it shows what the workers have counted up to then.
    pub folds: Folds,
    pub readiness: Readiness,
}

/// Serves the endpoints on `listener` until `shutdown`, and keeps the recorder tidy meanwhile.
///
/// It should outlive the clients' listener: while the process drains, `/readyz` says so.
pub async fn serve(listener: TcpListener, state: AdminState, shutdown: CancellationToken) -> io::Result<()> {
    let exposition = state.exposition.clone();
    tokio::select! {
        ended = http::serve(listener, routes(state), shutdown) => ended,
        () = keep_tidy(exposition) => Ok(()),
    }
}

fn routes(state: AdminState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(state)
}

async fn keep_tidy(exposition: Exposition) {
    let mut ticks = interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        exposition.run_upkeep();
    }
}

async fn metrics(State(state): State<AdminState>) -> Response {
    state.folds.fold_all().await;
    ([(header::CONTENT_TYPE, METRICS_TYPE)], state.exposition.render()).into_response()
}

async fn healthz() -> &'static str {
    "ok"
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    reasons: Vec<&'static str>,
}

async fn readyz(State(state): State<AdminState>) -> Response {
    let reasons: Vec<_> = state.readiness.reasons().into_iter().map(|reason| reason.as_str()).collect();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, reasons })).into_response()
}

async fn no_such_path() -> Response {
    problem(StatusCode::NOT_FOUND, "no such path", &PATHS)
}

async fn no_such_method() -> Response {
    let refused = problem(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method", &METHODS);
    ([(header::ALLOW, "GET, HEAD")], refused).into_response()
}
