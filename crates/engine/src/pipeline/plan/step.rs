//! The steps of a plan, and what it asks for behind them.

use std::ops::Range;
use std::sync::Arc;

use crate::command::{Blank, ClientCommand};
use crate::pipeline::finding::Unwrapped;
use crate::pipeline::guard::Guard;
use crate::pipeline::probe::Probe;
use crate::pipeline::refusal::Refusal;
use crate::pipeline::reply_checks::ReplyChecks;
use crate::pipeline::wire::Injected;
use crate::policy::TtlRule;
use crate::session::affinity::Reason;

/// What is to be done, in this order.
#[derive(Debug)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Step {
    /// The bytes of these commands go out as they are, in one piece.
    Send { commands: Range<usize> },
    /// `MULTI`, the commands named at these places of `Plan::members`, `EXEC`, in one piece.
    Wrap { members: Range<usize>, group: usize, added: Option<Box<Added>> },
    /// The same behind a preflight.
    Guard { members: Range<usize>, group: usize, guard: Box<Guard>, added: Option<Box<Added>> },
    /// Groups with all that stands between their members.
    Span(Box<Span>),
    /// A group of which nothing is sent, and why.
    RefuseGroup { members: Range<usize>, group: usize, refusal: Refusal },
    /// These commands are a group that goes out as it is: its rule says so, or what is told in `unwrapped` is against it.
    Watch { commands: Range<usize>, group: usize, unwrapped: Option<Unwrapped> },
    /// A PTTL of our own.
    Probe(Box<Probe>),
    /// A PING of our own whose answer nobody sees: it brings the connection up to the server's last
    /// write, which WAIT speaks about (<https://redis.io/docs/latest/commands/wait/>).
    CatchUp,
    /// The proxy itself answers this command.
    Answer { command: usize, by: Answer },
    /// A rule does not let this command pass: it is answered with this error.
    Refuse { command: usize, reply: Vec<u8> },
    /// `MULTI`, this command, commands of our own that give its keys a TTL, `EXEC`, in one piece.
    TtlFix { command: usize, added: Box<Added> },
}

/// One transaction of groups whose members stand between each other, or between other commands: nothing changes places.
#[derive(Debug)]
pub struct Span {
    /// All of its commands, at these places of `Plan::members`.
    pub commands: Range<usize>,
    /// The groups that the transaction makes atomic.
    pub groups: Vec<SpanGroup>,
    /// Groups that are only observed: their members are carried.
    pub observed: Vec<SpanGroup>,
    /// What is asked before it, where some group is guarded.
    pub guard: Option<Box<Guard>>,
    /// What rules add to it.
    pub added: Added,
}

/// One of the groups of a transaction that others share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanGroup {
    /// Its place among the rules' groups.
    pub group: usize,
    /// The places of its members among the transaction's commands.
    pub places: Vec<u32>,
    /// The preflight is about it.
    pub guarded: bool,
}

/// How the proxy answers a command itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Answer {
    /// `+OK`, in a transaction whose connection is gone.
    Ok,
    /// `+QUEUED`, likewise.
    Queued,
    /// `-EXECABORT`, at its end.
    ExecAbort,
    /// SYNC and PSYNC: a replica must have the server's own stream.
    NoReplica,
    /// This error.
    Refuse(&'static str),
    /// As this degrade rule says, while there is no server.
    Degraded { rule: usize, blank: Blank },
}

/// Something that must be done before the next command can be planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// Take a leased connection, once nothing is owed on the shared one. The command is planned again.
    Pin(Reason),
    /// The client changes its user, protocol or db with this command.
    Lane,
    /// The command goes to a spare connection, past everything else.
    Spare,
    /// A command about clients: the server says whether it is allowed, then it is answered over the clients of
    /// the proxy. Within the client's own MULTI it is queued, and answered with its EXEC.
    ClientCommand(ClientCommand),
    /// The client's own EXEC, behind commands about clients: the proxy's answers go into the server's array.
    Exec,
    /// No client of Redis sends this: the connection is closed without a word.
    Close,
    /// The client says good-bye.
    Quit,
    /// The client starts over.
    Reset,
    /// A group may be sent again until it is answered: what stands behind it waits for that.
    Resolve,
    /// Go back to the shared connection, once nothing is owed on the client's own. The command is planned again.
    Share,
    /// What is there may become a group, or a transaction, and more is known to be coming.
    Wait,
    /// What is there begins groups, and the rest may come.
    Hold,
}

impl Barrier {
    /// The command behind those that were planned is dealt with by it; else that is planned again.
    pub fn takes_command(self) -> bool {
        !matches!(self, Barrier::Pin(_) | Barrier::Share | Barrier::Resolve | Barrier::Wait | Barrier::Hold)
    }
}

/// What rules add to a transaction of our own.
#[derive(Debug, Default)]
pub struct Added {
    /// Commands that the client has not sent.
    pub injected: Vec<Injected>,
    /// The rule that the first of them is for.
    pub rule: Option<Arc<TtlRule>>,
    /// What checks the replies to its own.
    pub checks: Option<Box<ReplyChecks>>,
}

impl Added {
    /// Nothing where nothing is added, which is most often so.
    pub(in crate::pipeline) fn boxed(self) -> Option<Box<Added>> {
        let is_empty = self.injected.is_empty() && self.rule.is_none() && self.checks.is_none();
        (!is_empty).then(|| Box::new(self))
    }
}
