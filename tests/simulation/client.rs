//! A client of the simulation: sends what its seed wants, in pieces and with pauses, and checks every reply.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout};

use crate::ledger::Ledger;
use crate::pipeline::{Pipeline, Want};
use crate::stage::Stage;
use crate::time::stir;
use crate::wire::{self, Reply};

#[path = "client/checks.rs"]
mod checks;
#[path = "client/session.rs"]
mod session;

pub use session::Session;

/// How much later than its deadline an answer may come: two looks at the deadlines, and a hold.
const SLACK: Duration = Duration::from_millis(60);

/// What everything is answered behind a change of db or protocol that was not carried out.
const NOT_RUN: &str = "ERR respguard: not run: ";

/// The proxy has closed the connection.
#[derive(Debug)]
pub struct Closed;

/// What one client knows of a key that only it writes.
#[derive(Debug, Default)]
struct Register {
    acknowledged: Option<String>,
    unknown: BTreeSet<String>,
    ever: BTreeSet<String>,
    /// Deletions of which nobody knows whether they have come to run.
    deletions: u32,
}

pub struct Client {
    pub number: u64,
    pub rng: Rng,
    stage: Rc<Stage>,
    ledger: Rc<RefCell<Ledger>>,
    registers: BTreeMap<(u32, String), Register>,
    popped: BTreeSet<String>,
    sessions: u64,
    /// It may be gone at any moment.
    pub leaves: bool,
}

/// What changes the connection's lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Db(u32),
    Protocol(u32),
}

