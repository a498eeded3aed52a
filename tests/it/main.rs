//! The proxy as a process before a real redis-server.

mod blocking;
mod edges;
mod failure;
mod groups;
mod harness;
mod holds;
mod interleaved;
mod parting;
mod passthrough;
mod pubsub;
mod session;
mod sessions_at_random;
mod spellings;
mod transactions;
mod ttl;
