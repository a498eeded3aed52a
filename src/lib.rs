//! respguard: a Redis-protocol proxy that makes the pipelines of unmodified clients all-or-nothing.

pub mod config;
pub mod engine;
pub mod net;
