//! The analysis of one group: what its members have done to their keys so far, and the checks that follow.

use std::collections::HashSet;

use super::fault::WRONG_TYPE;
use super::key_aliases::KeyAliases;
use super::key_state::{KeyState, LastId, Others};
use super::question::Topic;
use super::syntax::{self, StreamId};
use super::types::{TypeErrors, Types};
use super::values::{Need, Value};
use super::{Asker, Check, Fault, Question, Requirement};
use respguard_resp::request::Args;

pub(super) const NO_SUCH_KEY: &str = "ERR no such key";
const MADE_OF_ITS_KEY: &str = "it depends on what another member makes of its key";
const NOT_AN_INTEGER_FIELD: &str = "ERR hash value is not an integer";
const NOT_A_FLOAT_FIELD: &str = "ERR hash value is not a float";
const NOT_A_HYPERLOGLOG: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
const INDEX_OUT_OF_RANGE: &str = "ERR index out of range";
pub(super) const OVERFLOW: &str = "ERR increment or decrement would overflow";
const GROUP_EXISTS: &str = "BUSYGROUP Consumer Group name already exists";
pub(super) const NO_MORE_IDS: &str = "ERR The stream has exhausted the last possible ID, unable to add more items";
const ID_TOO_SMALL: &str = "ERR The ID specified in XADD is equal or smaller than the target stream top item";

/// The default of `proto-max-bulk-len`, which no string may pass.
pub(super) const STRING_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Keys that one preflight asks about. WATCH compares each with those before it, while the server does nothing else.
pub(super) const KEYS_MAX: usize = 256;
const TOO_MANY_KEYS: &str = "the group would have to ask about more than 256 keys";

/// What the members up to one of them have done.
#[derive(Debug, Default)]
pub(super) struct GroupAnalysis<'a> {
    member: usize,
    args: Option<Args<'a>>,
    /// Which cell a key's name leads to: renaming moves a cell.
    names: KeyAliases<&'a [u8]>,
    /// The name that was followed last: a command looks at its key more than once.
    last_name: Option<(&'a [u8], usize)>,
    key_states: Vec<KeyState<'a>>,
    checks: Vec<Check<'a>>,
    /// Which check asks each thing about a key.
    topics: KeyAliases<(&'a [u8], Topic<'a>)>,
    /// No member counts a field of a hash: what fields hold does not matter.
    ignores_fields: bool,
    /// The keys that are asked about, once so many checks are there that they may be too many.
    asked: Option<HashSet<&'a [u8]>>,
}

impl<'a> GroupAnalysis<'a> {
    /// The next member is looked at.
    pub(super) fn begin(&mut self, member: usize, args: Args<'a>) {
        self.member = member;
        self.args = Some(args);
    }

    /// None of the members to come depends on what a field holds.
    pub(super) fn ignore_fields(&mut self) {
        self.ignores_fields = true;
    }

