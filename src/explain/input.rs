//! Splits the input into the batches that the client sent at once.

use crate::net::whole_limits::STREAM_BYTES;
use respguard_engine::session::affinity::Reason;
use respguard_resp::request::{Limits, Parsed, ProtocolError, RequestParser};

/// Requests that were sent in one go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// The line of its first request, from 1.
    pub(super) line: usize,
    pub(super) bytes: &'a [u8],
}

/// Why the input cannot be explained.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message} (expected {expected})")]
pub struct InputError {
    /// From 1.
    pub line: usize,
    pub message: String,
    pub expected: String,
}

/// Ends an inline request that the end of the input ends.
pub(super) fn end_last_line(input: &mut Vec<u8>) {
    if input.last().is_some_and(|&byte| byte != b'\n') {
        input.push(b'\n');
    }
}

/// The requests, parted where a blank line stands between two of them.
pub(super) fn pieces(input: &[u8]) -> Result<Vec<Piece<'_>>, InputError> {
    let mut pieces = Vec::new();
    let mut parser = RequestParser::new(Limits::default());
    let (mut start, mut at) = (Place::default(), Place::default());
    while at.byte < input.len() {
        let end = at.behind(input, length(&mut parser, &input[at.byte..]).map_err(|refusal| refusal.at(at.line()))?);
        if is_blank(&input[at.byte..end.byte]) {
            push(&mut pieces, input, start, at);
            start = end;
        }
        at = end;
    }
    push(&mut pieces, input, start, at);
    Ok(pieces)
}

fn push<'a>(pieces: &mut Vec<Piece<'a>>, input: &'a [u8], start: Place, end: Place) {
    if start.byte < end.byte {
        pieces.push(Piece { line: start.line(), bytes: &input[start.byte..end.byte] });
    }
}

/// A place in the input, with the lines before it: counted on from place to place, for there may be as many as bytes.
#[derive(Clone, Copy, Default)]
struct Place {
    byte: usize,
    lines: usize,
}

impl Place {
    fn behind(self, input: &[u8], bytes: usize) -> Place {
        let byte = self.byte + bytes;
        Place { byte, lines: self.lines + memchr::memchr_iter(b'\n', &input[self.byte..byte]).count() }
    }

    /// From 1.
    fn line(self) -> usize {
        self.lines + 1
    }
}

/// A request that cannot be explained.
enum Refusal {
    Protocol(ProtocolError),
    Large,
    Unfinished,
}

/// Bytes of the request, or of the blank line, that `rest` begins with.
fn length(parser: &mut RequestParser, rest: &[u8]) -> Result<usize, Refusal> {
    match parser.parse(rest, &mut Vec::new(), &mut Vec::new(), STREAM_BYTES) {
        Parsed::Request { bytes, .. } | Parsed::Nothing { bytes } => Ok(bytes),
        Parsed::Incomplete => Err(Refusal::Unfinished),
        Parsed::Large => Err(Refusal::Large),
        Parsed::Error(error) => Err(Refusal::Protocol(error)),
    }
}

impl Refusal {
    fn at(self, line: usize) -> InputError {
        let (message, expected) = match self {
            Refusal::Protocol(error) => (error.to_string(), expected_instead(error).to_owned()),
            Refusal::Large => (
                format!("the request is too long: such a request may need a connection of its own ({})", Reason::Large.as_str()),
                format!("at most {STREAM_BYTES} bytes"),
            ),
            Refusal::Unfinished => ("the request is not whole".to_owned(), "all arguments that it announces".to_owned()),
        };
        InputError { line, message, expected }
    }
}

fn expected_instead(error: ProtocolError) -> &'static str {
    match error {
        ProtocolError::UnbalancedQuotes => "a closing quote, and a blank or the line's end behind it",
        ProtocolError::TooBigInlineRequest => "a shorter line",
        _ => {
            "requests as redis-cli reads them, or `*<arguments>` and for each of them `$<bytes>` and the bytes, every line ended by CR LF"
        }
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_whitespace)
}

pub(super) fn line(input: &[u8], at: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &input[..at]).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(input: &str) -> Vec<(usize, String)> {
        let pieces = pieces(input.as_bytes()).expect("the input is good");
        pieces.iter().map(|piece| (piece.line, String::from_utf8_lossy(piece.bytes).into_owned())).collect()
    }

    #[test]
    fn blank_lines_part_what_was_sent_in_one_go() {
        let parted = parted("\nGET a\nGET b\r\n\n  \r\nGET c\n");
        assert_eq!(parted, [(2, "GET a\nGET b\r\n".to_owned()), (6, "GET c\n".to_owned())]);
    }

    #[test]
    fn a_blank_line_within_an_argument_parts_nothing() {
        let set = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n\n\n\n\n\r\n";
        assert_eq!(parted(&format!("{set}\r\n{set}")).len(), 2);
        assert_eq!(parted(&format!("{set}{set}")), [(1, format!("{set}{set}"))]);
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_line() {
        for (input, line, message) in [
            ("GET a\n\nGET \"b\n", 3, "unbalanced quotes"),
            ("*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI\n", 4, "not whole"),
            ("*1\r\n+OK\r\n", 1, "expected '$', got '+'"),
        ] {
            let error = pieces(input.as_bytes()).expect_err("refused");
            assert_eq!(error.line, line, "{input:?}");
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn a_request_of_64_kib_is_explained_and_a_longer_one_refused() {
        let request = |bytes: usize| format!("*2\r\n$4\r\nECHO\r\n${bytes}\r\n{}\r\n", "x".repeat(bytes));
        let around = request(60_000).len() - 60_000;
        assert!(pieces(request(STREAM_BYTES - around).as_bytes()).is_ok());
        let error = pieces(request(STREAM_BYTES - around + 1).as_bytes()).expect_err("refused");
        assert!(error.message.contains(Reason::Large.as_str()));
    }
}
