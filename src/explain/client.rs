//! One client whose batches are planned one after the other, as if everything between them had been answered.

use std::time::Duration;

use super::page::Page;
use super::steps::Planned;
use super::words;
use crate::config::{Config, Sharing};
use crate::engine::command::{ConnectionEffect, Lane, Table};
use crate::engine::pipeline::batch::{Batch, Tail};
use crate::engine::pipeline::plan::{Plan, Rules, Turn, plan};
use crate::engine::pipeline::slot::Role;
use crate::engine::pipeline::ttl::Undecided;
use crate::engine::pipeline::violation::Kind;
use crate::engine::policy::rule::Word;
use crate::engine::resp::encode;
use crate::engine::resp::request::{Limits, RequestParser};
use crate::engine::session::Session;
use crate::engine::session::affinity::Reason;
use crate::engine::session::lane::LaneChange;
use crate::net::client::large::{MEMBER_BYTES_MAX, STREAM_BYTES};

/// A client, as far as its own requests tell.
pub(super) struct Client<'a> {
    config: &'a Config,
    table: &'a Table,
    session: Session,
    undecided: Undecided,
    subscribing: Subscribing,
    gone: bool,
    /// The number that the next command has.
    number: usize,
}

/// Whether what would be waited for comes in time.
pub(super) trait Foresight {
    /// For the rest of a group, of which so many members are there: how long until more comes, if not too long.
    fn rest_of_group(&mut self, group: usize, members: usize) -> Option<Duration>;
    /// For the rest of a request, or of what is known to come.
    fn rest_of_request(&mut self) -> Option<Duration>;
}

/// Nothing more comes.
pub(super) struct Nothing;

impl Foresight for Nothing {
    fn rest_of_group(&mut self, _group: usize, _members: usize) -> Option<Duration> {
        None
    }

    fn rest_of_request(&mut self) -> Option<Duration> {
        None
    }
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
#[derive(PartialEq, Eq)]
enum Rest {
    /// The command that the turn was about is planned again, with all behind it.
    Again,
    /// Likewise, as if nothing more came.
    AgainWithoutMore,
    /// The command is dealt with.
    Behind,
    /// All from the command on waits for what comes next.
    Held,
}

impl<'a> Client<'a> {
    /// A client that has just connected.
    pub(super) fn new(config: &'a Config, table: &'a Table, page: &mut Page) -> Client<'a> {
        let (session, undecided, subscribing) = (Session::default(), Undecided::default(), Subscribing::default());
        let mut client = Client { config, table, session, undecided, subscribing, gone: false, number: 1 };
        if config.upstream.sharing == Sharing::Never {
            page.line(0, format_args!("sharing = {}: the client has a connection of its own", Sharing::Never.as_str()));
        }
        client.start();
        client
    }

    /// From here on commands are counted from 1 again.
    pub(super) fn count_anew(&mut self) {
        self.number = 1;
    }

    /// Plans what was sent, and writes down what would be done; how many bytes of it are done with. The others wait for
    /// more, which `foresight` says will come in time.
    pub(super) fn tell(&mut self, bytes: &[u8], foresight: &mut dyn Foresight, page: &mut Page) -> usize {
        self.settle(page);
        let mut parser = RequestParser::new(Limits::default());
        let (mut batch, mut at, mut rest) = (Batch::default(), 0, Rest::Again);
        while !self.is_unread() {
            let tail = batch.parse(&mut parser, self.table, &bytes[at..], usize::MAX);
            if batch.is_empty() {
                at += batch.consume(0);
                return at + self.tell_tail(&tail, &bytes[at..], page);
            }
            let more = matches!(tail, Tail::More | Tail::Partial);
            let plan = self.plan(&batch, &bytes[at..], more, rest == Rest::AgainWithoutMore);
            self.subscribing.note(&plan, &batch, &bytes[at..], self.table);
            let pinned = self.session.affinity.is_pinned();
            let (table, policy, first) = (self.table, &self.config.policy, self.number);
            let planned = Planned { table, policy, batch: &batch, bytes: &bytes[at..], plan: &plan, first, pinned };
            self.tell_large(&planned, page);
            planned.write(page);
            rest = plan.turn.map_or(Rest::Again, |turn| self.take_turn(turn, &planned, foresight, page));
            let covered = plan.commands + usize::from(rest == Rest::Behind);
            at += batch.consume(covered);
            self.number += covered;
            if rest == Rest::Held {
                return at;
            }
        }
        if !bytes[at..].iter().all(u8::is_ascii_whitespace) {
            let what = if self.gone { "not read: the client has gone" } else { "passed on as bytes, as are all replies" };
            page.line(1, format_args!("from {} on: {what}", self.number));
        }
        bytes.len()
    }

    /// What stands behind the last whole request; how many bytes of it are done with.
    fn tell_tail(&mut self, tail: &Tail, bytes: &[u8], page: &mut Page) -> usize {
        match tail {
            Tail::Error(error) => {
                page.line(1, format_args!("no request: answered `ERR {error}`, and the connection is closed"));
                self.gone = true;
                bytes.len()
            }
            Tail::Partial | Tail::Large => {
                page.line(1, format_args!("{} has begun: {} bytes of it are there", self.number, bytes.len()));
                0
            }
            Tail::Clean | Tail::More => bytes.len(),
        }
    }

