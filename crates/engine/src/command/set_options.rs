//! Reads the options of SET.

use super::parsed_args::ParsedArgs;
use super::tokens::{EX, EXAT, GET, OF_SET, PX, TOKENS};
use super::ttl_column::Unit;

/// The options of SET (<https://redis.io/docs/latest/commands/set/>), each at most once, as numbers of `TOKENS` and
/// places of operands.
#[derive(Clone, Copy, Default)]
pub(super) struct SetOptions {
    pub(super) condition: Option<(u8, Option<usize>)>,
    pub(super) get: bool,
    pub(super) lifetime: Option<(u8, Option<usize>)>,
    /// The place of a `...` behind them.
    pub(super) rest: Option<usize>,
}

/// How long SET lets the value live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lifetime {
    /// No option: without end.
    Endless,
    /// KEEPTTL: as long as the value before.
    Kept,
    /// EX: seconds, at this place.
    Seconds(usize),
    /// PX: milliseconds, at this place.
    Milliseconds(usize),
    /// EXAT and PXAT: a moment, at this place.
    Until(usize, Unit),
}

/// Under which condition SET writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    Always,
    /// NX.
    Absent,
    /// XX, IFEQ, IFDEQ.
    Present,
    /// IFNE, IFDNE: absent, or another value.
    Differs,
}

impl SetOptions {
    /// The options from word `from` on; `None` when they are not recognised, said twice or contradict each other.
    pub(super) fn parse<W: ParsedArgs + ?Sized>(words: &W, from: usize) -> Option<SetOptions> {
        let mut options = SetOptions::default();
        let mut i = from;
        while i < words.words() {
            if words.is_rest(i) {
                options.rest = Some(i);
                return Some(options);
            }
            let word = words.word(i)?;
            let is = |token: &&str| word.eq_ignore_ascii_case(token.as_bytes());
            let token = TOKENS[..OF_SET].iter().position(is)?;
            i += options.take(token as u8, i + 1, words)?;
        }
        Some(options)
    }

    /// Takes in one option whose operand, if it has one, is at `operand`. Returns how many words it is.
    fn take<W: ParsedArgs + ?Sized>(&mut self, token: u8, operand: usize, words: &W) -> Option<usize> {
        let alone = matches!(TOKENS[usize::from(token)], "NX" | "XX" | "GET" | "KEEPTTL");
        if !alone && (operand >= words.words() || words.is_rest(operand)) {
            return None;
        }
        let value = (!alone).then_some(operand);
        let twice = match token {
            GET => std::mem::replace(&mut self.get, true),
            ..GET => self.condition.replace((token, value)).is_some(),
            _ => self.lifetime.replace((token, value)).is_some(),
        };
        (!twice).then_some(if alone { 1 } else { 2 })
    }

    pub(super) fn condition(&self) -> Condition {
        match self.condition.map(|(token, _)| TOKENS[usize::from(token)]) {
            None => Condition::Always,
            Some("NX") => Condition::Absent,
            Some("IFNE" | "IFDNE") => Condition::Differs,
            Some(_) => Condition::Present,
        }
    }

    /// Whether it writes whatever is there, and answers no value.
    pub(super) fn overwrites(&self) -> bool {
        self.condition() == Condition::Always && !self.get
    }

    pub(super) fn lifetime(&self) -> Lifetime {
        match self.lifetime {
            None => Lifetime::Endless,
            Some((EX, Some(place))) => Lifetime::Seconds(place),
            Some((PX, Some(place))) => Lifetime::Milliseconds(place),
            Some((EXAT, Some(place))) => Lifetime::Until(place, Unit::Seconds),
            Some((_, Some(place))) => Lifetime::Until(place, Unit::Milliseconds),
            Some((_, None)) => Lifetime::Kept,
        }
    }
}
