//! How questions are encoded in a script's arguments, and what the replies mean.

use std::sync::Arc;

use super::super::analysis::OVERFLOW;
use super::super::bulks::Bulks;
use super::super::fault::WRONG_TYPE;
use super::super::types::Types;
use super::super::{Check, Condition, Question, syntax};
use super::{Predicted, Wrong};

impl Question<'_> {
    /// The command that answers an error where a key is there and of another type, and a number elsewhere.
    pub(super) fn length_command(&self) -> Option<&'static [u8]> {
        let Question::Not { types, error } = self else { return None };
        let one = Types::ALL.without(Types::NONE).without(*types);
        let command: &[u8] = match one {
            Types::STRING => b"STRLEN",
            Types::LIST => b"LLEN",
            Types::SET => b"SCARD",
            Types::ZSET => b"ZCARD",
            Types::HASH => b"HLEN",
            Types::STREAM => b"XLEN",
            _ => return None,
        };
        (*error == WRONG_TYPE && !types.has(Types::NONE)).then_some(command)
    }

    /// `op key argument [argument]`; without arguments only `op key`, where the script knows nothing else.
    pub(super) fn write(&self, key: &[u8], padded: bool, texts: &mut Bulks) {
        if let Some(command) = self.length_command() {
            texts.push(command);
            texts.push(key);
            if padded {
                texts.push(b"");
            }
            return;
        }
        texts.push(self.op());
        texts.push(key);
        match self {
            Question::Not { types, .. } => texts.push(words(*types).as_bytes()),
            Question::Length { most } => texts.number(*most),
            Question::Integer { above, below } => {
                texts.number(*above);
                texts.number(*below);
            }
            Question::Decimal | Question::HyperLogLog => texts.push(b""),
            Question::FieldInteger { field, above, below } => {
                texts.number(*above);
                texts.number(*below);
                texts.push(field);
            }
            Question::FieldDecimal { field } => texts.push(field),
            Question::Elements { least } => texts.number(*least),
            Question::IdBelow { milliseconds, sequence } => {
                texts.number(*milliseconds);
                texts.number(*sequence);
            }
            Question::Group { name, .. } | Question::NoGroup { name } => texts.push(name),
            Question::Required(requirement) => match &requirement.condition {
                Condition::Type(types) => texts.push(words(Types::ALL.without(*types)).as_bytes()),
                Condition::TtlAbove(milliseconds) => texts.number(*milliseconds),
                Condition::Value(value) => texts.push(value),
            },
        }
    }

    fn op(&self) -> &'static [u8] {
        match self {
            Question::Not { .. } => b"T",
            Question::Length { .. } => b"L",
            Question::Integer { .. } => b"I",
            Question::Decimal => b"F",
            Question::HyperLogLog => b"H",
            Question::FieldInteger { .. } => b"i",
            Question::FieldDecimal { .. } => b"f",
            Question::Elements { .. } => b"E",
            Question::IdBelow { .. } => b"S",
            Question::Group { .. } => b"G",
            Question::NoGroup { .. } => b"N",
            Question::Required(requirement) => match requirement.condition {
                Condition::Type(_) => b"T",
                Condition::TtlAbove(_) => b"P",
                Condition::Value(_) => b"V",
            },
        }
    }
}

impl Check<'_> {
    pub(super) fn predicted(&self) -> Predicted {
        Predicted { member: self.member, wrong: self.wrong() }
    }

    fn wrong(&self) -> Wrong {
        Wrong::Content(match &self.question {
            Question::Not { error, .. } => [*error, *error],
            Question::Length { .. } => ["ERR string exceeds maximum allowed size (proto-max-bulk-len)", OVERFLOW],
            Question::Integer { .. } => [syntax::NOT_AN_INTEGER, OVERFLOW],
            Question::Decimal => [syntax::NOT_A_FLOAT, OVERFLOW],
            Question::HyperLogLog => ["WRONGTYPE Key is not a valid HyperLogLog string value.", OVERFLOW],
            Question::FieldInteger { .. } => ["ERR hash value is not an integer", OVERFLOW],
            Question::FieldDecimal { .. } => ["ERR hash value is not a float", OVERFLOW],
            Question::Elements { .. } => ["ERR no such key", "ERR index out of range"],
            Question::IdBelow { .. } => {
                ["ERR The ID specified in XADD is equal or smaller than the target stream top item", OVERFLOW]
            }
            Question::Group { name, asker } => return Wrong::Named(asker.error(self.key, name).into()),
            Question::NoGroup { .. } => ["BUSYGROUP Consumer Group name already exists", OVERFLOW],
            Question::Required(requirement) => return Wrong::Required(Arc::clone(&requirement.text)),
        })
    }
}

/// ` none hash `, as the script looks for them.
fn words(types: Types) -> String {
    types.each().fold(" ".to_owned(), |all, one| all + one.word().unwrap_or("other") + " ")
}
