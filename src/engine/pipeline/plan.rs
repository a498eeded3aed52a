//! Decides what becomes of the commands that one client has sent: the only place where that is decided.

use std::ops::Range;

use super::batch::Batch;
use super::slot::{Probe, Role};
use super::ttl::Undecided;
use crate::engine::command::{ConnectionEffect, Lane, Local, PinReason, Transaction};
use crate::engine::command::{Spec, Table};
use crate::engine::policy::{Atomic, Member, Mode, Policy, Recognition};
use crate::engine::resp::request::Args;
use crate::engine::session::Session;
use crate::engine::session::affinity::Reason;
use crate::engine::session::lane::LaneChange;
use crate::engine::session::transaction::Transaction as SessionTransaction;

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Step {
    /// The bytes of these commands go out as they are, in one piece.
    Send { commands: Range<usize> },
    /// `MULTI`, these commands, `EXEC`, in one piece.
    Wrap { commands: Range<usize>, group: usize },
    /// These commands are a group that goes out as it is: its rule says so, or, when `unwrapped`,
    /// the connection cannot do transactions.
    Watch { commands: Range<usize>, group: usize, unwrapped: bool },
    /// A PTTL of our own; the probe lies in `Plan::probes` in the order of these steps.
    Probe,
    /// The proxy itself answers this command.
    Answer { command: usize, by: Answer },
}

/// How the proxy answers a command itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Over the clients of the proxy.
    Local(Local),
    /// `+OK`, in a transaction whose connection is gone.
    Ok,
    /// `+QUEUED`, likewise.
    Queued,
    /// `-EXECABORT`, at its end.
    ExecAbort,
}

/// Something that must be done before the next command can be planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Take a leased connection, once nothing is owed on the shared one. The command is planned again.
    Pin(Reason),
    /// The client changes its user, protocol or db with this command.
    Lane,
    /// The command goes to a spare connection, past everything else.
    Spare,
    /// CLIENT KILL and CLIENT UNBLOCK concern clients of other workers.
    Elsewhere(Local),
    /// The client says good-bye.
    Quit,
    /// The client starts over.
    Reset,
    /// What is there may become a group: more is coming, or may come.
    Wait,
}

/// The outcome of planning.
#[derive(Debug, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// One for each command that a step covers, in order.
    pub roles: Vec<Role>,
    pub probes: Vec<Probe>,
    /// How many of the batch's commands the steps cover.
    pub commands: usize,
    /// What must be done about the command behind them.
    pub turn: Option<Turn>,
}

impl Plan {
    fn clear(&mut self) {
        self.steps.clear();
        self.roles.clear();
        self.probes.clear();
        self.commands = 0;
        self.turn = None;
    }
}

/// What planning looks at beside the session.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    pub table: &'a Table,
    pub policy: &'a Policy,
    /// The connection can do MULTI and EXEC.
    pub transactions: bool,
    /// PTTL may be injected: the user is allowed to.
    pub probes: bool,
}

/// Plans the commands of `batch`, whose bytes are `bytes`.
///
/// `more` says that bytes behind the last whole command are known to be on their way; a group that
/// is not complete yet then waits for them.
///
/// `undecided` keeps what a transaction that is still open has written.
pub fn plan(
    session: &mut Session,
    undecided: &mut Undecided,
    rules: Rules<'_>,
    batch: &Batch,
    bytes: &[u8],
    more: bool,
    plan: &mut Plan,
) {
    plan.clear();
    Planner { session, undecided, rules, batch, bytes, more, plan, run: 0 }.plan();
}

struct Planner<'a> {
    session: &'a mut Session,
    undecided: &'a mut Undecided,
    rules: Rules<'a>,
    batch: &'a Batch,
    bytes: &'a [u8],
    more: bool,
    plan: &'a mut Plan,
    /// First command that is to be sent and is not yet in a step.
    run: usize,
}

/// What becomes of the next commands.
enum Decision {
    Send(Role),
    /// The client's own whole MULTI .. EXEC, of so many commands.
    Transaction(usize),
    Group {
        group: usize,
        members: usize,
    },
    Answer(Answer),
    Turn(Turn),
}

