//! A model of Redis: keys, transactions, watches and channels, and the history of what was applied.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::Reply;

#[path = "redis/keyed.rs"]
mod keyed;
#[path = "redis/scripts.rs"]
mod scripts;

use keyed::{is_known, is_write, unknown};

/// States that are kept to be fallen back to by a failover.
const KEPT_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    List(VecDeque<String>),
    Set(BTreeSet<String>),
    Hash(BTreeMap<String, String>),
    /// What the keys of a group held that may be rolled back, and how many errors the server had answered.
    Kept {
        before: Vec<(String, Option<Entry>)>,
        errors: u64,
    },
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    value: Value,
    expires_at: Option<Instant>,
}

type Keys = BTreeMap<(u32, String), Entry>;

/// A write that was executed.
#[derive(Debug, Clone)]
pub struct Applied {
    /// One number for everything that was applied together.
    pub together: u64,
    pub words: Vec<String>,
    /// A failover has undone it.
    pub undone: bool,
}

/// What the server keeps for a connection.
#[derive(Debug, Default)]
pub struct Session {
    pub id: i64,
    pub resp3: bool,
    pub db: u32,
    pub channels: BTreeSet<String>,
    multi: Option<Vec<Vec<String>>>,
    refused: bool,
    watched: Vec<((u32, String), u64)>,
}

impl Session {
    pub fn new(id: i64) -> Session {
        Session { id, ..Session::default() }
    }

    /// A transaction has begun.
    pub fn is_in_multi(&self) -> bool {
        self.multi.is_some()
    }

    /// What is queued in it.
    pub fn queued(&self) -> &[Vec<String>] {
        self.multi.as_deref().unwrap_or_default()
    }

    /// It will not run.
    pub fn refuse_multi(&mut self) {
        self.refused = true;
    }

    /// It is over.
    pub fn end_multi(&mut self) {
        self.multi = None;
        self.watched.clear();
    }

    /// Nothing that another client must not meet.
    pub fn is_plain(&self) -> bool {
        self.channels.is_empty() && self.multi.is_none() && self.watched.is_empty()
    }
}

/// What a request leads to.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Reply(Reply),
    /// Several frames.
    Replies(Vec<Reply>),
    /// A message for those who listen to the channel, then a reply.
    Publish(String, String),
    /// Wait until one of the lists has something.
    Block(Vec<String>, Option<Duration>),
    Kill(i64),
    Unblock(i64),
}

#[derive(Default)]
pub struct Model {
    keys: Keys,
    versions: BTreeMap<(u32, String), u64>,
    pub history: Vec<Applied>,
    together: u64,
    before: VecDeque<(usize, Keys)>,
    /// There is a replica, and it may lag behind.
    lags: bool,
    /// How many applied writes failovers have undone.
    pub undone: usize,
    /// Errors that were answered, also within transactions.
    errors: u64,
    /// Groups that were rolled back.
    pub rolled_back: usize,
    /// What transactions have published, by channel, and nobody has heard yet.
    pub published: Vec<(String, String)>,
    /// Connections that transactions have ended.
    pub killed: Vec<i64>,
}

fn error(text: &str) -> Reply {
    Reply::Error(text.to_owned())
}

fn wrong_type() -> Reply {
    error("WRONGTYPE Operation against a key holding the wrong kind of value")
}

fn ok() -> Reply {
    Reply::Simple("OK".to_owned())
}

impl Model {
    pub fn new(lags: bool) -> Model {
        Model { lags, ..Model::default() }
    }

    /// Takes one request. `refuse` says that writes are refused for want of memory.
    pub fn take(&mut self, session: &mut Session, words: Vec<String>, refuse: bool) -> Answer {
        let answer = self.answer(session, words, refuse);
        self.errors += u64::from(matches!(&answer, Answer::Reply(reply) if reply.is_error()));
        answer
    }

