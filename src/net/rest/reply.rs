//! Converts RESP2 replies to JSON while they arrive.
//!
//! A reply becomes `{"result": ..}` or `{"error": ".."}`. In base64 every string is encoded, at whatever depth, but a status
//! `OK` at the top; errors never are at the top. An error within an array is a string as others are: there it has no shape of
//! its own, and as an object some clients would take it for null.

use super::text::{self, Encoding, Text};

/// Arrays within arrays; what a server's script can nest is less.
const DEPTH_MAX: usize = 8200;
/// The longest status or error.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The stream of replies is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// What was taken of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub bytes: usize,
    /// The reply has come to its end with them.
    pub end: bool,
}

/// Where it stands in a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Line,
    /// Bytes of a string that are still to come.
    Payload(u64),
    /// Of its line end likewise.
    LineEnd(u8),
}

/// An array that is open.
#[derive(Debug)]
struct Level {
    left: u64,
    is_first: bool,
}

/// Writes one reply after the other.
#[derive(Debug)]
pub struct ReplyWriter {
    encoding: Encoding,
    state: State,
    line: Vec<u8>,
    levels: Vec<Level>,
    text: Text,
    /// The last reply was an error, with this text.
    error: Option<Box<[u8]>>,
}

impl ReplyWriter {
    /// Between two replies.
    pub fn new(encoding: Encoding) -> ReplyWriter {
        ReplyWriter { encoding, state: State::Line, line: Vec::new(), levels: Vec::new(), text: Text::default(), error: None }
    }

    /// The text of the last reply, if that was an error.
    pub fn error(&self) -> Option<&[u8]> {
        self.error.as_deref()
    }

    /// True when no reply has begun.
    pub fn is_between_replies(&self) -> bool {
        self.state == State::Line && self.line.is_empty() && self.levels.is_empty()
    }

