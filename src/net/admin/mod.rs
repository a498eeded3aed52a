//! The admin endpoints: what they are, and who may use them.

pub mod access;
mod audit;
pub mod clients;
mod dashboard;
mod history;
mod learn;
pub mod live;
mod log;
mod nodes;
pub mod questions;
pub mod record;
pub mod recorder;
mod refusals;
mod rules;
mod runbook;
mod slow;
mod state;
mod status;
pub mod violations;

use std::io;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::http;
use crate::telemetry::exposition::Exposition;

use refusals::{no_such_path, only_post, only_read, read_or_post};

pub use state::{AdminState, StatusSource};

/// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Serves the endpoints on `listener` until `shutdown`, and keeps the recorder tidy meanwhile.
///
/// It should outlive the clients' listener: while the process drains, `/readyz` says so.
pub async fn serve(listener: TcpListener, state: AdminState, shutdown: CancellationToken) -> io::Result<()> {
    let exposition = state.exposition.clone();
    let looking = history::keep(state.clone());
    tokio::select! {
        ended = http::serve(listener, routes(state), shutdown) => ended,
        () = keep_tidy(exposition) => Ok(()),
        () = looking => Ok(()),
    }
}

fn routes(state: AdminState) -> Router {
    let admit = middleware::from_fn_with_state(state.access.clone(), access::admit);
    let private = Router::new()
        .route("/clients", get(clients::list).fallback(only_read))
        .route("/clients/kill", post(clients::kill).fallback(only_post))
        .route("/slow", get(slow::list).fallback(only_read))
        .route("/audit", get(audit::show).post(audit::audit).fallback(read_or_post))
        .route("/audit/cancel", post(audit::cancel).fallback(only_post))
        .route("/repair", post(audit::repair).fallback(only_post))
        .route("/repair/undo", post(audit::undo).fallback(only_post))
        .route("/config", get(live::config).fallback(only_read))
        .route("/learn", post(learn::learn).fallback(only_post))
        .route("/log", get(log::show).post(log::change).fallback(read_or_post))
        .route("/record", post(record::record).fallback(only_post))
        .route("/mode", post(live::mode).fallback(only_post))
        .route("/drain", post(live::drain).fallback(only_post))
        .route("/reload", post(live::reload).fallback(only_post))
        .route("/violations", get(violations::list).fallback(only_read))
        .route("/violations/stream", get(violations::stream).fallback(only_read))
        .route_layer(admit);
    Router::new()
        .route("/", get(dashboard::page).fallback(only_read))
        .route("/dashboard/{file}", get(dashboard::file).fallback(only_read))
        .route("/runbook", get(runbook::runbook).fallback(only_read))
        .route("/metrics", get(metrics).fallback(only_read))
        .route("/healthz", get(healthz).fallback(only_read))
        .route("/readyz", get(readyz).fallback(only_read))
        .route("/groups", get(status::groups).fallback(only_read))
        .route("/rules", get(rules::rules).fallback(only_read))
        .route("/history", get(history::history).fallback(only_read))
        .route("/openapi.json", get(openapi).fallback(only_read))
        .route("/status", get(status::status).fallback(only_read))
        .merge(private)
        .fallback(no_such_path)
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
    state.flushes.flush_all().await;
    ([(header::CONTENT_TYPE, METRICS_TYPE)], state.exposition.render()).into_response()
}

/// The description of all this (<https://spec.openapis.org/oas/v3.1.0>).
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
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
