//! Matches one word of a rule against one argument of a command, in time linear in the argument.

mod template;

use std::fmt;

use memchr::memmem::Finder;

use crate::command::TimeKind;

pub use template::SlotPart;

/// How many names the members of one group may capture.
pub const CAPTURES_MAX: usize = 16;
/// Places of one literal that are tried where a bound capture must stand behind it; beyond, the argument does not match.
const PLACES_MAX: usize = 64;

/// One word of a rule: literal text with `{name}` captures and `*` runs in it; `{{` and `}}` are literal braces.
///
/// A capture takes at least one byte and as few as it can up to the next literal; a run takes any bytes or none. A
/// literal that ends the word is looked for at the argument's end. A name that is already bound is the literal text
/// that it is bound to.
#[derive(Clone)]
pub struct Pattern {
    prefix: Box<[u8]>,
    steps: Box<[Step]>,
    text: Box<str>,
    shape: Shape,
}

/// What most words are, which need no steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Any bytes.
    Any,
    /// Literal text.
    Literal,
    /// Literal text, or none, and one wildcard for all behind it.
    Open(Wild),
    /// Anything else.
    Steps,
}

/// A wildcard, with the literal that ends it. Only the last step's literal may be empty.
#[derive(Clone)]
struct Step {
    wild: Wild,
    literal: Finder<'static>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wild {
    Run,
    Capture(u8),
}

impl Pattern {
    /// Reads a word; its captures are numbered by `names`.
    ///
    /// # Errors
    /// What is wrong with its braces, names or stars.
    pub fn parse(word: &str, names: &mut Names) -> Result<Self, PatternError> {
        let mut literals = vec![Vec::new()];
        let mut wilds = Vec::new();
        let mut rest = word;
        while !rest.is_empty() {
            let (part, behind) = next_part(rest)?;
            rest = behind;
            let wild = match part {
                Part::Literal(text) => {
                    if let Some(literal) = literals.last_mut() {
                        literal.extend_from_slice(text.as_bytes());
                    }
                    continue;
                }
                Part::Run => Wild::Run,
                Part::Capture(name) => Wild::Capture(names.number(name)?),
            };
            if !wilds.is_empty() && literals.last().is_some_and(Vec::is_empty) {
                return Err(PatternError::Adjacent);
            }
            wilds.push(wild);
            literals.push(Vec::new());
        }
        let mut literals = literals.into_iter();
        let prefix = literals.next().unwrap_or_default().into_boxed_slice();
        let shape = match wilds[..] {
            [] => Shape::Literal,
            [Wild::Run] if prefix.is_empty() && literals.clone().all(|literal| literal.is_empty()) => Shape::Any,
            [wild] if literals.clone().all(|literal| literal.is_empty()) => Shape::Open(wild),
            _ => Shape::Steps,
        };
        let steps = wilds
            .into_iter()
            .zip(literals)
            .map(|(wild, literal)| Step { wild, literal: Finder::new(&literal).into_owned() })
            .collect();
        Ok(Self { prefix, steps, text: word.into(), shape })
    }

    /// Whether the argument matches under the captures bound so far; binds those that are new.
    ///
    /// After a mismatch `bound` may hold captures of the failed attempt.
    #[inline]
    pub fn matches<'a>(&self, argument: &'a [u8], bound: &mut Bindings<'a>) -> bool {
        let Some(rest) = behind_prefix(argument, &self.prefix) else {
            return false;
        };
        match self.shape {
            Shape::Any => true,
            Shape::Literal => rest.is_empty(),
            Shape::Open(wild) => wild.bind(rest, bound),
            Shape::Steps => self.steps_match(rest, bound),
        }
    }

    fn steps_match<'a>(&self, mut rest: &'a [u8], bound: &mut Bindings<'a>) -> bool {
        let mut steps = &*self.steps;
        while let Some((step, behind)) = steps.split_first() {
            if let Some(value) = step.wild.value(bound) {
                let Some(remaining) = step.strip_front(rest, value) else { return false };
                (rest, steps) = (remaining, behind);
                continue;
            }
            let known = behind.iter().take_while(|step| step.wild.value(bound).is_some()).count();
            let (known, unknown) = behind.split_at(known);
            if unknown.is_empty() {
                return step.ends(rest, known, bound).is_some_and(|value| step.wild.bind(value, bound));
            }
            let Some((value, remaining)) = step.take(rest, known, bound) else { return false };
            if !step.wild.bind(value, bound) {
                return false;
            }
            (rest, steps) = (remaining, unknown);
        }
        rest.is_empty()
    }

    /// As `matches`, of the number of a time to live: a word that is one capture is bound to what the number means with the
    /// word in front of it, so that 60 behind EX is 60000 behind PX.
    pub fn matches_time<'a>(&self, number: &'a [u8], kind: TimeKind, bound: &mut Bindings<'a>) -> bool {
        match self.shape {
            Shape::Open(Wild::Capture(capture)) if self.prefix.is_empty() => bound.bind_time(usize::from(capture), number, kind),
            _ => self.matches(number, bound),
        }
    }

    /// Whether every argument matches.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.shape == Shape::Any
    }

    /// Whether a key matches, for patterns without captures.
    pub fn matches_key(&self, key: &[u8]) -> bool {
        self.matches(key, &mut Bindings::default())
    }

    /// The literal text that every match begins with.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether the word has `{name}` in it.
    pub fn has_captures(&self) -> bool {
        self.steps.iter().any(|step| step.wild != Wild::Run)
    }

    /// The numbers of its names.
    pub fn captures(&self) -> impl Iterator<Item = usize> {
        self.steps.iter().filter_map(|step| match step.wild {
            Wild::Run => None,
            Wild::Capture(number) => Some(usize::from(number)),
        })
    }

    /// The word as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What is behind a literal that may be empty.
