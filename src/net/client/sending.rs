//! Plans what a client has sent, and sends it on.

use std::rc::Rc;

use super::connection::{Connection, Next};
use super::input::Input;
use crate::net::clock;
use crate::net::exchange::{State, Timing};
use crate::net::offenders::fingerprint;
use crate::net::upstream::connection::Link;
use crate::net::upstream::lane::TtlFixPermission;
use respguard_engine::pipeline::batch::Tail;
use respguard_engine::pipeline::dialogue::{self, Sent};
use respguard_engine::pipeline::plan::{Barrier, Holding, Plan, Rules};
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::reply_mode::ReplyMode;

/// Told to whom nothing more is read from.
const NO_ROOM: &[u8] = b"-ERR respguard: no room is left for a request of this size (buffered_bytes_max)\r\n";

/// What happens before commands are cut out of what has come.
enum Before {
    Parse,
    /// A part has been dealt with: it is looked at anew.
    Again,
    Next(Next),
}

impl Connection {
    /// Plans and sends everything that can go now.
    pub(super) fn advance(&mut self) -> Next {
        if self.exchange.buffered.take_refused() {
            self.refuse_unfinished();
        }
        loop {
            let mut has_free_way = self.has_free_way();
            if !has_free_way || self.exchange.may_be_stuck() {
                match self.before_parsing() {
                    Before::Parse => has_free_way = self.has_free_way(),
                    Before::Again => continue,
                    Before::Next(next) => return next,
                }
            }
            let whole_bytes_max = self.whole_bytes_max();
            let tail = self.parse(whole_bytes_max);
            if tail == Tail::Large && whole_bytes_max < self.whole_bytes_max() {
                continue;
            }
            if let Some(next) = self.send_batch(&tail, has_free_way) {
                return next;
            }
            match tail {
                Tail::More => {}
                Tail::Clean | Tail::Partial => return self.all_sent(),
                Tail::Large => {
                    if let Some(next) = self.cut_through() {
                        return next;
                    }
                }
                Tail::Error(error) => {
                    let mut reply = Vec::new();
                    error.reply(&mut reply);
                    self.exchange.answer(reply);
                    return Next::Close;
                }
            }
        }
    }

    /// What must be done before what has come is cut into commands, or in place of that.
    fn before_parsing(&mut self) -> Before {
        if self.exchange.state.borrow().session.affinity.is_tunnel() {
            return Before::Next(self.tunnel());
        }
        if self.input.is_streaming() {
            return self.stream().map_or(Before::Again, Before::Next);
        }
        if self.exchange.leave_stuck() {
            self.preparation.change_connection(self.shared.pool.settings.request_timeout, clock::now());
        }
        if self.has_no_room() {
            return Before::Next(Next::Room);
        }
        self.limit_unauthenticated();
        Before::Parse
    }

    /// Cuts what has come into commands; what stands behind the last whole one.
    fn parse(&mut self, whole_bytes_max: usize) -> Tail {
        let context = &self.shared.context;
        if self.input.batch.is_none() {
            self.input.batch.set(context.batches.take());
        }
        self.input.parse(&context.table(), whole_bytes_max)
    }

    /// Nothing more can go on now.
    pub(super) fn has_no_room(&self) -> bool {
        !self.exchange.has_room() && self.input.batch.all_held().is_empty() || !self.exchange.link_has_room(self.bytes_to_send())
    }

    /// What waits to be sent; of a request that is passed on as it comes nobody knows how much is to come.
    pub(super) fn bytes_to_send(&self) -> usize {
        if self.input.is_streaming() { usize::MAX } else { self.input.bytes.len() }
    }

    /// Redis takes less from a client that still owes a password, which its next command may bring.
    fn limit_unauthenticated(&mut self) {
        let owes = self.owes_server_password() || self.is_unauthenticated();
        // What is held has a place that its reply must come to: it goes first.
        if owes != self.input.batch.singly && self.input.batch.all_held().is_empty() {
            // What was read under the other limits is read again.
            self.input.begin_again(owes);
        }
    }

    /// The server wants a password, and has not been given one for this client.
    #[inline]
    pub(super) fn owes_server_password(&self) -> bool {
        !self.login.is_accepted_by_server() && self.exchange.wants_password()
    }

