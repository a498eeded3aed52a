//! Where the keys of a request are.

use super::integer::integer;
use respguard_resp::request::Args;

/// What a command does with a key it names (<https://redis.io/docs/latest/develop/reference/key-specs/>).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only reads (`RO`).
    Read,
    /// Changes, perhaps by what was there (`RW`).
    Write,
    /// Replaces whatever was there (`OW`).
    Overwrite,
    /// Deletes whatever was there (`RM`).
    Remove,
}

impl Access {
    /// Whether the key may differ afterwards.
    pub fn is_write(self) -> bool {
        self != Access::Read
    }
}

/// Whether the keys visited are all that the request touches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KeyList {
    /// They are.
    Complete,
    /// The request has not the keys that it must have: too few words, or a number of keys that is none.
    Malformed,
    /// There may be others.
    Unknown,
}

/// How the keys of a command are found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keys {
    /// By key specs; without any there are no keys.
    Specs(Box<[KeySpec]>),
    /// SORT and SORT_RO: the first argument and what follows STORE.
    Sort,
    /// MIGRATE: the third argument or, where that is empty, what follows KEYS.
    Migrate,
    /// Nobody knows.
    Unknown,
}

/// One key spec: where the keys begin, and which are keys from there on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeySpec {
    /// What the command does to the keys.
    pub access: Access,
    /// Where the keys begin.
    pub search: Search,
    /// Which arguments are keys from there on.
    pub find: Find,
    /// Whether there may be keys that the spec does not find.
    pub incomplete: bool,
}

/// Where a key spec begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Search {
    /// At this argument.
    Index(u16),
    /// Behind this word, looked for from argument `from` on, or backwards from the end if negative.
    Keyword { word: Keyword, from: i16 },
    /// Nobody knows.
    Unknown,
}

/// Which arguments are keys, from where the spec begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Find {
    /// Every `step`-th up to `last`: relative to the begin, or to the request's end if negative; then `limit`
    /// above 1 leaves only that fraction of what remains.
    Range { last: i16, step: u16, limit: u16 },
    /// As many as the argument `index` says, from `first` on, every `step`-th; both relative to the begin.
    Number { index: u16, first: u16, step: u16 },
    /// Nobody knows.
    Unknown,
}

/// A short upper-case word inside a key spec.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keyword {
    bytes: [u8; 15],
    len: u8,
}

impl Keyword {
    /// `None` when the word is longer than any keyword needs to be.
    pub(super) const fn new(word: &[u8]) -> Option<Keyword> {
        let mut bytes = [0; 15];
        if word.len() > bytes.len() {
            return None;
        }
        let mut i = 0;
        while i < word.len() {
            bytes[i] = word[i].to_ascii_uppercase();
            i += 1;
        }
        Some(Keyword { bytes, len: word.len() as u8 })
    }

    fn is(&self, word: &[u8]) -> bool {
        word.eq_ignore_ascii_case(&self.bytes[..usize::from(self.len)])
    }
}

pub(super) const fn key(access: Access, search: Search, find: Find) -> KeySpec {
    KeySpec { access, search, find, incomplete: false }
}

pub(super) const fn unknown(access: Access) -> KeySpec {
    key(access, Search::Unknown, Find::Unknown)
}

pub(super) const fn index(at: u16) -> Search {
    Search::Index(at)
}

pub(super) const fn keyword(word: &str, from: i16) -> Search {
    match Keyword::new(word.as_bytes()) {
        Some(word) => Search::Keyword { word, from },
        None => Search::Unknown,
    }
}

pub(super) const fn range(last: i16, step: u16, limit: u16) -> Find {
    Find::Range { last, step, limit }
}

pub(super) const fn number(index: u16, first: u16, step: u16) -> Find {
    Find::Number { index, first, step }
}

impl KeySpec {
    pub(super) const fn incomplete(mut self) -> KeySpec {
        self.incomplete = true;
        self
    }

    fn visit(&self, args: Args<'_>, visit: &mut dyn FnMut(usize, Access)) -> KeyList {
        let begin = match self.search {
            Search::Index(at) => usize::from(at),
            Search::Keyword { word, from } => match behind(word, from, args) {
                Some(begin) => begin,
                None => return self.outcome(),
            },
            Search::Unknown => return KeyList::Unknown,
        };
        if self.find == Find::Unknown {
            return KeyList::Unknown;
        }
        let Some((first, count, step)) = self.find.places(begin, args) else {
            return KeyList::Malformed;
        };
        for nth in 0..count {
            visit(first + nth * step, self.access);
        }
        self.outcome()
    }

    fn is_at(&self, place: u8) -> bool {
        self.search == Search::Index(place.into()) && matches!(self.find, Find::Range { .. })
    }

    fn outcome(&self) -> KeyList {
        if self.incomplete { KeyList::Unknown } else { KeyList::Complete }
    }
}

