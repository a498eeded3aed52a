//! Finds what belongs together within a burst: commands whose keys share words, or that always occur together.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::template::{Item, Template, shares};

/// Examples kept of one kind of unit.
const EXAMPLES_MAX: usize = 256;
/// Different things that are told apart of one kind of unit.
const DISTINCT_MAX: usize = 10_000;
/// Members of one unit; what follows is another.
const MEMBERS_MAX: usize = 16;
/// Units that may be open at the same time, as when a client interleaves what belongs to different requests.
const OPEN_MAX: usize = 64;
/// Commands that share nothing belong together if one follows the other so often, and in so many of a hundred cases.
const FOLLOWS_MIN: u64 = 3;
const FOLLOWS_PERCENT: u64 = 80;

/// Units of the same templates in the same order.
#[derive(Default)]
pub(super) struct Units<'a> {
    pub(super) count: u64,
    /// Those whose members all came in one piece.
    pub(super) together: u64,
    /// Those whose members came in a read each.
    pub(super) apart: u64,
    /// Those between whose members others' stood, as where several callers share a connection.
    pub(super) interleaved: u64,
    /// What stood in the slots of each member.
    pub(super) examples: Vec<Vec<Vec<&'a [u8]>>>,
    /// What their keys were about.
    pub(super) distinct: HashSet<u64>,
}

/// Which template follows which.
#[derive(Default)]
pub(super) struct Order {
    counts: HashMap<usize, u64>,
    follows: HashMap<(usize, usize), u64>,
}

/// A unit under way.
struct Open<'a> {
    items: Vec<Item<'a>>,
    first: usize,
    last: usize,
}

impl Order {
    /// Takes the commands of one burst, unless it repeats itself: then it is made of many requests, and what follows
    /// what is chance.
    pub(super) fn note(&mut self, items: &[Option<Item<'_>>]) {
        let mut once = HashSet::new();
        if !items.iter().flatten().all(|item| once.insert(item.template)) {
            return;
        }
        for item in items.iter().flatten() {
            *self.counts.entry(item.template).or_default() += 1;
        }
        for pair in items.windows(2) {
            if let [Some(a), Some(b)] = pair {
                *self.follows.entry((a.template, b.template)).or_default() += 1;
            }
        }
    }

    fn binds(&self, a: usize, b: usize) -> bool {
        let together = self.follows.get(&(a, b)).copied().unwrap_or_default();
        let most = |template| self.counts.get(template).copied().unwrap_or_default() * FOLLOWS_PERCENT;
        together >= FOLLOWS_MIN && together * 100 >= most(&a).max(most(&b))
    }
}

/// Adds the units of one burst.
pub(super) fn collect<'a>(
    items: Vec<Option<Item<'a>>>,
    order: &Order,
    templates: &[Template],
    units: &mut BTreeMap<Vec<usize>, Units<'a>>,
) {
    let mut open: Vec<Open<'a>> = Vec::new();
    for (at, item) in items.into_iter().enumerate() {
        let Some(item) = item else {
            // What is not known to be harmless parts everything around it.
            open.drain(..).for_each(|unit| keep(unit, templates, units));
            continue;
        };
        let fits =
            |unit: &Open<'_>| unit.items.len() < MEMBERS_MAX && unit.items.iter().all(|member| member.template != item.template);
        let linked = open.iter().rposition(|unit| fits(unit) && unit.items.iter().any(|member| link(member, &item, templates)));
        let bound = || {
            let before = open.iter().position(|unit| at > 0 && unit.last == at - 1)?;
            let last = open[before].items.last()?.template;
            (fits(&open[before]) && order.binds(last, item.template)).then_some(before)
        };
        match linked.or_else(bound) {
            Some(place) => {
                open[place].items.push(item);
                open[place].last = at;
            }
            None => {
                if open.len() == OPEN_MAX {
                    keep(open.remove(0), templates, units);
                }
                open.push(Open { items: vec![item], first: at, last: at });
            }
        }
    }
    open.into_iter().for_each(|unit| keep(unit, templates, units));
}

/// Whether something in a key of one stands in the other.
fn link(a: &Item<'_>, b: &Item<'_>, templates: &[Template]) -> bool {
    let (of_a, of_b) = (&templates[a.template].slots, &templates[b.template].slots);
    a.slots.iter().zip(of_a).any(|(x, in_key)| {
        let mut others = b.slots.iter().zip(of_b);
        others.any(|(y, is_key)| (*in_key || *is_key) && x == y && shares(x, *in_key && *is_key))
    })
}

fn keep<'a>(unit: Open<'a>, templates: &[Template], units: &mut BTreeMap<Vec<usize>, Units<'a>>) {
    if unit.items.len() < 2 {
        return;
    }
    let kind: Vec<usize> = unit.items.iter().map(|item| item.template).collect();
    let known = units.entry(kind).or_default();
    known.count += 1;
    known.interleaved += u64::from(unit.last - unit.first >= unit.items.len());
    let mut seams = unit.items[1..].iter().map(|item| item.begins_read);
    known.together += u64::from(!seams.clone().any(|seam| seam));
    known.apart += u64::from(seams.all(|seam| seam));
    if known.distinct.len() < DISTINCT_MAX {
        known.distinct.insert(about(&unit.items, templates));
    }
    if known.examples.len() < EXAMPLES_MAX {
        known.examples.push(unit.items.into_iter().map(|item| item.slots).collect());
    }
}

fn about(items: &[Item<'_>], templates: &[Template]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for item in items {
        let slots = item.slots.iter().zip(&templates[item.template].slots);
        slots.filter(|(_, is_key)| **is_key).for_each(|(slot, _)| slot.hash(&mut hasher));
    }
    hasher.finish()
}
