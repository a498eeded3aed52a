//! Merges an upstream's COMMAND reply into the table.

use super::answer::Answer;
use super::blocking::Timeout;
use super::connection::{ConnectionEffect, PinReason};
use super::flags::Flags;
use super::keys::{Access, Find, KeySpec, Keys, Keyword, Search};
use super::spec::{RetryClass, Rewrite, Spec};
use super::tips::Tips;
use super::ttl_column::{TtlColumn, TtlEffect};
use super::{CommandId, Table};

/// What one upstream's answer changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Merge {
    /// Commands that the table did not know: of modules, of newer servers, renamed ones.
    pub added: Vec<CommandId>,
    /// Commands that the table knows and the upstream does not have.
    pub absent: usize,
    /// Entries that could not be understood, or had no room; their commands stay UNKNOWN.
    pub skipped: usize,
}

/// Why an answer could not be merged; the table is as before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MergeError {
    /// The upstream does not say: the error it answered.
    #[error("the upstream refused COMMAND: {0}")]
    Refused(String),
    /// Not the shape that COMMAND documents.
    #[error("the upstream's answer to COMMAND is not a list of commands")]
    Malformed,
}

impl Table {
    /// Takes in the whole frame that an upstream answered to COMMAND, RESP2 or RESP3
    /// (<https://redis.io/docs/latest/commands/command/>). What is kept by hand stays; arity and flags follow the
    /// upstream. May be repeated with another upstream's answer: the last one decides what is present.
    ///
    /// # Errors
    /// The upstream has answered an error, or something else than a description of commands.
    pub fn merge(&mut self, command_reply: &[u8]) -> Result<Merge, MergeError> {
        let answer = Answer::read(command_reply).ok_or(MergeError::Malformed)?;
        if let Answer::Error(text) = answer {
            return Err(MergeError::Refused(String::from_utf8_lossy(text).into_owned()));
        }
        let entries = answer.list().ok_or(MergeError::Malformed)?;
        for spec in self.specs.iter_mut().skip(1) {
            spec.present = false;
        }
        let mut merge = Merge::default();
        for entry in entries {
            if self.merge_entry(entry, &mut merge).is_none() {
                merge.skipped += 1;
            }
        }
        merge.absent = self.specs.iter().filter(|spec| !spec.present).count();
        Ok(merge)
    }

    /// One command and its subcommands; `None` when the command is not understood.
    fn merge_entry(&mut self, entry: &Answer<'_>, merge: &mut Merge) -> Option<()> {
        let fields = entry.list()?;
        let name = lower(fields.first()?)?;
        self.merge_command(&name, fields, merge)?;
        let Some(subcommands) = fields.get(9).and_then(Answer::list) else {
            self.assume_subcommands(&name);
            return Some(());
        };
        for subcommand in subcommands {
            let merged = subcommand.list().and_then(|fields| {
                let sub = lower(fields.first()?)?;
                let full = match sub.contains('|') {
                    true => sub,
                    false => format!("{name}|{sub}"),
                };
                self.merge_command(&full, fields, merge)
            });
            if merged.is_none() {
                merge.skipped += 1;
            }
        }
        Some(())
    }

