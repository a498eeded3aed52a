//! Saves a group's keys before it runs, and restores them if a member fails.
//!
//! `SET guard`, `WATCH guard key ..`, `EVAL begin`, `MULTI`, `EVAL counted`, the members, `EVAL finish`, `EXEC`: one write. The first
//! script keeps what the keys hold, under a key of ours in the group's slot; it runs under the WATCH, so that what it has kept is what
//! the members find, or EXEC answers null. Where it cannot keep all of it, it writes the guard, which is watched too: nothing runs.
//! The second notes how many errors the server has answered so far, within the transaction, for other clients' count as well. The
//! server may have evicted what the first has kept, for each command that is queued; then it keeps the same again: from there on to
//! the end of the transaction nothing is evicted.
//! A string is kept as it is, which costs a seventh of DUMP, all else as DUMP gives it.
//! The third compares that number. If it has grown a member has failed, and each key that is not what it was is restored.
//!
//! The guard has half the time to live of what is kept: a WATCH is dirty once its key has expired, so that nothing runs of
//! which nothing is kept any more. What refuses the first script as a command refuses the second while it is queued, as the
//! assertion of a guarded group.

use std::time::Duration;

use super::bulks::Bulks;
use super::key_aliases::KeyAliases;
use super::{Fault, Refusal};
use crate::command::{CommandId, Flags, KeyList, Keys, Spec, Table};
use respguard_resp::request::Args;
use respguard_resp::{encode, value};

const BEGIN: &str = concat!(include_str!("scripts/keep.lua"), include_str!("scripts/begin.lua"));
const COUNTED: &str = concat!(include_str!("scripts/keep.lua"), include_str!("scripts/counted.lua"));
const FINISH: &str = include_str!("scripts/finish.lua");

/// Frames that answer what goes before MULTI.
pub const FRAMES: u32 = 3;
/// How long what is kept may lie there, should nobody come back for it.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// WATCH compares each with those before it.
const KEYS_MAX: usize = 256;

/// The keys of a group that are put back where a member fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    keys: Bulks,
    bytes_max: u64,
    first: Box<[u8]>,
}

/// What the first script has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginReply {
    /// All is kept.
    Saved,
    /// It cannot be: why.
    Refused(Box<str>),
    /// It did not run.
    Missing,
}

/// What the last script has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReply {
    /// No member has failed.
    Stands,
    /// One has, and all is as it was.
    RolledBack,
    /// One has, and not all could be put back: why.
    Failed(Box<str>),
}

/// Why nobody can undo what a command does, wherever it stands; `None` where it can be undone by its keys.
pub fn obstacle(spec: &Spec) -> Option<&'static str> {
    let name = spec.name().split('|').next().unwrap_or_default();
    match name {
        "publish" | "spublish" => Some("what is published cannot be taken back"),
        "flushall" | "flushdb" | "swapdb" => Some("it is about whole databases"),
        "move" | "migrate" => Some("its key goes elsewhere"),
        "config" | "acl" | "function" | "script" | "debug" | "module" => Some("it changes the server and not its keys"),
        _ if matches!(spec.keys, Keys::Unknown) => Some("nobody knows its keys"),
        _ if spec.flags.has(Flags::WRITE) && matches!(&spec.keys, Keys::Specs(specs) if specs.is_empty()) => {
            Some("it names no keys")
        }
        _ => None,
    }
}

impl Rollback {
    /// For a group of these members.
    ///
    /// # Errors
    /// The first member that cannot be undone.
    pub fn of<'a>(
        table: &Table,
        members: impl Iterator<Item = (CommandId, Args<'a>)>,
        bytes_max: u64,
    ) -> Result<Rollback, Refusal> {
        let (mut rollback, mut known) =
            (Rollback { keys: Bulks::default(), bytes_max, first: Box::default() }, KeyAliases::default());
        let mut count = 0;
        for (member, (id, args)) in members.enumerate() {
            let spec = table.spec(id);
            let refused = |why| Refusal { member, fault: Fault::Undecided(why) };
            if let Some(why) = obstacle(spec) {
                return Err(refused(why));
            }
            if spec.name() == "copy" && args.from(3).iter().any(|word| word.eq_ignore_ascii_case(b"DB")) {
                return Err(refused("it may write to another database"));
            }
            let keys = spec.for_each_key(args, &mut |place, _| {
                if let Some(key) = args.get(place).filter(|key| known.get(*key).is_none()) {
                    known.set(key, count);
                    rollback.also(key);
                    count += 1;
                }
            });
            // Where they are malformed the server refuses the request, or answers an error and does nothing.
            if keys == KeyList::Unknown {
                return Err(refused("nobody knows its keys"));
            }
            if count > KEYS_MAX {
                return Err(refused("the group has more than 256 keys"));
            }
        }
        Ok(rollback)
    }

    /// This key is put back too.
    pub fn also(&mut self, key: &[u8]) {
        if self.keys.is_empty() {
            self.first = key.into();
        }
        self.keys.push(key);
    }

