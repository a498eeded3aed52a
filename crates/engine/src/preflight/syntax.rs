//! Checks arguments without asking the server: numbers, ranges, ids, words, times.
//!
//! Where Redis reads more than stands here (hexadecimal floats, options of newer versions), the request is refused: a
//! group that is refused without need is told so, a group that is torn is not.

use super::Fault;
use crate::command::integer::integer as read_integer;

pub(super) const SYNTAX: &str = "ERR syntax error";
pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(super) const NOT_A_FLOAT: &str = "ERR value is not a valid float";
pub(super) const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";
pub(super) const BAD_ID: &str = "ERR Invalid stream ID specified as stream command argument";
const BAD_SCORE_RANGE: &str = "ERR min or max is not a float";
const BAD_LEX_RANGE: &str = "ERR min or max not valid string range item";
const BAD_CURSOR: &str = "ERR invalid cursor";

/// Milliseconds that are added to a time from now on: what is above may pass the largest number.
const RELATIVE_MAX: i64 = i64::MAX - 100_000_000_000_000;

/// A number as the commands with floats read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    /// Digits with at most one point.
    Plain,
    /// With an exponent.
    Scientific,
    Infinite,
}

/// What kind of float the text is; `None` for none, or for one that only Redis reads.
pub(super) fn float(text: &[u8]) -> Option<Float> {
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Some(Float::Infinite);
    }
    let digits = unsigned.iter().filter(|byte| byte.is_ascii_digit()).count();
    let points = unsigned.iter().filter(|byte| **byte == b'.').count();
    if digits > 0 && points <= 1 && digits + points == unsigned.len() {
        return (unsigned.len() <= PLAIN_DIGITS_MAX).then_some(Float::Plain);
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let normal = number.is_finite() && number != 0.0 && unsigned.first().is_some_and(u8::is_ascii_digit);
    normal.then_some(Float::Scientific)
}

/// What INCRBYFLOAT itself writes is no longer.
pub(super) const PLAIN_DIGITS_MAX: usize = 300;

pub(super) fn integer(text: &[u8]) -> Result<i64, Fault> {
    read_integer(text).ok_or(Fault::new(NOT_AN_INTEGER))
}

pub(super) fn integer_from(text: &[u8], least: i64, error: &'static str) -> Result<i64, Fault> {
    read_integer(text).filter(|number| *number >= least).ok_or(Fault::new(error))
}

/// A float that may be infinite.
pub(super) fn number(text: &[u8], error: &'static str) -> Result<Float, Fault> {
    float(text).ok_or(Fault::new(error))
}

/// A float that is not.
pub(super) fn finite(text: &[u8], error: &'static str) -> Result<Float, Fault> {
    number(text, error).and_then(|kind| if kind == Float::Infinite { Err(Fault::new(error)) } else { Ok(kind) })
}

pub(super) fn is(text: &[u8], word: &str) -> bool {
    text.eq_ignore_ascii_case(word.as_bytes())
}

/// Notes an option that Redis takes only once: a second one is no syntax of it.
pub(super) fn once(said: &mut bool) -> Result<(), Fault> {
    if std::mem::replace(said, true) { Err(Fault::new(SYNTAX)) } else { Ok(()) }
}

pub(super) fn one_of(text: &[u8], words: &[&str]) -> Result<(), Fault> {
    if words.iter().any(|word| is(text, word)) { Ok(()) } else { Err(Fault::new(SYNTAX)) }
}

/// A time as SET and kin take it: above zero, and far from the largest number.
pub(super) fn expiry(text: &[u8], seconds: bool, command: &str) -> Result<(), Fault> {
    let number = integer(text)?;
    let most = if seconds { RELATIVE_MAX / 1000 } else { RELATIVE_MAX };
    if (1..=most).contains(&number) { Ok(()) } else { Err(invalid_expire(command)) }
}

/// A time as EXPIRE and kin take it: it may have passed.
pub(super) fn deadline(text: &[u8], seconds: bool, command: &str) -> Result<i64, Fault> {
    let number = integer(text)?;
    let most = if seconds { RELATIVE_MAX / 1000 } else { RELATIVE_MAX };
    if (-most..=most).contains(&number) { Ok(number) } else { Err(invalid_expire(command)) }
}

fn invalid_expire(command: &str) -> Fault {
    Fault::Certain(format!("ERR invalid expire time in '{command}' command").into())
}

/// An end of a range of scores: `5`, `(5`, `-inf`.
pub(super) fn score_bound(text: &[u8]) -> Result<(), Fault> {
    float(text.strip_prefix(b"(").unwrap_or(text)).map(|_| ()).ok_or(Fault::new(BAD_SCORE_RANGE))
}

/// An end of a range of members: `-`, `+`, `[a`, `(a`.
pub(super) fn lex_bound(text: &[u8]) -> Result<(), Fault> {
    match text {
        b"-" | b"+" | [b'[' | b'(', ..] => Ok(()),
        _ => Err(Fault::new(BAD_LEX_RANGE)),
    }
}

