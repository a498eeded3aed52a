//! Puts what was planned on the wire, and makes a place for each reply that it is owed.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::settle::Settled;
use super::{End, Exchange, State};
use crate::engine::command::{BlockFor, CommandId, RetryClass, Table};
use crate::engine::pipeline::batch::Batch;
use crate::engine::pipeline::demand::Demands;
use crate::engine::pipeline::finding::Fault;
use crate::engine::pipeline::group::{self, Injected, WrappedGroup};
use crate::engine::pipeline::judge::Judge;
use crate::engine::pipeline::plan::{Added, Answer, Plan, Step};
use crate::engine::pipeline::score::{Scope, Score};
use crate::engine::pipeline::settle::mark;
use crate::engine::pipeline::slot::{Probe, Role, Slots};
use crate::engine::pipeline::violation::{Kind, Violation};
use crate::engine::policy::{Group, Member, Policy};
use crate::engine::resp::{Protocol, encode};
use crate::net::clock;
use crate::net::upstream::connection::Link;
use crate::net::upstream::{PING, Recipient};

/// Times that apply to what is sent now.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// When the requests were read.
    pub read_at: Instant,
    pub request_timeout: Duration,
}

/// What the steps of one plan have in common.
pub(super) struct Sending<'a> {
    pub(super) link: &'a Rc<Link>,
    pub(super) table: &'a Table,
    pub(super) policy: &'a Policy,
    pub(super) batch: &'a Batch,
    pub(super) bytes: &'a [u8],
    pub(super) timing: Timing,
    /// Commands that do not go out as they came.
    pub(super) rewrites: &'a [(usize, Vec<u8>)],
}

/// What belongs to single commands of one plan, in order.
struct Own<'a> {
    judges: &'a mut VecDeque<Box<Judge>>,
    refused: &'a mut VecDeque<Vec<u8>>,
}

