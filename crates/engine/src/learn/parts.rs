//! Parses what the members of a group write: keys, and the members, fields, items and values that refer to others.

use std::collections::BTreeSet;

use crate::policy::pattern::{Names, Pattern};
use crate::policy::rule::WrittenGroup;

/// Commands that end keys, and those that take things out of one.
const ENDING: [&str; 3] = ["DEL", "UNLINK", "GETDEL"];
const TRIMMING: [&str; 12] = [
    "ZREMRANGEBYSCORE",
    "ZREMRANGEBYRANK",
    "ZREMRANGEBYLEX",
    "ZREM",
    "ZPOPMIN",
    "ZPOPMAX",
    "SREM",
    "SPOP",
    "SMOVE",
    "HDEL",
    "LTRIM",
    "LREM",
];
/// Options of ZADD in front of its scores.
const ZADD_OPTIONS: [&str; 6] = ["NX", "XX", "GT", "LT", "CH", "INCR"];

/// What one group writes whenever it is whole.
#[derive(Default)]
pub(super) struct Parts {
    /// Keys that are there behind it.
    pub(super) keys: Vec<String>,
    /// What names something in a key.
    pub(super) parts: Vec<Part>,
    /// Keys out of which it takes something.
    pub(super) trimmed: BTreeSet<String>,
}

/// A member, field, item or value of a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: &'static str,
    pub(super) element: String,
    pub(super) key: String,
}

impl Part {
    pub(super) fn text(&self) -> String {
        format!("{} {} of {}", self.kind, self.element, self.key)
    }

    /// Whether a relation can ask for it.
    pub(super) fn can_be_needed(&self) -> bool {
        matches!(self.kind, "member" | "field")
    }
}

impl Parts {
    pub(super) fn of(group: &WrittenGroup) -> Parts {
        let mut parts = Parts::default();
        let mut ended = BTreeSet::new();
        for member in group.commands.iter().flatten() {
            let mut words: Vec<&str> = member.template.split_whitespace().collect();
            words.pop_if(|last| *last == "...");
            let [name, rest @ ..] = &*words else { continue };
            let name = name.to_ascii_uppercase();
            if ENDING.contains(&&*name) {
                ended.extend(rest.iter().map(|key| (*key).to_owned()));
            } else if let ([key, ..], true) = (rest, TRIMMING.contains(&&*name)) {
                parts.trimmed.insert((*key).to_owned());
            } else if !member.optional {
                parts.take(&name, rest);
            }
        }
        parts.keys.retain(|key| !ended.contains(key));
        parts.parts.retain(|part| !ended.contains(&part.key));
        parts
    }

    fn take(&mut self, name: &str, words: &[&str]) {
        let [key, rest @ ..] = words else { return };
        match name {
            "SET" => self.values(key, rest.first()),
            "SETEX" | "PSETEX" => self.values(key, rest.get(1)),
            "MSET" => words.chunks(2).for_each(|pair| self.values(pair[0], pair.get(1))),
            "SADD" => rest.iter().for_each(|member| self.part("member", member, key)),
            "ZADD" => {
                let options = rest.iter().take_while(|word| ZADD_OPTIONS.contains(&&*word.to_ascii_uppercase())).count();
                rest[options..].iter().skip(1).step_by(2).for_each(|member| self.part("member", member, key));
            }
            "ZINCRBY" => rest.iter().skip(1).for_each(|member| self.part("member", member, key)),
            "HSET" | "HMSET" => rest.iter().step_by(2).for_each(|field| self.part("field", field, key)),
            "HSETNX" | "HINCRBY" | "HINCRBYFLOAT" => rest.iter().take(1).for_each(|field| self.part("field", field, key)),
            "LPUSH" | "RPUSH" => rest.iter().for_each(|item| self.part("item", item, key)),
            "INCR" | "INCRBY" | "APPEND" | "GETSET" | "SETRANGE" | "XADD" | "PFADD" | "GEOADD" => {}
            _ => return,
        }
        let keys = if name == "MSET" { words.iter().step_by(2).copied().collect() } else { vec![*key] };
        for key in keys {
            if !self.keys.iter().any(|known| known == key) {
                self.keys.push(key.to_owned());
            }
        }
    }

    /// A value that is more than data: one capture and nothing else.
    fn values(&mut self, key: &str, value: Option<&&str>) {
        if let Some(value) = value {
            self.part("value", value, key);
        }
    }

    fn part(&mut self, kind: &'static str, element: &str, key: &str) {
        let part = Part { kind, element: element.to_owned(), key: key.to_owned() };
        if !captures(element).is_empty() && !has_runs(element) && !self.parts.contains(&part) {
            self.parts.push(part);
        }
    }
}

/// The names of a pattern's captures; none where it is no pattern.
pub(super) fn captures(text: &str) -> BTreeSet<String> {
    let mut names = Names::default();
    match Pattern::parse(text, &mut names) {
        Ok(_) => names.as_slice().iter().cloned().collect(),
        Err(_) => BTreeSet::new(),
    }
}

/// Whether a part of it is not known.
pub(super) fn has_runs(text: &str) -> bool {
    Pattern::parse(text, &mut Names::default()).is_ok_and(|pattern| pattern.has_runs())
}
