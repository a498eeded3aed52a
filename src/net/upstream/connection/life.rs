//! The life of a connection: it opens, serves its lane or is leased, is lost, and reconnects or ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::blame::Blame;
use super::head_of_line::HeadOfLine;
use super::held_up::HeldUp;
use super::room::WaitingForRoom;
use super::silence::Silence;
use super::slow::{SlowWatch, Writes};
use super::term::PAUSE_MAX;
use super::{Link, Loss, Phase, State, Told, tell_all};
use crate::net::clock;
use crate::net::context::Context;
use crate::net::stream::Stream;
use crate::net::topology::View;
use crate::net::upstream::cluster::ClusterConnection;
use crate::net::upstream::connect::{OpenError, open};
use crate::net::upstream::connections::Permit;
use crate::net::upstream::{Reach, Recipient};
use crate::telemetry::label::UpstreamState;
use respguard_engine::command::{DEFAULT_USER, Login};
use respguard_engine::link::backoff::{self, Backoff};
use respguard_engine::link::handshake::{ConnectParams, OrphanedConnection, Refusal, ServerInfo};
use respguard_engine::link::inflight::Inflight;
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
    /// Starts to connect; requests can be queued at once. The orphaned connections are ended first.
    pub fn spawn(
        context: &Rc<Context>,
        settings: &Rc<Reach>,
        params: ConnectParams,
        permit: Permit,
        shared: bool,
        orphans: Vec<OrphanedConnection>,
    ) -> Rc<Link> {
        let link = Rc::new(Link {
            context: Rc::clone(context),
            settings: Rc::clone(settings),
            params,
            shared: Cell::new(shared),
            represents_server: Cell::new(false),
            state: RefCell::new(State {
                phase: Phase::Connecting,
                out: Vec::new(),
                out_at: 0,
                out_start: 0,
                inflight: Inflight::default(),
                writes: Writes::default(),
                info: ServerInfo::default(),
                refusal: None,
                last_read: clock::now(),
                beat_at: None,
                waiting: Vec::new(),
                waiting_for_room: WaitingForRoom::default(),
            }),
            waker: RefCell::new(None),
            woken: Cell::new(false),
            owner: RefCell::new(None),
            shown: Cell::new(None),
            unclean: Cell::new(false),
            down: Cell::new(None),
            over: Cell::new(false),
            orphans: RefCell::new(orphans),
            head_orphan: RefCell::default(),
            held_up: HeldUp::default(),
            head_of_line: HeadOfLine::default(),
            silence: Silence::default(),
            slow: SlowWatch::default(),
            retired: Cell::new(false),
            retirements: Cell::new(0),
            paced: Cell::new(None),
            hands_on: Cell::new(false),
            orphan_kills: RefCell::default(),
            ability: Cell::default(),
            struggling: Cell::new(false),
            finishing: Cell::new(false),
            has_carried_large: Cell::new(false),
            may_transact: Cell::new(true),
            uncounted_loss: Cell::new(false),
            ended_by_server: Cell::new(None),
            blame: Blame::default(),
            standing: Cell::default(),
            opened_at: Cell::new(None),
            permit: Cell::new(Some(permit)),
            out_kept: Cell::new(0),
            presence: Cell::new(None),
            view: RefCell::default(),
            term: Cell::new(0),
            doubt: Cell::new(None),
            is_believed: Cell::new(false),
            at_once: RefCell::default(),
            touched: RefCell::default(),
            is_inside_frame: Cell::new(false),
        });
        link.show(Some(UpstreamState::Connecting));
        tokio::task::spawn_local(Rc::clone(&link).watch());
        link
    }

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

    /// Whether there is a server is to be seen from this link from now on.
    pub fn represent_server(&self) {
        self.represents_server.set(true);
        if self.stands_for_server() && self.phase() == Phase::Ready {
            self.context.readiness.upstream(self.context.worker, true);
        }
    }

    /// True when it shows whether there is a server.
    pub fn represents_server(&self) -> bool {
        self.represents_server.get()
    }

    /// While there is no connection, it is taken to do MULTI and EXEC or not to.
    pub fn expect_transactions(&self, may_transact: bool) {
        self.may_transact.set(may_transact);
    }

    /// A leased link becomes its lane's shared one.
    pub fn share(&self) {
        self.shared.set(true);
        self.retired.set(false);
        self.owner.replace(None);
        self.show_phase();
    }

    /// Hands the lease to `owner`, or takes it back.
    pub fn set_owner(&self, owner: Option<Rc<dyn Recipient>>) {
        self.owner.replace(owner);
        self.show_phase();
    }

    /// Retires the connection: only clients with outstanding replies on it still send on it.
    pub fn retire(&self) {
        debug!(upstream = %self.server(), "a reply is stuck: what comes goes over another connection");
        self.retired.set(true);
        self.retirements.set(self.retirements.get().wrapping_add(1));
        self.show_phase();
        // Who is owed nothing here goes on over the other one.
        self.state.borrow_mut().waiting_for_room.wake_all();
    }

    /// It was replaced; if its head never moved again, as a lost one is.
    pub fn note_abandoned(&self) {
        if self.head_of_line.is_still() {
            self.context.metrics.upstream_reconnect();
        }
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

    /// Runs the link; should that panic, it is begun again as after a loss.
    async fn watch(self: Rc<Self>) {
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
                        self.settings.reconnected.send_replace(());
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
                () = tokio::time::sleep(if primary.is_watched() { pause.min(PAUSE_MAX) } else { pause }) => {}
                () = primary.changed() => {}
                // The server is there again: what waits for this connection is not kept waiting for the rest of the pause.
                Ok(()) = reconnected.changed() => tokio::time::sleep(pause.min(backoff::shortest(fastrand::f64()))).await,
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
        tell_all(told, Fault::Unavailable);
        self.note_presence();
        self.opened_at.set(Some(clock::now()));
        self.show_phase();
        if self.stands_for_server() {
            self.context.readiness.upstream(self.context.worker, true);
        }
        if self.shared.get() {
            self.health().alive();
        }
    }

    /// What waits on a shared connection was written for one that does MULTI and EXEC, or for one that does not. Groups
    /// that were wrapped for the former must not come to the latter: their members would run apart. Before a server that
    /// wants a password first nothing runs at all.
    fn note_transactions(&self, state: &mut State, info: &ServerInfo) -> Vec<Told> {
        let mut told = Vec::new();
        let was_expected = self.may_transact.replace(info.transactions);
        if !self.shared.get() || info.transactions || info.wants_password || !was_expected {
            return told;
        }
        let reason = String::from_utf8_lossy(info.no_transactions.as_deref().unwrap_or_default().trim_ascii());
        let user = String::from_utf8_lossy(self.params.login.as_ref().map_or(DEFAULT_USER, Login::user));
        warn!(upstream = %self.server(), %user, %reason, "without MULTI and EXEC groups are sent unwrapped");
        state.inflight.abandon_all(|who, frames, cut| told.push((Rc::clone(who), frames, cut)));
        let end = state.inflight.queued();
        state.forget_before(end);
        told
    }

    /// The connection is lost: what was sent, in whole or in part, has an unknown outcome.
    fn end(&self, loss: &Loss) {
        self.at_once.take();
        let mut told = Vec::new();
        let mut state = self.state.borrow_mut();
        let written = state.out_start + state.out_at as u64;
        let orphan = state.info.orphan();
        let is_refused = self.doubt.take().is_some() && matches!(loss, Loss::Moved);
        self.is_believed.set(false);
        let is_certain = !matches!(loss, Loss::Moved) && self.note_cause(&state, written, loss);
        if (self.replays_reads() || is_refused) && !is_certain {
            self.keep_what_may_go_again(&mut state, written, is_refused, &mut told);
        } else {
            let rest = state.inflight.lose(written, |who, owed, cut| told.push((Rc::clone(who), owed, cut)));
            state.forget_before(rest);
        }
        state.phase = if self.shared.get() { Phase::Connecting } else { Phase::Closed };
        drop(state);
        self.note_lease_end(&told, loss);
        self.note_end(loss);
        if let Some(orphan) = orphan.filter(|_| !told.is_empty() && !matches!(loss, Loss::Closed | Loss::Moved)) {
            self.keep_orphan(orphan);
        }
        if matches!(loss, Loss::OutOfSync | Loss::Protocol(_)) {
            self.context.metrics.out_of_sync();
        }
        if self.shared.get() {
            warn!(upstream = %self.server(), reason = %loss, unknown = told.len(), "upstream connection lost");
            if self.stands_for_server() {
                self.context.readiness.upstream(self.context.worker, false);
            }
            if matches!(loss, Loss::Moved) {
                // It says nothing about the server that is the primary now.
            } else if is_certain {
                // It is a single request's fault, not the server's.
            } else if self.represents_server.get() {
                self.health().failed(1);
            } else {
                // The server may have ended it because of its user alone: the next attempt tells.
                self.uncounted_loss.set(true);
            }
            self.show(Some(UpstreamState::Connecting));
        } else {
            debug!(upstream = %self.server(), reason = %loss, "leased connection ended");
        }
        tell_all(told, Fault::Lost);
    }

    /// A loss was not the lane's own affair.
    fn count_loss(&self) {
        if self.uncounted_loss.take() {
            self.health().failed(1);
        }
    }

    /// No connection is to be had for now.
    fn not_opened(&self, error: &OpenError) {
        if self.stands_for_server() {
            self.context.readiness.upstream_obstacle(error.obstacle());
        }
        if !self.is_refused(error) {
            // The server is away, and not only for one user.
            self.ended_by_server.set(None);
            self.blame.forget();
            self.count_loss();
            self.note_down(error);
        }
        if let OpenError::Refused { refusal, .. } = error {
            self.state.borrow_mut().refusal = Some(refusal.clone());
        }
    }

    fn note_down(&self, error: &OpenError) {
        if !self.shared.get() || self.retired.get() {
            return;
        }
        match self.down.get() {
            // Told once for each outage, not for each attempt.
            None => {
                self.down.set(Some(clock::now()));
                warn!(%error, cause = std::error::Error::source(error).map(tracing::field::display), "no upstream connection");
                if self.stands_for_server() {
                    self.context.readiness.upstream(self.context.worker, false);
                }
            }
            // A server that is away for less than requests wait has failed nobody.
            Some(_) if self.is_down() => self.health().failed(1),
            Some(_) => {}
        }
    }

    /// The link will never carry anything again: what waits on it is told so.
    fn finish(&self) {
        let mut told: Vec<Told> = Vec::new();
        let mut state = self.state.borrow_mut();
        state.phase = Phase::Closed;
        self.over.set(true);
        self.context.kept.change(&self.out_kept, 0);
        self.permit.take();
        self.presence.take();
        state.inflight.abandon_all(|who, owed, cut| told.push((Rc::clone(who), owed, cut)));
        state.forget_written(false);
        state.wake_waiting();
        drop(state);
        tell_all(told, Fault::Unavailable);
        if let Some(owner) = self.owner.take() {
            owner.lease_lost();
        }
        self.show(None);
    }

    /// Whether the server is there or not is to be seen from this connection.
    fn stands_for_server(&self) -> bool {
        self.represents_server.get() && self.shared.get() && !self.retired.get()
    }

    fn show_phase(&self) {
        let state = match self.phase() {
            Phase::Closed => return,
            Phase::Connecting => UpstreamState::Connecting,
            Phase::Ready if self.retired.get() => UpstreamState::Retired,
            Phase::Ready if self.shared.get() => UpstreamState::Shared,
            Phase::Ready if self.owner.borrow().is_some() => UpstreamState::Leased,
            Phase::Ready => UpstreamState::Idle,
        };
        self.show(Some(state));
    }

    fn show(&self, state: Option<UpstreamState>) {
        // It is no connection to a server.
        if self.settings.nodes.is_some() {
            return;
        }
        let before = self.shown.replace(state);
        if before != state {
            self.context.metrics.upstream_moved(before, state);
        }
    }
}
