//! Removes the credentials from a client's byte stream, however it is split.

use super::credential::{is_credential, may_carry_credentials};
use respguard_resp::encode;
use respguard_resp::request::{Args, Limits, Parsed, ProtocolError, RequestParser, Span};

/// Stands for a credential; it does not tell how long that is.
pub const MASK: &[u8] = b"***";

/// Requests up to this size are looked at whole.
const WHOLE_BYTES_MAX: usize = 64 * 1024;

/// One client's requests on their way to somebody who may read them.
///
/// Bytes are passed as soon as they are known to be harmless: those of a request without credentials as they come,
/// those of another, or of one whose name has not come yet, when it is whole.
#[derive(Debug)]
pub struct Redactor {
    parser: RequestParser,
    /// The request that has begun.
    begun: Vec<u8>,
    /// How many of its bytes have been passed.
    passed: usize,
    spans: Vec<Span>,
    arena: Vec<u8>,
    streaming: Option<Streaming>,
}

/// What happens to the rest of a request that is too long to be looked at whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streaming {
    Passed,
    Withheld,
}

impl Default for Redactor {
    /// A redactor before the first byte of a request.
    fn default() -> Redactor {
        Redactor {
            parser: RequestParser::new(Limits::default()),
            begun: Vec::new(),
            passed: 0,
            spans: Vec::new(),
            arena: Vec::new(),
            streaming: None,
        }
    }
}

impl Redactor {
    /// Appends to `out` what may be shown of everything up to and with `bytes`.
    ///
    /// # Errors
    /// The bytes are no requests, so nothing behind them can be told from a password.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let rest = self.stream(bytes, out)?;
        self.begun.extend_from_slice(rest);
        let begun = std::mem::take(&mut self.begun);
        let taken = self.requests(&begun, out);
        self.begun = begun;
        self.begun.drain(..taken?);
        Ok(())
    }

    /// Passes whole requests, and of the last one what can be passed; how many bytes are done with.
    fn requests(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.parser.parse(rest, &mut self.spans, &mut self.arena, WHOLE_BYTES_MAX) {
                Parsed::Request { bytes: length, inline } => {
                    self.pass_request(&rest[..length], inline, out);
                    at += length;
                }
                Parsed::Nothing { bytes: length } => {
                    out.extend_from_slice(&rest[self.passed..length]);
                    self.forget();
                    at += length;
                }
                Parsed::Incomplete => {
                    if self.is_harmless(rest) {
                        out.extend_from_slice(&rest[self.passed..]);
                        self.passed = rest.len();
                    }
                    break;
                }
                Parsed::Large => {
                    self.begin_stream(rest, out);
                    let parsed = self.parser.parsed_bytes();
                    self.forget();
                    let behind = self.stream(&rest[parsed..], out)?;
                    at = bytes.len() - behind.len();
                }
                Parsed::Error(error) => return Err(error),
            }
        }
        Ok(at)
    }

    fn pass_request(&mut self, wire: &[u8], inline: bool, out: &mut Vec<u8>) {
        let args = Args::new(if inline { &self.arena } else { wire }, &self.spans);
        if (0..args.len()).any(|at| is_credential(args, at)) {
            let words = args.iter().enumerate().map(|(at, word)| if is_credential(args, at) { MASK } else { word });
            encode::request(out, &words.collect::<Vec<_>>());
        } else {
            out.extend_from_slice(&wire[self.passed..]);
        }
        self.forget();
    }

    /// Whether the request that has begun carries no credentials, as far as its name tells.
    fn is_harmless(&self, begun: &[u8]) -> bool {
        Args::new(begun, &self.spans).get(0).is_some_and(|name| !may_carry_credentials(name))
    }

    /// Passes the head of a request that is too long, or stands in for the request.
    fn begin_stream(&mut self, rest: &[u8], out: &mut Vec<u8>) {
        if self.is_harmless(rest) {
            out.extend_from_slice(&rest[self.passed..self.parser.parsed_bytes().max(self.passed)]);
            self.streaming = Some(Streaming::Passed);
            return;
        }
        match Args::new(rest, &self.spans).get(0) {
            Some(name) => encode::request(out, &[name, MASK]),
            None => encode::request(out, &[MASK]),
        }
        self.streaming = Some(Streaming::Withheld);
    }

    /// Takes the bytes of the request that is too long; what is behind it.
    fn stream<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> Result<&'b [u8], ProtocolError> {
        let Some(streaming) = self.streaming else { return Ok(bytes) };
        let streamed = self.parser.stream(bytes)?;
        if streaming == Streaming::Passed {
            out.extend_from_slice(&bytes[..streamed.bytes]);
        }
        if streamed.end {
            self.streaming = None;
        }
        Ok(&bytes[streamed.bytes..])
    }

    fn forget(&mut self) {
        self.spans.clear();
        self.arena.clear();
        self.passed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(pieces: &[&[u8]]) -> String {
        let (mut redactor, mut out) = (Redactor::default(), Vec::new());
        for piece in pieces {
            redactor.pass(piece, &mut out).expect("requests");
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    fn request(words: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::request(&mut out, words);
        out
    }

    #[test]
    fn requests_cut_at_every_byte_are_passed_without_their_passwords() {
        let mut sent = b"PING\r\nauth \"se cret\"\r\n\r\n".to_vec();
        sent.extend(request(&[b"HELLO", b"3", b"AUTH", b"app", b"se cret"]));
        sent.extend(request(&[b"SET", b"k", b"v"]));
        let mut wanted = b"PING\r\n".to_vec();
        wanted.extend(request(&[b"auth", MASK]));
        wanted.extend(b"\r\n");
        wanted.extend(request(&[b"HELLO", b"3", b"AUTH", MASK, MASK]));
        wanted.extend(request(&[b"SET", b"k", b"v"]));
        let wanted = String::from_utf8(wanted).expect("text");
        for cut in 0..=sent.len() {
            assert_eq!(redacted(&[&sent[..cut], &sent[cut..]]), wanted, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = sent.chunks(1).collect();
        assert_eq!(redacted(&bytes), wanted);
    }

    #[test]
    fn what_is_harmless_is_passed_before_it_is_whole() {
        assert_eq!(redacted(&[b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhal"]), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhal");
        assert_eq!(redacted(&[b"*2\r\n$4\r\nAUTH\r\n$6\r\nsec"]), "");
        assert_eq!(redacted(&[b"*2\r\n$4\r\nAU"]), "");
    }

    #[test]
    fn a_long_request_is_passed_as_it_comes_and_a_long_password_never() {
        let large = request(&[b"SET", b"k", &[b'x'; 200_000]]);
        let mut sent = large.clone();
        sent.extend(request(&[b"AUTH", &[b's'; 200_000]]));
        sent.extend(request(&[b"PING"]));
        let mut wanted = large;
        wanted.extend(request(&[b"AUTH", MASK]));
        wanted.extend(request(&[b"PING"]));
        let wanted = String::from_utf8(wanted).expect("text");
        for size in [1000, 65_536, 70_001, sent.len()] {
            let pieces: Vec<&[u8]> = sent.chunks(size).collect();
            assert!(redacted(&pieces) == wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn behind_bytes_that_are_no_request_nothing_is_passed() {
        let (mut redactor, mut out) = (Redactor::default(), Vec::new());
        assert!(redactor.pass(b"*1\r\n+OK\r\nAUTH secret\r\n", &mut out).is_err());
        assert!(redactor.pass(b"AUTH secret\r\n", &mut out).is_err());
        assert_eq!(String::from_utf8_lossy(&out), "");
    }
}
