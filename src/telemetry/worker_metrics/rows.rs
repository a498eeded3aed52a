//! Counts per rule, by outcome.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use metrics::Counter;

use super::meter::flush_into;

/// Counts per rule and outcome; each pair is in the output from when its rule was named, at zero.
#[derive(Debug, Default)]
pub(super) struct Rows<const N: usize> {
    rows: Vec<Row<N>>,
}

#[derive(Debug)]
struct Row<const N: usize> {
    name: Arc<str>,
    counts: [Cell<u64>; N],
    shown: [OnceCell<Counter>; N],
}

impl<const N: usize> Rows<N> {
    /// The rows of these names; a new name gets a new row.
    pub(super) fn rows_of(&mut self, names: &[Arc<str>]) -> Vec<usize> {
        let mut row = |name: &Arc<str>| {
            self.row_of(name).unwrap_or_else(|| {
                self.rows.push(Row {
                    name: Arc::clone(name),
                    counts: std::array::from_fn(|_| Cell::new(0)),
                    shown: std::array::from_fn(|_| OnceCell::new()),
                });
                self.rows.len() - 1
            })
        };
        names.iter().map(&mut row).collect()
    }

    /// Every pair appears in the output, whether it has occurred or not: what is not there before it counts is invisible to
    /// Prometheus' `increase` (<https://prometheus.io/docs/practices/instrumentation/>).
    pub(super) fn show(&self, register: impl Fn(Arc<str>, usize) -> Counter) {
        for row in &self.rows {
            for (outcome, shown) in row.shown.iter().enumerate() {
                shown.get_or_init(|| register(Arc::clone(&row.name), outcome));
            }
        }
    }

    pub(super) fn row_of(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|row| *row.name == *name)
    }

    pub(super) fn add(&self, row: usize, outcome: usize) {
        if let Some(row) = self.rows.get(row) {
            row.counts[outcome].set(row.counts[outcome].get() + 1);
        }
    }

    /// What was counted since it was flushed.
    pub(super) fn each(&self, tell: impl Fn(&Arc<str>, usize, u64)) {
        for row in &self.rows {
            let counted = row.counts.iter().map(Cell::get).enumerate().filter(|(_, count)| *count > 0);
            counted.for_each(|(outcome, count)| tell(&row.name, outcome, count));
        }
    }

    pub(super) fn flush(&self, register: impl Fn(Arc<str>, usize) -> Counter) {
        for row in &self.rows {
            for (outcome, count) in row.counts.iter().enumerate() {
                flush_into(count, || row.shown[outcome].get_or_init(|| register(Arc::clone(&row.name), outcome)));
            }
        }
    }
}
