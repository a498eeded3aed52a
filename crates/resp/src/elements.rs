//! The elements of one complete aggregate frame, as slices of it.

use super::frame::plain_length;
use super::scan::{ReplyScanner, ScanLimits};

/// The top-level elements of one whole aggregate frame, as slices, in order; keys and values alternate.
///
/// An element's slice begins with the attributes and pushes that precede it. A frame that is no aggregate
/// has no elements; at a malformed one the iterator ends.
pub fn elements(frame: &[u8]) -> Elements<'_> {
    let (rest, remaining) = open(frame).unwrap_or_default();
    Elements { rest, remaining, scanner: ReplyScanner::new(ScanLimits::WHOLE) }
}

/// See [`elements`].
#[derive(Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    remaining: u32,
    scanner: ReplyScanner,
}

impl<'a> Elements<'a> {
    /// What is behind the elements that have been taken.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.remaining = self.remaining.checked_sub(1)?;
        let mut bytes = 0;
        loop {
            let scanned = self.scanner.scan(&self.rest[bytes..]).ok().filter(|scanned| scanned.end)?;
            bytes += scanned.bytes;
            if self.scanner.top().kind != b'>' {
                break;
            }
        }
        let (element, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.remaining as usize))
    }
}

/// The pushes that precede an element within its slice, and the element itself with its attributes.
pub fn split_pushes(slice: &[u8]) -> (&[u8], &[u8]) {
    let (mut scanner, mut at) = (ReplyScanner::new(ScanLimits::WHOLE), 0);
    while slice.get(at) == Some(&b'>') {
        match scanner.scan(&slice[at..]) {
            Ok(push) if push.end && at + push.bytes < slice.len() => at += push.bytes,
            _ => break,
        }
    }
    slice.split_at(at)
}

/// What is behind an aggregate's head, and how many elements that declares.
fn open(frame: &[u8]) -> Option<(&[u8], u32)> {
    let frame = skip_attributes(frame);
    let (&kind, head) = frame.split_first()?;
    let (declared, used) = plain_length(head)?;
    let elements = match kind {
        b'*' | b'~' | b'>' => declared,
        b'%' => declared.checked_mul(2)?,
        _ => return None,
    };
    Some((&head[used..], elements))
}

/// The frame behind its attributes; nothing if they are malformed.
pub(super) fn skip_attributes(mut frame: &[u8]) -> &[u8] {
    while let [b'|', head @ ..] = frame {
        frame = behind_attributes(head).unwrap_or_default();
    }
    frame
}

fn behind_attributes(head: &[u8]) -> Option<&[u8]> {
    let (pairs, used) = plain_length(head)?;
    let mut attributes =
        Elements { rest: &head[used..], remaining: pairs.checked_mul(2)?, scanner: ReplyScanner::new(ScanLimits::WHOLE) };
    let found = attributes.by_ref().count();
    (found as u64 == u64::from(pairs) * 2).then_some(attributes.rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(frame: &[u8]) -> Vec<&[u8]> {
        elements(frame).collect()
    }

    #[test]
    fn elements_come_as_they_are_on_the_wire() {
        assert_eq!(slices(b"*3\r\n:1\r\n*1\r\n$1\r\na\r\n$-1\r\n"), [&b":1\r\n"[..], b"*1\r\n$1\r\na\r\n", b"$-1\r\n"]);
        assert_eq!(slices(b"%1\r\n+k\r\n_\r\n"), [&b"+k\r\n"[..], b"_\r\n"]);
        assert_eq!(slices(b">2\r\n+a\r\n+b\r\n").len(), 2);
        assert_eq!(slices(b"~1\r\n#t\r\n").len(), 1);
    }

    #[test]
    fn attributes_and_pushes_go_with_the_element_they_precede() {
        let frame = b"|1\r\n+a\r\n*1\r\n:0\r\n*2\r\n|1\r\n+b\r\n:9\r\n:1\r\n>1\r\n+p\r\n:2\r\n";
        assert_eq!(slices(frame), [&b"|1\r\n+b\r\n:9\r\n:1\r\n"[..], b">1\r\n+p\r\n:2\r\n"]);
    }

    #[test]
    fn pushes_are_split_off_their_element() {
        let cases: [(&[u8], &[u8], &[u8]); 5] = [
            (b":1\r\n", b"", b":1\r\n"),
            (b">1\r\n+p\r\n>1\r\n+q\r\n:2\r\n", b">1\r\n+p\r\n>1\r\n+q\r\n", b":2\r\n"),
            (b">1\r\n+p\r\n|1\r\n+b\r\n:9\r\n:1\r\n", b">1\r\n+p\r\n", b"|1\r\n+b\r\n:9\r\n:1\r\n"),
            (b">1\r\n+p\r\n", b"", b">1\r\n+p\r\n"),
            (b"", b"", b""),
        ];
        for (slice, pushes, element) in cases {
            assert_eq!(split_pushes(slice), (pushes, element));
        }
    }

    #[test]
    fn the_rest_is_what_has_not_been_taken() {
        let mut elements = elements(b"*2\r\n:1\r\n>1\r\n+p\r\n:2\r\n");
        assert_eq!(elements.next(), Some(&b":1\r\n"[..]));
        assert_eq!(elements.rest(), b">1\r\n+p\r\n:2\r\n");
        assert_eq!((elements.count(), super::elements(b":1\r\n").rest()), (1, &b""[..]));
    }

    #[test]
    fn what_is_no_aggregate_has_no_elements() {
        for frame in [&b""[..], b"+OK\r\n", b"$4\r\n*1\r\n\r\n", b"*0\r\n", b"*-1\r\n", b"|1\r\n+a\r\n", b"*", b"*1"] {
            assert_eq!(elements(frame).count(), 0);
        }
    }

    #[test]
    fn a_malformed_frame_ends_the_iteration() {
        assert_eq!(slices(b"*3\r\n:1\r\nx\r\n:1\r\n"), [b":1\r\n"]);
        assert_eq!(slices(b"*2\r\n:1\r\n:2"), [b":1\r\n"]);
    }
}
