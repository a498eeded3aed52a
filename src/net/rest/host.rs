//! What a worker's conversations are begun with.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, mpsc};

use super::scripts::Scripts;
use super::tokens::Tokens;
use crate::net::client::connection::WorkerShared;
use crate::net::registry::Message;
use crate::net::tls::Acceptor;

/// What all workers know of the front.
#[derive(Debug)]
pub struct Front {
    pub tokens: Tokens,
    pub body_bytes_max: usize,
    /// Origins whose pages may send requests; `*` is all.
    pub cors: Vec<String>,
    /// Every request is logged.
    pub access_log: bool,
    pub acceptor: Option<Arc<Acceptor>>,
    pub scripts: Scripts,
    /// What the last answer was marked with.
    pub sync: AtomicU64,
}

impl Front {
    /// A mark that no answer before has had.
    pub(super) fn next_sync(&self) -> u64 {
        self.sync.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The front, and the worker that it begins conversations on.
pub(super) struct Host {
    pub(super) front: Arc<Front>,
    pub(super) shared: Rc<WorkerShared>,
    pub(super) own_mailbox: mpsc::WeakSender<Message>,
    /// One at a time asks whether the server lets a token's user in.
    pub(super) verifying: Mutex<()>,
}
