//! How one worker reaches the server.

use std::rc::Rc;

use super::cluster::nodes::Nodes;
use super::settings::Settings;
use crate::net::health::Health;
use crate::net::last_answered::LastAnswered;

/// The settings, with a worker's own way to a cluster.
pub struct WorkerSettings {
    pub settings: Settings,
    pub nodes: Option<Rc<Nodes>>,
    /// What is seen of one node of a cluster.
    pub health: Option<Health>,
    /// When that was last seen to answer.
    pub last_answered: Option<LastAnswered>,
}

impl WorkerSettings {
    /// One server.
    pub fn server(settings: Settings) -> WorkerSettings {
        WorkerSettings { settings, nodes: None, health: None, last_answered: None }
    }
}

impl std::ops::Deref for WorkerSettings {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}
