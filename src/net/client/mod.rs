//! One client from its connection to its end: reads, plans, sends, and takes the turns that a plan asks for.

mod ability;
mod about;
pub mod connection;
mod cure;
mod hold;
pub mod large;
mod leases;
mod leaving;
mod lent;
mod local;
mod login;
mod mending;
mod near_misses;
mod reading;
mod redirect;
mod sending;
mod turn;
