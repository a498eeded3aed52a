//! POST /reload, POST /mode and GET /config: passed on to the task that owns the configuration.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::AdminState;
use super::questions::{Answer, Question};
use crate::net::http::problem;
use respguard_engine::policy::Mode;
use respguard_engine::policy::rule::Word;

pub(super) async fn reload(State(state): State<AdminState>) -> Response {
    ask(&state, Question::Reload).await
}

pub(super) async fn config(State(state): State<AdminState>) -> Response {
    ask(&state, Question::Config).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    mode: String,
}

pub(super) async fn mode(State(state): State<AdminState>, wanted: Result<Query<Params>, QueryRejection>) -> Response {
    match wanted.ok().and_then(|Query(Params { mode })| Mode::from_word(&mode)) {
        Some(mode) => ask(&state, |answer| Question::Mode(mode, answer)).await,
        None => problem(StatusCode::BAD_REQUEST, "expected mode=observe or mode=enforce", &[]),
    }
}

/// No new clients from now on; what is owed is answered, then the process ends.
pub(super) async fn drain(State(state): State<AdminState>) -> Json<Value> {
    state.drain.cancel();
    Json(json!({ "draining": true }))
}

async fn ask(state: &AdminState, question: impl FnOnce(oneshot::Sender<Answer>) -> Question) -> Response {
    let (sender, answer) = oneshot::channel();
    if state.live.try_send(question(sender)).is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too much is asked at once, or the process ends; ask again", &[]);
    }
    match answer.await {
        Ok(Answer { status, body }) => (status, Json(body)).into_response(),
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "the process ends", &[]),
    }
}
