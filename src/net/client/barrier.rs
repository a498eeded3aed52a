//! What must happen between two commands of a client: a fence, another lane, a question elsewhere.

use std::rc::Rc;

use super::connection::Connection;
use super::fence::unsent;
use crate::net::clock;
use crate::net::exchange::{End, Waiting};
use crate::net::upstream::call::ask;
use crate::net::upstream::lane::{Lane, LaneKey};
use crate::net::upstream::pool::NoLane;
use respguard_engine::command::{CommandId, ConnectionEffect, Login};
use respguard_engine::link::handshake::{Refusal, Selects, Step};
use respguard_engine::pipeline::plan::Barrier;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::session::Session;
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::lane::{AnsweredBy, LaneChange};
use respguard_engine::session::reply_mode::ReplyMode;
use respguard_resp::{Protocol, encode, value};

/// Redis' own text: with credentials of its own the proxy is to its clients a server without passwords.
const NO_LOGIN: &[u8] = b"-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n";

impl Connection {
    /// Does what the plan asked for; false when the client's connection ends.
    pub(super) async fn pass_barrier(&mut self, turn: Barrier) -> bool {
        match turn {
            Barrier::Pin(reason) => self.pin(reason).await,
            Barrier::Lane => self.change_lane().await,
            Barrier::Spare => {
                self.ask_spare().await;
            }
            Barrier::ClientCommand(command) => self.answer_client_command(command).await,
            Barrier::Exec => self.exec_with_answers().await,
            Barrier::Close => return false,
            Barrier::Quit => {
                self.quit().await;
                return false;
            }
            Barrier::Reset => self.reset().await,
            Barrier::Resolve => self.resolved().await,
            Barrier::Share => {
                let begun = clock::now();
                let is_drained = self.drained().await;
                self.preparation.count_short_wait(begun, self.shared.pool.settings.request_timeout, clock::now());
                if is_drained {
                    self.tidy_lease();
                } else {
                    // What is stuck is its own connection.
                    self.lose_lease();
                }
                // It would be given one of its own again.
                self.exchange.bulk.forget();
                self.preparation.go_with_others();
            }
            // Waiting is no turn of its own: the task waits for bytes instead.
            Barrier::Wait | Barrier::Hold => {}
        }
        self.exchange.ended().is_none()
    }

    async fn quit(&mut self) {
        if self.lease.is_held() {
            self.drained().await;
            self.end_lease().await;
        }
        self.exchange.answer(b"+OK\r\n".to_vec());
    }

    /// The fence behind a group that may be sent again, which is answered at its deadline at the latest. Reads need not wait for it
    /// where they follow it on its connection.
    async fn resolved(&mut self) {
        let link = self.exchange.link();
        self.exchange.wait_for(Waiting::Resolved);
        while self.exchange.ended().is_none() && !self.exchange.is_wait_over() {
            self.wait(None).await;
            if self.exchange.ended().is_none() && !self.exchange.is_wait_over() && Rc::ptr_eq(&link, &self.exchange.link()) {
                self.send_reads_ahead();
            }
        }
        self.exchange.wait_for(Waiting::Input);
        self.take_returned();
    }

    /// What stood in a transaction that has not run is planned again, in its place.
    fn take_returned(&mut self) {
        let returned = self.exchange.state.borrow_mut().slots.take_returned();
        self.dialogue.note_carried(returned.refused);
        // It has waited as long as it may.
        let since = clock::now().checked_sub(self.shared.context.policy().hold.max).unwrap_or_else(clock::now);
        self.input.put_back(&returned.commands, since);
    }

    async fn change_lane(&mut self) {
        let was_unauthenticated = self.is_unauthenticated();
        self.move_lane().await;
        if was_unauthenticated && !self.is_unauthenticated() && self.shared.exclusive {
            self.pin(Reason::Exclusive).await;
        }
    }

