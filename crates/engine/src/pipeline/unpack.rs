//! Decompresses the values in one reply that are stored behind respguard's header.

mod reader;

use std::borrow::Cow;
use std::sync::Arc;

use super::finding::Finding;
use super::reading::Part;
use crate::command::Table;
use crate::policy::{Member, Policy};
use respguard_resp::encode;

pub(crate) use reader::Reader;

/// What one reply has of values.
#[derive(Debug)]
pub(super) struct Unpack {
    reader: Arc<Reader>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is needed whole: so much has come.
    Gathering(Vec<u8>),
    /// It is the client's as it is.
    Passing,
    /// Its values were read before it was passed on: what the client gets in its place.
    Read(Vec<u8>, Vec<Finding>),
    /// No room is left to read its values.
    Refused,
}

impl Unpack {
    /// For the reply to a command; nothing, for most.
    pub(super) fn of(policy: &Policy, table: &Table, command: Member<'_>) -> Option<Box<Unpack>> {
        Reader::of(policy, table, command).map(Unpack::new)
    }

    fn new(reader: Reader) -> Box<Unpack> {
        Box::new(Unpack { reader: Arc::new(reader), state: State::Gathering(Vec::new()) })
    }

    /// For a reply of which nobody knows which part is whose, in place of these.
    pub(super) fn any(&self) -> Option<Box<Unpack>> {
        self.reader.any().map(Unpack::new)
    }

    /// What reads it, while that has not been decided.
    pub(super) fn awaits(&self) -> Option<&Arc<Reader>> {
        matches!(self.state, State::Gathering(_)).then_some(&self.reader)
    }

    /// Its values have been read.
    pub(super) fn set_read(&mut self, reply: Vec<u8>, found: Vec<Finding>) {
        self.state = State::Read(reply, found);
    }

    /// No room is left to read its values.
    pub(super) fn refuse(&mut self) {
        if self.awaits().is_some() {
            self.state = State::Refused;
        }
    }

    /// Takes a piece of the reply to a command; gives what the client gets now, if anything.
    pub(super) fn admit<'p>(
        &mut self,
        may_write: bool,
        piece: &'p [u8],
        part: Part,
        found: &mut Vec<Finding>,
    ) -> Option<(Cow<'p, [u8]>, Part)> {
        let whole = Part { first: true, ..part };
        match &mut self.state {
            State::Passing => return Some((Cow::Borrowed(piece), part)),
            State::Read(..) | State::Refused if !part.last => return None,
            State::Read(reply, noted) => {
                found.append(noted);
                return Some((Cow::Owned(std::mem::take(reply)), whole));
            }
            State::Refused => return Some((Cow::Owned(self.no_room(may_write, found)), whole)),
            State::Gathering(gathered) => {
                if part.first {
                    // It may come once more, from another connection.
                    gathered.clear();
                }
                if part.first && part.last {
                    return Some((self.reader.read(piece, found), part));
                }
                gathered.extend_from_slice(piece);
            }
        }
        let State::Gathering(gathered) = &mut self.state else { return None };
        if !self.reader.may_hold_packed(gathered) {
            let begun = std::mem::take(gathered);
            self.state = State::Passing;
            return Some((Cow::Owned(begun), whole));
        }
        if !part.last {
            return None;
        }
        let frame = std::mem::take(gathered);
        Some((Cow::Owned(self.reader.read(&frame, found).into_owned()), whole))
    }

    fn no_room(&self, may_write: bool, found: &mut Vec<Finding>) -> Vec<u8> {
        let rule = self.reader.rule();
        found.extend(rule.map(|rule| Finding::Corrupt { rule: Arc::clone(rule) }));
        let rule = rule.map_or("", |rule| rule);
        let token = if may_write { "COMMITTED respguard: it was applied, but" } else { "ERR respguard:" };
        let text = format!("{token} no room is left to read compressed values (buffered_bytes_max, compress rule {rule})");
        encode::error_reply(&text)
    }
}
