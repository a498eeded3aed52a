//! Which upstream connection a client's commands may use: a shared one, or one leased for a reason.

use crate::words;

words! {
    /// Why a client needs an upstream connection of its own.
    Reason {
        /// MULTI without its EXEC, or WATCH: lasts until the transaction ends.
        Transaction = "transaction",
        /// SUBSCRIBE and kin: lasts until the last subscription ends.
        Subscription = "subscription",
        /// A command that may block: lasts until it is answered.
        Blocking = "blocking",
        /// A request too large to be held whole: lasts until it is answered.
        Large = "large",
        /// Its replies have been so large of late that others would wait for it: lasts until the next is answered.
        Bulky = "bulky",
        /// Connection state that nothing but the connection's end removes, or `sharing = "never"`.
        Exclusive = "exclusive",
        /// The reply stream no longer follows the requests (MONITOR, CLIENT REPLY): bytes are tunnelled.
        Tunnel = "tunnel",
    }
}

/// Where the next command goes.
///
/// ```text
///   Shared -- a command that pins --> (all owed replies are in) --> Pinned
///   Pinned -- no reason is left ----> (all owed replies are in) --> Shared
/// ```
///
/// The fence: both arrows are taken only when nothing is owed on the old connection, so that no
/// command of the client overtakes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Affinity {
    /// The lane's shared connection.
    #[default]
    Shared,
    /// A leased connection; `lasting` when only the connection's end ends the reason.
    Pinned { lasting: bool },
    /// A leased connection whose bytes are passed on both ways as they come.
    Tunnel,
}

impl Affinity {
    /// A lease was taken for `reason`, or a further reason arose on it.
    pub fn pin(&mut self, reason: Reason) {
        *self = match (*self, reason) {
            (Affinity::Tunnel, _) | (_, Reason::Tunnel) => Affinity::Tunnel,
            (Affinity::Pinned { lasting: true }, _) | (_, Reason::Exclusive) => Affinity::Pinned { lasting: true },
            _ => Affinity::Pinned { lasting: false },
        };
    }

    /// The lease went back, or was closed.
    pub fn unpin(&mut self) {
        *self = Affinity::Shared;
    }

    /// True on a leased connection.
    pub fn is_pinned(self) -> bool {
        self != Affinity::Shared
    }

    /// True when bytes are passed on both ways unread.
    pub fn is_tunnel(self) -> bool {
        self == Affinity::Tunnel
    }

    /// True unless the client must stay on its lease for as long as it lives.
    pub fn is_passing(self) -> bool {
        matches!(self, Affinity::Shared | Affinity::Pinned { lasting: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passing_reason_never_replaces_a_lasting_one() {
        let mut affinity = Affinity::default();
        affinity.pin(Reason::Exclusive);
        affinity.pin(Reason::Blocking);
        assert!(!affinity.is_passing());
    }

    #[test]
    fn a_tunnel_stays_a_tunnel() {
        let mut affinity = Affinity::default();
        affinity.pin(Reason::Tunnel);
        affinity.pin(Reason::Exclusive);
        assert!(affinity.is_tunnel() && affinity.is_pinned());
    }

    #[test]
    fn a_blocking_command_pins_in_passing() {
        let mut affinity = Affinity::default();
        affinity.pin(Reason::Blocking);
        assert!(affinity.is_pinned() && affinity.is_passing());
    }
}
