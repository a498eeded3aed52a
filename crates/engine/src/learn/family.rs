//! Decides which words of a key are common to many keys and which identify one of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::seen::{Burst, KeyFacts, is_value};
use super::segment::{Cut, cut, is_first_id, is_id};
use crate::command::Table;

/// From so many different words in the middle of a key on, they are one of many.
const WORDS_MANY: usize = 8;
/// Likewise from so few, where they end the key, or where each was seen less than `USES_FEW` times.
const WORDS_SOME: usize = 3;
const USES_FEW: u64 = 4;
/// First words are names of families up to so many.
const FIRST_WORDS_MAX: usize = 64;
/// Words that name the same thing in two keys count as one of many from so many on.
const WORDS_LINKED: usize = 2;

/// A part of a family's keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Piece {
    Text(String),
    /// What differs.
    Slot,
}

/// A key as one of its family's, with what stands in the slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed<'a> {
    pub(super) pieces: Vec<Piece>,
    pub(super) slots: Vec<&'a [u8]>,
}

/// The families of all keys that were seen.
pub(super) struct Families {
    /// By the marks between the words, and by the type of the value.
    trees: BTreeMap<(Vec<u8>, &'static str), Node>,
    kinds: HashMap<Box<[u8]>, &'static str>,
}

/// What can stand behind the words so far.
#[derive(Default)]
struct Node {
    words: BTreeMap<Box<[u8]>, Node>,
    slot: Option<Box<Node>>,
}

/// A key on its way into a tree.
struct Known<'a> {
    cut: Cut<'a>,
    uses: u64,
}

impl Families {
    /// The families of these keys; `bursts` tell which words name the same thing in different keys.
    pub(super) fn of(keys: &BTreeMap<Box<[u8]>, KeyFacts>, bursts: &[Burst], table: &Table) -> Families {
        let linked = linked(bursts, table);
        let mut by_shape: BTreeMap<(Vec<u8>, &'static str), Vec<Known<'_>>> = BTreeMap::new();
        for (key, info) in keys {
            let cut = cut(key);
            by_shape.entry((cut.marks.clone(), info.kind)).or_default().push(Known { cut, uses: info.uses });
        }
        let grow = |(shape, keys): ((Vec<u8>, &'static str), Vec<Known<'_>>)| {
            (shape, Node::of(&keys.iter().collect::<Vec<_>>(), 0, &linked))
        };
        let trees = by_shape.into_iter().map(grow).collect();
        let kinds = keys.iter().map(|(key, info)| (key.clone(), info.kind)).collect();
        Families { trees, kinds }
    }

    /// The key's family; `None` where nothing of the key has a name.
    pub(super) fn place<'a>(&self, key: &'a [u8]) -> Option<Placed<'a>> {
        let cut = cut(key);
        let kind = self.kinds.get(key).copied().unwrap_or_default();
        let alike = self.trees.range((cut.marks.clone(), "")..).take_while(|((marks, _), _)| *marks == cut.marks);
        // A key of which no command told the type may be of a family of which others did.
        let others = alike.filter(|((_, of), _)| if kind.is_empty() { !of.is_empty() } else { *of == kind });
        let own = self.trees.get(&(cut.marks.clone(), kind));
        let mut trees = others.map(|(_, tree)| tree).chain(own);
        let slots = trees.find_map(|tree| tree.fit(&cut.words))?;
        Placed::new(&cut, &slots)
    }
}

