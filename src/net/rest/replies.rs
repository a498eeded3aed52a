//! Builds one request's response from the conversation's replies, while they arrive.

use respguard_resp::scan::{ReplyScanner, ScanLimits};
use respguard_resp::{encode, value};

use super::call::{LocalReply, Shape, Slot};
use super::reply::{Broken, ReplyWriter};
use super::text::{self, Encoding};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json(Encoding),
    /// The replies as they are.
    Resp2,
}

/// Frames that are needed whole: QUEUED, an error, a digest.
const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Room that is made for what JSON adds to some replies, and for each reply of an array before any has come.
const SHORT_BYTES: usize = 128;
const PIECE_BYTES: usize = 16 * 1024;

/// ```text
/// Multi -> Queued -> Exec -> Replies -> Done
///                               ^
/// One, Pipeline ----------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Multi,
    Queued,
    /// The head of EXEC's array.
    Exec,
    Replies,
    Done,
}

/// An answer in progress.
#[derive(Debug)]
pub struct Replies {
    format: Format,
    shape: Shape,
    slots: Vec<Slot>,
    /// The place whose reply comes next.
    at: usize,
    phase: Phase,
    writer: ReplyWriter,
    scanner: ReplyScanner,
    /// A frame that is needed whole.
    frame: Vec<u8>,
    /// What queueing was refused with, by place.
    refused: Vec<Option<Box<[u8]>>>,
    out: Vec<u8>,
    /// The next place's reply has begun.
    begun: bool,
    /// Where in `out` that is; `None` when a part of it has been taken.
    begins_at: Option<usize>,
    /// The one reply was an error, with this text.
    error: Option<Box<[u8]>>,
}

impl Replies {
    /// Nothing has come yet.
    pub fn new(format: Format, shape: Shape, slots: Vec<Slot>) -> Replies {
        let encoding = if let Format::Json(encoding) = format { encoding } else { Encoding::Text };
        let is_sent = slots.iter().any(|slot| !matches!(slot, Slot::Local(_)));
        let phase = if shape == Shape::Transaction && is_sent { Phase::Multi } else { Phase::Replies };
        let mut replies = Replies {
            format,
            shape,
            slots,
            at: 0,
            phase,
            writer: ReplyWriter::new(encoding),
            scanner: ReplyScanner::new(ScanLimits::default()),
            frame: Vec::new(),
            refused: Vec::new(),
            out: Vec::new(),
            begun: false,
            begins_at: None,
            error: None,
        };
        if replies.is_array() {
            replies.out.reserve((1 + replies.slots.len()).saturating_mul(SHORT_BYTES).min(PIECE_BYTES));
            replies.out.push(b'[');
        }
        if phase == Phase::Replies {
            replies.settle();
        }
        replies
    }

    fn is_array(&self) -> bool {
        self.shape != Shape::One && self.format != Format::Resp2
    }

    /// Nothing more is to come.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The text of the one reply, if it was an error.
    pub fn error(&self) -> Option<&[u8]> {
        self.error.as_deref()
    }

    /// What has been written and not been taken.
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Takes what has been written.
    pub fn take(&mut self) -> Vec<u8> {
        self.begins_at = None;
        std::mem::take(&mut self.out)
    }

