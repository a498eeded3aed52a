//! Session changes that a client asked for and the proxy could not make: until they succeed, nothing else of the client runs.
//!
//! Commands are written for the db, the user and the protocol that the one before them asked for. Where the server
//! itself refuses a SELECT, what follows runs in the old db, as it would directly; where the proxy could not carry it out,
//! the server would have, and what follows must not run elsewhere.

use super::lane::LaneChange;
use crate::command::CommandId;

/// The changes that are missing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    login: bool,
    db: bool,
    protocol: bool,
    /// CLIENT REPLY or CLIENT TRACKING.
    mode: Option<CommandId>,
}

impl Missed {
    /// True while something is missing.
    pub fn any(&self) -> bool {
        *self != Missed::default()
    }

    /// True while the client may be somebody else than it thinks.
    pub fn login(&self) -> bool {
        self.login
    }

    /// A HELLO, AUTH or SELECT was not carried out.
    pub fn miss(&mut self, change: &LaneChange) {
        self.login |= change.login.is_some();
        self.db |= change.db.is_some();
        self.protocol |= change.protocol.is_some();
    }

    /// One was.
    pub fn make_up(&mut self, change: &LaneChange) {
        self.login &= change.login.is_none();
        self.db &= change.db.is_none();
        self.protocol &= change.protocol.is_none();
    }

    /// A command that changes how replies come, or whether invalidations do, was not carried out.
    pub fn miss_mode(&mut self, command: CommandId) {
        self.mode = Some(command);
    }

    /// The command is carried out now.
    pub fn make_up_mode(&mut self, command: CommandId) {
        self.mode = self.mode.filter(|missed| *missed != command);
    }

    /// Whether the command would make up for what is missing.
    pub fn is_mode(&self, command: CommandId) -> bool {
        self.mode == Some(command)
    }

    /// What those that must not run are answered.
    pub fn text(&self) -> &'static str {
        match self {
            Missed { login: true, .. } => {
                "ERR respguard: not run: the login before it was not carried out; log in again, or RESET"
            }
            Missed { db: true, .. } => "ERR respguard: not run: the SELECT before it was not carried out; SELECT again, or RESET",
            Missed { protocol: true, .. } => {
                "ERR respguard: not run: the HELLO before it was not carried out; HELLO again, or RESET"
            }
            Missed { .. } => "ERR respguard: not run: the CLIENT command before it was not carried out; send it again, or RESET",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Login;
    use respguard_resp::Protocol;

    #[test]
    fn each_change_is_made_up_for_by_one_of_its_own_kind() {
        let select = LaneChange { db: Some(9), ..LaneChange::default() };
        let hello = LaneChange { protocol: Some(Protocol::Resp3), ..LaneChange::default() };
        let login = LaneChange { login: Some(Login::new(None, b"p")), ..hello.clone() };
        let mut missed = Missed::default();
        assert!(!missed.any());
        missed.miss(&select);
        missed.make_up(&login);
        assert!(missed.any() && !missed.login(), "another db is still wanted");
        missed.miss(&login);
        missed.make_up(&select);
        missed.make_up(&hello);
        assert!(missed.login(), "nobody has logged in");
        missed.make_up(&login);
        assert!(!missed.any());
    }

    #[test]
    fn a_mode_is_made_up_for_by_the_same_command_alone() {
        let mut missed = Missed::default();
        let other = CommandId::UNKNOWN;
        missed.miss_mode(other);
        assert!(missed.any() && missed.is_mode(other));
        missed.make_up_mode(other);
        assert!(!missed.any());
    }
}
