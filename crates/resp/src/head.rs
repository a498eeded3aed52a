//! Determines the type and size of a reply from its first bytes.

use std::fmt;

use super::elements::skip_attributes;
use super::frame::plain_length;
use super::value;

/// What the beginning of a reply tells about all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head<'a> {
    /// A number, whole.
    Integer(i64),
    /// A status: the whole text.
    Status(&'a [u8]),
    /// A string: its length, and what of it is there.
    Bulk {
        /// How long it is.
        bytes: u64,
        /// Its beginning.
        text: &'a [u8],
    },
    /// Null, in whatever form.
    Null,
    /// An error, of whatever length.
    Error,
    /// An aggregate; a map's keys and values count one each, as they do in RESP2.
    Elements(u64),
    /// A boolean, a double, a big number, or nothing that is known.
    Other,
}

impl<'a> Head<'a> {
    /// Reads a frame, or the first piece of one.
    pub fn read(frame: &'a [u8]) -> Head<'a> {
        let frame = skip_attributes(frame);
        let Some((kind, behind)) = frame.split_first() else { return Head::Other };
        let aggregate = |each: u64| plain_length(behind).map(|(length, _)| Head::Elements(u64::from(length) * each));
        let head = match kind {
            _ if value::is_null(frame) => Some(Head::Null),
            b':' => value::integer(frame).map(Head::Integer),
            b'+' => value::simple(frame).map(Head::Status),
            b'-' | b'!' => Some(Head::Error),
            b'$' => plain_length(behind).map(|(length, used)| Head::bulk(length.into(), &behind[used..])),
            // The format of a verbatim string is three letters and a colon.
            b'=' => plain_length(behind).map(|(length, used)| {
                Head::bulk(u64::from(length).saturating_sub(4), behind.get(used + 4..).unwrap_or_default())
            }),
            b'*' | b'~' => aggregate(1),
            b'%' => aggregate(2),
            _ => None,
        };
        head.unwrap_or(Head::Other)
    }

    fn bulk(bytes: u64, behind: &'a [u8]) -> Head<'a> {
        let there = usize::try_from(bytes).unwrap_or(usize::MAX).min(behind.len());
        Head::Bulk { bytes, text: &behind[..there] }
    }
}

/// For reports: statuses and numbers as they are, of data only the size.
impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Head::Integer(number) => write!(f, "{number}"),
            Head::Status(text) => write!(f, "{}", text.escape_ascii()),
            Head::Bulk { bytes, .. } => write!(f, "a string of {bytes} bytes"),
            Head::Null => f.write_str("nil"),
            Head::Error => f.write_str("an error"),
            Head::Elements(count) => write!(f, "{count} elements"),
            Head::Other => f.write_str("something else"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_is_told_by_its_beginning() {
        for (frame, head) in [
            (&b":-7\r\n"[..], Head::Integer(-7)),
            (b"+OK\r\n", Head::Status(b"OK")),
            (b"$3\r\nabc\r\n", Head::Bulk { bytes: 3, text: b"abc" }),
            (b"$300\r\nabc", Head::Bulk { bytes: 300, text: b"abc" }),
            (b"=7\r\ntxt:abc\r\n", Head::Bulk { bytes: 3, text: b"abc" }),
            (b"$-1\r\n", Head::Null),
            (b"*-1\r\n", Head::Null),
            (b"_\r\n", Head::Null),
            (b"-ERR no\r\n", Head::Error),
            (b"!3\r\nERR\r\n", Head::Error),
            (b"*2\r\n:1\r\n", Head::Elements(2)),
            (b"%2\r\n", Head::Elements(4)),
            (b"~0\r\n", Head::Elements(0)),
            (b",1.5\r\n", Head::Other),
            (b"|1\r\n+a\r\n+b\r\n:7\r\n", Head::Integer(7)),
            (b"$", Head::Other),
            (b"", Head::Other),
        ] {
            assert_eq!(Head::read(frame), head, "{}", frame.escape_ascii());
        }
    }
}
