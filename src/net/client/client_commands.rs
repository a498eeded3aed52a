//! Commands about clients: the server decides whether this client may use them, the proxy answers or records them.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::client_answers::{Asker, LocalReply};
use super::connection::Connection;
use super::notices;
use super::queued::{OnExec, Queued};
use super::unblock::{NO_ID, unblocking};
use crate::net::exchange::State;
use crate::net::registry::{Activity, Message};
use respguard_engine::command::integer::integer;
use respguard_engine::command::{ClientCommand, CommandId};
use respguard_engine::pipeline::slot::Role;
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::lane::LaneChange;
use respguard_engine::session::reply_mode::ReplyMode;
use respguard_engine::session::tracking::Tracking;
use respguard_resp::Protocol;
use respguard_resp::request::{Args, Span};
use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

/// An address that no connection ever has.
const NO_ADDRESS: &[u8] = b"0.0.0.0:0";
/// Commands about clients that may wait for one EXEC; the server's own answers stand for more.
const QUEUED_MAX: usize = 1024;

/// A command about clients, its words, and how much of the client's input there was with it.
type CommandArgs<'a> = (ClientCommand, &'a [Box<[u8]>], usize);

impl Connection {
    /// Asks the server in a form that changes nothing there, and answers over the proxy's clients.
    pub(super) async fn answer_client_command(&mut self, command: ClientCommand) {
        let args = self.input.args(0);
        let words: Vec<Box<[u8]>> = args.iter().map(Into::into).collect();
        // As the server counts what stands in its buffer while it runs the command.
        let input = self.input.bytes.len();
        let id = self.id();
        let is_queued = self.exchange.state.borrow().session.transaction.is_open();
        if command == ClientCommand::ClientTracking && !is_queued {
            return self.track(id, &words).await;
        }
        let (asked, upstream) = match command {
            ClientCommand::ClientUnblock if is_queued && !self.shared.pool.is_cluster() => {
                let upstream = self.blocked(&words).await.upstream();
                (unblocking(&words, upstream), None)
            }
            // The node of a transaction is asked of nobody: it says what is wrong, and the others are asked behind EXEC.
            ClientCommand::ClientUnblock => (unblocking(&words, None), None),
            ClientCommand::ClientTracking => self.redirected(&words).await,
            ClientCommand::ClientMaintNotifications if self.is_resp3() => (notices::permission(), None),
            _ => (dry_run(command, &words), None),
        };
        self.consume_one();
        if is_queued {
            if command == ClientCommand::ClientTracking {
                self.exchange.state.borrow_mut().session.affinity.pin(Reason::Exclusive);
            }
            let is_the_servers = command == ClientCommand::ClientUnblock && !self.shared.pool.is_cluster();
            let what = (!is_the_servers).then_some(OnExec::Answer(command, words, upstream));
            return self.queue(id, what, &asked);
        }
        let is_the_servers = matches!(
            command,
            ClientCommand::ClientUnblock
                | ClientCommand::ClientReply
                | ClientCommand::ClientGetRedir
                | ClientCommand::ClientTrackingInfo
        );
        if !is_the_servers && self.is_troubled() {
            return self.answer_past_trouble(id, (command, &words, input), &asked).await;
        }
        self.exchange.state.borrow_mut().session.expect_answer();
        match command {
            ClientCommand::ClientUnblock => return self.unblock(id, &words).await,
            ClientCommand::ClientGetRedir | ClientCommand::ClientTrackingInfo => return self.ask(id, Role::Redirect, &asked),
            _ => {}
        }
        self.ask(id, Role::Verdict, &asked);
        self.await_answers().await;
        if command == ClientCommand::ClientReply {
            return self.change_reply_mode(id, &words);
        }
        let accepted = self.exchange.state.borrow().session.accepted;
        if !accepted {
            return self.exchange.state.borrow_mut().slots.skipped();
        }
        self.answer_locally((command, &words, input)).await;
    }

    fn is_resp3(&self) -> bool {
        self.exchange.state.borrow().session.protocol == Protocol::Resp3
    }

    /// The same where what the server says to it has to come over the spare connection.
    async fn answer_past_trouble(&mut self, id: CommandId, local: CommandArgs<'_>, asked: &[Box<[u8]>]) {
        self.exchange.count_request(id);
        let asked: Vec<&[u8]> = asked.iter().map(|word| &word[..]).collect();
        let request = encode::request_frame(&asked);
        let verdict = self.past_trouble(request, "CLIENT").await;
        if value::is_error(&verdict) {
            self.exchange.answer(verdict);
        } else {
            self.answer_locally(local).await;
        }
    }