    /// HELLO, AUTH and SELECT: the client moves to the lane that it asks for, if the server agrees.
    async fn move_lane(&mut self) {
        let is_open = self.exchange.state.borrow().session.transaction.is_open();
        if let Some((change, _)) = self.read_change().filter(|_| is_open) {
            if self.answered_by(&change) == AnsweredBy::Refusal {
                self.exchange.state.borrow_mut().session.queue.withdraw();
                return self.answer_first(NO_LOGIN);
            }
            return self.queue_change(change);
        }
        if self.selects_behind_unread().await {
            return;
        }
        let is_drained = self.drained().await;
        self.tidy_lease();
        if self.exchange.ended().is_some() {
            return;
        }
        let Some((mut change, is_hello)) = self.read_change() else { return };
        if !is_drained {
            self.answer_unsent();
            return self.exchange.state.borrow_mut().session.missed.miss(&change);
        }
        let by = self.answered_by(&change);
        if by == AnsweredBy::Refusal {
            return self.answer_first(NO_LOGIN);
        }
        if let Some(login) = change.login.take_if(|_| by == AnsweredBy::OwnUsers) {
            if !self.log_in(&login).await {
                return;
            }
            if !is_hello {
                return self.answer_first(b"+OK\r\n");
            }
        }
        let old = self.exchange.lane();
        if self.lease.is_held() {
            return self.change_lease(change, is_hello).await;
        }
        let key = LaneKey {
            login: change.login.clone().or_else(|| old.key.login.clone()),
            // Another login is taken to be allowed there, until the server says otherwise.
            selects: if change.login.is_some() || change.db.is_some() { Selects::Itself } else { old.key.selects.clone() },
            db: change.db.unwrap_or(old.key.db),
            protocol: change.protocol.unwrap_or(old.key.protocol),
        };
        let entered = match self.enter(key.clone(), &change, &old).await {
            Err(NoLane::Unavailable) if change.db.is_none() => self.accepted_lane(key).await,
            entered => entered,
        };
        match entered {
            Ok(lane) if is_hello => self.ask_hello(&change, &old, &lane).await,
            Ok(lane) => {
                self.join(&lane, &old, change.name.clone());
                self.answer_first(b"+OK\r\n");
                self.exchange.state.borrow_mut().session.missed.make_up(&change);
            }
            // The client asked for nothing that the server refuses: it takes a login or a db no more that it took before.
            Err(NoLane::Refused(refusal)) if !is_asked_for(&refusal, &change) => self.exchange.end(End::Revoked),
            Err(why) => self.refuse_change(&change, &why),
        }
    }

    fn answered_by(&self, change: &LaneChange) -> AnsweredBy {
        let is_open = self.exchange.state.borrow().session.transaction.is_open();
        change.answered_by(is_open, self.shared.users.is_some(), self.shared.pool.settings.login.is_some())
    }

    /// The lane of this key, if the server lets this client into it.
    async fn enter(&self, key: LaneKey, change: &LaneChange, old: &Lane) -> Result<Rc<Lane>, NoLane> {
        let pool = &self.shared.pool;
        // Whoever logs in is verified by the server, even where the same password was accepted before.
        let known = if change.login.is_some() { None } else { pool.known(&key) };
        let asks = change.db.is_some() && (known.is_some() || key.db == 0);
        let lane = match known {
            Some(lane) => lane,
            None => match pool.verify(key.clone(), old).await {
                // AUTH leaves a client in its db, where the new user need not be allowed to go.
                Err(NoLane::Refused(Refusal { step: Step::Select, .. })) if change.db.is_none() && change.login.is_some() => {
                    let selects = match &old.key.selects {
                        Selects::Itself => Selects::Before(old.key.login.clone()),
                        before => before.clone(),
                    };
                    pool.verify(LaneKey { selects, ..key }, old).await?
                }
                verified => verified?,
            },
        };
        if asks {
            self.ask_select(&lane).await?;
        }
        Ok(lane)
    }

    /// Whether the client's user may go to the lane's db: others may have been let in while he was. Its connections are
    /// there, so that asking changes nothing.
    async fn ask_select(&self, lane: &Lane) -> Result<(), NoLane> {
        if self.shared.context.health.refuses() {
            return Err(NoLane::Unavailable);
        }
        let request = encode::request_frame(&[b"SELECT", lane.key.db.to_string().as_bytes()]);
        let reply = ask(&lane.shared(), &request, self.shared.pool.settings.request_timeout).await.ok_or(NoLane::Unavailable)?;
        match value::is_error(&reply) {
            true => Err(NoLane::Refused(Refusal { step: Step::Select, reply: reply.into() })),
            false => Ok(()),
        }
    }

    /// What the client has lost on its old lane is ended before anything of it is sent on the new one.
    fn join(&self, lane: &Rc<Lane>, old: &Lane, name: Option<Box<[u8]>>) {
        if !std::ptr::eq(&raw const **lane, old) {
            old.orphans().into_iter().for_each(|orphan| lane.shared().kill_orphan(orphan));
        }
        if let Some(nodes) = &self.shared.pool.settings.nodes {
            nodes.end_orphans(&lane.key);
        }
        self.exchange.set_lane(lane);
        self.note_lane(&lane.key, name);
    }

    pub(super) fn read_change(&self) -> Option<(LaneChange, bool)> {
        let table = self.shared.context.table();
        let args = self.input.args(0);
        let ConnectionEffect::Lane(lane) = table.spec(self.id()).connection_effect(args) else { return None };
        Some((LaneChange::read(lane, args)?, lane == respguard_engine::command::Lane::Hello))
    }

    fn note_lane(&self, key: &LaneKey, name: Option<Box<[u8]>>) {
        // Who has logged in to the proxy keeps that name: the server's user is everybody's.
        let user = self.shared.users.is_none().then(|| key.user());
        self.note(user, Some(key.db), Some(key.protocol), name);
    }

    pub(super) fn note(&self, user: Option<&[u8]>, db: Option<u32>, protocol: Option<Protocol>, name: Option<Box<[u8]>>) {
        if let Some(protocol) = protocol {
            self.exchange.state.borrow_mut().session.protocol = protocol;
        }
        self.client.update(|details| {
            details.user = user.map_or_else(|| std::mem::take(&mut details.user), Into::into);
            details.db = db.unwrap_or(details.db);
            details.protocol = protocol.unwrap_or(details.protocol);
            details.name = name.unwrap_or_else(|| std::mem::take(&mut details.name));
        });
    }

