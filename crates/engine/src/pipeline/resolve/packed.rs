//! Replies with compressed values on their way to their places: gathered, read elsewhere where they are long, then passed on.

use std::borrow::Cow;
use std::sync::Arc;

use crate::link::owed::{ReplyTo, Seq};
use crate::pipeline::packed_reply::{LONG_BYTES, PackedPart, PackedReplies, PackedReply, ReadReply};
use crate::pipeline::reading::{ClientSide, Part, Reading};
use crate::pipeline::reply_checks::ExecChecks;
use crate::pipeline::sequencer::Sequencer;
use crate::pipeline::slot::{Role, Slot};
use crate::pipeline::unpack::{Reader, Unpack};
use respguard_resp::scan::Top;

impl Sequencer {
    /// Whether what comes for this request may hold values that have to be read.
    pub(in crate::pipeline) fn reads_values(&mut self, seq: Seq) -> bool {
        match self.slot(seq).map(|slot| &slot.role) {
            Some(Role::Checked(check)) => check.reader().is_some(),
            Some(Role::Group(group)) => group.group.reads_values(),
            Some(Role::Exec) => self.rare.exec_checks.reads_values(),
            _ => false,
        }
    }

    /// Takes a piece of such a reply.
    pub(in crate::pipeline) fn admit_packed(&mut self, seq: Seq, piece: &[u8], part: Part, client: &mut ClientSide<'_>) -> u32 {
        let to = ReplyTo::Request(seq);
        let mut begun = self.packed().and_then(|packed| packed.take_begun(seq)).unwrap_or_default();
        let bytes = if part.first && part.last {
            Cow::Borrowed(piece)
        } else {
            if part.first {
                // It may come once more, from another connection.
                begun.clear();
            }
            begun.extend_from_slice(piece);
            Cow::Owned(begun)
        };
        let whole = Part { first: true, ..part };
        if !part.last {
            let passes = matches!(self.slot(seq).map(|slot| &slot.role),
                Some(Role::Checked(check)) if check.reader().is_some_and(|reader| !reader.may_hold_packed(&bytes)));
            if passes {
                return self.admit_now(to, &bytes, whole, client);
            }
            self.rare.make_mut().packed.get_or_insert_default().begun.push((seq, bytes.into_owned()));
            return 0;
        }
        let parts = self.packed_parts(seq, &bytes, part.top);
        let promised = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.reader.promised(&bytes[part.bytes.clone()])));
        if promised < LONG_BYTES {
            return self.admit_now(to, &bytes, whole, client);
        }
        self.end_transaction(seq, &bytes, whole, client);
        let reply = PackedReply { seq, frame: bytes.into_owned(), top: part.top, parts, promised };
        self.rare.make_mut().packed.get_or_insert_default().whole.push_back(reply);
        0
    }

    /// Where values are in a whole reply.
    fn packed_parts(&mut self, seq: Seq, frame: &[u8], top: Top) -> Vec<PackedPart> {
        let exec = self.rare.exec_checks.parts(frame);
        match self.slot(seq) {
            // Nobody hears it.
            Some(Slot { silent: true, role: Role::Checked(_), .. }) | None => Vec::new(),
            Some(Slot { role: Role::Checked(check), .. }) => {
                let all = |reader: &Arc<Reader>| PackedPart { place: 0, bytes: 0..frame.len(), reader: Arc::clone(reader) };
                check.reader().map(all).into_iter().collect()
            }
            Some(Slot { role: Role::Exec, .. }) => exec,
            Some(Slot { role: Role::Group(group), .. }) => group.group.packed_parts(frame, top),
            Some(_) => Vec::new(),
        }
    }

    /// EXEC has ended the client's transaction, whenever its reply leaves: the next one may begin before.
    fn end_transaction(&mut self, seq: Seq, frame: &[u8], part: Part, client: &mut ClientSide<'_>) {
        let Some(slot) = self.slot(seq).filter(|slot| matches!(slot.role, Role::Exec)) else { return };
        let mut ended = Slot { role: Role::Exec, command: slot.command, tracker: slot.tracker, silent: slot.silent };
        let checks = self.rare.get_mut().map(|rare| std::mem::take(&mut rare.exec_checks)).unwrap_or_default();
        let ClientSide { session, found, context, .. } = client;
        let mut reading = Reading { piece: frame, part, session, context: *context, found, more: &mut 0 };
        self.admit_transaction(&mut ended, &mut reading);
        if let Some(slot) = self.slot(seq) {
            slot.role = Role::ExecRead(Box::new(checks));
        }
    }

    fn packed(&mut self) -> Option<&mut PackedReplies> {
        self.rare.get_mut()?.packed.as_deref_mut()
    }

    /// The oldest reply whose values are to be read.
    pub fn next_packed(&mut self) -> Option<PackedReply> {
        self.packed()?.whole.pop_front()
    }

    /// Whether there is one.
    #[inline]
    pub fn has_packed(&self) -> bool {
        self.rare.packed.as_ref().is_some_and(|packed| !packed.whole.is_empty())
    }

    /// Bytes of such replies that are whole and wait.
    #[inline]
    pub fn packed_waiting(&self) -> usize {
        self.rare.packed.as_ref().map_or(0, |packed| packed.waiting())
    }

    /// Bytes of all such replies, but for those that were taken.
    #[inline]
    pub fn packed_bytes(&self) -> usize {
        self.rare.packed.as_ref().map_or(0, |packed| packed.bytes())
    }

    /// Something of the reply to this request is kept until it is whole, and nothing of it has gone to the client.
    pub(in crate::pipeline) fn is_gathered(&self, seq: Seq) -> bool {
        self.rare.packed.as_ref().is_some_and(|packed| packed.begun.iter().any(|(known, _)| *known == seq))
    }

    /// The rest of it will not come, or comes from its beginning on.
    pub(in crate::pipeline) fn forget_gathered(&mut self, seq: Seq) {
        if let Some(packed) = self.packed() {
            drop(packed.take_begun(seq));
        }
    }

    /// No room is left to gather replies: of those that come in, the values are not read.
    pub fn refuse_begun(&mut self, client: &mut ClientSide<'_>) {
        let begun = self.packed().map(|packed| std::mem::take(&mut packed.begun)).unwrap_or_default();
        for (seq, bytes) in begun {
            self.each_unpack(seq, &mut |_, unpack| unpack.refuse());
            let part = Part { first: true, last: false, top: Top::default() };
            self.admit_now(ReplyTo::Request(seq), &bytes, part, client);
        }
    }

    /// What reads the compressed values of the reply, by the places of the commands.
    fn each_unpack(&mut self, seq: Seq, visit: &mut dyn FnMut(u32, &mut Unpack)) {
        match self.slot(seq).map(|slot| &mut slot.role) {
            Some(Role::Checked(check)) => check.unpack().into_iter().for_each(|unpack| visit(0, unpack)),
            Some(Role::Group(group)) => group.group.unpacks().for_each(|(place, unpack)| visit(place, unpack)),
            Some(Role::ExecRead(checks)) => checks.unpacks().for_each(|(place, unpack)| visit(place, unpack)),
            Some(Role::Exec) => self.rare.make_mut().exec_checks.unpacks().for_each(|(place, unpack)| visit(place, unpack)),
            _ => {}
        }
    }

    /// The values of a reply that was taken have been read: it goes to its place.
    pub fn admit_read(&mut self, reply: ReadReply, client: &mut ClientSide<'_>) {
        let ReadReply { packed: PackedReply { seq, frame, top, .. }, read } = reply;
        let is_read = read.is_some();
        // In the order of their places.
        let mut parts = read.into_iter().flatten().peekable();
        self.each_unpack(seq, &mut |place, unpack| match parts.next_if(|part| part.place == place) {
            Some(part) => unpack.set_read(part.reply, part.found),
            None if !is_read => unpack.refuse(),
            None => {}
        });
        let part = Part { first: true, last: true, top };
        self.admit_now(ReplyTo::Request(seq), &frame, part, client);
    }

    /// Passes on EXEC's answer, whose values have been read, from the place in which it waited.
    pub(in crate::pipeline) fn pass_exec_read(&mut self, checks: &mut ExecChecks, reading: &mut Reading<'_>, out: &mut Vec<u8>) {
        let read = checks.admit(reading.piece, reading.part, &mut reading.findings());
        self.keep_piece(&read, out);
    }

    /// Passes on a piece of the answer to the client's own EXEC.
    pub(in crate::pipeline) fn pass_exec(&mut self, reading: &mut Reading<'_>, out: &mut Vec<u8>) {
        let piece = reading.piece;
        let checked = match self.rare.get_mut() {
            Some(rare) => rare.exec_checks.admit(piece, reading.part, &mut reading.findings()),
            None => Cow::Borrowed(piece),
        };
        self.keep_piece(&checked, out);
    }
}

#[cfg(test)]
mod tests;
