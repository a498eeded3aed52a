//! Counts per command.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use metrics::{Counter, counter};

use super::meter::flush_into;
use crate::telemetry::label::key;
use crate::telemetry::names;

/// The command label of everything that the command table does not know.
pub const OTHER: usize = 0;

/// Counts per command; a command appears in the output once it was used.
#[derive(Debug)]
pub(super) struct Commands {
    counts: Box<[Cell<u64>]>,
    shown: Box<[OnceCell<Counter>]>,
    names: Box<[Arc<str>]>,
}

impl Commands {
    pub(super) fn new(names: &[Arc<str>]) -> Commands {
        let mut names = names.to_vec();
        match names.first_mut() {
            Some(first) => *first = Arc::from("other"),
            None => names.push(Arc::from("other")),
        }
        Commands {
            counts: names.iter().map(|_| Cell::new(0)).collect(),
            shown: names.iter().map(|_| OnceCell::new()).collect(),
            names: names.into(),
        }
    }

    pub(super) fn add(&self, index: usize, n: u64) {
        let count = self.counts.get(index).unwrap_or(&self.counts[OTHER]);
        count.set(count.get() + n);
    }

    pub(super) fn flush(&self) {
        for (index, count) in self.counts.iter().enumerate() {
            flush_into(count, || {
                self.shown[index].get_or_init(|| counter!(names::COMMANDS_TOTAL, key::COMMAND => Arc::clone(&self.names[index])))
            });
        }
    }
}
