//! The model server on its socket, or the nodes of a cluster on theirs: what comes in and goes out is delayed, cut into pieces,
//! and lost, as the seed wants it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::faults::Faults;
use crate::line::Line;
use crate::nodes::{self, Nodes};
use crate::redis::{Answer, Model};
use crate::sentinels::Sentinels;
use crate::stage::Play;
use crate::time::stir;
use crate::wire::{self, Reply};

/// Pieces into which one thing is cut at the most, or nearly so.
const PIECES_MAX: usize = 64;

/// Where a server, or a node, is reached.
struct Door {
    path: PathBuf,
    up: Cell<bool>,
    stopped: Notify,
    restarted: Notify,
    /// Until then nothing is executed.
    held_until: Cell<Option<Instant>>,
}

pub struct Server {
    doors: Vec<Door>,
    /// Where it is a cluster.
    pub nodes: Option<Nodes>,
    /// Where one of two servers is the primary.
    pub sentinels: Option<Sentinels>,
    pub faults: RefCell<Faults>,
    pub model: RefCell<Model>,
    pub rng: RefCell<Rng>,
    lines: RefCell<BTreeMap<i64, Rc<Line>>>,
    next_id: Cell<i64>,
    /// Requests were executed whose connection was gone.
    pub outlived: Cell<bool>,
    began: Instant,
    is_traced: bool,
    /// Cuts that are laid on the next connections: bytes in, bytes out.
    pub next_cuts: RefCell<VecDeque<(Option<usize>, Option<usize>)>>,
}

impl Server {
    /// One server, two that sentinels watch, or so many shards; the sockets are in this folder, under the names of the nodes.
    pub fn start(folder: &Path, play: &Play) -> Rc<Server> {
        let (shards, faults, seed) = (play.shards, play.faults.clone(), play.seed);
        let sentinels = play.is_watched.then(|| Sentinels::new(folder));
        let servers = if play.is_watched { 2 } else { 1 };
        let nodes = (shards > 0).then(|| Nodes::new(shards, seed & 1 == 1));
        let door = |node| Door {
            path: folder.join(nodes::name(node)),
            up: Cell::new(true),
            stopped: Notify::new(),
            restarted: Notify::new(),
            held_until: Cell::new(None),
        };
        let server = Rc::new(Server {
            doors: (0..nodes.as_ref().map_or(servers, Nodes::len)).map(door).collect(),
            nodes,
            sentinels,
            model: RefCell::new(Model::new(faults.undone_max > 0)),
            faults: RefCell::new(faults),
            rng: RefCell::new(Rng::with_seed(seed)),
            lines: RefCell::default(),
            next_id: Cell::new(1),
            outlived: Cell::new(false),
            began: Instant::now(),
            is_traced: std::env::var_os("TRACE").is_some(),
            next_cuts: RefCell::default(),
        });
        for node in 0..server.doors.len() {
            // Whoever connects first must find it.
            let listener = server.listen(node);
            tokio::task::spawn_local(Rc::clone(&server).accept(node, listener));
        }
        server.begin_changes();
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

    fn listen(&self, node: usize) -> UnixListener {
        let path = &self.doors[node].path;
        // A socket that nobody listens on any more is in the way.
        let _ = std::fs::remove_file(path);
        UnixListener::bind(path).expect("a socket")
    }

    async fn accept(self: Rc<Self>, node: usize, mut listener: UnixListener) {
        let door = &self.doors[node];
        loop {
            let accepted = tokio::select! {
                biased;
                () = door.stopped.notified() => None,
                accepted = listener.accept() => Some(accepted.expect("a connection").0),
            };
            stir();
            match accepted {
                Some(socket) => self.serve(node, socket),
                None => {
                    drop(listener);
                    door.restarted.notified().await;
                    listener = self.listen(node);
                }
            }
        }
    }

    /// All connections to it end, and nobody listens.
    pub fn stop(&self, node: usize) {
        self.doors[node].up.set(false);
        self.doors[node].stopped.notify_one();
        for line in self.lines.borrow().values().filter(|line| line.node == node) {
            line.kill();
        }
    }

    pub fn start_again(&self, node: usize) {
        self.doors[node].up.set(true);
        self.doors[node].restarted.notify_one();
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.doors[node].up.get()
    }

    /// It does nothing until then.
    pub fn hold(&self, node: usize, until: Instant) {
        self.doors[node].held_until.set(Some(until));
    }

    fn serve(self: &Rc<Self>, node: usize, socket: UnixStream) {
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.trace(|| format!("line {id} connects to node {node}"));
        if let Some(sentinels) = &self.sentinels {
            sentinels.note_reached(node);
        }
        let line = Rc::new(Line::new(socket, node, id));
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
                while let Some(until) = self.doors[line.node].held_until.get().filter(|until| *until > Instant::now()) {
                    sleep_until(until).await;
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
        let is_asking = words[0].eq_ignore_ascii_case("ASKING");
        let answer = match self.redirect(line, &words) {
            Some(reply) => Answer::Reply(reply),
            None => self.model.borrow_mut().take(&mut line.session.borrow_mut(), words, refuse),
        };
        line.note_asking(is_asking);
        match answer {
            Answer::Reply(reply) => {
                self.send(line, &reply);
                let killed = std::mem::take(&mut self.model.borrow_mut().killed);
                for id in killed {
                    self.kill_line(line, id);
                }
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
                let is_killed = self.kill_line(line, id);
                self.send(line, &Reply::Integer(i64::from(is_killed)));
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

    /// Ends the connection with this id, if it leads to the same server; true if there was one.
    fn kill_line(&self, line: &Line, id: i64) -> bool {
        let lines = self.lines.borrow();
        let killed = lines.get(&id).filter(|killed| !killed.killed.get() && killed.node == line.node);
        killed.inspect(|killed| killed.kill()).is_some()
    }

    /// What a node answers that does not serve the request.
    fn redirect(&self, line: &Line, words: &[String]) -> Option<Reply> {
        let nodes = self.nodes.as_ref()?;
        let mut model = self.model.borrow_mut();
        let answer = nodes.look(line.node, &mut line.session.borrow_mut(), line.asking.get(), words, &mut model);
        if let Some(Reply::Error(text)) = &answer {
            self.trace(|| format!("node {} says {text}", line.node));
        }
        answer
    }

    async fn block(&self, line: &Rc<Line>, lists: &[String], timeout: Option<Duration>) {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        line.unblocked.set(false);
        let db = line.session.borrow().db;
        loop {
            // Its slot may have moved meanwhile.
            let nodes = self.nodes.as_ref();
            if let Some(error) = nodes.and_then(|nodes| nodes.end_of_wait(line.node, &lists[0])) {
                return self.send(line, &Reply::Error(error));
            }
            let is_here = nodes.is_none_or(|nodes| nodes.is_here(line.node, &lists[0]));
            let popped = if is_here { self.model.borrow_mut().pop(db, lists) } else { None };
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