    /// Plans and sends the commands of the batch; what must happen before the rest can follow.
    fn send_batch(&mut self, tail: &Tail, has_free_way: bool) -> Option<Next> {
        if self.input.batch.is_empty() {
            self.input.consume(0);
            return None;
        }
        if has_free_way && self.send_whole() {
            return None;
        }
        self.follow_rules();
        if let Some(next) = self.before_planning() {
            return Some(next);
        }
        self.preparation.end_going_with_others();
        self.begin_batch();
        let shared = Rc::clone(&self.shared);
        let planned = &mut *shared.plan.borrow_mut();
        self.plan_batch(tail, false, planned);
        let timing = self.timing();
        let has_group = planned.has_group();
        let places = self.exchange.dispatch(planned, &self.input.batch, &self.input.bytes, timing);
        self.report_notes(planned, has_group);
        self.input.take_out(planned, |at| places.of_held(at), clock::now());
        self.what_follows(tail, planned)
    }

    /// On a connection of its own the state of the client may decide what a read means; of a cluster's nodes each has its own order.
    fn may_send_reads_ahead(&self) -> bool {
        let state = self.exchange.state.borrow();
        let is_usual = !state.session.affinity.is_pinned() && state.slots.reply_mode() == ReplyMode::On;
        is_usual && !self.shared.pool.is_cluster() && !self.input.ended
    }

    /// Sends the reads that come next, behind a transaction that may go out again.
    pub(super) fn send_reads_ahead(&mut self) {
        let may = self.may_send_reads_ahead() && self.exchange.state.borrow_mut().slots.takes_reads_ahead();
        let is_held = self.input.is_streaming() || !self.input.batch.all_held().is_empty();
        if !may || is_held || self.input.bytes.is_empty() || self.has_no_room() || self.may_go_alone() {
            return;
        }
        let tail = self.parse(self.whole_bytes_max());
        if self.input.batch.is_empty() {
            return;
        }
        let shared = Rc::clone(&self.shared);
        let planned = &mut *shared.plan.borrow_mut();
        self.plan_batch(&tail, true, planned);
        if planned.commands == 0 {
            return;
        }
        let timing = self.timing();
        let places = self.exchange.dispatch(planned, &self.input.batch, &self.input.bytes, timing);
        self.input.take_out(planned, |at| places.of_held(at), clock::now());
    }

    /// What is there may have to go over a connection that nobody shares.
    fn may_go_alone(&self) -> bool {
        self.exchange.bulk.is_expected() || !self.shared.context.offenders.is_empty() || self.is_long()
    }

    /// While the server lets no write pass, what may be one goes where others wait already.
    #[cold]
    fn go_where_writes_wait(&self, still: &Rc<Link>) {
        let table = self.shared.context.table();
        let writes = (0..self.input.batch.len()).any(|at| table.spec(self.input.batch.id(at)).may_write());
        if writes && !self.exchange.state.borrow().session.affinity.is_pinned() {
            self.exchange.go_to(still);
        }
    }

    /// What must be known, or done, before the batch can be planned.
    fn before_planning(&mut self) -> Option<Next> {
        if self.shared.context.watch.finds_still()
            && let Some(still) = self.exchange.lane().still()
        {
            self.go_where_writes_wait(&still);
        }
        if !self.preparation.goes_with_others() && self.goes_alone() {
            return Some(Next::Barrier(Barrier::Pin(Reason::Bulky)));
        }
        if self.must_await_opening() {
            return Some(Next::ConnectParams);
        }
        if self.must_ask_ability() {
            return Some(Next::Ask);
        }
        self.preparation.end_abilities();
        if let Some(asking) = self.ttl_fix_to_ask() {
            return Some(Next::AskTtlFix(asking));
        }
        self.preparation.end_permissions();
        self.values_to_pack().map(Next::Pack)
    }

