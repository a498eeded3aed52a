//! Compares amounts and TTLs by value, whatever their units.

use super::integer::integer;

/// A number together with the word in front of it in a canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Milliseconds from now.
    FromNow(i64),
    /// Milliseconds since the epoch.
    At(i64),
    /// What a number is changed by.
    Change(i64),
}

/// The word in front of a time to live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeKind {
    /// EX: seconds from now.
    Ex,
    /// PX: milliseconds from now.
    Px,
    /// EXAT: seconds since the epoch.
    ExAt,
    /// PXAT: milliseconds since the epoch.
    PxAt,
}

impl TimeKind {
    /// The word of a canonical form.
    pub fn of(word: &[u8]) -> Option<TimeKind> {
        match word {
            b"EX" => Some(TimeKind::Ex),
            b"PX" => Some(TimeKind::Px),
            b"EXAT" => Some(TimeKind::ExAt),
            b"PXAT" => Some(TimeKind::PxAt),
            _ => None,
        }
    }

    /// The value of the number after the keyword, if it is one.
    pub fn measure(self, number: &[u8]) -> Option<Measure> {
        let number = integer(number)?;
        match self {
            TimeKind::Ex => number.checked_mul(1000).map(Measure::FromNow),
            TimeKind::Px => Some(Measure::FromNow(number)),
            TimeKind::ExAt => number.checked_mul(1000).map(Measure::At),
            TimeKind::PxAt => Some(Measure::At(number)),
        }
    }
}

impl Measure {
    /// What the two words mean; `None` where the second is no number, or the first says of none what it is.
    pub fn read(kind: &[u8], number: &[u8]) -> Option<Measure> {
        match kind {
            b"+" => integer(number).map(Measure::Change),
            b"-" => integer(number)?.checked_neg().map(Measure::Change),
            _ => TimeKind::of(kind)?.measure(number),
        }
    }

    /// Whether a number after this keyword is a TTL.
    pub fn is_time(kind: &[u8]) -> bool {
        TimeKind::of(kind).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(text: &str) -> Option<Measure> {
        let (kind, number) = text.split_once(' ').expect("two words");
        Measure::read(kind.as_bytes(), number.as_bytes())
    }

    #[test]
    fn seconds_and_milliseconds_are_one_time() {
        assert_eq!(measure("EX 60"), measure("PX 60000"));
        assert_eq!(measure("EXAT 60"), measure("PXAT 60000"));
        assert_ne!(measure("EX 60"), measure("EXAT 60"));
        assert_ne!(measure("EX 60"), measure("PX 60001"));
    }

    #[test]
    fn counting_down_is_counting_up_by_less_than_nothing() {
        assert_eq!(measure("- 1"), measure("+ -1"));
        assert_eq!(measure("- -3"), measure("+ 3"));
        assert_ne!(measure("+ 60000"), measure("PX 60000"));
    }

    #[test]
    fn what_is_no_number_or_too_large_a_one_has_no_measure() {
        assert_eq!([measure("EX x"), measure("EX 9223372036854775807"), measure("- -9223372036854775808")], [None; 3]);
        assert_eq!(measure("NX 1"), None);
    }
}
