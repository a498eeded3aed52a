//! The deadlines of a connection: requests that wait too long, replies that stall, silence.

use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use tracing::debug;

use super::held_up::Stop;
use super::{Link, LostReply, Phase, State, fault_all};
use crate::net::clock;
use crate::net::upstream::{PING, call};
use respguard_engine::link::inflight::Cut;
use respguard_engine::pipeline::finding::Fault;

/// A server that has not answered anything for so long may need a cure.
const STRUGGLE: Duration = Duration::from_millis(100);

impl Link {
    /// Answers what has waited too long, asks a silent connection for a sign of life, and looks
    /// again at a recipient that was behind; called every few milliseconds.
    pub fn on_tick(self: &Rc<Self>) {
        if let Some(why) = self.held_up.why() {
            // It is the client that does not go on, not the server.
            self.state.borrow_mut().last_read = clock::now();
            match why {
                Stop::Awaited => self.wake(),
                Stop::Alone => self.look_for_missed_wakeup(),
            }
        }
        self.look_again();
        if self.out_kept.get() > 0 {
            self.note_kept();
        }
        self.check_deadlines();
        self.check_heartbeat();
        self.kill_orphan_again();
        self.check_struggle();
        self.offer_room();
        self.look_at_pipe();
        self.see_to_watch();
    }

    /// A connection that has stopped for one client goes on when that client says so. Were it not told, that client would wait
    /// for ever.
    fn look_for_missed_wakeup(&self) {
        let is_behind = {
            let state = self.state.borrow();
            state.phase != Phase::Ready || self.next_behind_for(&state).is_some()
        };
        if is_behind || self.woken.get() {
            return;
        }
        // That others keep less is told nobody.
        if !self.held_up.is_by_memory() {
            debug!(upstream = %self.server(), "a connection could go on, and had not been told");
            self.context.metrics.missed_wakeup();
        }
        self.wake();
    }

    /// What waits for news of the primary, or for the connection itself, is told of them once; that it looks again costs nothing,
    /// for it is rare.
    fn look_again(&self) {
        if self.doubt.get().is_some() || !self.is_in_term() {
            self.wake();
        }
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Connecting {
            state.waiting.drain(..).for_each(Waker::wake);
        }
    }

    fn check_struggle(&self) {
        let state = self.state.borrow();
        let since = |at: Instant| clock::now().saturating_duration_since(at);
        let struggles = match state.phase {
            Phase::Ready => {
                since(state.last_read) >= STRUGGLE && state.inflight.head_read_at().is_some_and(|at| since(at) >= STRUGGLE)
            }
            Phase::Connecting => self.down.get().is_some() || self.struggling.get(),
            Phase::Closed => false,
        };
        self.struggling.set(struggles);
    }

    fn check_heartbeat(&self) {
        let now = clock::now();
        let mut state = self.state.borrow_mut();
        // On a lease the question could land in its client's transaction.
        if state.phase != Phase::Ready || !self.shared.get() {
            return;
        }
        let silent = now.saturating_duration_since(state.last_read);
        match state.beat_at {
            // The answer, like any other bytes, ends the silence.
            Some(beat_at) if state.last_read >= beat_at => state.beat_at = None,
            Some(beat_at)
                if now.saturating_duration_since(beat_at) >= self.settings.heartbeat_timeout
                    && (state.inflight.is_given_up_behind_head() || self.is_dead_since_beat(&state)) =>
            {
                state.beat_at = None;
                state.phase = Phase::Closed;
                drop(state);
                self.wake();
            }
            None if silent >= self.settings.heartbeat && state.inflight.is_empty() => {
                state.beat_at = Some(now);
                drop(state);
                // Any answer will do, also that a password is wanted or a dataset is being loaded: the connection is alive.
                call::send_and_forget(self, PING, self.settings.request_timeout);
            }
            _ => {}
        }
    }

    /// What stands behind the heartbeat loses its outcome with the connection: a server that answers nobody meanwhile works on
    /// something long, and answers here in the end.
    fn is_dead_since_beat(&self, state: &State) -> bool {
        let Some((since, _)) = state.inflight.waits_since(state.last_read) else { return false };
        self.silence.note(since, self.context.last_answered.asked_at()) >= self.settings.heartbeat_timeout
    }