    fn answer(&mut self, session: &mut Session, words: Vec<String>, refuse: bool) -> Answer {
        let name = words[0].to_uppercase();
        let refuse = refuse && is_write(&name);
        if let Some(queue) = &mut session.multi
            && !matches!(&*name, "EXEC" | "DISCARD" | "MULTI" | "WATCH")
        {
            if refuse || !is_known(&name) {
                session.refused = true;
                return Answer::Reply(if refuse { oom() } else { unknown(&name) });
            }
            queue.push(words);
            return Answer::Reply(Reply::Simple("QUEUED".to_owned()));
        }
        if refuse {
            return Answer::Reply(oom());
        }
        let Some(answer) = self.connection(session, &name, &words) else {
            self.begin();
            return Answer::Reply(self.run(session.db, &name, &words));
        };
        answer
    }

    /// Keys on which some members of groups fail.
    pub fn poison(&mut self) {
        for db in 0..2 {
            for key in ["sess:bad", "sess:{bad}", "blob:bad"] {
                self.put(db, key, Value::Text("no set".to_owned()), None);
            }
        }
    }

    /// Undoes, of the last `applied` things that were applied, those on such keys: a replica that lagged behind takes over.
    pub fn fall_back(&mut self, applied: usize, of: impl Fn(&str) -> bool) {
        let Some((length, keys)) = (0..applied).map_while(|_| self.before.pop_back()).last() else { return };
        self.keys.retain(|(_, key), _| !of(key));
        self.keys.extend(keys.into_iter().filter(|((_, key), _)| of(key)));
        for gone in self.history[length..].iter_mut().filter(|applied| of(&applied.words[1])) {
            self.undone += usize::from(!gone.undone);
            gone.undone = true;
        }
    }

    /// Takes the first element of the first list that has one.
    pub fn pop(&mut self, db: u32, lists: &[String]) -> Option<Reply> {
        let list = lists.iter().find(|list| matches!(self.get(db, list), Some(Value::List(_))))?;
        self.begin();
        let words = ["BLPOP".to_owned(), list.clone()];
        match self.run(db, "LPOP", &words) {
            Reply::Bulk(element) => Some(Reply::Array(vec![Reply::bulk(list), Reply::Bulk(element)])),
            _ => None,
        }
    }

