//! One client whose batches are planned one after the other, as if each had been answered before the next.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::library;
use super::page::Page;
use super::planned::{Clustered, Planned};
use super::subscribing::Subscribing;
use super::summary::{Action, Noted};
use super::text;
use crate::config::{Config, Sharing, Topology};
use crate::net::clock;
use crate::net::whole_limits::{MEMBER_BYTES_MAX, STREAM_BYTES};
use respguard_engine::command::{ConnectionEffect, Lane, Table};
use respguard_engine::link::owed::Seq;
use respguard_engine::pipeline::batch::{Batch, Tail};
use respguard_engine::pipeline::dialogue::{Dialogue, Next, Sent as There};
use respguard_engine::pipeline::plan::{Barrier, Plan, Rules};
use respguard_engine::pipeline::slot::Role;
use respguard_engine::pipeline::ttl::Undecided;
use respguard_engine::pipeline::violation::Kind;
use respguard_engine::policy::Member;
use respguard_engine::policy::rule::Word;
use respguard_engine::route::place::Routes;
use respguard_engine::session::Session;
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::lane::{AnsweredBy, LaneChange};
use respguard_resp::request::{Limits, RequestParser};

/// A client, as far as its own requests tell.
pub(super) struct Client<'a> {
    config: &'a Config,
    table: &'a Table,
    /// Before a cluster: where commands go.
    routes: Option<Rc<Routes>>,
    session: Session,
    undecided: Undecided,
    subscribing: Subscribing,
    gone: bool,
    input: Input,
    dialogue: Dialogue,
}

/// What the client has sent, as far as it is not done with.
struct Input {
    bytes: Vec<u8>,
    batch: Batch,
    parser: RequestParser,
    /// The number of the next command.
    next: usize,
}

/// When it was sent, and how long it takes until more is.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) next_in: Option<Duration>,
}

impl Sent {
    /// Nothing comes for so long.
    fn pass(&mut self, time: Duration) {
        self.at += time;
        self.next_in = self.next_in.map(|next_in| next_in.saturating_sub(time));
    }
}

/// Which library the client says to be, and what its users see.
fn explain_library(planned: &Planned<'_>, page: &mut Page) {
    for at in 0..planned.batch.len() {
        let name = library::named(planned.spec(at).name(), planned.args(at));
        if let Some((name, shows)) = name.and_then(|name| Some((name, library::shows(name)?))) {
            page.note(&Noted { what: Action::Library, by: name, commands: 1 });
            page.line(1, format_args!("the client library is {name}: {shows}"));
        }
    }
}

