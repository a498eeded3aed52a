//! The proxy as a process before a real redis-server.

mod blocking;
mod breaker;
mod degrade;
mod edges;
mod every_command;
mod failure;
mod foretold;
mod groups;
mod guarded;
mod harness;
mod holds;
mod interleaved;
mod parting;
mod passthrough;
mod protocol_errors;
mod pubsub;
mod session;
mod sessions_at_random;
mod spellings;
mod transactions;
mod ttl;
