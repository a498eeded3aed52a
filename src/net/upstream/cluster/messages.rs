//! Messages on their way to a subscribed client, and which commands it may send meanwhile.

use super::core::Core;
use super::entry::{Kind as EntryKind, Phase};
use super::listener::word;
use super::state::State;
use super::subscriptions::Name;
use respguard_engine::command::{CommandId, SubscriptionKind as Kind};
use respguard_resp::request::{Args, Limits, Parsed, RequestParser};
use respguard_resp::{Protocol, encode};

/// Redis' own text.
const ALLOWED: &str = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";

impl State {
    /// True for a client that has subscriptions.
    pub(super) fn is_subscribed(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.any())
    }

    /// The message goes to the client, between whole replies and not before the client knows of its subscription.
    pub(super) fn pass_message(&mut self, name: Name, frame: &[u8], protocol: Protocol) {
        if self.may_push() {
            push(&mut self.out, frame, protocol);
        } else {
            self.held_bytes += frame.len();
            self.held.push_back((name, frame.into()));
        }
    }

    fn may_push(&self) -> bool {
        let is_within = self.queue.front().is_some_and(|entry| {
            !entry.is_over() && (entry.begun || matches!(&entry.kind, EntryKind::Subscribe(change) if change.is_begun))
        });
        self.fault.is_none() && !is_within
    }

    /// Messages that were held back follow what they had to wait for.
    pub(super) fn release_messages(&mut self, protocol: Protocol) {
        if self.held.is_empty() || !self.may_push() {
            return;
        }
        self.held_bytes = 0;
        for (name, frame) in std::mem::take(&mut self.held) {
            if self.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.wants(&name)) {
                push(&mut self.out, &frame, protocol);
            }
        }
    }
}

/// The client may have changed its protocol since it has subscribed.
fn push(out: &mut Vec<u8>, frame: &[u8], protocol: Protocol) {
    out.push(if protocol == Protocol::Resp3 { b'>' } else { b'*' });
    out.extend_from_slice(frame.get(1..).unwrap_or_default());
}

/// What confirms a subscription, or its end.
pub(super) fn confirm(out: &mut Vec<u8>, protocol: Protocol, kind: Kind, on: bool, name: Option<&[u8]>, count: i64) {
    push(out, b"*3\r\n", protocol);
    encode::bulk(out, word(kind, on));
    match name {
        Some(name) => encode::bulk(out, name),
        None => encode::null(out, protocol),
    }
    encode::integer(out, count);
}

impl Core {
    /// In RESP2 a client that has subscriptions may do little else; true for what was answered instead of sent.
    pub(super) fn refuse_while_subscribed(&self, state: &mut State, place: usize) -> bool {
        let is_about_keys = !matches!(state.queue[place].kind, EntryKind::Subscribe(_) | EntryKind::ProxyReply);
        if !state.is_subscribed() || self.key.borrow().protocol == Protocol::Resp3 || !is_about_keys {
            return false;
        }
        let (table, id) = (self.nodes.context.table(), state.queue[place].command);
        let spec = table.spec(id);
        let mut parser = RequestParser::new(Limits::default());
        let (mut spans, mut arena) = (Vec::new(), Vec::new());
        let written = state.written(&state.queue[place].bytes);
        let args = match parser.parse(written, &mut spans, &mut arena, usize::MAX) {
            Parsed::Request { bytes, inline: false } => Args::new(&written[..bytes], &spans),
            Parsed::Request { inline: true, .. } => Args::new(&arena, &spans),
            _ => return false,
        };
        // A node says what is wrong with its form.
        if id == CommandId::UNKNOWN || !spec.arity_fits(args) {
            return false;
        }
        let mut reply = Vec::new();
        if spec.name() == "ping" {
            encode::array_header(&mut reply, 2);
            encode::bulk(&mut reply, b"pong");
            encode::bulk(&mut reply, args.get(1).unwrap_or_default());
        } else {
            let name = spec.name();
            encode::error(&mut reply, &format!("ERR Can't execute '{name}': {ALLOWED}"));
        }
        state.queue[place].reply = reply;
        state.finish(place, Phase::Done);
        true
    }
}