    /// All keys that there are.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.keys.keys().map(|(_, key)| key)
    }

    /// Whether there is such a key in the first db.
    pub fn has(&mut self, key: &str) -> bool {
        self.get(0, key).is_some()
    }

    /// Who watches the key is told that it has changed.
    pub fn touch(&mut self, key: &str) {
        *self.versions.entry((0, key.to_owned())).or_default() += 1;
    }

    fn connection(&mut self, session: &mut Session, name: &str, words: &[String]) -> Option<Answer> {
        let word = |at: usize| words.get(at).map(|word| word.to_uppercase()).unwrap_or_default();
        let reply = match name {
            "PING" if !session.channels.is_empty() && !session.resp3 => Reply::Array(vec![Reply::bulk("pong"), Reply::bulk("")]),
            "PING" => Reply::Simple("PONG".to_owned()),
            "ECHO" => Reply::bulk(&words[1]),
            "SELECT" => {
                session.db = words[1].parse().unwrap_or(0);
                ok()
            }
            "HELLO" => {
                session.resp3 = words.get(1).map_or(session.resp3, |version| version == "3");
                Reply::Map(vec![Reply::bulk("id"), Reply::Integer(session.id), Reply::bulk("role"), Reply::bulk("master")])
            }
            "CLIENT" => match &*word(1) {
                "ID" => Reply::Integer(session.id),
                // As over TCP: each connection has an address of its own.
                "INFO" => Reply::bulk(format!("id={0} addr=10.0.0.1:{0} laddr=10.0.0.2:6379 name=", session.id)),
                "KILL" => return Some(Answer::Kill(words.get(3).and_then(|id| id.parse().ok()).unwrap_or(-1))),
                "UNBLOCK" => return Some(Answer::Unblock(words[2].parse().unwrap_or(-1))),
                _ => ok(),
            },
            "MULTI" if session.multi.is_some() => error("ERR MULTI calls can not be nested"),
            "MULTI" => {
                (session.multi, session.refused) = (Some(Vec::new()), false);
                ok()
            }
            "WATCH" if session.multi.is_some() => error("ERR WATCH inside MULTI is not allowed"),
            "WATCH" => {
                for key in &words[1..] {
                    let key = (session.db, key.clone());
                    let version = self.versions.get(&key).copied().unwrap_or(0);
                    session.watched.push((key, version));
                }
                ok()
            }
            "UNWATCH" => {
                session.watched.clear();
                ok()
            }
            "DISCARD" => {
                session.watched.clear();
                if session.multi.take().is_some() { ok() } else { error("ERR DISCARD without MULTI") }
            }
            "EXEC" => self.exec(session),
            "SUBSCRIBE" | "UNSUBSCRIBE" => return Some(Answer::Replies(subscribe(session, name == "SUBSCRIBE", &words[1..]))),
            "PUBLISH" => return Some(Answer::Publish(words[1].clone(), words[2].clone())),
            "BLPOP" => {
                let seconds: f64 = words.last().and_then(|timeout| timeout.parse().ok()).unwrap_or(0.0);
                let timeout = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
                let lists = words[1..words.len() - 1].to_vec();
                match self.pop(session.db, &lists) {
                    Some(reply) => reply,
                    None => return Some(Answer::Block(lists, timeout)),
                }
            }
            _ => return None,
        };
        Some(Answer::Reply(reply))
    }

    fn exec(&mut self, session: &mut Session) -> Reply {
        let Some(queue) = session.multi.take() else { return error("ERR EXEC without MULTI") };
        let watched = std::mem::take(&mut session.watched);
        if session.refused {
            return error("EXECABORT Transaction discarded because of previous errors.");
        }
        if watched.iter().any(|(key, version)| self.versions.get(key).copied().unwrap_or(0) != *version) {
            return Reply::Null;
        }
        self.begin();
        let db = session.db;
        let mut run = |words: Vec<String>| {
            let reply = self.run(db, &words[0].to_uppercase(), &words);
            self.errors += u64::from(reply.is_error());
            reply
        };
        Reply::Array(queue.into_iter().map(&mut run).collect())
    }

    fn begin(&mut self) {
        self.together += 1;
        if self.lags {
            self.before.push_back((self.history.len(), self.keys.clone()));
        }
        if self.before.len() > KEPT_MAX {
            self.before.pop_front();
        }
    }

    fn get(&mut self, db: u32, key: &str) -> Option<&mut Value> {
        let place = (db, key.to_owned());
        if self.keys.get(&place).is_some_and(|entry| entry.expires_at.is_some_and(|at| at <= Instant::now())) {
            self.keys.remove(&place);
            *self.versions.entry(place.clone()).or_default() += 1;
        }
        self.keys.get_mut(&place).map(|entry| &mut entry.value)
    }

    fn put(&mut self, db: u32, key: &str, value: Value, ttl: Option<Duration>) {
        let expires_at = ttl.map(|ttl| Instant::now() + ttl);
        self.keys.insert((db, key.to_owned()), Entry { value, expires_at });
    }
}

fn subscribe(session: &mut Session, is_new: bool, channels: &[String]) -> Vec<Reply> {
    let word = if is_new { "subscribe" } else { "unsubscribe" };
    let mut frames = Vec::new();
    for channel in channels {
        if is_new {
            session.channels.insert(channel.clone());
        } else {
            session.channels.remove(channel);
        }
        let left = Reply::Integer(session.channels.len() as i64);
        frames.push(Reply::Push(vec![Reply::bulk(word), Reply::bulk(channel), left]));
    }
    frames
}

fn oom() -> Reply {
    error("OOM command not allowed when used memory > 'maxmemory'.")
}
