//! Requests that are not buffered whole: passed on as they arrive, or tunnelled.

use std::io;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Buf;

use super::connection::{Connection, Next};
use super::input::Cutting;
use crate::net::exchange::own_reply;
use crate::net::splice::SPLICE_BYTES_MIN;
use crate::telemetry::compressed;
use respguard_engine::command::{CommandId, ConnectionEffect};
use respguard_engine::pipeline::batch::{Batch, Tail};
use respguard_engine::pipeline::large::{self, Large, PassThrough};
use respguard_engine::pipeline::named_keys;
use respguard_engine::pipeline::packing::{unreadable, whole_bytes};
use respguard_engine::pipeline::plan::{Answer, Barrier};
use respguard_engine::pipeline::refuse::UNREADABLE;
use respguard_engine::pipeline::violation::Kind;
use respguard_engine::policy::Member;
use respguard_engine::policy::guard::Head;
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::reply_mode::ReplyMode;
use respguard_resp::request::{Limits, RequestParser};
use respguard_resp::{Protocol, encode};

/// Arguments of a request that is too large, that are looked at to tell which rule it comes under.
const ARGUMENTS_MAX: usize = 1024;

/// The client is closed behind it: what it has sent since cannot be told from what it has yet to send.
const BEHIND_TUNNEL: &str =
    "ERR respguard: while there are rules nothing but PING and QUIT may follow here: they could not look at it";

impl Connection {
    /// A request that is too large to be held whole needs a connection of its own; what must happen before it has one.
    pub(super) fn cut_through(&mut self) -> Option<Next> {
        if self.refuse_by_head() {
            return None;
        }
        let table = self.shared.context.table();
        let id = table.lookup(self.input.begun_args());
        // What has not come of it does not matter: how many arguments there are is known.
        let arguments = declared_arguments(self.input.behind_whole());
        let decided = large::decide(&self.exchange.state.borrow().session, table.spec(id), arguments);
        drop(table);
        match decided {
            Large::PassThrough(through) if self.lease.is_held() && (self.exchange.is_drained() || self.is_behind_unread()) => {
                self.begin_stream(id, through);
            }
            Large::PassThrough(through) => return Some(Next::Barrier(Barrier::Pin(through.reason))),
            Large::Tunnel if !self.shared.context.policy().is_empty() => {
                self.discard(own_reply(Answer::Refuse(UNREADABLE), Protocol::Resp2));
            }
            Large::Tunnel => return Some(Next::Barrier(Barrier::Pin(Reason::Tunnel))),
            Large::Discard(answer) => {
                let protocol = self.exchange.state.borrow().session.protocol;
                self.discard(own_reply(answer, protocol));
            }
            Large::AbortTransaction(error) => self.abort_transaction(id, encode::error_reply(error)),
        }
        None
    }

    #[inline]
    pub(super) fn whole_bytes_max(&self) -> usize {
        let limits = &self.shared.context.whole_limits;
        if self.input.has_begun_request() || self.is_unauthenticated() { self.whole_bytes_max_now() } else { limits.stream_bytes }
    }

    /// What has begun, and who sends it, decides.
    fn whole_bytes_max_now(&self) -> usize {
        let limits = &self.shared.context.whole_limits;
        if let Some(bytes) = self.packable_bytes() {
            return bytes.max(limits.member_bytes_max);
        }
        let is_held = self.input.is_nameless() || self.is_held_whole() || self.is_unauthenticated();
        if is_held { limits.member_bytes_max } else { limits.stream_bytes }
    }

    /// A rule may compress what the request stores whose end has not come yet: so long may it be to be read whole.
    fn packable_bytes(&self) -> Option<usize> {
        let context = &self.shared.context;
        let policy = context.policy();
        if policy.compress_rules().is_empty() || self.input.behind_whole().is_empty() {
            return None;
        }
        let (table, args) = (context.table(), self.input.begun_args());
        if args.is_empty() || self.is_unauthenticated() {
            return None;
        }
        whole_bytes(&policy, table.spec(table.lookup(args)).name(), args)
    }

