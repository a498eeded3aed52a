//! The canonical form in which all spellings of a command are compared.

use super::effect::Unit;
use super::options::{self, Options};
use super::spec::Rewrite;
use super::{CommandId, Table, TimeKind};
use respguard_resp::request::Args;

/// A request in its canonical form: `SETEX k t v` reads `SET k v EX t`, `INCR k` reads `INCRBY k + 1`, `PEXPIRE k t`
/// reads `EXPIRE k PX t`, SET has its options in the order condition, GET, lifetime. Options have upper-case names.
#[derive(Clone, Copy)]
pub struct Canonical<'a> {
    /// The command under which the request is compared, which need not be the one sent.
    pub id: CommandId,
    arrangement: Arrangement,
    args: Args<'a>,
}

/// The order of the words of a canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrangement {
    /// The command that the words are arguments of.
    pub id: CommandId,
    form: Form,
}

/// One word of a canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// The word at this place of what was written, where 0 is the command's name.
    Arg(usize),
    /// A word that the canonical form puts in.
    Token(&'static str),
}

/// Something written as a command: a request, or a pattern for requests.
pub trait ParsedArgs {
    /// How many words, with the command's name.
    fn words(&self) -> usize;
    /// The word at `i`.
    fn word(&self, i: usize) -> Option<&[u8]>;
    /// Whether the word at `i` stands for any number of words. Only a last word can.
    fn is_rest(&self, _i: usize) -> bool {
        false
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// As written, behind the words of the name.
    AsWritten { first: u8, words: usize },
    /// Places below `TOKEN`, indexes into `TOKENS` from there on; then the words from `tail` to `words`, as written.
    Listed { slots: [u8; SLOTS], len: u8, tail: usize, words: usize },
}

/// ZRANGE key start stop, four options, two of them with operands, and `...` need the most.
const SLOTS: usize = 12;
const TOKEN: u8 = 0x80;
/// The options of SET come first, so that they can be looked for there.
const TOKENS: [&str; 38] = [
    "NX",
    "XX",
    "IFEQ",
    "IFNE",
    "IFDEQ",
    "IFDNE",
    "GET",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "KEEPTTL", // of SET
    "1",
    "+",
    "-", // amounts
    "GT",
    "LT",
    "CH",
    "INCR",
    "PERSIST",
    "DB",
    "REPLACE",
    "ABSTTL",
    "IDLETIME",
    "FREQ",
    "MATCH",
    "COUNT",
    "TYPE",
    "NOVALUES",
    "BYSCORE",
    "BYLEX",
    "REV",
    "LIMIT",
    "WITHSCORES",
    "RANK",
    "MAXLEN",
    "ASYNC",
    "SYNC",
];
const OF_SET: usize = 12;
/// SET key value.
const SET_WORDS_MIN: usize = 3;
/// SET key value condition operand GET lifetime operand, and `...`.
const SET_WORDS_MAX: usize = 9;
const GET: u8 = 6;
const EX: u8 = 7;
const PX: u8 = 8;
const EXAT: u8 = 9;
const PXAT: u8 = 10;
const ONE: u8 = 12;
const PLUS: u8 = 13;
const MINUS: u8 = 14;

/// The canonical form of a request, without allocating. A request that Redis will refuse is not changed.
#[inline]
pub fn canonical<'a>(table: &Table, id: CommandId, args: Args<'a>) -> Canonical<'a> {
    let arrangement = match table.spec(id).rewrite {
        Rewrite::None => as_written(table, id, &args),
        Rewrite::SetOptions if args.len() <= SET_WORDS_MIN => as_written(table, id, &args),
        _ => arrange(table, id, &args).unwrap_or_else(|| as_written(table, id, &args)),
    };
    Canonical { id: arrangement.id, arrangement, args }
}

