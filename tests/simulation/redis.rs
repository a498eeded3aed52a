//! A model of Redis: keys, transactions, watches and channels, and the history of what was applied.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::Reply;

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
            for key in ["sess:bad", "blob:bad"] {
                self.put(db, key, Value::Text("no set".to_owned()), None);
            }
        }
    }

    /// Undoes the last `applied` things that were applied: a replica that lagged behind takes over.
    pub fn fall_back(&mut self, applied: usize) {
        let Some((length, keys)) = (0..applied).map_while(|_| self.before.pop_back()).last() else { return };
        self.keys = keys;
        for gone in &mut self.history[length..] {
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

    /// Runs a command on keys and notes it if it writes.
    fn run(&mut self, db: u32, name: &str, words: &[String]) -> Reply {
        if name == "EVAL" {
            return self.eval(db, words);
        }
        let reply = self.keyed(db, name, words);
        if is_write(name) {
            if !reply.is_error() {
                *self.versions.entry((db, words[1].clone())).or_default() += 1;
            }
            self.history.push(Applied { together: self.together, words: words.to_vec(), undone: false });
        }
        reply
    }

    /// The scripts that the proxy sends, told apart by what each alone holds.
    fn eval(&mut self, db: u32, words: &[String]) -> Reply {
        // EVAL script count keys .. arguments ..
        let (script, count) = (&words[1], words[2].parse().unwrap_or(0));
        let (keys, arguments) = words[3..].split_at(count);
        if script.contains("acl_check_cmd") && count == 0 || script.ends_with("return 1") && count == 1 {
            return Reply::Integer(1);
        }
        if script.contains("local keep={") {
            return self.keep(db, keys, arguments);
        }
        if script.contains("'HSET',s,'errors'") {
            let errors = self.errors;
            return match self.get(db, &keys[1]) {
                Some(Value::Kept { errors: noted, .. }) => {
                    *noted = errors;
                    Reply::Integer(1)
                }
                _ => Reply::Integer(0),
            };
        }
        if script.contains("nothing was kept") {
            return self.finish(db, keys);
        }
        if script.contains("local m=KEYS[2]")
            && let Some(duplicate) = self.duplicate(db, &keys[0], &keys[1])
        {
            return duplicate;
        }
        if script.contains("local r=p(A[i],A[i+1])") { self.ask(db, &keys[0], arguments) } else { error("ERR no such script") }
    }

    /// The preflight about types: pairs of a command and a key.
    fn ask(&mut self, db: u32, guard: &str, pairs: &[String]) -> Reply {
        for (at, asked) in pairs.chunks(2).enumerate() {
            if let Reply::Error(text) = self.keyed(db, &asked[0], asked) {
                self.errors += 1;
                self.write_guard(db, guard);
                return Reply::bulk(format!("{at} {text}"));
            }
        }
        Reply::Integer(0)
    }

    /// It is set, and deleted at once: who watches it is told.
    fn write_guard(&mut self, db: u32, guard: &str) {
        self.keys.remove(&(db, guard.to_owned()));
        *self.versions.entry((db, guard.to_owned())).or_default() += 2;
    }

    /// What the marker of a group says that was applied before.
    fn duplicate(&mut self, db: u32, guard: &str, marker: &str) -> Option<Reply> {
        let Some(Value::Text(text)) = self.get(db, marker).cloned() else { return None };
        self.write_guard(db, guard);
        let left = self.keyed(db, "PTTL", &["PTTL".to_owned(), marker.to_owned()]);
        Some(Reply::Array(vec![left, Reply::bulk(text), Reply::bulk("")]))
    }

    /// Keeps what the keys behind the guard and its own hold.
    fn keep(&mut self, db: u32, keys: &[String], arguments: &[String]) -> Reply {
        if self.get(db, &keys[0]).is_none() {
            self.write_guard(db, &keys[0]);
            return Reply::bulk("the guard could not be set");
        }
        let mut before = Vec::new();
        for key in &keys[2..] {
            self.get(db, key);
            before.push((key.clone(), self.keys.get(&(db, key.clone())).cloned()));
        }
        let life = Duration::from_millis(arguments[1].parse().unwrap_or(0));
        self.put(db, &keys[1], Value::Kept { before, errors: 0 }, Some(life));
        Reply::Integer(0)
    }

    /// Puts back what was kept where a command has failed since the errors were counted.
    fn finish(&mut self, db: u32, keys: &[String]) -> Reply {
        let kept = self.get(db, &keys[1]).cloned();
        keys[..2].iter().for_each(|key| drop(self.keys.remove(&(db, key.clone()))));
        let Some(Value::Kept { before, errors }) = kept else { return Reply::bulk("nothing was kept") };
        if errors == self.errors {
            return Reply::Integer(0);
        }
        for (key, entry) in before {
            let place = (db, key);
            let now = self.keys.get(&place);
            if now != entry.as_ref() {
                *self.versions.entry(place.clone()).or_default() += 1;
            }
            match entry {
                Some(entry) => drop(self.keys.insert(place.clone(), entry)),
                None => drop(self.keys.remove(&place)),
            }
            let together = self.together;
            self.history.retain(|applied| applied.together != together || applied.words[1] != place.1);
        }
        self.rolled_back += 1;
        Reply::Integer(1)
    }

    fn keyed(&mut self, db: u32, name: &str, words: &[String]) -> Reply {
        let Some(key) = words.get(1) else { return error("ERR wrong number of arguments") };
        match (name, self.get(db, key)) {
            ("PING", _) => Reply::Simple("PONG".to_owned()),
            ("ECHO", _) => Reply::bulk(key),
            // Within a transaction: it is heard once that is over.
            ("PUBLISH", _) => {
                self.published.push((key.clone(), words[2].clone()));
                Reply::Integer(0)
            }
            ("GET", None) | ("HGET", None) | ("LPOP", None) => Reply::Null,
            ("GET", Some(Value::Text(text))) => Reply::bulk(text),
            ("SET", _) if words.get(3).is_some_and(|option| option.eq_ignore_ascii_case("PX")) => {
                let ttl = Duration::from_millis(words[4].parse().unwrap_or(1));
                self.put(db, key, Value::Text(words[2].clone()), Some(ttl));
                ok()
            }
            ("SET", _) => {
                self.put(db, key, Value::Text(words[2].clone()), None);
                ok()
            }
            ("SETEX", _) => {
                let ttl = Duration::from_secs(words[2].parse().unwrap_or(1));
                self.put(db, key, Value::Text(words[3].clone()), Some(ttl));
                ok()
            }
            ("DEL", _) => {
                let gone = words[1..].iter().filter(|key| self.keys.remove(&(db, (*key).clone())).is_some());
                Reply::Integer(gone.count() as i64)
            }
            ("EXISTS", value) => Reply::Integer(i64::from(value.is_some())),
            ("INCR", None) => {
                self.put(db, key, Value::Text("1".to_owned()), None);
                Reply::Integer(1)
            }
            ("INCR", Some(Value::Text(text))) => match text.parse::<i64>() {
                Ok(number) => {
                    *text = (number + 1).to_string();
                    Reply::Integer(number + 1)
                }
                Err(_) => error("ERR value is not an integer or out of range"),
            },
            ("SADD", None) => {
                self.put(db, key, Value::Set(words[2..].iter().cloned().collect()), None);
                Reply::Integer(words.len() as i64 - 2)
            }
            ("SADD", Some(Value::Set(set))) => {
                Reply::Integer(words[2..].iter().filter(|word| set.insert((*word).clone())).count() as i64)
            }
            ("STRLEN" | "LLEN" | "SCARD" | "HLEN", None) => Reply::Integer(0),
            ("STRLEN", Some(Value::Text(text))) => Reply::Integer(text.len() as i64),
            ("LLEN", Some(Value::List(list))) => Reply::Integer(list.len() as i64),
            ("SCARD", Some(Value::Set(set))) => Reply::Integer(set.len() as i64),
            ("HLEN", Some(Value::Hash(hash))) => Reply::Integer(hash.len() as i64),
            ("SMEMBERS", None) => Reply::Array(Vec::new()),
            ("SMEMBERS", Some(Value::Set(set))) => Reply::Array(set.iter().map(Reply::bulk).collect()),
            ("HSET", None) => {
                self.put(db, key, Value::Hash([(words[2].clone(), words[3].clone())].into()), None);
                Reply::Integer(1)
            }
            ("HSET", Some(Value::Hash(hash))) => {
                Reply::Integer(i64::from(hash.insert(words[2].clone(), words[3].clone()).is_none()))
            }
            ("HGET", Some(Value::Hash(hash))) => hash.get(&words[2]).map_or(Reply::Null, Reply::bulk),
            ("RPUSH", None) => {
                self.put(db, key, Value::List(words[2..].iter().cloned().collect()), None);
                Reply::Integer(words.len() as i64 - 2)
            }
            ("RPUSH", Some(Value::List(list))) => {
                list.extend(words[2..].iter().cloned());
                Reply::Integer(list.len() as i64)
            }
            ("LPOP", Some(Value::List(list))) => {
                let element = list.pop_front();
                if list.is_empty() {
                    self.keys.remove(&(db, key.clone()));
                }
                element.map_or(Reply::Null, Reply::bulk)
            }
            ("EXPIRE", value) => {
                let there = value.is_some();
                let at = Instant::now() + Duration::from_secs(words[2].parse().unwrap_or(1));
                if let Some(entry) = self.keys.get_mut(&(db, key.clone())) {
                    entry.expires_at = Some(at);
                }
                Reply::Integer(i64::from(there))
            }
            ("PTTL", None) => Reply::Integer(-2),
            ("PTTL", Some(_)) => {
                let expires_at = self.keys.get(&(db, key.clone())).and_then(|entry| entry.expires_at);
                Reply::Integer(expires_at.map_or(-1, |at| at.duration_since(Instant::now()).as_millis() as i64))
            }
            (name, Some(_)) if is_known(name) => wrong_type(),
            (name, _) => unknown(name),
        }
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

fn unknown(name: &str) -> Reply {
    error(&format!("ERR unknown command '{name}'"))
}

fn is_write(name: &str) -> bool {
    matches!(name, "SET" | "SETEX" | "DEL" | "INCR" | "SADD" | "HSET" | "RPUSH" | "LPOP" | "EXPIRE")
}

fn is_known(name: &str) -> bool {
    let reads = ["GET", "HGET", "SMEMBERS", "EXISTS", "PTTL", "ECHO", "PING", "PUBLISH", "STRLEN", "LLEN", "SCARD", "HLEN"];
    is_write(name) || name == "EVAL" || reads.contains(&name)
}
