//! Moves work that would block a worker's thread to another one: compressing and decompressing long values.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Semaphore;

use crate::net::clock;
use crate::net::context::Context;
use crate::telemetry::compressed;

/// Clients for which that is done at a time, of the whole process; the others wait, in the order in which they came.
static AT_A_TIME: Semaphore = Semaphore::const_new(4);

/// Does the work, for one client, once it is its turn; nothing if it panicked, or the process ends.
pub async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let begun = clock::now();
    // It is never closed.
    let _permit = AT_A_TIME.acquire().await;
    let done = tokio::task::spawn_blocking(work).await;
    compressed::observe(clock::now().saturating_duration_since(begun));
    done.ok()
}

/// Bytes that such work takes, counted among what is kept for all clients until it is dropped.
pub struct Reserved {
    context: Rc<Context>,
    bytes: Cell<usize>,
}

impl Reserved {
    pub fn new(context: &Rc<Context>, bytes: usize) -> Reserved {
        let reserved = Reserved { context: Rc::clone(context), bytes: Cell::new(0) };
        context.kept.change(&reserved.bytes, bytes);
        reserved
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.context.kept.change(&self.bytes, 0);
    }
}
