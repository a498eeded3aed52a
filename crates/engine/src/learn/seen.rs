//! Bounded record of the observed traffic: bursts of commands, keys with what happened to them, and maxima.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::samples::Samples;
use super::segment::cut;
use crate::command::{CommandId, Table, TtlEffect, ttl_effects};
use respguard_resp::request::{Args, Span};

/// Commands in all bursts that are kept.
const COMMANDS_KEPT_MAX: usize = 100_000;
/// Bytes of arguments in all bursts that are kept.
const BYTES_KEPT_MAX: usize = 16 * 1024 * 1024;
/// Bursts kept of those that consist of the same kinds of commands.
const BURSTS_ALIKE_MAX: usize = 500;
/// Kinds of bursts that are told apart.
const KINDS_MAX: usize = 10_000;
/// Keys whose fate is remembered.
const KEYS_MAX: usize = 50_000;
/// A longer argument is a value: it is kept up to here, and compared with nothing.
pub(super) const ARGUMENT_BYTES_MAX: usize = 256;
/// Arguments kept of one command.
const ARGUMENTS_MAX: usize = 64;

/// One command of a burst, with its arguments as far as they can matter.
pub(super) struct Command {
    pub(super) id: CommandId,
    /// Whether it begins with the first byte of a read.
    pub(super) begins_read: bool,
    pub(super) in_transaction: bool,
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
}

impl Command {
    pub(super) fn new(id: CommandId, args: Args<'_>, begins_read: bool, in_transaction: bool) -> Command {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for arg in args.iter().take(ARGUMENTS_MAX) {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(&arg[..arg.len().min(ARGUMENT_BYTES_MAX + 1)]);
            spans.push(Span { start, end: bytes.len() as u32 });
        }
        Command { id, begins_read, in_transaction, bytes: bytes.into(), spans: spans.into() }
    }

    pub(super) fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }

    /// The room that it takes up.
    pub(super) fn kept_bytes(&self) -> usize {
        size_of::<Command>() + self.bytes.len() + size_of_val(&*self.spans)
    }
}

/// Whether an argument is so long that it was cut.
pub(super) fn is_value(argument: &[u8]) -> bool {
    argument.len() > ARGUMENT_BYTES_MAX
}

/// What one client sent without a pause.
#[derive(Default)]
pub(super) struct Burst {
    pub(super) commands: Vec<Command>,
}

/// What becomes of a key's time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    /// No command told.
    Unspecified,
    /// It ends; after so long if that was told as a time from now.
    Ends(Option<i64>),
    /// It was written, and nothing ends it.
    Endless,
    /// It had an end, which a later write has taken away.
    Dropped,
}

/// What was seen of one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyFacts {
    pub(super) uses: u64,
    /// The type of its value, as a word; empty where no command told.
    pub(super) kind: &'static str,
    pub(super) life: Life,
}

/// The largest that was seen of something, with the command's name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Largest {
    pub(super) size: usize,
    pub(super) id: Option<CommandId>,
}

impl Largest {
    fn note(&mut self, size: usize, id: CommandId) {
        if size > self.size {
            *self = Largest { size, id: Some(id) };
        }
    }
}

/// Everything that proposals are made from.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) commands: u64,
    /// Requests too long to be looked into.
    pub(super) long: u64,
    /// Times that each command was sent, by its id.
    pub(super) counts: Vec<u64>,
    pub(super) argument: Largest,
    pub(super) arguments: Largest,
    /// In order, so that the same traffic gives the same proposals.
    pub(super) keys: BTreeMap<Box<[u8]>, KeyFacts>,
    /// What compressing some values has come to.
    pub(super) samples: Samples,
    /// Uses of keys that found no room.
    pub(super) keys_beyond: u64,
    pub(super) bursts: Vec<Burst>,
    /// Bursts of two commands and more, and those of them that were not kept.
    pub(super) bursts_seen: u64,
    pub(super) bursts_beyond: u64,
    commands_kept: usize,
    bytes_kept: usize,
    kinds: HashMap<u64, usize>,
}

