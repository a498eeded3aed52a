//! The command table: what is known about each Redis command before it is sent.
//!
//! | file | holds |
//! |---|---|
//! | `generated` | servers, since when, arity, flags and key specs of each name, as the COMMAND of six servers answers |
//! | `newer` | the same, from documentation, for commands that none of them has |
//! | `connection_column`, `write_column`, `slow_column` | the columns kept by hand, one row per command |
//! | `table` | all of it under one id per command, found by name without allocating |
//! | `spec`, `ttl_column`, `tips` | what a row and its columns can say |
//! | `answer`, `merge` | what one upstream's COMMAND answer adds |
//! | `keys`, `effect`, `canonical`, `options`, `set_options`, `measure`, `blocking`, `blank`, `values`, `carried` | questions about one request, answered from its row |
//! | `credential`, `redact` | which words of a request nobody may see, and a stream of requests without them |

mod answer;
mod blank;
mod blocking;
mod canonical;
mod carried;
mod connection;
mod connection_column;
mod credential;
mod effect;
mod flags;
mod generated;
mod id;
pub mod integer;
mod keys;
mod login;
mod measure;
mod merge;
mod names;
mod newer;
mod options;
mod parsed_args;
pub mod redact;
mod set_options;
mod slow_column;
mod spec;
mod table;
mod tips;
mod tokens;
mod ttl_column;
mod values;
mod write_column;
#[cfg(test)]
pub(crate) mod written;

pub use blank::Blank;
pub use blocking::{BlockFor, Timeout};
pub use canonical::{Arrangement, Canonical, Word, arrange, canonical};
pub use carried::Unblocks;
pub use connection::{ClientCommand, ConnectionEffect, Lane, PinReason, SubscriptionKind, Transaction};
pub use credential::is_credential;
pub use effect::{lifetime_of, m_set_ex_options, only_changes_ttl, ttl_effects};
pub use flags::Flags;
pub use id::CommandId;
pub use keys::{Access, Find, KeyList, KeySpec, Keys, Search};
pub use login::{DEFAULT_USER, Login};
pub use measure::{Measure, TimeKind};
pub use merge::{Merge, MergeError};
pub use options::Options;
pub use parsed_args::ParsedArgs;
pub use spec::{PlainKeys, RetryClass, Rewrite, Spec, Ungroupable};
pub use table::{LastLookup, Table};
pub use tips::{RequestPolicy, ResponsePolicy, Tips};
pub use ttl_column::{TtlColumn, TtlEffect, Unit};
pub use values::{ReplyShape, ValueUse, for_each_value, looks_into, reply_shape, sorted_by, value_use};

/// The servers that the built-in table was written from, by their names in scripts/install-servers, oldest first.
pub const SERVERS: &[&str] = generated::SERVERS;

/// Every command of the built-in table, with those of [`SERVERS`] that list it: none, if the row is from documentation.
pub fn listed() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    generated::ROWS.iter().chain(newer::ROWS).map(|row| {
        let on = SERVERS.iter().enumerate().filter(|(bit, _)| row.1 & (1 << bit) != 0);
        (row.0, on.map(|(_, server)| *server).collect())
    })
}

/// Since when a command of the built-in table is there, by what servers and documentation say, as `Redis 8.0.0, Valkey 9.0.0`.
pub fn since(name: &str) -> Option<&'static str> {
    let row = generated::ROWS.iter().chain(newer::ROWS).find(|row| row.0 == name)?;
    Some(row.2).filter(|since| !since.is_empty())
}
