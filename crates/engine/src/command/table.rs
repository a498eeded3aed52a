//! All commands by id, found by name without allocating.

use super::blocking::Timeout;
use super::connection::{ConnectionEffect, PinReason};
use super::flags::Flags;
use super::keys::{Access, Keys, index, key, range};
use super::measure::TimeKind;
use super::names::{Names, load};
use super::spec::{RetryClass, Rewrite, Spec};
use super::tips::Tips;
use super::ttl_column::{TtlColumn, TtlEffect};
use super::{CommandId, connection_column, generated, newer, options, slow_column, write_column};
use respguard_resp::request::Args;

/// What is known about every command. Ids stay valid when an upstream's answer is merged in.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) specs: Vec<Spec>,
    names: Names,
    set: CommandId,
    incrby: CommandId,
    hset: CommandId,
    expire: CommandId,
}

/// The name, of at most eight bytes, that was looked up last in a row of requests, and its command.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastLookup {
    word: u64,
    len: usize,
    id: CommandId,
}

impl Table {
    /// The commands of Redis from 6.2 and Valkey from 8.1 on, as far as they are known, as if the upstream had them all.
    pub fn builtin() -> Table {
        let mut table = Table {
            specs: vec![unknown()],
            names: Names::new(),
            set: CommandId::UNKNOWN,
            incrby: CommandId::UNKNOWN,
            hset: CommandId::UNKNOWN,
            expire: CommandId::UNKNOWN,
        };
        for (name, _, _, arity, flags, keys) in generated::ROWS.iter().chain(newer::ROWS) {
            let keys = keys_of(name, Keys::Specs((*keys).into()));
            table.add(builtin_spec(name, *arity, *flags, keys));
        }
        let id = |name: &str| table.by_name(name).unwrap_or(CommandId::UNKNOWN);
        (table.set, table.incrby, table.hset, table.expire) = (id("set"), id("incrby"), id("hset"), id("expire"));
        table
    }

    /// The command of a request, in any case. A subcommand that the table does not know is its container's; a command
    /// that it does not know is UNKNOWN.
    #[inline]
    pub fn lookup(&self, args: Args<'_>) -> CommandId {
        self.find(args).0
    }

    /// The same for one of a row of requests: most often it has the name of the one before, in the same letters.
    #[inline]
    pub fn lookup_next(&self, args: Args<'_>, before: &mut LastLookup) -> CommandId {
        let name = args.get(0).unwrap_or_default();
        if !(1..=8).contains(&name.len()) {
            return self.lookup(args);
        }
        let word = load(name);
        if word != before.word || name.len() != before.len {
            let id = match self.names.find_word(CommandId::UNKNOWN, word, name.len()) {
                Some((_, true)) => return self.lookup(args),
                Some((id, false)) => id,
                None => CommandId::UNKNOWN,
            };
            *before = LastLookup { word, len: name.len(), id };
        }
        before.id
    }

    /// The command, and whether its name alone does not tell it.
    fn find(&self, args: Args<'_>) -> (CommandId, bool) {
        let name = args.get(0).unwrap_or_default();
        match self.names.find(CommandId::UNKNOWN, name) {
            None => (CommandId::UNKNOWN, false),
            Some((id, false)) => (id, false),
            Some((container, true)) => {
                (args.get(1).and_then(|sub| self.names.find(container, sub)).map_or(container, |(id, _)| id), true)
            }
        }
    }

    /// The command called `set`, or `client|setname`, in any case; `None` if the table does not know it.
    pub fn by_name(&self, name: &str) -> Option<CommandId> {
        let name = name.as_bytes();
        let Some(end) = name.iter().position(|byte| *byte == b'|') else {
            return self.names.find(CommandId::UNKNOWN, name).map(|(id, _)| id);
        };
        let (container, _) = self.names.find(CommandId::UNKNOWN, &name[..end])?;
        self.names.find(container, &name[end + 1..]).map(|(id, _)| id)
    }

