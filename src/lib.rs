//! respguard: a Redis-protocol proxy that makes pipelines all-or-nothing.

pub mod engine;
