//! GET and POST /audit, POST /repair and /repair/undo: checks and repairs relations on request.
//!
//! An answer takes as long as the walk: it begins at once, and blank lines show a sign of life until the JSON comes.

use std::io;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::time::{MissedTickBehavior, interval};

use super::AdminState;
use crate::jobs::{REMOVED_LIMIT, REMOVED_MAX, Refused, RepairRequest, RunHandle, RunRequest, Selection};
use crate::net::http::{piped, problem};

/// How often a blank line says that it goes on; it also finds out that nobody waits any more.
const TICK: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParams {
    relation: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RepairParams {
    relation: Option<Box<str>>,
    #[serde(default)]
    apply: bool,
    max: Option<usize>,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UndoParams {
    id: Option<String>,
    run: Option<String>,
}

pub(super) async fn show(State(state): State<AdminState>) -> Json<Value> {
    Json(state.jobs.shown())
}

pub(super) async fn cancel(State(state): State<AdminState>) -> Json<Value> {
    Json(json!({ "cancelled": state.jobs.cancel() }))
}

pub(super) async fn audit(State(state): State<AdminState>, asked: Result<Query<AuditParams>, QueryRejection>) -> Response {
    let Ok(Query(AuditParams { relation })) = asked else {
        return problem(StatusCode::BAD_REQUEST, "expected relation= or nothing", &[]);
    };
    answer(state.jobs.begin(RunRequest { relation, repair: None, is_scheduled: false }).await)
}

pub(super) async fn repair(State(state): State<AdminState>, asked: Result<Query<RepairParams>, QueryRejection>) -> Response {
    const EXPECTED: &str = "expected relation=, apply=true or false, max= from 1 to 100000, force=true or false";
    let Ok(Query(RepairParams { relation, apply, max, force })) = asked else {
        return problem(StatusCode::BAD_REQUEST, EXPECTED, &[]);
    };
    let max = max.unwrap_or(REMOVED_MAX);
    if !(1..=REMOVED_LIMIT).contains(&max) {
        return problem(StatusCode::BAD_REQUEST, EXPECTED, &[]);
    }
    let repair = Some(RepairRequest { apply, max, force });
    answer(state.jobs.begin(RunRequest { relation, repair, is_scheduled: false }).await)
}

pub(super) async fn undo(State(state): State<AdminState>, asked: Result<Query<UndoParams>, QueryRejection>) -> Response {
    let which = match asked {
        Ok(Query(UndoParams { id: Some(id), run: None })) => Selection::Id(id),
        Ok(Query(UndoParams { id: None, run: Some(run) })) => Selection::Run(run),
        _ => return problem(StatusCode::BAD_REQUEST, "expected id= of one thing, or run= for all of a run", &[]),
    };
    answer(state.jobs.undo(which).await)
}

fn answer(begun: Result<RunHandle, Refused>) -> Response {
    match begun {
        Ok(begun) => {
            let (pipe, answer) = piped("application/json");
            tokio::spawn(follow(begun, pipe));
            answer
        }
        Err(refused) => {
            let status = match refused {
                Refused::NoSuchRelation | Refused::NoRelations | Refused::NoSuchId => StatusCode::NOT_FOUND,
                Refused::Server(_) => StatusCode::BAD_GATEWAY,
                Refused::Log(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Refused::Off | Refused::Busy | Refused::Locked | Refused::Done | Refused::NoLog => StatusCode::CONFLICT,
            };
            (status, Json(json!({ "error": refused.to_string() }))).into_response()
        }
    }
}

/// Passes the report on when it comes; what nobody waits for is ended.
async fn follow(begun: RunHandle, mut pipe: DuplexStream) {
    let cancel = begun.cancel.clone();
    if send(begun, &mut pipe).await.is_err() {
        tracing::info!("an audit was cancelled: its client disconnected");
        cancel.cancel();
    }
}

async fn send(begun: RunHandle, pipe: &mut DuplexStream) -> io::Result<()> {
    let RunHandle { mut report, .. } = begun;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            report = &mut report => {
                let report = report.unwrap_or_else(|_| json!({ "error": "it ended without a report" }));
                pipe.write_all(report.to_string().as_bytes()).await?;
                pipe.write_all(b"\n").await?;
                return pipe.shutdown().await;
            }
            _ = ticks.tick() => pipe.write_all(b"\n").await?,
        }
    }
}