impl Exchange {
    /// Sends what was planned.
    ///
    /// Where requests go out in another order than the one in which they were read, the places of all that are planned
    /// come back, by their index.
    pub fn dispatch(self: &Rc<Self>, plan: &mut Plan, batch: &Batch, bytes: &[u8], timing: Timing) -> Vec<u64> {
        let link = self.link();
        let (table, policy) = (self.context.table(), self.context.policy());
        let rewrites = std::mem::take(&mut plan.rewrites);
        let sending = Sending { link: &link, table: &table, policy: &policy, batch, bytes, timing, rewrites: &rewrites };
        let places = if plan.reorders() || !batch.all_held().is_empty() { self.reserve(plan, batch) } else { Vec::new() };
        let mut probes = plan.probes.drain(..);
        let (mut preflights, mut refusals) = (plan.preflights.drain(..), plan.refusals.drain(..));
        let mut own = Own { judges: &mut plan.judges, refused: &mut plan.refused };
        let mut steps = plan.steps.iter().peekable();
        while let Some(step) = steps.next() {
            match step {
                Step::Send { commands } => {
                    let roles = &plan.roles[commands.clone()];
                    let plain = roles.iter().filter(|role| role.is_scored()).count();
                    let scope = (plain > 1).then_some(Scope::Pipeline { report: policy.report_pipelines });
                    let score = scope.map(|scope| Score::new(scope, u32::try_from(plain).unwrap_or(u32::MAX)));
                    self.aim(&places, commands.clone());
                    self.send_run(&sending, commands.clone(), roles, score, &mut own);
                }
                Step::Watch { commands, group, unwrapped } => {
                    let index = self.context.tally.group_row(*group);
                    let rule = Arc::clone(&policy.groups()[*group]);
                    let demands = sending.demands(commands.clone(), &rule);
                    let scope = Scope::Group { index, rule, unwrapped: *unwrapped };
                    let score = Score::new(scope, u32::try_from(commands.len()).unwrap_or(u32::MAX)).demanding(demands);
                    self.aim(&places, commands.clone());
                    self.send_run(&sending, commands.clone(), &plan.roles[commands.clone()], Some(score), &mut own);
                }
                Step::Wrap { members, group } => {
                    let members = &plan.members[members.clone()];
                    self.aim(&places, members.iter().copied());
                    let added = plan.added.pop_front().unwrap_or_default();
                    let rule = &policy.groups()[*group];
                    let marker = self.marker(&sending, members, rule);
                    let settled = marker.map(|marker| (marker, questions(&mut steps, &mut probes)));
                    self.send_group(&sending, members, (*group, rule), added, settled);
                }
                Step::Mend { command } => {
                    self.aim(&places, std::iter::once(*command));
                    let added = plan.added.pop_front().unwrap_or_default();
                    if let Some(rule) = &added.rule {
                        let alone = Arc::new(Group::alone(&rule.name));
                        self.send_group(&sending, &[*command], (WrappedGroup::ALONE, &alone), added, None);
                    }
                }
                Step::Refuse { command } => {
                    self.context.tally.command(batch.id(*command).index());
                    self.aim(&places, std::iter::once(*command));
                    self.answer(own.refused.pop_front().unwrap_or_default());
                }
                Step::Guard { members, group } => {
                    let members = &plan.members[members.clone()];
                    self.aim(&places, members.iter().copied());
                    if let Some(preflight) = preflights.next() {
                        let added = plan.added.pop_front().unwrap_or_default();
                        let marker = self.marker(&sending, members, &policy.groups()[*group]);
                        let settled = marker.map(|marker| (marker, questions(&mut steps, &mut probes)));
                        self.send_guarded(&sending, members, *group, preflight, added, settled);
                    }
                }
                Step::RefuseGroup { members, group } => {
                    let members = &plan.members[members.clone()];
                    self.aim(&places, members.iter().copied());
                    if let Some(refusal) = refusals.next() {
                        self.refuse(&sending, members, *group, &refusal);
                    }
                }
                Step::Probe => {
                    if let Some(probe) = probes.next() {
                        self.send_probe(&link, probe, timing);
                    }
                }
                Step::CatchUp => {
                    let mut state = self.state.borrow_mut();
                    state.slots.push(Role::Unheard, CommandId::UNKNOWN, false);
                    self.send(&link, &mut state, &[PING], 1, timing.read_at, timing.deadline());
                }
                Step::Answer { command, by } => {
                    if let Answer::Degraded { rule, .. } = by {
                        self.tell_degraded(&sending, *command, *rule);
                    }
                    self.context.tally.command(batch.id(*command).index());
                    self.aim(&places, std::iter::once(*command));
                    let protocol = self.state.borrow().session.protocol;
                    self.answer(own_reply(*by, protocol));
                }
            }
        }
        drop(probes);
        self.conclude_plan(&mut plan.found);
        places
    }

    /// The place of each planned command, in the order in which they were read.
    fn reserve(&self, plan: &Plan, batch: &Batch) -> Vec<u64> {
        let slots = &mut self.state.borrow_mut().slots;
        (0..plan.commands).map(|at| batch.held(at).map_or_else(|| slots.reserve(), |held| held.place)).collect()
    }

    /// The commands that are sent next have these places, if they have any.
    fn aim(&self, places: &[u64], commands: impl Iterator<Item = usize>) {
        if places.is_empty() {
            return;
        }
        let slots = &mut self.state.borrow_mut().slots;
        commands.for_each(|at| slots.aim(places[at]));
    }

    fn tell_degraded(&self, sending: &Sending<'_>, command: usize, rule: usize) {
        let Sending { table, policy, batch, bytes, .. } = *sending;
        let (spec, args, rule) = (table.spec(batch.id(command)), batch.args(bytes, command), &policy.degrade_rules()[rule]);
        let mut key = None;
        spec.for_each_key(args, &mut |place, _| key = key.or(args.get(place)));
        let key_pattern = key.and_then(|key| rule.pattern_of(key)).map(Into::into);
        let violation = Violation { key_pattern, ..Violation::new(Kind::Degraded) };
        self.context.reporter.violation(violation.rule(&rule.name).commands([spec.name()]), &self.peer);
    }