    /// Takes bytes of the conversation's replies.
    ///
    /// # Errors
    /// They are no replies, or more than were asked for.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        // As JSON short replies take more.
        self.out.reserve(bytes.len() + (bytes.len() / 2).clamp(SHORT_BYTES, PIECE_BYTES));
        while !bytes.is_empty() {
            let used = match self.phase {
                Phase::Multi | Phase::Queued => self.queueing(bytes)?,
                Phase::Exec => self.exec_head(bytes)?,
                Phase::Replies => self.reply(bytes)?,
                Phase::Done => return Err(Broken),
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// The conversation has ended: what was not answered is answered with this error. False when a reply has been given out
    /// in part, which nothing can complete.
    pub fn fail(&mut self, text: &str) -> bool {
        if self.phase == Phase::Done {
            return true;
        }
        if std::mem::take(&mut self.begun) {
            let Some(at) = self.begins_at else { return false };
            self.out.truncate(at);
        }
        self.answer_rest(text.as_bytes());
        true
    }

    /// Takes bytes of a frame that is needed whole, and says how many; with its last it is in `self.frame`.
    fn collect(&mut self, bytes: &[u8]) -> Result<(usize, bool), Broken> {
        let scanned = self.scanner.scan(bytes).map_err(|_| Broken)?;
        if self.frame.len() + scanned.bytes > FRAME_BYTES_MAX {
            return Err(Broken);
        }
        self.frame.extend_from_slice(&bytes[..scanned.bytes]);
        Ok((scanned.bytes, scanned.end))
    }

    /// The replies to MULTI and to what it queues.
    fn queueing(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let (used, is_whole) = self.collect(bytes)?;
        if !is_whole {
            return Ok(used);
        }
        let frame = std::mem::take(&mut self.frame);
        if self.phase == Phase::Multi {
            self.phase = Phase::Queued;
            return Ok(used);
        }
        self.refused.push(value::is_error(&frame).then(|| value::error_text(&frame).into()));
        if self.refused.len() == self.slots.len() {
            self.phase = Phase::Exec;
        }
        Ok(used)
    }

    /// The head of EXEC's array, whose elements are replies like others; or an error, or null.
    fn exec_head(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let used = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        self.frame.extend_from_slice(&bytes[..used]);
        if self.frame.len() > FRAME_BYTES_MAX {
            return Err(Broken);
        }
        if !self.frame.ends_with(b"\n") {
            return Ok(used);
        }
        let head = std::mem::take(&mut self.frame);
        let elements = head.strip_prefix(b"*").and_then(|text| std::str::from_utf8(text).ok()?.trim_end().parse::<usize>().ok());
        match elements {
            Some(elements) if elements == self.slots.len() => {
                self.phase = Phase::Replies;
                self.settle();
            }
            Some(_) => return Err(Broken),
            None if value::is_error(&head) => self.answer_rest(value::error_text(&head)),
            None => self.answer_rest(b"EXECABORT Transaction discarded: the server ran none of it"),
        }
        Ok(used)
    }

    fn reply(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        if !std::mem::replace(&mut self.begun, true) {
            self.begins_at = Some(self.out.len());
            self.separate();
        }
        if let Some(Slot::Loaded(digest)) = self.slots.get(self.at) {
            let mut own = Vec::new();
            encode::bulk(&mut own, digest.to_string().as_bytes());
            let (used, is_whole) = self.collect(bytes)?;
            if is_whole {
                let frame = std::mem::take(&mut self.frame);
                self.write(if value::bulk(&frame).is_some() { &own } else { &frame })?;
            }
            return Ok(used);
        }
        if self.format == Format::Resp2 {
            let scanned = self.scanner.scan(bytes).map_err(|_| Broken)?;
            self.out.extend_from_slice(&bytes[..scanned.bytes]);
            if scanned.end {
                self.replied();
            }
            return Ok(scanned.bytes);
        }
        let taken = self.writer.take(bytes, &mut self.out)?;
        if taken.end {
            self.replied();
        }
        Ok(taken.bytes)
    }

    /// Writes a whole reply.
    fn write(&mut self, frame: &[u8]) -> Result<(), Broken> {
        match self.format {
            Format::Resp2 => self.out.extend_from_slice(frame),
            Format::Json(_) => {
                self.writer.take(frame, &mut self.out)?;
            }
        }
        self.replied();
        Ok(())
    }

    /// The place that was next has its reply.
    fn replied(&mut self) {
        if self.shape == Shape::One {
            self.error = match self.format {
                Format::Json(_) => self.writer.error().map(Into::into),
                Format::Resp2 => value::is_error(&self.out).then(|| value::error_text(&self.out).into()),
            };
        }
        self.begun = false;
        self.at += 1;
        self.settle();
    }

    /// What was not sent is answered as soon as it is next.
    fn settle(&mut self) {
        while let Some(Slot::Local(_)) = self.slots.get(self.at) {
            self.separate();
            match std::mem::replace(&mut self.slots[self.at], Slot::Sent) {
                Slot::Local(own) => match *own {
                    LocalReply::Done => self.write_done(),
                    LocalReply::Error(text) => self.write_error(text.as_bytes()),
                },
                Slot::Sent | Slot::Loaded(_) => {}
            }
            self.at += 1;
        }
        if self.at == self.slots.len() {
            self.end();
        }
    }

    fn separate(&mut self) {
        if self.at > 0 && self.is_array() {
            self.out.push(b',');
        }
    }

    fn write_done(&mut self) {
        let text = if self.format == Format::Resp2 { &b"+OK\r\n"[..] } else { b"{\"result\":\"OK\"}" };
        self.out.extend_from_slice(text);
    }

    fn write_error(&mut self, text: &[u8]) {
        match self.format {
            Format::Resp2 => encode::error(&mut self.out, &String::from_utf8_lossy(text)),
            Format::Json(_) => text::error(text, &mut self.out),
        }
        if self.shape == Shape::One {
            self.error = Some(text.into());
        }
    }

    /// Every place from the next on is answered with an error: its own, if it has one.
    fn answer_rest(&mut self, text: &[u8]) {
        while self.at < self.slots.len() {
            let own = self.refused.get_mut(self.at).and_then(Option::take);
            if let Some(Slot::Local(_)) = self.slots.get(self.at) {
                self.settle();
                continue;
            }
            self.separate();
            self.write_error(own.as_deref().unwrap_or(text));
            self.at += 1;
        }
        if self.phase != Phase::Done {
            self.end();
        }
    }

    fn end(&mut self) {
        if self.is_array() {
            self.out.push(b']');
        }
        self.phase = Phase::Done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Format = Format::Json(Encoding::Text);

    fn own(text: &str) -> Slot {
        Slot::Local(Box::new(LocalReply::Error(text.to_owned())))
    }

    /// The answer, when the replies come in pieces of `size` bytes.
    fn answer(format: Format, shape: Shape, slots: Vec<Slot>, frames: &str, size: usize) -> String {
        let mut replies = Replies::new(format, shape, slots);
        for piece in frames.as_bytes().chunks(size) {
            assert!(!replies.is_done());
            replies.feed(piece).expect("replies");
        }
        assert!(replies.is_done());
        String::from_utf8(replies.take()).expect("UTF-8")
    }

    #[track_caller]
    fn is_answered(shape: Shape, slots: fn() -> Vec<Slot>, frames: &str, wanted: &str) {
        for size in 1..=frames.len().max(1) {
            assert_eq!(answer(TEXT, shape, slots(), frames, size), wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn each_shape_has_its_answer() {
        is_answered(Shape::One, || vec![Slot::Sent], "$1\r\nv\r\n", r#"{"result":"v"}"#);
        is_answered(Shape::One, || vec![own("ERR no")], "", r#"{"error":"ERR no"}"#);
        is_answered(Shape::Pipeline, Vec::new, "", "[]");
        is_answered(
            Shape::Pipeline,
            || vec![own("ERR a"), Slot::Sent, own("ERR b"), Slot::Local(Box::new(LocalReply::Done)), Slot::Sent],
            ":1\r\n-ERR c\r\n",
            r#"[{"error":"ERR a"},{"result":1},{"error":"ERR b"},{"result":"OK"},{"error":"ERR c"}]"#,
        );
        is_answered(
            Shape::Transaction,
            || vec![Slot::Sent, Slot::Sent],
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n-WRONGTYPE x\r\n",
            r#"[{"result":"OK"},{"error":"WRONGTYPE x"}]"#,
        );
    }

    #[test]
    fn a_discarded_transaction_is_an_error_for_each() {
        is_answered(
            Shape::Transaction,
            || vec![Slot::Sent, Slot::Sent],
            "+OK\r\n-ERR unknown\r\n+QUEUED\r\n-EXECABORT x\r\n",
            r#"[{"error":"ERR unknown"},{"error":"EXECABORT x"}]"#,
        );
        is_answered(
            Shape::Transaction,
            || vec![Slot::Sent],
            "+OK\r\n+QUEUED\r\n*-1\r\n",
            r#"[{"error":"EXECABORT Transaction discarded: the server ran none of it"}]"#,
        );
    }

    #[test]
    fn a_loaded_script_is_known_by_the_digest_that_its_client_knows() {
        let slots = || ["a", "b"].map(|digit| Slot::Loaded(Box::new(digit.repeat(40).parse().expect("a digest")))).into();
        let frames = format!("$40\r\n{}\r\n-ERR no\r\n", "x".repeat(40));
        let wanted = format!(r#"[{{"result":"{}"}},{{"error":"ERR no"}}]"#, "a".repeat(40));
        is_answered(Shape::Pipeline, slots, &frames, &wanted);
    }

    #[test]
    fn in_resp2_replies_are_themselves() {
        let slots = || vec![Slot::Sent, own("ERR no"), Slot::Local(Box::new(LocalReply::Done)), Slot::Sent];
        let frames = "*1\r\n$1\r\na\r\n:5\r\n";
        for size in 1..frames.len() {
            let wanted = "*1\r\n$1\r\na\r\n-ERR no\r\n+OK\r\n:5\r\n";
            assert_eq!(answer(Format::Resp2, Shape::Pipeline, slots(), frames, size), wanted);
        }
    }

    #[test]
    fn what_was_not_answered_is_an_error_wherever_it_ended() {
        let frames = ":1\r\n*2\r\n:2\r\n:3\r\n:4\r\n";
        for (cut, whole) in (0..=frames.len()).map(|cut| (cut, [4, 16, 20].iter().filter(|end| cut >= **end).count())) {
            let mut replies = Replies::new(TEXT, Shape::Pipeline, vec![Slot::Sent, Slot::Sent, Slot::Sent]);
            replies.feed(&frames.as_bytes()[..cut]).expect("replies");
            assert!(replies.fail("ERR lost"));
            let said = String::from_utf8(replies.take()).expect("UTF-8");
            let read: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
            let errors = read.iter().filter(|element| element["error"] == "ERR lost").count();
            assert_eq!((read.len(), errors), (3, 3 - whole), "{cut}: {said}");
        }
    }

    #[test]
    fn what_was_given_out_in_part_cannot_be_answered_otherwise() {
        let mut replies = Replies::new(TEXT, Shape::Pipeline, vec![Slot::Sent, Slot::Sent]);
        replies.feed(b":1\r\n$5\r\nab").expect("replies");
        replies.take();
        assert!(!replies.fail("ERR lost"));
        let mut replies = Replies::new(TEXT, Shape::Pipeline, vec![Slot::Sent, Slot::Sent]);
        replies.feed(b":1\r\n").expect("replies");
        let first = replies.take();
        assert!(replies.fail("ERR lost"));
        assert_eq!([first, replies.take()].concat(), br#"[{"result":1},{"error":"ERR lost"}]"#);
    }

    #[test]
    fn more_than_was_asked_for_is_broken() {
        let mut replies = Replies::new(TEXT, Shape::One, vec![Slot::Sent]);
        assert_eq!(replies.feed(b":1\r\n:2\r\n"), Err(Broken));
    }
}
