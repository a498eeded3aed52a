//! One client whose batches are planned one after the other, as if everything between them had been answered.

use std::time::{Duration, Instant};

use super::library;
use super::page::Page;
use super::steps::Planned;
use super::summary::{Noted, What};
use super::text;
use crate::config::{Config, Sharing};
use crate::net::clock;
use crate::net::whole_limits::{MEMBER_BYTES_MAX, STREAM_BYTES};
use respguard_engine::command::{ConnectionEffect, Lane, Table};
use respguard_engine::link::owed::Seq;
use respguard_engine::pipeline::batch::{Batch, Held, Tail};
use respguard_engine::pipeline::plan::{Barrier, Holding, Plan, Rules, plan};
use respguard_engine::pipeline::slot::Role;
use respguard_engine::pipeline::ttl::Undecided;
use respguard_engine::pipeline::violation::Kind;
use respguard_engine::policy::Member;
use respguard_engine::policy::rule::Word;
use respguard_engine::preflight::Ability;
use respguard_engine::session::Session;
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::lane::LaneChange;
use respguard_resp::encode;
use respguard_resp::request::{Limits, RequestParser};

/// A client, as far as its own requests tell.
pub(super) struct Client<'a> {
    config: &'a Config,
    table: &'a Table,
    session: Session,
    undecided: Undecided,
    subscribing: Subscribing,
    gone: bool,
    input: Input,
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

/// What the server will have confirmed when all is answered.
#[derive(Default)]
struct Subscribing {
    commands: usize,
    confirmations: Vec<Vec<u8>>,
    /// Every name that was ever subscribed to.
    names: Vec<Box<[u8]>>,
}

/// What becomes of the batch behind a turn.
enum Rest {
    /// The command that the turn was about is planned again, with all behind it.
    Again,
    /// Likewise, when more has come or this time has passed.
    Wait(Duration),
    /// The command is dealt with.
    Behind,
}

/// Which library the client says to be, and what its users see.
fn tell_library(planned: &Planned<'_>, page: &mut Page) {
    for at in 0..planned.batch.len() {
        let name = library::named(planned.spec(at).name(), planned.args(at));
        if let Some((name, shows)) = name.and_then(|name| Some((name, library::shows(name)?))) {
            page.note(&Noted { what: What::Library, by: name, commands: 1 });
            page.line(1, format_args!("the client library is {name}: {shows}"));
        }
    }
}

