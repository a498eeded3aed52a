//! What commands on keys do.

use std::time::Duration;

use tokio::time::Instant;

use super::{Applied, Model, Value, error, ok, wrong_type};
use crate::wire::Reply;

impl Model {
    /// Runs a command on keys and notes it if it writes.
    pub(super) fn run(&mut self, db: u32, name: &str, words: &[String]) -> Reply {
        match name {
            "EVAL" => return self.eval(db, words),
            "CLIENT" => {
                self.killed.extend(words.get(3).and_then(|id| id.parse::<i64>().ok()));
                return Reply::Integer(1);
            }
            "MGET" => {
                let get = |key: &String| match self.get(db, key) {
                    Some(Value::Text(text)) => Reply::bulk(text),
                    _ => Reply::Null,
                };
                return Reply::Array(words[1..].iter().map(get).collect());
            }
            "EXISTS" if words.len() > 2 => {
                return Reply::Integer(words[1..].iter().filter(|key| self.get(db, key).is_some()).count() as i64);
            }
            _ => {}
        }
        let reply = self.keyed(db, name, words);
        if is_write(name) {
            if !reply.is_error() {
                let keys = if name == "DEL" { &words[1..] } else { &words[1..2] };
                keys.iter().for_each(|key| *self.versions.entry((db, key.clone())).or_default() += 1);
            }
            self.history.push(Applied { together: self.together, words: words.to_vec(), undone: false });
        }
        reply
    }

    pub(super) fn keyed(&mut self, db: u32, name: &str, words: &[String]) -> Reply {
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

pub(super) fn unknown(name: &str) -> Reply {
    error(&format!("ERR unknown command '{name}'"))
}

pub(super) fn is_write(name: &str) -> bool {
    matches!(name, "SET" | "SETEX" | "DEL" | "INCR" | "SADD" | "HSET" | "RPUSH" | "LPOP" | "EXPIRE")
}

pub(super) fn is_known(name: &str) -> bool {
    let reads = ["GET", "HGET", "SMEMBERS", "EXISTS", "PTTL", "ECHO", "PING", "PUBLISH", "STRLEN", "LLEN", "SCARD", "HLEN"];
    is_write(name) || matches!(name, "EVAL" | "CLIENT" | "MGET") || reads.contains(&name)
}
