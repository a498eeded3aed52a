//! The commands that are sent before the members of a guarded group, and what their replies mean.
//!
//! `WATCH guard key ..`, `EVAL preflight`, `MULTI`, `EVAL assert_guard`, the members, `EXEC`: one write. The preflight asks what
//! [`Check`]s say; where an answer is wrong it writes the guard, so that the connection's own WATCH is dirty and EXEC
//! answers null: nothing runs. It deletes the guard at once, for it is the change that counts; a user who may not DEL leaves
//! it to end by itself, a millisecond later.
//!
//! The WATCH goes first, and names every key that the verdict depends on: between two commands of one pipeline the server
//! may serve other clients, and what they change behind the preflight's back then ends the transaction too.
//!
//! The assertion is a second EVAL, within the transaction, that does nothing. What refuses the preflight as a command (NOPERM,
//! a server without scripting, READONLY, a slot that moves) refuses the assertion too while it is queued, and that aborts the
//! transaction: an error of the preflight alone would leave the WATCH clean.

mod questions;

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use super::analysis::OVERFLOW;
use super::bulks::{Bulks, Mark};
use super::fault::WRONG_TYPE;
use super::key_aliases::KeyAliases;
use super::rollback::{self, Rollback};
use super::{Check, Duplicate, Once, Question};
use respguard_resp::{encode, value};

/// The script that asks a group's questions: the shortest that can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Script {
    /// Knows whether a key is of its type.
    Types,
    /// Knows integers too.
    Numbers,
    /// Knows every question.
    All,
}

/// `EVAL`, a script that asks questions, and the number of its keys as they go on the wire; and the same behind a look at the
/// marker of a group that is applied once. The server hashes a script each time, in blocks of 64 bytes, and fills up the last
/// one, but for nine bytes, byte by byte: 55 bytes more than some blocks take the least.
struct Evals {
    plain: Vec<u8>,
    once: Vec<u8>,
}

macro_rules! evals {
    ($file:literal) => {
        LazyLock::new(|| Evals {
            plain: words(&["EVAL", concat!("#!lua flags=allow-oom\n", include_str!($file)), "1"]),
            once: words(&[
                "EVAL",
                concat!("#!lua flags=allow-oom\n", include_str!("scripts/once.lua"), include_str!($file)),
                "2",
            ]),
        })
    };
}

/// A key is of its type where the length of what is there is a number, and no table with an error. The script names a question by
/// the place of its first argument, from 1.
static TYPES: LazyLock<Evals> = evals!("scripts/types.lua");
/// How many of its arguments are one question.
const TYPES_ARGUMENTS: usize = 2;
static NUMBERS: LazyLock<Evals> = evals!("scripts/numbers.lua");
static ALL: LazyLock<Evals> = evals!("scripts/all.lua");
/// The word as it goes on the wire.
const WATCH: &[u8] = b"$5\r\nWATCH\r\n";
/// All of the assertion but the guard. It is hashed twice: while it is queued, and when it runs.
const ASSERT_GUARD_SCRIPT: &[u8] =
    b"*4\r\n$4\r\nEVAL\r\n$55\r\n#!lua flags=allow-oom\nreturn 1                         \r\n$1\r\n1\r\n";
/// Whether this user, on this server, can have guarded groups.
const PROBE: &[u8] =
    b"#!lua flags=allow-oom,no-writes\nlocal c,k=redis.acl_check_cmd,ARGV[1] return c('SET',k,'1','PX','1') and c('WATCH',k) and c('EVAL','','1',k) and 1 or 0";

/// A script counts three codes, one for each way in which an answer is wrong, and a place that stays empty.
const CODES_APART: u64 = 4;

/// The words of WATCH and EVAL, and what frames those and the names and numbers of keys.
const FRAMING_BYTES: usize = 128;
/// What keeps the keys of a group, most often.
const ROLLBACK_BYTES: usize = 1024;

/// Most questions take no more room on the wire, their key apart.
const CHECK_BYTES: usize = 64;

