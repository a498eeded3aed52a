//! The model server on its socket: what comes in and goes out is delayed, cut into pieces, and lost, as the seed wants it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::redis::{Answer, Model, Session};
use crate::time::stir;
use crate::wire::{self, Reply};

/// Pieces into which one thing is cut at the most, or nearly so.
const PIECES_MAX: usize = 64;

/// How often something goes wrong; probabilities are in thousandths.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// A connection is cut at a byte of what it receives, or of what it sends.
    pub cut_in: u32,
    pub cut_out: u32,
    /// The longest way before a cut.
    pub cut_bytes_max: usize,
    /// A piece is late by up to `late_max`.
    pub late: u32,
    pub late_max: Duration,
    /// A request takes up to `late_max` to execute.
    pub slow: u32,
    /// A write is refused for want of memory.
    pub refuse: u32,
    /// The longest piece; 0: as long as it comes.
    pub piece_max: usize,
    /// Pauses between failovers, if there are any.
    pub failover: Option<Duration>,
    /// What a failover undoes at the most.
    pub undone_max: usize,
    /// A frame that nobody asked for on a RESP3 connection, behind a reply.
    pub junk: u32,
}

impl Faults {
    /// Nothing goes wrong, at the worst something is a little late.
    pub fn is_none(&self) -> bool {
        let lossless = self.cut_in + self.cut_out + self.slow + self.refuse + self.junk == 0 && self.failover.is_none();
        lossless && self.late_max <= Duration::from_millis(5)
    }
}

/// One upstream connection.
struct Line {
    socket: UnixStream,
    session: RefCell<Session>,
    inbound: Channel,
    outbound: Channel,
    /// Nothing more is executed.
    killed: Cell<bool>,
    unblocked: Cell<bool>,
}

/// Bytes on their way, each piece with the moment of its arrival.
#[derive(Default)]
struct Channel {
    pieces: RefCell<VecDeque<(Instant, Vec<u8>)>>,
    latest: Cell<Option<Instant>>,
    passed: Cell<usize>,
    cut_at: Cell<Option<usize>>,
    over: Cell<bool>,
    news: Notify,
}

pub struct Server {
    path: PathBuf,
    pub faults: RefCell<Faults>,
    pub model: RefCell<Model>,
    rng: RefCell<Rng>,
    lines: RefCell<BTreeMap<i64, Rc<Line>>>,
    next_id: Cell<i64>,
    up: Cell<bool>,
    /// Requests were executed whose connection was gone.
    pub outlived: Cell<bool>,
    began: Instant,
    is_traced: bool,
    restarted: Notify,
    stopped: Notify,
    /// Cuts that are laid on the next connections: bytes in, bytes out.
    pub next_cuts: RefCell<VecDeque<(Option<usize>, Option<usize>)>>,
}

impl Server {
    pub fn start(path: &Path, faults: Faults, seed: u64) -> Rc<Server> {
        let server = Rc::new(Server {
            path: path.to_owned(),
            model: RefCell::new(Model::new(faults.undone_max > 0)),
            faults: RefCell::new(faults),
            rng: RefCell::new(Rng::with_seed(seed)),
            lines: RefCell::default(),
            next_id: Cell::new(1),
            up: Cell::new(true),
            outlived: Cell::new(false),
            began: Instant::now(),
            is_traced: std::env::var_os("TRACE").is_some(),
            restarted: Notify::new(),
            stopped: Notify::new(),
            next_cuts: RefCell::default(),
        });
        // Whoever connects first must find it.
        let listener = server.listen();
        tokio::task::spawn_local(Rc::clone(&server).accept(listener));
        tokio::task::spawn_local(Rc::clone(&server).fail_over());
        server
    }

    /// Connections that are open, and how many of them another client must not get.
    pub fn open_lines(&self) -> (usize, usize) {
        let lines = self.lines.borrow();
        (lines.len(), lines.values().filter(|line| !line.session.borrow().is_plain()).count())
    }

    /// No faults from now on.
    pub fn calm_down(&self) {
        self.faults.replace(Faults::default());
    }

    /// Says what happens, if that is wanted (`TRACE=1`).
    pub fn trace(&self, what: impl FnOnce() -> String) {
        if self.is_traced {
            eprintln!("{:?} {}", self.began.elapsed(), what().chars().take(300).collect::<String>());
        }
    }

    fn listen(&self) -> UnixListener {
        // A socket that nobody listens on any more is in the way.
        let _ = std::fs::remove_file(&self.path);
        UnixListener::bind(&self.path).expect("a socket")
    }

