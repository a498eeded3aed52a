//! A value that has been compressed for a command that is planned later.

/// A value that was compressed before its command is planned, because that takes long.
#[derive(Debug)]
pub struct PackedValue {
    /// The number of its command among all of the client, and its place among the command's arguments.
    pub number: u32,
    /// Its place among the command's arguments, the name being 0.
    pub place: usize,
    /// What is stored in its place; `None` where that is the value itself.
    pub stored: Option<Vec<u8>>,
}
