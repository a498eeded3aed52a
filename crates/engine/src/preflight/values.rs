//! What is known of a number that INCR and similar commands change: a string, or a field of a hash.

use super::syntax::{self, Float};
use crate::command::integer::integer;

/// A value in a group, as far as INCRBY, INCRBYFLOAT and PFADD need to know it. What is absent counts as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// What a command has just written, which is looked at only when another counts it.
    Written(&'a [u8]),
    /// The integer that it was before the group: with both ends at 0 anything that it was, else moved by at most `up`
    /// above it (or above zero), and by at most `down` below.
    Start {
        up: u64,
        down: u64,
    },
    /// An integer in this range.
    Integer {
        least: i64,
        most: i64,
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
    /// It was an integer, at most so far above zero or below it.
    IntegerAtStart { above: u64, below: u64 },
    /// It was a plain decimal number.
    DecimalAtStart,
    /// It was a HyperLogLog.
    HyperLogLogAtStart,
    /// It fails, whatever was.
    Fails,
    /// The sum is too large, whatever was.
    Overflows,
    /// Nobody can tell.
    Undecided,
}

const ABOVE_MAX: u64 = i64::MAX as u64;
const BELOW_MAX: u64 = ABOVE_MAX + 1;

impl<'a> Value<'a> {
    pub(super) const START: Value<'static> = Value::Start { up: 0, down: 0 };
    pub(super) const ABSENT: Value<'static> = Value::Integer { least: 0, most: 0 };

    /// The same, with what is known of a text that was written.
    fn read(self) -> Value<'a> {
        let Value::Written(text) = self else { return self };
        if let Some(number) = integer(text) {
            return Value::Integer { least: number, most: number };
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
    pub(super) fn or(self, other: Value<'a>) -> Value<'a> {
        match (self.read(), other.read()) {
            (Value::Start { up, down }, Value::Integer { least, most }) => {
                // At least 1, for it is not just anything that it was.
                let (above, below) = (most.max(1).unsigned_abs(), least.min(0).unsigned_abs());
                Value::Start { up: up.saturating_add(above), down: down.saturating_add(below) }
            }
            (Value::Integer { least: a, most: b }, Value::Integer { least: c, most: d }) => {
                Value::Integer { least: a.min(c), most: b.max(d) }
            }
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
        match self.read() {
            Value::Start { up, down } => {
                let up = up.saturating_add(number.max(0).unsigned_abs());
                let down = down.saturating_add(number.min(0).unsigned_abs());
                *self = Value::Start { up, down };
                match (ABOVE_MAX.checked_sub(up), BELOW_MAX.checked_sub(down)) {
                    (Some(above), Some(below)) => Need::IntegerAtStart { above, below },
                    _ => Need::Undecided,
                }
            }
            Value::Integer { least, most } => match (least.checked_add(number), most.checked_add(number)) {
                (Some(least), Some(most)) => {
                    *self = Value::Integer { least, most };
                    Need::Nothing
                }
                (None, None) => Need::Overflows,
                _ => Need::Undecided,
            },
            Value::Text | Value::HyperLogLog => Need::Fails,
            Value::Decimal | Value::Unknown | Value::Written(_) => Need::Undecided,
        }
    }

    fn add_float(&mut self) -> Need {
        let need = match self.read() {
            Value::Start { .. } => Need::DecimalAtStart,
            Value::Integer { .. } | Value::Decimal => Need::Nothing,
            Value::Text | Value::HyperLogLog => Need::Fails,
            Value::Unknown | Value::Written(_) => Need::Undecided,
        };
        *self = Value::Decimal;
        need
    }

    /// The value must be a HyperLogLog, if it is there at all: `absent` says that it is not.
    pub(super) fn count_distinct(self, absent: bool) -> Need {
        match self.read() {
            Value::HyperLogLog => Need::Nothing,
            _ if absent => Need::Nothing,
            Value::START => Need::HyperLogLogAtStart,
            Value::Start { .. } | Value::Integer { .. } | Value::Decimal | Value::Text => Need::Fails,
            Value::Unknown | Value::Written(_) => Need::Undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_twice_leaves_room_for_both() {
        let mut value = Value::START;
        assert_eq!(value.add(1), Need::IntegerAtStart { above: ABOVE_MAX - 1, below: BELOW_MAX });
        assert_eq!(value.add(-5), Need::IntegerAtStart { above: ABOVE_MAX - 1, below: BELOW_MAX - 5 });
        assert_eq!(value.add_float(), Need::DecimalAtStart);
        assert_eq!(value.add(1), Need::Undecided, "3.5 + 0.5 is an integer again, 3.5 is not");
    }

    #[test]
    fn what_was_just_written_is_known() {
        let after = |text: &str, number| Value::Written(text.as_bytes()).add(number);
        assert_eq!(after("5", 1), Need::Nothing);
        assert_eq!(after("9223372036854775807", 1), Need::Overflows);
        assert_eq!(after("9223372036854775807", -1), Need::Nothing);
        assert_eq!(after("9223372036854775806", 1), Need::Nothing);
        assert_eq!(after("five", 1), Need::Fails);
        for text in ["5.0", "0x5", "", "HYLL", "inf", "1e3", "nan"] {
            assert_eq!(after(text, 1), Need::Undecided, "{text}");
        }
    }

    #[test]
    fn a_condition_allows_for_both_ends() {
        let mut value = Value::START.or(Value::Written(b"10"));
        assert_eq!(value.add(1), Need::IntegerAtStart { above: ABOVE_MAX - 11, below: BELOW_MAX });
        let mut value = Value::START.or(Value::Written(b"x"));
        assert_eq!(value.add(1), Need::Undecided);
        assert_eq!(Value::START.or(Value::Written(b"0")).count_distinct(false), Need::Fails, "where it was absent it is 0 now");
        assert_eq!(Value::START.or(Value::Written(b"5")).add_float(), Need::DecimalAtStart);
        let mut value = Value::ABSENT.or(Value::Written(b"10"));
        assert_eq!(value.add(1), Need::Nothing);
    }

    #[test]
    fn a_counter_is_no_hyperloglog() {
        assert_eq!(Value::START.count_distinct(false), Need::HyperLogLogAtStart);
        assert_eq!(Value::Written(b"1").count_distinct(false), Need::Fails);
        assert_eq!(Value::ABSENT.count_distinct(true), Need::Nothing);
    }
}
