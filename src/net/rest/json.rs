//! Parses the commands in a request's JSON body (<https://www.rfc-editor.org/rfc/rfc8259>).

use respguard_resp::request::{Args, Span};

use super::text::special;

/// The arguments of one command, the command's name first.
#[derive(Debug, Default)]
pub struct Arguments {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Arguments {
    /// The arguments in order.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }

    /// None are there any more.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// Adds one.
    pub fn push(&mut self, argument: &[u8]) {
        self.add(|bytes| bytes.extend_from_slice(argument));
    }

    fn add<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        self.spans.push(Span { start: place(start), end: place(self.bytes.len()) });
        written
    }
}

/// Bodies are bounded far below 4 GiB.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// What is wrong with a body, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    pub at: usize,
    why: &'static str,
}

impl Malformed {
    /// In words, with the place as editors count it.
    pub fn text(&self, body: &[u8]) -> String {
        let before = &body[..self.at.min(body.len())];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let column = 1 + before.len() - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        format!("ERR respguard: the body is malformed: {} (byte {}, line {line}, column {column})", self.why, self.at + 1)
    }
}

/// Reads one command, `["SET", "k", 5]`: numbers as they are written, `true`, `false` and `null` as these words.
///
/// # Errors
/// The body is something else.
pub fn command(body: &[u8], into: &mut Arguments) -> Result<(), Malformed> {
    let mut reader = Reader::new(body)?;
    reader.command(into)?;
    reader.end()
}

