//! One client from connect to close: reads, plans, sends, and carries out the barriers of its plans.

mod ability;
mod barrier;
mod client_answers;
mod client_commands;
pub mod connection;
mod cure;
mod fence;
mod hold;
mod input;
mod large;
mod leases;
mod leaving;
mod login;
mod near_misses;
mod notices;
mod packing;
mod pooled_batch;
mod preparation;
mod reading;
mod redirect;
mod sending;
mod takeover;
mod ttl_fix;
mod whole;