impl<'a> Client<'a> {
    /// A client that has just connected.
    pub(super) fn new(config: &'a Config, table: &'a Table, page: &mut Page) -> Client<'a> {
        let (session, undecided, subscribing) = (Session::default(), Undecided::default(), Subscribing::default());
        let (input, dialogue) = (Input::default(), Dialogue::default());
        let routes = config.upstream.topology.is_cluster().then(|| Rc::new(Routes::of(table)));
        let mut client = Client { config, table, routes, session, undecided, subscribing, gone: false, input, dialogue };
        if config.upstream.sharing == Sharing::Never {
            page.line(0, format_args!("sharing = {}: the client has a connection of its own", Sharing::Never.as_str()));
        }
        client.start();
        client
    }

    /// What was sent before is forgotten; commands are counted from 1 again.
    pub(super) fn begin_anew(&mut self) {
        (self.input, self.dialogue) = (Input::default(), Dialogue::default());
    }

    /// Plans what has now been sent, and writes down what would be done. What waits for more stays, if more comes in time.
    pub(super) fn explain(&mut self, bytes: &[u8], sent: Sent, page: &mut Page) {
        self.settle(page);
        let mut input = std::mem::take(&mut self.input);
        input.bytes.extend_from_slice(bytes);
        self.explain_input(&mut input, sent, page);
        self.input = input;
    }

    fn explain_input(&mut self, input: &mut Input, mut sent: Sent, page: &mut Page) {
        // What was sent before this read has been answered.
        let (mut is_answered, routes) = (true, self.routes.clone());
        while !self.is_unread() {
            let Input { bytes, batch, parser, next } = &mut *input;
            let tail = batch.parse(parser, self.table, bytes, usize::MAX);
            if batch.is_empty() {
                bytes.drain(..batch.consume(0));
                return self.explain_tail(&tail, input, page);
            }
            let found = self.dialogue.begin(is_answered, batch, bytes, self.table, &self.config.policy);
            if let Some(group) = found {
                self.explain_sequence(group, page);
            }
            is_answered = false;
            let mut plan = self.plan(batch, bytes, &tail, sent.at);
            self.subscribing.note(&plan, batch, bytes, self.table);
            let pinned = self.session.affinity.is_pinned();
            let (table, policy) = (self.table, &self.config.policy);
            let splits_writes = matches!(&self.config.upstream.topology, Topology::Cluster(cluster) if cluster.split_writes);
            let clustered = routes.as_deref().map(|routes| Clustered { routes, splits_writes });
            let planned = Planned { table, policy, batch, bytes, plan: &plan, pinned, clustered };
            self.explain_large(&planned, page);
            explain_library(&planned, page);
            planned.write(page);
            let is_refused = matches!(plan.turn, Some(Barrier::Pin(_))) && planned.write_refused_there(page);
            plan.turn.into_iter().filter(|_| !is_refused).for_each(|turn| self.pass_barrier(turn, &planned, page));
            let covered = plan.commands + usize::from(is_refused || plan.turn.is_some_and(Barrier::takes_command));
            self.dialogue.note(&plan, plan.has_group(), batch, bytes);
            // Nobody waits for a reply here.
            let gone = plan.take_out(covered, (batch, bytes), |_| Seq::default(), sent.at);
            bytes.drain(..gone);
            *next += covered - plan.kept.len();
            if let Next::Wait(longest) = self.dialogue.follow(&mut plan, batch, &tail, || (policy.hold, sent.at)) {
                let Some(next_in) = sent.next_in.filter(|next_in| *next_in <= longest) else {
                    sent.pass(longest);
                    self.dialogue.end_wait();
                    continue;
                };
                self.dialogue.take_wait();
                return page.line(2, format_args!("more comes after {next_in:?}, in time"));
            }
        }
        let Input { bytes, next, .. } = input;
        if !bytes.iter().all(u8::is_ascii_whitespace) {
            let what = if self.gone { "not read: the client has gone" } else { "passed on as bytes, as are all replies" };
            page.line(1, format_args!("from {next} on: {what}"));
        }
        bytes.clear();
    }

    /// What stands behind the last whole request.
    fn explain_tail(&mut self, tail: &Tail, input: &mut Input, page: &mut Page) {
        if !matches!(tail, Tail::Clean | Tail::More) {
            page.remark();
        }
        match tail {
            Tail::Error(error) => {
                page.line(1, format_args!("no request: answered `ERR {error}`, and the connection is closed"));
                self.gone = true;
            }
            Tail::Partial | Tail::Large => {
                page.line(1, format_args!("{} has begun: {} bytes of it are there", input.next, input.bytes.len()));
            }
            Tail::Clean | Tail::More => {}
        }
    }

    /// Which of the commands are too long to be held whole.
    fn explain_large(&self, planned: &Planned<'_>, page: &mut Page) {
        for at in 0..planned.plan.commands {
            let (policy, spec) = (&self.config.policy, planned.spec(at));
            let command = Member { id: planned.batch.id(at), args: planned.batch.args(planned.bytes, at) };
            let is_concerned = !policy.groups().is_empty() && spec.groupable().is_ok() || policy.may_match_command(command);
            let is_held_whole = is_concerned || spec.connection != ConnectionEffect::None;
            let bytes_max = if is_held_whole { MEMBER_BYTES_MAX } else { STREAM_BYTES };
            let bytes = planned.batch.wire(at..at + 1).len();
            if bytes > bytes_max {
                let (number, large) = (planned.number(at), Reason::Large.as_str());
                page.line(1, format_args!("{number} has {bytes} bytes: it goes over a connection of its own ({large})"));
            }
        }
    }

    fn is_unread(&self) -> bool {
        self.gone || self.session.affinity.is_tunnel()
    }

    fn start(&mut self) {
        if self.config.upstream.sharing == Sharing::Never {
            self.session.affinity.pin(Reason::Exclusive);
        }
    }

    /// Everything before has been answered: what ends with a reply has ended.
    fn settle(&mut self, page: &mut Page) {
        self.subscribing.settle(&mut self.session);
        if self.session.affinity.is_pinned() && self.session.is_free() {
            self.session.affinity.unpin();
            page.line(1, "back on a shared connection: nothing keeps the client on its own");
        }
    }

    fn plan(&mut self, batch: &Batch, bytes: &[u8], tail: &Tail, now: Instant) -> Plan {
        let policy = &self.config.policy;
        let slots = self.config.upstream.topology.is_cluster();
        let rules = Rules { slots, unix_ms: clock::unix_ms(), ..Rules::usual(self.table, policy) };
        let there = There { batch, bytes, tail, filled: false, open: true, must_go: false };
        let mut planned = Plan::default();
        self.dialogue.plan((&mut self.session, &mut self.undecided), rules, there, now, &mut planned);
        planned
    }

    /// Writes down what must happen about the command behind the steps, as if it went well.
    fn pass_barrier(&mut self, turn: Barrier, planned: &Planned<'_>, page: &mut Page) {
        page.remark();
        let at = planned.plan.commands;
        match turn {
            Barrier::Pin(reason) => self.pin(reason, planned, page),
            Barrier::Wait => {
                page.line(1, format_args!("from {} on: waits for more, which is known to come", planned.number(at)));
            }
            Barrier::Hold => self.explain_hold(planned, page),
            Barrier::Resolve => {
                if at < planned.batch.len() {
                    page.line(1, format_args!("from {} on: waits until the group is answered", planned.number(at)));
                }
            }
            Barrier::Share => {
                let number = planned.number(at);
                page.line(1, format_args!("from {number} on: waits for what goes before, then back on a shared connection"));
                self.session.affinity.unpin();
            }
            Barrier::Lane => self.change_lane(planned, page),
            Barrier::Spare => {
                page.line(1, "unchanged, on a spare connection, past everything that is under way:");
                planned.write_answered(at, text::reply(&Role::Plain), page);
            }
            Barrier::ClientCommand(local) => {
                page.line(1, "answered over the clients of the proxy, if the server allows it to this client:");
                planned.write_answered(at, text::local_answer(local), page);
            }
            Barrier::Exec => {
                page.line(1, "unchanged; the proxy's answers about its clients are put into the array:");
                planned.write_answered(at, text::reply(&Role::Exec), page);
                self.session.transaction.end();
            }
            Barrier::Close => {
                page.line(1, "not sent:");
                planned.write_answered(at, "no reply: the connection is closed, as Redis does for HTTP", page);
                self.gone = true;
            }
            Barrier::Quit => {
                page.line(1, "not sent:");
                planned.write_answered(at, "the proxy's own reply: OK, and the connection is closed", page);
                self.gone = true;
            }
            Barrier::Reset => {
                page.line(1, "not sent, the client is as if it had just connected:");
                planned.write_answered(at, "the proxy's own reply: RESET", page);
                self.session = Session::default();
                self.undecided.clear();
                self.subscribing = Subscribing::default();
                self.start();
            }
        }
    }

    fn pin(&mut self, reason: Reason, planned: &Planned<'_>, page: &mut Page) {
        let at = planned.plan.commands;
        let cause = text::cause(planned.spec(at).connection_effect(planned.args(at)));
        let cause = cause.map(|cause| format!(", {cause}")).unwrap_or_default();
        let (number, name) = (planned.number(at), planned.spec(at).shown());
        page.note(&Noted { what: Action::Pinned, by: reason.as_str(), commands: 1 });
        page.line(1, format_args!("{number} ({name}) pins the client: {}{cause}", reason.as_str()));
        let until = text::duration(reason);
        page.line(2, format_args!("once all before it is answered, the client has a connection of its own, {until}"));
        self.subscribing.settle(&mut self.session);
        self.session.affinity.pin(reason);
    }

    fn explain_hold(&self, planned: &Planned<'_>, page: &mut Page) {
        let policy = &self.config.policy;
        let hold = policy.hold;
        for (group, members) in planned.plan.waiting() {
            let (numbers, name) = (planned.numbers(members), &policy.groups()[group].name);
            page.note(&Noted { what: Action::Held, by: name, commands: members.len() });
            page.line(1, format_args!("{numbers}: held, because this begins group {name}"));
            planned.write_why_no_group(members[0], page);
        }
        page.line(2, format_args!("for at most {:?} without a byte, and {:?} in all; then it goes on,", hold.gap, hold.max));
        page.line(2, format_args!("reported as {} if the rest has not come:", Kind::Split));
    }

    fn explain_sequence(&self, group: usize, page: &mut Page) {
        let name = &self.config.policy.groups()[group].name;
        page.remark();
        page.line(
            1,
            format_args!("goes on with group {name} after the answer, for the third time: reported as {}", Kind::Sequential),
        );
        page.line(2, "from now on nothing of this client's is held");
    }

    fn change_lane(&mut self, planned: &Planned<'_>, page: &mut Page) {
        let at = planned.plan.commands;
        let args = planned.args(at);
        let ConnectionEffect::Lane(lane) = planned.spec(at).connection_effect(args) else { return };
        let change = LaneChange::read(lane, args).unwrap_or_default();
        let (users, credentials) = (&self.config.listen.users, &self.config.upstream.credentials);
        match change.answered_by(self.session.transaction.is_open(), !users.is_empty(), credentials.is_some()) {
            AnsweredBy::Exec => {
                page.line(1, "unchanged; what it changes is known when the transaction is executed:");
                return planned.write_answered(at, text::reply(&Role::Queued), page);
            }
            AnsweredBy::OwnUsers => {
                page.line(1, "not sent, because the proxy has users of its own:");
                return planned.write_answered(at, "the proxy's own reply: whether it is one of them", page);
            }
            AnsweredBy::Refusal => {
                page.line(1, "not sent, because the proxy has credentials of its own for the server:");
                return planned.write_answered(at, "the proxy's own reply: an error", page);
            }
            AnsweredBy::Server => {}
        }
        let wanted = text::lane(&change);
        let stays = !self.session.affinity.is_passing();
        let what = if stays { "changes the client's own connection to" } else { "moves the client to connections with" };
        page.line(1, format_args!("when all before it is answered, {what} {wanted}:"));
        let reply = match lane {
            Lane::Hello => text::reply(&Role::Hello),
            Lane::Auth | Lane::Select if stays => text::reply(&Role::Lane),
            Lane::Auth | Lane::Select => "the proxy's own reply: OK, or the error with which the server refuses it".to_owned(),
        };
        planned.write_answered(at, reply, page);
        self.session.protocol = change.protocol.unwrap_or(self.session.protocol);
        if !stays {
            self.session.affinity.unpin();
        }
    }
}

impl Default for Input {
    fn default() -> Input {
        let parser = RequestParser::new(Limits::default());
        Input { bytes: Vec::new(), batch: Batch::default(), parser, next: 1 }
    }
}