///
/// An empty one is not compared: `benches/plan.rs` showed half of its time in comparisons of no bytes.
fn behind_prefix<'a>(bytes: &'a [u8], literal: &[u8]) -> Option<&'a [u8]> {
    if literal.is_empty() { Some(bytes) } else { bytes.strip_prefix(literal) }
}

/// What is before a literal that may be empty, which is not compared either.
fn before_suffix<'a>(bytes: &'a [u8], literal: &[u8]) -> Option<&'a [u8]> {
    if literal.is_empty() { Some(bytes) } else { bytes.strip_suffix(literal) }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Step {
    /// What is behind the value of a bound capture and its literal, if the bytes begin with them.
    fn strip_front<'a>(&self, rest: &'a [u8], value: &[u8]) -> Option<&'a [u8]> {
        behind_prefix(rest.strip_prefix(value)?, self.literal.needle())
    }

    /// What the wildcard takes when it is the last that is free: `known` bound captures stand behind it.
    fn ends<'a>(&self, rest: &'a [u8], known: &[Step], bound: &Bindings<'_>) -> Option<&'a [u8]> {
        let mut rest = rest;
        for step in known.iter().rev() {
            rest = before_suffix(rest, step.literal.needle())?.strip_suffix(step.wild.value(bound)?)?;
        }
        before_suffix(rest, self.literal.needle()).filter(|value| value.len() >= self.wild.least())
    }

    /// Takes the wildcard, its literal and the `known` bound captures behind it off the front; gives what the wildcard
    /// took and what is behind them all.
    ///
    /// The leftmost place is the right one: any match with a later one is also a match with this one, because the
    /// wildcard behind it can take the bytes in between.
    fn take<'a>(&self, rest: &'a [u8], known: &[Step], bound: &Bindings<'_>) -> Option<(&'a [u8], &'a [u8])> {
        let mut from = self.wild.least();
        for _ in 0..PLACES_MAX {
            let end = from + self.literal.find(rest.get(from..)?)?;
            let (value, behind) = rest.split_at(end);
            let remaining = known.iter().try_fold(&behind[self.literal.needle().len()..], |behind, step| {
                step.strip_front(behind, step.wild.value(bound)?)
            });
            match remaining {
                Some(remaining) => return Some((value, remaining)),
                None => from = end + 1,
            }
        }
        None
    }
}

impl Wild {
    fn least(self) -> usize {
        match self {
            Self::Run => 0,
            Self::Capture(_) => 1,
        }
    }

    /// The bytes of a capture that is bound already.
    fn value<'a>(self, bound: &Bindings<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Run => None,
            Self::Capture(number) => bound.get(usize::from(number)),
        }
    }

    fn bind<'a>(self, value: &'a [u8], bound: &mut Bindings<'a>) -> bool {
        match self {
            Self::Run => true,
            Self::Capture(number) => bound.bind(usize::from(number), value),
        }
    }
}

/// What the captures of one group are bound to while it is being recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bindings<'a> {
    /// Empty: not bound yet, since a capture is never empty.
    values: [&'a [u8]; CAPTURES_MAX],
    /// Of those that are times to live, what stood in front of them.
    kinds: [Option<TimeKind>; CAPTURES_MAX],
}

