//! Keeps the server's command list up to date: asked at the start, and again when another server may have taken its place.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::net::registry::{Mailbox, Message};
use crate::net::upstream::Settings;
use crate::net::upstream::survey::{ServerId, Survey, SurveyError, survey};
use respguard_engine::command::{self, Table};
use respguard_engine::policy::Policy;

/// Pause between questions for the server's commands: so often at the most is it asked.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of the server.
pub(super) struct Surveyed {
    pub(super) table: Arc<Table>,
    /// The server that has described its commands, if it has told who it is.
    server: Option<ServerId>,
    /// Whether any server has.
    pub(super) described: bool,
}

impl Surveyed {
    /// The server's commands, if it is there and tells; else the built-in table.
    pub(super) async fn at_start(settings: &Settings) -> Surveyed {
        let mut surveyed = Surveyed { table: Arc::new(Table::builtin()), server: None, described: false };
        if let Err(error) = surveyed.ask(settings).await {
            warn!(%error, "the server has not listed its commands: is it running, and is [upstream] address right? The built-in table is used until it does");
        }
        surveyed
    }

    /// Rules about commands that the server lacks do nothing: the clients that send them get its error.
    pub(super) fn warn_of_absent(&self, policy: &Policy) {
        for (rule, command) in absent(policy, &self.table) {
            warn!(rule, command, "the server does not have this command, which a rule names");
        }
    }

    /// Asks whenever a connection was made anew after a loss, and until the server answers. One that refuses will not
    /// change its mind by itself.
    pub(super) async fn keep(mut self, settings: Settings, workers: Vec<Mailbox>) {
        let mut owed = !self.described;
        let mut reconnected = settings.reconnected.subscribe();
        loop {
            if !owed {
                reconnected.changed().await;
            }
            tokio::time::sleep(PAUSE).await;
            owed = match self.ask(&settings).await {
                Ok(true) => {
                    for worker in &workers {
                        // A worker that has ended needs no table.
                        let _ = worker.sender.send(Message::Table(Arc::clone(&self.table))).await;
                    }
                    false
                }
                Ok(false) | Err(SurveyError::Refused(_)) => false,
                Err(_) => true,
            };
        }
    }

    /// True when the table has changed. Ids stay: what a server adds comes behind what the table has.
    async fn ask(&mut self, settings: &Settings) -> Result<bool, SurveyError> {
        let mut table = (*self.table).clone();
        let Survey { server, merge } = survey(settings, &settings.primary.view(), self.server.as_ref(), &mut table).await?;
        let Some(merge) = merge else { return Ok(false) };
        let version = server.as_ref().map(|server| &*server.version);
        info!(added = merge.added.len(), absent = merge.absent, version, "the server has described its commands");
        (self.table, self.server, self.described) = (Arc::new(table), server, true);
        Ok(true)
    }
}

/// The commands that rules are about and the server does not have, each once for each rule, with since when others have it.
pub(super) fn absent<'p>(policy: &'p Policy, table: &Table) -> Vec<(&'p str, String)> {
    let mut absent = Vec::new();
    for (rule, id) in policy.commands() {
        let spec = table.spec(id);
        let since = command::since(spec.name()).map(|since| format!(" (since {since})")).unwrap_or_default();
        let found = (rule, spec.shown() + &since);
        if !spec.present && !absent.contains(&found) {
            absent.push(found);
        }
    }
    absent
}
