//! The spare connection for commands that may help a server in trouble.
//!
//! A server that runs a long script, loads its data or has no room for more clients refuses what a new connection begins
//! with, or the connection itself. This one is there before the trouble, stays in db 0, and whoever asks is logged in on it
//! first: AUTH, HELLO and RESET are what no server refuses.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;

use super::connect::open;
use super::connections::Permit;
use super::{PING, Settings, WorkerSettings};
use crate::net::clock;
use crate::net::context::Context;
use crate::net::frames::Frames;
use crate::net::stream::Stream;
use crate::net::topology::Primary;
use crate::telemetry::label::UpstreamState;
use respguard_engine::command::Login;
use respguard_engine::link::handshake::{ConnectParams, Selects};
use respguard_engine::pipeline::finding::Fault;
use respguard_resp::{Protocol, encode, value};

/// Where none is kept any more, after so long another one is opened; one that is in use may come back before.
const MISSING_MAX: Duration = Duration::from_millis(200);
/// Between two attempts.
const OPEN_PAUSE: Duration = Duration::from_secs(1);
/// A connection that has been silent for so long may be stuck: the server is asked for a sign on another one.
const SILENCE_MIN: Duration = Duration::from_millis(3);
/// Between two questions.
const SIGN_PAUSE_MIN: Duration = Duration::from_millis(2);
const SIGN_PAUSE_MAX: Duration = Duration::from_millis(100);
/// More than `+PONG` takes.
const PONG_BYTES: usize = 64;
/// After so long without an answer a new connection is tried.
const SIGN_PATIENCE: Duration = Duration::from_millis(250);
const SIGN_OPEN_PAUSE_MAX: Duration = Duration::from_secs(8);
/// Connections in use at a time, should one not do.
const USED_MAX: usize = 8;
/// A longer answer is not waited for.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The user of the request, and the protocol of the reply.
#[derive(Debug, Clone)]
pub struct Identity {
    pub login: Option<Login>,
    pub protocol: Protocol,
}

/// The server's reply.
#[derive(Debug)]
pub struct Answered {
    pub reply: Vec<u8>,
    /// It is about the login, which the server does not take, and nothing was asked.
    pub is_refused: bool,
}

/// The spare connections of one worker: one is kept. Each counts among all connections, and none is refused for their
/// number: whoever needs one has no other.
pub struct Spares {
    context: Rc<Context>,
    settings: Rc<WorkerSettings>,
    kept: RefCell<Option<Spare>>,
    used: Cell<usize>,
    missing_since: Cell<Option<Instant>>,
    tried_at: Cell<Option<Instant>>,
    closed: Cell<bool>,
    /// When it was last asked for a sign, how long the last one took, and the pause before another connection is tried for it.
    sign_asked_at: Cell<Option<Instant>>,
    sign_took: Cell<Duration>,
    sign_pause: Cell<Duration>,
}

impl Spares {
    pub fn new(context: &Rc<Context>, settings: &Rc<WorkerSettings>) -> Rc<Spares> {
        Rc::new(Spares {
            context: Rc::clone(context),
            settings: Rc::clone(settings),
            kept: RefCell::default(),
            used: Cell::new(0),
            missing_since: Cell::new(None),
            tried_at: Cell::new(None),
            closed: Cell::new(false),
            sign_asked_at: Cell::new(None),
            sign_took: Cell::default(),
            sign_pause: Cell::new(OPEN_PAUSE),
        })
    }

    /// True when an unused one is available.
    pub fn is_at_hand(&self) -> bool {
        self.kept.borrow().as_ref().is_some_and(Spare::is_open)
    }

    /// Asks the server as `identity`. Who is `urgent` is not content with the connection that is kept.
    ///
    /// # Errors
    /// There is no connection, it was lost, or the server did not answer within `longest`.
    pub async fn ask(&self, identity: &Identity, request: &[u8], urgent: bool, longest: Duration) -> Result<Answered, Fault> {
        let kept = self.kept.borrow_mut().take().filter(Spare::is_open);
        let _used = Used::begin(&self.used);
        let mut spare = match kept {
            Some(spare) => spare,
            None if urgent && self.used.get() <= USED_MAX => {
                Spare::open(&self.context, &self.settings).await.ok_or(Fault::Unavailable)?
            }
            None => return Err(Fault::Unavailable),
        };
        let mut is_sent = false;
        let answered = tokio::time::timeout(longest, spare.ask(identity, request, &mut is_sent)).await;
        match answered {
            Ok(Ok(reply)) => {
                self.keep(spare);
                Ok(reply)
            }
            // What was lost before it was sent has not run.
            Ok(Err(_)) if !is_sent => Err(Fault::Unavailable),
            Ok(Err(_)) => Err(Fault::Lost),
            Err(_) => Err(Fault::Timeout),
        }
    }

