//! Puts requests on the wire, and creates a place for each outstanding reply.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{End, Exchange, Places, State};
use crate::net::clock;
use crate::net::upstream::Recipient;
use crate::net::upstream::connection::Link;
use respguard_engine::command::{CommandId, Table};
use respguard_engine::link::owed::Owed;
use respguard_engine::link::times::Times;
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::expectations::Expectations;
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::group::{Members, WrappedGroup};
use respguard_engine::pipeline::in_doubt::mark;
use respguard_engine::pipeline::named_keys::NamedKeys;
use respguard_engine::pipeline::plan::Added;
use respguard_engine::pipeline::probe::Probe;
use respguard_engine::pipeline::refuse::SPOILER;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::pipeline::wire::{self, Injected, Pieces};
use respguard_engine::policy::{Group, Member, Policy};
use respguard_resp::encode;

/// Times that apply to what is sent now.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// When the requests were read.
    pub read_at: Instant,
    pub request_timeout: Duration,
    /// For what is long by nature.
    pub slow_timeout: Duration,
}

impl Timing {
    /// The times of what is long by nature.
    pub(super) fn slow(self) -> Timing {
        Timing { request_timeout: self.request_timeout.max(self.slow_timeout), ..self }
    }

    /// The times of what is sent with these.
    pub(super) fn times(&self) -> Times {
        Times::within(self.read_at, self.request_timeout)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.read_at + self.request_timeout)
    }
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
    /// Those of them that are a SETNX and go out as SET.
    pub(super) turned: &'a [(usize, Arc<str>)],
    pub(super) places: &'a Places,
    /// Some of the commands are long by nature, and so may an EXEC be.
    pub(super) slow: Option<SlowExec>,
}

/// A group's marker, and the questions that are asked right behind the group.
pub(super) type Marked = (Vec<u8>, Vec<Probe>);

/// Whether an EXEC may end a transaction with something that is long by nature.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlowExec(pub(super) bool);

impl Sending<'_> {
    /// The times of these commands together.
    pub(super) fn timing_of(&self, commands: &[usize]) -> Timing {
        let is_slow = commands.iter().any(|&at| self.table.spec(self.batch.id(at)).slow);
        if is_slow { self.timing.slow() } else { self.timing }
    }

    /// What goes on the wire for the members of a group, with commands of our own between them.
    pub(super) fn transaction<'p>(&'p self, commands: &[usize], injected: &'p [Injected]) -> Pieces<'p> {
        let members = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        wire::parts(members, injected, |members, parts| {
            for run in commands[members.start as usize..members.end as usize].chunk_by(|a, b| a + 1 == *b) {
                self.push_pieces(run[0]..run[0] + run.len(), parts);
            }
        })
    }

    /// What goes on the wire for consecutive commands.
    pub(super) fn push_pieces<'p>(&'p self, commands: Range<usize>, pieces: &mut Pieces<'p>) {
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

    /// The keys of these commands, where violations name them.
    pub(super) fn keys(&self, commands: impl Iterator<Item = usize>) -> Option<Box<NamedKeys>> {
        let member = |at| Member { id: self.batch.id(at), args: self.batch.args(self.bytes, at) };
        NamedKeys::of(self.policy, self.table, commands.map(member))
    }

    /// What the rule of the group formed by these commands expects of their replies.
    pub(super) fn expectations(&self, commands: impl Iterator<Item = usize> + Clone, rule: &Group) -> Option<Box<Expectations>> {
        if !rule.expects_replies() {
            return None;
        }
        let member = |at| Member { id: self.batch.id(at), args: self.batch.args(self.bytes, at) };
        let expectations = Expectations::of(rule, self.table, &mut |i| commands.clone().nth(i).map(member))?;
        let is_turned = |(_, at): &(usize, usize)| self.turned.iter().any(|(turned, _)| turned == at);
        let turned = if self.turned.is_empty() {
            Vec::new()
        } else {
            commands.enumerate().filter(is_turned).map(|(place, _)| place).collect()
        };
        Some(Box::new(expectations.turning(turned)))
    }
}

impl Exchange {
    /// Sends a request that the proxy has rewritten; its reply is the client's.
    pub fn ask(self: &Rc<Self>, id: CommandId, role: Role, words: &[&[u8]], request_timeout: Duration) {
        self.leave_stuck();
        let link = self.link();
        let request = encode::request_frame(words);
        self.count_request(id);
        let timing = Timing { read_at: clock::now(), request_timeout, slow_timeout: request_timeout };
        let mut state = self.state.borrow_mut();
        let seq = state.slots.push(None, role, id, None);
        self.send(&link, &mut state, &[&request], Owed::each(seq, 1), timing.times());
    }

    /// Begins to cut a request through that is too large to be held whole: `head` is its first part.
    pub fn begin_stream(self: &Rc<Self>, id: CommandId, role: Role, head: &[u8], timing: Timing) {
        let link = self.link();
        self.count_request(id);
        let mut state = self.state.borrow_mut();
        let seq = state.slots.push(None, role, id, None);
        self.send(&link, &mut state, &[head], Owed::each(seq, 1), Times::unlimited(timing.read_at));
    }

