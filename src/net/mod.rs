//! Moves bytes and keeps time; decides nothing.

pub mod address;
pub mod clock;
pub mod context;
pub mod exchange;
pub mod findings;
pub mod recheck;
pub mod stream;
pub mod upstream;