    async fn answer_locally(&mut self, (command, words, input): CommandArgs<'_>) {
        let mut activities = self.activities(command).await;
        if let Some(own) = activities.get_mut(&self.client.id) {
            own.input.0 = input;
        }
        let local = self.local_reply(command, words, &activities).await;
        self.exchange.answer(local.reply);
        if local.kills_me {
            self.input.give_up();
        }
    }

    /// CLIENT REPLY, if the server allows it to this user. Only ON is answered. Where the server was not heard nothing
    /// behind it runs: its author does not look for errors there.
    fn change_reply_mode(&self, id: CommandId, words: &[Box<[u8]>]) {
        {
            let mut state = self.exchange.state.borrow_mut();
            let State { session, slots, .. } = &mut *state;
            match session.answered {
                false => session.missed.miss_mode(id),
                true => session.missed.make_up_mode(id),
            }
            if !session.accepted {
                return slots.skipped();
            }
        }
        let (bytes, spans) = laid_out(words);
        let Some(wanted) = ReplyMode::read(Args::new(&bytes, &spans)) else { return };
        self.exchange.state.borrow_mut().slots.set_reply_mode(wanted);
        if wanted == ReplyMode::On {
            self.exchange.answer(b"+OK\r\n".to_vec());
        }
    }

    /// HELLO, AUTH or SELECT behind MULTI: what it has changed is known with EXEC's answer.
    pub(super) fn queue_change(&mut self, change: LaneChange) {
        let words: Vec<Box<[u8]>> = self.input.args(0).iter().map(Into::into).collect();
        let id = self.id();
        self.consume_one();
        self.queue(id, Some(OnExec::Change(change)), &words);
    }

    fn queue(&mut self, id: CommandId, what: Option<OnExec>, asked: &[Box<[u8]>]) {
        let queue = self.exchange.state.borrow().session.queue;
        if queue.answers == 1 {
            self.queued.forget();
        }
        if let Some(what) = what.filter(|_| self.queued.get().map_or(0, Vec::len) < QUEUED_MAX) {
            self.queued.make_mut().push(Queued { place: queue.commands.saturating_sub(1), what });
        }
        self.ask(id, Role::Queued, asked);
    }

    /// EXEC behind commands about clients: they take effect now, if the server says that the transaction has.
    pub(super) async fn exec_with_answers(&mut self) {
        let is_drained = self.drained().await;
        self.tidy_lease();
        // A transaction that was lost meanwhile is planned again.
        if self.exchange.ended().is_some() || !self.exchange.state.borrow().session.transaction.is_open() {
            return;
        }
        let id = self.id();
        self.consume_one();
        {
            let mut state = self.exchange.state.borrow_mut();
            state.session.transaction.end();
            state.slots.keep_exec();
        }
        // Behind what has taken too long it has waited long enough: the server has it, and nobody knows more.
        let longest = if is_drained { self.shared.pool.settings.request_timeout } else { Duration::ZERO };
        self.exchange.ask(id, Role::Exec, &[b"EXEC"], longest);
        self.await_answers().await;
        let kept = self.exchange.state.borrow_mut().slots.take_exec();
        let queued = self.queued.take();
        if kept.is_empty() {
            return self.exchange.state.borrow_mut().slots.skipped();
        }
        let mut kills_me = false;
        let mut reply = Vec::with_capacity(kept.len());
        let mut waiting = queued.into_iter().peekable();
        let body: usize = elements(&kept).map(<[u8]>::len).sum();
        reply.extend_from_slice(&kept[..kept.len() - body]);
        for (place, element) in (0..).zip(elements(&kept)) {
            match waiting.next_if(|queued| queued.place == place) {
                Some(Queued { what: OnExec::Answer(command, words, upstream), .. }) if !value::is_error(element) => {
                    kills_me |= self.answer_in_exec((command, &words, upstream), element, &mut reply).await;
                }
                Some(Queued { what: OnExec::Change(change), .. }) if !value::is_error(element) => {
                    self.note_change(change);
                    reply.extend_from_slice(element);
                }
                _ => reply.extend_from_slice(element),
            }
        }
        self.exchange.answer(reply);
        if kills_me {
            self.input.give_up();
        }
    }

