//! What is known of a number that counting commands change: a string, or a field of a hash.

use super::syntax::{self, Float};
use crate::engine::command::integer::integer;

/// A value in a group, as far as INCRBY, INCRBYFLOAT and PFADD need to know it. What is absent counts as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The integer that it was before the group, moved by at most `drift`; without drift, anything that it was.
    Start {
        drift: u64,
    },
    /// An integer of at most this magnitude.
    Integer {
        most: u64,
    },
    /// A plain decimal number.
    Decimal,
    /// Neither a number nor a HyperLogLog.
    Text,
    HyperLogLog,
    /// Anything.
    Unknown,
}

/// What a command that counts needs of the value before the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing more.
    Nothing,
    /// It was an integer of at most this magnitude.
    IntegerAtStart { most: u64 },
    /// It was a plain decimal number.
    DecimalAtStart,
    /// It was a HyperLogLog.
    HyperLogLogAtStart,
    /// It fails, whatever was.
    Fails,
    /// Nobody can tell.
    Undecided,
}

const MAGNITUDE_MAX: u64 = i64::MAX as u64;

impl Value {
    pub(super) const START: Value = Value::Start { drift: 0 };
    pub(super) const ABSENT: Value = Value::Integer { most: 0 };

    /// What a command has just written.
    pub(super) fn written(text: &[u8]) -> Value {
        if let Some(number) = integer(text) {
            return Value::Integer { most: number.unsigned_abs() };
        }
        match syntax::float(text) {
            Some(Float::Plain) => Value::Decimal,
            _ if text.starts_with(b"HYLL") => Value::Unknown,
            // Redis reads some numbers that we do not.
            _ if text.iter().any(u8::is_ascii_digit) || syntax::float(text).is_some() => Value::Unknown,
            _ if text.eq_ignore_ascii_case(b"nan") || text.is_empty() => Value::Unknown,
            _ => Value::Text,
        }
    }

    /// It was either this or, under a condition, has become `other`.
    pub(super) fn or(self, other: Value) -> Value {
        match (self, other) {
            (Value::Start { drift }, Value::Integer { most }) => {
                drift.checked_add(most).map_or(Value::Unknown, |drift| Value::Start { drift })
            }
            (Value::Integer { most: a }, Value::Integer { most: b }) => Value::Integer { most: a.max(b) },
            (a, b) if a == b => a,
            _ => Value::Unknown,
        }
    }

    /// An integer is added, or a finite float.
    pub(super) fn count(&mut self, by: Option<i64>) -> Need {
        match by {
            Some(number) => self.add(number),
            None => self.add_float(),
        }
    }

    fn add(&mut self, number: i64) -> Need {
        let amount = number.unsigned_abs();
        match *self {
            Value::Start { drift } => {
                let Some(drift) = drift.checked_add(amount).filter(|drift| *drift <= MAGNITUDE_MAX) else {
                    return Need::Undecided;
                };
                *self = Value::Start { drift };
                Need::IntegerAtStart { most: MAGNITUDE_MAX - drift }
            }
            Value::Integer { most } => match most.checked_add(amount).filter(|most| *most <= MAGNITUDE_MAX) {
                Some(most) => {
                    *self = Value::Integer { most };
                    Need::Nothing
                }
                None => Need::Undecided,
            },
            Value::Text | Value::HyperLogLog => Need::Fails,
            Value::Decimal | Value::Unknown => Need::Undecided,
        }
    }

    fn add_float(&mut self) -> Need {
        let need = match *self {
            Value::Start { drift: 0 } => Need::DecimalAtStart,
            Value::Start { .. } | Value::Integer { .. } | Value::Decimal => Need::Nothing,
            Value::Text | Value::HyperLogLog => Need::Fails,
            Value::Unknown => Need::Undecided,
        };
        *self = Value::Decimal;
        need
    }

    /// The value must be a HyperLogLog, if it is there at all: `absent` says that it is not.
    pub(super) fn count_distinct(self, absent: bool) -> Need {
        match self {
            Value::HyperLogLog => Need::Nothing,
            _ if absent => Need::Nothing,
            Value::Start { drift: 0 } => Need::HyperLogLogAtStart,
            Value::Start { .. } | Value::Integer { .. } | Value::Decimal | Value::Text => Need::Fails,
            Value::Unknown => Need::Undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_twice_leaves_room_for_both() {
        let mut value = Value::START;
        assert_eq!(value.add(1), Need::IntegerAtStart { most: MAGNITUDE_MAX - 1 });
        assert_eq!(value.add(-5), Need::IntegerAtStart { most: MAGNITUDE_MAX - 6 });
        assert_eq!(value.add_float(), Need::Nothing);
        assert_eq!(value.add(1), Need::Undecided, "3.5 + 0.5 is an integer again, 3.5 is not");
    }

    #[test]
    fn what_was_just_written_is_known() {
        let after = |text: &str, number| Value::written(text.as_bytes()).add(number);
        assert_eq!(after("5", 1), Need::Nothing);
        assert_eq!(after("9223372036854775807", 1), Need::Undecided);
        assert_eq!(after("9223372036854775806", 1), Need::Nothing);
        assert_eq!(after("five", 1), Need::Fails);
        for text in ["5.0", "0x5", "", "HYLL", "inf", "1e3", "nan"] {
            assert_eq!(after(text, 1), Need::Undecided, "{text}");
        }
    }

    #[test]
    fn a_condition_allows_for_both_ends() {
        let mut value = Value::START.or(Value::written(b"10"));
        assert_eq!(value.add(1), Need::IntegerAtStart { most: MAGNITUDE_MAX - 11 });
        let mut value = Value::START.or(Value::written(b"x"));
        assert_eq!(value.add(1), Need::Undecided);
        let mut value = Value::ABSENT.or(Value::written(b"10"));
        assert_eq!(value.add(1), Need::Nothing);
    }

    #[test]
    fn a_counter_is_no_hyperloglog() {
        assert_eq!(Value::START.count_distinct(false), Need::HyperLogLogAtStart);
        assert_eq!(Value::written(b"1").count_distinct(false), Need::Fails);
        assert_eq!(Value::ABSENT.count_distinct(true), Need::Nothing);
    }
}
