//! Where commands go: what those say who know which server is the primary.

pub mod sentinel;
