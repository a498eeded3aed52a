//! A client of the engine without a socket, for one HTTP request at a time.
//!
//! Everything between a REST request and the server is what a RESP client meets: sessions, lanes, groups, rules, deadlines,
//! budgets. A conversation that is over and has left nothing behind serves the next request of the same token.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use hyper::StatusCode;

use super::host::Host;
use super::tokens::Token;
use crate::net::client::connection::Connection;
use crate::net::exchange::Exchange;
use crate::net::pipe::{self, Pipe};
use crate::net::registry::Mailbox;
use crate::net::upstream::lane::{Lane, LaneKey};
use crate::net::upstream::pool::NoLane;
use respguard_engine::command::DEFAULT_USER;
use respguard_engine::link::handshake::Selects;
use respguard_engine::session::Admission;
use respguard_resp::{Protocol, value};

/// How far either side may be behind.
const PIPE_BYTES: usize = 64 * 1024;

/// Why there is no conversation: the status, and what the request is answered.
pub type NoConversation = (StatusCode, String);

/// One client of the engine.
pub struct Conversation {
    pipe: Pipe,
    /// What was answered last.
    received: BytesMut,
    exchange: Weak<Exchange>,
    /// The place of the token that it belongs to.
    token: usize,
}

impl Conversation {
    /// A new one, on the lane of the token's user.
    ///
    /// # Errors
    /// There are too many clients, or the server does not let the user in.
    pub(super) async fn begin(host: &Host, place: usize) -> Result<Conversation, NoConversation> {
        let token = host.front.tokens.get(place);
        let lane = lane(host, token).await?;
        let shared = &host.shared;
        let Some(sender) = host.own_mailbox.upgrade().filter(|_| !shared.context.draining.get()) else {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "ERR respguard: it is being shut down, nothing was sent".to_owned()));
        };
        let mailbox = Mailbox { sender, clients: Arc::clone(&shared.load) };
        let Some(client) = shared.registry.enter(Arc::clone(&token.peer), "rest".into(), &mailbox) else {
            let text = "ERR max number of clients reached (respguard: clients_max), nothing was sent";
            return Err((StatusCode::TOO_MANY_REQUESTS, text.to_owned()));
        };
        if shared.users.is_none() {
            let user = token.login.as_ref().map_or(DEFAULT_USER, |login| login.user());
            client.update(|details| details.user = user.into());
        }
        let (near, far) = pipe::pair(PIPE_BYTES);
        let exchange = Connection::begin(shared, Box::new(far), client, &lane);
        if shared.users.is_some() {
            // The token was shown.
            exchange.state.borrow_mut().session.admission = Admission::Granted;
        }
        Ok(Conversation { pipe: near, received: BytesMut::new(), exchange: Rc::downgrade(&exchange), token: place })
    }

    /// The place of its token.
    pub fn token(&self) -> usize {
        self.token
    }

    /// True when the next request can be said in it: nothing is owed, and nothing is left of the last one.
    pub fn is_clean(&self) -> bool {
        let Some(exchange) = self.exchange.upgrade() else { return false };
        let is_clean = {
            let state = exchange.state.borrow();
            state.session.is_free() && state.slots.is_empty() && !state.slots.has_late()
        };
        is_clean && exchange.ended().is_none() && !self.pipe.is_read_closed() && self.pipe.unread() == 0
    }

    /// Whether the server lets this user have transactions.
    pub fn can_transact(&self) -> bool {
        self.exchange.upgrade().is_some_and(|exchange| exchange.link().can_transact())
    }

    /// Says as much as there is room for.
    pub fn poll_send(&self, bytes: &[u8], cx: &Context<'_>) -> Poll<std::io::Result<usize>> {
        self.pipe.poll_write(cx, bytes)
    }

    /// The request has been said; nothing follows until it is answered.
    pub fn end_request(&self) {
        self.pipe.mark_whole();
    }

    /// Bytes that were said and not read.
    pub fn unread(&self) -> usize {
        self.pipe.unread()
    }

    /// What is answered, all of which counts as taken; `None` when nothing will be any more.
    pub fn poll_receive(&mut self, cx: &Context<'_>) -> Poll<Option<&[u8]>> {
        self.pipe.poll_exchange(cx, &mut self.received).map(|is_open| is_open.then_some(&self.received[..]))
    }
}

/// The lane of a token's user. Its credentials are the operator's own: a lane that is there is joined without asking.
async fn lane(host: &Host, token: &Token) -> Result<Rc<Lane>, NoConversation> {
    let pool = &host.shared.pool;
    let Some(login) = &token.login else { return Ok(Rc::clone(pool.first())) };
    let key = LaneKey { login: Some(login.clone()), selects: Selects::Itself, db: 0, protocol: Protocol::Resp2 };
    if let Some(lane) = pool.known(&key) {
        return Ok(lane);
    }
    // One asks, and those that wait find the answer.
    let _asking = host.verifying.lock().await;
    match pool.known(&key) {
        Some(lane) => Ok(lane),
        None => pool.verify(key, pool.first()).await.map_err(|why| refusal(&why)),
    }
}

fn refusal(why: &NoLane) -> NoConversation {
    match why {
        NoLane::Refused(refusal) => {
            let text = String::from_utf8_lossy(value::error_text(&refusal.reply)).into_owned();
            (StatusCode::UNAUTHORIZED, format!("{text} (respguard: the server refuses this token's user)"))
        }
        NoLane::Unavailable => {
            let text = "ERR respguard: nothing was sent: the server is unavailable";
            (StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
        }
        NoLane::Taken(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("ERR respguard: nothing was sent: {error}")),
    }
}
