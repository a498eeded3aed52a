//! Checks the replies to the commands of one transaction, which arrive as elements of EXEC's array.

use std::borrow::Cow;
use std::sync::Arc;

use super::packed_reply::{PackedPart, parts_of};
use super::reading::{Findings, MemberReply, Part};
use super::reply_check::ReplyCheck;
use super::unpack::{Reader, Unpack};
use crate::command::Table;
use crate::policy::{Member, Policy};
use respguard_resp::pieces::{Piece, Pieces};
use respguard_resp::scan::Top;

/// Commands of a client's own transaction whose replies are checked; those behind them are not.
const CHECKS_MAX: usize = 4096;

/// The checks of one transaction, in the order of the commands whose replies they check.
#[derive(Debug, Default)]
pub struct ReplyChecks {
    /// Each with the command's place in the transaction, from 0.
    checks: Vec<(u32, Box<ReplyCheck>)>,
    /// All before it have given their judgment.
    next: usize,
}

impl ReplyChecks {
    /// Those that the commands of a transaction need; none, for most.
    ///
    /// Each command is given with the rule for which it, a SETNX, goes out as SET.
    pub(super) fn of<'a>(
        policy: &Policy,
        table: &Table,
        commands: impl Iterator<Item = (Member<'a>, Option<&'a Arc<str>>)>,
    ) -> Option<Box<ReplyChecks>> {
        if !policy.has_rules_of_commands() {
            return None;
        }
        let checks = (0..)
            .zip(commands)
            .filter_map(|(place, (command, turned))| Some((place, ReplyCheck::of(policy, table, command, turned)?)));
        let checks = ReplyChecks { checks: checks.collect(), next: 0 };
        (!checks.checks.is_empty()).then(|| Box::new(checks))
    }

    /// Takes a reply, or a part of one, and gives the client what it gets in its place. Replies come in order.
    pub(super) fn admit(&mut self, reply: MemberReply<'_>, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        let MemberReply { place, bytes, part } = reply;
        while self.checks.get(self.next).is_some_and(|(at, _)| *at < place) {
            self.next += 1;
        }
        match self.checks.get_mut(self.next) {
            Some((at, check)) if *at == place => check.admit(bytes, part, out, findings),
            _ => out.extend_from_slice(bytes),
        }
    }

    fn at(&self, place: u32) -> Option<usize> {
        self.checks.binary_search_by_key(&place, |(at, _)| *at).ok()
    }

    /// What reads the reply to the command at this place.
    pub(super) fn reader(&self, place: u32) -> Option<Arc<Reader>> {
        self.checks[self.at(place)?].1.reader().map(Arc::clone)
    }

    pub(super) fn reads_values(&self) -> bool {
        self.checks.iter().any(|(_, check)| check.reader().is_some())
    }

    /// What reads compressed values, by the places of the commands.
    pub(super) fn unpacks(&mut self) -> impl Iterator<Item = (u32, &mut Unpack)> {
        self.checks.iter_mut().filter_map(|(place, check)| Some((*place, check.unpack()?)))
    }
}

/// A part of an element; what is around it does not matter.
pub(super) fn part(first: bool, last: bool) -> Part {
    Part { first, last, top: Top::default() }
}

/// What checks the replies within the client's own transaction.
#[derive(Debug, Default)]
pub struct ExecChecks {
    /// Commands that the server has queued.
    queued: u32,
    /// Which reply belongs to which command is no longer known.
    lost: bool,
    /// Values in the replies may be compressed, and it is no longer known in which.
    unpack: Option<Box<Unpack>>,
    array_checks: Option<Box<ArrayChecks>>,
}

/// Judges, and how much of EXEC's array they have seen.
#[derive(Debug, Default)]
struct ArrayChecks {
    checks: ReplyChecks,
    pieces: Pieces,
}

impl ExecChecks {
    /// Nothing is queued.
    pub(super) const BLANK: ExecChecks = ExecChecks { queued: 0, lost: false, unpack: None, array_checks: None };

    /// Nothing is queued, as far as is known.
    pub(super) fn is_blank(&self) -> bool {
        self.queued == 0 && !self.lost && self.unpack.is_none() && self.array_checks.is_none()
    }

    /// The client's transaction begins, or has ended.
    pub(super) fn clear(&mut self) {
        *self = ExecChecks::default();
    }

    /// The server has queued the next command.
    pub(super) fn queued(&mut self, check: Option<Box<ReplyCheck>>) {
        if self.lost {
            self.unpack = self.unpack.take().or_else(|| check.and_then(|check| check.into_unpack()?.any()));
        } else if let Some(check) = check {
            let checks = &mut self.array_checks.get_or_insert_default().checks.checks;
            if checks.len() < CHECKS_MAX || check.unpacks() {
                checks.push((self.queued, check));
            }
        }
        self.queued = self.queued.saturating_add(1);
    }

    /// A command has not been answered in time, and may have been queued or not.
    pub(super) fn lose(&mut self) {
        let checks = self.array_checks.take().map(|checks| checks.checks.checks).unwrap_or_default();
        let unpack = checks.into_iter().find_map(|(_, check)| check.into_unpack()?.any());
        self.unpack = self.unpack.take().or(unpack);
        self.lost = true;
    }

    pub(super) fn reads_values(&self) -> bool {
        self.unpack.as_ref().is_some_and(|unpack| unpack.awaits().is_some())
            || self.array_checks.as_ref().is_some_and(|checks| checks.checks.reads_values())
    }

    /// Where the values are in EXEC's answer.
    pub(super) fn parts(&self, frame: &[u8]) -> Vec<PackedPart> {
        if let Some(reader) = self.unpack.as_ref().and_then(|unpack| unpack.awaits()) {
            return vec![PackedPart { place: 0, bytes: 0..frame.len(), reader: Arc::clone(reader) }];
        }
        let Some(checks) = &self.array_checks else { return Vec::new() };
        parts_of(frame, &Some, &|place| checks.checks.reader(place))
    }

    /// What reads compressed values, by the places of the commands.
    pub(super) fn unpacks(&mut self) -> impl Iterator<Item = (u32, &mut Unpack)> {
        let of_elements = self.array_checks.iter_mut().flat_map(|array_checks| array_checks.checks.unpacks());
        self.unpack.as_deref_mut().map(|unpack| (0, unpack)).into_iter().chain(of_elements)
    }

    /// Takes a piece of EXEC's answer, and gives the client what it gets in its place.
    pub(super) fn admit<'p>(&mut self, piece: &'p [u8], part: Part, findings: &mut Findings<'_>) -> Cow<'p, [u8]> {
        if let Some(unpack) = &mut self.unpack {
            return unpack.admit(true, piece, part, findings.found).map_or(Cow::Borrowed(&[]), |(read, _)| read);
        }
        let Some(array_checks) = &mut self.array_checks else { return Cow::Borrowed(piece) };
        let mut checked = Vec::with_capacity(piece.len());
        array_checks.admit(piece, &mut checked, findings);
        Cow::Owned(checked)
    }
}

impl ArrayChecks {
    fn admit(&mut self, piece: &[u8], out: &mut Vec<u8>, findings: &mut Findings<'_>) {
        let ArrayChecks { checks, pieces } = self;
        pieces.admit(piece, &mut |piece| match piece {
            Piece::Header(bytes) | Piece::Push(bytes) => out.extend_from_slice(bytes),
            Piece::Element { at, bytes, first, last } => {
                checks.admit(MemberReply { place: at, bytes, part: part(first, last) }, out, findings);
            }
        });
    }
}