    fn merge_command(&mut self, name: &str, fields: &[Answer<'_>], merge: &mut Merge) -> Option<()> {
        // Redis before 7.0 lists what browsers say as if it read data: it closes whoever says it.
        if matches!(name, "post" | "host:") {
            return Some(());
        }
        let arity = i16::try_from(fields.get(1)?.number()?).ok()?;
        let flags = flags(fields);
        if let Some(id) = self.by_name(name) {
            let spec = self.specs.get_mut(id.index())?;
            spec.present = true;
            spec.arity = arity;
            spec.flags = spec.flags.or(flags);
            return Some(());
        }
        let mut spec = learned(name, arity, flags, keys(fields, flags));
        let tips = fields.get(7).and_then(Answer::list).unwrap_or_default();
        tips.iter().filter_map(Answer::text).for_each(|tip| spec.tips.note(tip));
        merge.added.push(self.add(spec)?);
        Some(())
    }

    /// Servers before 7.0 do not list subcommands: they are there with their container, as far as anyone can tell.
    fn assume_subcommands(&mut self, container: &str) {
        for spec in &mut self.specs {
            let of_container = spec.name.split_once('|').is_some_and(|(name, _)| name == container);
            spec.present |= of_container;
        }
    }
}

/// The row of a command of which only the upstream's answer is known: nothing good is assumed.
fn learned(name: &str, arity: i16, flags: Flags, keys: Keys) -> Spec {
    let (connection, timeout) = learned_connection(flags);
    let reads = flags.has(Flags::READONLY) && !flags.has(Flags::WRITE);
    Spec {
        name: name.into(),
        name_words: 1 + u8::from(name.contains('|')),
        arity,
        flags,
        connection,
        timeout,
        ttl: match () {
            () if reads => TtlColumn::None,
            () if keys.is_keyless() => TtlColumn::Keyless,
            () => TtlColumn::Written(TtlEffect::Unknown),
        },
        keys,
        retry: if reads { RetryClass::Read } else { RetryClass::NotIdempotent },
        rewrite: Rewrite::None,
        slow: false,
        present: true,
        tips: Tips::default(),
    }
}

/// Only what is flagged as reading or writing data, and as nothing else, is trusted to leave the connection alone.
fn learned_connection(flags: Flags) -> (ConnectionEffect, Timeout) {
    if flags.has(Flags::BLOCKING) {
        return (ConnectionEffect::Blocking, Timeout::Unstated);
    }
    let data = flags.has(Flags::WRITE.or(Flags::READONLY));
    let session = flags.has(Flags::PUBSUB.or(Flags::CONNECTION).or(Flags::NO_AUTH));
    let administration = flags.has(Flags::ADMIN) && flags.has(Flags::NOSCRIPT);
    if data && !session && !administration {
        (ConnectionEffect::None, Timeout::Never)
    } else {
        (ConnectionEffect::Pin(PinReason::Unknown), Timeout::Never)
    }
}

fn flags(fields: &[Answer<'_>]) -> Flags {
    let named = |at: usize, read: fn(&[u8]) -> Flags| {
        let names = fields.get(at).and_then(Answer::list).unwrap_or_default();
        let texts = names.iter().filter_map(Answer::text);
        texts.fold(Flags::NONE, |flags, name| flags.or(read(name)))
    };
    named(2, Flags::from_name).or(named(6, Flags::from_category))
}

fn keys(fields: &[Answer<'_>], flags: Flags) -> Keys {
    let specs = match fields.get(8).and_then(Answer::list) {
        Some(specs) => specs.iter().filter_map(|spec| key_spec(spec, flags)).collect(),
        None => positions(fields).into_iter().collect::<Box<[KeySpec]>>(),
    };
    if specs.is_empty() && flags.has(Flags::MOVABLEKEYS) {
        return Keys::Unknown;
    }
    Keys::Specs(specs)
}

/// First key, last key and step, which is all that servers before 7.0 say.
fn positions(fields: &[Answer<'_>]) -> Option<KeySpec> {
    let at = |i: usize| fields.get(i)?.number().and_then(|place| i16::try_from(place).ok());
    let (first, last, step) = (at(3)?, at(4)?, at(5)?);
    if first <= 0 {
        return None;
    }
    let last = if last >= 0 { last.checked_sub(first)?.max(0) } else { last };
    Some(KeySpec {
        access: Access::Write,
        search: Search::Index(first.unsigned_abs()),
        find: Find::Range { last, step: step.unsigned_abs(), limit: 0 },
        incomplete: false,
    })
}

/// One key spec; `None` when it finds channels. What is not understood is unknown.
fn key_spec(frame: &Answer<'_>, command: Flags) -> Option<KeySpec> {
    // Of a module's command the server does not know which keys it writes: it says all, whatever the command's flags.
    let reads = command.has(Flags::MODULE) && command.has(Flags::READONLY);
    let flags = frame.field("flags").and_then(Answer::list).unwrap_or_default();
    let said = |flag: &str| flags.iter().any(|said| said.text() == Some(flag.as_bytes()));
    if said("not_key") {
        return None;
    }
    Some(KeySpec {
        access: match () {
            () if reads || said("RO") => Access::Read,
            () if said("OW") => Access::Overwrite,
            () if said("RM") => Access::Remove,
            () => Access::Write,
        },
        search: frame.field("begin_search").and_then(search).unwrap_or(Search::Unknown),
        find: frame.field("find_keys").and_then(find).unwrap_or(Find::Unknown),
        incomplete: said("incomplete"),
    })
}

fn search(frame: &Answer<'_>) -> Option<Search> {
    let spec = frame.field("spec")?;
    match frame.field("type")?.text()? {
        b"index" => Some(Search::Index(small(spec, "index")?)),
        b"keyword" => {
            Some(Search::Keyword { word: Keyword::new(spec.field("keyword")?.text()?)?, from: small(spec, "startfrom")? })
        }
        _ => None,
    }
}

fn find(frame: &Answer<'_>) -> Option<Find> {
    let spec = frame.field("spec")?;
    match frame.field("type")?.text()? {
        b"range" => {
            Some(Find::Range { last: small(spec, "lastkey")?, step: small(spec, "keystep")?, limit: small(spec, "limit")? })
        }
        b"keynum" => Some(Find::Number {
            index: small(spec, "keynumidx")?,
            first: small(spec, "firstkey")?,
            step: small(spec, "keystep")?,
        }),
        _ => None,
    }
}

fn small<N: TryFrom<i64>>(frame: &Answer<'_>, name: &str) -> Option<N> {
    N::try_from(frame.field(name)?.number()?).ok()
}

fn lower(name: &Answer<'_>) -> Option<String> {
    let name = std::str::from_utf8(name.text()?).ok()?;
    Some(name.to_ascii_lowercase())
}
