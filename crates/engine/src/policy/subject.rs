//! A command that a rule may be about, and what its requests begin with.

use crate::command::{CommandId, Spec, Table, canonical};
use respguard_resp::request::{Args, Span};

/// A command that a rule may be about.
#[derive(Clone, Copy)]
pub(super) struct Subject<'t> {
    pub(super) spec: &'t Spec,
    /// What it is in canonical form.
    pub(super) canonical: CommandId,
}

/// What the first argument of the requests that a rule is about begins with: one of these. The empty beginning is also that
/// of a request without arguments.
pub(super) type Prefixes<'r> = Vec<&'r [u8]>;

/// Every request of a command.
pub(super) fn everything<'r>() -> Prefixes<'r> {
    vec![b""]
}

impl<'t> Subject<'t> {
    pub(super) fn new(table: &'t Table, id: CommandId) -> Subject<'t> {
        Subject { spec: table.spec(id), canonical: canonical_id(table, id) }
    }
}

/// What the command is in canonical form, with as many arguments as it needs.
pub(super) fn canonical_id(table: &Table, id: CommandId) -> CommandId {
    let count = usize::from(table.spec(id).arity.unsigned_abs());
    let spans = vec![Span { start: 0, end: 1 }; count];
    canonical(table, id, Args::new(b"1", &spans)).id
}
