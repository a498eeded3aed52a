//! The proxy as a process before a real redis-server.

mod blocking;
mod breaker;
mod chaos;
mod degrade;
mod edges;
mod failure;
mod groups;
mod harness;
mod holds;
mod hygiene;
mod interleaved;
mod parting;
mod passthrough;
mod pubsub;
mod session;
mod sessions_at_random;
mod slow;
mod spellings;
mod transactions;
mod ttl;
