//! Makes groups from recurring units: which are the same, which members are optional, what their members share.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::template::{Template, shares};
use super::unit::Units;
use crate::command::Table;
use crate::policy::compile;
use crate::policy::pattern::CAPTURES_MAX;
use crate::policy::rule::{Mode, Written, WrittenGroup, WrittenMember};

/// A unit that was seen less often is no habit.
const COUNT_MIN: u64 = 3;
/// A single write is atomic by itself.
const WRITES_MIN: usize = 2;
/// Kinds of units that are compared with each other: those seen most often.
const KINDS_MAX: usize = 1000;
/// Groups that are proposed.
const GROUPS_MAX: usize = 24;
/// Members that may be missing.
const OPTIONAL_MAX: usize = 3;
/// A longer unit that is seen less than once in so many is an accident of the shorter.
const ACCIDENT: u64 = 20;
/// A unit falls apart into others that are seen by themselves at least once for so many of it.
const PARTS: u64 = 4;
/// Numbers may be equal by accident: so many different ones are not.
const NUMBERS_MIN: usize = 8;
/// First names of keys in the name of a group.
const NAMES_MAX: usize = 3;
/// The longest name of a rule.
const NAME_BYTES_MAX: usize = 48;

/// A group that is proposed.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    pub(super) rule: WrittenGroup,
    pub(super) count: u64,
    pub(super) together: u64,
    /// Those between whose members others' stood.
    pub(super) interleaved: u64,
    pub(super) distinct: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) proposed: Vec<Proposal>,
    /// What recurs, but each command only after the one before: no proxy can make one of it.
    pub(super) one_by_one: Vec<Proposal>,
    /// What else recurs, beyond all bounds.
    pub(super) more: usize,
}

/// Kinds of units that are one group: the longest, and those that lack some of its members.
struct Family<'u, 'a> {
    longest: &'u [usize],
    kinds: Vec<(&'u [usize], &'u Units<'a>)>,
}

/// The groups among these units.
pub(super) fn propose(mut units: BTreeMap<Vec<usize>, Units<'_>>, templates: &[Template], table: &Table) -> Groups {
    units.retain(|kind, _| kind.iter().filter(|template| templates[**template].is_write).count() >= WRITES_MIN);
    fall_apart(&mut units);
    let mut groups = Groups { more: keep_most(&mut units), ..Groups::default() };
    let mut names = BTreeSet::new();
    let mut families = families(&units);
    families.sort_by_key(|family| {
        std::cmp::Reverse((family.count(), family.longest.len(), std::cmp::Reverse(family.longest.to_vec())))
    });
    for family in families {
        if groups.proposed.len() + groups.one_by_one.len() == GROUPS_MAX {
            groups.more += 1;
            continue;
        }
        let apart: u64 = family.kinds.iter().map(|(_, units)| units.apart).sum();
        let proposal = family.proposal(templates, &mut names);
        let alone = Written { groups: vec![proposal.rule.clone()], ..Written::default() };
        if compile(&alone, table).is_err() {
            groups.more += 1;
        } else if apart * 2 > proposal.count {
            groups.one_by_one.push(proposal);
        } else {
            groups.proposed.push(proposal);
        }
    }
    groups
}

/// Leaves out what is no habit, and the rarest of what is too much; says how many kinds these are.
fn keep_most(units: &mut BTreeMap<Vec<usize>, Units<'_>>) -> usize {
    units.retain(|_, of| of.count >= COUNT_MIN);
    let mut counts: Vec<u64> = units.values().map(|of| of.count).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let Some(least) = counts.get(KINDS_MAX) else { return 0 };
    let before = units.len();
    units.retain(|_, of| of.count > *least);
    before - units.len()
}

/// Units that are only others that happened to come behind each other count as these.
fn fall_apart(units: &mut BTreeMap<Vec<usize>, Units<'_>>) {
    let mut kinds: Vec<Vec<usize>> = units.keys().cloned().collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.len()));
    for kind in kinds {
        let Some(count) = units.get(&kind).map(|of| of.count) else { continue };
        let Some(parts) = parts(&kind, COUNT_MIN.max(count / PARTS), units) else { continue };
        let Some(whole) = units.remove(&kind) else { continue };
        for part in parts {
            if let Some(of) = units.get_mut(&part) {
                of.count += whole.count;
                of.together += whole.together;
                of.interleaved += whole.interleaved;
                of.apart += whole.apart;
            }
        }
    }
}