    /// The lease, which the client cannot leave, changes lanes itself; what follows waits for the answer.
    async fn change_lease(&mut self, change: LaneChange, is_hello: bool) {
        let words: Vec<Box<[u8]>> = match is_hello {
            true => change.hello(),
            false => self.input.args(0).iter().map(Into::into).collect(),
        };
        let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
        let (id, role) = (self.id(), if is_hello { Role::Hello } else { Role::Lane });
        self.consume_one();
        self.exchange.state.borrow_mut().session.expect_answer();
        self.exchange.ask(id, role, &words, self.shared.pool.settings.request_timeout);
        self.await_answers().await;
        if self.is_agreed(&change) {
            self.note_change(change);
        }
    }

    /// The client's own connection has changed lanes.
    pub(super) fn note_change(&mut self, change: LaneChange) {
        if change.login.is_some() {
            self.login.accept_by_server();
        }
        self.note(change.login.as_ref().map(Login::user), change.db, change.protocol, change.name);
    }

    /// Whether the server has agreed to the change. Where it has not said so, what follows must wait for one that it agrees to.
    fn is_agreed(&self, change: &LaneChange) -> bool {
        let session = &mut self.exchange.state.borrow_mut().session;
        match (session.accepted, session.answered) {
            (true, _) => session.missed.make_up(change),
            (false, true) => {}
            (false, false) => session.missed.miss(change),
        }
        session.accepted
    }

    /// HELLO's answer comes from the server, over a connection that has the protocol already. Without it the client stays
    /// where it was.
    async fn ask_hello(&mut self, change: &LaneChange, old: &Rc<Lane>, lane: &Rc<Lane>) {
        let before = self.client.details();
        self.join(lane, old, change.name.clone());
        self.exchange.state.borrow_mut().session.expect_answer();
        self.send_hello();
        self.await_answers().await;
        if self.exchange.ended().is_none() && !self.is_agreed(change) {
            self.join(old, lane, None);
            self.exchange.state.borrow_mut().session.protocol = old.key.protocol;
            self.client.update(|details| *details = before);
        }
    }

    fn send_hello(&mut self) {
        let protocol = self.exchange.state.borrow().session.protocol;
        let id = self.id();
        self.consume_one();
        self.exchange.ask(
            id,
            Role::Hello,
            &[b"HELLO", if protocol == Protocol::Resp3 { b"3" } else { b"2" }],
            self.shared.pool.settings.request_timeout,
        );
    }

    /// Only what the server itself refuses leaves the client where it knows to be.
    fn refuse_change(&mut self, change: &LaneChange, why: &NoLane) {
        let mut reply = Vec::new();
        match why {
            NoLane::Refused(refusal) => return self.answer_first(&refusal.reply),
            NoLane::Unavailable => encode::error(&mut reply, "ERR respguard: the server is unavailable, nothing was changed"),
            NoLane::Taken(error) => encode::error(&mut reply, &format!("ERR respguard: {error}")),
        }
        self.answer_first(&reply);
        self.exchange.state.borrow_mut().session.missed.miss(change);
    }

    /// The first command of the batch is answered with `reply`.
    pub(super) fn answer_first(&mut self, reply: &[u8]) {
        self.exchange.count_request(self.id());
        self.exchange.answer(reply.to_vec());
        self.exchange.state.borrow_mut().slots.note(self.id());
        self.consume_one();
    }

    /// The first command of the batch is not sent: what was sent before it may still come to run.
    fn answer_unsent(&mut self) {
        self.answer_first(&unsent());
    }

    /// The command that the turn is about.
    pub(super) fn id(&self) -> CommandId {
        self.input.batch.id(0)
    }

    /// The first command of the batch has been dealt with.
    pub(super) fn consume_one(&mut self) {
        self.input.consume(1);
    }

    /// RESET: the client is as if it had just connected (<https://redis.io/docs/latest/commands/reset/>).
    async fn reset(&mut self) {
        if !self.drained().await {
            return self.answer_unsent();
        }
        self.drop_lease();
        let (first, old) = (Rc::clone(self.shared.pool.first()), self.exchange.lane());
        self.login.start_over();
        {
            let mut state = self.exchange.state.borrow_mut();
            state.session = Session::default();
            state.slots.set_reply_mode(ReplyMode::On);
            state.undecided.clear();
        }
        self.join(&first, &old, Some(Box::default()));
        self.client.ask_for_notices(false);
        self.answer_first(b"+RESET\r\n");
        self.await_login();
        if self.shared.exclusive && !self.is_unauthenticated() {
            self.pin(Reason::Exclusive).await;
        }
    }
}

/// True when the client itself asked for what the server refuses, which is then its answer.
fn is_asked_for(refusal: &Refusal, change: &LaneChange) -> bool {
    !refusal.is_about_lane()
        || match refusal.step {
            Step::Auth => change.login.is_some(),
            Step::Select => change.db.is_some(),
            _ => true,
        }
}
