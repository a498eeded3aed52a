//! What the keeper of the configuration is asked, and what it says.

use axum::http::StatusCode;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use respguard_engine::policy::Mode;

/// Questions that may wait.
pub const QUESTIONS_MAX: usize = 16;

/// What the keeper of the configuration is asked.
pub enum Question {
    /// Read the file again and follow its rules.
    Reload(oneshot::Sender<Answer>),
    /// Follow the rules in this mode until the file is read again.
    Mode(Mode, oneshot::Sender<Answer>),
    /// What applies now.
    Config(oneshot::Sender<Answer>),
}

/// What it says.
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

/// The way to the keeper of the configuration.
pub type Questions = mpsc::Sender<Question>;
