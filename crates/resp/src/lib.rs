//! The Redis wire protocol, bytes first: frames are bounded and sliced, never decoded into trees on the way through.
//!
//! [`request`] bounds what clients send, [`scan`] bounds what Redis answers; both go on exactly where the
//! bytes ran out. [`value`] reads one whole frame, [`encode`] writes frames of our own.
//! The protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

#![warn(missing_docs, unreachable_pub, clippy::missing_errors_doc)]

mod args;
mod elements;
pub mod encode;
mod frame;
pub mod head;
mod inline;
mod line;
pub mod pieces;
pub mod request;
pub mod scan;
pub mod value;

/// The version of the protocol that replies are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// What a connection speaks until it says `HELLO 3`.
    #[default]
    Resp2,
    /// Maps, sets, doubles, booleans, pushes and a null of their own.
    Resp3,
}

impl Protocol {
    /// The version as [`HELLO`](https://redis.io/docs/latest/commands/hello/) reports it.
    pub fn number(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}