    /// A connection whose head is past its deadline, and on which nothing has come while the server answered on another
    /// one. A blocking command's own timeout is no stall. What leads to a whole cluster is never one: it is the connections to
    /// nodes that are, and each of them has its own.
    fn is_stalled(&self, state: &State, now: Instant) -> bool {
        if self.settings.nodes.is_some() {
            return false;
        }
        let Some((since, deadline)) = state.inflight.waits_since(state.last_read) else { return false };
        let silent = self.silence.note(since, self.context.last_answered.asked_at());
        deadline <= self.held_up.own_time(now) && silent >= self.settings.stall_timeout
    }

    /// For how long its head has been waited for beyond its deadline, or on a connection that many share at all, if that is
    /// no less than `least`.
    pub fn waits_for(&self, least: Duration) -> Option<Duration> {
        let state = self.state.borrow();
        let now = clock::now();
        let (since, deadline) = state.inflight.waits_since(state.last_read).filter(|_| state.phase == Phase::Ready)?;
        let is_due = (self.shared.get() || deadline <= now) && self.held_up.why().is_none();
        Some(now.saturating_duration_since(since)).filter(|silent| is_due && *silent >= least)
    }

    /// Checks for head-of-line blocking; true while it has to be looked at again.
    pub fn look_at_head(&self) -> bool {
        let since = self.waited_for_since();
        match self.held_up.why() {
            Some(Stop::Alone) => self.mark_alone(),
            Some(Stop::Awaited) => self.wake(),
            None => {
                if let Some(since) = since {
                    self.head_of_line.look(since, self.server_answered().asked_at());
                }
            }
        }
        self.head_of_line.is_to_be_looked_at(since)
    }

    /// On a connection that clients share: begins to look at the head, if somebody may have to wait behind it.
    pub(super) fn see_to_watch(&self) {
        if self.shared.get() && self.head_of_line.is_to_be_looked_at(self.waited_for_since()) {
            self.context.watch.begin();
        }
    }

    /// Since when the head has been waited for.
    fn waited_for_since(&self) -> Option<Instant> {
        let state = self.state.borrow();
        let waits = state.inflight.waits_since(state.last_read).filter(|_| state.phase == Phase::Ready);
        waits.map(|(since, _)| since)
    }

    fn check_deadlines(&self) {
        let now = clock::now();
        let mut told: Vec<LostReply> = Vec::new();
        let mut state = self.state.borrow_mut();
        let fault = match state.phase {
            Phase::Ready => {
                let own = self.held_up.own_time(now);
                if self.is_paced() {
                    let written = state.out_start + state.out_at as u64;
                    state.inflight.postpone_unsent(written, own, self.settings.request_timeout);
                }
                if state.inflight.waits_since(state.last_read).is_some_and(|(_, deadline)| deadline <= own) {
                    self.note_slow(&state, true);
                }
                state.inflight.expire(own, Rc::ptr_eq, |who, owed| told.push((Rc::clone(who), owed, Cut::BeforeReply)));
                if self.is_stalled(&state, now) {
                    state.phase = Phase::Closed;
                    self.wake();
                }
                Fault::Timeout
            }
            Phase::Connecting => {
                if let Some(read_before) = now.checked_sub(self.settings.patience()) {
                    let cuts = state.inflight.abandon_read_before(read_before, Rc::ptr_eq, |who, owed, cut| {
                        told.push((Rc::clone(who), owed, cut));
                    });
                    if !cuts.is_empty() {
                        state.cut_out(&cuts);
                        state.wake_waiting();
                    }
                }
                // What is still to come of a request whose beginning was given up must go nowhere.
                if !told.is_empty() && !self.shared.get() {
                    state.phase = Phase::Closed;
                    self.wake();
                }
                Fault::Unavailable
            }
            Phase::Closed => return,
        };
        drop(state);
        if !told.is_empty() {
            // Who takes what comes next may be another one now.
            self.wake();
        }
        let frames = told.iter().map(|(_, owed, _)| owed.frames()).sum();
        self.health().failed(frames);
        if fault == Fault::Timeout {
            self.context.metrics.add_timeouts(told.iter().map(|(_, owed, _)| owed.replies()).sum());
        }
        fault_all(told, fault);
    }
}
