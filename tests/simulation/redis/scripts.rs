//! What the scripts do that the proxy sends.

use std::time::Duration;

use super::{Model, Value, error};
use crate::wire::Reply;

impl Model {
    /// The scripts that the proxy sends, told apart by what each alone holds.
    pub(super) fn eval(&mut self, db: u32, words: &[String]) -> Reply {
        // EVAL script count keys .. arguments ..
        let (script, count) = (&words[1], words[2].parse().unwrap_or(0));
        let (keys, arguments) = words[3..].split_at(count);
        if script.contains("acl_check_cmd") && count == 0 || script.trim_end().ends_with("return 1") && count == 1 {
            return Reply::Integer(1);
        }
        if script.contains("'HSET',s,'errors'") {
            return self.count_errors(db, keys, arguments);
        }
        if script.contains("the guard could not be set") {
            if self.get(db, &keys[0]).is_none() {
                self.write_guard(db, &keys[0]);
                return Reply::bulk("the guard could not be set");
            }
            self.keep(db, keys, arguments);
            return Reply::Integer(0);
        }
        if script.contains("nothing was kept") {
            return self.finish(db, keys);
        }
        if script.contains("local m=KEYS[2]")
            && let Some(duplicate) = self.duplicate(db, &keys[0], &keys[1])
        {
            return duplicate;
        }
        if script.contains("r=p(A[i],A[i+1])") { self.ask(db, &keys[0], arguments) } else { error("ERR no such script") }
    }

    /// The preflight about types: pairs of a command and a key. It names a question by the place of its command, from 1.
    fn ask(&mut self, db: u32, guard: &str, pairs: &[String]) -> Reply {
        for (at, asked) in pairs.chunks(2).enumerate() {
            if let Reply::Error(text) = self.keyed(db, &asked[0], asked) {
                self.errors += 1;
                self.write_guard(db, guard);
                return Reply::bulk(format!("{}{text}", 2 * at + 1));
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
    fn keep(&mut self, db: u32, keys: &[String], arguments: &[String]) {
        let mut before = Vec::new();
        for key in &keys[2..] {
            self.get(db, key);
            before.push((key.clone(), self.keys.get(&(db, key.clone())).cloned()));
        }
        let life = Duration::from_millis(arguments[1].parse().unwrap_or(0));
        self.put(db, &keys[1], Value::Kept { before, errors: 0 }, Some(life));
    }

    /// Notes how many errors there have been; what is not kept any more is kept again.
    fn count_errors(&mut self, db: u32, keys: &[String], arguments: &[String]) -> Reply {
        if !matches!(self.get(db, &keys[1]), Some(Value::Kept { .. })) {
            self.keep(db, keys, arguments);
        }
        let errors = self.errors;
        if let Some(Value::Kept { errors: noted, .. }) = self.get(db, &keys[1]) {
            *noted = errors;
        }
        Reply::Integer(1)
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
}
