//! Notices that certificates were replaced, and applies the new ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::file_stamps::{FileStamps, file_stamps};
use super::{Acceptor, Connector, TlsError};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Everything of one process that was read from certificates' files.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    pub acceptor: Option<Arc<Acceptor>>,
    /// That of the REST front.
    pub rest: Option<Arc<Acceptor>>,
    pub connector: Option<Arc<Connector>>,
}

impl Certificates {
    /// Reads all files again. New connections are met with them, those that are there go on as they are.
    ///
    /// # Errors
    /// Which file is no good; everything then stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let accepting = self.acceptors().map(|acceptor| acceptor.read_again()).collect::<Result<Vec<_>, _>>()?;
        let connecting = self.connector.as_ref().map(|connector| connector.read_again()).transpose()?;
        self.acceptors().zip(accepting).for_each(|(acceptor, config)| acceptor.adopt(config));
        if let (Some(connector), Some(config)) = (&self.connector, connecting) {
            connector.adopt(config);
        }
        Ok(())
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.acceptors().next().is_none() && self.connector.is_none()
    }

    fn acceptors(&self) -> impl Iterator<Item = &Arc<Acceptor>> {
        self.acceptor.iter().chain(&self.rest)
    }

    /// `reload`, told to the log.
    ///
    /// # Errors
    /// As above.
    pub fn reload_and_log(&self) -> Result<(), TlsError> {
        let reloaded = self.reload();
        match &reloaded {
            Ok(()) => info!("certificates were read again"),
            Err(error) => warn!(%error, "certificates were not replaced: the previous ones stay in use"),
        }
        reloaded
    }

    /// Reloads whenever the files have changed and then stayed as they are for a moment: a certificate and its key
    /// are two files, and are written one after the other. Never ends; dropping it leaves everything in force.
    pub async fn watch(self) {
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (files, mut in_force) = self.seen();
        let mut before = in_force.clone();
        loop {
            ticks.tick().await;
            let now = file_stamps_off_thread(files.clone()).await;
            if now != in_force && now == before {
                // Those before stay in force; the log has said why.
                let _ = self.reload_and_log();
                in_force.clone_from(&now);
            }
            before = now;
        }
    }

    fn seen(&self) -> (Vec<PathBuf>, FileStamps) {
        let accepting = self.acceptors().map(|acceptor| acceptor.seen());
        let connecting = self.connector.as_ref().map(|connector| connector.seen());
        let (mut files, mut stamps) = (Vec::new(), FileStamps::new());
        for (paths, seen) in accepting.into_iter().chain(connecting) {
            files.extend(paths);
            stamps.extend(seen);
        }
        (files, stamps)
    }
}

/// Files may lie where looking takes long; nobody else waits for it.
async fn file_stamps_off_thread(files: Vec<PathBuf>) -> FileStamps {
    tokio::task::spawn_blocking(move || file_stamps(&files)).await.unwrap_or_default()
}