    async fn accept(self: Rc<Self>, mut listener: UnixListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stopped.notified() => None,
                accepted = listener.accept() => Some(accepted.expect("a connection").0),
            };
            stir();
            match accepted {
                Some(socket) => self.serve(socket),
                None => {
                    drop(listener);
                    self.restarted.notified().await;
                    listener = self.listen();
                }
            }
        }
    }

    /// All connections end, nobody listens for a while, and what a replica had not heard of is lost.
    async fn fail_over(self: Rc<Self>) {
        loop {
            let Some(pause) = self.faults.borrow().failover else { return };
            let pause = pause.mul_f64(self.rng.borrow_mut().f64() + 0.1);
            sleep(pause).await;
            if self.faults.borrow().failover.is_none() {
                return;
            }
            self.up.set(false);
            self.stopped.notify_one();
            for line in self.lines.borrow().values() {
                line.kill();
            }
            let undone = self.rng.borrow_mut().usize(0..=self.faults.borrow().undone_max);
            self.model.borrow_mut().fall_back(undone);
            let absence = Duration::from_millis(self.rng.borrow_mut().u64(1..600));
            sleep(absence).await;
            self.up.set(true);
            self.restarted.notify_one();
        }
    }

    fn serve(self: &Rc<Self>, socket: UnixStream) {
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.trace(|| format!("line {id} connects"));
        let line = Rc::new(Line {
            socket,
            session: RefCell::new(Session::new(id)),
            inbound: Channel::default(),
            outbound: Channel::default(),
            killed: Cell::new(false),
            unblocked: Cell::new(false),
        });
        self.lay_cuts(&line);
        self.lines.borrow_mut().insert(id, Rc::clone(&line));
        let (server, reader) = (Rc::clone(self), Rc::clone(&line));
        tokio::task::spawn_local(async move { server.read(&reader).await });
        let (server, writer) = (Rc::clone(self), Rc::clone(&line));
        tokio::task::spawn_local(async move { server.write(&writer).await });
        let server = Rc::clone(self);
        tokio::task::spawn_local(async move {
            server.execute(&line).await;
            // What was executed is still written.
            line.outbound.end();
            server.lines.borrow_mut().remove(&id);
        });
    }

    fn lay_cuts(&self, line: &Line) {
        if let Some((cut_in, cut_out)) = self.next_cuts.borrow_mut().pop_front() {
            line.inbound.cut_at.set(cut_in);
            line.outbound.cut_at.set(cut_out);
            return;
        }
        let faults = self.faults.borrow();
        let mut rng = self.rng.borrow_mut();
        let mut cut = |thousandths| (rng.u32(0..1000) < thousandths).then(|| rng.usize(0..faults.cut_bytes_max.max(1)));
        line.inbound.cut_at.set(cut(faults.cut_in));
        line.outbound.cut_at.set(cut(faults.cut_out));
    }

    /// Takes bytes off the socket; they arrive later.
    async fn read(&self, line: &Line) {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            // Once much has come, what else comes does in larger pieces.
            let least = 1 + line.inbound.passed.get() / PIECES_MAX;
            let size = match self.faults.borrow().piece_max {
                0 => buffer.len(),
                most => self.rng.borrow_mut().usize(least..=least.max(most)).min(buffer.len()),
            };
            if line.inbound.is_cut() || line.socket.readable().await.is_err() {
                break;
            }
            match line.socket.try_read(&mut buffer[..size]) {
                Ok(0) => break,
                Ok(read) => {
                    stir();
                    let delay = self.delay();
                    line.inbound.push(&buffer[..read], delay);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        stir();
        if line.inbound.is_cut() {
            line.hang_up();
        }
        line.inbound.end();
    }

    async fn write(&self, line: &Line) {
        while let Some(piece) = line.outbound.next().await {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                if line.socket.writable().await.is_err() {
                    return;
                }
                match line.socket.try_write(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
                stir();
            }
        }
        line.hang_up();
    }

    async fn execute(&self, line: &Rc<Line>) {
        let mut input = Vec::new();
        while let Some(piece) = line.inbound.next().await {
            input.extend_from_slice(&piece);
            while let Some((words, length)) = wire::words(&input) {
                input.drain(..length);
                if words.is_empty() {
                    continue;
                }
                let slow = self.chance(self.faults.borrow().slow);
                if slow {
                    let most = self.faults.borrow().late_max.as_millis() as u64;
                    let delay = Duration::from_millis(self.rng.borrow_mut().u64(0..=most));
                    sleep(delay).await;
                }
                if line.killed.get() {
                    return;
                }
                if line.inbound.over.get() {
                    self.outlived.set(true);
                }
                self.answer(line, words).await;
                if line.killed.get() {
                    return;
                }
            }
        }
    }

    async fn answer(&self, line: &Rc<Line>, words: Vec<String>) {
        let refuse = self.chance(self.faults.borrow().refuse);
        self.trace(|| format!("{:?} to line {}", words, line.session.borrow().id));
        let answer = self.model.borrow_mut().take(&mut line.session.borrow_mut(), words, refuse);
        match answer {
            Answer::Reply(reply) => {
                self.send(line, &reply);
                let published = std::mem::take(&mut self.model.borrow_mut().published);
                for (channel, message) in published {
                    let frame = Reply::Push(vec![Reply::bulk("message"), Reply::bulk(&channel), Reply::bulk(&message)]);
                    self.lines
                        .borrow()
                        .values()
                        .filter(|other| other.listens_to(&channel))
                        .for_each(|other| self.send(other, &frame));
                }
            }
            Answer::Replies(replies) => replies.iter().for_each(|reply| self.send(line, reply)),
            Answer::Publish(channel, message) => {
                let frame = Reply::Push(vec![Reply::bulk("message"), Reply::bulk(&channel), Reply::bulk(&message)]);
                let mut heard = 0;
                for other in self.lines.borrow().values().filter(|other| other.listens_to(&channel)) {
                    heard += 1;
                    self.send(other, &frame);
                }
                self.send(line, &Reply::Integer(heard));
            }
            Answer::Kill(id) => {
                let killed = self.lines.borrow().get(&id).filter(|killed| !killed.killed.get()).cloned();
                if let Some(killed) = &killed {
                    killed.kill();
                }
                self.send(line, &Reply::Integer(i64::from(killed.is_some())));
            }
            Answer::Unblock(id) => {
                let other = self.lines.borrow().get(&id).cloned();
                other.iter().for_each(|other| other.unblocked.set(true));
                self.send(line, &Reply::Integer(i64::from(other.is_some())));
            }
            Answer::Block(lists, timeout) => self.block(line, &lists, timeout).await,
        }
        if self.chance(self.faults.borrow().junk) && line.session.borrow().resp3 {
            self.send(line, &Reply::Push(vec![Reply::bulk("invalidate"), Reply::Array(vec![Reply::bulk("k")])]));
        }
    }

    async fn block(&self, line: &Rc<Line>, lists: &[String], timeout: Option<Duration>) {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        line.unblocked.set(false);
        let db = line.session.borrow().db;
        loop {
            let popped = self.model.borrow_mut().pop(db, lists);
            if let Some(reply) = popped {
                return self.send(line, &reply);
            }
            // A blocked client that hangs up is served no more.
            if line.killed.get() || line.inbound.over.get() {
                return;
            }
            if line.unblocked.take() || until.is_some_and(|until| until <= Instant::now()) {
                return self.send(line, &Reply::Null);
            }
            sleep(Duration::from_millis(3)).await;
        }
    }

    fn send(&self, line: &Line, reply: &Reply) {
        let mut bytes = Vec::new();
        reply.write(line.session.borrow().resp3, &mut bytes);
        let most = self.faults.borrow().piece_max;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let least = if most == 0 { rest.len() } else { 1 + bytes.len() / PIECES_MAX };
            let size = self.rng.borrow_mut().usize(least..=least.max(most)).min(rest.len());
            let delay = self.delay();
            line.outbound.push(&rest[..size], delay);
            rest = &rest[size..];
        }
        if line.outbound.is_cut() {
            line.outbound.end();
        }
    }

    fn chance(&self, thousandths: u32) -> bool {
        thousandths > 0 && self.rng.borrow_mut().u32(0..1000) < thousandths
    }

    fn delay(&self) -> Duration {
        let (late, most) = (self.chance(self.faults.borrow().late), self.faults.borrow().late_max.as_micros() as u64);
        Duration::from_micros(self.rng.borrow_mut().u64(0..=if late { most.max(1) } else { 200 }))
    }
}

