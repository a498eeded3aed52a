//! What a client's requests are looked at in one turn: those whose way is free, so that a turn costs no more than what it
//! sends, however many wait.
//!
//! A request that something before it stands against is looked at again when that has gone. One whose node is not there, or
//! whose time has not come, is looked at from time to time.

use std::time::Instant;

use super::core::Core;
use super::entry::{Entry, Phase};
use super::hindrances::Behind;
use super::settings::NodeName;
use super::state::State;
use crate::net::clock;

/// What one turn may cost before others of the worker have theirs:
const WORK_MAX: usize = 2048;
/// so much each request that is looked at by itself, and 1 each that is sent together with others.
const LOOK: usize = 8;
/// Requests that may have to wait longer are looked at again in one turn.
const STUCK_MAX: usize = 64;

/// A request that is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Visit {
    number: u64,
    /// It is looked at for the first time.
    is_new: bool,
}

/// What is left of a turn.
struct Turn {
    work: usize,
    stuck: usize,
    /// The head that was looked at.
    head: Option<u64>,
}

impl Core {
    /// Sends what can go now, as much as one turn allows; of the rest the next one is told.
    pub(super) fn dispatch(&self) {
        self.dispatch_in(0);
    }

    /// The same where what has waited for a node, or for its time, may go.
    pub(super) fn dispatch_again(&self) {
        self.dispatch_in(STUCK_MAX);
    }

    fn dispatch_in(&self, stuck: usize) {
        let state = &mut *self.state.borrow_mut();
        state.queue_simple();
        if !state.returning.is_empty() {
            let who = self.as_recipient();
            state.returning.drain(..).for_each(|(lease, is_clean)| lease.give_back(&who, is_clean));
        }
        let now = clock::now();
        self.hold_behind_moved(state);
        self.settle_subscriptions(state, now);
        let mut turn = Turn { work: WORK_MAX, stuck: stuck.min(state.waiting.stuck.len()), head: None };
        let mut pieces = self.nodes.pieces.take();
        while let Some(Visit { number, is_new }) = state.next_visit(&mut turn) {
            let Some(place) = state.place_of(number) else { continue };
            let entry = &mut state.queue[place];
            if is_new || entry.is_fence {
                entry.wait_since(state.answered_at);
            }
            // What could not go when it was read goes by itself later: in a stream the order is that of the requests.
            if is_new && self.collect(state, place, &mut pieces) {
                turn.work = turn.work.saturating_sub(1);
                continue;
            }
            turn.work = turn.work.saturating_sub(LOOK);
            if !pieces.is_empty() {
                self.send_pieces(state, &mut pieces);
            }
            // What was not sent after all may have to go before it.
            if let Some(place) = state.place_of(number) {
                self.look_at(state, place, now);
            }
        }
        self.send_pieces(state, &mut pieces);
        self.nodes.pieces.replace(pieces);
        state.release_messages(self.key.borrow().protocol);
        let is_head_new = state.waits_at_head() && turn.head != Some(state.first);
        if is_head_new || !state.waiting.ready.is_empty() || state.may_look_further() {
            self.has_news.set(true);
            self.wake();
        }
    }

    /// What is under way at a node that serves its slot no more may have to go again: others of its slot wait for it, or they
    /// would run before it.
    fn hold_behind_moved(&self, state: &mut State) {
        let version = self.nodes.version();
        if std::mem::replace(&mut state.version, version) == version {
            return;
        }
        for place in 0..state.queue.len() {
            let Entry { phase, slot, sent_to, stream, .. } = &state.queue[place];
            let node = stream.and_then(|stream| state.streams.node(stream)).or(sent_to.as_ref());
            let is_elsewhere = |(slot, node): (u16, &NodeName)| !self.nodes.is_owner(slot, node);
            if *phase == Phase::Sent && slot.zip(node).is_some_and(is_elsewhere) {
                state.block_others(place);
            }
        }
    }
}

impl State {
    /// The request that is to be looked at next.
    fn next_visit(&mut self, turn: &mut Turn) -> Option<Visit> {
        if turn.work == 0 {
            return None;
        }
        // The link waits for it, and behind one that goes only as such nothing goes.
        if turn.head != Some(self.first) && self.first < self.next && self.waits_at_head() {
            turn.head = Some(self.first);
            return Some(Visit { number: self.first, is_new: false });
        }
        while let Some(number) = self.waiting.pop(&mut turn.stuck) {
            let Some(place) = self.place_of(number) else { continue };
            let entry = &mut self.queue[place];
            entry.is_listed = false;
            if entry.phase == Phase::Waiting {
                return Some(Visit { number, is_new: false });
            }
        }
        // What was answered when it was read, or went with what is before it.
        self.next = self.next.max(self.first);
        while self.place_of(self.next).is_some_and(|place| self.queue[place].phase != Phase::Waiting) {
            self.next += 1;
        }
        self.waiting.is_full = self.next - self.first >= self.waiting.most_under_way();
        if !self.may_look_further() {
            return None;
        }
        let number = self.next;
        if number == self.first {
            turn.head = Some(number);
        }
        self.next += 1;
        Some(Visit { number, is_new: true })
    }