impl Node {
    fn of(keys: &[&Known<'_>], at: usize, linked: &HashSet<u64>) -> Node {
        let Some(first) = keys.first().filter(|key| at < key.cut.words.len()) else { return Node::default() };
        let is_last = at + 1 == first.cut.words.len();
        let mut by_word: BTreeMap<&[u8], Vec<&Known<'_>>> = BTreeMap::new();
        for key in keys {
            by_word.entry(key.cut.words[at]).or_default().push(key);
        }
        let is_one = |word: &[u8]| if at == 0 { is_first_id(word) } else { is_id(word) };
        let names: Vec<&[u8]> = by_word.keys().copied().filter(|word| !is_one(word)).collect();
        let uses: u64 = names.iter().flat_map(|name| &by_word[*name]).map(|key| key.uses).sum();
        let in_two = names.iter().filter(|name| linked.contains(&place(first.cut.words[0], at, name))).count();
        let many = match names.len() {
            count if at == 0 => count > FIRST_WORDS_MAX,
            count if count >= WORDS_MANY || in_two >= WORDS_LINKED => true,
            count => count >= WORDS_SOME && (is_last || uses < USES_FEW * count as u64),
        };
        let mut node = Node::default();
        let mut slot = Vec::new();
        for (word, keys) in by_word {
            if (many && !word.is_empty()) || is_one(word) {
                slot.extend(keys);
            } else {
                node.words.insert(word.into(), Node::of(&keys, at + 1, linked));
            }
        }
        node.slot = (!slot.is_empty()).then(|| Box::new(Node::of(&slot, at + 1, linked)));
        node
    }

    /// Which of the words stand in slots.
    fn fit(&self, words: &[&[u8]]) -> Option<Vec<bool>> {
        let Some((word, rest)) = words.split_first() else { return Some(Vec::new()) };
        let (is_slot, next) = match self.words.get(*word) {
            Some(next) => (false, next),
            None => (true, self.slot.as_deref()?),
        };
        let mut slots = next.fit(rest)?;
        slots.insert(0, is_slot);
        Some(slots)
    }
}

impl<'a> Placed<'a> {
    fn new(cut: &Cut<'a>, is_slot: &[bool]) -> Option<Placed<'a>> {
        let (mut pieces, mut slots) = (Vec::new(), Vec::new());
        let mut text = String::new();
        let mut named = false;
        for (at, word) in cut.words.iter().enumerate() {
            if is_slot[at] && !word.is_empty() {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Slot);
                slots.push(*word);
            } else {
                named |= word.iter().any(u8::is_ascii_alphabetic);
                text.push_str(std::str::from_utf8(word).ok()?);
            }
            text.extend(cut.marks.get(at).map(|mark| char::from(*mark)));
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        named.then_some(Placed { pieces, slots })
    }

    /// The key's first name.
    pub(super) fn name(&self) -> String {
        let text = self.pieces.iter().find_map(|piece| match piece {
            Piece::Text(text) if text.bytes().any(|byte| byte.is_ascii_alphabetic()) => Some(text.as_str()),
            _ => None,
        });
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let mut words = text.unwrap_or_default().split(|c: char| !plain(c));
        let named = words.find(|word| word.bytes().any(|byte| byte.is_ascii_alphabetic()));
        named.unwrap_or("keys").trim_matches(['-', '_']).to_ascii_lowercase()
    }
}

/// The family as a pattern without captures.
pub(super) fn glob(pieces: &[Piece]) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => escaped(text),
        Piece::Slot => "*".to_owned(),
    };
    pieces.iter().map(piece).collect()
}

/// Literal text as a pattern has it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// Places of words, behind the first, that name the same thing as a word in another kind of key or as an argument of
/// another command of the same burst.
fn linked(bursts: &[Burst], table: &Table) -> HashSet<u64> {
    let mut linked = HashSet::new();
    for burst in bursts {
        let mut places: HashMap<&[u8], HashSet<u64>> = HashMap::new();
        for command in &burst.commands {
            let args = command.args();
            let mut is_key = vec![false; args.len()];
            table.spec(command.id).for_each_key(args, &mut |at, _| {
                let (Some(key), Some(is_key)) = (args.get(at), is_key.get_mut(at)) else { return };
                *is_key = true;
                let words = cut(key).words;
                for (at, word) in words.iter().enumerate().skip(1).filter(|(_, word)| !word.is_empty()) {
                    places.entry(word).or_default().insert(place(words[0], at, word));
                }
            });
            let data = (1..args.len()).filter(|at| !is_key[*at]).filter_map(|at| args.get(at));
            data.filter(|data| !is_value(data) && !data.is_empty()).for_each(|data| {
                places.entry(data).or_default().insert(0);
            });
        }
        linked.extend(places.into_values().filter(|places| places.len() > 1).flatten());
    }
    linked
}

fn place(first: &[u8], at: usize, word: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (first, at, word).hash(&mut hasher);
    hasher.finish()
}
