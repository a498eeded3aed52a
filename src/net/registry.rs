//! All clients of the process, over all workers: what CLIENT LIST shows and CLIENT KILL reaches.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::net::address::Address;
use crate::net::recording::Feed;
use respguard_engine::command::Table;
use respguard_engine::lazy::Lazy;
use respguard_engine::policy::Policy;
use respguard_engine::session::ClientModes;
use respguard_engine::session::tracking::Tracking;
use respguard_resp::Protocol;

/// How long a worker may take to say what its clients are doing.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(1);

/// Whether a client waits for a blocking command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    No,
    /// The command has not been sent yet.
    Soon,
    /// The server has been sent it over the connection with this id.
    On(i64),
    /// These nodes of a cluster have, over the connections with these ids.
    AtNodes(Vec<(Address, i64)>),
}

impl Blocked {
    /// The id of that connection at the server.
    pub fn upstream(self) -> Option<i64> {
        match self {
            Blocked::On(id) => Some(id),
            Blocked::No | Blocked::Soon | Blocked::AtNodes(_) => None,
        }
    }
}

/// What a worker is told from outside. Cold: nothing on the way of a command is sent this way.
pub enum Message {
    /// A new client for the worker.
    Accept(Socket, Arc<Client>),
    /// A new connection of the REST front, its address, and its place among those that there may be.
    Http(Socket, Arc<str>, OwnedSemaphorePermit),
    /// CLIENT KILL.
    Kill(u64),
    /// Whether a client is blocked, and where.
    BlockedOn(u64, oneshot::Sender<Blocked>),
    /// The id at the server of the connection that the client has alone, and is given if it has none.
    OwnConnection(u64, oneshot::Sender<Option<i64>>),
    /// What each of the worker's clients is doing.
    Describe(oneshot::Sender<Vec<(u64, Activity)>>),
    /// Take no new requests, answer what is owed. Clients that asked for it are told first, and have so long to leave.
    Drain(Duration),
    /// The server's own commands are known now.
    Table(Arc<Table>),
    /// Commands are planned with these rules from now on; answered when that is so.
    Policy(Arc<Policy>, oneshot::Sender<()>),
    /// What clients send is recorded from now on.
    Record(Feed),
    /// Answered by a worker that is not stuck.
    Alive(oneshot::Sender<()>),
}

/// A client's socket on its way to a worker.
pub enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// One connected client.
pub struct Client {
    /// One for each client of the process.
    pub id: u64,
    pub peer: Arc<str>,
    pub local: Arc<str>,
    pub connected_at: Instant,
    /// The mailbox of the client's worker.
    pub worker: mpsc::Sender<Message>,
    details: Mutex<Lazy<Details>>,
    /// CLIENT KILL has ended it: it is gone for everybody, whenever its worker gets to it.
    killed: AtomicBool,
    /// It has asked for maintenance notifications.
    wants_notices: AtomicBool,
}

/// What a client is doing, as its worker sees it (<https://redis.io/docs/latest/commands/client-list/>).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// Since it sent or took anything.
    pub idle: Duration,
    pub is_monitor: bool,
    pub is_blocked: bool,
    pub tracking: Tracking,
    pub modes: ClientModes,
    pub channels: usize,
    pub patterns: usize,
    pub shard_channels: usize,
    /// What its open MULTI has queued.
    pub queued: Option<u32>,
    /// Bytes of requests that wait, and that there is room for.
    pub input: (usize, usize),
    /// Bytes of replies that wait.
    pub output: usize,
    pub command: Box<str>,
    /// What it has sent since it connected, and what of it came to no good.
    pub requests: u64,
    pub violations: u64,
    pub timeouts: u64,
}

/// What a client told about itself.
#[derive(Debug, Clone)]
pub struct Details {
    pub name: Box<[u8]>,
    pub library_name: Box<[u8]>,
    pub library_version: Box<[u8]>,
    pub user: Box<[u8]>,
    pub db: u32,
    pub protocol: Protocol,
}

impl Default for Details {
    /// Nothing was told.
    fn default() -> Details {
        Details {
            name: Box::default(),
            library_name: Box::default(),
            library_version: Box::default(),
            user: b"default".as_slice().into(),
            db: 0,
            protocol: Protocol::default(),
        }
    }
}

