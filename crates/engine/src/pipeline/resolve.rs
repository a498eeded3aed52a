//! Fills a client's places with the replies, and reports what they say about its groups and pipelines.
//!
//! `confirmation`, `hello`, `probe` and `transaction` read the replies that are more than bytes for the client; `fault`
//! answers in the place of those that will not come.

mod confirmation;
mod fault;
mod hello;
mod packed;
mod probe;
mod reads_ahead;
mod recovery;
mod transaction;

use super::finding::Finding;
use super::group::{self, Behind, Returned, WrappedGroup};
use super::reading::{ClientSide, Findings, Part, Reading};
use super::sequencer::Sequencer;
use super::slot::{BufferedReply, GroupSlot, Role, Slot, TrackerId};
use crate::command::CommandId;
use crate::link::owed::{Owed, ReplyTo, Seq};
use respguard_resp::value;

/// What CLIENT UNBLOCK answers about a client that is not blocked.
const NOT_BLOCKED: &[u8] = b":0\r\n";

impl Sequencer {
    /// Takes one piece of a frame for a request, or for a question of our own. Returns how many further frames turned out to
    /// belong to the same request (unsubscribing from all).
    pub fn admit(&mut self, to: ReplyTo, piece: &[u8], part: Part, client: &mut ClientSide<'_>) -> u32 {
        if self.asks_packed
            && let ReplyTo::Request(seq) = to
            && self.reads_values(seq)
        {
            return self.admit_packed(seq, piece, part, client);
        }
        self.admit_now(to, piece, part, client)
    }

    /// The same for what need not wait.
    #[inline]
    pub(super) fn admit_now(&mut self, to: ReplyTo, piece: &[u8], part: Part, client: &mut ClientSide<'_>) -> u32 {
        let behind = self.behind();
        if part.last {
            self.owed = self.owed.saturating_sub(1);
        }
        let mut more = 0;
        match to {
            ReplyTo::Question(number) => self.admit_answer(number, piece, part, client.found),
            ReplyTo::Request(seq) => match self.slot(seq).map(|slot| &slot.role) {
                Some(Role::Group(_)) => self.admit_group(seq, piece, part, behind, client),
                Some(_) => {
                    let ClientSide { session, out, found, context } = client;
                    let mut reading = Reading { piece, part, session, context: *context, found, more: &mut more };
                    self.admit_reply(seq, &mut reading, out);
                }
                None => client.found.push(Finding::CloseUpstream),
            },
        }
        self.owed += more as usize;
        self.check();
        more
    }

    /// A piece of a reply that leaves at once, or waits in its place.
    fn admit_reply(&mut self, seq: Seq, reading: &mut Reading<'_>, out: &mut Vec<u8>) {
        if self.ahead.bytes() > 0 && !self.settle_read_ahead(seq, reading.part.last) {
            return;
        }
        let is_next = seq == self.first;
        let Some(slot) = self.slot(seq) else { return reading.found.push(Finding::CloseUpstream) };
        let (command, tracker, silent) = (slot.command, slot.tracker, slot.silent);
        let role = std::mem::replace(&mut slot.role, Role::ProxyReply);
        let (mut early, role) = match role {
            Role::Buffered(mut early) => match early.rest.take() {
                Some(rest) => (Some(early), rest),
                None => return self.close_for(seq, Role::Buffered(early), reading.found),
            },
            Role::Held | Role::ProxyReply | Role::Member => return self.close_for(seq, role, reading.found),
            role => (None, role),
        };
        let mut slot = Slot { role, command, tracker, silent };
        if is_next {
            let done = self.read_visibly(&mut slot, reading, out);
            if done {
                return self.leave(1, out);
            }
        } else {
            let mut waiting = early.take().unwrap_or_else(|| Box::new(BufferedReply { reply: Vec::new(), rest: None }));
            let before = waiting.reply.len();
            let done = self.read_visibly(&mut slot, reading, &mut waiting.reply);
            self.waits_longer(before, waiting.reply.len());
            waiting.rest = (!done).then(|| std::mem::replace(&mut slot.role, Role::ProxyReply));
            slot.role = Role::Buffered(waiting);
        }
        if let Some(place) = self.slot(seq) {
            *place = slot;
        }
    }