    pub(super) fn take_checks(&mut self) -> Vec<Check<'a>> {
        std::mem::take(&mut self.checks)
    }

    /// A rule requires something of the key, as it is before all members.
    pub(super) fn requires(&mut self, member: usize, key: &'a [u8], requirement: Requirement<'a>) -> Result<(), Fault> {
        self.push(Check { member, key, question: Question::Required(requirement) })
    }

    /// Number of the member's words.
    pub(super) fn len(&self) -> usize {
        self.args.map_or(0, |args| args.len())
    }

    pub(super) fn arg(&self, at: usize) -> Result<&'a [u8], Fault> {
        self.args.and_then(|args| args.get(at)).ok_or(Fault::new(syntax::SYNTAX))
    }

    pub(super) fn is(&self, at: usize, word: &str) -> bool {
        self.arg(at).is_ok_and(|text| syntax::is(text, word))
    }

    /// Which of the words are said from this place on, in any order, and the place of the first that is another.
    pub(super) fn flags<const N: usize>(&self, from: usize, words: [&str; N]) -> (usize, [bool; N]) {
        let (mut at, mut said) = (from, [false; N]);
        while let Some(place) = words.iter().position(|word| self.is(at, word)) {
            said[place] = true;
            at += 1;
        }
        (at, said)
    }

    pub(super) fn integer(&self, at: usize) -> Result<i64, Fault> {
        syntax::integer(self.arg(at)?)
    }

    /// Words that are integers.
    pub(super) fn integers(&self, mut places: std::ops::Range<usize>) -> Result<(), Fault> {
        places.try_for_each(|at| self.integer(at).map(drop))
    }

    /// The keys that `numkeys` at this place announces; the place behind them.
    pub(super) fn counted(&self, at: usize, error: &'static str) -> Result<usize, Fault> {
        let count = syntax::integer_from(self.arg(at)?, 1, error)?;
        let end = usize::try_from(count).ok().and_then(|count| count.checked_add(at + 1));
        end.filter(|end| *end <= self.len()).ok_or(Fault::new(syntax::SYNTAX))
    }

    /// Requires a type, where the key is there at all.
    pub(super) fn typed(&mut self, at: usize, types: Types) -> Result<(), Fault> {
        let key = self.arg(at)?;
        self.require(key, types.or(Types::NONE), WRONG_TYPE)
    }

    /// The same of several keys.
    pub(super) fn all_typed(&mut self, places: std::ops::Range<usize>, types: Types) -> Result<(), Fault> {
        places.into_iter().try_for_each(|at| self.typed(at, types))
    }

    /// A command that makes the key where there is none.
    pub(super) fn makes(&mut self, at: usize, one: Types) -> Result<(), Fault> {
        self.typed(at, one)?;
        self.turn(at, Types::NONE, one)
    }

    /// A command that may take away the last of the key.
    pub(super) fn takes(&mut self, at: usize, one: Types) -> Result<(), Fault> {
        self.typed(at, one)?;
        self.turn(at, one, one.or(Types::NONE))
    }

    /// What is of type `from` is now one of `to`.
    pub(super) fn turn(&mut self, at: usize, from: Types, to: Types) -> Result<(), Fault> {
        self.key_state_at(at)?.history.turn(from, to);
        Ok(())
    }

    /// A command that puts something of its own in the place of the key.
    pub(super) fn replaced(&mut self, at: usize, types: Types) -> Result<(), Fault> {
        *self.key_state_at(at)? = KeyState::made(types);
        Ok(())
    }

    /// A command that may delete the key, whatever it is.
    pub(super) fn perhaps_gone(&mut self, at: usize) -> Result<(), Fault> {
        self.key_state_at(at)?.perhaps_gone();
        Ok(())
    }

    /// The same with a string whose text is known.
    pub(super) fn written(&mut self, at: usize, text: &'a [u8]) -> Result<(), Fault> {
        let key_state = self.key_state_at(at)?;
        *key_state = KeyState::made(Types::STRING);
        key_state.value = Value::Written(text);
        (key_state.appended, key_state.reach) = (0, Some(text.len() as u64));
        Ok(())
    }

    /// A string that is written under a condition.
    pub(super) fn perhaps_written(&mut self, at: usize, text: &'a [u8], where_absent: bool) -> Result<(), Fault> {
        let key_state = self.key_state_at(at)?;
        let before = if where_absent { key_state.value_now() } else { Value::ABSENT };
        key_state.value = before.or(Value::Written(text));
        key_state.reach = key_state.reach.map(|reach| reach.max(text.len() as u64));
        let from = if where_absent { Types::NONE } else { Types::ALL.without(Types::NONE) };
        for one in from.each() {
            key_state.history.turn(one, Types::STRING);
        }
        Ok(())
    }

    /// Fails where the key is not one of `allowed`.
    pub(super) fn require(&mut self, key: &'a [u8], allowed: Types, error: &'static str) -> Result<(), Fault> {
        let member = self.member;
        let key_state = self.key_state(key);
        let type_errors = key_state.history.require(allowed);
        let (dead, origin) = (key_state.history.is_dead(), key_state.origin);
        if dead {
            return Err(if type_errors.perhaps.is_empty() { Fault::new(error) } else { Fault::Undecided(MADE_OF_ITS_KEY) });
        }
        let Some(key) = origin else { return Ok(()) };
        // Where it fails only perhaps, it is refused all the same.
        let types = type_errors.certain.or(type_errors.perhaps);
        if types.is_empty() { Ok(()) } else { self.push(Check { member, key, question: Question::Not { types, error } }) }
    }

    /// So many bytes are appended to the string.
    pub(super) fn grows(&mut self, at: usize, bytes: u64) -> Result<(), Fault> {
        let key_state = self.key_state_at(at)?;
        key_state.appended = key_state.appended.saturating_add(bytes);
        let (appended, origin) = (key_state.appended, key_state.origin);
        let whole = key_state.reach.and_then(|reach| reach.checked_add(appended));
        let Some(most) = whole.and(STRING_BYTES_MAX.checked_sub(appended)).filter(|_| whole <= Some(STRING_BYTES_MAX)) else {
            return Err(Fault::Undecided(MADE_OF_ITS_KEY));
        };
        origin.map_or(Ok(()), |key| self.ask(key, Question::Length { most }))
    }

    /// The string is written up to this byte.
    pub(super) fn reaches(&mut self, at: usize, end: u64) -> Result<(), Fault> {
        let key_state = self.key_state_at(at)?;
        key_state.reach = key_state.reach.map(|reach| reach.max(end));
        Ok(())
    }

    /// What the string holds is no longer followed.
    pub(super) fn scrambled(&mut self, at: usize) -> Result<(), Fault> {
        self.key_state_at(at)?.value = Value::Unknown;
        Ok(())
    }

    /// The string counts: by an integer, or by a float.
    pub(super) fn counts(&mut self, at: usize, by: Option<i64>) -> Result<(), Fault> {
        self.typed(at, Types::STRING)?;
        let key_state = self.key_state_at(at)?;
        let mut value = key_state.value_now();
        let need = value.count(by);
        key_state.value = value;
        key_state.history.turn(Types::NONE, Types::STRING);
        let origin = key_state.origin;
        let question = match need {
            Need::Nothing => return Ok(()),
            Need::IntegerAtStart { above, below } => Question::Integer { above, below },
            Need::DecimalAtStart => Question::Decimal,
            Need::Fails => return Err(Fault::new(if by.is_some() { syntax::NOT_AN_INTEGER } else { syntax::NOT_A_FLOAT })),
            Need::Overflows => return Err(Fault::new(OVERFLOW)),
            Need::Undecided | Need::HyperLogLogAtStart => return Err(Fault::Undecided(MADE_OF_ITS_KEY)),
        };
        self.ask_origin(origin, question)
    }

    /// The string is a HyperLogLog.
    pub(super) fn distinct(&mut self, at: usize, makes: bool) -> Result<(), Fault> {
        self.typed(at, Types::STRING)?;
        let key_state = self.key_state_at(at)?;
        let absent = !key_state.history.types().has(Types::STRING);
        let need = key_state.value_now().count_distinct(absent);
        if makes {
            key_state.value = Value::HyperLogLog;
            key_state.history.turn(Types::NONE, Types::STRING);
        }
        let origin = key_state.origin;
        match need {
            Need::Nothing => Ok(()),
            Need::HyperLogLogAtStart => self.ask_origin(origin, Question::HyperLogLog),
            Need::Fails => Err(Fault::new(NOT_A_HYPERLOGLOG)),
            _ => Err(Fault::Undecided(MADE_OF_ITS_KEY)),
        }
    }

    /// A field of the hash is written, removed or, under a condition, written.
    pub(super) fn field(&mut self, at: usize, field: &'a [u8], value: Option<&'a [u8]>, conditional: bool) -> Result<(), Fault> {
        if self.ignores_fields {
            return Ok(());
        }
        let key_state = self.key_state_at(at)?;
        let written = value.map_or(Value::ABSENT, Value::Written);
        let known = key_state.field_mut(field);
        *known = if conditional { known.or(written) } else { written };
        Ok(())
    }

    /// A field of the hash counts.
    pub(super) fn field_counts(&mut self, at: usize, field: &'a [u8], by: Option<i64>) -> Result<(), Fault> {
        self.makes(at, Types::HASH)?;
        let key_state = self.key_state_at(at)?;
        let known = key_state.field_mut(field);
        let need = known.count(by);
        let origin = key_state.origin;
        let question = match need {
            Need::Nothing => return Ok(()),
            Need::IntegerAtStart { above, below } => Question::FieldInteger { field, above, below },
            Need::DecimalAtStart => Question::FieldDecimal { field },
            Need::Fails => return Err(Fault::new(if by.is_some() { NOT_AN_INTEGER_FIELD } else { NOT_A_FLOAT_FIELD })),
            Need::Overflows => return Err(Fault::new(OVERFLOW)),
            Need::Undecided | Need::HyperLogLogAtStart => return Err(Fault::Undecided(MADE_OF_ITS_KEY)),
        };
        self.ask_origin(origin, question)
    }

    /// The list has so many elements more, or less; `None`: nobody knows.
    pub(super) fn elements(&mut self, at: usize, more: Option<i64>) -> Result<(), Fault> {
        let key_state = self.key_state_at(at)?;
        key_state.elements = key_state.elements.zip(more).and_then(|(elements, more)| elements.checked_add(more));
        Ok(())
    }

    /// The list has an element at this index.
    pub(super) fn indexed(&mut self, at: usize, index: i64) -> Result<(), Fault> {
        self.typed(at, Types::LIST)?;
        let needed = if index >= 0 { index.checked_add(1) } else { index.checked_neg() };
        let key_state = self.key_state_at(at)?;
        let (elements, origin) = (key_state.elements, key_state.origin);
        let Some(needed) = needed else { return Err(Fault::new(INDEX_OUT_OF_RANGE)) };
        let missing = elements.and_then(|elements| needed.checked_sub(elements));
        match (missing.map(u64::try_from), origin) {
            (None, _) => Err(Fault::Undecided(MADE_OF_ITS_KEY)),
            (Some(Err(_) | Ok(0)), _) => Ok(()),
            (Some(Ok(least)), Some(key)) => self.ask(key, Question::Elements { least }),
            (Some(Ok(_)), None) if elements == Some(0) => Err(Fault::new(NO_SUCH_KEY)),
            (Some(Ok(_)), None) => Err(Fault::Undecided(MADE_OF_ITS_KEY)),
        }
    }

    /// The stream gives this id, or, without one, one by its clock.
    pub(super) fn gives(&mut self, at: usize, id: Option<(StreamId, bool)>) -> Result<(), Fault> {
        let key_state = self.key_state_at(at)?;
        let (last, origin) = (key_state.last_id, key_state.origin);
        let Some((id, exact)) = id else {
            key_state.last_id = behind(last)?;
            return Ok(());
        };
        key_state.last_id = if exact { LastId::Known(id) } else { LastId::AtMost(id) };
        match (last, origin) {
            (LastId::Known(StreamId::LAST), _) => Err(Fault::new(NO_MORE_IDS)),
            (LastId::Known(last), _) if last < id => Ok(()),
            (LastId::Known(_), _) => Err(Fault::new(ID_TOO_SMALL)),
            (LastId::AsBefore, Some(key)) => {
                self.ask(key, Question::IdBelow { milliseconds: id.milliseconds, sequence: id.sequence })
            }
            _ => Err(Fault::Undecided(MADE_OF_ITS_KEY)),
        }
    }

    /// The stream has this consumer group, or has it not.
    pub(super) fn consumed(&mut self, at: usize, name: &'a [u8], asker: Option<Asker>) -> Result<(), Fault> {
        let there = asker.is_some();
        let key = self.arg(at)?;
        let key_state = self.key_state(key);
        // Where there is no stream there is no group either: the question about the group asks for both.
        let type_errors = if there { key_state.history.require(Types::STREAM) } else { TypeErrors::NONE };
        if !type_errors.perhaps.is_empty() {
            return Err(Fault::Undecided(MADE_OF_ITS_KEY));
        }
        if key_state.history.is_dead() {
            return Err(no_group(asker, key, name));
        }
        match (key_state.group(name), key_state.origin) {
            (Ok(known), _) if known == there => Ok(()),
            (Ok(_), _) => Err(no_group(asker, key, name)),
            (Err(Others::AsBefore), Some(key)) => {
                self.ask(key, asker.map_or(Question::NoGroup { name }, |asker| Question::Group { name, asker }))
            }
            (Err(_), _) => Err(Fault::Undecided(MADE_OF_ITS_KEY)),
        }
    }

    /// From here on the stream has this consumer group, or has it not.
    pub(super) fn note_group(&mut self, at: usize, name: &'a [u8], there: bool) -> Result<(), Fault> {
        self.key_state_at(at)?.note_group(name, there);
        Ok(())
    }

    /// What the key `from` leads to now is led to by `to`, and `from` is gone.
    pub(super) fn renamed(&mut self, from: &'a [u8], to: &'a [u8]) {
        if from == to {
            return;
        }
        let moved = self.place(from);
        self.names.set(to, moved);
        self.key_states.push(KeyState::made(Types::NONE));
        self.names.set(from, self.key_states.len() - 1);
        self.last_name = None;
    }

    /// Everything that the key can be now.
    pub(super) fn types(&mut self, key: &'a [u8]) -> Types {
        self.key_state(key).history.types()
    }

    /// The key may have become a copy of something of these types.
    pub(super) fn perhaps_replaced(&mut self, key: &'a [u8], types: Types, only_absent: bool) {
        let key_state = self.key_state(key);
        for one in Types::ALL.each().filter(|one| !only_absent || *one == Types::NONE) {
            key_state.history.turn(one, one.or(types));
        }
        key_state.forget();
    }

    fn ask_origin(&mut self, origin: Option<&'a [u8]>, question: Question<'a>) -> Result<(), Fault> {
        match origin {
            Some(key) => self.ask(key, question),
            // What was before the group is not there any more.
            None => Err(Fault::Undecided(MADE_OF_ITS_KEY)),
        }
    }

    /// Every question about a content asks for its type too.
    fn ask(&mut self, key: &'a [u8], question: Question<'a>) -> Result<(), Fault> {
        let (member, topic) = (self.member, question.topic());
        let place = self.checks.len();
        if let Some(last) = self.checks.last_mut()
            && last.member == member
            && last.key == key
            && question.includes(&last.question)
        {
            last.question = question;
            self.topics.set((key, topic), place - 1);
            return Ok(());
        }
        let known = self.topics.get((key, topic)).and_then(|place| self.checks.get_mut(place));
        if known.is_some_and(|known| known.question.tighten(&question)) {
            return Ok(());
        }
        self.topics.set((key, topic), place);
        self.push(Check { member, key, question })
    }

    /// Each key that is asked about is watched, and that the server compares with all others.
    fn push(&mut self, check: Check<'a>) -> Result<(), Fault> {
        if self.checks.len() >= KEYS_MAX {
            let asked = self.asked.get_or_insert_with(|| self.checks.iter().map(|check| check.key).collect());
            if asked.len() == KEYS_MAX && !asked.contains(check.key) {
                return Err(Fault::Undecided(TOO_MANY_KEYS));
            }
            asked.insert(check.key);
        }
        self.checks.push(check);
        Ok(())
    }

    fn key_state_at(&mut self, at: usize) -> Result<&mut KeyState<'a>, Fault> {
        Ok(self.key_state(self.arg(at)?))
    }

    fn key_state(&mut self, key: &'a [u8]) -> &mut KeyState<'a> {
        let place = self.place(key);
        &mut self.key_states[place]
    }

    fn place(&mut self, key: &'a [u8]) -> usize {
        if let Some((last, place)) = self.last_name
            && std::ptr::eq(last, key)
        {
            return place;
        }
        let place = self.names.get(key).unwrap_or_else(|| {
            self.key_states.push(KeyState::new(key));
            self.names.set(key, self.key_states.len() - 1);
            self.key_states.len() - 1
        });
        self.last_name = Some((key, place));
        place
    }
}

/// The highest id after one that the server has chosen: by its clock, or right behind the last where that is ahead.
fn behind(last: LastId) -> Result<LastId, Fault> {
    match last {
        LastId::Known(StreamId::LAST) => Err(Fault::new(NO_MORE_IDS)),
        LastId::Known(id) | LastId::AtMost(id) => {
            id.next().map(LastId::AtMost).ok_or(Fault::Undecided("its stream may have given the last possible id"))
        }
        LastId::AsBefore | LastId::Given => Ok(LastId::Given),
    }
}

fn no_group(asker: Option<Asker>, key: &[u8], name: &[u8]) -> Fault {
    match asker {
        Some(asker) => Fault::Certain(asker.error(key, name).into()),
        None => Fault::new(GROUP_EXISTS),
    }
}