/// The questions about one group, and what their answers mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    script: Script,
    once: Option<Box<Once>>,
    rollback: Option<Box<Rollback>>,
    /// The keys that are asked about, each once, and behind the mark what is asked.
    texts: Bulks,
    asks_from: Mark,
    /// Where the first key lies within.
    first: Range<usize>,
    predicted: SmallVec<[Predicted; 2]>,
}

/// What a wrong answer to one question means.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Predicted {
    member: usize,
    wrong: Wrong,
}

/// What the member answers where what is asked about is of another type, or its content is wrong, in one of two ways.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wrong {
    Content([&'static str; 2]),
    /// The content's error names what was asked for.
    Named(Box<str>),
    /// No member would fail: a rule requires this.
    Required(Arc<str>),
}

/// What the preflight has said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Verdict {
    /// No member will fail.
    Fine,
    /// This member would answer this error.
    Fails { member: usize, error: Box<str> },
    /// Of the first key of this member something is not true that the rule requires.
    Unmet { member: usize, required: Arc<str> },
    /// The group was applied before.
    Applied(Duplicate),
    /// Whether it was may not be asked.
    Unasked { error: Box<str> },
    /// What the group's keys hold cannot be kept, and so not be put back: why.
    Unkept { why: Box<str> },
    /// It did not run.
    Missing,
}

/// One of the answers to what goes before MULTI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To the SET of the guard of a group that is rolled back.
    Guard,
    /// To a WATCH.
    Watch,
    /// To the questions.
    Verdict,
    /// To what keeps the keys.
    Begun,
}

/// WATCH and EVAL.
const FRAMES: u32 = 2;

impl Preflight {
    /// Behind a look at the marker of a group that is applied once.
    pub fn set_once(&mut self, once: Option<Once>) {
        self.once = once.map(Box::new);
    }

    /// That the group is applied once.
    pub fn is_once(&self) -> Option<&Once> {
        self.once.as_deref()
    }

    /// Before what keeps the group's keys, so that they can be put back.
    pub fn set_rollback(&mut self, rollback: Rollback) {
        self.rollback = Some(Box::new(rollback));
    }

    /// What puts the group's keys back.
    pub fn rolls_back(&self) -> Option<&Rollback> {
        self.rollback.as_deref()
    }

    /// The marker of another group's kind is put back too.
    pub fn keep_too(&mut self, key: &[u8]) {
        if let Some(rollback) = &mut self.rollback {
            rollback.also(key);
        }
    }

    /// Whether the server is asked anything.
    fn asks(&self) -> bool {
        self.rollback.is_none() || self.once.is_some() || !self.predicted.is_empty()
    }

    /// Frames that answer what goes before MULTI.
    pub fn frames(&self) -> u32 {
        let asked = if self.asks() { FRAMES } else { 0 };
        asked + self.rollback.as_ref().map_or(0, |_| rollback::FRAMES)
    }

    /// Which of them this one is.
    pub fn answer(&self, place: u32) -> Answer {
        let questions = if self.asks() { FRAMES } else { 0 };
        let place = match (&self.rollback, place) {
            (Some(_), 0) => return Answer::Guard,
            (Some(_), place) => place - 1,
            (None, place) => place,
        };
        match place.checked_sub(questions) {
            None if place == 0 => Answer::Watch,
            None => Answer::Verdict,
            Some(0) => Answer::Watch,
            Some(_) => Answer::Begun,
        }
    }

