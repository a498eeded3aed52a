//! One request's commands, encoded as RESP for the conversation, with how each is answered.

use sha1_smol::Digest;

use respguard_engine::command::{Spec, Table};
use respguard_resp::encode;
use respguard_resp::request::Args;

use super::commands::{Rights, Verdict, admit};
use super::scripts::Scripts;

/// Room that is made for what is sent before its commands are known.
const REQUEST_BYTES_MIN: usize = 256;
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Likewise for so many commands of so many bytes.
const COMMANDS_MAX: usize = 256;
const COMMAND_BYTES: usize = 12;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One command, whose reply is the answer.
    One,
    /// Many, answered by an array.
    Pipeline,
    /// Many in MULTI and EXEC, answered likewise.
    Transaction,
}

/// One command's place in the answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Slot {
    /// The server's reply.
    Sent,
    /// Likewise, but for a script's digest: its client knows it under another one.
    Loaded(Box<Digest>),
    /// It was not sent.
    Local(Box<LocalReply>),
}

/// What a command is answered that was not sent.
#[derive(Debug, PartialEq, Eq)]
pub enum LocalReply {
    Done,
    Error(String),
}

/// The commands of one request.
#[derive(Debug)]
pub struct Call {
    pub shape: Shape,
    /// What is sent.
    pub request: Vec<u8>,
    pub slots: Vec<Slot>,
    /// Commands that are sent.
    sent: usize,
}

/// What commands are looked at with.
#[derive(Clone, Copy)]
pub struct Rules<'r> {
    pub table: &'r Table,
    pub scripts: &'r Scripts,
    pub rights: Rights,
}

impl Call {
    /// No commands yet, of a body of so many bytes.
    pub fn new(shape: Shape, body_bytes: usize) -> Call {
        // As RESP short commands take more.
        let mut request = Vec::with_capacity(REQUEST_BYTES_MIN + body_bytes.min(REQUEST_BYTES_MAX) * 2);
        if shape == Shape::Transaction {
            encode::request(&mut request, &[b"MULTI"]);
        }
        let slots = if shape == Shape::One { 1 } else { (body_bytes / COMMAND_BYTES).min(COMMANDS_MAX) };
        Call { shape, request, slots: Vec::with_capacity(slots), sent: 0 }
    }

    /// Adds a command.
    pub fn add(&mut self, args: Args<'_>, rules: Rules<'_>) {
        let spec = rules.table.spec(rules.table.lookup(args));
        let slot = match admit(spec, args, rules.rights) {
            Verdict::Send => self.send(spec, args, rules.scripts),
            Verdict::Done => Slot::Local(Box::new(LocalReply::Done)),
            Verdict::Refuse(error) => Slot::Local(Box::new(LocalReply::Error(error))),
        };
        self.slots.push(slot);
    }

    fn send(&mut self, spec: &Spec, args: Args<'_>, scripts: &Scripts) -> Slot {
        self.sent += 1;
        let Some(rewritten) = scripts.rewrite(spec, args) else {
            encode::array_header(&mut self.request, args.len());
            args.iter().for_each(|arg| encode::bulk(&mut self.request, arg));
            return Slot::Sent;
        };
        encode::array_header(&mut self.request, args.len());
        for (place, arg) in args.iter().enumerate() {
            let own = rewritten.arguments.iter().find(|(at, _)| *at == place);
            encode::bulk(&mut self.request, own.map_or(arg, |(_, own)| own));
        }
        rewritten.loaded.map_or(Slot::Sent, Slot::Loaded)
    }

    /// All commands are there. A transaction of which one cannot be sent is not sent: all are answered that it is discarded.
    pub fn finish(&mut self) {
        if self.shape != Shape::Transaction {
            return;
        }
        encode::request(&mut self.request, &[b"EXEC"]);
        if self.sent < self.slots.len() {
            self.discard();
        } else if self.slots.is_empty() {
            self.request.clear();
        }
    }

    fn discard(&mut self) {
        let refused =
            self.slots.iter().position(|slot| matches!(slot, Slot::Local(own) if matches!(**own, LocalReply::Error(_))));
        let reason = match refused {
            Some(place) => format!("command {} of {} was refused", place + 1, self.slots.len()),
            None => "it has a command that cannot be queued".to_owned(),
        };
        for slot in &mut self.slots {
            if !matches!(slot, Slot::Local(own) if matches!(**own, LocalReply::Error(_))) {
                let text = format!("EXECABORT Transaction discarded because of previous errors. respguard: {reason}");
                *slot = Slot::Local(Box::new(LocalReply::Error(text)));
            }
        }
        self.request.clear();
        self.sent = 0;
    }

    /// Answers every command that was to be sent with this error.
    pub fn refuse(&mut self, error: &str) {
        for slot in &mut self.slots {
            if !matches!(slot, Slot::Local(_)) {
                *slot = Slot::Local(Box::new(LocalReply::Error(error.to_owned())));
            }
        }
        self.request.clear();
        self.sent = 0;
    }

    /// Something is to be sent.
    pub fn has_request(&self) -> bool {
        self.sent > 0
    }

    /// Bytes that it keeps.
    pub fn bytes(&self) -> usize {
        self.request.capacity() + self.slots.capacity() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::rest::json::Arguments;

    fn call(shape: Shape, lines: &[&str]) -> Call {
        let (table, scripts, mut call) = (Table::builtin(), Scripts::default(), Call::new(shape, 0));
        let rights = Rights { read_only: false, longest_wait: Duration::from_secs(1) };
        for line in lines {
            let mut arguments = Arguments::default();
            line.split(' ').for_each(|word| arguments.push(word.as_bytes()));
            call.add(arguments.args(), Rules { table: &table, scripts: &scripts, rights });
        }
        call.finish();
        call
    }

    fn sent(call: &Call) -> String {
        String::from_utf8_lossy(&call.request).into_owned()
    }

    #[test]
    fn a_pipeline_is_sent_without_what_cannot_be_sent() {
        let call = call(Shape::Pipeline, &["GET k", "SELECT 1", "PING"]);
        assert_eq!(sent(&call), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n");
        assert!(matches!(&call.slots[..], [Slot::Sent, Slot::Local(_), Slot::Sent]) && call.has_request());
    }

    #[test]
    fn a_transaction_goes_whole_or_not_at_all() {
        let whole = call(Shape::Transaction, &["PING"]);
        assert_eq!(sent(&whole), "*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nEXEC\r\n");
        for lines in [&["PING", "SELECT 1"][..], &["PING", "CLIENT SETINFO a b"]] {
            let discarded = call(Shape::Transaction, lines);
            assert!(sent(&discarded).is_empty() && !discarded.has_request());
            let Slot::Local(own) = &discarded.slots[0] else { panic!("it is sent") };
            assert!(matches!(&**own, LocalReply::Error(text) if text.starts_with("EXECABORT ")));
        }
        assert!(sent(&call(Shape::Transaction, &[])).is_empty());
    }
}
