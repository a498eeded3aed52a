//! One client from its connection to its end: reads, plans, sends, and takes the turns that a plan asks for.

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
