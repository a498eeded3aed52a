//! A client's batch, which an idle client does without.

use std::ops::{Deref, DerefMut};

use crate::engine::pipeline::batch::Batch;
use crate::net::context::Buffers;

/// A batch that belongs to the worker; blank while there is none.
#[derive(Debug, Default)]
pub(super) struct Lent(Option<Box<Batch>>);

impl Lent {
    /// Takes one, unless there is one.
    pub(super) fn borrow_from(&mut self, batches: &Buffers<Box<Batch>>) {
        self.0.get_or_insert_with(|| batches.take());
    }

    /// Gives the blank batch back.
    pub(super) fn give_back(&mut self, batches: &Buffers<Box<Batch>>) {
        if let Some(batch) = self.0.take() {
            batches.give(batch);
        }
    }
}

impl Deref for Lent {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        self.0.as_deref().unwrap_or(const { &Batch::BLANK })
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Batch {
        self.0.get_or_insert_default()
    }
}
