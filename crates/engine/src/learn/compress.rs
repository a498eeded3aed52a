//! Proposes compress rules for key families whose values would shrink, by the samples that were compressed.

use std::collections::{BTreeMap, BTreeSet};

use super::family::{Families, glob};
use super::group;
use super::samples::{Sample, Samples};
use crate::command::Table;
use crate::policy::compile;
use crate::policy::rule::{Written, WrittenCompress};

/// A family is proposed from so many values on, if they then take no more than half.
const VALUES_MIN: u32 = 3;
const FAMILIES_MAX: usize = 16;

/// A rule with what speaks for it.
pub(super) struct Compressing {
    pub(super) rule: WrittenCompress,
    pub(super) values: u32,
    pub(super) original: u64,
    pub(super) stored: u64,
}

/// The rules that the samples speak for, those that save most first.
pub(super) fn rules(samples: &Samples, families: &Families, table: &Table) -> Vec<Compressing> {
    let mut by_family: BTreeMap<String, (String, Sample)> = BTreeMap::new();
    for (key, tried) in samples.keys() {
        let Some(placed) = families.place(key) else { continue };
        let (_, all) = by_family.entry(glob(&placed.pieces)).or_insert_with(|| (placed.name(), Sample::default()));
        all.add(tried);
    }
    let pays = |tried: &Sample| tried.values >= VALUES_MIN && tried.stored * 2 <= tried.original && !tried.looked_into;
    let mut paying: Vec<_> = by_family.into_iter().filter(|(_, (_, tried))| pays(tried)).collect();
    paying.sort_by_key(|(_, (_, tried))| std::cmp::Reverse(tried.original - tried.stored));
    paying.truncate(FAMILIES_MAX);
    let mut names = BTreeSet::new();
    let rule = |(pattern, (name, tried)): (String, (String, Sample))| {
        let name = group::name(std::iter::once(&name), &mut names);
        let rule = WrittenCompress { name, keys: vec![pattern], ..WrittenCompress::default() };
        let is_good = compile(&Written { compresses: vec![rule.clone()], ..Written::default() }, table).is_ok();
        is_good.then_some(Compressing { rule, values: tried.values, original: tried.original, stored: tried.stored })
    };
    paying.into_iter().filter_map(rule).collect()
}