    /// For these checks, behind a look at the marker; none where nothing is asked.
    pub fn of(checks: &[Check<'_>], once: Option<Once>) -> Option<Preflight> {
        if checks.is_empty() && once.is_none() {
            return None;
        }
        let mut preflight = Preflight::new(checks);
        preflight.set_once(once);
        Some(preflight)
    }

    /// For at least one check, unless the group is applied once or rolled back.
    pub fn new(checks: &[Check<'_>]) -> Preflight {
        let room: usize = checks.iter().map(|check| check.key.len() + CHECK_BYTES).sum();
        let (mut texts, mut first, script) = (Bulks::with_room(2 * room), 0..0, Script::of(checks));
        let mut known = KeyAliases::default();
        for (place, check) in checks.iter().enumerate() {
            if known.get(check.key).is_none() {
                known.set(check.key, place);
                texts.push(check.key);
            }
            if place == 0 {
                let end = texts.bytes.len() - 2;
                first = end - check.key.len()..end;
            }
        }
        let asks_from = texts.mark();
        checks.iter().for_each(|check| check.question.write(check.key, script != Script::Types, &mut texts));
        let mut predicted = SmallVec::with_capacity(checks.len());
        checks.iter().for_each(|check| predicted.push(check.predicted()));
        Preflight { script, once: None, rollback: None, texts, asks_from, first, predicted }
    }

    /// The key in whose slot the guard must lie.
    pub fn key(&self) -> &[u8] {
        if let Some(once) = &self.once {
            return once.marker();
        }
        if let Some(rollback) = &self.rollback {
            return rollback.key();
        }
        &self.texts.bytes[self.first.clone()]
    }

    /// About how many bytes are sent before MULTI, behind a guard of this name.
    pub fn bytes(&self, guard: &[u8]) -> usize {
        let evals = self.script.evals();
        let eval = if self.once.is_some() { &evals.once } else { &evals.plain };
        let kept = if self.rollback.is_some() { ROLLBACK_BYTES } else { 0 };
        eval.len() + self.texts.bytes.len() + 2 * guard.len() + FRAMING_BYTES + kept
    }

    /// What is sent before MULTI.
    pub fn write(&self, guard: &[u8], out: &mut Vec<u8>) {
        if self.rollback.is_some() {
            Rollback::write_guard(guard, out);
        }
        if self.asks() {
            self.write_questions(guard, out);
        }
        if let Some(rollback) = &self.rollback {
            rollback.write(guard, out);
        }
    }

    fn write_questions(&self, guard: &[u8], out: &mut Vec<u8>) {
        let (keys, asked) = self.texts.parts(self.asks_from);
        let (marker, evals) = (self.once.as_deref().map(Once::marker), self.script.evals());
        let eval = if marker.is_some() { &evals.once } else { &evals.plain };
        let own = 1 + usize::from(marker.is_some());
        for (words, first, others) in [(1, WATCH, keys), (3, eval, asked)] {
            encode::array_header(out, words + own + others.len());
            out.extend_from_slice(first);
            encode::bulk(out, guard);
            marker.into_iter().for_each(|marker| encode::bulk(out, marker));
            others.write(out);
        }
    }

    /// They have been sent: only what their answers mean is still needed.
    pub fn forget_questions(&mut self) {
        (self.texts, self.first) = (Bulks::default(), 0..0);
    }

    /// Reads what the script has answered.
    pub fn verdict(&self, reply: &[u8]) -> Verdict {
        if let Some(number) = value::integer(reply) {
            return match u64::try_from(number) {
                Ok(0) => Verdict::Fine,
                Ok(number) => self.fails((number - 1) / CODES_APART, (number - 1) % CODES_APART),
                Err(_) => Verdict::Missing,
            };
        }
        let Some(text) = value::bulk(reply).map(String::from_utf8_lossy) else {
            let duplicate = self.once.as_ref().and_then(|_| Duplicate::read(reply));
            return duplicate.map_or(Verdict::Missing, Verdict::Applied);
        };
        if let Some(error) = text.strip_prefix("once ") {
            return Verdict::Unasked { error: error.replace(['\r', '\n'], " ").into() };
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (place, error) = text.split_at(digits);
        let per_question = if self.script == Script::Types { TYPES_ARGUMENTS } else { 1 };
        let place = place.parse().ok().and_then(|place: usize| self.predicted.get(place / per_question));
        let error = error.trim_start().replace(['\r', '\n'], " ");
        if let Some(Predicted { member, wrong: Wrong::Required(required) }) = place {
            return Verdict::Unmet { member: *member, required: format!("{required}, which may not be asked: {error}").into() };
        }
        Verdict::Fails { member: place.map_or(0, |predicted| predicted.member), error: error.into() }
    }

    fn fails(&self, place: u64, code: u64) -> Verdict {
        let Some(Predicted { member, wrong }) = usize::try_from(place).ok().and_then(|place| self.predicted.get(place)) else {
            return Verdict::Missing;
        };
        let error = match (wrong, code) {
            (Wrong::Required(required), _) => return Verdict::Unmet { member: *member, required: Arc::clone(required) },
            (_, 0) => WRONG_TYPE,
            (Wrong::Content([content, _]), 1) => content,
            (Wrong::Named(error), 1) => error,
            (Wrong::Content([_, second]), 2) => second,
            (Wrong::Named(_), 2) => OVERFLOW,
            _ => return Verdict::Missing,
        };
        Verdict::Fails { member: *member, error: error.replace(['\r', '\n'], " ").into() }
    }
}

/// What goes right behind MULTI.
pub fn assert_guard(guard: &[u8]) -> Vec<u8> {
    let mut request = Vec::with_capacity(ASSERT_GUARD_SCRIPT.len() + guard.len() + encode::BULK_FRAMING_MAX);
    request.extend_from_slice(ASSERT_GUARD_SCRIPT);
    encode::bulk(&mut request, guard);
    request
}

fn words(words: &[&str]) -> Vec<u8> {
    let mut wire = Vec::new();
    words.iter().for_each(|word| encode::bulk(&mut wire, word.as_bytes()));
    wire
}

impl Script {
    /// The shortest that knows all the questions: the server hashes it each time.
    fn of(checks: &[Check<'_>]) -> Script {
        let of = |check: &Check<'_>| match check.question {
            Question::Integer { .. } | Question::FieldInteger { .. } => Script::Numbers,
            _ if check.question.length_command().is_some() => Script::Types,
            _ => Script::All,
        };
        checks.iter().map(of).max().unwrap_or(Script::Types)
    }

    fn evals(self) -> &'static Evals {
        match self {
            Script::Types => &TYPES,
            Script::Numbers => &NUMBERS,
            Script::All => &ALL,
        }
    }
}

/// Whether a connection can carry guarded groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ability {
    /// It has not been asked.
    #[default]
    Unknown,
    /// It can.
    Able,
    /// It cannot, for want of this.
    Lacking(Unsupported),
    /// It was asked, and did not say: it may next time.
    Silent,
}

/// What a connection lacks for guarded groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// The server has no EVAL, or none that takes flags (Redis 7.0).
    Scripting,
    /// The user may not run EVAL.
    Eval,
    /// The user may not WATCH, SET or EVAL with keys of the guards' prefix.
    Guard,
    /// What a member would do depends on a command that stands between the members.
    Between,
}

