//! A worker's observations of the server, reported to the breaker that all workers share.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::{info, warn};

use crate::telemetry::gauge;
use crate::telemetry::readiness::Readiness;
use respguard_engine::link::breaker::{Breaker, Sample, State, Thresholds};

/// The breaker of the process' upstream; `None` when the configuration wants none. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SharedBreaker(Option<Arc<Mutex<Breaker>>>);

impl SharedBreaker {
    /// A closed breaker.
    pub fn new(thresholds: Thresholds, now: Instant) -> SharedBreaker {
        gauge::set_breaker_state(State::Closed);
        SharedBreaker(Some(Arc::new(Mutex::new(Breaker::new(thresholds, now)))))
    }

    /// The word of its state; `None` where there is no breaker.
    pub fn state(&self) -> Option<&'static str> {
        let breaker = self.0.as_ref()?;
        let state = breaker.lock().unwrap_or_else(PoisonError::into_inner).state();
        Some(state.as_str())
    }
}

/// One worker's view: cells on the way of replies, the shared breaker every few milliseconds.
#[derive(Debug, Default)]
pub struct Health {
    breaker: SharedBreaker,
    readiness: Readiness,
    /// Can be below zero for a moment: what is taken back is counted only at the end of a read.
    answered: Cell<i64>,
    failed: Cell<u32>,
    alive: Cell<bool>,
    /// How the breaker stood when it was last looked at.
    refuses: Cell<bool>,
}

impl Health {
    /// Nothing seen yet.
    pub fn new(breaker: SharedBreaker, readiness: Readiness) -> Health {
        let (answered, failed, alive, refuses) = Default::default();
        Health { breaker, readiness, answered, failed, alive, refuses }
    }

    /// Replies came in time.
    pub fn answered(&self, replies: u32) {
        self.answered.set(self.answered.get() + i64::from(replies));
    }

    /// A reply counted by `answered` came too late for that, or was a state error.
    pub fn not_answered(&self) {
        self.answered.set(self.answered.get() - 1);
    }

    /// Something failed that is not the client's fault.
    pub fn failed(&self, requests: u32) {
        self.failed.set(self.failed.get().saturating_add(requests));
    }

    /// The server shows that it is there.
    pub fn alive(&self) {
        self.alive.set(true);
    }

    /// Of a server without a breaker: its replies, whether it has shown itself, and whether something has failed, since the
    /// last time.
    pub fn take_seen(&self) -> (u32, bool, bool) {
        let answered = u32::try_from(self.answered.take().max(0)).unwrap_or(u32::MAX);
        (answered, self.alive.take(), self.failed.take() > 0)
    }

    /// True while requests are to be answered without asking the server.
    pub fn refuses(&self) -> bool {
        self.refuses.get()
    }

    /// Tells the breaker what was seen; true when this worker is to send a probe and to call `conclude`.
    pub fn report(&self, now: Instant) -> bool {
        let answered = u32::try_from(self.answered.take().max(0)).unwrap_or(u32::MAX);
        let sample = Sample { answered, failed: self.failed.take(), alive: self.alive.take() };
        let mut probes = false;
        self.change(|breaker| {
            breaker.record(sample, now);
            probes = breaker.begin_probe(now);
        });
        probes
    }

    /// What came of the probe.
    pub fn conclude(&self, served: bool, now: Instant) {
        // An answer that shows only what is wrong is no reason to ask again soon.
        self.alive.set(self.alive.get() && served);
        self.change(|breaker| breaker.conclude(served, now));
    }

    /// Another server is asked from now on.
    pub fn forget(&self, now: Instant) {
        self.failed.set(0);
        self.change(|breaker| breaker.forget(now));
    }

    fn change(&self, change: impl FnOnce(&mut Breaker)) {
        let Some(breaker) = &self.breaker.0 else { return };
        let mut breaker = breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.state();
        change(&mut breaker);
        let after = breaker.state();
        self.refuses.set(after != State::Closed);
        if before != after {
            // Under the lock, so that what is shown ends where the breaker does.
            self.show(after);
        }
    }

    fn show(&self, state: State) {
        gauge::count_breaker_transition(state);
        gauge::set_breaker_state(state);
        self.readiness.breaker(state != State::Closed);
        match state {
            State::Closed => info!("the breaker has closed: requests go to the server again"),
            State::Open => warn!("the breaker has opened: requests are refused"),
            State::HalfOpen => info!("the breaker is half open: the server is being probed"),
        }
    }
}