    /// True where the first request that has not been looked at may be.
    #[inline]
    fn may_look_further(&self) -> bool {
        let next = self.next.max(self.first);
        let is_there = next < self.first + self.queue.len() as u64 && next - self.first < self.waiting.most_under_way();
        is_there && self.hindrances.first_for_all().is_none_or(|first| first >= next)
    }

    /// The head has yet to go.
    fn waits_at_head(&self) -> bool {
        self.queue.front().is_some_and(|entry| entry.phase == Phase::Waiting)
    }

    /// True where something may go that has not gone.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        !self.queue.is_empty()
            && (self.waits_at_head()
                || !self.waiting.ready.is_empty()
                || !self.waiting.stuck.is_empty()
                || self.may_look_further())
    }

    /// Where the request with this number stands.
    fn place_of(&self, number: u64) -> Option<usize> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (place < self.queue.len()).then_some(place)
    }

    /// Whether nothing before it stands against the request at this place.
    #[inline]
    pub(super) fn may_go(&self, place: usize) -> bool {
        let entry = &self.queue[place];
        if entry.is_fence {
            return place == 0;
        }
        self.hindrances.is_empty() || self.hindrances.allow(self.first + place as u64, entry.slot)
    }

    /// Counts the request among those that keep others waiting, until it is over.
    pub(super) fn block_others(&mut self, place: usize) {
        let number = self.first + place as u64;
        let entry = &mut self.queue[place];
        if !entry.blocks_others && !entry.is_over() {
            entry.blocks_others = true;
            self.hindrances.insert(number, entry.behind());
        }
    }

    /// The request at this place keeps nobody waiting any more; the time of who has waited for it begins then.
    pub(super) fn let_others_go(&mut self, place: usize, since: Instant) {
        let entry = &mut self.queue[place];
        if !std::mem::take(&mut entry.blocks_others) {
            return;
        }
        let behind = entry.behind();
        let next = self.hindrances.remove(self.first + place as u64, behind);
        if let Some(place) = next.filter(|next| *next < self.next).and_then(|next| self.place_of(next)) {
            self.queue[place].wait_since(since);
            self.look_soon(place);
        }
    }

    /// Nothing of its client's may stand against the request at this place any more.
    fn look_soon(&mut self, place: usize) {
        let entry = &mut self.queue[place];
        if entry.phase == Phase::Waiting && !entry.is_fence && !std::mem::replace(&mut entry.is_listed, true) {
            self.waiting.ready.push_back(self.first + place as u64);
        }
    }

    /// The request was not sent after all.
    pub(super) fn wait_again(&mut self, place: usize) {
        let head_at = self.head_at;
        self.queue[place].phase = Phase::Waiting;
        self.queue[place].wait_since(head_at);
        self.block_others(place);
        self.look_soon(place);
    }

    /// It was looked at, and waits: behind another one, which says when that has gone, or it is looked at again.
    pub(super) fn keep_waiting(&mut self, number: u64) {
        let Some(place) = self.place_of(number).filter(|place| self.queue[*place].phase == Phase::Waiting) else { return };
        self.block_others(place);
        let entry = &mut self.queue[place];
        let is_first = !entry.is_fence && self.hindrances.is_first(number, entry.behind());
        if is_first && !std::mem::replace(&mut entry.is_listed, true) {
            self.waiting.stuck.push_back(number);
        }
    }

    /// Until when what is sent now is waited for, which stands at this place: its time begins no sooner than that of its
    /// client's connection, which waits for the head.
    pub(super) fn deadline(&self, place: usize) -> Option<Instant> {
        let entry = &self.queue[place];
        let from = match place {
            0 => self.head_at,
            _ if entry.again.is_some() => entry.since,
            _ => clock::now(),
        };
        let deadline = entry.deadline?;
        deadline.checked_add(from.saturating_duration_since(entry.since))
    }
}

impl Entry {
    fn behind(&self) -> Behind {
        match self.slot {
            Some(slot) if !self.is_fence => Behind::Slot(slot),
            _ => Behind::All,
        }
    }

