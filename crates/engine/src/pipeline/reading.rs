//! What replies are read with: a piece of one, which part of it that is, whom it is for, and what it is read against.

use super::finding::{Finding, Outcome};
use super::violation::Violation;
use crate::command::Table;
use crate::session::Session;
use respguard_resp::scan::Top;

/// Which part of a reply frame a piece is.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// It begins the frame.
    pub first: bool,
    /// It ends the frame.
    pub last: bool,
    /// What is known of the frame so far.
    pub top: Top,
}

/// What the replies are read against.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The commands that are known.
    pub table: &'a Table,
    /// The client's id as CLIENT ID tells it.
    pub client_id: u64,
}

/// The client that replies are for.
#[derive(Debug)]
pub struct ClientSide<'a> {
    /// What its connection is like for the client.
    pub session: &'a mut Session,
    /// What it is to be sent.
    pub out: &'a mut Vec<u8>,
    /// What its replies tell beside that.
    pub found: &'a mut Vec<Finding>,
    /// What the replies are read against.
    pub context: Context<'a>,
}

/// What answers to a group bring to light, with the table that names its commands.
pub(super) struct Findings<'a> {
    pub(super) table: &'a Table,
    pub(super) found: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    pub(super) fn violation(&mut self, violation: Violation) {
        self.found.push(Finding::Violation(violation));
    }

    /// What became of the group with this index.
    pub(super) fn group(&mut self, index: usize, outcome: Outcome) {
        self.found.push(Finding::Group { index, outcome });
    }
}

/// The reply to one command of a transaction, or a part of it.
pub(super) struct MemberReply<'a> {
    /// The command's place, from 0.
    pub(super) place: u32,
    pub(super) bytes: &'a [u8],
    pub(super) part: Part,
}

/// A piece of a reply, with what it is read against.
pub(super) struct Reading<'a> {
    pub(super) piece: &'a [u8],
    pub(super) part: Part,
    pub(super) session: &'a mut Session,
    pub(super) context: Context<'a>,
    pub(super) found: &'a mut Vec<Finding>,
    /// Further frames that belong to the same request.
    pub(super) more: &'a mut u32,
}

impl Reading<'_> {
    /// What it brings to light.
    pub(super) fn findings(&mut self) -> Findings<'_> {
        Findings { table: self.context.table, found: self.found }
    }
}