    fn send_run(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        commands: Range<usize>,
        roles: &[Role],
        score: Option<Score>,
        own: &mut Own<'_>,
    ) {
        let Sending { batch, timing, .. } = *sending;
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let scored = score.is_some();
        if let Some(score) = score {
            state.slots.push_score(score);
        }
        commands.clone().for_each(|at| self.context.tally.command(batch.id(at).index()));
        if roles.iter().all(|role| *role == Role::Plain) {
            state.slots.push_plain(commands.clone().map(|at| batch.id(at)), scored);
        } else {
            push_by_role(&mut state.slots, batch, commands.clone().zip(roles), scored, own);
        }
        let mut rest = commands.clone();
        // What goes before a command that blocks is not blocked itself, and has a deadline of its own.
        if state.session.affinity.is_pinned() {
            for (at, &role) in commands.zip(roles) {
                if !matches!(role, Role::Queued | Role::QueuedJudged)
                    && let Some(deadline) = blocking_deadline(sending, at)
                {
                    self.send_part(sending, state, rest.start..at, timing.deadline());
                    self.send_part(sending, state, at..at + 1, deadline);
                    rest.start = at + 1;
                }
            }
        }
        let reads = self.reads_behind(sending, state, rest.clone(), &roles[roles.len() - rest.len()..]);
        self.send_part(sending, state, rest.start..reads.start, timing.deadline());
        if !reads.is_empty() && self.send_part(sending, state, reads, timing.deadline()) {
            sending.link.mark_reads();
        }
    }

    /// The reads at the end of these commands, which may be sent once more should the connection be lost. A lease is lost
    /// with its client's state.
    fn reads_behind(&self, sending: &Sending<'_>, state: &State, commands: Range<usize>, roles: &[Role]) -> Range<usize> {
        // What is refused, because it is the first, is refused as a whole.
        if state.session.affinity.is_pinned() || self.context.health.refuses() {
            return commands.end..commands.end;
        }
        let is_read =
            |(at, role): &(usize, &Role)| role.is_scored() && sending.table.spec(sending.batch.id(*at)).retry == RetryClass::Read;
        let reads = commands.clone().zip(roles).rev().take_while(is_read).count();
        commands.end - reads..commands.end
    }

    /// True when it is on its way.
    fn send_part(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        state: &mut State,
        commands: Range<usize>,
        deadline: Option<Instant>,
    ) -> bool {
        let Sending { link, batch, bytes, timing, .. } = *sending;
        if commands.is_empty() {
            return false;
        }
        let frames = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        if sending.rewrites.is_empty() {
            self.send(link, state, &[&bytes[batch.wire(commands)]], frames, timing.read_at, deadline)
        } else {
            let mut pieces = Vec::new();
            sending.push_pieces(commands, &mut pieces);
            self.send(link, state, &pieces, frames, timing.read_at, deadline)
        }
    }

    fn send_group(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        commands: &[usize],
        (index, rule): (usize, &Arc<Group>),
        Added { mut injected, rule: mended, panel }: Added,
        settled: Option<Settled>,
    ) {
        let Sending { link, batch, timing, .. } = *sending;
        let members: Vec<_> = commands.iter().map(|&at| batch.id(at)).collect();
        for id in &members {
            self.context.tally.command(id.index());
        }
        let mut state = self.state.borrow_mut();
        if let Some((marker, _)) = &settled {
            let behind = u32::try_from(members.len()).unwrap_or(u32::MAX);
            injected.push(Injected { behind, request: mark(marker, timing.request_timeout) });
        }
        let demands = sending.demands(commands.iter().copied(), rule);
        let wrapped = WrappedGroup::new(self.context.tally.group_row(index), Arc::clone(rule), members)
            .with_injected(&injected)
            .judged(panel)
            .mended(mended)
            .demanding(demands);
        let parts = sending.transaction(commands, &injected);
        if let Some(settled) = settled {
            return self.send_settled(sending, &mut state, wrapped, settled, parts.concat());
        }
        let frames = wrapped.frames();
        state.slots.push_group(Box::new(wrapped));
        self.send(link, &mut state, &parts, frames, timing.read_at, timing.deadline());
    }

