//! Why a run ends before its end.

/// Why a run ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    Cancelled,
    LockLost,
    Failed(String),
    /// The server does not let this user find out.
    Unknown(String),
}
