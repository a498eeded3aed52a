//! The proxy as a process before a real redis-server.

mod blocking;
mod breaker;
mod degrade;
mod demands;
mod edges;
mod every_command;
mod failure;
mod groups;
mod harness;
mod holds;
mod interleaved;
mod out_of_step;
mod parting;
mod passthrough;
mod protocol_errors;
mod pubsub;
mod recording;
mod reload;
mod rules;
mod session;
mod sessions_at_random;
mod spellings;
mod tls;
mod transactions;
mod ttl;
mod users;