    /// `fenced`: a transaction is unanswered that may go out again.
    fn plan_batch(&self, tail: &Tail, fenced: bool, planned: &mut Plan) {
        let context = &self.shared.context;
        let (table, policy) = (context.table(), context.policy());
        let (link, lane) = self.exchange.link_and_lane();
        let unserved = self.shared.pool.unserved();
        let rules = Rules {
            table: &table,
            policy: &policy,
            transactions: link.can_transact(),
            probes: lane.probes.get(),
            ttl_fixes: lane.ttl_fix.get() != TtlFixPermission::Refused,
            setnx_fixes: lane.setnx_fix.get() == TtlFixPermission::Able,
            ability: link.ability(),
            hold: Holding::default(),
            degraded: context.health.refuses() || link.is_down(),
            troubled: self.is_troubled(),
            carries: true,
            reads_ahead: self.may_send_reads_ahead(),
            fenced,
            unserved: unserved.as_deref(),
            alone: self.is_long(),
            skips: self.exchange.state.borrow().slots.reply_mode() == ReplyMode::SkipNext,
            slots: self.shared.pool.is_cluster(),
            unix_ms: if policy.has_acting_ttl_rules() { clock::unix_ms() } else { 0 },
        };
        drop((link, lane));
        let Input { batch, bytes, filled, ended, .. } = &self.input;
        let (open, must_go) = (!ended && !self.exchange.front.borrow().is_whole(), self.exchange.is_held_up());
        let sent = Sent { batch, bytes, tail, filled: *filled, open, must_go };
        let mut state = self.exchange.state.borrow_mut();
        let State { session, undecided, .. } = &mut *state;
        self.dialogue.plan((session, undecided), rules, sent, clock::now(), planned);
    }

    /// What the plan asks for behind what it has sent.
    fn what_follows(&mut self, tail: &Tail, planned: &mut Plan) -> Option<Next> {
        let context = &self.shared.context;
        match self.dialogue.follow(planned, &self.input.batch, tail, || (context.policy().hold, clock::now())) {
            dialogue::Next::On => None,
            dialogue::Next::Wait(longest) => {
                self.exchange.front.borrow().acknowledge();
                Some(Next::ReadWithin(longest))
            }
            dialogue::Next::Do(barrier) => Some(Next::Barrier(barrier)),
        }
    }

    /// What is there goes over a connection that nobody shares: its replies may be large, or the server may close the
    /// connection over it.
    fn goes_alone(&self) -> bool {
        let offenders = &self.shared.context.offenders;
        if self.exchange.bulk.is_expected() && self.exchange.is_drained() && self.wants_own_link() {
            self.exchange.bulk.count();
            return true;
        }
        !offenders.is_empty() && self.offends() || self.is_long() && self.may_have_own_link()
    }

    /// The server may have ended a connection over what is among the commands.
    #[cold]
    fn offends(&self) -> bool {
        if !self.wants_own_link() {
            return false;
        }
        let offenders = &self.shared.context.offenders;
        let commands = (0..self.input.batch.len()).filter_map(|at| fingerprint(self.input.args(at)));
        let found = commands.filter(|command| offenders.use_one(*command)).last();
        self.exchange.bulk.set_suspect(found.filter(|_| self.input.batch.len() == 1));
        found.is_some()
    }

    /// A command, or a group of them, may be longer than the server takes. What is shorter than that in all is not looked at
    /// one by one.
    fn is_long(&self) -> bool {
        let context = &self.shared.context;
        let longest = context.limits.shared_request_bytes();
        self.input.batch.whole_bytes() > longest && (!context.policy().groups().is_empty() || self.has_longer(longest))
    }

    #[cold]
    fn has_longer(&self, longest: usize) -> bool {
        (0..self.input.batch.len()).any(|at| self.input.batch.wire(at..at + 1).len() > longest)
    }

    /// It can have a connection of its own now: those that share one need not wait.
    #[cold]
    fn wants_own_link(&self) -> bool {
        self.input.batch.all_held().is_empty() && self.may_have_own_link() && self.exchange.lane().has_leases_to_spare()
    }

    /// Without a server nobody waits, and rules may answer in its place.
    #[cold]
    fn may_have_own_link(&self) -> bool {
        let is_pinned = self.exchange.state.borrow().session.affinity.is_pinned();
        let is_there = !self.exchange.link().is_down() && !self.shared.context.health.refuses();
        !is_pinned && !self.is_unauthenticated() && is_there
    }

    pub(super) fn timing(&self) -> Timing {
        let read_at = self.preparation.take_read_at(clock::now());
        let settings = &self.shared.pool.settings;
        Timing { read_at, request_timeout: settings.request_timeout, slow_timeout: settings.slow_timeout }
    }

    /// Everything that was read has been sent.
    pub(super) fn all_sent(&mut self) -> Next {
        self.give_buffers();
        self.preparation.end_wait();
        if std::mem::take(&mut self.input.refused_room) {
            self.exchange.answer(NO_ROOM.to_vec());
        }
        if self.input.ended { Next::Close } else { Next::Read }
    }
}
