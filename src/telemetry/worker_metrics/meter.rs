//! One count, or one gauge's change, until it is flushed.

use std::cell::Cell;

use metrics::{Counter, Gauge};

/// A count whose counter stands in the output from the start, at zero.
#[derive(Debug)]
pub(super) struct Meter {
    count: Cell<u64>,
    counter: Counter,
}

impl Meter {
    pub(super) fn at_zero(counter: Counter) -> Meter {
        Meter { count: Cell::new(0), counter }
    }

    pub(super) fn add(&self, n: u64) {
        self.count.set(self.count.get() + n);
    }

    pub(super) fn flush(&self) {
        flush_into(&self.count, || &self.counter);
    }
}

/// How far a gauge that workers share has moved.
#[derive(Debug)]
pub(super) struct Level {
    moved: Cell<i64>,
    gauge: Gauge,
}

impl Level {
    pub(super) fn at_zero(gauge: Gauge) -> Level {
        gauge.increment(0.0);
        Level { moved: Cell::new(0), gauge }
    }

    pub(super) fn shift(&self, by: i64) {
        self.moved.set(self.moved.get() + by);
    }

    /// By how much it has moved.
    pub(super) fn flush(&self) -> i64 {
        let moved = self.moved.take();
        if moved != 0 {
            // Connections are counted in far less than the 2^53 that a float holds exactly.
            self.gauge.increment(moved as f64);
        }
        moved
    }
}

pub(super) fn flush_into<'a>(count: &Cell<u64>, counter: impl FnOnce() -> &'a Counter) {
    let n = count.take();
    if n > 0 {
        counter().increment(n);
    }
}