    fn keep(&self, spare: Spare) {
        let mut kept = self.kept.borrow_mut();
        if kept.is_none() && !self.closed.get() {
            *kept = Some(spare);
        }
    }

    /// Keeps one open; called every few milliseconds.
    pub fn on_tick(self: &Rc<Self>) {
        // Which of a cluster's nodes is in trouble nobody can tell here.
        if self.settings.nodes.is_some() {
            return;
        }
        if self.is_at_hand() {
            return self.missing_since.set(None);
        }
        self.kept.take();
        let now = clock::now();
        let since = self.missing_since.get().unwrap_or(now);
        self.missing_since.set(Some(since));
        let is_due = self.tried_at.get().is_none_or(|at| now.saturating_duration_since(at) >= OPEN_PAUSE);
        if !is_due || now.saturating_duration_since(since) < MISSING_MAX {
            return;
        }
        self.tried_at.set(Some(now));
        let spares = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Some(spare) = Spare::open(&spares.context, &spares.settings).await {
                spares.keep(spare);
            }
        });
    }

    /// A silence that is shorter is none: answers take a while.
    pub fn least_silence(&self) -> Duration {
        SILENCE_MIN.max(2 * self.sign_took.get())
    }

    /// A connection has been silent for so long: asks the server for a sign, or takes note of it. Where the one that is kept
    /// brings none, a new connection may.
    pub fn ping_when_silent(self: &Rc<Self>, context: &Rc<Context>, silent: Duration) {
        let now = clock::now();
        let mut kept = self.kept.borrow_mut();
        let Some(spare) = kept.as_mut() else { return };
        if let Some(asked_at) = spare.ping.asked_at {
            if spare.poll_pong() {
                context.last_answered.answered(asked_at);
                self.sign_took.set(now.saturating_duration_since(asked_at));
                self.sign_pause.set(OPEN_PAUSE);
            } else if now.saturating_duration_since(asked_at) >= SIGN_PATIENCE {
                drop(kept);
                self.ping_elsewhere(context, now);
            }
            return;
        }
        let since = self.sign_asked_at.get().map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let pause = (silent / 4).clamp(SIGN_PAUSE_MIN, SIGN_PAUSE_MAX);
        if since >= pause {
            self.sign_asked_at.set(Some(now));
            if !spare.start_ping(now) {
                kept.take();
            }
        }
    }

    /// That it can be opened and used is a sign, too. The pauses grow: a busy server is not to be asked often.
    fn ping_elsewhere(self: &Rc<Self>, context: &Rc<Context>, now: Instant) {
        let pause = self.sign_pause.get();
        if self.tried_at.get().is_some_and(|at| now.saturating_duration_since(at) < pause) {
            return;
        }
        self.tried_at.set(Some(now));
        self.sign_pause.set((2 * pause).min(SIGN_OPEN_PAUSE_MAX));
        let (spares, context) = (Rc::clone(self), Rc::clone(context));
        tokio::task::spawn_local(async move {
            let Some(spare) = Spare::open(&spares.context, &spares.settings).await else { return };
            context.last_answered.answered(now);
            spares.kept.take();
            spares.keep(spare);
        });
    }

    /// None is kept any more.
    pub fn close(&self) {
        self.closed.set(true);
        self.kept.take();
    }
}

/// One more in use, as long as this is kept.
struct Used<'a>(&'a Cell<usize>);

impl<'a> Used<'a> {
    fn begin(used: &'a Cell<usize>) -> Used<'a> {
        used.set(used.get() + 1);
        Used(used)
    }
}

impl Drop for Used<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// One connection, and whom the server takes it for.
struct Spare {
    stream: Stream,
    identity: Identity,
    /// The server is the primary while this is its term.
    primary: Primary,
    term: u64,
    ping: PendingPing,
    _counted: Counted,
}

/// A PING of our own that has not been answered, and what has come of the answer.
#[derive(Debug)]
struct PendingPing {
    asked_at: Option<Instant>,
    /// Room for a `+PONG` is there from the start: a busy worker does not allocate for a sign.
    come: BytesMut,
}

impl Default for PendingPing {
    fn default() -> PendingPing {
        PendingPing { asked_at: None, come: BytesMut::with_capacity(PONG_BYTES) }
    }
}

impl PendingPing {
    /// The next one can be asked for.
    fn reset(&mut self) {
        self.asked_at = None;
        self.come.clear();
    }
}

/// One more among all connections, as long as this is kept.
struct Counted {
    context: Rc<Context>,
    _permit: Permit,
}

impl Counted {
    fn begin(context: &Rc<Context>, settings: &Settings) -> Counted {
        context.metrics.upstream_moved(None, Some(UpstreamState::Spare));
        Counted { context: Rc::clone(context), _permit: settings.connections.insist() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.context.metrics.upstream_moved(Some(UpstreamState::Spare), None);
    }
}

impl Spare {
    async fn open(context: &Rc<Context>, settings: &Settings) -> Option<Spare> {
        let counted = Counted::begin(context, settings);
        let params = ConnectParams { login: settings.login.clone(), selects: Selects::Itself, protocol: Protocol::Resp2, db: 0 };
        let view = settings.primary.view();
        let (stream, _) = open(settings, &view, &params, &[]).await.ok()?;
        let identity = Identity { login: settings.login.clone(), protocol: Protocol::Resp2 };
        let (primary, ping) = (settings.primary.clone(), PendingPing::default());
        Some(Spare { stream, identity, primary, term: view.term, ping, _counted: counted })
    }

