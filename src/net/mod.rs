//! Moves bytes and keeps time; decides nothing.

pub mod address;
