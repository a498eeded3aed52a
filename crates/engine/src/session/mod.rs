//! The session of one client: what it told us on its connection, and what follows for the next command.

pub mod affinity;
pub mod lane;
pub mod missed;
pub mod patience;
pub mod reply_mode;
pub mod subscription;
pub mod tracking;
pub mod transaction;

use affinity::Affinity;
use missed::Missed;
use respguard_resp::{Protocol, value};
use subscription::Subscriptions;
use tracking::Tracking;
use transaction::Transaction;

/// The state that Redis would keep for this client's connection.
#[derive(Debug, Default)]
pub struct Session {
    /// Which protocol replies are written in.
    pub protocol: Protocol,
    /// MULTI and WATCH.
    pub transaction: Transaction,
    /// Channels, patterns and shard channels.
    pub subscriptions: Subscriptions,
    /// Which upstream connection its commands may use.
    pub affinity: Affinity,
    /// Whether the client has to log in to the proxy.
    pub admission: Admission,
    /// The server agreed to the last HELLO, AUTH or SELECT that was sent to it, or to the last command about clients.
    pub accepted: bool,
    /// Client-side caching.
    pub tracking: Tracking,
    /// CLIENT NO-EVICT and NO-TOUCH, as the server has agreed to them.
    pub modes: ClientModes,
    /// The server has answered it, whatever it said.
    pub answered: bool,
    /// What the client believes its connection to have, and it has not.
    pub missed: Missed,
    /// A CLIENT CACHING was sent, and the command that it is about was not.
    pub caching: bool,
    /// What the open transaction has queued.
    pub queue: Queue,
}

/// What a client can turn on and off, and CLIENT LIST shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMode {
    /// <https://redis.io/docs/latest/commands/client-no-evict/>
    NoEvict,
    /// <https://redis.io/docs/latest/commands/client-no-touch/>
    NoTouch,
}

/// What of it is on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ClientModes {
    /// CLIENT NO-EVICT ON
    pub no_evict: bool,
    /// CLIENT NO-TOUCH ON
    pub no_touch: bool,
}

impl ClientModes {
    /// The server has agreed.
    pub fn set(&mut self, mode: ClientMode, on: bool) {
        match mode {
            ClientMode::NoEvict => self.no_evict = on,
            ClientMode::NoTouch => self.no_touch = on,
        }
    }
}

/// The queue of the client's own open MULTI, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Commands that the server has been sent since MULTI, and queues.
    pub commands: u32,
    /// Those among them that the proxy answers itself.
    pub answers: u32,
    /// One of them is long by nature.
    pub slow: bool,
}

impl Queue {
    /// What was counted last, and would have been answered by the proxy, was not queued.
    pub fn withdraw(&mut self) {
        self.commands = self.commands.saturating_sub(1);
        self.answers = self.answers.saturating_sub(1);
    }
}

impl Session {
    /// A question is put to the server, about which nobody knows anything yet.
    pub fn expect_answer(&mut self) {
        (self.accepted, self.answered) = (false, false);
    }

    /// The server has answered it.
    pub fn note_answer(&mut self, accepted: bool) {
        (self.accepted, self.answered) = (accepted, true);
    }

    /// This is what it has answered.
    pub fn note_reply(&mut self, reply: &[u8]) {
        self.note_answer(!value::is_error(reply));
    }

    /// RESP2 clients with a subscription may only use the pub/sub commands
    /// (<https://redis.io/docs/latest/develop/pubsub/>).
    pub fn in_subscribe_mode(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.subscriptions.any()
    }

    /// Nothing ties the client to its upstream connection any more.
    pub fn is_free(&self) -> bool {
        self.transaction.is_idle() && !self.subscriptions.any() && self.affinity.is_passing()
    }
}

/// Who decides about a client's login.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The server; the proxy asks for none.
    #[default]
    Upstream,
    /// The proxy, and it waits for one.
    Awaited,
    /// The proxy, which has accepted one.
    Granted,
}
