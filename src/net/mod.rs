//! Moves bytes and keeps time; decides nothing.

pub mod address;
pub mod admin;
pub mod change_notifier;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod context;
pub mod exchange;
pub mod findings;
pub mod front;
pub mod health;
pub mod http;
pub mod last_answered;
pub mod memory_budget;
pub mod network;

pub mod off_thread;
pub mod offenders;
pub mod origin;
pub mod pipe;
pub mod recheck;
pub mod recording;
pub mod registry;
pub mod rest;
pub mod retries;
pub mod sentinel;
pub mod server_limits;
pub mod stable_map;
pub mod stream;
pub mod tls;
pub mod topology;
pub mod upstream;
pub mod users;
pub mod watch;
pub mod whole_limits;
pub mod worker;
