//! Compresses a client's long values off the worker's thread, in the order in which it has sent them.

use tokio::sync::Semaphore;

use super::connection::Connection;
use crate::net::clock;
use crate::net::exchange::End;
use crate::telemetry::compressed;
use respguard_engine::pipeline::packing::{PackedValue, Unpacked, long_values};

/// From so many bytes on a value is compressed off the worker's thread.
const LONG_BYTES: usize = 256 * 1024;
/// Clients whose values are compressed at a time, of the whole process; the others wait.
static AT_A_TIME: Semaphore = Semaphore::const_new(4);

impl Connection {
    /// Long values in the batch that are not compressed yet.
    pub(super) fn values_to_pack(&self) -> Option<Vec<Unpacked>> {
        let context = &self.shared.context;
        let policy = context.policy();
        if policy.compress_rules().is_empty() {
            return None;
        }
        let values = long_values(&policy, &context.table(), &self.input.batch, &self.input.bytes, LONG_BYTES);
        (!values.is_empty()).then_some(values)
    }

    /// The client's next commands are planned with them.
    pub(super) async fn pack(&mut self, values: Vec<Unpacked>) {
        let begun = clock::now();
        // It is never closed.
        let _permit = AT_A_TIME.acquire().await;
        let work = move || values.into_iter().map(Unpacked::pack).collect::<Vec<PackedValue>>();
        match tokio::task::spawn_blocking(work).await {
            Ok(packed) => self.input.batch.keep_packed(packed),
            // The process ends, or the work has panicked: what the client has sent cannot go on.
            Err(_) => self.exchange.end(End::Gone),
        }
        compressed::observe(clock::now().saturating_duration_since(begun));
    }
}