/// Reads many, `[["SET", "k", 5], ["GET", "k"]]`, and hands each over. What is handed over before an error is void.
///
/// # Errors
/// The body is something else.
pub fn commands(body: &[u8], take: &mut dyn FnMut(Args<'_>)) -> Result<(), Malformed> {
    let mut arguments = Arguments::default();
    let mut reader = Reader::new(body)?;
    reader.list("the body is to be an array of arrays, one for each command", |reader| {
        if reader.plain_command(&mut arguments.spans) {
            take(Args::new(body, &arguments.spans));
        } else {
            reader.command(&mut arguments)?;
            take(arguments.args());
        }
        Ok(())
    })?;
    reader.end()
}

struct Reader<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn new(body: &'b [u8]) -> Result<Reader<'b>, Malformed> {
        match std::str::from_utf8(body) {
            Ok(_) => Ok(Reader { body, at: 0 }),
            Err(error) => Err(Malformed { at: error.valid_up_to(), why: "this is no UTF-8" }),
        }
    }

    fn wrong<T>(&self, why: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, why })
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.body.get(self.at) {
            self.at += 1;
        }
        self.body.get(self.at).copied()
    }

    fn end(&mut self) -> Result<(), Malformed> {
        if self.peek().is_some() { self.wrong("something stands behind the end of the array") } else { Ok(()) }
    }

    fn list(
        &mut self,
        otherwise: &'static str,
        mut element: impl FnMut(&mut Reader<'b>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.peek() != Some(b'[') {
            return self.wrong(if self.at == self.body.len() { "it ends too early" } else { otherwise });
        }
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => return self.wrong("a comma or a closing bracket is missing"),
                None => return self.wrong("it ends too early"),
            }
        }
    }

    /// Most commands are strings without an escape, with no blank between them: their arguments stand in the body as they
    /// are. False, and nothing is read, where that is not so.
    fn plain_command(&mut self, spans: &mut Vec<Span>) -> bool {
        spans.clear();
        if self.peek() != Some(b'[') {
            return false;
        }
        let mut at = self.at + 1;
        while let Some(b'"') = self.body.get(at) {
            let start = at + 1;
            let Some(length) = special(&self.body[start..]) else { return false };
            let end = start + length;
            spans.push(Span { start: place(start), end: place(end) });
            match self.body[end..] {
                [b'"', b',', ..] => at = end + 2,
                [b'"', b']', ..] => {
                    self.at = end + 2;
                    return true;
                }
                _ => return false,
            }
        }
        false
    }

    fn command(&mut self, into: &mut Arguments) -> Result<(), Malformed> {
        into.clear();
        self.peek();
        let start = self.at;
        self.list("a command is an array: its name, then its arguments", |reader| reader.argument(into))?;
        if into.args().is_empty() {
            self.at = start;
            return self.wrong("a command has a name at least");
        }
        Ok(())
    }

    fn argument(&mut self, into: &mut Arguments) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => into.add(|bytes| self.string(bytes)),
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                self.number()?;
                into.push(&self.body[start..self.at]);
                Ok(())
            }
            Some(b'[' | b'{') => self.wrong("an argument is no array and no object: write what it holds as a string"),
            Some(_) => {
                let rest = &self.body[self.at..];
                let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word));
                let Some(word) = word else { return self.wrong("an argument is a string, a number, true, false or null") };
                self.at += word.len();
                into.push(word);
                Ok(())
            }
            None => self.wrong("it ends too early"),
        }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let digits = self.body[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 { self.wrong("a digit is missing") } else { Ok(()) }
    }

    fn takes(&mut self, bytes: &[u8]) -> bool {
        let is_there = self.body.get(self.at).is_some_and(|byte| bytes.contains(byte));
        self.at += usize::from(is_there);
        is_there
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.takes(b"-");
        if !self.takes(b"0") {
            self.digits()?;
        }
        if self.takes(b".") {
            self.digits()?;
        }
        if self.takes(b"eE") {
            self.takes(b"+-");
            self.digits()?;
        }
        match self.body.get(self.at) {
            Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'.' | b'+' | b'-') => self.wrong("this is no number"),
            _ => Ok(()),
        }
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            let rest = &self.body[self.at..];
            let plain = special(rest).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.body.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(out)?;
                }
                Some(_) => return self.wrong("a control character in a string is written as an escape"),
                None => return self.wrong("a string does not end"),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let byte = match self.body.get(self.at) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.code_point(out),
            Some(_) => return self.wrong("there is no such escape"),
            None => return self.wrong("a string does not end"),
        };
        out.push(byte);
        self.at += 1;
        Ok(())
    }

    /// `u` and four digits, twice for what is beyond the first 65,536. Half of a pair becomes U+FFFD.
    fn code_point(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let unit = self.unit()?;
        let mut code = u32::from(unit);
        if (0xd800..0xdc00).contains(&unit) && self.body[self.at..].starts_with(b"\\u") {
            let behind = self.at;
            self.at += 1;
            let low = self.unit()?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x1_0000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
            } else {
                self.at = behind;
            }
        }
        let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn unit(&mut self) -> Result<u16, Malformed> {
        let digits = self.body.get(self.at + 1..self.at + 5).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
            Some(unit) => {
                self.at += 5;
                Ok(unit)
            }
            None => self.wrong("four hexadecimal digits are missing behind \\u"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut arguments = Arguments::default();
        command(body, &mut arguments)?;
        Ok(arguments.args().iter().map(<[u8]>::to_vec).collect())
    }

    fn read_all(body: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, Malformed> {
        let mut all = Vec::new();
        commands(body, &mut |one| all.push(one.iter().map(<[u8]>::to_vec).collect()))?;
        Ok(all)
    }

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn numbers_and_words_are_taken_as_they_are_written() {
        let body = br#" ["set", "k", 1e21, -0.50, 9007199254740993, 0, true,false , null] "#;
        let wanted = ["set", "k", "1e21", "-0.50", "9007199254740993", "0", "true", "false", "null"];
        assert_eq!(read(body), Ok(words(&wanted)));
    }

    #[test]
    fn escapes_are_the_letters_that_they_stand_for() {
        assert_eq!(
            read(br#"["\"\\\/\b\f\n\r\t", "\u00e9\ud83d\ude00", "\ud83d x", "\ude00", "\ud83d\u0041"]"#),
            Ok(words(&["\"\\/\u{8}\u{c}\n\r\t", "é😀", "\u{fffd} x", "\u{fffd}", "\u{fffd}A"]))
        );
    }

    #[test]
    fn what_is_malformed_is_said_with_its_place() {
        for (body, at, why) in [
            (&b""[..], 0, "it ends too early"),
            (b"  ", 2, "it ends too early"),
            (b"{\"a\":1}", 0, "a command is an array"),
            (b"\"get\"", 0, "a command is an array"),
            (b"[]", 0, "a command has a name"),
            (b"[\"get\" \"k\"]", 7, "a comma or"),
            (b"[\"get\",]", 7, "an argument is a string"),
            (b"[\"get\",\"k\"", 10, "it ends too early"),
            (b"[\"get\",\"k", 9, "a string does not end"),
            (b"[\"get\",\"k\\", 10, "a string does not end"),
            (b"[\"get\",\"\\x\"]", 9, "there is no such escape"),
            (b"[\"get\",\"\\u12g4\"]", 9, "four hexadecimal digits"),
            (b"[\"get\",\"\\ud83d\\u12\"]", 15, "four hexadecimal digits"),
            (b"[\"get\",\"a\nb\"]", 9, "a control character"),
            (b"[\"get\",01]", 8, "this is no number"),
            (b"[\"get\",1.]", 9, "a digit is missing"),
            (b"[\"get\",-]", 8, "a digit is missing"),
            (b"[\"get\",1e+]", 10, "a digit is missing"),
            (b"[\"get\",0x1]", 8, "this is no number"),
            (b"[\"get\",truth]", 7, "an argument is"),
            (b"[\"get\",trues]", 11, "a comma or"),
            (b"[\"get\",[\"k\"]]", 7, "an argument is no array"),
            (b"[\"get\",{}]", 7, "an argument is no array"),
            (b"[\"get\",\"k\"] x", 12, "something stands behind"),
            (b"[\"get\",\"\xff\"]", 8, "this is no UTF-8"),
            (b"[\"get\",NaN]", 7, "an argument is"),
        ] {
            let error = read(body).expect_err("malformed");
            assert!(error.at == at && error.why.starts_with(why), "{}: {error:?}", body.escape_ascii());
        }
        assert_eq!(
            read_all(b"[[\"a\"],\n [\"b\",]]").expect_err("malformed").text(b"[[\"a\"],\n [\"b\",]]"),
            "ERR respguard: the body is malformed: an argument is a string, a number, true, false or null (byte 15, line 2, column 7)"
        );
        assert!(read_all(b"[\"get\",\"k\"]").is_err() && read_all(b"[[\"get\"],[]]").is_err());
        assert_eq!(read_all(b"[]"), Ok(Vec::new()));
    }

    #[test]
    fn commands_that_are_written_in_another_way_are_the_same() {
        let wanted = Ok(vec![words(&["get", "k"]), words(&["set", "k", "5"])]);
        for body in [
            r#"[["get","k"],["set","k","5"]]"#,
            r#"[["get","k"],["set","k",5]]"#,
            r#"[ ["get","k"] , ["set" ,"k", "5"] ]"#,
            r#"[["get","\u006b"],["s\u0065t","k","5"]]"#,
            r#"[["get","k" ],["set","k",5 ]]"#,
        ] {
            assert_eq!(read_all(body.as_bytes()), wanted, "{body}");
        }
        for body in
            [r#"[["get","k"#, r#"[["get","k""#, r#"[["get","k","#, r#"[["get",]]"#, r#"[["get" "k"]]"#, "[[\"get\",\"\n\"]]"]
        {
            assert!(read_all(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn commands_come_out_as_they_were_put_in(all in prop::collection::vec(prop::collection::vec(any::<String>(), 1..5), 0..6)) {
            let body = serde_json::to_vec(&all).expect("JSON");
            let wanted: Vec<Vec<Vec<u8>>> =
                all.iter().map(|one| one.iter().map(|word| word.clone().into_bytes()).collect()).collect();
            prop_assert_eq!(read_all(&body), Ok(wanted));
        }

        #[test]
        fn bodies_are_read_as_strictly_as_by_others(body in "[\\[\\]{}\",:0-9a-z\\\\\\-+.eE \n]{0,24}") {
            // Whatever is taken here is JSON to others.
            if read_all(body.as_bytes()).is_ok() {
                let read: Result<Vec<Vec<serde_json::Value>>, _> = serde_json::from_str(&body);
                // A number beyond what fits a float is a number all the same.
                prop_assert!(read.is_ok() || body.contains(['e', 'E']), "{body}");
            }
        }

        #[test]
        fn a_cut_body_is_malformed_at_its_end_or_before(all in prop::collection::vec(prop::collection::vec("[a-z\"\\\\é]{0,6}", 1..4), 1..4), cut in any::<prop::sample::Index>()) {
            let body = serde_json::to_vec(&all).expect("JSON");
            let cut = &body[..cut.index(body.len())];
            let error = read_all(cut).expect_err("it is cut");
            prop_assert!(error.at <= cut.len());
            prop_assert!(error.text(cut).starts_with("ERR "));
        }
    }
}
