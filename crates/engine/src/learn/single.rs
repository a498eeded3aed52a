//! Makes rules about single keys and commands: which families expire, and which commands never occur.

use std::collections::{BTreeMap, BTreeSet};

use super::family::{Families, Piece, glob};
use super::group;
use super::number::{number, times};
use super::seen::{KeyFacts, Life, Seen};
use crate::command::Table;
use crate::policy::compile;
use crate::policy::rule::{Written, WrittenGuard, WrittenTtl};

/// A family is checked by so many keys, or by so many uses of fewer.
const KEYS_MIN: usize = 2;
const USES_MIN: u64 = 3;
/// Families that rules name one by one.
const FAMILIES_MAX: usize = 32;
/// A value that may pass is at least so large, whatever was seen.
const VALUE_BYTES_MIN: usize = 64 * 1024;
/// Commands that stop a server or empty it, as patterns.
const DANGEROUS: [(&str, &str); 4] =
    [("keys", "KEYS *"), ("flushall", "FLUSHALL ..."), ("flushdb", "FLUSHDB ..."), ("swapdb", "SWAPDB * *")];

/// What became of the keys of one family.
#[derive(Debug, Clone, Default)]
pub(super) struct TtlHistory {
    pub(super) ends: usize,
    pub(super) endless: usize,
    pub(super) dropped: usize,
    uses: u64,
    /// Milliseconds, with how often.
    lifetimes: BTreeMap<i64, usize>,
    name: String,
}

/// A TTL rule with what speaks for it.
pub(super) struct Expiring {
    pub(super) rule: WrittenTtl,
    pub(super) fate: TtlHistory,
}

/// What was found out about keys' time to live.
#[derive(Default)]
pub(super) struct Lifetimes {
    pub(super) rules: Vec<Expiring>,
    /// Patterns of families that never get one, with how many keys.
    pub(super) endless: Vec<(String, usize)>,
}

/// A guard with what speaks for it.
pub(super) struct Guarding {
    pub(super) rule: WrittenGuard,
    pub(super) evidence: String,
}

impl TtlHistory {
    fn note(&mut self, info: &KeyFacts) {
        self.uses += info.uses;
        match info.life {
            Life::Unspecified => {}
            Life::Ends(milliseconds) => {
                self.ends += 1;
                milliseconds.into_iter().for_each(|time| *self.lifetimes.entry(time).or_default() += 1);
            }
            Life::Endless => self.endless += 1,
            Life::Dropped => self.dropped += 1,
        }
    }

    fn add(&mut self, other: &TtlHistory) {
        self.ends += other.ends;
        self.endless += other.endless;
        self.dropped += other.dropped;
        self.uses += other.uses;
        other.lifetimes.iter().for_each(|(time, count)| *self.lifetimes.entry(*time).or_default() += count);
        if self.name.is_empty() {
            self.name.clone_from(&other.name);
        }
    }

    fn keys(&self) -> usize {
        self.ends + self.endless + self.dropped
    }

    fn is_enough(&self) -> bool {
        self.keys() >= KEYS_MIN || (self.keys() > 0 && self.uses >= USES_MIN)
    }

    /// What families that can share a pattern have in common.
    fn verdict(&self) -> (bool, bool) {
        (self.ends + self.dropped > 0, self.endless + self.dropped > 0)
    }

    /// The shortest and the longest lifetime.
    pub(super) fn range(&self) -> Option<(String, String)> {
        let (shortest, longest) = (self.lifetimes.first_key_value()?, self.lifetimes.last_key_value()?);
        Some((duration(*shortest.0)?, duration(*longest.0)?))
    }

    fn usual(&self) -> Option<String> {
        let most = self.lifetimes.iter().max_by_key(|(time, count)| (**count, **time))?;
        duration(*most.0)
    }
}

/// The rules about keys that expire.
pub(super) fn lifetimes(seen: &Seen, families: &Families, table: &Table) -> Lifetimes {
    let mut found = Lifetimes::default();
    let mut names = BTreeSet::new();
    for (pattern, fate) in histories(seen, families) {
        match fate.verdict() {
            _ if !fate.is_enough() || found.rules.len() + found.endless.len() >= FAMILIES_MAX => {}
            (true, _) => {
                let name = group::name(std::iter::once(&fate.name), &mut names);
                let rule = WrittenTtl { name, keys: vec![pattern], default: fate.usual(), ..WrittenTtl::default() };
                if compile(&Written { ttls: vec![rule.clone()], ..Written::default() }, table).is_ok() {
                    found.rules.push(Expiring { rule, fate });
                }
            }
            (false, true) => found.endless.push((pattern, fate.keys())),
            (false, false) => {}
        }
    }
    found
}

