//! The life of a connection: it opens, serves its lane or is leased, is lost, and reconnects or ends.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tracing::{debug, error, info};

use super::term::PAUSE_MAX;
use super::{Link, Loss, Phase, fault_all};
use crate::net::address::Address;
use crate::net::clock;
use crate::net::stream::Stream;
use crate::net::topology::View;
use crate::net::upstream::cluster::ClusterConnection;
use crate::net::upstream::connect::{OpenError, open};
use respguard_engine::link::backoff::{self, Backoff};
use respguard_engine::link::handshake::{OrphanedConnection, Refusal, ServerInfo};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::preflight::Ability;

/// Before a link whose task has panicked connects again.
const PANIC_PAUSE: Duration = Duration::from_millis(100);

/// What was opened.
enum Opened {
    Server(Stream),
    Cluster(ClusterConnection),
}

impl Link {
    /// Waits for the handshake's outcome.
    ///
    /// # Errors
    /// The server's refusal, or `None` when there is no server.
    pub async fn opened(&self) -> Result<ServerInfo, Option<Refusal>> {
        std::future::poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            match state.phase {
                Phase::Ready => Poll::Ready(Ok(state.info.clone())),
                Phase::Closed => Poll::Ready(Err(state.refusal.clone())),
                Phase::Connecting => {
                    state.wait(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Closes the connection; outstanding requests are answered as lost.
    pub fn close(&self) {
        self.owner.replace(None);
        self.shared.set(false);
        self.state.borrow_mut().phase = Phase::Closed;
        // Another one may take its place before its task has run.
        self.show(None);
        self.wake();
    }

    /// True where this is the server that it is open to, or opens to.
    pub fn leads_to(&self, server: &Address) -> bool {
        self.view.borrow().node.as_ref().is_some_and(|node| node.address == *server)
    }

    /// It counts as lost, as if its server had closed it: clients that are owed something are told so.
    pub fn lose(&self) {
        self.state.borrow_mut().phase = Phase::Closed;
        self.wake();
    }

    /// Runs the link; should that panic, it is begun again as after a loss.
    pub(super) async fn watch(self: Rc<Self>) {
        while let Err(error) = tokio::task::spawn_local(Rc::clone(&self).run()).await
            && error.is_panic()
        {
            error!(upstream = %self.server(), "the task of an upstream connection panicked");
            self.context.metrics.panicked();
            // Nobody knows how far the reply at the head had come: its client cannot go on.
            self.state.borrow_mut().inflight.start_head();
            self.end(&Loss::Panicked);
            if !self.shared.get() {
                return self.finish();
            }
            tokio::time::sleep(PANIC_PAUSE).await;
        }
    }

    async fn run(self: Rc<Self>) {
        let mut backoff = Backoff::default();
        let mut was_lost = false;
        let mut primary = self.settings.primary.clone();
        let mut reconnected = self.settings.reconnected.subscribe();
        let begun = clock::now();
        while self.phase() != Phase::Closed || self.shared.get() {
            let view = primary.observe();
            self.view.replace(view.clone());
            if self.term.replace(view.term) != view.term {
                self.blame.forget();
            }
            let orphans = self.begin_orphan_kills();
            reconnected.mark_unchanged();
            let opened = self.open(&view, &orphans).await;
            self.end_orphan_kills(orphans, opened.is_err());
            opened.iter().flat_map(|(_, info)| &info.kills).for_each(|kill| self.context.killed(*kill));
            if let Err(error) = &opened
                && self.is_refused(error)
            {
                self.not_opened(error);
                self.revoke().await;
                break;
            }
            match opened {
                // A lease is for one client, who is to hear it from the server itself.
                Ok((_, ServerInfo { state: Some(reply), .. })) if self.shared.get() => {
                    self.not_opened(&OpenError::NotServing { address: self.server().to_string(), reply });
                }
                // Another server has become the primary meanwhile.
                Ok(_) if !self.is_in_term() => continue,
                // What was lost while this one was opened is ended before anything that waits is sent, too.
                Ok(_) if !self.orphans.borrow().is_empty() => continue,
                Ok(_) if !self.is_believed().await => {
                    self.revoke().await;
                    break;
                }
                Ok((stream, info)) => {
                    self.count_loss();
                    backoff.succeeded();
                    self.begin(info);
                    if was_lost {
                        self.settings.reconnected.notify();
                    }
                    let loss = match stream {
                        Opened::Server(stream) => self.pump(stream).await,
                        Opened::Cluster(connection) => {
                            self.at_once.replace(Some(connection.at_once(&self)));
                            self.pump(connection).await
                        }
                    };
                    self.end(&loss);
                }
                Err(error) => self.not_opened(&error),
            }
            if !self.shared.get() && !self.waits_for_primary(begun) {
                break;
            }
            was_lost = true;
            self.context.metrics.upstream_reconnect();
            if !self.is_in_term() {
                backoff.succeeded();
                continue;
            }
            let pause = backoff.failed(fastrand::f64());
            tokio::select! {
                biased;
                () = tokio::time::sleep(if primary.is_watched() { pause.min(PAUSE_MAX) } else { pause }) => {}
                () = primary.changed() => {}
                // The server is there again: what waits for this connection is not kept waiting for the rest of the pause.
                () = reconnected.changed() => tokio::time::sleep(pause.min(backoff::shortest(fastrand::f64()))).await,
            }
        }
        self.finish();
    }

    async fn open(&self, view: &View, orphans: &[OrphanedConnection]) -> Result<(Opened, ServerInfo), OpenError> {
        let Some(nodes) = &self.settings.nodes else {
            return open(&self.settings, view, &self.params, orphans).await.map(|(stream, info)| (Opened::Server(stream), info));
        };
        let opened = tokio::time::timeout(self.settings.connect_timeout, nodes.connect(&self.params)).await;
        opened.unwrap_or(Err(OpenError::NoCluster)).map(|(connection, info)| (Opened::Cluster(connection), info))
    }

    fn begin(&self, info: ServerInfo) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Closed {
            return;
        }
        debug!(upstream = %self.server(), id = ?info.client_id, shared = self.shared.get(), "upstream connection ready");
        if self.down.take().is_some() {
            info!(upstream = %self.server(), "upstream connection is back");
        }
        self.ability.set(Ability::Unknown);
        self.context.client_fields.set(info.fields);
        let told = self.note_transactions(&mut state, &info);
        self.lay_blame(&state, &info);
        state.info = info;
        state.phase = Phase::Ready;
        state.last_read = clock::now();
        state.beat_at = None;
        state.wake_waiting();
        drop(state);
        fault_all(told, Fault::Unavailable);
        self.note_user_connection();
        self.opened_at.set(Some(clock::now()));
        self.show_phase();
        if self.stands_for_server() {
            self.context.readiness.upstream(self.context.worker, true);
        }
        if self.shared.get() {
            self.health().alive();
        }
    }
}