/// The canonical order of something written as command `id`; `None` when a `...` hides words that would have to move,
/// which never happens to a request.
pub fn arrange<W: ParsedArgs + ?Sized>(table: &Table, id: CommandId, words: &W) -> Option<Arrangement> {
    let arranged = match table.spec(id).rewrite {
        Rewrite::None => None,
        Rewrite::SetOptions => set_options(words).map(|form| (id, form)),
        Rewrite::SetEx => exactly(words, 4)?.then(|| (table.set(), listed(&[1, 3, TOKEN | EX, 2]))),
        Rewrite::SetPx => exactly(words, 4)?.then(|| (table.set(), listed(&[1, 3, TOKEN | PX, 2]))),
        Rewrite::GetSet => exactly(words, 3)?.then(|| (table.set(), listed(&[1, 2, TOKEN | GET]))),
        Rewrite::HMSet => is_hmset(words).then(|| (table.hset(), as_written(table, id, words).form)),
        Rewrite::Increment => exactly(words, 2)?.then(|| (table.incrby(), listed(&[1, TOKEN | PLUS, TOKEN | ONE]))),
        Rewrite::Decrement => exactly(words, 2)?.then(|| (table.incrby(), listed(&[1, TOKEN | MINUS, TOKEN | ONE]))),
        Rewrite::IncrementBy => exactly(words, 3)?.then(|| (table.incrby(), listed(&[1, TOKEN | PLUS, 2]))),
        Rewrite::DecrementBy => exactly(words, 3)?.then(|| (table.incrby(), listed(&[1, TOKEN | MINUS, 2]))),
        Rewrite::Expire(_) if leaves_time_open(words) => Some((table.expire(), as_written(table, id, words).form)),
        Rewrite::Expire(kind) => expire(kind, words).map(|form| (table.expire(), form)),
        Rewrite::Options(options) => with_options(options, words).map(|form| (id, form)),
    };
    Some(match arranged {
        Some((id, form)) => Arrangement { id, form },
        None => as_written(table, id, words),
    })
}

impl Arrangement {
    /// The number of words after the name.
    pub fn len(&self) -> usize {
        match self.form {
            Form::AsWritten { first, words } => words.saturating_sub(usize::from(first)),
            Form::Listed { len, tail, words, .. } => usize::from(len) + (words - tail),
        }
    }

    /// Whether there is nothing after the name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The word at `i`, where 0 is the first after the name.
    #[inline]
    pub fn word(&self, i: usize) -> Option<Word> {
        match self.form {
            Form::AsWritten { first, words } => {
                let place = i + usize::from(first);
                (place < words).then_some(Word::Arg(place))
            }
            Form::Listed { slots, len, tail, words } => {
                let Some(behind) = i.checked_sub(usize::from(len)) else {
                    let slot = *slots.get(i)?;
                    return Some(if slot >= TOKEN {
                        Word::Token(TOKENS[usize::from(slot - TOKEN)])
                    } else {
                        Word::Arg(slot.into())
                    });
                };
                let place = tail + behind;
                (place < words).then_some(Word::Arg(place))
            }
        }
    }
}

impl<'a> Canonical<'a> {
    /// The number of arguments after the name.
    pub fn len(&self) -> usize {
        self.arrangement.len()
    }

    /// Whether there is nothing after the name.
    pub fn is_empty(&self) -> bool {
        self.arrangement.is_empty()
    }

    /// The argument at `i`, where 0 is the first after the name.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        match self.arrangement.word(i)? {
            Word::Arg(place) => self.args.get(place),
            Word::Token(token) => Some(token.as_bytes()),
        }
    }
}

impl ParsedArgs for Args<'_> {
    fn words(&self) -> usize {
        self.len()
    }

    fn word(&self, i: usize) -> Option<&[u8]> {
        self.get(i)
    }
}

/// A pattern, word by word: `...` is the rest.
impl ParsedArgs for [String] {
    fn words(&self) -> usize {
        self.len()
    }

    fn word(&self, i: usize) -> Option<&[u8]> {
        self.get(i).map(|word| word.as_bytes())
    }

    fn is_rest(&self, i: usize) -> bool {
        self.get(i).is_some_and(|word| word == "...")
    }
}

#[inline]
fn as_written<W: ParsedArgs + ?Sized>(table: &Table, id: CommandId, words: &W) -> Arrangement {
    let form = Form::AsWritten { first: table.spec(id).name_words, words: words.words() };
    Arrangement { id, form }
}

/// Whether there are `count` words; `None` when `...` leaves it open.
fn exactly<W: ParsedArgs + ?Sized>(words: &W, count: usize) -> Option<bool> {
    let last = words.words().checked_sub(1);
    if last.is_some_and(|last| words.is_rest(last)) {
        return None;
    }
    Some(words.words() == count)
}

fn listed(order: &[u8]) -> Form {
    let mut slots = [0; SLOTS];
    slots[..order.len()].copy_from_slice(order);
    Form::Listed { slots, len: order.len() as u8, tail: 0, words: 0 }
}

