//! The REST front: Upstash's protocol over HTTP, on the same engine as RESP clients.
//!
//! One HTTP request is one conversation. `connection` serves HTTP, `respond` says what a request is answered. Pure are
//! `json`, `path`, `call`, `commands`, `scripts` (a request becomes RESP), and `reply`, `text`, `replies`, `status`
//! (replies become an answer). `conversation` alone knows the engine's clients.

mod answering;
pub mod body;
mod busy;
pub mod call;
pub mod commands;
pub mod connection;
mod conversation;
mod events;
mod host;
mod idle;
pub mod json;
pub mod path;
mod refusals;
pub mod replies;
pub mod reply;
mod request;
mod respond;
mod running_call;
pub mod scripts;
mod status;
pub mod text;
pub mod tokens;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::client::connection::WorkerShared;
use super::registry::Message;
use conversation::{Conversation, NoConversation};
use host::Host;
use idle::Idle;

pub use host::Front;

/// The front as one worker has it.
pub struct Rest {
    host: Host,
    idle: Idle<Conversation>,
    connections: Cell<usize>,
    stopping: CancellationToken,
}

impl Rest {
    /// No requests yet.
    pub fn new(front: Arc<Front>, shared: &Rc<WorkerShared>, own_mailbox: mpsc::WeakSender<Message>) -> Rc<Rest> {
        let tokens = front.tokens.count();
        shared.context.metrics.show_rest();
        Rc::new(Rest {
            host: Host { front, shared: Rc::clone(shared), own_mailbox, verifying: Mutex::new(()) },
            idle: Idle::new(tokens),
            connections: Cell::new(0),
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
        self.idle.clear();
    }

    /// Lets go of conversations that nobody has needed since the last call.
    pub fn trim(&self) {
        self.idle.trim();
    }

    /// A conversation for a request of this token.
    async fn converse(&self, token: usize) -> Result<Conversation, NoConversation> {
        while let Some(conversation) = self.idle.take(token) {
            if conversation.is_clean() {
                return Ok(conversation);
            }
        }
        Conversation::begin(&self.host, token).await
    }

    /// Takes a conversation back whose request has been answered.
    fn give(&self, conversation: Conversation) {
        if conversation.is_clean() && !self.stopping.is_cancelled() {
            self.idle.give(conversation.token(), conversation);
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
        self.0.host.shared.left.notify_one();
    }
}
