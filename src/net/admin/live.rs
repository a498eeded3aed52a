//! POST /reload and GET /config: questions to whoever keeps the configuration.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::AdminState;
use crate::net::http::problem;

/// Questions that may wait.
pub const QUESTIONS_MAX: usize = 16;

/// What the keeper of the configuration is asked.
pub enum Question {
    /// Read the file again and follow its rules.
    Reload(oneshot::Sender<Answer>),
    /// What applies now.
    Config(oneshot::Sender<Answer>),
}

/// What it says.
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

pub(super) async fn reload(State(state): State<AdminState>) -> Response {
    ask(&state, Question::Reload).await
}

pub(super) async fn config(State(state): State<AdminState>) -> Response {
    ask(&state, Question::Config).await
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

/// The way to the keeper of the configuration.
pub type Questions = mpsc::Sender<Question>;