/// Two and more other units that make this one, each seen so often.
fn parts(kind: &[usize], count_min: u64, units: &BTreeMap<Vec<usize>, Units<'_>>) -> Option<Vec<Vec<usize>>> {
    let is_seen = |part: &[usize]| units.get(part).is_some_and(|of| of.count >= count_min);
    (2..kind.len().saturating_sub(1)).find_map(|at| {
        let (first, rest) = kind.split_at(at);
        if !is_seen(first) {
            return None;
        }
        let behind = if is_seen(rest) { Some(vec![rest.to_vec()]) } else { parts(rest, count_min, units) };
        behind.map(|behind| [vec![first.to_vec()], behind].concat())
    })
}

fn families<'u, 'a>(units: &'u BTreeMap<Vec<usize>, Units<'a>>) -> Vec<Family<'u, 'a>> {
    let mut kinds: Vec<(&'u [usize], &'u Units<'a>)> = units.iter().map(|(kind, of)| (kind.as_slice(), of)).collect();
    kinds.sort_by_key(|(kind, of)| (std::cmp::Reverse(kind.len()), std::cmp::Reverse(of.count)));
    let mut taken: HashSet<&[usize]> = HashSet::new();
    let mut families = Vec::new();
    for (longest, of) in &kinds {
        let lacking = |kind: &[usize]| {
            let lack = longest.len() - kind.len().min(longest.len());
            (1..=OPTIONAL_MAX).contains(&lack) && kind.first() == longest.first() && embedded(kind, longest).is_some()
        };
        let lack: Vec<_> = kinds.iter().filter(|(kind, _)| lacking(kind) && !taken.contains(kind)).copied().collect();
        let most = lack.iter().map(|(_, of)| of.count).max().unwrap_or_default();
        if taken.contains(longest) || of.count < COUNT_MIN || of.count * ACCIDENT < most {
            continue;
        }
        let alike = lack.into_iter().filter(|(_, of)| of.count >= COUNT_MIN);
        let kinds: Vec<_> = std::iter::once((*longest, *of)).chain(alike).collect();
        taken.extend(kinds.iter().map(|(kind, _)| *kind));
        families.push(Family { longest, kinds });
    }
    families
}

/// The places of the shorter one's members in the longer, if all are there in the same order.
fn embedded(short: &[usize], long: &[usize]) -> Option<Vec<usize>> {
    let mut from = 0;
    short
        .iter()
        .map(|template| {
            let at = from + long[from..].iter().position(|other| other == template)?;
            from = at + 1;
            Some(at)
        })
        .collect()
}

impl<'a> Family<'_, 'a> {
    fn count(&self) -> u64 {
        self.kinds.iter().map(|(_, of)| of.count).sum()
    }

    fn proposal(&self, templates: &[Template], names: &mut BTreeSet<String>) -> Proposal {
        let captures = self.captures(templates);
        let optional = |at: usize| !self.kinds.iter().all(|(kind, _)| kind.contains(&self.longest[at]));
        let members = self.longest.iter().enumerate().map(|(at, template)| {
            let of_member = captures.iter().filter(|((member, _), _)| *member == at);
            let mut named = vec![None; templates[*template].slots.len()];
            of_member.for_each(|((_, slot), name)| named[*slot] = Some(name.as_str()));
            WrittenMember { template: templates[*template].written(&named), optional: optional(at), ..WrittenMember::default() }
        });
        let rule = WrittenGroup {
            name: name(self.longest.iter().flat_map(|template| &templates[*template].names), names),
            mode: Some(Mode::Observe),
            commands: Some(members.collect()),
            ..WrittenGroup::default()
        };
        let distinct: HashSet<u64> = self.kinds.iter().flat_map(|(_, of)| &of.distinct).copied().collect();
        let together = self.kinds.iter().map(|(_, of)| of.together).sum();
        let interleaved = self.kinds.iter().map(|(_, of)| of.interleaved).sum();
        Proposal { rule, count: self.count(), together, interleaved, distinct: distinct.len() }
    }

    /// The name of each slot, by member and place, that has the same in it as another.
    fn captures(&self, templates: &[Template]) -> BTreeMap<(usize, usize), String> {
        let of_member = |at: usize| (0..templates[self.longest[at]].slots.len()).map(move |slot| (at, slot));
        let slots: Vec<(usize, usize)> = (0..self.longest.len()).flat_map(of_member).collect();
        let is_key = |(member, slot): (usize, usize)| templates[self.longest[member]].slots[slot];
        let mut captures = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (place, first) in slots.iter().enumerate().filter(|(_, slot)| is_key(**slot)) {
            if captures.contains_key(first) || names.len() == CAPTURES_MAX {
                continue;
            }
            let others = slots.iter().enumerate().filter(|(other, slot)| *other != place && !captures.contains_key(*slot));
            let same: Vec<_> = others.map(|(_, slot)| *slot).filter(|slot| self.agree(*first, *slot, is_key(*slot))).collect();
            if same.is_empty() {
                continue;
            }
            let keys = std::iter::once(first).chain(&same).filter(|slot| is_key(**slot));
            let texts = keys.map(|(member, slot)| templates[self.longest[*member]].text_before(*slot));
            let name = unique(capture(texts, &self.values(*first)), &mut names, "");
            captures.extend(std::iter::once(*first).chain(same).map(|slot| (slot, name.clone())));
        }
        captures
    }

    /// Whether both always had the same in them, and not by accident.
    fn agree(&self, key: (usize, usize), other: (usize, usize), is_key: bool) -> bool {
        let mut values = HashSet::new();
        for example in self.examples() {
            let (Some(a), Some(b)) = (example(key), example(other)) else { continue };
            if a != b || !shares(a, true) {
                return false;
            }
            values.insert(a);
        }
        let are_numbers = values.iter().all(|value| value.iter().all(u8::is_ascii_digit));
        !values.is_empty() && (is_key || !are_numbers || values.len() >= NUMBERS_MIN)
    }

    fn values(&self, slot: (usize, usize)) -> Vec<&'a [u8]> {
        self.examples().filter_map(|example| example(slot)).collect()
    }

    /// What stood in the slots of each example, by member and place of the longest kind.
    fn examples<'s>(&'s self) -> impl Iterator<Item = impl Fn((usize, usize)) -> Option<&'a [u8]> + 's> + 's {
        self.kinds.iter().flat_map(|(kind, of)| {
            let places = embedded(kind, self.longest).unwrap_or_default();
            of.examples.iter().map(move |example| {
                let places = places.clone();
                move |(member, slot): (usize, usize)| {
                    let at = places.iter().position(|place| *place == member)?;
                    example.get(at)?.get(slot).copied()
                }
            })
        })
    }
}