impl Details {
    /// Its library with the version, such as `redis-py 7.1.0`; empty where it has not said so.
    pub fn library(&self) -> String {
        let [name, version] = [&self.library_name, &self.library_version].map(|word| String::from_utf8_lossy(word));
        format!("{name} {version}").trim().to_owned()
    }
}

/// The clients of the process.
pub struct Registry {
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    next_id: AtomicU64,
    clients_max: usize,
}

impl Registry {
    /// No clients yet, and at most `clients_max` at a time.
    pub fn new(clients_max: usize) -> Registry {
        Registry { clients: Mutex::default(), next_id: AtomicU64::new(1), clients_max }
    }

    /// Takes a client in; `None` when there are too many.
    pub fn enter(&self, peer: Arc<str>, local: Arc<str>, worker: &Mailbox) -> Option<Arc<Client>> {
        let mut clients = self.lock();
        if clients.len() >= self.clients_max {
            return None;
        }
        // Most come to the same address.
        let last = clients.last_key_value().map(|(_, last)| &last.local);
        let local = last.filter(|last| **last == local).map_or(local, Arc::clone);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let client = Arc::new(Client {
            id,
            peer,
            local,
            connected_at: Instant::now(),
            worker: worker.sender.clone(),
            details: Mutex::default(),
            killed: AtomicBool::new(false),
            wants_notices: AtomicBool::new(false),
        });
        clients.insert(id, Arc::clone(&client));
        worker.clients.fetch_add(1, Ordering::Relaxed);
        Some(client)
    }

    /// The client is gone.
    pub fn leave(&self, id: u64, worker: &AtomicUsize) {
        if self.lock().remove(&id).is_some() {
            worker.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// All clients, oldest first.
    pub fn clients(&self) -> Vec<Arc<Client>> {
        self.lock().values().filter(|client| !client.is_killed()).cloned().collect()
    }

    /// What all clients are doing; those of a worker that does not answer in time are left out.
    pub async fn activities(&self) -> HashMap<u64, Activity> {
        let mut workers: Vec<mpsc::Sender<Message>> = Vec::new();
        for client in self.clients() {
            if !workers.iter().any(|worker| worker.same_channel(&client.worker)) {
                workers.push(client.worker.clone());
            }
        }
        let mut answers = Vec::new();
        for worker in workers {
            let (answer, answered) = oneshot::channel();
            if worker.send(Message::Describe(answer)).await.is_ok() {
                answers.push(answered);
            }
        }
        let mut activities = HashMap::new();
        for answered in answers {
            if let Ok(Ok(told)) = tokio::time::timeout(DESCRIBED_WITHIN, answered).await {
                activities.extend(told);
            }
        }
        activities
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True when nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The client with this id.
    pub fn client(&self, id: u64) -> Option<Arc<Client>> {
        self.lock().get(&id).filter(|client| !client.is_killed()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// What it told about itself.
    pub fn details(&self) -> Details {
        self.lock().get().cloned().unwrap_or_default()
    }

    /// It wants to be told before the process ends, or no longer.
    pub fn ask_for_notices(&self, wants: bool) {
        self.wants_notices.store(wants, Ordering::Relaxed);
    }

    /// Whether it wants to be told.
    pub fn wants_notices(&self) -> bool {
        self.wants_notices.load(Ordering::Relaxed)
    }

    /// It has been ended by another client; true the first time.
    pub fn kill(&self) -> bool {
        !self.killed.swap(true, Ordering::Relaxed)
    }

    fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// It told something new about itself.
    pub fn update(&self, change: impl FnOnce(&mut Details)) {
        change(self.lock().make_mut());
    }

    fn lock(&self) -> MutexGuard<'_, Lazy<Details>> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to one worker.
#[derive(Clone)]
pub struct Mailbox {
    pub sender: mpsc::Sender<Message>,
    /// Clients that the worker serves.
    pub clients: Arc<AtomicUsize>,
}

impl Mailbox {
    /// Clients that the worker serves.
    pub fn load(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}