    /// In the place of a command within the client's own MULTI goes out what aborts it, and the client is told `error`.
    pub fn abort_transaction(self: &Rc<Self>, id: CommandId, error: Vec<u8>, timing: Timing) {
        let link = self.link();
        self.count_request(id);
        let mut state = self.state.borrow_mut();
        let seq = state.slots.push(None, Role::Refused(Box::new(error)), id, None);
        self.send(&link, &mut state, &[SPOILER], Owed::each(seq, 1), timing.times());
    }

    /// Passes bytes on for which no reply is awaited in a place of its own.
    pub fn tunnel(self: &Rc<Self>, bytes: &[u8]) {
        let link = self.link();
        let recipient: Rc<dyn Recipient> = Rc::<Exchange>::clone(self);
        if !link.send(recipient, &[bytes], Owed::nothing(), Times::unlimited(clock::now())) {
            self.end(End::LeaseLost);
        }
    }

    /// True when it is on its way.
    pub(super) fn send(self: &Rc<Self>, link: &Rc<Link>, state: &mut State, parts: &[&[u8]], owed: Owed, times: Times) -> bool {
        // On a lease there is state that a refusal in the middle would tear. Behind what is still under way a refusal
        // would take the place of a reply that may come: what is sent there shares its fate.
        if self.is_refused(state, owed.frames()) {
            self.context.metrics.add_refused(owed.frames());
            self.fault_in(state, owed, Fault::Refused);
            return false;
        }
        let recipient: Rc<dyn Recipient> = Rc::<Exchange>::clone(self);
        let is_sent = link.send(recipient, parts, owed, times);
        if !is_sent {
            self.fault_in(state, owed, Fault::Unavailable);
        }
        is_sent
    }

    /// True when the server is not worth asking for the requests pushed last, which are owed so many frames.
    pub(super) fn is_refused(&self, state: &State, frames: u32) -> bool {
        let is_first = state.slots.owes_no_more_than(frames);
        is_first && self.context.health.refuses() && !state.session.affinity.is_pinned()
    }

    /// The commands of a group, which are counted now.
    pub(super) fn count_members(&self, sending: &Sending<'_>, commands: &[usize]) -> Members {
        let mut members = Members::with_capacity(commands.len());
        for &at in commands {
            let id = sending.batch.id(at);
            self.context.metrics.command(id.index());
            members.push(id);
        }
        members
    }

    pub(super) fn send_group(
        self: &Rc<Self>,
        sending: &Sending<'_>,
        commands: &[usize],
        (index, rule): (usize, &Arc<Group>),
        Added { mut injected, rule: ttl_fixed, checks }: Added,
        resolved: Option<Marked>,
    ) {
        let link = sending.link;
        let timing = sending.timing_of(commands);
        let members = self.count_members(sending, commands);
        let mut state = self.state.borrow_mut();
        if let Some((marker, _)) = &resolved {
            let behind = u32::try_from(members.len()).unwrap_or(u32::MAX);
            injected.push(Injected { behind, request: mark(marker, timing.request_timeout), ttl_fix: None });
        }
        self.follow_ups.set_timeout(timing.request_timeout);
        let expectations = sending.expectations(commands.iter().copied(), rule);
        let mut wrapped = WrappedGroup::new(self.context.metrics.group_row(index), Arc::clone(rule), members);
        wrapped.with_injected(&injected).checked(checks).ttl_fixed(ttl_fixed);
        wrapped.expecting(expectations).naming(sending.keys(commands.iter().copied()));
        let parts = sending.transaction(commands, &injected);
        if let Some(resolved) = resolved {
            return self.send_marked(sending, &mut state, (commands, wrapped), resolved, parts.concat());
        }
        let frames = wrapped.frames();
        let seq = state.slots.push_group(sending.places.of_all(commands).as_deref(), wrapped);
        self.send(link, &mut state, &parts, Owed::request(seq, frames), timing.times());
    }

    /// Sends questions of our own, in one piece.
    pub(super) fn send_probes(self: &Rc<Self>, link: &Rc<Link>, probes: impl Iterator<Item = Probe>, timing: Timing) {
        let mut request = Vec::with_capacity(64);
        let mut state = self.state.borrow_mut();
        let owed = self.push_probes(&mut state, probes, &mut request);
        self.send(link, &mut state, &[&request], owed, timing.times());
    }

    /// Makes places for the answers to questions, which are written behind `request`.
    pub(super) fn push_probes(&self, state: &mut State, probes: impl Iterator<Item = Probe>, request: &mut Vec<u8>) -> Owed {
        state.slots.push_probes(probes.map(|mut probe| {
            // The rules may change before it is answered.
            probe.index = self.context.metrics.ttl_row(&probe.rule.name);
            encode::request(request, &[b"PTTL", &probe.key]);
            probe
        }))
    }
}
