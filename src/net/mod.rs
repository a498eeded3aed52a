//! Moves bytes and keeps time; decides nothing.

pub mod address;
pub mod admin;
pub mod client;
pub mod clock;
pub mod context;
pub mod exchange;
pub mod findings;
pub mod health;
pub mod http;
pub mod memory_budget;
pub mod offenders;
pub mod origin;
pub mod pipe;
pub mod recheck;
pub mod recording;
pub mod registry;
pub mod rest;
pub mod retries;
pub mod server_limits;
pub mod signs;
pub mod stream;
pub mod tls;
pub mod upstream;
pub mod users;
pub mod whole_limits;
pub mod worker;
