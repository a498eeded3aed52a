//! What respguard tells its operators: metrics, violations, readiness and the log.
//!
//! Each worker counts in a [`worker_metrics::WorkerMetrics`] of its own, without atomics, and flushes it into the shared
//! recorder once a second and when somebody reads `/metrics`. Rare events go to the recorder at once.
//! Labels are bounded: words of closed sets, names of the command table and names of rules, never a key.

pub mod audits;
pub mod compressed;
pub mod durable;
pub mod exposition;
pub mod flush;
pub mod gap;
pub mod gauge;
pub mod history;
pub mod label;
pub mod latency;
pub mod log;
pub mod names;
mod process;
pub mod readiness;
pub mod record;
pub mod report;
pub mod slow;
pub mod totals;
pub mod worker_metrics;
pub mod zero;
