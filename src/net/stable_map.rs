//! A map that is walked in the same order whenever it has come about in the same way: what a worker does in that order is then
//! the same in each run of a simulation.
//!
//! Its hashes have no secret, so its keys must not be what clients may choose at will.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// The same as the standard map, but for its order.
pub type StableMap<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;
