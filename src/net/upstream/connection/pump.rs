//! Moves the bytes of an open connection: requests out, replies in, each to its recipient.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use super::head_of_line::LONG;
use super::held_up::Stop;
use super::reading::Reading;
use super::wire::Wire;
use super::{Link, Loss, LostReply, Phase, State, fault_all};
use crate::net::clock;
use crate::net::upstream::cluster::HeadFault;
use crate::net::upstream::{Admitted, Recipient};
use crate::telemetry::label::{Direction, RequestClass, Side};
use respguard_engine::link::breaker::is_state_error;
use respguard_engine::link::inflight::{Class, Cut, Owner};
use respguard_engine::link::owed::Owed;
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::reading::Part;
use respguard_engine::session::subscription::Arrival;

/// What is read in one turn, at least, before other tasks have theirs.
const TURN_BYTES: usize = 1024 * 1024;

/// Who takes what comes next.
pub(super) enum Taken {
    /// Its recipient writes it on.
    ByClient,
    /// It is kept for its recipient, which is behind: others wait for what comes behind it.
    Kept,
    /// Nobody: it stays at the server.
    Not(Stop),
}

impl Link {
    pub(super) async fn pump(&self, mut stream: impl Wire) -> Loss {
        let mut reading = Reading::default();
        self.is_spliceable.set(stream.socket().is_some());
        let loss = std::future::poll_fn(|cx| self.poll_pump(&mut stream, &mut reading, cx)).await;
        reading.finish(&self.context);
        loss
    }

    fn poll_pump(&self, stream: &mut impl Wire, reading: &mut Reading, cx: &mut TaskContext<'_>) -> Poll<Loss> {
        self.register(cx);
        if self.phase() == Phase::Closed {
            return Poll::Ready(if self.shared.get() { Loss::Stalled } else { Loss::Closed });
        }
        // A reply that waits for the primary to be known is not its client's any more.
        if !self.is_in_term() {
            return Poll::Ready(Loss::Moved);
        }
        let was_in_doubt = self.doubt.get().is_some();
        if self.is_in_doubt() {
            return Poll::Pending;
        }
        if was_in_doubt && let Err(loss) = reading.hand_out(self) {
            return Poll::Ready(loss);
        }
        if let Poll::Ready(Err(loss)) = self.poll_write(stream, cx) {
            return Poll::Ready(loss);
        }
        self.note_kept();
        self.see_to_watch();
        let mut turn_bytes = 0;
        loop {
            if self.doubt.get().is_some() {
                return Poll::Pending;
            }
            match self.next_taken() {
                Taken::Not(why) => {
                    if self.held_up.why().is_none() && self.has_unwritten() {
                        // Now the server is to have all of it.
                        cx.waker().wake_by_ref();
                    }
                    self.held_up.stop(why, self.context.kept.is_tight());
                    self.head_of_line.hold();
                    self.see_to_watch();
                    reading.rest(&self.context);
                    return Poll::Pending;
                }
                Taken::Kept => self.head_of_line.hold(),
                Taken::ByClient => self.head_of_line.go_on(reading.is_inside_large()),
            }
            if self.head_of_line.is_held() {
                self.see_to_watch();
            }
            self.held_up.go_on();
            if turn_bytes >= TURN_BYTES {
                // Others of the worker have their turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(spliced) = self.poll_splice_reply(stream, reading, cx) {
                match ready!(spliced) {
                    Ok(0) => return Poll::Ready(Loss::Eof),
                    Ok(bytes) => {
                        clock::tick();
                        self.note_read(bytes);
                        turn_bytes += bytes;
                    }
                    Err(error) => return Poll::Ready(error.into()),
                }
                continue;
            }
            match ready!(reading.poll_read(stream, &self.context, cx)) {
                Ok(0) => return Poll::Ready(Loss::Eof),
                Ok(bytes) => {
                    clock::tick();
                    self.note_read(bytes);
                    turn_bytes += bytes;
                    let waiting = self.paced.get().map(|_| self.state.borrow().inflight.len());
                    if let Err(loss) = reading.hand_out(self) {
                        return Poll::Ready(loss);
                    }
                    self.widen_pace(waiting);
                    // What was answered may be what the next piece has waited for.
                    if self.has_unwritten()
                        && let Poll::Ready(Err(loss)) = self.poll_write(stream, cx)
                    {
                        return Poll::Ready(loss);
                    }
                }
                Err(error) => match error.get_ref().and_then(|source| source.downcast_ref::<HeadFault>()) {
                    Some(fault) if self.give_up_head(fault.clone()) => {}
                    Some(_) => return Poll::Ready(Loss::OutOfSync),
                    None => return Poll::Ready(error.into()),
                },
            }
        }
    }