impl<'a> Bindings<'a> {
    /// The bytes that the capture with this number is bound to.
    pub fn get(&self, number: usize) -> Option<&'a [u8]> {
        self.values.get(number).copied().filter(|value| !value.is_empty())
    }

    /// Whether both have the capture and it is bound to different things.
    pub fn differ(&self, other: &Bindings<'_>, number: usize) -> bool {
        let (Some(own), Some(value)) = (self.get(number), other.get(number)) else { return false };
        own != value && !mean_the_same((own, self.kinds[number]), (value, other.kinds[number]))
    }

    /// The capture is the number of a time to live.
    fn bind_time(&mut self, number: usize, value: &'a [u8], kind: TimeKind) -> bool {
        let Some((slot, known)) = self.values.get_mut(number).zip(self.kinds.get_mut(number)) else { return false };
        if slot.is_empty() {
            (*slot, *known) = (value, Some(kind));
            return !value.is_empty();
        }
        match known {
            Some(_) => mean_the_same((slot, *known), (value, Some(kind))),
            None => *slot == value,
        }
    }

    fn bind(&mut self, number: usize, value: &'a [u8]) -> bool {
        let Some(slot) = self.values.get_mut(number) else {
            return false;
        };
        if slot.is_empty() {
            *slot = value;
            return !value.is_empty();
        }
        *slot == value
    }
}

/// Whether two numbers are the same time to live; what is no number is compared with its own kind.
fn mean_the_same(one: (&[u8], Option<TimeKind>), other: (&[u8], Option<TimeKind>)) -> bool {
    let measure = |(number, kind): (&[u8], Option<TimeKind>)| kind?.measure(number);
    match (measure(one), measure(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// The capture names of one group, each with its number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Vec<String>,
}

impl Names {
    /// The names, in the order of their numbers.
    pub fn as_slice(&self) -> &[String] {
        &self.names
    }

    fn number(&mut self, name: &str) -> Result<u8, PatternError> {
        let number = match self.names.iter().position(|known| known == name) {
            Some(number) => number,
            None if self.names.len() == CAPTURES_MAX => return Err(PatternError::TooManyNames),
            None => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        u8::try_from(number).map_err(|_| PatternError::TooManyNames)
    }
}

/// Why a word is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A capture that does not end.
    #[error("`{{` is never closed")]
    Unclosed,
    /// An end without a capture.
    #[error("`}}` closes nothing")]
    Stray,
    /// A capture without a name.
    #[error("a capture has no name")]
    EmptyName,
    /// A name of other characters than a capture's may have.
    #[error("`{0}` is not a capture name")]
    BadName(String),
    /// Two wildcards with nothing between them.
    #[error("two wildcards touch, so it is ambiguous where one ends")]
    Adjacent,
    /// More captures than a group can keep.
    #[error("there are more than {CAPTURES_MAX} capture names")]
    TooManyNames,
}

impl PatternError {
    /// What would have been right instead.
    pub fn expected(&self) -> &'static str {
        match self {
            Self::Unclosed => "`{name}`, or `{{` for a literal brace",
            Self::Stray => "`{name}`, or `}}` for a literal brace",
            Self::EmptyName => "`{name}`, or `*` for bytes that need no name",
            Self::BadName(_) => "letters, digits, `_` and `-`",
            Self::Adjacent => "literal text between two wildcards",
            Self::TooManyNames => "fewer names; `*` where the same bytes need not come again",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'w> {
    Literal(&'w str),
    Run,
    Capture(&'w str),
}

/// The first part of a word, and what is behind it.
pub(super) fn next_part(word: &str) -> Result<(Part<'_>, &str), PatternError> {
    if let Some(rest) = word.strip_prefix("{{") {
        return Ok((Part::Literal("{"), rest));
    }
    if let Some(rest) = word.strip_prefix("}}") {
        return Ok((Part::Literal("}"), rest));
    }
    if let Some(rest) = word.strip_prefix('{') {
        let (name, rest) = rest.split_once('}').ok_or(PatternError::Unclosed)?;
        return capture_name(name).map(|name| (Part::Capture(name), rest));
    }
    if word.starts_with('}') {
        return Err(PatternError::Stray);
    }
    if let Some(rest) = word.strip_prefix('*') {
        return Ok((Part::Run, rest));
    }
    let (literal, rest) = word.split_at(word.find(['{', '}', '*']).unwrap_or(word.len()));
    Ok((Part::Literal(literal), rest))
}

fn capture_name(name: &str) -> Result<&str, PatternError> {
    if name.is_empty() {
        return Err(PatternError::EmptyName);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.chars().all(plain) { Ok(name) } else { Err(PatternError::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests;