    /// Which of the commands are too long to be held whole.
    fn tell_large(&self, planned: &Planned<'_>, page: &mut Page) {
        for at in 0..planned.plan.commands {
            let may_be_member = !self.config.policy.groups().is_empty() && planned.spec(at).groupable().is_ok();
            let bytes_max = if may_be_member { MEMBER_BYTES_MAX } else { STREAM_BYTES };
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

    fn plan(&mut self, batch: &Batch, bytes: &[u8], more: bool, without_more: bool) -> Plan {
        let policy = &self.config.policy;
        let hold = !without_more && !policy.hold.gap.is_zero();
        let rules = Rules { table: self.table, policy, transactions: true, probes: true, hold };
        let mut planned = Plan::default();
        plan(&mut self.session, &mut self.undecided, rules, batch, bytes, more && !without_more, &mut planned);
        planned
    }

    /// Writes down what must happen about the command behind the steps, as if it went well.
    fn take_turn(&mut self, turn: Turn, planned: &Planned<'_>, foresight: &mut dyn Foresight, page: &mut Page) -> Rest {
        let at = planned.plan.commands;
        match turn {
            Turn::Pin(reason) => {
                self.pin(reason, planned, page);
                return Rest::Again;
            }
            Turn::Wait => {
                page.line(1, format_args!("from {} on: waits for more, which is known to come", planned.number(at)));
                return held(foresight.rest_of_request(), page);
            }
            Turn::Hold { group, members } => {
                self.hold(group, planned, page);
                return held(foresight.rest_of_group(group, members), page);
            }
            Turn::Lane => self.change_lane(planned, page),
            Turn::Spare => {
                page.line(1, "as it is, on a spare connection, past everything that is under way:");
                planned.write_answered(at, words::reply(Role::Plain), page);
            }
            Turn::Elsewhere(local) => {
                page.line(1, "looked up among the clients of the proxy:");
                planned.write_answered(at, words::local_answer(local), page);
            }
            Turn::Quit => {
                page.line(1, "not sent:");
                planned.write_answered(at, "the proxy's own reply: OK, and the connection is closed", page);
                self.gone = true;
            }
            Turn::Reset => {
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
        let cause = words::cause(planned.spec(at).connection_effect(planned.args(at)));
        let cause = cause.map(|cause| format!(", {cause}")).unwrap_or_default();
        let (number, name) = (planned.number(at), words::name(self.table, planned.batch.id(at)));
        page.line(1, format_args!("{number} ({name}) pins the client: {}{cause}", reason.as_str()));
        let until = words::duration(reason);
        page.line(2, format_args!("once all before it is answered, the client has a connection of its own, {until}"));
        self.session.affinity.pin(reason);
    }

    fn hold(&self, group: usize, planned: &Planned<'_>, page: &mut Page) {
        let policy = &self.config.policy;
        let (hold, name) = (policy.hold, &policy.groups()[group].name);
        let from = planned.number(planned.plan.commands);
        page.line(1, format_args!("from {from} on: held, because this begins group {name}"));
        page.line(2, format_args!("for at most {:?} without a byte, and {:?} in all; then it goes on,", hold.gap, hold.max));
        page.line(2, format_args!("told as {} if the rest has not come:", Kind::Split));
    }

    fn change_lane(&mut self, planned: &Planned<'_>, page: &mut Page) {
        let at = planned.plan.commands;
        let args = planned.args(at);
        let ConnectionEffect::Lane(lane) = planned.spec(at).connection_effect(args) else { return };
        let change = LaneChange::read(lane, args).unwrap_or_default();
        if change.login.is_some() && self.config.upstream.credentials.is_some() {
            page.line(1, "not sent, because the proxy has credentials of its own for the server:");
            return planned.write_answered(at, "the proxy's own reply: an error", page);
        }
        let wanted = words::lane(&change);
        let stays = !self.session.affinity.is_passing();
        let what = if stays { "changes the client's own connection to" } else { "moves the client to connections with" };
        page.line(1, format_args!("when all before it is answered, {what} {wanted}:"));
        let reply = match lane {
            Lane::Hello => words::reply(Role::Hello),
            Lane::Auth | Lane::Select if stays => words::reply(Role::Lane),
            Lane::Auth | Lane::Select => "the proxy's own reply: OK, or the error with which the server refuses it".to_owned(),
        };
        planned.write_answered(at, reply, page);
        self.session.protocol = change.protocol.unwrap_or(self.session.protocol);
        if !stays {
            self.session.affinity.unpin();
        }
    }
}

fn held(more_in: Option<Duration>, page: &mut Page) -> Rest {
    let Some(more_in) = more_in else { return Rest::AgainWithoutMore };
    page.line(2, format_args!("more comes after {more_in:?}, in time"));
    Rest::Held
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