    fn is_open(&self) -> bool {
        self.primary.is_in_term(self.term) && !self.stream.is_read_closed()
    }

    /// Asks for a sign without waiting; false when the connection is of no use.
    fn start_ping(&mut self, now: Instant) -> bool {
        if !self.primary.is_in_term(self.term) {
            return false;
        }
        let mut cx = TaskContext::from_waker(Waker::noop());
        let written = Pin::new(&mut self.stream).poll_write(&mut cx, PING);
        let flushed = Pin::new(&mut self.stream).poll_flush(&mut cx);
        self.ping.asked_at = Some(now);
        matches!(written, Poll::Ready(Ok(written)) if written == PING.len()) && !matches!(flushed, Poll::Ready(Err(_)))
    }

    /// True when it has come, whatever it says: who may not PING is told so by a server that answers.
    fn poll_pong(&mut self) -> bool {
        let mut cx = TaskContext::from_waker(Waker::noop());
        let read = poll_read_buf(Pin::new(&mut self.stream), &mut cx, &mut self.ping.come);
        let has_come = matches!(read, Poll::Ready(Ok(1..))) && self.ping.come.ends_with(b"\r\n");
        if has_come {
            self.ping.reset();
        }
        has_come
    }

    /// The answer; to the login, if that is refused: nothing is asked as somebody else.
    async fn ask(&mut self, identity: &Identity, request: &[u8], is_sent: &mut bool) -> io::Result<Answered> {
        if !self.primary.is_in_term(self.term) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if let Some(reply) = self.become_one(identity).await? {
            return Ok(Answered { reply, is_refused: true });
        }
        let mut reply = Vec::new();
        if !request.is_empty() {
            *is_sent = true;
            reply = self.round(request).await?;
        }
        Ok(Answered { reply, is_refused: false })
    }

    /// What the server says to who may not be `identity`.
    async fn become_one(&mut self, identity: &Identity) -> io::Result<Option<Vec<u8>>> {
        if self.identity.login != identity.login {
            match &identity.login {
                Some(login) => {
                    let words: Vec<&[u8]> = std::iter::once(&b"AUTH"[..]).chain(login.arguments()).collect();
                    let reply = self.call(&words).await?;
                    if value::is_error(&reply) {
                        return Ok(Some(reply));
                    }
                }
                None if self.call(&[b"RESET"]).await? == b"+RESET\r\n" => self.identity.protocol = Protocol::Resp2,
                // It cannot be made nobody's again.
                None => return Err(io::ErrorKind::Unsupported.into()),
            }
            self.identity.login.clone_from(&identity.login);
        }
        if self.identity.protocol != identity.protocol {
            let version: &[u8] = if identity.protocol == Protocol::Resp3 { b"3" } else { b"2" };
            let reply = self.call(&[b"HELLO", version]).await?;
            if value::is_error(&reply) {
                return Ok(Some(reply));
            }
            self.identity.protocol = identity.protocol;
        }
        Ok(None)
    }

    async fn call(&mut self, words: &[&[u8]]) -> io::Result<Vec<u8>> {
        self.round(&encode::request_frame(words)).await
    }

    async fn round(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let PendingPing { asked_at, come } = std::mem::take(&mut self.ping);
        // The answer to what was asked before comes first.
        let mut is_sign = asked_at.is_some();
        let mut frames = Frames::behind(come, REPLY_BYTES_MAX);
        loop {
            let frame = frames.next::<io::Error>(&mut self.stream).await?;
            // What is pushed answers nothing.
            if !frame.starts_with(b">") && !std::mem::take(&mut is_sign) {
                return if frames.is_empty() { Ok(frame.to_vec()) } else { Err(io::ErrorKind::InvalidData.into()) };
            }
        }
    }
}