    /// The row of a command of this table, or of UNKNOWN.
    #[inline]
    pub fn spec(&self, id: CommandId) -> &Spec {
        self.specs.get(id.index()).unwrap_or(&self.specs[0])
    }

    /// Rows, that of UNKNOWN included: every id's index is below.
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// Never: UNKNOWN has a row.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Every command with its id, UNKNOWN left out.
    pub fn iter(&self) -> impl Iterator<Item = (CommandId, &Spec)> {
        let ids = (0..).map(CommandId);
        ids.zip(&self.specs).skip(1)
    }

    pub(super) fn set(&self) -> CommandId {
        self.set
    }

    pub(super) fn incrby(&self) -> CommandId {
        self.incrby
    }

    pub(super) fn hset(&self) -> CommandId {
        self.hset
    }

    pub(super) fn expire(&self) -> CommandId {
        self.expire
    }

    /// Gives `spec` an id. `None` when its container is unknown, its name too long or the table full.
    pub(super) fn add(&mut self, spec: Spec) -> Option<CommandId> {
        let id = CommandId(u16::try_from(self.specs.len()).ok().filter(|id| *id < u16::MAX)?);
        let (container, name) = match spec.name.split_once('|') {
            Some((container, sub)) => (self.by_name(container)?, sub),
            None => (CommandId::UNKNOWN, &*spec.name),
        };
        if !self.names.add(container, name.as_bytes(), id) {
            return None;
        }
        self.specs.push(spec);
        Some(id)
    }
}

fn unknown() -> Spec {
    Spec {
        name: "unknown".into(),
        name_words: 1,
        arity: -1,
        flags: Flags::NONE,
        keys: Keys::Unknown,
        connection: ConnectionEffect::Pin(PinReason::Unknown),
        timeout: Timeout::Never,
        ttl: TtlColumn::Written(TtlEffect::Unknown),
        retry: RetryClass::NotIdempotent,
        rewrite: Rewrite::None,
        slow: false,
        present: true,
        tips: Tips::default(),
    }
}

fn builtin_spec(name: &str, arity: i16, flags: Flags, keys: Keys) -> Spec {
    let (connection, timeout) =
        connection_column::row(name).map_or((ConnectionEffect::None, Timeout::Never), |row| (row.1, row.2));
    let (ttl, retry) = match write_column::row(name) {
        Some(row) => (row.1, row.2),
        None => (TtlColumn::None, unwritten(name, flags)),
    };
    Spec {
        name: name.into(),
        name_words: 1 + u8::from(name.contains('|')),
        arity,
        flags,
        keys,
        connection,
        timeout,
        ttl,
        retry,
        rewrite: rewrite(name),
        slow: slow_column::is_slow(name),
        present: true,
        tips: Tips::default(),
    }
}

fn unwritten(name: &str, flags: Flags) -> RetryClass {
    let asks = flags.has(Flags::READONLY) || name.ends_with("|help") || write_column::QUESTIONS.contains(&name);
    if asks { RetryClass::Read } else { RetryClass::NotIdempotent }
}

/// Key specs cannot say what SORT and MIGRATE do, and of JSON.MGET the module says only the first key
/// (<https://redis.io/docs/latest/commands/json.mget/>).
fn keys_of(name: &str, specs: Keys) -> Keys {
    match name {
        "json.mget" => Keys::Specs([key(Access::Read, index(1), range(-2, 1, 0))].into()),
        "sort" | "sort_ro" => Keys::Sort,
        "migrate" => Keys::Migrate,
        _ => specs,
    }
}