    fn send_probe(self: &Rc<Self>, link: &Rc<Link>, probe: Probe, timing: Timing) {
        let mut request = Vec::with_capacity(32 + probe.key.len());
        let mut state = self.state.borrow_mut();
        self.push_probe(&mut state, probe, &mut request);
        self.send(link, &mut state, &[&request], 1, timing.read_at, timing.deadline());
    }

    /// Makes a place for the answer to a question, which is written behind `request`.
    pub(super) fn push_probe(&self, state: &mut State, mut probe: Probe, request: &mut Vec<u8>) {
        // The rules may change before it is answered.
        probe.index = self.context.tally.ttl_row(&probe.rule.name);
        encode::request(request, &[b"PTTL", &probe.key]);
        state.slots.push_probe(probe);
    }

    /// True when it is on its way.
    pub(super) fn send(
        self: &Rc<Self>,
        link: &Rc<Link>,
        state: &mut State,
        parts: &[&[u8]],
        frames: u32,
        read_at: Instant,
        deadline: Option<Instant>,
    ) -> bool {
        // On a lease there is state that a refusal in the middle would tear. Behind what is still under way a refusal
        // would take the place of a reply that may come: what is sent there shares its fate.
        let is_first = state.slots.owes_no_more_than(frames);
        if is_first && self.context.health.refuses() && !state.session.affinity.is_pinned() {
            self.context.tally.add_refused(frames);
            self.fault_in(state, frames, Fault::Refused);
            return false;
        }
        let recipient: Rc<dyn Recipient> = Rc::<Exchange>::clone(self);
        let is_sent = link.send(recipient, parts, frames, read_at, deadline);
        if !is_sent {
            self.fault_in(state, frames, Fault::Unavailable);
        }
        is_sent
    }

    /// Sends a request that the proxy has rewritten; its reply is the client's.
    pub fn ask(self: &Rc<Self>, id: CommandId, role: Role, words: &[&[u8]], request_timeout: Duration) {
        self.leave_stuck();
        let link = self.link();
        let mut request = Vec::new();
        encode::request(&mut request, words);
        self.context.tally.command(id.index());
        let timing = Timing { read_at: clock::now(), request_timeout };
        let mut state = self.state.borrow_mut();
        state.slots.push(role, id, false);
        self.send(&link, &mut state, &[&request], 1, timing.read_at, timing.deadline());
    }

    /// Begins to cut a request through that is too large to be held whole: `head` is its first part.
    pub fn begin_stream(self: &Rc<Self>, id: CommandId, head: &[u8], timing: Timing) {
        let link = self.link();
        self.context.tally.command(id.index());
        let mut state = self.state.borrow_mut();
        state.slots.push(Role::Plain, id, false);
        self.send(&link, &mut state, &[head], 1, timing.read_at, None);
    }

    /// Passes bytes on for which no reply is awaited in a place of its own.
    pub fn tunnel(self: &Rc<Self>, bytes: &[u8]) {
        let link = self.link();
        let recipient: Rc<dyn Recipient> = Rc::<Exchange>::clone(self);
        if !link.send(recipient, &[bytes], 0, clock::now(), None) {
            self.end(End::LeaseLost);
        }
    }
}