/// The fate of each pattern's keys; families that begin alike and fare alike share one.
fn histories(seen: &Seen, families: &Families) -> BTreeMap<String, TtlHistory> {
    let mut by_family: BTreeMap<Vec<Piece>, TtlHistory> = BTreeMap::new();
    for (key, info) in &seen.keys {
        if let Some(placed) = families.place(key) {
            let fate = by_family.entry(placed.pieces.clone()).or_default();
            fate.name = placed.name();
            fate.note(info);
        }
    }
    let mut by_beginning: BTreeMap<String, Vec<(Vec<Piece>, TtlHistory)>> = BTreeMap::new();
    for (pieces, fate) in by_family.into_iter().filter(|(_, fate)| fate.keys() > 0) {
        by_beginning.entry(beginning(&pieces)).or_default().push((pieces, fate));
    }
    let mut histories = BTreeMap::new();
    for (beginning, of) in by_beginning {
        let alike = of.len() > 1 && of.iter().all(|(_, fate)| fate.verdict() == of[0].1.verdict());
        let one_slot = of.len() == 1 && of[0].0.len() > 1;
        for (pieces, fate) in of {
            let short = (alike || one_slot) && !beginning.is_empty();
            let pattern = if short { format!("{beginning}*") } else { glob(&pieces) };
            histories.entry(pattern).or_insert_with(TtlHistory::default).add(&fate);
        }
    }
    histories
}

/// A family's first name with the mark behind it, as a pattern; empty where a slot or nothing stands there.
fn beginning(pieces: &[Piece]) -> String {
    let Some(Piece::Text(text)) = pieces.first() else { return String::new() };
    let name = text.find(|c: char| c.is_ascii_alphanumeric());
    let end = name.and_then(|from| Some(from + text[from..].find([':', '/', '|', '.', '#'])? + 1));
    end.map(|end| super::family::escaped(&text[..end])).unwrap_or_default()
}

/// Milliseconds as a rule has them.
fn duration(milliseconds: i64) -> Option<String> {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let whole = UNITS.into_iter().find(|(unit, _)| milliseconds % unit == 0 && milliseconds / unit >= 1);
    let (unit, name) = whole.unwrap_or((1, "ms"));
    (milliseconds > 0).then(|| format!("{}{name}", milliseconds / unit))
}

/// The guards that what was seen speaks for.
pub(super) fn guards(seen: &Seen, families: &Families, table: &Table) -> Vec<Guarding> {
    let rules = [dangerous(seen, table), large(seen, table), strange(seen, families)];
    let good = |guard: &Guarding| compile(&Written { guards: vec![guard.rule.clone()], ..Written::default() }, table).is_ok();
    rules.into_iter().flatten().filter(good).collect()
}

fn dangerous(seen: &Seen, table: &Table) -> Option<Guarding> {
    let count = |name: &str| table.by_name(name).and_then(|id| seen.counts.get(id.index())).copied().unwrap_or_default();
    let counts: Vec<String> = DANGEROUS
        .iter()
        .map(|(name, _)| match count(name) {
            0 => format!("{} never", name.to_ascii_uppercase()),
            count => format!("{} {}", name.to_ascii_uppercase(), times(count)),
        })
        .collect();
    let commands = DANGEROUS.iter().map(|(_, pattern)| (*pattern).to_owned()).collect();
    let rule = WrittenGuard { name: "dangerous".to_owned(), commands: Some(commands), ..WrittenGuard::default() };
    Some(Guarding { rule, evidence: format!("Sent: {}.", counts.join(", ")) })
}

fn large(seen: &Seen, table: &Table) -> Option<Guarding> {
    if seen.long > 0 {
        // Such a request was not looked into: nobody knows its largest value.
        return None;
    }
    let (largest, most) = (seen.argument, seen.arguments);
    let bytes = (largest.size * 2).next_power_of_two().max(VALUE_BYTES_MIN);
    let name = |id| table.spec(id).shown();
    let mut evidence = format!("The longest argument had {} bytes ({})", number(largest.size as u64), name(largest.id?));
    if let Some(id) = most.id {
        evidence.push_str(&format!(", the most arguments were {} ({})", number(most.size as u64), name(id)));
    }
    let rule = WrittenGuard { name: "large-values".to_owned(), value_bytes_max: Some(bytes as u64), ..WrittenGuard::default() };
    Some(Guarding { rule, evidence: format!("{evidence}.") })
}

fn strange(seen: &Seen, families: &Families) -> Option<Guarding> {
    let mut patterns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for key in seen.keys.keys() {
        let placed = families.place(key)?;
        patterns.entry(beginning(&placed.pieces)).or_default().insert(glob(&placed.pieces));
    }
    let short = |(beginning, patterns): (String, BTreeSet<String>)| match patterns.first() {
        Some(only) if patterns.len() == 1 && !only.contains('*') => vec![only.clone()],
        _ if beginning.is_empty() => patterns.into_iter().collect(),
        _ => vec![format!("{beginning}*")],
    };
    let patterns: Vec<String> = patterns.into_iter().flat_map(short).collect();
    let is_known = (1..=FAMILIES_MAX).contains(&patterns.len()) && seen.keys_beyond == 0;
    let evidence = format!("All of {} keys are of these families.", number(seen.keys.len() as u64));
    let rule = WrittenGuard { name: "unknown-keys".to_owned(), keys_allowed: Some(patterns), ..WrittenGuard::default() };
    is_known.then_some(Guarding { rule, evidence })
}
