//! Finds which rules of a list can match a request, by its command and the prefix of its first argument.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::bloom_filter::{BloomFilter, mask};
use super::prefix_trie::PrefixTrie;
use super::subject::{Prefixes, Subject};
use super::walk::Member;
use crate::command::{CommandId, Table};

/// A rule that is about commands by themselves.
pub(super) trait CommandRule {
    /// Which requests of a command it can be about.
    fn about(&self, subject: Option<Subject<'_>>) -> Prefixes<'_>;

    /// Whether it is about this command.
    fn matches(&self, command: Member<'_>, table: &Table) -> bool;
}

/// All rules of a kind, in the order in which they were written.
#[derive(Clone, Debug)]
pub(super) struct CommandRules<R> {
    rules: Vec<Arc<R>>,
    index: ByCommand,
}

impl<R: CommandRule> CommandRules<R> {
    pub(super) fn new(rules: Vec<Arc<R>>, table: &Table) -> Self {
        let index = ByCommand::new(table, rules.len(), |subject| rules.iter().map(move |rule| rule.about(subject)));
        Self { rules, index }
    }

    pub(super) fn as_slice(&self) -> &[Arc<R>] {
        &self.rules
    }

    /// The rules that are about the command.
    pub(super) fn of<'s>(&'s self, table: &'s Table, command: Member<'s>) -> impl Iterator<Item = &'s Arc<R>> {
        let rules = self.index.rules(command).map(|place| &self.rules[place]);
        rules.filter(move |rule| rule.matches(command, table))
    }
}

impl<R> Default for CommandRules<R> {
    fn default() -> Self {
        Self { rules: Vec::new(), index: ByCommand::default() }
    }
}

/// For each command the rules that can be about it, so that a request that none is about costs one look-up, however many
/// there are.
#[derive(Clone, Debug, Default)]
pub(super) struct ByCommand {
    of: Box<[Entry]>,
    /// For commands that the table has learnt since.
    unlisted: Entry,
    /// Many commands have the same.
    rules: Vec<Rules>,
    bloom_filter: BloomFilter,
}

/// What can be said at once of the requests of one command.
#[derive(Clone, Copy, Debug)]
pub struct Glance<'p> {
    /// 0 where no rule can be about them.
    list: u16,
    first: u8,
    mask: u64,
    bloom_filter: &'p BloomFilter,
}

impl Glance<'_> {
    /// False only where [`Policy::may_match`](super::Policy::may_match) is; `opening` gives the first eight bytes of the argument
    /// at a place as a little-endian number, with whatever stands behind it; any number where there is none, `None` where that
    /// takes more than a look.
    #[inline]
    pub fn might_match(&self, opening: impl FnOnce(usize) -> Option<u64>) -> bool {
        let may_pass = |opening| self.bloom_filter.passes(self.list, self.mask, opening);
        self.list > 0 && opening(self.first.into()).is_none_or(may_pass)
    }
}

/// What is known of one command.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// One more than the place of its rules in `ByCommand::rules`, or 0.
    rules: u16,
    /// The place of the first argument behind its name.
    first: u8,
    /// What the Bloom filter looks at.
    mask: u64,
}

/// The rules of a command, by the beginning of the first argument behind its name.
#[derive(Clone, Debug)]
struct Rules {
    prefixes: PrefixTrie,
    /// For each beginning the places of its rules, in the order in which they were written.
    places: Box<[Box<[u32]>]>,
}

