//! Reads one complete reply frame by cheap typed accessors.

use super::elements::skip_attributes;
use super::frame::{Decimal, plain_length};
use super::scan::{ReplyScanner, ScanLimits};

/// Whether the frame is an error: `-` or `!`.
pub fn is_error(frame: &[u8]) -> bool {
    matches!(own(frame).first(), Some(b'-' | b'!'))
}

/// The text of an error, without its type, length and line end; nothing for any other frame.
pub fn error_text(frame: &[u8]) -> &[u8] {
    let frame = own(frame);
    line(frame, b'-').or_else(|| payload(frame, b'!')).unwrap_or_default()
}

/// The number of an integer frame.
pub fn integer(frame: &[u8]) -> Option<i64> {
    let text = line(own(frame), b':')?;
    let mut decimal = Decimal::default();
    text.strip_prefix(b"+").unwrap_or(text).iter().for_each(|&byte| decimal.push(byte));
    decimal.value()
}

/// The payload of a bulk string, or of a verbatim string without its format; `None` for null too.
pub fn bulk(frame: &[u8]) -> Option<&[u8]> {
    let frame = own(frame);
    // The format of a verbatim string is three letters and a colon.
    payload(frame, b'$').or_else(|| payload(frame, b'=')?.get(4..))
}

/// The text of a simple string.
pub fn simple(frame: &[u8]) -> Option<&[u8]> {
    line(own(frame), b'+')
}

/// Whether the frame is a null of either protocol.
pub fn is_null(frame: &[u8]) -> bool {
    matches!(own(frame), b"_\r\n" | b"$-1\r\n" | b"*-1\r\n")
}

/// The frame itself, behind its attributes and the pushes that came in between: most have neither.
#[inline]
fn own(frame: &[u8]) -> &[u8] {
    if matches!(frame.first(), Some(b'|' | b'>')) { behind_others(frame) } else { frame }
}

fn behind_others(mut frame: &[u8]) -> &[u8] {
    loop {
        frame = skip_attributes(frame);
        if frame.first() != Some(&b'>') {
            return frame;
        }
        match ReplyScanner::new(ScanLimits::WHOLE).scan(frame) {
            Ok(push) if push.end && push.bytes < frame.len() => frame = &frame[push.bytes..],
            _ => return frame,
        }
    }
}

fn line(frame: &[u8], kind: u8) -> Option<&[u8]> {
    frame.strip_prefix(&[kind])?.strip_suffix(b"\r\n")
}

fn payload(frame: &[u8], kind: u8) -> Option<&[u8]> {
    let head = frame.strip_prefix(&[kind])?;
    let (length, used) = plain_length(head)?;
    head.get(used..used + length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reading_takes_its_own_type_and_no_other() {
        assert_eq!(simple(b"+QUEUED\r\n"), Some(&b"QUEUED"[..]));
        assert_eq!(simple(b"-ERR\r\n"), None);
        assert_eq!(integer(b":-42\r\n"), Some(-42));
        assert_eq!(integer(b":+42\r\n"), Some(42));
        assert_eq!(integer(b"$2\r\n42\r\n"), None);
        assert_eq!(bulk(b"$2\r\n42\r\n"), Some(&b"42"[..]));
        assert_eq!(bulk(b"=6\r\ntxt:42\r\n"), Some(&b"42"[..]));
        assert_eq!(bulk(b"$0\r\n\r\n"), Some(&b""[..]));
        assert_eq!(bulk(b"$-1\r\n"), None);
        assert_eq!(bulk(b"$9\r\nshort\r\n"), None);
    }

    #[test]
    fn errors_of_both_protocols_are_read_alike() {
        for frame in [&b"-ERR no\r\n"[..], b"!6\r\nERR no\r\n"] {
            assert!(is_error(frame));
            assert_eq!(error_text(frame), b"ERR no");
        }
        assert!(!is_error(b"+ERR no\r\n"));
        assert_eq!(error_text(b"+ERR no\r\n"), b"");
    }

    #[test]
    fn nulls_are_nulls() {
        assert!(is_null(b"$-1\r\n") && is_null(b"*-1\r\n") && is_null(b"_\r\n"));
        assert!(!is_null(b"$0\r\n\r\n") && !is_null(b"*0\r\n") && !is_null(b""));
    }

    #[test]
    fn what_precedes_a_frame_is_looked_past() {
        assert!(is_error(b"|1\r\n+a\r\n:1\r\n-ERR no\r\n"));
        assert_eq!(integer(b">1\r\n+p\r\n>1\r\n+p\r\n|1\r\n+a\r\n:1\r\n:7\r\n"), Some(7));
        assert_eq!(own(b">1\r\n+p\r\n"), b">1\r\n+p\r\n");
    }
}
