//! Messages on their way to a subscribed client, and which commands it may send meanwhile.

use super::core::Core;
use super::entry::{Kind as EntryKind, Phase};
use super::listener::word;
use super::state::State;
use super::subscriptions::Name;
use super::written_request::WrittenRequest;
use respguard_engine::command::{ConnectionEffect, Spec, SubscriptionKind as Kind};
use respguard_resp::request::Args;
use respguard_resp::{Protocol, encode};

/// What EXEC answers that is itself the culprit.
pub(super) const ABORTED_BY: &str = "EXECABORT Transaction discarded because of:";
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

impl State {
    /// True for a client that will have subscriptions when all that it has sent is done, as far as can be said.
    fn will_be_subscribed(&self) -> bool {
        let pending = self.queue.iter().rev().filter(|entry| !entry.is_over()).find_map(|entry| match &entry.kind {
            EntryKind::Subscribe(change) => Some(change.on),
            _ => None,
        });
        pending.unwrap_or_else(|| self.is_subscribed())
    }
}

impl Core {
    /// In RESP2 a client that has subscriptions may do little else: what it is answered instead, if it has sent something else.
    pub(super) fn refusal_while_subscribed(&self, state: &State, spec: &Spec, args: Args<'_>) -> Option<Vec<u8>> {
        let may_be =
            state.subscriptions.is_some() || state.queue.iter().any(|entry| matches!(entry.kind, EntryKind::Subscribe(_)));
        let is_refused = may_be && self.key.borrow().protocol == Protocol::Resp2 && state.will_be_subscribed();
        is_refused.then(|| refusal(spec, args)).flatten()
    }

    /// The same when its turn has come; true for what was answered instead of sent.
    pub(super) fn refuse_while_subscribed(&self, state: &mut State, place: usize) -> bool {
        if !state.is_subscribed() || self.key.borrow().protocol == Protocol::Resp3 {
            return false;
        }
        let entry = &state.queue[place];
        let table = self.nodes.context.table();
        let is_login = matches!(entry.kind, EntryKind::Gather(_)) && table.spec(entry.command).name() == "hello";
        if is_login || matches!(entry.kind, EntryKind::Subscribe(_) | EntryKind::ProxyReply) {
            return false;
        }
        let (mut reply, mut written) = (Vec::new(), state.written(&entry.bytes));
        // A transaction that came whole is several requests.
        while !written.is_empty() {
            let Some(request) = WrittenRequest::first_of(written) else { return false };
            let args = request.args();
            let Some(refused) = refusal(table.spec(table.lookup(args)), args) else { return false };
            reply.extend_from_slice(&refused);
            written = &written[request.len()..];
        }
        state.queue[place].reply = reply;
        state.finish(place, Phase::Done);
        true
    }
}

/// What a subscribed client is answered to this request; `None` where it may send it, or a node says what is wrong with its form.
fn refusal(spec: &Spec, args: Args<'_>) -> Option<Vec<u8>> {
    let is_subscribing = matches!(spec.connection, ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_));
    if is_subscribing || matches!(spec.name(), "unknown" | "quit" | "reset") || !spec.arity_fits(args) {
        return None;
    }
    let mut reply = Vec::new();
    match spec.name() {
        "ping" => {
            encode::array_header(&mut reply, 2);
            encode::bulk(&mut reply, b"pong");
            encode::bulk(&mut reply, args.get(1).unwrap_or_default());
        }
        "exec" => encode::error(&mut reply, &format!("{ABORTED_BY} Can't execute 'exec': {ALLOWED}")),
        name => encode::error(&mut reply, &format!("ERR Can't execute '{name}': {ALLOWED}")),
    }
    Some(reply)
}