impl<'a> Client<'a> {
    /// A client that has just connected.
    pub(super) fn new(config: &'a Config, table: &'a Table, page: &mut Page) -> Client<'a> {
        let (session, undecided, subscribing) = (Session::default(), Undecided::default(), Subscribing::default());
        let mut client = Client { config, table, session, undecided, subscribing, gone: false, input: Input::default() };
        if config.upstream.sharing == Sharing::Never {
            page.line(0, format_args!("sharing = {}: the client has a connection of its own", Sharing::Never.as_str()));
        }
        client.start();
        client
    }

    /// What was sent before is forgotten; commands are counted from 1 again.
    pub(super) fn begin_anew(&mut self) {
        self.input = Input::default();
    }

    /// Plans what has now been sent, and writes down what would be done. What waits for more stays, if more comes in time.
    pub(super) fn tell(&mut self, bytes: &[u8], sent: Sent, page: &mut Page) {
        self.settle(page);
        let mut input = std::mem::take(&mut self.input);
        input.bytes.extend_from_slice(bytes);
        self.tell_input(&mut input, sent, page);
        self.input = input;
    }

    fn tell_input(&mut self, input: &mut Input, mut sent: Sent, page: &mut Page) {
        let mut wait_over = false;
        while !self.is_unread() {
            let Input { bytes, batch, parser, next } = &mut *input;
            let tail = batch.parse(parser, self.table, bytes, usize::MAX);
            if batch.is_empty() {
                bytes.drain(..batch.consume(0));
                return self.tell_tail(&tail, input, page);
            }
            let more = !wait_over && matches!(tail, Tail::More | Tail::Partial);
            let plan = self.plan(batch, bytes, more, wait_over, sent.at);
            self.subscribing.note(&plan, batch, bytes, self.table);
            let pinned = self.session.affinity.is_pinned();
            let (table, policy) = (self.table, &self.config.policy);
            let slots = self.config.upstream.topology.is_cluster();
            let planned = Planned { table, policy, batch, bytes, plan: &plan, pinned, slots };
            self.tell_large(&planned, page);
            tell_library(&planned, page);
            planned.write(page);
            let rest = plan.turn.map_or(Rest::Again, |turn| self.pass_barrier(turn, &planned, page));
            let covered = plan.commands + usize::from(matches!(rest, Rest::Behind));
            let gone = match plan.kept.is_empty() {
                true => batch.consume(covered),
                false => batch.consume_around(covered, &kept(&plan, batch, sent.at), bytes),
            };
            bytes.drain(..gone);
            *next += covered - plan.kept.len();
            wait_over = match rest {
                Rest::Wait(longest) => match self.wait(longest, batch, &mut sent, page) {
                    Some(over) => over,
                    None => return,
                },
                _ => wait_over && plan.turn.is_some(),
            };
        }
        let Input { bytes, next, .. } = input;
        if !bytes.iter().all(u8::is_ascii_whitespace) {
            let what = if self.gone { "not read: the client has gone" } else { "passed on as bytes, as are all replies" };
            page.line(1, format_args!("from {next} on: {what}"));
        }
        bytes.clear();
    }

    /// Lets the time pass until what is held is waited for no longer, and says whether that is true of all of it; `None`
    /// when more comes before.
    fn wait(&self, longest: Duration, batch: &Batch, sent: &mut Sent, page: &mut Page) -> Option<bool> {
        let max = self.config.policy.hold.max;
        let oldest = batch.all_held().iter().map(|held| held.since).min();
        let left = oldest.map_or(max, |since| (since + max).saturating_duration_since(sent.at));
        let wait = longest.min(left);
        if let Some(next_in) = sent.next_in.filter(|next_in| *next_in <= wait) {
            page.line(2, format_args!("more comes after {next_in:?}, in time"));
            return None;
        }
        sent.at += wait;
        sent.next_in = sent.next_in.map(|next_in| next_in.saturating_sub(wait));
        Some(longest <= left)
    }

    /// What stands behind the last whole request.
    fn tell_tail(&mut self, tail: &Tail, input: &mut Input, page: &mut Page) {
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
    fn tell_large(&self, planned: &Planned<'_>, page: &mut Page) {
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

    fn plan(&mut self, batch: &Batch, bytes: &[u8], more: bool, over: bool, now: Instant) -> Plan {
        let policy = &self.config.policy;
        let willing = !policy.hold.gap.is_zero();
        let hold = Holding { willing, across: true, over, overdue: now.checked_sub(policy.hold.max) };
        let ability = Ability::Able;
        let rules = Rules {
            table: self.table,
            policy,
            transactions: true,
            probes: true,
            ttl_fixes: true,
            setnx_fixes: true,
            ability,
            hold,
            degraded: false,
            troubled: false,
            carries: true,
            reads_ahead: false,
            fenced: false,
            slots: self.config.upstream.topology.is_cluster(),
            unserved: None,
            alone: false,
            skips: false,
            unix_ms: clock::unix_ms(),
        };
        let mut planned = Plan::default();
        plan(&mut self.session, &mut self.undecided, rules, batch, bytes, more, &mut planned);
        planned
    }

    /// Writes down what must happen about the command behind the steps, as if it went well.
    fn pass_barrier(&mut self, turn: Barrier, planned: &Planned<'_>, page: &mut Page) -> Rest {
        page.remark();
        let at = planned.plan.commands;
        match turn {
            Barrier::Pin(reason) => {
                self.pin(reason, planned, page);
                return Rest::Again;
            }
            Barrier::Wait => {
                page.line(1, format_args!("from {} on: waits for more, which is known to come", planned.number(at)));
                return Rest::Wait(self.config.policy.hold.max);
            }
            Barrier::Hold => {
                self.hold(planned, page);
                return Rest::Wait(self.config.policy.hold.gap);
            }
            Barrier::Resolve => {
                if at < planned.batch.len() {
                    page.line(1, format_args!("from {} on: waits until the group is answered", planned.number(at)));
                }
                return Rest::Again;
            }
            Barrier::Share => {
                let number = planned.number(at);
                page.line(1, format_args!("from {number} on: waits for what goes before, then back on a shared connection"));
                self.session.affinity.unpin();
                return Rest::Again;
            }
            Barrier::Lane => self.change_lane(planned, page),
            Barrier::Spare => {
                page.line(1, "as it is, on a spare connection, past everything that is under way:");
                planned.write_answered(at, text::reply(&Role::Plain), page);
            }
            Barrier::ClientCommand(local) => {
                page.line(1, "answered over the clients of the proxy, if the server allows it to this client:");
                planned.write_answered(at, text::local_answer(local), page);
            }
            Barrier::Exec => {
                page.line(1, "as it is; the proxy's answers about its clients are put into the array:");
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
        Rest::Behind
    }

    fn pin(&mut self, reason: Reason, planned: &Planned<'_>, page: &mut Page) {
        let at = planned.plan.commands;
        let cause = text::cause(planned.spec(at).connection_effect(planned.args(at)));
        let cause = cause.map(|cause| format!(", {cause}")).unwrap_or_default();
        let (number, name) = (planned.number(at), text::name(self.table, planned.batch.id(at)));
        page.note(&Noted { what: What::Pinned, by: reason.as_str(), commands: 1 });
        page.line(1, format_args!("{number} ({name}) pins the client: {}{cause}", reason.as_str()));
        let until = text::duration(reason);
        page.line(2, format_args!("once all before it is answered, the client has a connection of its own, {until}"));
        self.subscribing.settle(&mut self.session);
        self.session.affinity.pin(reason);
    }

    fn hold(&self, planned: &Planned<'_>, page: &mut Page) {
        let policy = &self.config.policy;
        let hold = policy.hold;
        for (group, members) in planned.plan.waiting() {
            let (numbers, name) = (planned.numbers(members), &policy.groups()[group].name);
            page.note(&Noted { what: What::Held, by: name, commands: members.len() });
            page.line(1, format_args!("{numbers}: held, because this begins group {name}"));
            planned.write_why_no_group(members[0], page);
        }
        page.line(2, format_args!("for at most {:?} without a byte, and {:?} in all; then it goes on,", hold.gap, hold.max));
        page.line(2, format_args!("told as {} if the rest has not come:", Kind::Split));
    }

    fn change_lane(&mut self, planned: &Planned<'_>, page: &mut Page) {
        let at = planned.plan.commands;
        let args = planned.args(at);
        let ConnectionEffect::Lane(lane) = planned.spec(at).connection_effect(args) else { return };
        let change = LaneChange::read(lane, args).unwrap_or_default();
        if self.session.transaction.is_open() {
            page.line(1, "as it is; what it changes is known when the transaction is executed:");
            return planned.write_answered(at, text::reply(&Role::Queued), page);
        }
        if change.login.is_some() && !self.config.listen.users.is_empty() {
            page.line(1, "not sent, because the proxy has users of its own:");
            return planned.write_answered(at, "the proxy's own reply: whether it is one of them", page);
        }
        if change.login.is_some() && self.config.upstream.credentials.is_some() {
            page.line(1, "not sent, because the proxy has credentials of its own for the server:");
            return planned.write_answered(at, "the proxy's own reply: an error", page);
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

impl Subscribing {
    /// Takes the (un)subscribe commands that a plan sends.
    fn note(&mut self, plan: &Plan, batch: &Batch, bytes: &[u8], table: &Table) {
        for (at, role) in plan.roles.iter().enumerate() {
            let args = batch.args(bytes, at);
            let word = table.spec(batch.id(at)).name();
            match role {
                Role::Subscription { .. } => {
                    self.names.extend(args.from(1).iter().map(Box::from));
                    self.confirmations.extend(args.from(1).iter().map(|name| confirmation(word, name)));
                }
                Role::UnsubscribeAll(_) => self.confirmations.extend(self.names.iter().map(|name| confirmation(word, name))),
                _ => continue,
            }
            self.commands += 1;
        }
    }

    fn settle(&mut self, session: &mut Session) {
        self.confirmations.drain(..).for_each(|frame| session.subscriptions.confirm(&frame));
        (0..std::mem::take(&mut self.commands)).for_each(|_| session.subscriptions.answered());
    }
}

/// What a plan leaves in the batch; nobody waits for a reply here.
fn kept(plan: &Plan, batch: &Batch, now: Instant) -> Vec<(usize, Held)> {
    let since = |at| batch.held(at).map_or(now, |held| held.since);
    plan.kept.iter().map(|&(at, begins)| (at, Held { seq: Seq::default(), since: since(at), begins })).collect()
}

impl Default for Input {
    fn default() -> Input {
        let parser = RequestParser::new(Limits::default());
        Input { bytes: Vec::new(), batch: Batch::default(), parser, next: 1 }
    }
}

/// What the server sends about one name; how many are left does not matter here
/// (<https://redis.io/docs/latest/develop/pubsub/>).
fn confirmation(word: &str, name: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::array_header(&mut frame, 3);
    encode::bulk(&mut frame, word.as_bytes());
    encode::bulk(&mut frame, name);
    encode::integer(&mut frame, 0);
    frame
}
