//! Compares the command table with what a real redis-server says and does.

mod invocations;
mod keys;
mod merge;
#[path = "../it/harness/program.rs"]
mod program;
mod server;
mod ttl;
mod ttl_cases;
