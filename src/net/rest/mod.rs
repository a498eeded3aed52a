//! The REST front: Upstash's protocol over HTTP, on the same engine as RESP clients.
//!
//! One HTTP request is one conversation. `connection` serves HTTP, `respond` says what a request is answered. Pure are
//! `json`, `path`, `call`, `commands`, `scripts` (a request becomes RESP), and `reply`, `text`, `replies`, `status`
//! (replies become an answer). `conversation` alone knows the engine's clients.

mod answering;
mod asking;
pub mod body;
pub mod call;
pub mod commands;
pub mod connection;
mod conversation;
mod events;
pub mod json;
pub mod path;
mod refusals;
pub mod replies;
pub mod reply;
mod request;
mod respond;
pub mod scripts;
mod status;
pub mod text;
pub mod tokens;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::client::connection::WorkerShared;
use super::registry::Message;
use super::tls::Acceptor;
use conversation::{Conversation, NoConversation};
use scripts::Scripts;
use tokens::Tokens;

/// Conversations of one token that wait for the next request, on each worker.
const IDLE_MAX: usize = 256;

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
    fn next_sync(&self) -> u64 {
        self.sync.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The front as one worker has it.
pub struct Rest {
    pub front: Arc<Front>,
    shared: Rc<WorkerShared>,
    own_mailbox: mpsc::WeakSender<Message>,
    /// By token.
    idle: RefCell<Vec<Vec<Conversation>>>,
    /// The fewest that were idle since [`Rest::trim`], likewise.
    fewest: RefCell<Vec<usize>>,
    connections: Cell<usize>,
    /// One at a time asks whether the server lets a token's user in.
    verifying: Mutex<()>,
    stopping: CancellationToken,
}

impl Rest {
    /// No requests yet.
    pub fn new(front: Arc<Front>, shared: &Rc<WorkerShared>, own_mailbox: mpsc::WeakSender<Message>) -> Rc<Rest> {
        let tokens = front.tokens.count();
        shared.context.metrics.show_rest();
        Rc::new(Rest {
            front,
            shared: Rc::clone(shared),
            own_mailbox,
            idle: RefCell::new((0..tokens).map(|_| Vec::new()).collect()),
            fewest: RefCell::new(vec![0; tokens]),
            connections: Cell::new(0),
            verifying: Mutex::new(()),
            stopping: CancellationToken::new(),
        })
    }

    /// True when nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.connections.get() == 0
    }

    /// Takes no new requests; what is being answered is.
    pub fn stop(&self) {
        self.stopping.cancel();
        self.idle.borrow_mut().iter_mut().for_each(Vec::clear);
    }

    /// Lets go of conversations that nobody has needed since the last call.
    pub fn trim(&self) {
        for (idle, fewest) in self.idle.borrow_mut().iter_mut().zip(self.fewest.borrow_mut().iter_mut()) {
            // Those at the front were given back first, and are taken last.
            idle.drain(..(*fewest).min(idle.len()));
            *fewest = idle.len();
        }
    }

    /// A conversation for a request of this token.
    async fn converse(&self, token: usize) -> Result<Conversation, NoConversation> {
        loop {
            let idle = self.idle.borrow_mut()[token].pop();
            let Some(conversation) = idle else { return Conversation::begin(self, token).await };
            let left = self.idle.borrow()[token].len();
            let fewest = &mut self.fewest.borrow_mut()[token];
            *fewest = left.min(*fewest);
            if conversation.is_clean() {
                return Ok(conversation);
            }
        }
    }

    /// Takes a conversation back whose request has been answered.
    fn give(&self, conversation: Conversation) {
        let token = conversation.token();
        let idle = &mut self.idle.borrow_mut()[token];
        if idle.len() < IDLE_MAX && conversation.is_clean() && !self.stopping.is_cancelled() {
            idle.push(conversation);
        }
    }

    fn count_connection(self: &Rc<Rest>) -> Counted {
        self.connections.set(self.connections.get() + 1);
        Counted(Rc::clone(self))
    }
}

/// A connection, as long as it is there.
struct Counted(Rc<Rest>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.shared.left.notify_one();
    }
}