    /// The next replies will not come; the connection goes on, unless that would leave it out of step.
    #[cold]
    fn give_up_head(&self, HeadFault { fault, frames, orphan }: HeadFault) -> bool {
        self.head_orphan.replace(orphan);
        let mut told = Vec::new();
        let is_whole = {
            let inflight = &mut self.state.borrow_mut().inflight;
            if frames == 0 {
                told.extend(inflight.recipients().next().map(|who| (Rc::clone(who), Owed::nothing(), Cut::BeforeReply)));
            }
            inflight.give_up_head(frames, |who, owed, cut| told.push((Rc::clone(who), owed, cut)))
        };
        match fault {
            Fault::Timeout => self.give_up_late(told),
            _ => fault_all(told, fault),
        }
        // It was theirs alone: with what others of this connection lose another one may be meant.
        self.head_orphan.take();
        is_whole
    }

    /// Nodes may still run what is given up.
    fn give_up_late(&self, told: Vec<LostReply>) {
        for (who, owed, cut) in told {
            match owed.frames() {
                0 => who.note_late(1),
                _ if cut == Cut::Late => {}
                _ => who.fault(owed, Fault::Timeout),
            }
            let frames = owed.frames().max(1);
            match &*self.at_once.borrow() {
                Some(cluster) => cluster.wait_for_late(Rc::clone(&who), frames),
                None => who.settle_late(frames),
            }
            who.flush();
        }
    }

