//! Replies with compressed values that are decompressed off the worker's thread, while the reply keeps its place.
//!
//! What comes of a reply that may hold compressed values is gathered here until it is whole. If its values are short it then
//! goes to its place at once. Else it waits: whoever drives the sequencer takes it ([`next_packed`]), reads it on
//! a thread of its own ([`PackedReply::read`]), and gives it back ([`admit_read`]). Replies behind it wait in
//! their places, as they do for any that has not come.
//!
//! [`next_packed`]: super::sequencer::Sequencer::next_packed
//! [`admit_read`]: super::sequencer::Sequencer::admit_read

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::finding::Finding;
use super::unpack::Reader;
use crate::link::owed::Seq;
use respguard_resp::scan::{Top, elements, split_pushes};

/// From so many bytes on values are read elsewhere.
pub const LONG_BYTES: u64 = 256 * 1024;

/// A whole reply, and where the values are in it.
#[derive(Debug)]
pub struct PackedReply {
    pub(super) seq: Seq,
    pub(super) frame: Vec<u8>,
    pub(super) top: Top,
    pub(super) parts: Vec<PackedPart>,
    pub(super) promised: u64,
}

/// The reply to one command within it.
#[derive(Debug)]
pub(super) struct PackedPart {
    /// The command's place within a transaction.
    pub(super) place: u32,
    pub(super) bytes: Range<usize>,
    pub(super) reader: Arc<Reader>,
}

/// The same once its values have been read.
#[derive(Debug)]
pub struct ReadReply {
    pub(super) packed: PackedReply,
    /// In the order of the parts; `None` where no room was left to read them.
    pub(super) read: Option<Vec<ReadPart>>,
}

/// The reply to one command as its client gets it.
#[derive(Debug)]
pub(super) struct ReadPart {
    pub(super) place: u32,
    pub(super) reply: Vec<u8>,
    pub(super) found: Vec<Finding>,
}

impl PackedReply {
    /// Bytes as they came.
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }

    /// Bytes of its values, as their headers say.
    pub fn promised(&self) -> u64 {
        self.promised
    }

    /// Does the work.
    pub fn read(self) -> ReadReply {
        let read = |part: &PackedPart| {
            let mut found = Vec::new();
            let reply = part.reader.read(&self.frame[part.bytes.clone()], &mut found).into_owned();
            ReadPart { place: part.place, reply, found }
        };
        let read = self.parts.iter().map(read).collect();
        ReadReply { packed: self, read: Some(read) }
    }

    /// No room is left for that: an error takes the place of the values.
    pub fn refuse(self) -> ReadReply {
        ReadReply { packed: self, read: None }
    }
}

/// What one client has of such replies.
#[derive(Debug, Default)]
pub(super) struct PackedReplies {
    /// Of which a part has come.
    pub(super) begun: Vec<(Seq, Vec<u8>)>,
    pub(super) whole: VecDeque<PackedReply>,
}

impl PackedReplies {
    pub(super) fn bytes(&self) -> usize {
        self.begun.iter().map(|(_, bytes)| bytes.capacity()).sum::<usize>() + self.waiting()
    }

    pub(super) fn waiting(&self) -> usize {
        self.whole.iter().map(PackedReply::bytes).sum()
    }

    pub(super) fn take_begun(&mut self, seq: Seq) -> Option<Vec<u8>> {
        let place = self.begun.iter().position(|(known, _)| *known == seq)?;
        Some(self.begun.swap_remove(place).1)
    }
}

/// The parts of EXEC's array that checks want to read; `place` tells which command an element answers.
pub(super) fn parts_of(
    frame: &[u8],
    place: &dyn Fn(u32) -> Option<u32>,
    reader: &dyn Fn(u32) -> Option<Arc<Reader>>,
) -> Vec<PackedPart> {
    let mut parts = Vec::new();
    let all = elements(frame);
    let mut start = frame.len() - all.rest().len();
    for (at, element) in (0..).zip(all) {
        let (pushes, _) = split_pushes(element);
        let end = start + element.len();
        if let Some((place, reader)) = place(at).and_then(|place| Some((place, reader(place)?))) {
            parts.push(PackedPart { place, bytes: start + pushes.len()..end, reader });
        }
        start = end;
    }
    parts
}
