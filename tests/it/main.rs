//! The proxy as a process before a real redis-server.

mod blocking;
mod demands;
mod edges;
mod every_command;
mod failure;
mod groups;
mod harness;
mod holds;
mod interleaved;
mod parting;
mod passthrough;
mod protocol_errors;
mod pubsub;
mod rules;
mod session;
mod sessions_at_random;
mod spellings;
mod transactions;
mod ttl;
