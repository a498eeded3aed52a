//! respguard: a Redis-protocol proxy that makes the pipelines of unmodified clients all-or-nothing.
//!
//! What it promises:
//!
//! 1. Without rules, what a client sees is what Redis would have sent, byte for byte.
//! 2. Replies come in the order of the requests, one for each, whatever happened.
//! 3. A declared group of commands runs as one transaction, and a client is told when it did not.
//! 4. An error never becomes nil, nil never becomes an error, and nothing hangs for ever.
//!
//! The data's way:
//!
//! ```text
//! client bytes -> Command -> Batch -> plan(session, policy) -> Plan --+
//!                                                                     | bytes, places
//!                                       -- crates/engine (pure) ------|------ src/net (tokio) --
//!                                                                     v
//! client bytes <- replies <- resolve(places, reply or fault) <- upstream connection
//!                               |
//!                               +-> findings -> metrics, log
//! ```
//!
//! `crates/resp` bounds and reads frames, `crates/engine` decides: `plan` says what becomes of commands, `resolve` what
//! became of them. Here bytes are moved and time is kept, and nothing is decided: `net/exchange` is the one door where a
//! plan meets a socket.
//!
//! The layers; each may use those to its left, none beside it and none to its right. A test reads
//! this list:
//!
//! ```text
//! telemetry < {address, change_notifier, clock, health, last_answered, memory_budget, network, offenders, pipe, retries,
//!   server_limits, splice, stable_map, tls, watch, whole_limits}
//!   < {stream, recording, topology} < {context, frames, front} < upstream < {recheck, sentinel, cluster}
//!   < {findings, registry, users, http, jobs, off_thread, origin} < {exchange, admin}
//!   < client < rest < worker < config < {server, explain, remote} < cli < main
//! ```

pub mod telemetry;

pub mod net;

pub mod jobs;

pub mod config;

pub mod server;

pub mod explain;

pub mod remote;

pub mod cli;