    /// What stands in EXEC's answer for a command about clients; true when it ends this one.
    async fn answer_in_exec(
        &self,
        queued: (ClientCommand, &[Box<[u8]>], Option<i64>),
        element: &[u8],
        reply: &mut Vec<u8>,
    ) -> bool {
        let (command, words, upstream) = queued;
        match command {
            ClientCommand::ClientTracking => {
                self.exchange.state.borrow_mut().session.tracking = Tracking::of(words, upstream);
                reply.extend_from_slice(element);
                false
            }
            ClientCommand::ClientGetRedir | ClientCommand::ClientTrackingInfo => {
                self.exchange.state.borrow().session.tracking.translate(element, reply);
                false
            }
            ClientCommand::ClientUnblock => {
                reply.extend_from_slice(&self.unblock_behind_exec(words).await);
                false
            }
            _ => {
                let activities = self.activities(command).await;
                let local = self.local_reply(command, words, &activities).await;
                reply.extend_from_slice(&local.reply);
                local.kills_me
            }
        }
    }

    /// What all clients are doing, for those commands that want to know.
    async fn activities(&self, command: ClientCommand) -> HashMap<u64, Activity> {
        match command {
            ClientCommand::ClientInfo => HashMap::from([(self.client.id, self.exchange.activity())]),
            ClientCommand::ClientList | ClientCommand::ClientKill => self.shared.registry.activities().await,
            _ => HashMap::new(),
        }
    }

    /// The proxy's own answer, with its effects.
    async fn local_reply(&self, command: ClientCommand, words: &[Box<[u8]>], activities: &HashMap<u64, Activity>) -> Answered {
        let protocol = self.exchange.state.borrow().session.protocol;
        let fields = self.shared.context.client_fields.get();
        let asker = Asker { client: &self.client, registry: &self.shared.registry, protocol, activities, fields };
        let (bytes, spans) = laid_out(words);
        let LocalReply { reply, killed } = asker.answer(command, Args::new(&bytes, &spans));
        for client in killed.iter().filter(|client| client.id != self.client.id) {
            // Without its worker it is gone already.
            let _ = client.worker.send(Message::Kill(client.id)).await;
        }
        Answered { reply, kills_me: killed.iter().any(|client| client.id == self.client.id) }
    }

    pub(super) fn ask(&self, id: CommandId, role: Role, words: &[Box<[u8]>]) {
        let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
        Rc::clone(&self.exchange).ask(id, role, &words, self.shared.pool.settings.request_timeout);
    }
}

struct Answered {
    reply: Vec<u8>,
    kills_me: bool,
}

/// The command as the server is asked: it checks the form and the user's permission, and finds nobody to act on.
fn dry_run(command: ClientCommand, words: &[Box<[u8]>]) -> Vec<Box<[u8]>> {
    let mut asked = words.to_vec();
    match command {
        ClientCommand::ClientSetName => asked[2] = Box::default(),
        ClientCommand::ClientSetInfo => asked[3] = Box::default(),
        ClientCommand::ClientReply => asked[2] = b"ON".as_slice().into(),
        ClientCommand::ClientKill if asked.len() == 3 => {
            asked.truncate(2);
            asked.extend([b"ID".as_slice().into(), NO_ID.into()]);
        }
        ClientCommand::ClientKill => {
            for at in 3..asked.len() {
                let option = |name: &[u8]| asked[at - 1].eq_ignore_ascii_case(name);
                if option(b"ADDR") || option(b"LADDR") {
                    asked[at] = NO_ADDRESS.into();
                } else if !option(b"MAXAGE") && integer(&asked[at]).is_some_and(|id| id > 0) {
                    asked[at] = NO_ID.into();
                }
            }
            asked.extend([b"ID".as_slice().into(), NO_ID.into()]);
        }
        _ => {}
    }
    asked
}

fn laid_out(words: &[Box<[u8]>]) -> (Vec<u8>, Vec<Span>) {
    let mut bytes = Vec::new();
    let mut spans = Vec::new();
    for word in words {
        let start = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(word);
        spans.push(Span { start, end: u32::try_from(bytes.len()).unwrap_or(u32::MAX) });
    }
    (bytes, spans)
}
