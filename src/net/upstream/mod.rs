//! Connections to the server: shared ones for most clients, leased ones for clients that need their own.
//!
//! A [`connection::Link`] carries requests one way and hands each reply, in the order of the
//! requests, to whoever is owed it. It knows its recipients only as [`Recipient`].

pub mod call;
pub mod cluster;
pub mod commands;
pub mod connect;
pub mod connection;
pub mod connections;
pub mod discard;
pub mod lane;
pub mod pool;
pub mod probe;
mod reach;
mod recipient;
mod settings;
mod shared_connection;
pub mod spare;
pub mod survey;
#[cfg(test)]
pub mod tests;

pub use reach::WorkerSettings;
pub use recipient::{Admitted, AdmittedPlain, Recipient};
pub use settings::Settings;

/// <https://redis.io/docs/latest/commands/ping/>
pub const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