    /// Its time begins no sooner than then.
    #[inline]
    pub(super) fn wait_since(&mut self, at: Instant) {
        let late = at.saturating_duration_since(self.since);
        if !late.is_zero() {
            self.since = at;
            self.deadline = self.deadline.and_then(|deadline| deadline.checked_add(late));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::upstream::cluster::times::Times;
    use crate::net::upstream::cluster::waiting_requests::{UNDER_WAY_FEW, UNDER_WAY_MAX};
    use respguard_engine::command::CommandId;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A client's requests, of these slots; the fences among them of none.
    fn state(slots: impl IntoIterator<Item = Option<u16>>) -> State {
        let (mut state, now) = (State::new(), clock::now());
        for slot in slots {
            let entry = Entry::single(Times { now, deadline: now + PATIENCE }, CommandId::UNKNOWN, 0..0, 0, false);
            state.put(Entry { slot, is_fence: slot.is_none(), ..entry });
        }
        state
    }

    /// What is looked at in one turn, none of which can go.
    fn looked_at(state: &mut State) -> Vec<u64> {
        let mut turn = Turn { work: WORK_MAX, stuck: state.waiting.stuck.len(), head: None };
        let mut looks = Vec::new();
        while let Some(look) = state.next_visit(&mut turn) {
            looks.push(look.number);
            state.keep_waiting(look.number);
        }
        looks
    }

    fn send(state: &mut State, number: u64) {
        let place = state.place_of(number).expect("it is there");
        state.queue[place].phase = Phase::Sent;
    }

    fn answer(state: &mut State, number: u64) {
        send(state, number);
        state.finish(state.place_of(number).expect("it is there"), Phase::Done);
    }

    #[test]
    fn behind_one_that_goes_only_as_the_first_nothing_is_looked_at() {
        let mut state = state([Some(1), None, Some(2), None]);
        assert_eq!(looked_at(&mut state), [0, 1]);
        send(&mut state, 0);
        assert_eq!((looked_at(&mut state), state.has_unsent()), (vec![], false));
        answer(&mut state, 0);
        assert!(state.has_unsent() && state.may_go(0));
        assert_eq!(looked_at(&mut state), [1], "it is the first now");
        answer(&mut state, 1);
        assert_eq!(looked_at(&mut state), [2, 3]);
    }

    #[test]
    fn of_those_that_wait_for_one_slot_only_the_first_is_looked_at_again() {
        let mut state = state([Some(1), Some(7), Some(7), Some(7), Some(8)]);
        assert_eq!(looked_at(&mut state), [0, 1, 2, 3, 4]);
        send(&mut state, 0);
        send(&mut state, 1);
        assert_eq!(looked_at(&mut state), [4], "it waits for its node");
        answer(&mut state, 1);
        assert_eq!(looked_at(&mut state), [2, 4]);
        answer(&mut state, 2);
        answer(&mut state, 4);
        assert_eq!((looked_at(&mut state), looked_at(&mut state)), (vec![3], vec![3]));
        assert!(!state.may_go(2) || state.hindrances.is_first(3, Behind::Slot(7)));
        answer(&mut state, 3);
        answer(&mut state, 0);
        assert!(state.queue.is_empty() && state.hindrances.is_empty() && !state.has_unsent());
    }

    #[test]
    fn time_begins_when_what_stood_before_was_answered_and_goes_on_when_that_was_given_up() {
        let mut state = state([Some(7), Some(7), Some(7)]);
        let begin = state.queue[0].since;
        assert_eq!(looked_at(&mut state), [0, 1, 2]);
        std::thread::sleep(Duration::from_millis(2));
        clock::tick();
        let later = clock::now();
        answer(&mut state, 0);
        assert_eq!(state.queue[0].since, later);
        assert_eq!(state.queue[0].deadline, Some(later + PATIENCE));
        assert_eq!(state.queue[1].since, begin, "what is before it waits itself");
        std::thread::sleep(Duration::from_millis(2));
        clock::tick();
        state.end(0, Phase::Done, false);
        assert_eq!(state.queue[0].since, later, "for that it has waited, too");
        assert_eq!(state.deadline(0), Some(clock::now() + PATIENCE), "what is sent has its time at its node");
    }

    #[test]
    fn no_more_than_so_many_are_under_way_at_once() {
        let mut state = state((0..3000).map(|at| Some(at % 9)));
        let turn = |state: &mut State| {
            let mut turn = Turn { work: WORK_MAX, stuck: 0, head: None };
            let looks = std::iter::from_fn(|| {
                let number = state.next_visit(&mut turn)?.number;
                send(state, number);
                Some(number)
            });
            looks.count() as u64
        };
        assert_eq!((turn(&mut state), turn(&mut state)), (UNDER_WAY_MAX, 0));
        (0..UNDER_WAY_FEW).for_each(|number| answer(&mut state, number));
        assert_eq!(turn(&mut state), 0, "as many are under way still");
        answer(&mut state, UNDER_WAY_FEW);
        assert_eq!(turn(&mut state), UNDER_WAY_FEW + 1);
    }

    #[test]
    fn a_turn_ends_before_all_is_looked_at() {
        let mut state = state((0..900).map(Some));
        let mut turn = Turn { work: 0, stuck: 0, head: None };
        assert_eq!(state.next_visit(&mut turn), None);
        turn.work = 1;
        assert_eq!(state.next_visit(&mut turn), Some(Visit { number: 0, is_new: true }));
        assert!(state.has_unsent() && state.may_look_further());
    }
}