impl ByCommand {
    /// `about` tells for each rule which requests of a command it can be about; `None` stands for commands learnt later.
    pub(super) fn new<'r, 't, A>(table: &'t Table, rules: usize, about: impl Fn(Option<Subject<'t>>) -> A) -> Self
    where
        A: Iterator<Item = Prefixes<'r>>,
    {
        if rules == 0 {
            return Self::default();
        }
        let mut sets = Sets::default();
        let mut of_command = |subject: Option<Subject<'t>>| {
            let first = subject.map_or(1, |subject| subject.spec.name_words);
            let rules = sets.number(about(subject));
            Entry { rules, first, mask: sets.mask(rules) }
        };
        let ids = std::iter::once(CommandId::UNKNOWN).chain(table.iter().map(|(id, _)| id));
        let of = ids.map(|id| of_command(Some(Subject::new(table, id)))).collect();
        let unlisted = of_command(None);
        Self { of, unlisted, rules: sets.rules, bloom_filter: BloomFilter::new(&sets.prefixes) }
    }

    /// The places of the rules that can be about the request.
    #[inline]
    pub(super) fn rules(&self, request: Member<'_>) -> impl Iterator<Item = usize> + use<'_> {
        let places = self.of(request.id).map_or(&[][..], |(rules, first)| rules.places(argument(request, first)));
        places.iter().map(|place| *place as usize)
    }

    /// Whether some rule can be about the request, whose argument at a place is asked for only if need be.
    pub(super) fn may_match<'a>(&self, id: CommandId, argument: impl FnOnce(usize) -> &'a [u8]) -> bool {
        self.of(id).is_some_and(|(rules, first)| rules.prefixes.any(argument(first)))
    }

    /// What can be said of requests of a command at once; none where that is nothing.
    #[inline]
    pub(super) fn glance(&self, id: CommandId) -> Option<Glance<'_>> {
        let Entry { rules, first, mask } = *self.of.get(id.index())?;
        Some(Glance { list: rules, first, mask, bloom_filter: &self.bloom_filter })
    }

    /// Whether some rule can be about a request that has begun, as far as its arguments have come.
    pub(super) fn may_match_command(&self, request: Member<'_>) -> bool {
        self.of(request.id)
            .is_some_and(|(rules, first)| request.args.get(first).is_none_or(|argument| rules.prefixes.any(argument)))
    }

    /// Whether there are no rules.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    #[inline]
    fn of(&self, id: CommandId) -> Option<(&Rules, usize)> {
        let Entry { rules, first, .. } = self.of.get(id.index()).copied().unwrap_or(self.unlisted);
        self.rules.get(usize::from(rules).wrapping_sub(1)).map(|rules| (rules, first.into()))
    }
}

impl Rules {
    fn places(&self, argument: &[u8]) -> &[u32] {
        self.prefixes.longest(argument).and_then(|place| self.places.get(place)).map_or(&[], |places| places)
    }
}

#[inline]
fn argument(request: Member<'_>, place: usize) -> &[u8] {
    request.args.get(place).unwrap_or_default()
}

/// The rules of commands, those that are the same once.
#[derive(Default)]
struct Sets<'r> {
    rules: Vec<Rules>,
    /// What those begin with, with their numbers.
    prefixes: Vec<(u16, Vec<&'r [u8]>)>,
    known: HashMap<Vec<(u32, &'r [u8])>, u16>,
}

impl<'r> Sets<'r> {
    fn number(&mut self, about: impl Iterator<Item = Prefixes<'r>>) -> u16 {
        let rules = (0u32..).zip(about).flat_map(|(place, prefixes)| prefixes.into_iter().map(move |text| (place, text)));
        let rules: Vec<_> = rules.collect();
        if rules.is_empty() {
            return 0;
        }
        if let Some(number) = self.known.get(&rules) {
            return *number;
        }
        let (prefixes, places) = PrefixTrie::with_places(rules.iter().copied());
        self.rules.push(Rules { prefixes, places });
        let number = u16::try_from(self.rules.len()).expect("there are no more sets of rules than commands");
        let texts: BTreeSet<&[u8]> = rules.iter().map(|(_, text)| *text).collect();
        self.prefixes.push((number, texts.into_iter().collect()));
        self.known.insert(rules, number);
        number
    }

    fn mask(&self, number: u16) -> u64 {
        self.prefixes.get(usize::from(number).wrapping_sub(1)).map_or(0, |(_, prefixes)| mask(prefixes))
    }
}

#[cfg(test)]
mod tests;