    /// Reads a piece; what the client does not want to see goes nowhere. Confirmations are pushes, which CLIENT REPLY is not
    /// about; that (un)subscribing is refused is a reply.
    fn read_visibly(&mut self, slot: &mut Slot, reading: &mut Reading<'_>, out: &mut Vec<u8>) -> bool {
        let is_push = matches!(slot.role, Role::Subscription { .. } | Role::UnsubscribeAll(_)) && !value::is_error(reading.piece);
        match slot.silent && !is_push {
            true => self.read(slot, reading, &mut Vec::new()),
            false => self.read(slot, reading, out),
        }
    }

    /// A frame came for a request that awaits none.
    fn close_for(&mut self, seq: Seq, role: Role, found: &mut Vec<Finding>) {
        found.push(Finding::CloseUpstream);
        if let Some(slot) = self.slot(seq) {
            slot.role = role;
        }
    }

    /// Reads a piece of the reply that `slot` awaits, and writes what the client gets of it; true when that is all.
    fn read(&mut self, slot: &mut Slot, reading: &mut Reading<'_>, out: &mut Vec<u8>) -> bool {
        let Reading { piece, part, context, .. } = *reading;
        match &mut slot.role {
            Role::Plain => out.extend_from_slice(piece),
            Role::Checked(check) => check.admit(piece, part, out, &mut reading.findings()),
            Role::Refused(error) => {
                if part.last {
                    out.append(error);
                }
            }
            Role::Exec => {
                self.pass_exec(reading, out);
                self.admit_transaction(slot, reading);
            }
            Role::ExecRead(checks) => self.pass_exec_read(checks, reading, out),
            Role::Multi | Role::Queued | Role::QueuedChecked(_) => {
                out.extend_from_slice(piece);
                self.admit_transaction(slot, reading);
            }
            Role::Subscription { .. } | Role::UnsubscribeAll(_) => {
                out.extend_from_slice(piece);
                return part.last && confirmation::admit(&mut slot.role, piece, &mut reading.session.subscriptions, reading.more);
            }
            Role::Lane => {
                out.extend_from_slice(piece);
                reading.session.note_reply(piece);
            }
            Role::Mode(mode, on) => {
                if part.first && !value::is_error(piece) {
                    reading.session.modes.set(*mode, *on);
                }
                out.extend_from_slice(piece);
            }
            Role::Redirect => reading.session.tracking.translate(piece, out),
            Role::Verdict => {
                if part.first {
                    reading.session.note_answer(!value::is_error(piece));
                }
                if !reading.session.accepted {
                    out.extend_from_slice(piece);
                }
            }
            Role::Unblock => {
                reading.session.note_answer(piece != NOT_BLOCKED);
                if reading.session.accepted {
                    out.extend_from_slice(piece);
                }
            }
            Role::Hello => hello::admit(piece, part.first, reading.session, context.client_id, out),
            Role::Discard => {}
            Role::Group(_) | Role::Member | Role::ProxyReply | Role::Held | Role::Buffered(_) | Role::ReadAhead(_) => {
                reading.found.push(Finding::CloseUpstream);
            }
        }
        if part.first
            && let Some(tracker) = slot.tracker
        {
            self.count(tracker, slot.command, reading);
        }
        part.last
    }

