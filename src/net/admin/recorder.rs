//! Starts recordings of what clients send, one at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::net::recording::{self, Intake};
use crate::net::registry::{Mailbox, Message};

/// Starts recordings, one at a time.
#[derive(Clone)]
pub struct Recorder {
    workers: Arc<[Mailbox]>,
    turn: Arc<Semaphore>,
    pub(super) shutdown: CancellationToken,
}

impl Recorder {
    /// A recorder of the clients of these workers; `shutdown` ends its recordings.
    pub fn new(workers: &[Mailbox], shutdown: CancellationToken) -> Recorder {
        Recorder { workers: workers.into(), turn: Arc::new(Semaphore::new(1)), shutdown }
    }

    /// Begins to record, unless somebody does already.
    pub(super) async fn begin(&self) -> Option<ActiveRecording> {
        let turn = Arc::clone(&self.turn).try_acquire_owned().ok()?;
        let (feed, intake) = recording::begin();
        for worker in self.workers.iter() {
            // A worker that has ended has no clients to record.
            let _ = worker.sender.send(Message::Record(feed.clone())).await;
        }
        Some(ActiveRecording { intake, turn })
    }
}

/// A recording that has begun; dropping it makes room for the next.
pub(super) struct ActiveRecording {
    pub(super) intake: Intake,
    pub(super) turn: OwnedSemaphorePermit,
}
