//! The questions that can be asked about a key as it is before a group.

use std::borrow::Cow;
use std::sync::Arc;

use super::fault::WRONG_TYPE;
use super::types::Types;

/// One question to the server about a key as it is before the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check<'a> {
    /// The member that fails unless the answer is right, from 0.
    pub member: usize,
    /// The key that is asked about.
    pub key: &'a [u8],
    /// What must be true of it.
    pub question: Question<'a>,
}

/// What must be true of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Question<'a> {
    /// It is of none of these types.
    Not { types: Types, error: &'static str },
    /// A string, if it is there, of at most so many bytes.
    Length { most: u64 },
    /// A string, if it is there, that is an integer: at most so far above zero, or below it.
    Integer { above: u64, below: u64 },
    /// A string, if it is there, that is a plain decimal number.
    Decimal,
    /// A string, if it is there, that is a HyperLogLog.
    HyperLogLog,
    /// The same of a field, if it is there, of a hash, if that is.
    FieldInteger { field: &'a [u8], above: u64, below: u64 },
    /// A hash, if it is there, whose field is, if it is there, a plain decimal number.
    FieldDecimal { field: &'a [u8] },
    /// A list of at least so many elements.
    Elements { least: u64 },
    /// A stream, if it is there, that has given no id as high as this one.
    IdBelow { milliseconds: u64, sequence: u64 },
    /// A stream with this consumer group.
    Group { name: &'a [u8], asker: Asker },
    /// A stream, if it is there, without this consumer group.
    NoGroup { name: &'a [u8] },
    /// What a rule requires: no command fails without it.
    Required(Requirement<'a>),
}

/// What a rule requires of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement<'a> {
    /// What must be true.
    pub condition: Condition<'a>,
    /// As the rule says it.
    pub text: Arc<str>,
}

/// What must be true of a key that a rule requires something of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// It is of one of these types.
    Type(Types),
    /// It has a TTL, of more than so many milliseconds.
    TtlAbove(u64),
    /// It is a string of these bytes.
    Value(Cow<'a, [u8]>),
}

/// What a question is about, apart from its key: of those with the same topic one is enough, as tight as all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic<'a> {
    Type,
    Length,
    Integer,
    Decimal,
    HyperLogLog,
    FieldInteger(&'a [u8]),
    FieldDecimal(&'a [u8]),
    Elements,
    Id,
    Group(&'a [u8]),
    Required,
}

/// Who wants a consumer group to be there: each says otherwise in words of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// XREADGROUP
    Read,
    /// XGROUP and XINFO
    Group,
    /// XPENDING, XCLAIM and XAUTOCLAIM
    Pending,
}

impl Asker {
    pub(super) fn error(self, key: &[u8], group: &[u8]) -> String {
        let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
        match self {
            Asker::Read => format!("NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option"),
            Asker::Group => format!("NOGROUP No such consumer group '{group}' for key name '{key}'"),
            Asker::Pending => format!("NOGROUP No such key '{key}' or consumer group '{group}'"),
        }
    }
}

impl Question<'_> {
    /// What must be true, in words.
    pub fn in_words(&self) -> String {
        match self {
            Question::Not { types, .. } => {
                let fine = Types::ALL.without(*types);
                let words: Vec<_> = fine.each().map(|one| one.word().unwrap_or("anything else")).collect();
                format!("its type is {}", words.join(" or "))
            }
            Question::Length { most } => format!("it is absent or a string of at most {most} bytes"),
            Question::Integer { above, below } => format!("it is absent or an integer from -{below} to {above}"),
            Question::Decimal => "it is absent or a number".to_owned(),
            Question::HyperLogLog => "it is absent or a HyperLogLog".to_owned(),
            Question::FieldInteger { field, above, below } => {
                format!("its field {} is absent or an integer from -{below} to {above}", field.escape_ascii())
            }
            Question::FieldDecimal { field } => format!("its field {} is absent or a number", field.escape_ascii()),
            Question::Elements { least } => format!("it is a list of at least {least} elements"),
            Question::IdBelow { milliseconds, sequence } => {
                format!("it is absent or a stream whose last id is below {milliseconds}-{sequence}")
            }
            Question::Group { name, .. } => format!("it is a stream with the consumer group {}", name.escape_ascii()),
            Question::NoGroup { name } => {
                format!("it is absent or a stream without the consumer group {}", name.escape_ascii())
            }
            Question::Required(requirement) => format!("what the rule requires: {}", requirement.text),
        }
    }
}

impl<'a> Question<'a> {
    pub(super) fn topic(&self) -> Topic<'a> {
        match self {
            Question::Not { .. } => Topic::Type,
            Question::Length { .. } => Topic::Length,
            Question::Integer { .. } => Topic::Integer,
            Question::Decimal => Topic::Decimal,
            Question::HyperLogLog => Topic::HyperLogLog,
            Question::FieldInteger { field, .. } => Topic::FieldInteger(field),
            Question::FieldDecimal { field } => Topic::FieldDecimal(field),
            Question::Elements { .. } => Topic::Elements,
            Question::IdBelow { .. } => Topic::Id,
            Question::Group { name, .. } | Question::NoGroup { name } => Topic::Group(name),
            Question::Required(_) => Topic::Required,
        }
    }

    /// The answer to this one tells the answer to a question about the type alone.
    pub(super) fn includes(&self, other: &Question<'_>) -> bool {
        let Question::Not { types, error } = other else { return false };
        let own = match self {
            Question::Not { .. } | Question::Required(_) => return false,
            Question::Length { .. } | Question::Integer { .. } | Question::Decimal | Question::HyperLogLog => Types::STRING,
            Question::FieldInteger { .. } | Question::FieldDecimal { .. } => Types::HASH,
            Question::Elements { .. } => Types::LIST,
            Question::IdBelow { .. } | Question::Group { .. } | Question::NoGroup { .. } => Types::STREAM,
        };
        *error == WRONG_TYPE && *types == Types::ALL.without(own).without(Types::NONE)
    }

    /// Where `other` asks the same for less, this one asks for less from now on.
    pub(super) fn tighten(&mut self, other: &Question<'a>) -> bool {
        match (self, other) {
            (Question::Length { most }, Question::Length { most: own }) => {
                *most = (*most).min(*own);
                true
            }
            (Question::Integer { above, below }, Question::Integer { above: a, below: b }) => {
                (*above, *below) = ((*above).min(*a), (*below).min(*b));
                true
            }
            (Question::FieldInteger { field, above, below }, Question::FieldInteger { field: own, above: a, below: b })
                if field == own =>
            {
                (*above, *below) = ((*above).min(*a), (*below).min(*b));
                true
            }
            (own, other) => own == other,
        }
    }
}