/// Where a scan goes on.
pub(super) fn cursor(text: &[u8]) -> Result<(), Fault> {
    let plain = !text.is_empty() && text.len() <= CURSOR_DIGITS_MAX && text.iter().all(u8::is_ascii_digit);
    if plain { Ok(()) } else { Err(Fault::new(BAD_CURSOR)) }
}

/// So many digits always fit.
const CURSOR_DIGITS_MAX: usize = 19;

/// A stream id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId {
    pub(super) milliseconds: u64,
    pub(super) sequence: u64,
}

impl StreamId {
    /// Behind it a stream gives none.
    pub(super) const LAST: StreamId = StreamId { milliseconds: u64::MAX, sequence: u64::MAX };

    /// The one right behind it.
    pub(super) fn next(self) -> Option<StreamId> {
        match (self.sequence.checked_add(1), self.milliseconds.checked_add(1)) {
            (Some(sequence), _) => Some(StreamId { sequence, ..self }),
            (None, Some(milliseconds)) => Some(StreamId { milliseconds, sequence: 0 }),
            (None, None) => None,
        }
    }
}

/// `ms-seq`, or `ms` alone with the sequence that is given.
pub(super) fn stream_id(text: &[u8], sequence: u64) -> Result<StreamId, Fault> {
    let mut halves = text.splitn(2, |byte| *byte == b'-');
    let milliseconds = halves.next().and_then(half);
    let sequence = match halves.next() {
        Some(text) => half(text),
        None => Some(sequence),
    };
    match (milliseconds, sequence) {
        (Some(milliseconds), Some(sequence)) => Ok(StreamId { milliseconds, sequence }),
        _ => Err(Fault::new(BAD_ID)),
    }
}

/// A half of a stream id, or any unsigned integer.
pub(super) fn half(text: &[u8]) -> Option<u64> {
    let canonical =
        text == b"0" || (text.first().is_some_and(|first| (b'1'..=b'9').contains(first)) && text.iter().all(u8::is_ascii_digit));
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// An end of a range of a stream: `-`, `+`, an id, `(id`.
pub(super) fn stream_bound(text: &[u8]) -> Result<(), Fault> {
    match text {
        b"-" | b"+" => Ok(()),
        [b'(', id @ ..] => {
            let id = stream_id(id, 1)?;
            // At the very ends nothing is left behind an open bound: Redis refuses it there.
            let inner = id.milliseconds > 0 && id.milliseconds < u64::MAX;
            if inner { Ok(()) } else { Err(Fault::new("ERR invalid start ID for the interval")) }
        }
        _ => stream_id(text, 0).map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_read_as_far_as_both_sides_agree() {
        for text in ["0", "-1", "+1", "1.5", ".5", "5.", "007", "-0.0"] {
            assert_eq!(float(text.as_bytes()), Some(Float::Plain), "{text}");
        }
        for text in ["1e5", "-1.5E-3", "2e308"] {
            let kind = float(text.as_bytes());
            assert_eq!(kind, if text == "2e308" { None } else { Some(Float::Scientific) }, "{text}");
        }
        for text in ["inf", "-INF", "+Infinity"] {
            assert_eq!(float(text.as_bytes()), Some(Float::Infinite), "{text}");
        }
        for text in ["", "-", ".", "1 ", " 1", "nan", "0x10", "1e", "e5", "1e-400", "1.2.3", "--1"] {
            assert_eq!(float(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_end_before_the_largest_number() {
        let fits = |text: &str, seconds| expiry(text.as_bytes(), seconds, "set").is_ok();
        assert!(fits("1", true) && fits("9223372036854775", false));
        assert!(!fits("0", true) && !fits("-1", true) && !fits("9223372036854775", true) && !fits("x", true));
        assert!(!fits("9223372036854775807", false));
        assert_eq!(deadline(b"-5", true, "expire"), Ok(-5));
    }

    #[test]
    fn ids_have_one_or_two_halves() {
        assert_eq!(stream_id(b"5-7", 0), Ok(StreamId { milliseconds: 5, sequence: 7 }));
        assert_eq!(stream_id(b"18446744073709551615", 3), Ok(StreamId { milliseconds: u64::MAX, sequence: 3 }));
        for text in ["", "-", "5-", "-5", "5-7-9", "05", "18446744073709551616", "a", "5-*"] {
            assert!(stream_id(text.as_bytes(), 0).is_err(), "{text}");
        }
        assert!(stream_bound(b"(5-1").is_ok() && stream_bound(b"(0-0").is_err() && stream_bound(b"+").is_ok());
    }

    #[test]
    fn bounds_of_ranges_have_their_own_forms() {
        assert!(score_bound(b"(1.5").is_ok() && score_bound(b"-inf").is_ok() && score_bound(b"((1").is_err());
        assert!(lex_bound(b"[").is_ok() && lex_bound(b"+").is_ok() && lex_bound(b"a").is_err() && lex_bound(b"+a").is_err());
    }
}
