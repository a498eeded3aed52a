//! What can be asked of audits and repairs, and why nothing is begun.

use std::path::PathBuf;
use std::time::Duration;

/// Things that one repair removes where nothing else is asked for.
pub const REMOVED_MAX: usize = 1000;
/// And at most.
pub const REMOVED_LIMIT: usize = 100_000;

/// `[audit]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `None`: only when asked.
    pub every: Option<Duration>,
    pub keys_per_second: u32,
    /// How long something may be broken before it is looked at again.
    pub grace: Duration,
    /// Whether scheduled runs remove what relations say.
    pub repair: bool,
    /// What repairs removed.
    pub repair_log: Option<PathBuf>,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// One relation; `None`: all.
    pub relation: Option<Box<str>>,
    /// What would be removed is told, or removed.
    pub repair: Option<RepairRequest>,
    pub is_scheduled: bool,
}

/// How a repair is wanted.
#[derive(Clone, Copy, Debug)]
pub struct RepairRequest {
    pub apply: bool,
    pub max: usize,
    /// Also where much looks broken.
    pub force: bool,
}

/// Why nothing was begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("audits are off: the configuration has no [audit]")]
    Off,
    #[error("no [[relation]] has that name")]
    NoSuchRelation,
    #[error("there is no [[relation]]")]
    NoRelations,
    #[error("an audit or a repair is under way already; GET /audit shows it")]
    Busy,
    #[error("another proxy audits this server now")]
    Locked,
    /// Only of scheduled runs.
    #[error("this server was audited of late")]
    Done,
    #[error("a repair wants [audit] repair_log, the file that it can be taken back from")]
    NoLog,
    #[error("[audit] repair_log cannot be written: {0}")]
    Log(String),
    #[error("the server cannot be asked: {0}")]
    Server(String),
    #[error("[audit] repair_log has nothing of that id")]
    NoSuchId,
}