impl Client {
    pub fn new(number: u64, seed: u64, stage: &Rc<Stage>) -> Client {
        Client {
            number,
            rng: Rng::with_seed(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            stage: Rc::clone(stage),
            ledger: Rc::clone(&stage.ledger),
            registers: BTreeMap::new(),
            popped: BTreeSet::new(),
            sessions: 0,
            leaves: true,
        }
    }

    /// Lives through some connections.
    pub async fn live(mut self, sessions: u64, rounds: u64) {
        for _ in 0..sessions {
            let mut session = self.connect();
            for _ in 0..rounds {
                let pause = Duration::from_micros(self.rng.u64(0..20_000));
                sleep(pause).await;
                if self.round(&mut session).await.is_err() {
                    if !session.may_close {
                        self.breach(format!("the connection of session {} was closed", session.number));
                    }
                    break;
                }
                // Some leave at any moment.
                if self.rng.u32(0..100) < 2 {
                    break;
                }
            }
            if self.rng.bool() && !session.left {
                let _ = session.socket.try_write(b"*1\r\n$4\r\nQUIT\r\n");
            }
            stir();
        }
    }

    pub fn connect(&mut self) -> Session {
        self.sessions += 1;
        let number = self.number * 1000 + self.sessions;
        let socket = self.stage.connect(number);
        let alone = self.stage.is_exclusive;
        Session {
            number,
            socket,
            input: Vec::new(),
            db: 0,
            resp3: false,
            may_close: alone,
            left: false,
            shared: !alone,
            has_guarded: self.stage.has_guarded,
            is_cluster: self.stage.server.nodes.is_some(),
            missed: None,
            opened: false,
        }
    }

    async fn round(&mut self, session: &mut Session) -> Result<(), Closed> {
        // Some go on as if nothing had been said, and must hear it again.
        if let Some(change) = session.missed
            && self.rng.bool()
        {
            return self.ask_for(session, change).await;
        }
        match self.rng.u32(0..100) {
            0..6 => self.change_lane(session).await,
            6..12 => self.subscribe(session).await,
            12..18 => self.split_transaction(session).await,
            _ => {
                let at_once = self.rng.u32(0..3) > 0;
                let mut pipeline = Pipeline::new(session, at_once);
                for _ in 0..self.rng.u32(1..=4) {
                    pipeline.add(&mut self.rng, &mut self.ledger.borrow_mut(), self.number);
                }
                self.run(session, pipeline).await
            }
        }
    }

    /// Sends the pipeline and checks its replies.
    pub async fn run(&mut self, session: &mut Session, pipeline: Pipeline) -> Result<(), Closed> {
        session.may_close |= pipeline.is_large;
        session.shared &= pipeline.turns == 0;
        let Pipeline { bytes, wants, at_once, turns, fences, .. } = pipeline;
        let leaves = self.leaves && self.rng.u32(0..100) < 1;
        for want in &wants {
            self.note_sent(want, session.db);
        }
        let last = if leaves { self.rng.usize(0..=bytes.len()) } else { bytes.len() };
        self.send(session, &bytes[..last], at_once).await?;
        if leaves {
            self.ledger.borrow_mut().part(&wants);
            return Err(self.leave(session));
        }
        let sent_at = Instant::now();
        self.stage.server.trace(|| format!("session {} sent {wants:?}", session.number));
        let (mut answers, mut times) = (Vec::new(), Vec::new());
        for _ in &wants {
            let answer = session.reply().await?;
            self.stage.server.trace(|| format!("session {} got {}", session.number, brief(&answer)));
            answers.push(answer);
            times.push(Instant::now());
            let took = sent_at.elapsed();
            let settings = &self.stage.settings;
            let unread = if session.opened { Duration::ZERO } else { settings.queue_timeout / 2 };
            // A connection that is new is asked whether it can carry them.
            let asked = if session.has_guarded { settings.request_timeout } else { Duration::ZERO };
            // What waits behind others on a connection that was opened for what was stuck may have its time once more.
            let paced = if self.stage.is_calm { Duration::ZERO } else { settings.request_timeout };
            let longest = settings.request_timeout.max(settings.queue_timeout) + unread + asked + paced + SLACK;
            // Each part of what comes bit by bit may ask.
            let is_bounded = session.shared && (at_once || !session.has_guarded);
            if is_bounded && took > longest * (1 + fences as u32) {
                self.breach(format!("session {}: an answer took {took:?}: {:?}", session.number, answers.last()));
            }
            let turn = settings.stall_timeout + settings.request_timeout + settings.queue_timeout + settings.connect_timeout;
            if took > turn * (turns as u32 + 2) * 2 {
                self.breach(format!("session {}: an answer behind {turns} turns took {took:?}", session.number));
            }
        }
        session.opened |= answers.iter().any(|answer| !answer.is_error());
        session.opened &= !answers.iter().any(is_lost);
        self.check(session, &wants, &answers, &times);
        Ok(())
    }

    /// The client is gone in the middle of what it sends.
    fn leave(&mut self, session: &mut Session) -> Closed {
        session.may_close = true;
        session.left = true;
        Closed
    }

    async fn send(&mut self, session: &mut Session, bytes: &[u8], at_once: bool) -> Result<(), Closed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = if at_once { rest.len() } else { self.rng.usize(1..=rest.len().min(60)) };
            session.write(&rest[..size]).await?;
            rest = &rest[size..];
            if !at_once && self.rng.u32(0..6) == 0 {
                let pause = Duration::from_micros(self.rng.u64(0..6_000));
                sleep(pause).await;
            }
        }
        Ok(())
    }

    fn note_sent(&mut self, want: &Want, db: u32) {
        match want {
            Want::Write { key: Some(key), tag } | Want::Queued { key: Some(key), tag: Some(tag) } => {
                let register = self.registers.entry((db, key.clone())).or_default();
                register.ever.insert(tag.clone());
                register.unknown.insert(tag.clone());
            }
            Want::Deleted { keys } => {
                for key in keys {
                    self.registers.entry((db, key.clone())).or_default().deletions += 1;
                }
            }
            Want::Group { rule, place: 0, .. } => {
                self.ledger.borrow_mut().groups.entry(rule).or_default().open += 1;
            }
            _ => {}
        }
    }

    /// HELLO and SELECT, each alone: what follows depends on their answer.
    async fn change_lane(&mut self, session: &mut Session) -> Result<(), Closed> {
        let is_select = self.rng.bool() && !session.is_cluster;
        let wanted = self.rng.u32(0..2);
        let change = if is_select { Change::Db(wanted) } else { Change::Protocol(wanted) };
        match session.missed {
            // The other kind does not make up for it.
            Some(missed) if missed.is_select() != is_select => self.ask_for(session, missed).await,
            _ => self.ask_for(session, change).await,
        }
    }

    async fn ask_for(&mut self, session: &mut Session, change: Change) -> Result<(), Closed> {
        session.shared = false;
        let request = match change {
            Change::Db(db) => wire::request(&["SELECT", &db.to_string()]),
            Change::Protocol(wanted) => wire::request(&["HELLO", if wanted == 1 { "3" } else { "2" }]),
        };
        session.write(&request).await?;
        let reply = session.reply().await?;
        self.stage.server.trace(|| format!("session {} asked for {change:?} and got {}", session.number, brief(&reply)));
        self.count(&reply);
        match (&reply, change) {
            (Reply::Error(text), _) if text.starts_with("TIMEOUT") => return Err(self.leave(session)),
            (Reply::Error(text), _) => {
                if !self.is_fault(&reply) || text.starts_with(NOT_RUN) {
                    self.misfit(session, &Want::Integer, &reply);
                }
                // Who asks for the protocol that it has misses nothing.
                if change != Change::Protocol(u32::from(session.resp3)) {
                    session.missed = Some(change);
                }
                return Ok(());
            }
            (Reply::Simple(_), Change::Db(db)) => session.db = db,
            (Reply::Map(_), Change::Protocol(1)) => session.resp3 = true,
            (Reply::Array(_), Change::Protocol(0)) => session.resp3 = false,
            (reply, _) => self.misfit(session, &Want::Integer, reply),
        }
        session.missed = None;
        Ok(())
    }

    /// Listens to a channel for a while.
    async fn subscribe(&mut self, session: &mut Session) -> Result<(), Closed> {
        session.may_close = true;
        session.shared = false;
        let channel = format!("ch{}", self.rng.u32(0..2));
        session.write(&wire::request(&["SUBSCRIBE", &channel])).await?;
        let reply = session.message().await?;
        self.check_missed(session, &reply);
        if reply.is_error() {
            return Ok(());
        }
        self.check_frame(session, &reply, "subscribe", &channel);
        let until = Instant::now() + Duration::from_millis(self.rng.u64(1..80));
        while let Ok(frame) = timeout(until.saturating_duration_since(Instant::now()), session.message()).await {
            self.check_frame(session, &frame?, "message", &channel);
        }
        session.write(&wire::request(&["UNSUBSCRIBE", &channel])).await?;
        loop {
            let frame = session.message().await?;
            if frame.is_error() {
                return Err(Closed);
            }
            let is_last = parts(&frame).first() == Some(&Reply::bulk("unsubscribe"));
            self.check_frame(session, &frame, if is_last { "unsubscribe" } else { "message" }, &channel);
            if is_last {
                return Ok(());
            }
        }
    }

    /// WATCH and MULTI in several goes, so that the client needs a connection of its own.
    async fn split_transaction(&mut self, session: &mut Session) -> Result<(), Closed> {
        session.shared = false;
        let mut pipeline = Pipeline::new(session, true);
        let one = session.is_cluster.then(|| self.rng.u32(0..3));
        let watches = self.rng.bool();
        if watches {
            let own = format!("own:{}:{}", self.number, one.unwrap_or_default());
            let key = pipeline.shared(self.rng.u32(0..2), &own);
            session.write(&wire::request(&["WATCH", &key])).await?;
            self.count(&session.reply().await?);
        }
        session.write(&wire::request(&["MULTI"])).await?;
        self.count(&session.reply().await?);
        pipeline.add_queued_on(one, &mut self.rng, &mut self.ledger.borrow_mut(), self.number);
        for want in &pipeline.wants {
            self.note_sent(want, session.db);
        }
        session.write(&pipeline.bytes).await?;
        let mut queued = Vec::new();
        for _ in &pipeline.wants {
            queued.push(session.reply().await?);
        }
        let pause = Duration::from_millis(self.rng.u64(0..30));
        sleep(pause).await;
        session.write(&wire::request(&["EXEC"])).await?;
        let exec = session.reply().await?;
        for reply in queued.iter().chain([&exec]) {
            self.stage.server.trace(|| format!("session {} got {}", session.number, brief(reply)));
            self.count(reply);
            self.check_missed(session, reply);
        }
        self.check_exec(session.db, &pipeline.wants, &queued, &exec);
        Ok(())
    }
}

impl Change {
    fn is_select(self) -> bool {
        matches!(self, Change::Db(_))
    }
}

/// It was on a connection that its client has no more.
fn is_lost(answer: &Reply) -> bool {
    matches!(answer, Reply::Error(text) if text.contains("the connection to the server was lost"))
}

fn parts(frame: &Reply) -> &[Reply] {
    match frame {
        Reply::Array(parts) | Reply::Map(parts) | Reply::Push(parts) => parts,
        _ => &[],
    }
}

fn brief(reply: &Reply) -> String {
    format!("{reply:?}").chars().take(200).collect()
}