    /// How many replies from this request's on, at most `most`, go to the client as they are, and count for one pipeline:
    /// none unless they are the next to leave.
    pub fn takes_plain(&self, first: Seq, most: u32) -> u32 {
        let (head, tail) = self.queue.as_slices();
        let tracker = match head.first() {
            Some(slot) if first == self.first => slot.tracker,
            _ => return 0,
        };
        let most = match tracker {
            Some(id) => self.trackers.get(self.place_of(id)).map_or(0, |tracker| tracker.takes_unread(most)),
            None => most,
        };
        let most = most as usize;
        let plain = Slot::plain_run(head, tracker, most);
        // The ring may go on at its other end.
        let wrapped = if plain < most && plain == head.len() { Slot::plain_run(tail, tracker, most - plain) } else { 0 };
        (plain + wrapped) as u32
    }

    /// Takes `frames` whole replies, no more than [`Self::takes_plain`] says, of which none is an error.
    pub fn admit_plain(&mut self, replies: &[u8], frames: u32, client: &mut ClientSide<'_>) {
        let ClientSide { out, found, context, .. } = client;
        out.extend_from_slice(replies);
        self.owed -= frames as usize;
        if let Some(id) = self.queue.front().and_then(|slot| slot.tracker) {
            let place = self.place_of(id);
            let answered = self.queue.iter().take(frames as usize).map(|slot| slot.command);
            if let Some(tracker) = self.trackers.get_mut(place)
                && tracker.admit_unread(answered)
            {
                tracker.report(context.table, found);
                self.forget_trackers();
            }
        }
        self.leave_plain(frames as usize, out);
        self.check();
    }

    /// Takes those answers to a group at the beginning of `bytes` that say no more than that its transaction has begun, and
    /// that a command is queued: how many there are, and their bytes.
    pub fn take_queued(&mut self, group: Seq, bytes: &[u8]) -> (u32, usize) {
        let (frames, length) = self.group(group).map_or((0, 0), |slot| slot.group.take_queued(bytes));
        self.owed = self.owed.saturating_sub(frames as usize);
        self.check();
        (frames, length)
    }

    /// What is owed beside the frame that has come.
    fn behind(&self) -> Behind {
        match self.owed.saturating_sub(1) {
            0 => Behind::Nothing,
            frames if frames == self.rare.questions.len() => Behind::Questions,
            _ => Behind::Requests,
        }
    }

    /// A group that goes out once more is owed everything again, one that is asked about the answers to that.
    fn admit_group(&mut self, seq: Seq, piece: &[u8], part: Part, behind: Behind, client: &mut ClientSide<'_>) {
        let ClientSide { out, found, context, .. } = client;
        let further = self.write_group(seq, out, |group, sink| {
            let (before, known) = (group.remaining(), found.len());
            let findings = &mut Findings { table: context.table, found };
            let done = group.admit((piece, part), behind, sink, findings);
            group.name_keys(&mut found[known..]);
            let further = if part.last && !done { group.remaining() + 1 - before } else { 0 };
            (done, (further, !done && group.goes_again()))
        });
        let (further, again) = further.unwrap_or_default();
        self.owed += further as usize;
        if again {
            self.rare.make_mut().again.push_back(seq);
        }
    }

    /// What is to be sent once more for a group, and the replies that it is owed.
    pub fn take_again(&mut self) -> Option<(&[u8], Owed)> {
        let seq = self.rare.get_mut()?.again.pop_front()?;
        let group = &mut self.group(seq)?.group;
        group.take_again().map(|(request, frames)| (request, Owed::request(seq, frames)))
    }

    /// What a group was answered so far does not count, and it is owed everything again; false where its client has seen
    /// some of that, or it is asked about by its marker.
    pub fn start_over(&mut self, to: ReplyTo) -> bool {
        let ReplyTo::Request(seq) = to else { return false };
        self.forget_gathered(seq);
        let Some(GroupSlot { group, .. }) = self.group(seq) else { return false };
        let before = group.remaining();
        let may = group.forget_answers();
        let further = if may { group.remaining() - before } else { 0 };
        self.owed += further as usize;
        may
    }

