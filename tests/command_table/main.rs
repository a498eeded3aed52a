//! Compares the command table with what a real redis-server says and does.

mod invocations;
mod keys;
mod merge;
mod server;
mod ttl;
mod ttl_cases;
