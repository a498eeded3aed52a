//! Requests that are not held whole: cut through as they come, or tunnelled.

use bytes::Buf;

use super::connection::{Connection, Next};
use super::lent::Lent;
use crate::net::exchange::End;
use respguard_engine::command::ConnectionEffect;
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::plan::Turn;
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_engine::policy::Member;
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::transaction::Transaction;
use respguard_resp::encode;
use respguard_resp::request::{Limits, RequestParser};

/// A longer request is cut through on a connection of its own instead of being held whole.
pub const STREAM_BYTES: usize = 64 * 1024;
/// A request that may belong to a group is held whole up to this size.
pub const MEMBER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Arguments of a request that is too large, that are looked at to tell which rule it comes under.
const ARGUMENTS_MAX: usize = 1024;

impl Connection {
    /// A request that is too large to be held whole needs a connection of its own. One that changes its connection
    /// changes it unseen, so that the client keeps it.
    pub(super) fn cut_through(&self) -> Next {
        if self.exchange.state.borrow().session.transaction == (Transaction::Lost { open: true }) {
            // It would run, although the client takes it to be queued.
            self.exchange.end(End::LeaseLost);
            return Next::Close;
        }
        let table = self.around.context.table();
        let args = self.batch.partial_args(&self.input);
        let effect = table.spec(table.lookup(args)).connection_effect(args);
        let reason = if effect == ConnectionEffect::None { Reason::Large } else { Reason::Tunnel };
        Next::Turn(Turn::Pin(reason))
    }

    pub(super) fn whole_bytes_max(&self) -> usize {
        if self.is_nameless() || self.may_be_member() || self.is_stranger() { MEMBER_BYTES_MAX } else { STREAM_BYTES }
    }

    /// A request has begun whose name has not come yet: only the name tells how it can be cut through.
    pub(super) fn is_nameless(&self) -> bool {
        self.parser.parsed_bytes() > 0 && self.batch.partial_args(&self.input).is_empty()
    }

    /// The request whose end has not come yet may belong to a group or be guarded, and so must be held whole.
    pub(super) fn may_be_member(&self) -> bool {
        let context = &self.around.context;
        let policy = context.policy();
        let none = policy.groups().is_empty() && policy.guards().is_empty();
        if none || self.batch.whole_bytes() >= self.input.len() {
            return false;
        }
        let args = self.batch.partial_args(&self.input);
        let table = context.table();
        let id = table.lookup(args);
        let grouped = !policy.groups().is_empty() && table.spec(id).groupable().is_ok();
        !args.is_empty() && (grouped || policy.may_guard(id))
    }

    /// Passes on what has come of a request that is cut through; false until its end has.
    pub(super) fn stream(&mut self) -> bool {
        if self.input.is_empty() {
            return false;
        }
        match self.parser.stream(&self.input) {
            Ok(streamed) => {
                if let Some((_, lease)) = &self.lease {
                    lease.extend(&self.input[..streamed.bytes], streamed.end);
                }
                self.input.advance(streamed.bytes);
                self.streaming = !streamed.end;
                streamed.end
            }
            Err(error) => {
                // The lease holds half a request: it can only be closed, and so ends the client.
                let mut reply = Vec::new();
                error.reply(&mut reply);
                self.drop_lease();
                self.exchange.answer(reply);
                self.input_ended = true;
                self.input.clear();
                false
            }
        }
    }

    /// The client has a lease for the large request whose head is in the input.
    pub(super) fn begin_stream(&mut self) {
        let parsed = self.parser.parsed_bytes();
        let id = self.around.context.table().lookup(self.batch.partial_args(&self.input));
        self.tell_too_large();
        self.batch.release_partial();
        self.exchange.begin_stream(id, &self.input[..parsed], self.timing());
        self.input.advance(parsed);
        self.streaming = true;
    }

    /// A request goes by unseen that was held because of a rule, until it was too large for that.
    fn tell_too_large(&self) {
        if !self.may_be_member() {
            return;
        }
        let context = &self.around.context;
        let (table, policy) = (context.table(), context.policy());
        // What has not come is in place of what it will be: how many arguments there are tells one command from another.
        let declared = declared_arguments(&self.input[self.batch.whole_bytes()..]).min(ARGUMENTS_MAX);
        let mut words: Vec<&[u8]> = self.batch.partial_args(&self.input).iter().collect();
        words.resize(words.len().max(declared), b"");
        let mut request = Vec::new();
        encode::request(&mut request, &words);
        let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
        batch.parse(&mut parser, &table, &request, usize::MAX);
        if batch.is_empty() {
            return;
        }
        let command = Member { id: batch.id(0), args: batch.args(&request, 0) };
        if let Some(rule) = policy.concern(&table, command) {
            let violation = Violation::new(Kind::TooLarge).rule(rule).commands([table.spec(command.id).name()]);
            context.reporter.violation(violation, &self.exchange.peer);
        }
    }

    pub(super) fn tunnel(&mut self) -> Next {
        if !self.exchange.link().has_room() {
            return Next::Room;
        }
        if !self.input.is_empty() {
            self.exchange.tunnel(&self.input);
            self.input.clear();
            // What had been found in these bytes has gone with them.
            self.batch = Lent::default();
            self.parser = RequestParser::new(Limits::default());
        }
        if self.input_ended { Next::Close } else { Next::Read }
    }
}

/// How many arguments the request that begins so declares, its name among them.
fn declared_arguments(head: &[u8]) -> usize {
    let digits = head.strip_prefix(b"*").unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: usize, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}
