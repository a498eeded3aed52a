//! Compresses a client's long values off the worker's thread, in the order in which they were sent.

use super::connection::Connection;
use crate::net::exchange::End;
use crate::net::off_thread::{Reserved, off_thread};
use respguard_engine::pipeline::packed_reply::LONG_BYTES;
use respguard_engine::pipeline::packed_value::PackedValue;
use respguard_engine::pipeline::packing::{Unpacked, long_values};

impl Connection {
    /// Long values in the batch that are not compressed yet.
    pub(super) fn values_to_pack(&self) -> Option<Vec<Unpacked>> {
        let context = &self.shared.context;
        let policy = context.policy();
        if policy.compress_rules().is_empty() {
            return None;
        }
        let least = usize::try_from(LONG_BYTES).unwrap_or(usize::MAX);
        let values = long_values(&policy, &context.table(), &self.input.batch, &self.input.bytes, least);
        (!values.is_empty()).then_some(values)
    }

    /// The client's next commands are planned with them.
    pub(super) async fn pack(&mut self, values: Vec<Unpacked>) {
        let bytes = values.iter().map(|value| value.value.len()).sum();
        let _reserved = Reserved::new(&self.shared.context, bytes);
        match off_thread(move || values.into_iter().map(Unpacked::pack).collect::<Vec<PackedValue>>()).await {
            Some(packed) => self.input.batch.keep_packed(packed),
            // What the client has sent cannot go on.
            None => self.exchange.end(End::Gone),
        }
    }
}
