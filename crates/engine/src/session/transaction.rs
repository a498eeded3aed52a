//! The client's own MULTI and WATCH, as far as its requests show.

/// Where a client stands in its transaction (<https://redis.io/docs/latest/develop/using-commands/transactions/>).
///
/// ```text
///          WATCH                MULTI
///   Idle ---------> Watching ---------> Open
///    |  ^             |   ^              |
///    |  +-- UNWATCH --+   |              |
///    |  +-- EXEC, DISCARD, RESET --------+
///    +---------------- MULTI ----------> Open
///
///   Watching, Open -- connection lost --> Lost: EXEC will answer EXECABORT
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transaction {
    /// Neither MULTI nor WATCH.
    #[default]
    Idle,
    /// Keys are watched, no transaction is open.
    Watching,
    /// Between MULTI and its EXEC.
    Open,
    /// The connection that watched or queued is gone; the client may not know yet.
    Lost {
        /// Between MULTI and EXEC.
        open: bool,
    },
}

impl Transaction {
    /// True when neither WATCH nor MULTI is in force.
    pub fn is_idle(self) -> bool {
        self == Transaction::Idle
    }

    /// True between MULTI and EXEC: commands are queued, not run.
    pub fn is_open(self) -> bool {
        self == Transaction::Open
    }

    /// True when the connection that watched or queued is gone.
    pub fn is_lost(self) -> bool {
        matches!(self, Transaction::Lost { .. })
    }

    /// The upstream connection is gone, and with it watches and queue.
    pub fn lose(&mut self) {
        if !self.is_idle() {
            *self = Transaction::Lost { open: self.is_open() };
        }
    }

    /// WATCH with at least one key; inside MULTI it is an error without effect.
    pub fn watch(&mut self) {
        if self.is_idle() {
            *self = Transaction::Watching;
        }
    }

    /// UNWATCH; inside MULTI it is queued, and EXEC forgets the watches anyway.
    pub fn unwatch(&mut self) {
        if !self.is_open() {
            *self = Transaction::Idle;
        }
    }

    /// MULTI; nested it is an error without effect.
    pub fn multi(&mut self) {
        *self = Transaction::Open;
    }

    /// EXEC, DISCARD or RESET. EXEC outside of MULTI is an error that leaves watches alone.
    pub fn end(&mut self) {
        if self.is_open() {
            *self = Transaction::Idle;
        }
    }

    /// The client has been told that its transaction was lost, or has given it up.
    pub fn forget(&mut self) {
        *self = Transaction::Idle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_forgets_watches() {
        let mut transaction = Transaction::default();
        transaction.watch();
        transaction.multi();
        transaction.end();
        assert!(transaction.is_idle());
    }

    #[test]
    fn exec_without_multi_keeps_watches() {
        let mut transaction = Transaction::Watching;
        transaction.end();
        assert_eq!(transaction, Transaction::Watching);
    }

    #[test]
    fn a_lost_connection_loses_what_it_watched_or_queued_and_nothing_else() {
        let mut transaction = Transaction::Idle;
        transaction.lose();
        assert!(transaction.is_idle());
        transaction.watch();
        transaction.lose();
        assert_eq!(transaction, Transaction::Lost { open: false });
        let mut transaction = Transaction::Open;
        transaction.lose();
        assert_eq!(transaction, Transaction::Lost { open: true });
    }

    #[test]
    fn watch_and_unwatch_inside_multi_change_nothing() {
        let mut transaction = Transaction::Open;
        transaction.watch();
        transaction.unwatch();
        assert!(transaction.is_open());
    }
}