impl Line {
    fn listens_to(&self, channel: &str) -> bool {
        !self.killed.get() && self.session.borrow().channels.contains(channel)
    }

    /// Nothing that is under way is executed any more.
    fn kill(&self) {
        self.killed.set(true);
        self.inbound.pieces.borrow_mut().clear();
        self.inbound.end();
        self.hang_up();
    }

    fn hang_up(&self) {
        // The other side may have hung up before.
        let _ = socket2::SockRef::from(&self.socket).shutdown(Shutdown::Both);
        stir();
    }
}

impl Channel {
    /// Bytes set out and arrive behind those before them. What lies behind the cut never does.
    fn push(&self, bytes: &[u8], delay: Duration) {
        let room = self.cut_at.get().map_or(usize::MAX, |cut| cut.saturating_sub(self.passed.get()));
        let bytes = &bytes[..bytes.len().min(room)];
        self.passed.set(self.passed.get() + bytes.len());
        if bytes.is_empty() || self.over.get() {
            return;
        }
        let at = self.latest.get().into_iter().chain([Instant::now() + delay]).max().expect("there is one");
        self.latest.set(Some(at));
        self.pieces.borrow_mut().push_back((at, bytes.to_vec()));
        self.news.notify_one();
    }

    fn is_cut(&self) -> bool {
        self.cut_at.get().is_some_and(|cut| self.passed.get() >= cut)
    }

    fn end(&self) {
        self.over.set(true);
        self.news.notify_one();
    }

    /// The next piece, when it has arrived; `None` behind the last.
    async fn next(&self) -> Option<Vec<u8>> {
        loop {
            let piece = self.pieces.borrow_mut().pop_front();
            match piece {
                Some((at, bytes)) => {
                    sleep_until(at).await;
                    return Some(bytes);
                }
                None if self.over.get() => return None,
                None => self.news.notified().await,
            }
        }
    }
}