impl Unsupported {
    /// What is lacking, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Unsupported::Scripting => "the server runs no scripts with flags (Redis 7.0 does)",
            Unsupported::Eval => "this user may not run EVAL",
            Unsupported::Between => super::carried::UNPREDICTABLE,
            Unsupported::Guard => "this user may not WATCH and SET keys with the guards' prefix, or EVAL with them",
        }
    }
}

impl Ability {
    /// The question that tells.
    pub fn question(prefix: &str, out: &mut Vec<u8>) {
        encode::request(out, &[b"EVAL", PROBE, b"0", prefix.as_bytes()]);
    }

    /// What the answer means.
    pub fn read(reply: &[u8]) -> Ability {
        match value::integer(reply) {
            Some(1) => return Ability::Able,
            Some(_) => return Ability::Lacking(Unsupported::Guard),
            None => {}
        }
        let error = value::error_text(reply);
        // What else an error says (LOADING, BUSY, NOAUTH) passes.
        if error.starts_with(b"NOPERM") {
            Ability::Lacking(Unsupported::Eval)
        } else if error.starts_with(b"ERR") || error.is_empty() {
            Ability::Lacking(Unsupported::Scripting)
        } else {
            Ability::Silent
        }
    }
}

#[cfg(test)]
mod tests;
