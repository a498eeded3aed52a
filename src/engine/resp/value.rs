//! Reads one whole reply frame: cheap typed looks, and a full decode for the cold paths.

use bytes::Bytes;
use redis_protocol::resp2;
use redis_protocol::resp3::decode::complete;
use redis_protocol::resp3::types::BytesFrame;

use super::frame::{Decimal, plain_length};
use super::scan::{ReplyScanner, ScanLimits, skip_attributes};

/// Whether the frame is an error: `-` or `!`.
pub fn is_error(frame: &[u8]) -> bool {
    matches!(own(frame).first(), Some(b'-' | b'!'))
}

/// The text of an error, without its type, length and line end; nothing for any other frame.
pub fn error_text(frame: &[u8]) -> &[u8] {
    let frame = own(frame);
    line(frame, b'-')
        .or_else(|| payload(frame, b'!'))
        .unwrap_or_default()
}

/// The number of an integer frame.
pub fn integer(frame: &[u8]) -> Option<i64> {
    let text = line(own(frame), b':')?;
    let mut decimal = Decimal::default();
    text.strip_prefix(b"+")
        .unwrap_or(text)
        .iter()
        .for_each(|&byte| decimal.push(byte));
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

/// The frame as a tree, for paths where allocation does not matter; RESP2's nulls become `Null`.
///
/// `None` if it is not exactly one well-formed frame. The order of a map's pairs is lost, and pushes within
/// an aggregate are refused with the rest of what the decoder does not take.
pub fn decode(frame: &[u8]) -> Option<BytesFrame> {
    // The decoder recurses without a bound, so the scanner goes first.
    let scanned = ReplyScanner::new(ScanLimits::default()).scan(frame).ok()?;
    if !scanned.end || scanned.bytes != frame.len() {
        return None;
    }
    let bytes = Bytes::copy_from_slice(frame);
    if let Ok(Some((decoded, _))) = complete::decode_bytes(&bytes) {
        return Some(decoded);
    }
    let (decoded, _) = resp2::decode::decode_bytes(&bytes).ok()??;
    Some(decoded.into_resp3())
}

/// The frame itself, behind its attributes and the pushes that came in between.
fn own(mut frame: &[u8]) -> &[u8] {
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
