//! The elements of one array that arrives in pieces.

use super::frame::plain_length;
use super::scan::{ReplyScanner, ScanLimits};

/// Bytes of an element that are kept until it is told what it is: enough for its head and for the longest word that a
/// reply is compared with.
const KEPT_BYTES: usize = 512;
/// A head that is longer is none.
const HEADER_BYTES_MAX: usize = 32;

/// What a piece of an array's bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The array's own head; all of a frame that is no array.
    Header(&'a [u8]),
    /// A push amid the elements (Redis 7.0 sends a client its own messages within the reply of EXEC), or a part of one.
    Push(&'a [u8]),
    /// An element, or a part of one. The first part is the whole element, or has 512 bytes at least.
    Element {
        /// Its place in the array.
        at: u32,
        /// The part.
        bytes: &'a [u8],
        /// It begins with this part.
        first: bool,
        /// It ends with this part.
        last: bool,
    },
}

/// A frame in progress, which was found to be whole and sound by whoever hands it over.
#[derive(Debug)]
pub struct Pieces {
    scanner: ReplyScanner,
    /// The head is behind; or, when `is_array` is not true, what is there is no array.
    has_header: bool,
    is_array: bool,
    /// What cannot be told yet.
    kept: Vec<u8>,
    at: u32,
    /// A part of the element, or of a push, has been told.
    begun: bool,
}

impl Default for Pieces {
    /// At the beginning of a frame.
    fn default() -> Self {
        let scanner = ReplyScanner::new(ScanLimits::WHOLE);
        Self { scanner, has_header: false, is_array: false, kept: Vec::new(), at: 0, begun: false }
    }
}

impl Pieces {
    /// Takes the next bytes of the frame. What is kept is told with those behind it.
    pub fn admit(&mut self, bytes: &[u8], emit: &mut dyn FnMut(Piece<'_>)) {
        let mut rest = if self.has_header { bytes } else { self.take_header(bytes, emit) };
        while !rest.is_empty() {
            if !self.is_array {
                return emit(Piece::Header(rest));
            }
            let Ok(scanned) = self.scanner.scan(rest) else {
                self.is_array = false;
                continue;
            };
            let (part, behind) = rest.split_at(scanned.bytes);
            rest = behind;
            self.emit_part(part, scanned.end, emit);
        }
    }

    fn take_header<'a>(&mut self, bytes: &'a [u8], emit: &mut dyn FnMut(Piece<'_>)) -> &'a [u8] {
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let (head, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.kept.extend_from_slice(head);
        if end.is_some() || self.kept.len() > HEADER_BYTES_MAX {
            self.has_header = true;
            self.is_array = self.kept.first() == Some(&b'*') && plain_length(&self.kept[1..]).is_some();
            emit(Piece::Header(&self.kept));
            self.kept.clear();
        }
        rest
    }

    fn emit_part(&mut self, part: &[u8], last: bool, emit: &mut dyn FnMut(Piece<'_>)) {
        if !last && !self.begun && self.kept.len() + part.len() < KEPT_BYTES {
            return self.kept.extend_from_slice(part);
        }
        let joined;
        let bytes = if self.kept.is_empty() {
            part
        } else {
            self.kept.extend_from_slice(part);
            joined = std::mem::take(&mut self.kept);
            &joined
        };
        let is_push = self.scanner.top().kind == b'>';
        emit(if is_push { Piece::Push(bytes) } else { Piece::Element { at: self.at, bytes, first: !self.begun, last } });
        self.begun = !last;
        self.at += u32::from(last && !is_push);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a frame that comes in pieces of `size` bytes: for each element its bytes, then all bytes.
    fn told(frame: &[u8], size: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut pieces, mut elements, mut all) = (Pieces::default(), Vec::<Vec<u8>>::new(), Vec::new());
        for bytes in frame.chunks(size) {
            pieces.admit(bytes, &mut |piece| match piece {
                Piece::Header(bytes) | Piece::Push(bytes) => all.extend_from_slice(bytes),
                Piece::Element { at, bytes, first, last } => {
                    all.extend_from_slice(bytes);
                    assert!(!first || last || bytes.len() >= KEPT_BYTES, "the first part tells what it is");
                    if first {
                        elements.push(Vec::new());
                    }
                    assert_eq!(at as usize + 1, elements.len());
                    elements[at as usize].extend_from_slice(bytes);
                }
            });
        }
        (elements, all)
    }

    #[test]
    fn an_array_is_the_same_however_it_is_cut() {
        let long = format!("$2000\r\n{}\r\n", "x".repeat(2000)).into_bytes();
        let mut frame = b"*5\r\n:1\r\n*2\r\n$1\r\na\r\n*-1\r\n>2\r\n+m\r\n:9\r\n-ERR no\r\n".to_vec();
        frame.extend_from_slice(&long);
        frame.extend_from_slice(b"_\r\n");
        let expected = [&b":1\r\n"[..], b"*2\r\n$1\r\na\r\n*-1\r\n", b"-ERR no\r\n", &long, b"_\r\n"];
        for size in 1..frame.len() + 1 {
            let (elements, all) = told(&frame, size);
            assert_eq!(elements, expected, "in pieces of {size}");
            assert_eq!(all, frame, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_array_goes_by_as_it_is() {
        for frame in [
            &b"*-1\r\n"[..],
            b"_\r\n",
            b"-EXECABORT Transaction discarded because of previous errors.\r\n",
            b"+OK\r\n",
            b"*0\r\n",
        ] {
            for size in 1..frame.len() + 1 {
                assert_eq!(told(frame, size), (Vec::new(), frame.to_vec()));
            }
        }
    }
}