/// A place for each command, by what its reply means.
fn push_by_role<'r>(
    slots: &mut Slots,
    batch: &Batch,
    commands: impl Iterator<Item = (usize, &'r Role)>,
    scored: bool,
    own: &mut Own<'_>,
) {
    for (at, &role) in commands {
        let id = batch.id(at);
        match role {
            Role::Judged | Role::QueuedJudged if let Some(judge) = own.judges.pop_front() => {
                slots.push_judged(role, judge, id, scored && role == Role::Judged);
            }
            Role::Refused => slots.push_refused(own.refused.pop_front().unwrap_or_default(), id),
            role => slots.push(role, id, scored && role == Role::Plain),
        }
    }
}

/// The questions that stand right behind a step.
fn questions<'s>(steps: &mut Peekable<impl Iterator<Item = &'s Step>>, probes: &mut impl Iterator<Item = Probe>) -> Vec<Probe> {
    let count = std::iter::from_fn(|| steps.next_if(|step| matches!(step, Step::Probe))).count();
    probes.by_ref().take(count).collect()
}

impl<'a> Sending<'a> {
    /// What goes on the wire for the members of a group, with commands of our own between them.
    pub(super) fn transaction<'p>(&'p self, commands: &[usize], injected: &'p [Injected]) -> Vec<&'p [u8]> {
        let members = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        group::parts(members, injected, |members, parts| {
            for run in commands[members.start as usize..members.end as usize].chunk_by(|a, b| a + 1 == *b) {
                self.push_pieces(run[0]..run[0] + run.len(), parts);
            }
        })
    }

    /// What goes on the wire for consecutive commands.
    fn push_pieces<'p>(&'p self, commands: Range<usize>, pieces: &mut Vec<&'p [u8]>) {
        let mut first = commands.start;
        // Most go out as they came.
        let rewritable = if self.rewrites.is_empty() { 0..0 } else { commands.clone() };
        for at in rewritable {
            if let Some((_, request)) = self.rewrites.iter().find(|(rewritten, _)| *rewritten == at) {
                pieces.extend([&self.bytes[self.batch.wire(first..at)], request]);
                first = at + 1;
            }
        }
        pieces.push(&self.bytes[self.batch.wire(first..commands.end)]);
    }

    /// What the rule of the group that these commands are demands of their replies.
    pub(super) fn demands(&self, commands: impl Iterator<Item = usize> + Clone, rule: &Group) -> Option<Box<Demands>> {
        let member = |at| Member { id: self.batch.id(at), args: self.batch.args(self.bytes, at) };
        Demands::of(rule, self.table, &mut |i| commands.clone().nth(i).map(member))
    }
}

/// The reply that the proxy gives itself.
fn own_reply(answer: Answer, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    match answer {
        Answer::Ok => encode::simple(&mut out, "OK"),
        Answer::Queued => encode::simple(&mut out, "QUEUED"),
        Answer::NoReplica => {
            encode::error(&mut out, "ERR respguard: no replication through a proxy: connect the replica to the server itself");
        }
        Answer::ExecAbort => encode::error(
            &mut out,
            "EXECABORT Transaction discarded because of: respguard: the connection to the server was lost, nothing was applied",
        ),
        Answer::Refuse(text) => encode::error(&mut out, text),
        Answer::Degraded { blank, .. } => blank.encode(&mut out, protocol),
    }
    out
}

impl Timing {
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.read_at + self.request_timeout)
    }
}

/// Until when a command on a lease is waited for that may block: its own timeout is added, `None` within for ever. `None`
/// for one that does not block.
fn blocking_deadline(sending: &Sending<'_>, at: usize) -> Option<Option<Instant>> {
    let Sending { table, batch, bytes, timing, .. } = *sending;
    let (spec, args) = (table.spec(batch.id(at)), batch.args(bytes, at));
    if !spec.is_blocking(args) {
        return None;
    }
    match spec.blocking_timeout(args)? {
        BlockFor::Forever => Some(None),
        BlockFor::AtMost(timeout) => Some(timing.deadline().and_then(|deadline| deadline.checked_add(timeout))),
    }
}