    /// What the request whose end has not come yet does to its connection, or to others, is known from all of it.
    fn is_held_whole(&self) -> bool {
        self.is_concerned() || self.has_effect()
    }

    fn has_effect(&self) -> bool {
        if self.input.behind_whole().is_empty() {
            return false;
        }
        let table = self.shared.context.table();
        let args = self.input.begun_args();
        !args.is_empty() && table.spec(table.lookup(args)).connection != ConnectionEffect::None
    }

    /// A rule may be about the request whose end has not come yet, which so must be held whole.
    pub(super) fn is_concerned(&self) -> bool {
        let context = &self.shared.context;
        let policy = context.policy();
        if policy.is_empty() || self.input.behind_whole().is_empty() {
            return false;
        }
        let args = self.input.begun_args();
        if args.is_empty() {
            return false;
        }
        let table = context.table();
        let command = Member { id: table.lookup(args), args };
        let grouped = !policy.groups().is_empty() && table.spec(command.id).groupable().is_ok();
        let degraded = || context.health.refuses() || self.exchange.link().is_down();
        grouped || policy.may_match_command(command) || policy.may_degrade(args) && degraded()
    }

    /// A guard rejects the request whose head has come, by what the head declares; true when that is so. The rest is dropped.
    fn refuse_by_head(&mut self) -> bool {
        let is_free = !self.exchange.state.borrow().session.in_subscribe_mode() && self.input.batch.all_held().is_empty();
        let policy = self.shared.context.policy();
        if policy.guards().is_empty() && policy.compress_rules().is_empty() || !is_free {
            return false;
        }
        drop(policy);
        let refused = self.with_head(|command, head| {
            let context = &self.shared.context;
            let (table, policy) = (context.table(), context.policy());
            let mut guards = policy.guards_of(&table, command).filter(|rule| policy.rejects(rule));
            let name = table.spec(command.id).shown();
            let Some((rule, breach)) = guards.find_map(|rule| Some((Arc::clone(&rule.name), rule.breach_by_head(head)?))) else {
                let rule = unreadable(&policy, &table, command)?;
                compressed::count_refused(&rule.name, 1);
                let rule = &rule.name;
                let text = format!("ERR respguard: {name} is refused by compress rule {rule}: it is too long to be read whole");
                return Some((command.id, text));
            };
            let violation = named_keys::violation(Kind::Guard, &rule, &policy, &table, command);
            context.reporter.violation(violation, self.exchange.peer());
            Some((command.id, format!("ERR respguard: {name} is refused by guard {rule}: {breach}")))
        });
        let Some((id, text)) = refused.flatten() else { return false };
        let reply = encode::error_reply(&text);
        if self.exchange.state.borrow().session.transaction.is_open() {
            self.abort_transaction(id, reply);
        } else {
            self.discard(reply);
        }
        true
    }

    /// Passes on what has come of a request that is not held whole; `None` when its end has, else what is to be done.
    pub(super) fn stream(&mut self) -> Option<Next> {
        if self.is_cut_in_vain() {
            // It is answered already, and what the server has of it can only be forgotten with its connection.
            self.lose_lease();
            if self.exchange.ended().is_some() {
                return Some(Next::Close);
            }
        }
        if self.input.bytes.is_empty() {
            self.pass_on(0, false);
            return Some(self.all_sent());
        }
        match self.input.parser.stream(&self.input.bytes) {
            Ok(streamed) => {
                self.pass_on(streamed.bytes, streamed.end);
                self.input.bytes.advance(streamed.bytes);
                if !streamed.end {
                    return Some(self.after_piece());
                }
                if let Cutting::Discarding(Some(reply)) = std::mem::take(&mut self.input.cutting) {
                    self.exchange.answer(reply);
                }
                None
            }
            Err(error) => {
                // The lease holds half a request: it can only be closed, and so ends the client.
                let mut reply = Vec::new();
                error.reply(&mut reply);
                if let Cutting::PassThrough { .. } = self.input.cutting {
                    self.exchange.state.borrow_mut().slots.discard_last();
                    self.drop_lease();
                }
                self.exchange.answer(reply);
                self.input.ended = true;
                self.input.bytes.clear();
                Some(self.all_sent())
            }
        }
    }

