//! Judges the replies to the commands of one transaction, which come as elements of EXEC's array.

use super::finding::Finding;
use super::judge::Judge;
use super::resolve::{Context, Part};
use super::slot::Slots;
use crate::command::{CommandId, Table};
use crate::policy::{Member, Policy};
use respguard_resp::pieces::{Piece, Pieces};
use respguard_resp::scan::Top;

/// Commands of a client's own transaction whose replies are judged; those behind them are not.
const JUDGES_MAX: usize = 4096;

/// The judges of one transaction, in the order of the commands whose replies they judge.
#[derive(Debug, Default)]
pub struct Panel {
    /// Each with the command's place in the transaction, from 0.
    judges: Vec<(u32, CommandId, Box<Judge>)>,
    /// All before it have given their judgment.
    next: usize,
}

impl Panel {
    /// Those that the commands of a transaction need; none, for most.
    pub(super) fn of<'a>(policy: &Policy, table: &Table, commands: impl Iterator<Item = Member<'a>>) -> Option<Box<Panel>> {
        if !policy.has_rules_of_commands() {
            return None;
        }
        let judges =
            (0..).zip(commands).filter_map(|(place, command)| Some((place, command.id, Judge::of(policy, table, command)?)));
        let panel = Panel { judges: judges.collect(), next: 0 };
        (!panel.judges.is_empty()).then(|| Box::new(panel))
    }

    /// Takes a reply, or a part of one, and gives the client what it gets in its place. Replies come in order.
    pub(super) fn admit(
        &mut self,
        place: u32,
        piece: &[u8],
        part: Part,
        out: &mut Vec<u8>,
        table: &Table,
        found: &mut Vec<Finding>,
    ) {
        while self.judges.get(self.next).is_some_and(|(at, ..)| *at < place) {
            self.next += 1;
        }
        match self.judges.get_mut(self.next) {
            Some((at, command, judge)) if *at == place => judge.admit(*command, piece, part, out, table, found),
            _ => out.extend_from_slice(piece),
        }
    }
}

/// A part of an element; what is around it does not matter.
pub(super) fn part(first: bool, last: bool) -> Part {
    Part { first, last, top: Top::default() }
}

/// What judges the replies within the client's own transaction.
#[derive(Debug, Default)]
pub(super) struct Jury {
    /// Commands that the server has queued.
    queued: u32,
    /// Which reply belongs to which command is no longer known.
    lost: bool,
    sitting: Option<Box<Sitting>>,
}

/// Judges, and how much of EXEC's array they have seen.
#[derive(Debug, Default)]
struct Sitting {
    panel: Panel,
    pieces: Pieces,
}

impl Jury {
    /// The client's transaction begins, or has ended.
    pub(super) fn clear(&mut self) {
        *self = Jury::default();
    }

    /// The server has queued the next command.
    pub(super) fn queued(&mut self, command: CommandId, judge: Option<Box<Judge>>) {
        if let Some(judge) = judge.filter(|_| !self.lost) {
            let judges = &mut self.sitting.get_or_insert_default().panel.judges;
            if judges.len() < JUDGES_MAX {
                judges.push((self.queued, command, judge));
            }
        }
        self.queued = self.queued.saturating_add(1);
    }

    /// A command has not been answered in time, and may have been queued or not.
    pub(super) fn lose(&mut self) {
        (self.lost, self.sitting) = (true, None);
    }
}

impl Sitting {
    fn admit(&mut self, piece: &[u8], out: &mut Vec<u8>, table: &Table, found: &mut Vec<Finding>) {
        let Sitting { panel, pieces } = self;
        pieces.admit(piece, &mut |piece| match piece {
            Piece::Header(bytes) | Piece::Push(bytes) => out.extend_from_slice(bytes),
            Piece::Element { at, bytes, first, last } => panel.admit(at, bytes, part(first, last), out, table, found),
        });
    }
}

impl Slots {
    /// Passes on a piece of the answer to the client's own EXEC.
    pub(super) fn pass_exec(&mut self, piece: &[u8], out: &mut Vec<u8>, context: &Context<'_>, found: &mut Vec<Finding>) {
        let Some(sitting) = &mut self.jury.sitting else { return self.keep_piece(piece, out) };
        let mut judged = Vec::with_capacity(piece.len());
        sitting.admit(piece, &mut judged, context.table, found);
        self.keep_piece(&judged, out);
    }
}
