//! The number of a command within one table.

/// One command (or subcommand) of one [`Table`](super::Table); ids are dense, so arrays can be indexed by them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct CommandId(pub(super) u16);

impl CommandId {
    /// What every name has that the table does not know. It has a row too: `unknown`, which pins.
    pub const UNKNOWN: CommandId = CommandId(0);

    /// Below the table's `len()`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