    /// The key in whose slot all of it lies.
    pub fn key(&self) -> &[u8] {
        &self.first
    }

    /// What goes first of all: the guard must be there before it is watched.
    pub(super) fn write_guard(guard: &[u8], out: &mut Vec<u8>) {
        let half = (KEPT_FOR / 2).as_millis().to_string();
        encode::request(out, &[b"SET", guard, b"1", b"PX", half.as_bytes()]);
    }

    /// What goes right before MULTI.
    pub(super) fn write(&self, guard: &[u8], out: &mut Vec<u8>) {
        self.keys.write_behind(&[b"WATCH", guard], out);
        self.write_keeping(BEGIN, guard, out);
    }

    fn write_keeping(&self, script: &str, guard: &[u8], out: &mut Vec<u8>) {
        let (count, kept) = ((self.keys.len() + 2).to_string(), kept(guard));
        let (bytes, life) = (self.bytes_max.to_string(), KEPT_FOR.as_millis().to_string());
        self.keys.write_between(
            &[b"EVAL", script.as_bytes(), count.as_bytes(), guard, &kept],
            &[bytes.as_bytes(), life.as_bytes()],
            out,
        );
    }

    /// The first command within the transaction.
    pub fn count(&self, guard: &[u8]) -> Vec<u8> {
        let mut request = Vec::with_capacity(COUNTED.len() + 256);
        self.write_keeping(COUNTED, guard, &mut request);
        request
    }

    /// The last command within it.
    pub fn finish(&self, guard: &[u8]) -> Vec<u8> {
        let mut request = Vec::with_capacity(FINISH.len() + 256);
        let count = (self.keys.len() + 2).to_string();
        self.keys.write_behind(&[b"EVAL", FINISH.as_bytes(), count.as_bytes(), guard, &kept(guard)], &mut request);
        request
    }

    /// What takes everything of ours away where the transaction has not run.
    pub fn forget(guard: &[u8]) -> Vec<u8> {
        let mut request = Vec::with_capacity(2 * guard.len() + 64);
        encode::request(&mut request, &[b"DEL", guard, &kept(guard)]);
        request
    }
}

/// The key under which a group's keys are kept.
fn kept(guard: &[u8]) -> Vec<u8> {
    [guard, b":kept"].concat()
}

impl BeginReply {
    /// What the script that keeps the keys has answered.
    pub fn read(reply: &[u8]) -> BeginReply {
        if value::integer(reply) == Some(0) {
            return BeginReply::Saved;
        }
        value::bulk(reply).map_or(BeginReply::Missing, |why| BeginReply::Refused(line(why).into()))
    }
}

impl FinishReply {
    /// Reads the last element of EXEC's array.
    pub fn read(reply: &[u8]) -> FinishReply {
        match value::integer(reply) {
            Some(0) => FinishReply::Stands,
            Some(1) => FinishReply::RolledBack,
            _ => {
                let why = value::bulk(reply).unwrap_or_else(|| value::error_text(reply));
                FinishReply::Failed(line(why).into())
            }
        }
    }
}

fn line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::written::WrittenRequest;

    fn keys(lines: &[&str]) -> Result<usize, (usize, String)> {
        let table = Table::builtin();
        let requests: Vec<_> = lines.iter().map(|line| WrittenRequest::new(line)).collect();
        let members = requests.iter().map(WrittenRequest::args).map(|args| (table.lookup(args), args));
        let rollback = Rollback::of(&table, members, 1);
        rollback.map(|rollback| rollback.keys.len()).map_err(|refusal| (refusal.member, format!("{:?}", refusal.fault)))
    }

    #[test]
    fn every_key_is_kept_once() {
        assert_eq!(keys(&["SET a 1", "INCR a", "RENAME a b", "EVAL x 2 c d e", "SORT l STORE m", "PING"]), Ok(6));
    }

    #[test]
    fn what_cannot_be_undone_is_refused() {
        for line in ["PUBLISH c m", "FLUSHALL", "MOVE a 1", "COPY a b DB 1", "MIGRATE h 1 k 0 1", "nonsense a", "FUNCTION FLUSH"]
        {
            assert_eq!(keys(&["SET a 1", line]).map_err(|(member, _)| member), Err(1), "{line}");
        }
        assert!(keys(&["SET a 1", "COPY a b REPLACE"]).is_ok());
    }

    #[test]
    fn the_scripts_answers_are_read() {
        assert_eq!(BeginReply::read(b":0\r\n"), BeginReply::Saved);
        assert_eq!(BeginReply::read(b"$2\r\nno\r\n"), BeginReply::Refused("no".into()));
        assert_eq!(BeginReply::read(b"-NOPERM no\r\n"), BeginReply::Missing);
        assert_eq!([FinishReply::read(b":0\r\n"), FinishReply::read(b":1\r\n")], [FinishReply::Stands, FinishReply::RolledBack]);
        assert_eq!(FinishReply::read(b"-ERR no\r\n"), FinishReply::Failed("ERR no".into()));
    }
}