/// What to call that which stands behind these texts: as the word in front of it says, or else by its looks.
fn capture<'t>(texts: impl Iterator<Item = &'t str>, values: &[&[u8]]) -> String {
    for text in texts {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        if let (Some(_), Some(last)) = (words.next(), words.next_back()) {
            return last.to_ascii_lowercase();
        }
    }
    let looks = match () {
        () if values.iter().all(|value| value.iter().all(u8::is_ascii_digit)) => "id",
        () if values.iter().all(|value| value.contains(&b'@')) => "address",
        () if values.iter().all(|value| value.len() >= 16) => "token",
        () => "name",
    };
    looks.to_owned()
}

/// A name for a rule about keys with these first names.
pub(super) fn name<'n>(first_names: impl Iterator<Item = &'n String>, taken: &mut BTreeSet<String>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in first_names {
        if !names.contains(&name.as_str()) && names.len() < NAMES_MAX {
            names.push(name);
        }
    }
    let mut name = names.join("-");
    name.truncate(NAME_BYTES_MAX);
    unique(name, taken, "-")
}

fn unique(name: String, taken: &mut BTreeSet<String>, mark: &str) -> String {
    let numbered = (2..).map(|number| format!("{name}{mark}{number}"));
    let free = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name.clone());
    taken.insert(free.clone());
    free
}
