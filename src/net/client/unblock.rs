//! CLIENT UNBLOCK: who of the proxy's clients waits, and where, and whom that is told.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::client_answers::id_of;
use super::connection::Connection;
use crate::net::address::Address;
use crate::net::registry::{Blocked, Message};
use crate::net::upstream::call::{self, Answer};
use respguard_engine::command::CommandId;
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::slot::Role;
use respguard_resp::{encode, value};

/// An id that no connection ever has.
pub(super) const NO_ID: &[u8] = b"9223372036854775807";
/// So often is the server asked to unblock a client whose blocking command it has not read yet, at such intervals.
const UNBLOCK_ATTEMPTS: u32 = 50;
const UNBLOCK_PAUSE: Duration = Duration::from_millis(2);
/// What is answered about a client that is not blocked.
const NOT_BLOCKED: &[u8] = b":0\r\n";

impl Connection {
    /// CLIENT UNBLOCK names a client of the proxy: its upstream connection is unblocked
    /// (<https://redis.io/docs/latest/commands/client-unblock/>). What is wrong with it is for the server to find. It and
    /// the blocking command travel over different connections, so that the server may read the later one first: where it
    /// says that a client is not blocked whose command is on its way, it is asked again.
    pub(super) async fn unblock(&mut self, id: CommandId, words: &[Box<[u8]>]) {
        for _ in 0..UNBLOCK_ATTEMPTS {
            match self.blocked(words).await {
                Blocked::No => break,
                Blocked::Soon => {}
                Blocked::On(upstream) => {
                    self.exchange.state.borrow_mut().session.expect_answer();
                    self.ask(id, Role::Unblock, &unblocking(words, Some(upstream)));
                    self.await_answers().await;
                    let mut state = self.exchange.state.borrow_mut();
                    if state.session.accepted || !state.session.answered {
                        return state.slots.skipped();
                    }
                }
                Blocked::AtNodes(nodes) => {
                    if let Some(reply) = self.unblock_at(&nodes, words).await {
                        self.exchange.count_request(id);
                        return self.exchange.answer(reply);
                    }
                }
            }
            tokio::time::sleep(UNBLOCK_PAUSE).await;
        }
        self.ask(id, Role::Plain, &unblocking(words, None));
    }

    /// The same on a cluster, once the transaction that it was queued in has run: its node knows nothing of the others.
    pub(super) async fn unblock_behind_exec(&self, words: &[Box<[u8]>]) -> Vec<u8> {
        for _ in 0..UNBLOCK_ATTEMPTS {
            match self.blocked(words).await {
                Blocked::No | Blocked::On(_) => break,
                Blocked::Soon => {}
                Blocked::AtNodes(nodes) => {
                    if let Some(reply) = self.unblock_at(&nodes, words).await {
                        return reply;
                    }
                }
            }
            tokio::time::sleep(UNBLOCK_PAUSE).await;
        }
        NOT_BLOCKED.to_vec()
    }

    /// What the nodes of a cluster answer to it, which are all asked at once: the first that has unblocked the client need not
    /// wait for the others. Nothing where none of them has anything to unblock.
    async fn unblock_at(&self, nodes: &[(Address, i64)], words: &[Box<[u8]>]) -> Option<Vec<u8>> {
        let longest = self.shared.pool.settings.request_timeout;
        let (answers, mut answered) = mpsc::channel(nodes.len().max(1));
        for (node, upstream) in nodes {
            let Some(lane) = self.exchange.link().lane_at(node) else { continue };
            let asked = unblocking(words, Some(*upstream));
            let asked: Vec<&[u8]> = asked.iter().map(|word| &word[..]).collect();
            let answers = answers.clone();
            // There is room for one answer of each, and whoever has heard enough has left.
            call::call(&lane.shared(), &encode::request_frame(&asked), longest, move |answer| {
                let _ = answers.try_send(match answer {
                    Answer::Reply(reply) => reply.to_vec(),
                    Answer::Lost => encode::error_reply(&Fault::Lost.of_command("CLIENT UNBLOCK")),
                    Answer::NotSent => NOT_BLOCKED.to_vec(),
                });
            });
        }
        drop(answers);
        let mut told = None;
        while let Some(reply) = answered.recv().await {
            if !value::is_error(&reply) && reply != NOT_BLOCKED {
                return Some(reply);
            }
            told = told.or(Some(reply).filter(|reply| reply != NOT_BLOCKED));
        }
        told
    }

    pub(super) async fn blocked(&self, words: &[Box<[u8]>]) -> Blocked {
        let target = words.get(2).and_then(|word| id_of(word)).and_then(|target| self.shared.registry.client(target));
        let Some(client) = target else { return Blocked::No };
        let (answer, answered) = oneshot::channel();
        match client.worker.send(Message::BlockedOn(client.id, answer)).await {
            Ok(()) => answered.await.unwrap_or(Blocked::No),
            Err(_) => Blocked::No,
        }
    }
}

/// CLIENT UNBLOCK as the server is asked: of the connection of the client that it names, or of one that nobody has.
pub(super) fn unblocking(words: &[Box<[u8]>], upstream: Option<i64>) -> Vec<Box<[u8]>> {
    let mut asked = words.to_vec();
    if let Some(id) = asked.get_mut(2).filter(|word| id_of(word).is_some()) {
        *id = upstream.map_or_else(|| NO_ID.into(), |upstream| upstream.to_string().into_bytes().into());
    }
    asked
}
