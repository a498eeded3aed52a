//! The batch that a worker lends a client while it has commands.

use std::ops::{Deref, DerefMut};

use respguard_engine::pipeline::batch::Batch;

/// Reads as a blank batch while there is none.
#[derive(Default)]
pub(super) struct PooledBatch(Option<Box<Batch>>);

impl PooledBatch {
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn set(&mut self, batch: Box<Batch>) {
        self.0 = Some(batch);
    }

    /// What goes back, once nothing is known from it.
    pub(super) fn take_blank(&mut self) -> Option<Box<Batch>> {
        self.0.take_if(|batch| batch.is_blank())
    }
}

impl Deref for PooledBatch {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        self.0.as_deref().unwrap_or(const { &Batch::BLANK })
    }
}

impl DerefMut for PooledBatch {
    fn deref_mut(&mut self) -> &mut Batch {
        self.0.get_or_insert_default()
    }
}
