//! CLIENT TRACKING .. REDIRECT, and the connections of the clients that it names.

use tokio::sync::oneshot;

use super::connection::Connection;
use super::fence::unsent;
use crate::net::registry::Message;
use crate::net::upstream::call::ask;
use respguard_engine::command::CommandId;
use respguard_engine::command::integer::integer;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::tracking::{Tracking, redirect_place};
use respguard_resp::encode;

/// An id that no connection ever has.
const NO_ID: &[u8] = b"9223372036854775807";
/// What the server says of that, once it has agreed to the rest.
const NOBODY: &[u8] = b"-ERR The client ID you want redirect to does not exist";

impl Connection {
    /// CLIENT TRACKING, on a connection that the client keeps.
    pub(super) async fn track(&mut self, id: CommandId, words: &[Box<[u8]>]) {
        self.consume_one();
        if !self.drained().await {
            return self.exchange.answer(unsent());
        }
        let redirects = redirect_place(words).is_some();
        if redirects && let Some(error) = self.objection(words).await {
            return self.exchange.answer(error);
        }
        let (asked, upstream) = self.redirected(words).await;
        self.exchange.state.borrow_mut().session.expect_answer();
        self.ask(id, Role::Lane, &asked);
        self.await_answers().await;
        let mut state = self.exchange.state.borrow_mut();
        if state.session.accepted {
            state.session.tracking = Tracking::of(words, upstream);
        }
    }

    /// What the server says against it before it looks who is meant: no other client is concerned until then.
    async fn objection(&self, words: &[Box<[u8]>]) -> Option<Vec<u8>> {
        let request = encode::request_frame(&named(words, NO_ID).iter().map(|word| &word[..]).collect::<Vec<_>>());
        let (link, longest) = (self.exchange.link(), self.shared.pool.settings.request_timeout);
        let reply = ask(&link, &request, longest).await?;
        (!reply.starts_with(NOBODY)).then_some(reply)
    }

    /// CLIENT TRACKING as the server is told, with the id that the client it names has there.
    pub(super) async fn redirected(&self, words: &[Box<[u8]>]) -> (Vec<Box<[u8]>>, Option<i64>) {
        let place = redirect_place(words);
        let Some(client) = place.and_then(|at| integer(&words[at])) else { return (words.to_vec(), None) };
        let upstream = match u64::try_from(client) {
            Ok(client) => self.own_connection_of(client).await,
            Err(_) => None,
        };
        let id = upstream.map_or_else(|| NO_ID.to_vec(), |upstream| upstream.to_string().into_bytes());
        (named(words, &id), upstream)
    }

    async fn own_connection_of(&self, id: u64) -> Option<i64> {
        let client = self.shared.registry.client(id)?;
        let (answer, answered) = oneshot::channel();
        client.worker.send(Message::OwnConnection(id, answer)).await.ok()?;
        let longest = self.shared.pool.settings.request_timeout;
        tokio::time::timeout(longest, answered).await.ok()?.ok().flatten()
    }

    /// Another client names this one: its connection is known at the server from now on.
    pub(super) async fn give_own_connection(&mut self) {
        let id = if self.is_unauthenticated() { None } else { self.own_connection().await };
        self.exchange.report_own_connection(id);
    }

    async fn own_connection(&mut self) -> Option<i64> {
        if !self.lease.is_held() {
            self.take_lease(Reason::Exclusive).await.ok()?;
        }
        self.exchange.state.borrow_mut().session.affinity.pin(Reason::Exclusive);
        let link = self.lease.link()?;
        link.opened().await.ok()?.client_id
    }
}

/// The words, with another id behind REDIRECT.
fn named(words: &[Box<[u8]>], id: &[u8]) -> Vec<Box<[u8]>> {
    let mut named = words.to_vec();
    if let Some(at) = redirect_place(words) {
        named[at] = id.into();
    }
    named
}