    /// Moves a part of the request that is passed on to the server without reading it; none where it must be read.
    pub(super) fn poll_splice(&mut self, cx: &mut TaskContext<'_>) -> Option<Poll<io::Result<usize>>> {
        let left = self.input.parser.payload_left();
        let is_through = matches!(self.input.cutting, Cutting::PassThrough { .. }) && self.input.bytes.is_empty();
        if !is_through || left < SPLICE_BYTES_MIN || !self.exchange.is_spliceable() || self.shared.context.tap.is_on() {
            return None;
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let moved = self.lease.link()?.splice_request_part(&mut |pipe| self.exchange.poll_fill(pipe, most, cx))?;
        if let Poll::Ready(Ok(bytes)) = &moved {
            self.input.parser.skip_payload(*bytes as u64);
        }
        Some(moved)
    }

    /// While there is no room on the lease the server is waited for, and that has its time.
    fn after_piece(&mut self) -> Next {
        if self.lease.has_room() { self.all_sent() } else { Next::Room }
    }

    fn pass_on(&self, bytes: usize, end: bool) {
        if let (Cutting::PassThrough { longest }, Some(lease)) = (&self.input.cutting, self.lease.link()) {
            lease.extend(&self.input.bytes[..bytes], end, *longest);
        }
    }

    /// The request that is cut through has been answered before its end has come: the server took too long.
    pub(super) fn is_cut_in_vain(&self) -> bool {
        matches!(self.input.cutting, Cutting::PassThrough { .. }) && self.exchange.state.borrow().slots.has_late()
    }

    /// The client has a lease for the large request whose head is in the input.
    fn begin_stream(&mut self, id: CommandId, through: PassThrough) {
        self.report_too_large();
        through.begin(&mut self.exchange.state.borrow_mut().session);
        let (is_slow, settings) = (self.shared.context.table().spec(id).slow, &self.shared.pool.settings);
        let longest = if is_slow { settings.request_timeout.max(settings.slow_timeout) } else { settings.request_timeout };
        let longest = (!through.waits).then_some(longest);
        self.exchange.begin_stream(id, through.role, &self.input.bytes[..self.input.parser.parsed_bytes()], self.timing());
        self.input.cutting = Cutting::PassThrough { longest };
        self.input.release_head();
    }

    /// The command of the large request whose head is in the input.
    pub(super) fn large_id(&self) -> CommandId {
        self.shared.context.table().lookup(self.input.begun_args())
    }

    /// Nothing of the large request whose head is in the input goes out.
    pub(super) fn discard(&mut self, reply: Vec<u8>) {
        self.exchange.count_request(self.large_id());
        self.input.cutting = Cutting::Discarding(Some(reply));
        self.input.release_head();
    }

    /// The client's own MULTI is given up over the large request whose head is in the input.
    fn abort_transaction(&mut self, id: CommandId, error: Vec<u8>) {
        self.exchange.abort_transaction(id, error, self.timing());
        self.input.cutting = Cutting::Discarding(None);
        self.input.release_head();
    }

    /// A request goes by unseen that was held because of rules, until it was too large for that.
    fn report_too_large(&self) {
        if !self.is_concerned() {
            return;
        }
        self.with_head(|command, head| {
            let context = &self.shared.context;
            let (table, policy) = (context.table(), context.policy());
            let tell = |kind, rule| {
                let violation = named_keys::violation(kind, rule, &policy, &table, command);
                context.reporter.violation(violation, self.exchange.peer());
            };
            for rule_of_large in policy.applicable_rules(&table, command) {
                // Some guards need no more than the head.
                let trips = rule_of_large.guard.is_some_and(|rule| rule.breach_by_head(head).is_some());
                tell(if trips { Kind::Guard } else { Kind::TooLarge }, rule_of_large.rule);
            }
        });
    }

    /// Looks at the request of which only the head has come. What has not come is in place of what it will be: how many
    /// arguments there are tells one command from another.
    fn with_head<R>(&self, look: impl FnOnce(Member<'_>, Head) -> R) -> Option<R> {
        let declared = declared_arguments(self.input.behind_whole());
        let mut words: Vec<&[u8]> = self.input.begun_args().iter().collect();
        let come = words.iter().skip(1).map(|word| word.len() as u64).max().unwrap_or(0);
        words.resize(words.len().max(declared.min(ARGUMENTS_MAX)), b"");
        let request = encode::request_frame(&words);
        let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
        let table = self.shared.context.table();
        batch.parse(&mut parser, &table, &request, usize::MAX);
        if batch.is_empty() {
            return None;
        }
        let name_words = usize::from(table.spec(batch.id(0)).name_words);
        let head = Head {
            arguments: declared.saturating_sub(name_words) as u64,
            longest: come.max(self.input.parser.declared_bytes().unwrap_or(0)),
        };
        Some(look(Member { id: batch.id(0), args: batch.args(&request, 0) }, head))
    }

    /// In a tunnel nobody but the server can leave replies out.
    fn leave_replies_to_server(&self) {
        let mode = self.exchange.state.borrow().slots.reply_mode();
        let word: &[u8] = match mode {
            ReplyMode::On => return,
            ReplyMode::Off => b"OFF",
            ReplyMode::SkipNext => b"SKIP",
        };
        self.exchange.tunnel(&encode::request_frame(&[b"CLIENT", b"REPLY", word]));
        self.exchange.state.borrow_mut().slots.set_reply_mode(ReplyMode::On);
    }

    pub(super) fn tunnel(&mut self) -> Next {
        if !self.exchange.link().has_room(self.input.bytes.len()) {
            return Next::Room;
        }
        self.leave_replies_to_server();
        let (passes, is_refused) = self.readable();
        if passes > 0 {
            self.exchange.tunnel(&self.input.bytes[..passes]);
            self.input.bytes.advance(passes);
            // What had been found in these bytes has gone with them.
            self.input.begin_again(false);
        }
        if is_refused {
            self.exchange.answer(encode::error_reply(BEHIND_TUNNEL));
            return Next::Close;
        }
        if self.input.ended { Next::Close } else { Next::Read }
    }

    /// How much of the input may pass unread, and whether what stands behind it must not: while there are rules nothing may
    /// that they could be about.
    fn readable(&self) -> (usize, bool) {
        if self.input.bytes.is_empty() || self.shared.context.policy().is_empty() {
            return (self.input.bytes.len(), false);
        }
        let table = self.shared.context.table();
        let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
        let tail = batch.parse(&mut parser, &table, &self.input.bytes, self.shared.context.whole_limits.stream_bytes);
        // The command that the tunnel is for goes through it first.
        let own = usize::from(!self.input.batch.is_empty());
        let passes = |at: &usize| *at < own || matches!(table.spec(batch.id(*at)).name(), "ping" | "quit");
        let passing = (0..batch.len()).take_while(passes).count();
        let is_refused = passing < batch.len() || matches!(tail, Tail::Large | Tail::Error(_));
        let bytes = if passing == 0 { 0 } else { batch.wire(0..passing).end };
        (bytes, is_refused)
    }
}

/// How many arguments the request that begins so declares, its name among them.
fn declared_arguments(head: &[u8]) -> usize {
    let digits = head.strip_prefix(b"*").unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: usize, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}
