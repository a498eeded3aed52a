//! A client of the simulation: sends what its seed wants, in pieces and with pauses, and checks every reply.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use crate::ledger::{Fate, Ledger, tag_in};
use crate::pipeline::{Pipeline, Want, is_once};
use crate::stage::Stage;
use crate::time::stir;
use crate::wire::{self, Reply};

/// Nothing takes so long, whatever happens: who waits longer hangs.
const HANGS: Duration = Duration::from_secs(40);
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

/// One connection of a client.
pub struct Session {
    /// One for each connection of the simulation.
    pub number: u64,
    socket: UnixStream,
    input: Vec<u8>,
    pub db: u32,
    pub resp3: bool,
    /// The proxy may close it: it has held state that only a reconnect rebuilds.
    may_close: bool,
    /// It has been left in the middle of a request.
    left: bool,
    /// It has never had an upstream connection of its own.
    shared: bool,
    /// There are guarded groups too.
    pub has_guarded: bool,
    /// A SELECT or HELLO that the proxy could not carry out: until one is, nothing of the session runs.
    missed: Option<Change>,
    /// It has had a connection to the server: before that, what it sends may wait for one before it is read.
    opened: bool,
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
        let mut answers = Vec::new();
        for _ in &wants {
            let answer = session.reply().await?;
            self.stage.server.trace(|| format!("session {} got {}", session.number, brief(&answer)));
            answers.push(answer);
            let took = sent_at.elapsed();
            let settings = &self.stage.settings;
            let unread = if session.opened { Duration::ZERO } else { settings.queue_timeout / 2 };
            // A connection that is new is asked whether it can carry them.
            let asked = if session.has_guarded { settings.request_timeout } else { Duration::ZERO };
            let longest = settings.request_timeout.max(settings.queue_timeout) + unread + asked + SLACK;
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
        self.check(session, &wants, &answers);
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
            Want::Group { rule, place: 0, .. } => {
                self.ledger.borrow_mut().groups.entry(rule).or_default().open += 1;
            }
            _ => {}
        }
    }

    fn check(&mut self, session: &mut Session, wants: &[Want], answers: &[Reply]) {
        for (at, (want, answer)) in wants.iter().zip(answers).enumerate() {
            self.count(answer);
            self.check_missed(session, answer);
            match want {
                Want::Group { place: 0, tag, time, .. } => {
                    let is_member =
                        |other: &Want| matches!(other, Want::Group { tag: theirs, time: of, .. } if theirs == tag && of == time);
                    let members = wants.iter().zip(answers).filter(|(other, _)| is_member(other));
                    let members: Vec<Reply> = members.map(|(_, answer)| answer.clone()).collect();
                    self.check_group(session, want, &members);
                }
                Want::Group { .. } => {}
                Want::Exec { members } => {
                    self.check_exec(session.db, &wants[at - members..at], &answers[at - members..at], answer)
                }
                want => self.check_one(session, want, answer),
            }
        }
    }

    fn check_one(&mut self, session: &mut Session, want: &Want, answer: &Reply) {
        let faulty = self.is_fault(answer);
        match want {
            Want::Exactly(reply) if !faulty && answer != reply => self.misfit(session, want, answer),
            Want::Name(reply) if !faulty && answer != reply && *answer != Reply::Null => self.misfit(session, want, answer),
            Want::Integer if !faulty && !matches!(answer, Reply::Integer(_)) => self.misfit(session, want, answer),
            Want::Write { key, tag } => {
                let fate = fate_of(answer);
                let fits = faulty || matches!(answer, Reply::Simple(_) | Reply::Integer(_));
                if fate == Fate::Applied && !fits || answer.is_error() && !faulty {
                    self.misfit(session, want, answer);
                }
                self.settle(session.db, key.as_deref(), tag, fate);
            }
            Want::Read { key } if !faulty => self.check_read(session, key, answer),
            Want::Popped { list } if !faulty => self.check_popped(session, list, answer),
            _ => {}
        }
    }

    fn settle(&mut self, db: u32, key: Option<&str>, tag: &str, fate: Fate) {
        self.ledger.borrow_mut().settle(tag, fate);
        let Some(register) = key.and_then(|key| self.registers.get_mut(&(db, key.to_owned()))) else { return };
        match fate {
            Fate::Applied => {
                register.unknown.remove(tag);
                register.acknowledged = Some(tag.to_owned());
            }
            Fate::Refused => {
                register.unknown.remove(tag);
            }
            Fate::Open | Fate::Unknown => {}
        }
    }

    fn check_read(&mut self, session: &Session, key: &str, answer: &Reply) {
        let undone = self.stage.server.model.borrow().undone > 0;
        let register = self.registers.entry((session.db, key.to_owned())).or_default();
        let fits = match answer {
            Reply::Null => undone || register.acknowledged.is_none(),
            Reply::Bulk(value) => {
                let value = String::from_utf8_lossy(value);
                let tag = tag_in(&value).unwrap_or_default();
                register.acknowledged.as_deref() == Some(tag)
                    || register.unknown.contains(tag)
                    || undone && register.ever.contains(tag)
            }
            _ => false,
        };
        if !fits {
            let text = format!("session {}: {key} is {}, known: {register:?}", session.number, brief(answer));
            self.breach(text);
        }
    }

    fn check_popped(&mut self, session: &Session, list: &str, answer: &Reply) {
        match answer {
            Reply::Null => {}
            Reply::Array(parts) if matches!(&parts[..], [key, Reply::Bulk(_)] if *key == Reply::bulk(list)) => {
                let Some(Reply::Bulk(element)) = parts.get(1) else { return };
                let element = String::from_utf8_lossy(element).into_owned();
                if !self.popped.insert(element.clone()) && self.stage.server.model.borrow().undone == 0 {
                    self.breach(format!("session {}: {element} was popped twice", session.number));
                }
            }
            answer => self.misfit(session, &Want::Popped { list: list.to_owned() }, answer),
        }
    }

    fn check_exec(&mut self, db: u32, wants: &[Want], queued: &[Reply], exec: &Reply) {
        for (place, (want, reply)) in wants.iter().zip(queued).enumerate() {
            let Want::Queued { key, tag: Some(tag) } = want else { continue };
            let fate = match (reply, exec) {
                (Reply::Simple(word), Reply::Array(replies)) if word == "QUEUED" => {
                    replies.get(place).map_or(Fate::Unknown, |_| Fate::Applied)
                }
                (Reply::Simple(word), exec) if word == "QUEUED" => fate_of_exec(exec),
                // It ran by itself, because its MULTI did not reach the server.
                (reply, _) => fate_of(reply),
            };
            self.settle(db, key.as_deref(), tag, fate);
        }
    }

    fn check_group(&mut self, session: &Session, want: &Want, answers: &[Reply]) {
        let Want::Group { rule, tag, atomic, torn, time, .. } = want else { return };
        let names_group = |answer: &Reply| matches!(answer, Reply::Error(text) if text.contains(" group "));
        // Members that did not come in one piece may have gone one by one, or the optional ones without the others.
        let answers: Vec<Reply> = match !atomic && answers.iter().any(names_group) {
            true => answers.iter().filter(|answer| names_group(answer)).cloned().collect(),
            false => answers.to_vec(),
        };
        let words: Vec<&str> = answers.iter().filter_map(Reply::error).collect();
        let all = |word: &str| words.len() == answers.len() && words.iter().all(|other| *other == word);
        let aborted = words.len() == answers.len() && words.iter().all(|word| matches!(*word, "EXECABORT" | "OOM"));
        let counted = |count: &mut dyn FnMut(&mut crate::ledger::GroupCount)| {
            let mut ledger = self.ledger.borrow_mut();
            let group = ledger.groups.entry(rule).or_default();
            group.open -= 1;
            count(group);
        };
        if session.missed.is_some() && words.len() == answers.len() {
            // It is no group that was not even planned.
            return self.ledger.borrow_mut().settle_again(tag, Fate::Refused);
        }
        if !atomic && !answers.iter().any(names_group) {
            // Each reply stands for itself.
            let fate = match (words.is_empty(), aborted) {
                (true, _) => Fate::Applied,
                (_, true) => Fate::Refused,
                _ => Fate::Unknown,
            };
            return self.ledger.borrow_mut().settle_again(tag, fate);
        }
        if all("TIMEOUT") {
            counted(&mut |group| group.unknown += 1);
            return self.ledger.borrow_mut().settle_again(tag, Fate::Unknown);
        }
        if aborted {
            counted(&mut |group| group.refused += 1);
            return self.ledger.borrow_mut().settle_again(tag, Fate::Refused);
        }
        if all("COMMITTED") {
            counted(&mut |_| {});
            return self.ledger.borrow_mut().settle_again(tag, Fate::Applied);
        }
        if is_once(rule) && all("DUPLICATE") {
            // The proxy never takes a group that it has sent again itself for another one.
            if *time == 0 {
                self.breach(format!("session {}: group {rule} {tag} is a duplicate of nothing", session.number));
            }
            counted(&mut |group| group.duplicate += 1);
            return self.ledger.borrow_mut().settle_again(tag, Fate::Applied);
        }
        if is_guarded(rule) && *torn && words.len() == answers.len() && words.contains(&"WRONGTYPE") {
            // It was foretold, or has been undone.
            counted(&mut |group| group.refused += 1);
            return self.ledger.borrow_mut().settle_again(tag, Fate::Refused);
        }
        let is_in_part = all("PARTIAL") || words.contains(&"WRONGTYPE") && words.len() < answers.len();
        let partial = is_in_part && !(is_guarded(rule) && *atomic);
        if partial != *torn || !partial && !words.is_empty() {
            let text = answers.iter().map(brief).collect::<Vec<_>>().join(" | ");
            self.breach(format!("session {}: group {rule} {tag} was answered {text}", session.number));
        }
        counted(&mut |group| group.torn += usize::from(partial));
        self.ledger.borrow_mut().settle_again(tag, Fate::Applied);
    }

    /// HELLO and SELECT, each alone: what follows depends on their answer.
    async fn change_lane(&mut self, session: &mut Session) -> Result<(), Closed> {
        let is_select = self.rng.bool();
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

    /// Behind a change that was not carried out everything says so; elsewhere nothing does. A PING is the same in every db
    /// and protocol: while the server is in trouble it goes over a spare connection.
    fn check_missed(&mut self, session: &Session, answer: &Reply) {
        if session.missed.is_some() && matches!(answer, Reply::Simple(text) if text == "PONG") {
            return;
        }
        let says_so = matches!(answer, Reply::Error(text) if text.starts_with(NOT_RUN));
        if says_so != session.missed.is_some() {
            let text =
                format!("session {}: {:?} was missed, and it was answered {}", session.number, session.missed, brief(answer));
            self.breach(text);
        }
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

    fn check_frame(&mut self, session: &Session, frame: &Reply, word: &str, channel: &str) {
        if !matches!(parts(frame), [first, second, _] if *first == Reply::bulk(word) && *second == Reply::bulk(channel)) {
            let text = format!("session {}: a subscriber got {} for {word} {channel}", session.number, brief(frame));
            self.breach(text);
        }
    }

    /// WATCH and MULTI in several goes, so that the client needs a connection of its own.
    async fn split_transaction(&mut self, session: &mut Session) -> Result<(), Closed> {
        session.shared = false;
        let watches = self.rng.bool();
        if watches {
            let key = format!("shared{}", self.rng.u32(0..2));
            session.write(&wire::request(&["WATCH", &key])).await?;
            self.count(&session.reply().await?);
        }
        session.write(&wire::request(&["MULTI"])).await?;
        self.count(&session.reply().await?);
        let mut pipeline = Pipeline::new(session, true);
        pipeline.add_queued(&mut self.rng, &mut self.ledger.borrow_mut(), self.number);
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
            self.count(reply);
            self.check_missed(session, reply);
        }
        self.check_exec(session.db, &pipeline.wants, &queued, &exec);
        Ok(())
    }

    /// An error that says that the server, or the way to it, has failed, and not the request.
    fn is_fault(&mut self, reply: &Reply) -> bool {
        let Reply::Error(text) = reply else { return false };
        let fault = ["TIMEOUT respguard:", "ERR respguard:", "EXECABORT ", "OOM ", "COMMITTED "]
            .iter()
            .any(|word| text.starts_with(word));
        if fault && self.stage.is_calm {
            self.breach(format!("nothing goes wrong, and a client is told {text:?}"));
        }
        fault
    }

    fn misfit(&mut self, session: &Session, want: &Want, answer: &Reply) {
        let text = format!("session {}: {want:?} was answered {}", session.number, brief(answer));
        self.breach(text);
    }

    fn count(&self, reply: &Reply) {
        let sort = match reply {
            Reply::Error(text) => text.split(' ').next().unwrap_or_default().to_owned(),
            _ => "data".to_owned(),
        };
        *self.ledger.borrow_mut().answered.entry(sort).or_default() += 1;
    }

    fn breach(&self, text: String) {
        self.ledger.borrow_mut().breach(text);
    }
}