    /// True when nothing of a reply that has begun has gone to the client.
    pub fn is_unseen(&mut self, to: ReplyTo) -> bool {
        let ReplyTo::Request(seq) = to else { return true };
        let is_next = seq == self.first && !self.is_gathered(seq);
        match self.slot(seq).filter(|slot| !slot.silent).map(|slot| &slot.role) {
            Some(Role::Group(slot)) => !slot.group.has_replied_in_part(),
            Some(Role::Discard) | None => true,
            Some(_) => !is_next,
        }
    }

    /// Lets a group write where its replies go now; `write` also says whether it is done.
    pub(super) fn write_group<R>(
        &mut self,
        seq: Seq,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut WrappedGroup, &mut Vec<u8>) -> (bool, R),
    ) -> Option<R> {
        let (is_next, is_silent) = (seq == self.first, self.slot(seq)?.silent);
        let GroupSlot { group, apart, replies } = self.group(seq)?;
        let leaves = is_next && apart.is_none();
        let before = replies.len();
        if leaves {
            out.append(replies);
        }
        let mut unseen = Vec::new();
        let sink = if is_silent {
            &mut unseen
        } else if leaves {
            &mut *out
        } else {
            replies
        };
        let (done, written) = write(group, sink);
        let after = self.group(seq).map_or(0, |slot| slot.replies.len());
        self.waits_longer(before, after);
        if done {
            self.end_group(seq, leaves, out);
        }
        Some(written)
    }

    /// The group is done: its replies have left, or part into the places of its members.
    fn end_group(&mut self, seq: Seq, have_left: bool, out: &mut Vec<u8>) {
        if let Some(rare) = self.rare.get_mut() {
            rare.marked.retain(|marked| *marked != seq);
        }
        let Some(slot) = self.slot(seq) else { return };
        let Role::Group(mut place) = std::mem::replace(&mut slot.role, Role::ProxyReply) else { return };
        let GroupSlot { group, apart, replies } = &mut *place;
        let members = group.reply_count();
        self.waits_longer(replies.len(), 0);
        self.carried_bytes = self.carried_bytes.saturating_sub(group.carried_bytes());
        if let Some(returned) = group.take_returned() {
            return self.give_back(seq, apart.as_deref(), returned, out);
        }
        if have_left {
            // The group has been taken from the first place, the others have only members.
            self.leave_plain(members, out);
        } else {
            for (member, reply) in group::apart(replies, members).into_iter().enumerate() {
                let place = apart.as_ref().map_or(seq.plus(member), |apart| apart[member]);
                self.fill(place, reply, out);
            }
        }
        self.group_pool.give(place);
    }

    /// A transaction of several groups has not run: some of its commands are answered, the others are sent again.
    fn give_back(&mut self, seq: Seq, apart: Option<&[Seq]>, returned: Returned, out: &mut Vec<u8>) {
        self.rare.make_mut().returned.refused |= returned.refused;
        let mut answered = Vec::new();
        for (place, command) in returned.commands.into_iter().enumerate() {
            let at = apart.map_or(seq.plus(place), |apart| apart[place]);
            match command {
                Ok(reply) => answered.push((at, reply)),
                Err(request) => {
                    if let Some(slot) = self.slot(at) {
                        *slot = Slot { role: Role::Held, command: CommandId::UNKNOWN, tracker: None, silent: false };
                    }
                    self.rare.make_mut().returned.commands.push((at, request));
                }
            }
        }
        self.void_reads_ahead();
        answered.into_iter().for_each(|(at, reply)| self.fill(at, reply, out));
    }

    fn count(&mut self, id: TrackerId, command: CommandId, reading: &mut Reading<'_>) {
        if let Some(tracker) = self.tracker(id)
            && tracker.admit(command, reading.piece, reading.part.last)
        {
            tracker.report(reading.context.table, reading.found);
            self.forget_trackers();
        }
    }
}

#[cfg(test)]
mod tests;
