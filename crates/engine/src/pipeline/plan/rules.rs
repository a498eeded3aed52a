//! What planning needs besides the client's session and its commands.

use std::time::Instant;

use crate::command::Table;
use crate::policy::Policy;
use crate::preflight::Ability;
use crate::route::slots::SlotSet;

/// The rules, and what is known of the connection and of its server.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The commands that are known.
    pub table: &'a Table,
    /// The rules in force.
    pub policy: &'a Policy,
    /// The connection can do MULTI and EXEC.
    pub transactions: bool,
    /// PTTL may be injected: the user is allowed to.
    pub probes: bool,
    /// PEXPIRE may be injected: the user is allowed to, as far as is known.
    pub ttl_fixes: bool,
    /// SET may go out in the place of SETNX: the user is allowed to, as has been asked.
    pub setnx_fixes: bool,
    /// The connection can carry guarded groups.
    pub ability: Ability,
    /// How far the beginning of a group may be held back.
    pub hold: Holding,
    /// There is no server: rules say what is answered without one.
    pub degraded: bool,
    /// The server is in trouble, and a spare connection is there for what may be its cure.
    pub troubled: bool,
    /// What stands between the members of a group may go in its transaction: that has not been refused too often.
    pub carries: bool,
    /// Reads may be sent behind a transaction that may go out again, before it is answered.
    pub reads_ahead: bool,
    /// Such a transaction is unanswered: nothing but those reads may be sent.
    pub fenced: bool,
    /// It is a cluster: a transaction has keys of one slot.
    pub slots: bool,
    /// Of a cluster: the slots whose node has not been there for long, where rules say what is answered then.
    pub unserved: Option<&'a SlotSet>,
    /// The server may close a connection over what is in the batch: it goes over one that nobody shares.
    pub alone: bool,
    /// The client gets no reply to the first command.
    pub skips: bool,
    /// Milliseconds since the epoch, where some rule compares moments; else anything.
    pub unix_ms: i64,
}

impl<'a> Rules<'a> {
    /// Those of a usual connection, to a server that is there and lets its user do everything.
    pub fn usual(table: &'a Table, policy: &'a Policy) -> Rules<'a> {
        Rules {
            table,
            policy,
            transactions: true,
            probes: true,
            ttl_fixes: true,
            setnx_fixes: true,
            ability: Ability::Able,
            hold: Holding::default(),
            degraded: false,
            troubled: false,
            carries: true,
            reads_ahead: false,
            fenced: false,
            slots: false,
            unserved: None,
            alone: false,
            skips: false,
            unix_ms: 0,
        }
    }
}

/// How far the beginning of a group may be held back for the rest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Holding {
    /// It may at all.
    pub willing: bool,
    /// Also where other commands stand behind it, which then go first.
    pub across: bool,
    /// Nothing has come for so long that the wait is over.
    pub over: bool,
    /// The wait is over for what has waited since then or longer.
    pub overdue: Option<Instant>,
}