    pub(super) fn register(&self, cx: &TaskContext<'_>) {
        self.woken.set(false);
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn poll_write(&self, stream: &mut impl Wire, cx: &mut TaskContext<'_>) -> Poll<Result<(), Loss>> {
        if !self.is_in_term() {
            return Poll::Ready(Err(Loss::Moved));
        }
        if self.doubt.get().is_some() {
            return Poll::Pending;
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let again = self.shared.get();
        ready!(self.poll_write_pipe(state, stream, cx))?;
        let end = if state.out_at < state.out.len() { self.may_write(state) } else { state.out_at };
        while state.out_at < end {
            let Poll::Ready(written) = Pin::new(&mut *stream).poll_write(cx, &state.out[state.out_at..end]) else {
                state.forget_written_front(again);
                return Poll::Pending;
            };
            let written = written?;
            state.out_at += written;
            let (position, answered) = (state.out_start + state.out_at as u64, state.inflight.first_start().unwrap_or(u64::MAX));
            state.writes.note(position, answered, clock::now());
            self.context.metrics.add_bytes(Side::Upstream, Direction::Out, written);
            if self.has_room_behind(state, usize::MAX) {
                state.waiting_for_room.wake_some();
            }
        }
        if state.out_at == state.out.len() {
            state.forget_written(again);
        } else {
            state.forget_written_front(again);
        }
        ready!(Pin::new(&mut *stream).poll_flush(cx))?;
        if self.finishing.get() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            self.finishing.set(false);
        }
        Poll::Ready(Ok(()))
    }

    /// What becomes of what comes next.
    pub(super) fn next_taken(&self) -> Taken {
        let state = self.state.borrow();
        let Some(behind) = self.next_behind_for(&state) else { return Taken::ByClient };
        let Owner::Recipient(who, _) = state.inflight.owner() else { return Taken::Not(Stop::Alone) };
        if !state.inflight.is_waited_for(|head, other| Rc::ptr_eq(head, other) || other.is_gone()) {
            return Taken::Not(Stop::Alone);
        }
        // It may catch up in a moment, or the others may find another connection.
        let is_theirs = !self.hands_on.get() && (self.retired.get() || self.head_of_line.is_very_long());
        if behind >= LONG && is_theirs && who.keeps_for_others() { Taken::Kept } else { Taken::Not(Stop::Awaited) }
    }

    /// For how long who takes what comes next has been behind, if it is.
    pub(super) fn next_behind_for(&self, state: &State) -> Option<Duration> {
        match state.inflight.owner() {
            Owner::Recipient(who, _) => who.behind_for(),
            Owner::Late(_) => None,
            Owner::Nobody => self.owner.borrow().as_ref().and_then(|owner| owner.behind_for()),
        }
    }

    /// How many of the next replies, at most `most`, may be handed over together. No message is of a kind that is plain.
    pub(super) fn takes_plain(&self, most: u32) -> u32 {
        let state = self.state.borrow();
        match (state.inflight.head_requests(), state.inflight.owner()) {
            (Some((first, requests)), Owner::Recipient(who, _)) => who.takes_plain(first, requests.min(most)),
            _ => 0,
        }
    }

    /// Hands whole replies, no more than [`Self::takes_plain`] says, to whom they belong.
    pub(super) fn hand_over_plain(&self, replies: &[u8], frames: u32, touched: &mut Vec<Rc<dyn Recipient>>) -> Result<(), Loss> {
        let mut state = self.state.borrow_mut();
        let (Some((first, _)), Owner::Recipient(who, _)) = (state.inflight.head_requests(), state.inflight.owner()) else {
            return Err(Loss::OutOfSync);
        };
        let admitted = who.admit_plain(first, replies, frames);
        if !admitted.is_done {
            touch(who, touched);
        }
        state.inflight.finish_frames(frames);
        if !self.shared.get() {
            state.inflight.restart_head(clock::now());
        }
        self.note_close(admitted.close)
    }

    /// Hands over those answers at the beginning of `bytes` that tell a group no more than that its commands are queued: how
    /// many there are, and their bytes.
    pub(super) fn hand_over_queued(&self, bytes: &[u8], touched: &mut Vec<Rc<dyn Recipient>>) -> (u32, usize) {
        if !bytes.starts_with(b"+") || !self.shared.get() {
            return (0, 0);
        }
        let mut state = self.state.borrow_mut();
        let Some((who, group)) = state.inflight.head_group() else { return (0, 0) };
        let (frames, length) = who.take_queued(group, bytes);
        if frames > 0 {
            touch(who, touched);
            state.inflight.finish_frames(frames);
        }
        (frames, length)
    }

    /// Hands over what has come as it is, if the lease's owner wants bytes and no frames: a frame may never end. True when
    /// it did.
    pub(super) fn pass_unread(&self, bytes: &[u8], touched: &mut Vec<Rc<dyn Recipient>>) -> bool {
        let owner = self.owner.borrow();
        let Some(owner) = owner.as_ref().filter(|owner| owner.takes_bytes()) else { return false };
        owner.push(bytes, false);
        touch(owner, touched);
        true
    }

    /// Hands one piece of a frame to whom it belongs; the recipient is put into `touched` the first time.
    pub(super) fn hand_over(
        &self,
        piece: &[u8],
        part: Part,
        stray: &mut bool,
        touched: &mut Vec<Rc<dyn Recipient>>,
    ) -> Result<(), Loss> {
        if part.first {
            *stray = match self.owner.borrow().as_ref() {
                Some(owner) => owner.classify(piece) == Arrival::Message,
                // Nobody listens; who waits for a reply must not get it.
                None => part.top.kind == b'>' && !self.shared.get() && !self.state.borrow().inflight.is_empty(),
            };
        }
        if *stray {
            if let Some(owner) = self.owner.borrow().as_ref() {
                owner.push(piece, part.last);
                touch(owner, touched);
            }
            return Ok(());
        }
        let mut state = self.state.borrow_mut();
        if self.shared.get() && part.top.kind == b'>' {
            return Err(Loss::OutOfSync);
        }
        let admitted = match state.inflight.owner() {
            Owner::Nobody => return Err(Loss::OutOfSync),
            Owner::Late(who) => {
                if part.last {
                    self.health().not_answered();
                    who.settle_late(1);
                    touch(who, touched);
                }
                Admitted::default()
            }
            Owner::Recipient(who, to) => {
                if part.top.kind == b'-' && part.first && is_state_error(piece) {
                    self.health().not_answered();
                    self.health().failed(1);
                }
                let admitted = who.admit(to, piece, part);
                touch(who, touched);
                admitted
            }
        };
        if part.last {
            state.inflight.finish_head(admitted.more);
            if !self.shared.get() {
                state.inflight.restart_head(clock::now());
            }
        } else {
            state.inflight.start_head();
        }
        self.note_close(admitted.close)
    }

    /// What was handed over may have left the connection in a state that nobody else must meet.
    fn note_close(&self, close: bool) -> Result<(), Loss> {
        match close {
            true if self.shared.get() => Err(Loss::Unsafe),
            close => {
                self.unclean.set(self.unclean.get() || close);
                Ok(())
            }
        }
    }

    /// When the request at the head was read, and what it is one of.
    pub(super) fn head_asked(&self) -> Option<(Instant, Class)> {
        self.state.borrow().inflight.head_class()
    }

    /// The server has answered what was asked then.
    pub(super) fn answered(&self, asked_at: Instant) {
        self.context.last_answered.answered(asked_at);
        self.settings.last_answered.iter().for_each(|node| node.answered(asked_at));
    }

    /// Counts replies by how long they took, from when they were asked for until now.
    pub(super) fn observe(&self, class: Class, (asked_at, now): (Instant, Instant), replies: u32) {
        // What a cluster's node has answered is counted where it is the client's.
        if !self.settings.is_node {
            let class = match class {
                Class::Reads => RequestClass::Reads,
                Class::Group => RequestClass::Groups,
                Class::Other => RequestClass::Others,
            };
            self.context.metrics.observe_request(class, now.saturating_duration_since(asked_at), replies);
        }
        self.health().answered(replies);
        self.context.retries.answered(replies);
    }
}

fn touch(who: &Rc<dyn Recipient>, touched: &mut Vec<Rc<dyn Recipient>>) {
    if who.mark() {
        touched.push(Rc::clone(who));
    }
}