impl Change {
    fn is_select(self) -> bool {
        matches!(self, Change::Db(_))
    }
}

impl Session {
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.socket.writable().await.map_err(|_| Closed)?;
            match self.socket.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Closed),
            }
            stir();
        }
        Ok(())
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Result<Reply, Closed> {
        loop {
            if let Some((reply, length)) = wire::reply(&self.input) {
                self.input.drain(..length);
                return Ok(reply);
            }
            if timeout(HANGS, self.socket.readable()).await.is_err() {
                panic!("session {} hangs", self.number);
            }
            match self.socket.try_read_buf(&mut self.input) {
                Ok(0) => return Err(Closed),
                Ok(_) => stir(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Closed),
            }
        }
    }

    /// The next frame that is about channels.
    async fn message(&mut self) -> Result<Reply, Closed> {
        loop {
            let frame = self.frame().await?;
            if parts(&frame).first() != Some(&Reply::bulk("invalidate")) {
                return Ok(frame);
            }
        }
    }

    /// The next reply; messages that come in between are left out.
    pub async fn reply(&mut self) -> Result<Reply, Closed> {
        loop {
            match self.frame().await? {
                Reply::Push(_) => {}
                reply => return Ok(reply),
            }
        }
    }
}

/// A group of such a rule is applied whole, or nothing of it.
fn is_guarded(rule: &str) -> bool {
    matches!(rule, "guarded" | "proven" | "single" | "undone" | "sure")
}

/// What an answer tells about a write.
fn fate_of(answer: &Reply) -> Fate {
    match answer.error() {
        // It rode in the transaction of a group that was applied, and its reply was lost with that.
        None | Some("COMMITTED") => Fate::Applied,
        Some("TIMEOUT") => Fate::Unknown,
        Some(_) => Fate::Refused,
    }
}

/// What EXEC's answer tells about what was queued.
fn fate_of_exec(exec: &Reply) -> Fate {
    match exec {
        Reply::Array(_) => Fate::Applied,
        Reply::Error(text) if text.starts_with("TIMEOUT") => Fate::Unknown,
        _ => Fate::Refused,
    }
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