impl Seen {
    /// Takes one command.
    pub(super) fn command(&mut self, id: CommandId, args: Args<'_>, table: &Table) {
        self.commands += 1;
        self.counts.resize(table.len(), 0);
        if let Some(count) = self.counts.get_mut(id.index()) {
            *count += 1;
        }
        let spec = table.spec(id);
        let behind_name = args.from(spec.name_words.into());
        behind_name.iter().for_each(|argument| self.argument.note(argument.len(), id));
        self.arguments.note(behind_name.len(), id);
        let kind = kind(spec.name());
        self.samples.command(spec.name(), args);
        spec.for_each_key(args, &mut |place, _| {
            if let Some(info) = args.get(place).and_then(|key| self.info(key)) {
                info.uses += 1;
                if info.kind.is_empty() {
                    info.kind = kind;
                }
            }
        });
        ttl_effects(spec, args, &mut |place, effect| {
            if let Some(info) = args.get(place).and_then(|key| self.info(key)) {
                info.life = info.life.after(effect);
            }
        });
    }

    fn info(&mut self, key: &[u8]) -> Option<&mut KeyFacts> {
        if !self.keys.contains_key(key) {
            if self.keys.len() == KEYS_MAX || is_value(key) {
                self.keys_beyond += 1;
                return None;
            }
            self.keys.insert(key.into(), KeyFacts { uses: 0, kind: "", life: Life::Unspecified });
        }
        self.keys.get_mut(key)
    }

    /// Takes a whole burst; one that consists of the same kinds of commands as many before it is only counted.
    pub(super) fn burst(&mut self, burst: Burst, table: &Table) {
        if burst.commands.len() < 2 {
            return;
        }
        self.bursts_seen += 1;
        let kind = kind_of_burst(&burst, table);
        let room = self.kinds.contains_key(&kind) || self.kinds.len() < KINDS_MAX;
        let bytes: usize = burst.commands.iter().map(|command| command.bytes.len()).sum();
        let fits =
            self.commands_kept + burst.commands.len() <= COMMANDS_KEPT_MAX && self.bytes_kept + bytes <= BYTES_KEPT_MAX && room;
        if fits {
            let alike = self.kinds.entry(kind).or_default();
            if *alike < BURSTS_ALIKE_MAX {
                *alike += 1;
                self.commands_kept += burst.commands.len();
                self.bytes_kept += bytes;
                self.bursts.push(burst);
                return;
            }
        }
        self.bursts_beyond += 1;
    }
}

impl Life {
    fn after(self, effect: TtlEffect) -> Life {
        match effect {
            TtlEffect::Set { milliseconds, .. } => Life::Ends(milliseconds),
            TtlEffect::SetAt { .. } => Life::Ends(None),
            TtlEffect::Drop | TtlEffect::Persist if matches!(self, Life::Ends(_)) => Life::Dropped,
            TtlEffect::Drop if self == Life::Unspecified => Life::Endless,
            TtlEffect::KeepOrCreate | TtlEffect::Create if self == Life::Unspecified => Life::Endless,
            _ => self,
        }
    }
}

/// Bursts that are made of the same commands on keys with the same first words are of one kind, in whatever order and
/// however often these come.
fn kind_of_burst(burst: &Burst, table: &Table) -> u64 {
    let mut parts: Vec<u64> = burst.commands.iter().map(|command| kind_of_command(command, table)).collect();
    parts.sort_unstable();
    parts.dedup();
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn kind_of_command(command: &Command, table: &Table) -> u64 {
    let args = command.args();
    let mut hasher = DefaultHasher::new();
    command.id.hash(&mut hasher);
    table.spec(command.id).for_each_key(args, &mut |place, _| {
        let cut = args.get(place).map(cut);
        cut.map(|cut| (cut.words.first().copied().unwrap_or_default().to_vec(), cut.marks.len())).hash(&mut hasher);
    });
    hasher.finish()
}

/// The type of value that a command works on; empty for those that take any.
fn kind(name: &str) -> &'static str {
    match name {
        "set" | "get" | "setex" | "psetex" | "setnx" | "getset" | "getex" | "getdel" | "mset" | "mget" | "msetnx" | "incr"
        | "decr" | "incrby" | "decrby" | "incrbyfloat" | "append" | "strlen" | "setrange" | "getrange" | "setbit" | "getbit" => {
            "string"
        }
        "sadd" | "srem" | "smembers" | "sismember" | "smismember" | "scard" | "spop" | "srandmember" => "set",
        "lpush" | "rpush" | "lpushx" | "rpushx" | "lpop" | "rpop" | "llen" | "lrange" | "lindex" | "lset" | "lrem" | "ltrim"
        | "linsert" | "lmove" | "lpos" | "rpoplpush" => "list",
        name if name.starts_with('h') => "hash",
        name if name.starts_with('z') || name.starts_with("geo") => "zset",
        name if name.starts_with('x') => "stream",
        _ => "",
    }
}