impl Find {
    /// First key, number of keys, step; `None` when the request has no room for them.
    fn places(self, begin: usize, args: Args<'_>) -> Option<(usize, usize, usize)> {
        let rest = args.len().checked_sub(begin)?;
        let (first, count, step) = match self {
            Find::Range { last, step, limit } => {
                let step = usize::from(step.max(1));
                let span = if last >= 0 {
                    usize::from(last.unsigned_abs()) + 1
                } else {
                    let end = rest / usize::from(limit.max(1));
                    (end + 1).checked_sub(usize::from(last.unsigned_abs()))?
                };
                (begin, span.div_ceil(step), step)
            }
            Find::Number { index, first, step } => {
                let written = integer(args.get(begin + usize::from(index))?)?;
                (begin + usize::from(first), usize::try_from(written).ok()?, usize::from(step.max(1)))
            }
            Find::Unknown => return None,
        };
        let fits = count == 0 || first.checked_add((count - 1).checked_mul(step)?)? < args.len();
        fits.then_some((first, count, step))
    }
}

/// The place behind `word`, looked for from argument `from` on (backwards from the end if negative).
fn behind(word: Keyword, from: i16, args: Args<'_>) -> Option<usize> {
    let at = |i: usize| args.get(i).is_some_and(|arg| word.is(arg));
    let last = args.len().checked_sub(1)?;
    let found = if from >= 0 {
        (usize::from(from.unsigned_abs())..last).find(|&i| at(i))
    } else {
        let start = args.len().checked_sub(usize::from(from.unsigned_abs()))?;
        (1..=start).rev().find(|&i| at(i))
    };
    found.map(|i| i + 1)
}

impl Keys {
    pub(super) fn visit(&self, args: Args<'_>, visit: &mut dyn FnMut(usize, Access)) -> KeyList {
        match self {
            Keys::Specs(specs) => {
                let mut outcome = KeyList::Complete;
                for spec in specs {
                    outcome = outcome.max(spec.visit(args, visit));
                }
                outcome
            }
            Keys::Sort => sort(args, visit),
            Keys::Migrate => migrate(args, visit),
            Keys::Unknown => KeyList::Unknown,
        }
    }

    /// Whether the argument at `place` is a key in every request that is well-formed.
    pub(super) fn begin_at(&self, place: u8) -> bool {
        matches!(self, Keys::Specs(specs) if specs.iter().any(|spec| spec.is_at(place)))
    }

    /// Whether the argument at `place` is all that is ever a key.
    #[inline]
    pub(super) fn are_one_at(&self, place: u8) -> bool {
        let one = |spec: &KeySpec| spec.is_at(place) && matches!(spec.find, Find::Range { last: 0, .. });
        matches!(self, Keys::Specs(specs) if matches!(&**specs, [spec] if one(spec)))
    }

    /// Whether each argument is a key.
    pub fn are_all_arguments(&self) -> bool {
        let all = |spec: &KeySpec| spec.is_at(1) && spec.find == Find::Range { last: -1, step: 1, limit: 0 };
        matches!(self, Keys::Specs(specs) if matches!(&**specs, [spec] if all(spec)))
    }

    /// Whether no request of the command names a key.
    pub(super) fn is_keyless(&self) -> bool {
        matches!(self, Keys::Specs(specs) if specs.is_empty())
    }
}

/// A pattern with `*` behind BY or GET reads keys that the request does not name. The last STORE counts.
fn sort(args: Args<'_>, visit: &mut dyn FnMut(usize, Access)) -> KeyList {
    if args.len() < 2 {
        return KeyList::Malformed;
    }
    visit(1, Access::Read);
    let mut outcome = KeyList::Complete;
    let mut store = None;
    let mut i = 2;
    while let Some(word) = args.get(i) {
        let is = |token: &str| word.eq_ignore_ascii_case(token.as_bytes());
        let value = args.get(i + 1);
        if is("LIMIT") {
            i += 2;
        } else if is("STORE") {
            i += 1;
            store = value.map(|_| i);
        } else if is("BY") || is("GET") {
            i += 1;
            if value.is_some_and(|pattern| pattern.contains(&b'*')) {
                outcome = KeyList::Unknown;
            }
        }
        i += 1;
    }
    if let Some(at) = store {
        visit(at, Access::Overwrite);
    }
    outcome
}

/// MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH p] [AUTH2 u p] [KEYS key ...]
fn migrate(args: Args<'_>, visit: &mut dyn FnMut(usize, Access)) -> KeyList {
    let mut i = 6;
    while let Some(word) = args.get(i) {
        let is = |token: &str| word.eq_ignore_ascii_case(token.as_bytes());
        if is("KEYS") {
            if args.get(3).is_some_and(|key| !key.is_empty()) {
                return KeyList::Unknown;
            }
            for key in i + 1..args.len() {
                visit(key, Access::Write);
            }
            return KeyList::Complete;
        }
        i += match () {
            () if is("AUTH2") => 3,
            () if is("AUTH") => 2,
            () => 1,
        };
    }
    if args.len() < 4 {
        return KeyList::Malformed;
    }
    visit(3, Access::Write);
    KeyList::Complete
}