fn rewrite(name: &str) -> Rewrite {
    match name {
        "set" => Rewrite::SetOptions,
        "setex" => Rewrite::SetEx,
        "psetex" => Rewrite::SetPx,
        "getset" => Rewrite::GetSet,
        "hmset" => Rewrite::HMSet,
        "incr" => Rewrite::Increment,
        "decr" => Rewrite::Decrement,
        "incrby" => Rewrite::IncrementBy,
        "decrby" => Rewrite::DecrementBy,
        "expire" => Rewrite::Expire(TimeKind::Ex),
        "pexpire" => Rewrite::Expire(TimeKind::Px),
        "expireat" => Rewrite::Expire(TimeKind::ExAt),
        "pexpireat" => Rewrite::Expire(TimeKind::PxAt),
        _ => options::of(name).map_or(Rewrite::None, Rewrite::Options),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::written::WrittenRequest;
    use super::*;

    fn name<'a>(table: &'a Table, request: &str) -> &'a str {
        table.spec(table.lookup(WrittenRequest::new(request).args())).name()
    }

    #[test]
    fn commands_are_found_in_any_case() {
        let table = Table::builtin();
        for request in ["set k v", "SET k v", "sEt"] {
            assert_eq!(name(&table, request), "set");
        }
        for request in ["", "se", "sett", "set\0", "client|setname", "unknown", "s\u{212a}t"] {
            assert_eq!(table.lookup(WrittenRequest::new(request).args()), CommandId::UNKNOWN, "{request}");
        }
        assert_eq!(table.lookup(Args::new(b"", &[])), CommandId::UNKNOWN);
    }

    #[test]
    fn subcommands_are_found_and_unknown_ones_are_their_containers() {
        let table = Table::builtin();
        assert_eq!(name(&table, "CLIENT SetName x"), "client|setname");
        assert_eq!(name(&table, "client nonsense"), "client");
        assert_eq!(name(&table, "client"), "client");
        assert_eq!(name(&table, "command"), "command");
        assert_eq!(name(&table, "command count"), "command|count");
        assert_eq!(name(&table, "get setname"), "get");
    }

    #[test]
    fn every_row_is_found_under_its_own_name_only() {
        let table = Table::builtin();
        for (id, spec) in table.iter() {
            assert_eq!(table.by_name(spec.name()), Some(id), "{}", spec.name());
            assert_eq!(table.by_name(&spec.name().to_uppercase()), Some(id));
            assert_eq!(name(&table, &spec.name().replace('|', " ")), spec.name());
            assert!(spec.present);
        }
        assert_eq!(table.by_name("unknown"), None);
        assert_eq!(table.by_name("client|nonsense"), None);
        assert_eq!(table.iter().count() + 1, table.len());
    }

    #[test]
    fn every_write_has_a_row_of_hand_kept_columns() {
        for (name, _, _, _, flags, _) in generated::ROWS.iter().chain(newer::ROWS) {
            let kept = write_column::row(name).is_some();
            assert!(kept || !flags.has(Flags::WRITE), "{name} needs a row in write_column");
        }
    }

    #[test]
    fn every_blocking_command_has_a_row_of_its_connection_effect() {
        for (name, _, _, _, flags, _) in generated::ROWS.iter().chain(newer::ROWS) {
            let waits = connection_column::row(name).is_some_and(|row| row.2 != Timeout::Never);
            assert_eq!(waits, flags.has(Flags::BLOCKING) || *name == "wait", "{name}");
        }
    }

    #[test]
    fn every_container_pins_what_it_does_not_know() {
        let table = Table::builtin();
        for (_, spec) in table.iter() {
            let Some((container, _)) = spec.name().split_once('|') else {
                continue;
            };
            let container = table.spec(table.by_name(container).expect("its row comes first"));
            let pins = container.connection == ConnectionEffect::Pin(PinReason::Unknown);
            assert!(pins || container.name() == "command", "{}", container.name());
        }
    }

    #[test]
    fn hand_kept_rows_name_each_command_once_and_no_other() {
        let known: HashSet<&str> = generated::ROWS.iter().chain(newer::ROWS).map(|row| row.0).collect();
        assert_eq!(known.len(), generated::ROWS.len() + newer::ROWS.len());
        let connection = connection_column::ROWS.iter().map(|row| row.0).collect::<Vec<_>>();
        let written = write_column::ROWS.iter().map(|row| row.0).collect::<Vec<_>>();
        for column in [connection, written, write_column::QUESTIONS.to_vec()] {
            let unique: HashSet<&str> = column.iter().copied().collect();
            assert_eq!(unique.len(), column.len());
            assert_eq!(unique.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
        }
    }
}
