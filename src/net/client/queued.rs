//! Commands about clients that wait for their client's EXEC.

use respguard_engine::command::ClientCommand;
use respguard_engine::session::lane::LaneChange;

/// A command that waits for the client's EXEC.
pub(super) struct Queued {
    /// Its place in the transaction, from 0.
    pub(super) place: u32,
    pub(super) what: OnExec,
}

/// What happens when the server says that it has been executed.
pub(super) enum OnExec {
    /// The proxy answers in its place, or takes note; with the server's id for the client that CLIENT TRACKING names.
    Answer(ClientCommand, Vec<Box<[u8]>>, Option<i64>),
    /// The client's connection is another one for the server.
    Change(LaneChange),
}