/// HMSET key field value [field value ...]
fn is_hmset<W: ParsedArgs + ?Sized>(words: &W) -> bool {
    let count = words.words();
    words.is_rest(count - 1) || (count >= 4 && count.is_multiple_of(2))
}

/// Whether `...` stands in the place of the time or before it: any lifetime will do, in whatever unit.
fn leaves_time_open<W: ParsedArgs + ?Sized>(words: &W) -> bool {
    words.is_rest(1) || words.is_rest(2)
}

/// EXPIRE key time [options]: the unit stands in front of the time.
fn expire<W: ParsedArgs + ?Sized>(kind: TimeKind, words: &W) -> Option<Form> {
    if words.words() < 3 {
        return None;
    }
    let token = match kind {
        TimeKind::Ex => EX,
        TimeKind::Px => PX,
        TimeKind::ExAt => EXAT,
        TimeKind::PxAt => PXAT,
    };
    let mut order = Order::default();
    order.put(1);
    order.put(usize::from(TOKEN | token));
    // Most say no options.
    if words.words() == 3 {
        order.put(2);
        return Some(Form::Listed { slots: order.slots, len: order.len, tail: 3, words: 3 });
    }
    order.put(2);
    Some(order.with_options(&options::EXPIRE, words))
}

/// What stands in front of the options, the options in their order, and what follows them.
fn with_options<W: ParsedArgs + ?Sized>(options: &Options, words: &W) -> Option<Form> {
    if words.words() <= options.from || (1..options.from).any(|place| words.is_rest(place)) {
        return None;
    }
    let mut order = Order::default();
    (1..options.from).for_each(|place| order.put(place));
    Some(order.with_options(options, words))
}

/// The words of a canonical form, one after the other.
#[derive(Default)]
struct Order {
    slots: [u8; SLOTS],
    len: u8,
}

impl Order {
    /// The table of options sees to it that what is put fits.
    fn put(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(usize::from(self.len)) {
            *place = slot as u8;
            self.len += 1;
        }
    }

    fn put_token(&mut self, token: &str) {
        if let Some(token) = TOKENS.iter().position(|known| *known == token) {
            self.put(usize::from(TOKEN) | token);
        }
    }

    fn with_options<W: ParsedArgs + ?Sized>(mut self, options: &Options, words: &W) -> Form {
        let said = options.read(words);
        for (option, place) in options.known.iter().zip(said.places) {
            if let Some(place) = place {
                self.put_token(option.name);
                (1..=option.operands).for_each(|operand| self.put(place + operand));
            }
        }
        Form::Listed { slots: self.slots, len: self.len, tail: said.end, words: words.words() }
    }
}

fn set_options<W: ParsedArgs + ?Sized>(words: &W) -> Option<Form> {
    // Most are SET key value, which is canonical as it is.
    if words.words() <= SET_WORDS_MIN || words.words() > SET_WORDS_MAX {
        return None;
    }
    let options = SetOptions::parse(words, 3)?;
    let mut slots = [0; SLOTS];
    let mut len = 0;
    let mut put = |slot: u8| {
        slots[len] = slot;
        len += 1;
    };
    put(1);
    put(2);
    if let Some((token, operand)) = options.condition {
        put(TOKEN | token);
        operand.into_iter().for_each(|place| put(place as u8));
    }
    if options.get {
        put(TOKEN | GET);
    }
    if let Some((token, operand)) = options.lifetime {
        put(TOKEN | token);
        operand.into_iter().for_each(|place| put(place as u8));
    }
    options.rest.into_iter().for_each(|place| put(place as u8));
    Some(Form::Listed { slots, len: len as u8, tail: 0, words: 0 })
}

/// The options of SET (<https://redis.io/docs/latest/commands/set/>), each at most once, as indexes into `TOKENS` and
/// places of operands.
#[derive(Clone, Copy, Default)]
pub(super) struct SetOptions {
    condition: Option<(u8, Option<usize>)>,
    get: bool,
    lifetime: Option<(u8, Option<usize>)>,
    rest: Option<usize>,
}

/// How long SET lets the value live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lifetime {
    /// No option: without end.
    Endless,
    /// KEEPTTL: as long as the value before.
    MemoryBudget,
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
            Some((_, None)) => Lifetime::MemoryBudget,
        }
    }
}

#[cfg(test)]
mod tests;