impl Planner<'_> {
    fn plan(&mut self) {
        let mut at = 0;
        while at < self.batch.len() {
            match self.decide(at) {
                Decision::Send(role) => {
                    self.plan.roles.push(role);
                    at += 1;
                    if role == Role::Exec {
                        self.end_run(at);
                    }
                }
                Decision::Transaction(commands) => {
                    self.plan.roles.push(Role::Multi);
                    self.plan.roles.extend((2..commands).map(|_| Role::Queued));
                    self.plan.roles.push(self.role_of_end(at + commands - 1));
                    at += commands;
                }
                Decision::Group { group, members } => {
                    self.end_run(at);
                    self.push_group(group, at..at + members);
                    at += members;
                    self.run = at;
                }
                Decision::Answer(by) => {
                    self.end_run(at);
                    self.plan.roles.push(Role::Answer);
                    self.plan.steps.push(Step::Answer { command: at, by });
                    at += 1;
                    self.run = at;
                }
                Decision::Turn(turn) => {
                    self.plan.turn = Some(turn);
                    break;
                }
            }
        }
        self.end_run(at);
        self.plan.commands = at;
    }

    fn args(&self, at: usize) -> Args<'_> {
        self.batch.args(self.bytes, at)
    }

    fn spec(&self, at: usize) -> &Spec {
        self.rules.table.spec(self.batch.id(at))
    }

    fn decide(&mut self, at: usize) -> Decision {
        let table = self.rules.table;
        let spec = table.spec(self.batch.id(at));
        let args = self.batch.args(self.bytes, at);
        if self.session.transaction.is_open() {
            return self.decide_queued(spec, args);
        }
        let effect = spec.connection_effect(args);
        if let SessionTransaction::Lost { open } = self.session.transaction
            && let Some(decision) = self.decide_lost(open, effect)
        {
            return decision;
        }
        if effect == ConnectionEffect::None {
            return self.decide_plain(at);
        }
        if !spec.arity_fits(args) && effect != ConnectionEffect::Pin(PinReason::Unknown) {
            return Decision::Send(Role::Plain);
        }
        if self.session.in_subscribe_mode() {
            return self.decide_subscriber(effect, args);
        }
        self.decide_effect(at, effect, args, spec.present)
    }

    fn decide_plain(&mut self, at: usize) -> Decision {
        if self.rules.policy.groups().is_empty() || !self.session.transaction.is_idle() || self.session.subscriptions.any() {
            return Decision::Send(Role::Plain);
        }
        let (batch, bytes) = (self.batch, self.bytes);
        let recognised = self.rules.policy.recognise(self.rules.table, &mut |i| {
            (at + i < batch.len()).then(|| Member { id: batch.id(at + i), args: batch.args(bytes, at + i) })
        });
        match recognised {
            Recognition::None => Decision::Send(Role::Plain),
            Recognition::Prefix { .. } | Recognition::Whole { open: true, .. } if self.more => Decision::Turn(Turn::Wait),
            Recognition::Whole { group, members, .. } if members > 1 => Decision::Group { group, members },
            Recognition::Prefix { .. } | Recognition::Whole { .. } => Decision::Send(Role::Plain),
        }
    }

    fn decide_effect(&mut self, at: usize, effect: ConnectionEffect, args: Args<'_>, present: bool) -> Decision {
        let pinned = self.session.affinity.is_pinned();
        match effect {
            ConnectionEffect::None => Decision::Send(Role::Plain),
            // Without the command the server answers an error, which changes nothing.
            _ if !present => Decision::Send(Role::Plain),
            ConnectionEffect::Local(local @ (Local::ClientKill | Local::ClientUnblock)) => Decision::Turn(Turn::Elsewhere(local)),
            ConnectionEffect::Local(local) => Decision::Answer(Answer::Local(local)),
            ConnectionEffect::Lane(lane) => self.decide_lane(lane, args),
            ConnectionEffect::Transaction(what) => self.decide_transaction(at, what),
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) if !pinned => {
                Decision::Turn(Turn::Pin(Reason::Subscription))
            }
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) => self.decide_subscriber(effect, args),
            ConnectionEffect::Blocking | ConnectionEffect::Pin(PinReason::Wait) => self.on_lease(Reason::Blocking),
            ConnectionEffect::Monitor
            | ConnectionEffect::Pin(PinReason::ReplyMode | PinReason::Replication | PinReason::Shutdown) => self.on_tunnel(),
            ConnectionEffect::Pin(_) => self.on_lease(Reason::Exclusive),
            ConnectionEffect::Spare => Decision::Turn(Turn::Spare),
            ConnectionEffect::Quit => Decision::Turn(Turn::Quit),
            ConnectionEffect::Reset => Decision::Turn(Turn::Reset),
        }
    }

    fn decide_lane(&mut self, lane: Lane, args: Args<'_>) -> Decision {
        let Some(change) = LaneChange::read(lane, args) else {
            return Decision::Send(Role::Plain);
        };
        if lane == Lane::Hello && change.is_idle(self.session.protocol) {
            return Decision::Send(Role::Hello);
        }
        if self.session.is_free() {
            return Decision::Turn(Turn::Lane);
        }
        // The lease itself changes lanes, and can serve nobody else afterwards.
        self.session.affinity.pin(Reason::Exclusive);
        Decision::Send(if lane == Lane::Hello { Role::Hello } else { Role::Plain })
    }

    fn on_lease(&mut self, reason: Reason) -> Decision {
        if !self.session.affinity.is_pinned() {
            return Decision::Turn(Turn::Pin(reason));
        }
        self.session.affinity.pin(reason);
        Decision::Send(Role::Plain)
    }

    fn on_tunnel(&self) -> Decision {
        Decision::Turn(Turn::Pin(Reason::Tunnel))
    }

    fn decide_transaction(&mut self, at: usize, what: Transaction) -> Decision {
        let pinned = self.session.affinity.is_pinned();
        match what {
            Transaction::Multi if pinned => {
                self.session.transaction.multi();
                Decision::Send(Role::Multi)
            }
            Transaction::Multi => match self.own_transaction(at) {
                OwnTransaction::Whole(commands) => Decision::Transaction(commands),
                OwnTransaction::Unfinished if self.more => Decision::Turn(Turn::Wait),
                OwnTransaction::Unfinished | OwnTransaction::Mixed => Decision::Turn(Turn::Pin(Reason::Transaction)),
            },
            Transaction::Watch if pinned => {
                self.session.transaction.watch();
                Decision::Send(Role::Plain)
            }
            Transaction::Watch => Decision::Turn(Turn::Pin(Reason::Transaction)),
            Transaction::Unwatch => {
                self.session.transaction.unwatch();
                Decision::Send(Role::Plain)
            }
            // Outside of MULTI they are errors without effect.
            Transaction::Exec | Transaction::Discard => Decision::Send(Role::Plain),
        }
    }

    /// Whether the client's MULTI can ride on a shared connection: all of it is there, up to its
    /// EXEC or DISCARD, and nothing in it does anything but to read or write keys.
    fn own_transaction(&self, at: usize) -> OwnTransaction {
        for place in at + 1..self.batch.len() {
            let (spec, args) = (self.spec(place), self.args(place));
            match spec.connection {
                ConnectionEffect::Transaction(Transaction::Exec | Transaction::Discard) if spec.arity_fits(args) => {
                    return OwnTransaction::Whole(place + 1 - at);
                }
                _ if !spec.is_plain_keyed(args) => return OwnTransaction::Mixed,
                _ => {}
            }
        }
        OwnTransaction::Unfinished
    }

    fn role_of_end(&self, at: usize) -> Role {
        match self.spec(at).connection {
            ConnectionEffect::Transaction(Transaction::Exec) => Role::Exec,
            _ => Role::Queued,
        }
    }

    /// The connection with the client's WATCH or MULTI is gone: the client keeps its own, and learns
    /// at EXEC that nothing was applied.
    fn decide_lost(&mut self, open: bool, effect: ConnectionEffect) -> Option<Decision> {
        match effect {
            ConnectionEffect::Quit => Some(Decision::Turn(Turn::Quit)),
            ConnectionEffect::Reset => Some(Decision::Turn(Turn::Reset)),
            ConnectionEffect::Transaction(Transaction::Multi) => {
                self.session.transaction = SessionTransaction::Lost { open: true };
                Some(Decision::Answer(Answer::Ok))
            }
            ConnectionEffect::Transaction(Transaction::Exec) if open => {
                self.session.transaction.forget();
                Some(Decision::Answer(Answer::ExecAbort))
            }
            ConnectionEffect::Transaction(Transaction::Discard) if open => {
                self.session.transaction.forget();
                Some(Decision::Answer(Answer::Ok))
            }
            ConnectionEffect::Transaction(Transaction::Unwatch) if !open => {
                self.session.transaction.forget();
                Some(Decision::Answer(Answer::Ok))
            }
            _ => open.then_some(Decision::Answer(Answer::Queued)),
        }
    }

    /// Within the client's own MULTI, on a lease: everything is passed on.
    fn decide_queued(&mut self, spec: &Spec, args: Args<'_>) -> Decision {
        if !spec.arity_fits(args) {
            return Decision::Send(Role::Queued);
        }
        match spec.connection_effect(args) {
            ConnectionEffect::Transaction(Transaction::Exec) => {
                self.session.transaction.end();
                Decision::Send(Role::Exec)
            }
            ConnectionEffect::Transaction(Transaction::Discard) => {
                self.session.transaction.end();
                self.undecided.clear();
                Decision::Send(Role::Queued)
            }
            ConnectionEffect::Quit => Decision::Turn(Turn::Quit),
            ConnectionEffect::Reset => Decision::Turn(Turn::Reset),
            // Their replies would not be one for each request (redis-semantics: confirmations inside EXEC).
            ConnectionEffect::Subscribe(_)
            | ConnectionEffect::Unsubscribe(_)
            | ConnectionEffect::Pin(PinReason::ReplyMode | PinReason::Replication) => self.on_tunnel(),
            ConnectionEffect::None
            | ConnectionEffect::Transaction(_)
            | ConnectionEffect::Blocking
            | ConnectionEffect::Spare
            | ConnectionEffect::Monitor => Decision::Send(Role::Queued),
            ConnectionEffect::Local(_) | ConnectionEffect::Lane(_) | ConnectionEffect::Pin(_) => {
                self.session.affinity.pin(Reason::Exclusive);
                Decision::Send(Role::Queued)
            }
        }
    }

    /// What a RESP2 client in subscribe mode sends, and every (un)subscribe command.
    fn decide_subscriber(&mut self, effect: ConnectionEffect, args: Args<'_>) -> Decision {
        match effect {
            ConnectionEffect::Subscribe(_) => {
                self.session.subscriptions.sent();
                Decision::Send(Role::Subscription { frames: frames(args) })
            }
            ConnectionEffect::Unsubscribe(kind) => {
                self.session.subscriptions.sent();
                let role = if args.len() > 1 { Role::Subscription { frames: frames(args) } } else { Role::UnsubscribeAll(kind) };
                Decision::Send(role)
            }
            ConnectionEffect::Quit => Decision::Turn(Turn::Quit),
            ConnectionEffect::Reset => Decision::Turn(Turn::Reset),
            _ => Decision::Send(Role::Plain),
        }
    }

    /// Puts the commands that are to be sent as they are, up to `end`, into a step.
    fn end_run(&mut self, end: usize) {
        let commands = self.run..end;
        self.run = end;
        if commands.is_empty() {
            return;
        }
        self.with_probes(commands.clone(), Step::Send { commands });
    }

    fn push_group(&mut self, group: usize, commands: Range<usize>) {
        let rule = &self.rules.policy.groups()[group];
        let observed = rule.atomic == Atomic::Observe || self.rules.policy.mode_of(rule.mode) == Mode::Observe;
        let wrapped = !observed && self.rules.transactions;
        self.plan.roles.extend(commands.clone().map(|_| if wrapped { Role::Group } else { Role::Plain }));
        let step = if wrapped {
            Step::Wrap { commands: commands.clone(), group }
        } else {
            Step::Watch { commands: commands.clone(), group, unwrapped: !observed }
        };
        self.with_probes(commands, step);
    }

    /// The step, between the questions about TTLs that its commands leave open.
    fn with_probes(&mut self, commands: Range<usize>, step: Step) {
        if self.rules.policy.ttl_rules().is_empty() || !self.rules.probes {
            self.plan.steps.push(step);
            return;
        }
        for at in commands {
            self.undecided.admit(self.rules.policy, self.rules.table, self.batch.id(at), self.batch.args(self.bytes, at));
        }
        // Behind an open MULTI a question would be queued: it waits for the EXEC.
        if self.session.transaction.is_open() {
            self.plan.steps.push(step);
            return;
        }
        let before = self.plan.probes.len();
        self.plan.probes.extend(self.undecided.before());
        let first_after = self.plan.probes.len();
        self.plan.probes.extend(self.undecided.after());
        self.plan.steps.extend((before..first_after).map(|_| Step::Probe));
        self.plan.steps.push(step);
        self.plan.steps.extend((first_after..self.plan.probes.len()).map(|_| Step::Probe));
        self.undecided.clear();
    }
}

enum OwnTransaction {
    Whole(usize),
    Unfinished,
    Mixed,
}

fn frames(args: Args<'_>) -> u32 {
    u32::try_from(args.len() - 1).unwrap_or(u32::MAX)
}
