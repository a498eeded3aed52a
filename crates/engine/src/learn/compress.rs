//! Proposes compress rules for key families whose values would shrink, by compressing a sample.

use std::collections::{BTreeMap, BTreeSet};

use super::family::{Families, glob};
use super::group;
use crate::command::{Table, for_each_value, looks_into};
use crate::packed::{self, Method};
use crate::policy::compile;
use crate::policy::rule::{Written, WrittenCompress};
use respguard_resp::request::Args;

/// Of one value no more is compressed to see, and of all values together.
const SAMPLE_BYTES_MAX: usize = 64 * 1024;
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Values that are tried of one key, and keys of which some are.
const VALUES_MAX: u32 = 4;
const KEYS_MAX: usize = 10_000;
/// A family is proposed from so many values on, if they then take no more than half.
const VALUES_MIN: u32 = 3;
const FAMILIES_MAX: usize = 16;
/// As the rule's own default.
const METHOD: Method = Method::Zstd(3);

/// What was tried of one key, or of one family.
#[derive(Debug, Clone, Copy, Default)]
struct Tried {
    values: u32,
    original: u64,
    stored: u64,
    /// A command looked into its value: with a rule it would be refused.
    looked_into: bool,
}

/// Everything that was tried.
#[derive(Default)]
pub(super) struct Samples {
    /// In order, so that the same traffic gives the same proposals.
    keys: BTreeMap<Box<[u8]>, Tried>,
    bytes: usize,
}

/// A rule with what speaks for it.
pub(super) struct Compressing {
    pub(super) rule: WrittenCompress,
    pub(super) values: u32,
    pub(super) original: u64,
    pub(super) stored: u64,
}

impl Samples {
    /// Takes one command.
    pub(super) fn command(&mut self, name: &str, args: Args<'_>) {
        let least = usize::try_from(WrittenCompress::default().min_bytes).unwrap_or(usize::MAX);
        for_each_value(name, args, &mut |key, place| {
            if let (Some(key), Some(value)) = (args.get(key), args.get(place))
                && value.len() >= least
            {
                self.value(key, value);
            }
        });
        if let Some(key) = args.get(1).filter(|_| looks_into(name, args))
            && let Some(tried) = self.tried(key)
        {
            tried.looked_into = true;
        }
    }

    fn value(&mut self, key: &[u8], value: &[u8]) {
        let sample = &value[..value.len().min(SAMPLE_BYTES_MAX)];
        if self.bytes + sample.len() > BYTES_MAX {
            return;
        }
        let Some(tried) = self.tried(key).filter(|tried| tried.values < VALUES_MAX) else { return };
        tried.values += 1;
        tried.original += sample.len() as u64;
        tried.stored += packed::pack(sample, Some(METHOD)).map_or(sample.len(), |stored| stored.len()) as u64;
        self.bytes += sample.len();
    }

    fn tried(&mut self, key: &[u8]) -> Option<&mut Tried> {
        if !self.keys.contains_key(key) {
            if self.keys.len() == KEYS_MAX {
                return None;
            }
            self.keys.insert(key.into(), Tried::default());
        }
        self.keys.get_mut(key)
    }

    /// The rules that this speaks for, those that save most first.
    pub(super) fn rules(&self, families: &Families, table: &Table) -> Vec<Compressing> {
        let mut by_family: BTreeMap<String, (String, Tried)> = BTreeMap::new();
        for (key, tried) in &self.keys {
            let Some(placed) = families.place(key) else { continue };
            let (_, all) = by_family.entry(glob(&placed.pieces)).or_insert_with(|| (placed.name(), Tried::default()));
            all.values += tried.values;
            all.original += tried.original;
            all.stored += tried.stored;
            all.looked_into |= tried.looked_into;
        }
        let pays = |tried: &Tried| tried.values >= VALUES_MIN && tried.stored * 2 <= tried.original && !tried.looked_into;
        let mut paying: Vec<_> = by_family.into_iter().filter(|(_, (_, tried))| pays(tried)).collect();
        paying.sort_by_key(|(_, (_, tried))| std::cmp::Reverse(tried.original - tried.stored));
        paying.truncate(FAMILIES_MAX);
        let mut names = BTreeSet::new();
        let rule = |(pattern, (name, tried)): (String, (String, Tried))| {
            let name = group::name(std::iter::once(&name), &mut names);
            let rule = WrittenCompress { name, keys: vec![pattern], ..WrittenCompress::default() };
            let is_good = compile(&Written { compresses: vec![rule.clone()], ..Written::default() }, table).is_ok();
            is_good.then_some(Compressing { rule, values: tried.values, original: tried.original, stored: tried.stored })
        };
        paying.into_iter().filter_map(rule).collect()
    }
}