    /// Takes bytes of the reply in progress, or of a new one, up to its end.
    ///
    /// # Errors
    /// This is no RESP2.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Taken, Broken> {
        if let Some(taken) = self.take_whole(bytes, out) {
            return Ok(taken);
        }
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let ended = match self.state {
                State::Line => {
                    let line_end = memchr::memchr(b'\n', rest);
                    let part = &rest[..line_end.map_or(rest.len(), |end| end + 1)];
                    at += part.len();
                    self.admit_line(part, line_end.is_some(), out)?
                }
                State::Payload(left) => {
                    let part = &rest[..rest.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                    at += part.len();
                    self.text.piece(self.encoding, part, out);
                    let left = left - part.len() as u64;
                    self.state = if left == 0 { State::LineEnd(2) } else { State::Payload(left) };
                    false
                }
                State::LineEnd(left) => {
                    at += 1;
                    if rest[0] != (if left == 2 { b'\r' } else { b'\n' }) {
                        return Err(Broken);
                    }
                    self.state = State::LineEnd(left - 1);
                    left == 1 && {
                        self.state = State::Line;
                        self.text.end(self.encoding, out);
                        out.push(b'"');
                        self.complete(out)
                    }
                }
            };
            if ended {
                return Ok(Taken { bytes: at, end: true });
            }
        }
        Ok(Taken { bytes: at, end: false })
    }

    /// Most replies are a string that is there as a whole, and such are written as they are.
    fn take_whole(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<Taken> {
        if self.encoding != Encoding::Text || !self.is_between_replies() {
            return None;
        }
        let (head, text) = short_bulk(bytes)?;
        let is_plain = text::is_plain(text);
        if !is_plain && std::str::from_utf8(text).is_err() {
            return None;
        }
        self.error = None;
        out.extend_from_slice(b"{\"result\":\"");
        if is_plain {
            out.extend_from_slice(text);
        } else {
            text::escape(text, out);
        }
        out.extend_from_slice(b"\"}");
        Some(Taken { bytes: head + text.len() + 2, end: true })
    }

    /// A part of a line, or all of it; true when the reply has ended with it.
    fn admit_line(&mut self, part: &[u8], is_end: bool, out: &mut Vec<u8>) -> Result<bool, Broken> {
        if self.line.len() + part.len() > LINE_BYTES_MAX {
            return Err(Broken);
        }
        if !is_end {
            self.line.extend_from_slice(part);
            return Ok(false);
        }
        if self.line.is_empty() {
            return self.head(part, out);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(part);
        let ended = self.head(&line, out);
        line.clear();
        self.line = line;
        ended
    }

    fn head(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<bool, Broken> {
        let line = line.strip_suffix(b"\r\n").ok_or(Broken)?;
        let (kind, rest) = line.split_first().ok_or(Broken)?;
        let is_top = self.levels.is_empty();
        if is_top {
            self.error = (*kind == b'-').then(|| rest.into());
        }
        if is_top && *kind == b'-' {
            text::error(rest, out);
            return Ok(true);
        }
        self.begin(out);
        match kind {
            b'+' if is_top && rest == b"OK" => out.extend_from_slice(b"\"OK\""),
            b'+' | b'-' => {
                out.push(b'"');
                self.text.piece(self.encoding, rest, out);
                self.text.end(self.encoding, out);
                out.push(b'"');
            }
            b':' => out.extend_from_slice(integer(rest).ok_or(Broken)?),
            b'$' | b'*' if rest == b"-1" => out.extend_from_slice(b"null"),
            b'$' => {
                self.state = State::Payload(length(rest)?);
                out.push(b'"');
                if self.state == State::Payload(0) {
                    self.state = State::LineEnd(2);
                }
                return Ok(false);
            }
            b'*' => match length(rest)? {
                0 => out.extend_from_slice(b"[]"),
                _ if self.levels.len() == DEPTH_MAX => return Err(Broken),
                left => {
                    out.push(b'[');
                    self.levels.push(Level { left, is_first: true });
                    return Ok(false);
                }
            },
            _ => return Err(Broken),
        }
        Ok(self.complete(out))
    }

    /// What stands before a value.
    fn begin(&mut self, out: &mut Vec<u8>) {
        match self.levels.last_mut() {
            None => out.extend_from_slice(b"{\"result\":"),
            Some(level) => {
                if !std::mem::replace(&mut level.is_first, false) {
                    out.push(b',');
                }
            }
        }
    }

    /// A value is complete, and with it perhaps the arrays that it is the last of; true when all of the reply is.
    fn complete(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(level) = self.levels.last_mut() {
            level.left -= 1;
            if level.left > 0 {
                return false;
            }
            self.levels.pop();
            out.push(b']');
        }
        out.push(b'}');
        true
    }
}

/// The digits of an integer, as JSON has them.
fn integer(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_integer = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_integer.then_some(text)
}

/// The bytes that stand before a bulk string of less than 10,000 bytes, and the string, if all of it is there.
fn short_bulk(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    let (head, length) = match *bytes {
        [b'$', a @ b'0'..=b'9', b'\r', b'\n', ..] => (4, number(&[a])),
        [b'$', a @ b'0'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => (5, number(&[a, b])),
        [b'$', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', b'\n', ..] => (6, number(&[a, b, c])),
        [b'$', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', d @ b'0'..=b'9', b'\r', b'\n', ..] => {
            (7, number(&[a, b, c, d]))
        }
        _ => return None,
    };
    Some((head, bytes.get(head..head + length + 2)?.strip_suffix(b"\r\n")?))
}

fn length(text: &[u8]) -> Result<u64, Broken> {
    let is_length = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_length);
    text.and_then(|text| text.parse().ok()).ok_or(Broken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use respguard_resp::encode;

    fn written(encoding: Encoding, frames: &[u8], size: usize) -> Result<Vec<String>, Broken> {
        let (mut writer, mut all, mut out) = (ReplyWriter::new(encoding), Vec::new(), Vec::new());
        for piece in frames.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() {
                let taken = writer.take(rest, &mut out)?;
                rest = &rest[taken.bytes..];
                if taken.end {
                    assert!(writer.is_between_replies());
                    all.push(String::from_utf8(std::mem::take(&mut out)).expect("JSON is UTF-8"));
                }
            }
        }
        Ok(all)
    }

    #[test]
    fn each_type_has_its_json() {
        for (frame, text, base64) in [
            ("+OK\r\n", r#"{"result":"OK"}"#, r#"{"result":"OK"}"#),
            ("+PONG\r\n", r#"{"result":"PONG"}"#, r#"{"result":"UE9ORw=="}"#),
            ("$2\r\nOK\r\n", r#"{"result":"OK"}"#, r#"{"result":"T0s="}"#),
            ("*2\r\n+OK\r\n*1\r\n+OK\r\n", r#"{"result":["OK",["OK"]]}"#, r#"{"result":["T0s=",["T0s="]]}"#),
            ("-ERR \"no\"\r\n", r#"{"error":"ERR \"no\""}"#, r#"{"error":"ERR \"no\""}"#),
            ("*2\r\n-ERR no\r\n:1\r\n", r#"{"result":["ERR no",1]}"#, r#"{"result":["RVJSIG5v",1]}"#),
            (":9223372036854775807\r\n", r#"{"result":9223372036854775807}"#, r#"{"result":9223372036854775807}"#),
            (":-5\r\n", r#"{"result":-5}"#, r#"{"result":-5}"#),
            ("$-1\r\n", r#"{"result":null}"#, r#"{"result":null}"#),
            ("*-1\r\n", r#"{"result":null}"#, r#"{"result":null}"#),
            ("$0\r\n\r\n", r#"{"result":""}"#, r#"{"result":""}"#),
            ("*0\r\n", r#"{"result":[]}"#, r#"{"result":[]}"#),
            ("*2\r\n$-1\r\n*0\r\n", r#"{"result":[null,[]]}"#, r#"{"result":[null,[]]}"#),
        ] {
            for size in 1..=frame.len() {
                assert_eq!(written(Encoding::Text, frame.as_bytes(), size), Ok(vec![text.to_owned()]), "{frame}");
                assert_eq!(written(Encoding::Base64, frame.as_bytes(), size), Ok(vec![base64.to_owned()]), "{frame}");
            }
        }
    }

    #[test]
    fn what_is_no_resp2_is_broken() {
        for frame in
            ["x\r\n", "%1\r\n", ":x\r\n", ":\r\n", "$x\r\n", "$-2\r\n", "*-2\r\n", "$1\r\nab\r\n", "+a\n", "\r\n", "$1\r\na\n\n"]
        {
            assert_eq!(written(Encoding::Text, frame.as_bytes(), frame.len()), Err(Broken), "{frame:?}");
        }
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        assert_eq!(written(Encoding::Text, &deep, deep.len()), Err(Broken));
    }

    fn frames() -> impl Strategy<Value = (Vec<u8>, Value)> {
        let scalar = prop_oneof![
            any::<i64>().prop_map(|number| (format!(":{number}\r\n").into_bytes(), json!(number))),
            any::<String>().prop_map(|text| {
                let mut frame = Vec::new();
                encode::bulk(&mut frame, text.as_bytes());
                (frame, json!(text))
            }),
            "[ -~]{0,12}".prop_map(|text| (format!("+{text}\r\n").into_bytes(), json!(text))),
            Just((b"$-1\r\n".to_vec(), Value::Null)),
        ];
        scalar.prop_recursive(4, 40, 5, |inside| {
            prop::collection::vec(inside, 0..5).prop_map(|all| {
                let mut frame = format!("*{}\r\n", all.len()).into_bytes();
                all.iter().for_each(|(bytes, _)| frame.extend_from_slice(bytes));
                (frame, Value::Array(all.into_iter().map(|(_, value)| value).collect()))
            })
        })
    }

    proptest! {
        #[test]
        fn replies_are_read_by_others_as_what_they_were(all in prop::collection::vec(frames(), 1..4), size in 1..20_usize) {
            let bytes: Vec<u8> = all.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            let written = written(Encoding::Text, &bytes, size).expect("RESP2");
            prop_assert_eq!(written.len(), all.len());
            for (json, (_, value)) in written.iter().zip(&all) {
                let read: Value = serde_json::from_str(json).expect("JSON");
                prop_assert_eq!(&read["result"], value);
            }
        }

        #[test]
        fn any_bytes_are_taken_or_broken(bytes in prop::collection::vec(any::<u8>(), 0..64), size in 1..9_usize) {
            prop_assert_eq!(written(Encoding::Base64, &bytes, size), written(Encoding::Base64, &bytes, 64));
        }
    }
}
