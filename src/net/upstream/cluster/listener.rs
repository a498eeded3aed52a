//! A connection to one node for a client's subscriptions: delivers its replies and messages.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::core::Core;
use super::subscriptions::Name;
use crate::net::upstream::{Admitted, Recipient};
use respguard_engine::command::SubscriptionKind as Kind;
use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::reading::Part;
use respguard_engine::session::subscription::Arrival;
use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

/// Whoever takes what comes on such a connection.
pub(super) struct Listener {
    core: Weak<Core>,
    pub(super) id: u64,
    /// The connection is gone, or did not answer in time.
    pub(super) is_lost: Cell<bool>,
    is_touched: Cell<bool>,
    /// What it was asked for and has not answered, in order; true for a SUBSCRIBE.
    asked: RefCell<VecDeque<(Name, bool)>>,
    answer: RefCell<Vec<u8>>,
    message: RefCell<Vec<u8>>,
}

impl Listener {
    pub(super) fn new(core: &Core, id: u64) -> Rc<Listener> {
        let (is_lost, is_touched, asked, answer, message) = Default::default();
        Rc::new(Listener { core: Weak::clone(&core.me), id, is_lost, is_touched, asked, answer, message })
    }

    /// The request for one name, and a note that it will be answered.
    pub(super) fn request(&self, name: &Name, on: bool) -> Vec<u8> {
        self.asked.borrow_mut().push_back((name.clone(), on));
        let mut request = Vec::new();
        encode::request(&mut request, &[&word(name.kind, on).to_ascii_uppercase(), &name.text]);
        request
    }

    fn core(&self) -> Option<Rc<Core>> {
        self.core.upgrade().filter(|core| !core.has_left.get())
    }

    fn lose(&self) {
        self.is_lost.set(true);
        if let Some(core) = self.core() {
            core.has_news.set(true);
            core.wake();
        }
    }
}

/// The first word of what confirms a subscription, or its end.
pub(super) fn word(kind: Kind, on: bool) -> &'static [u8] {
    match (kind, on) {
        (Kind::Channel, true) => b"subscribe",
        (Kind::Channel, false) => b"unsubscribe",
        (Kind::Pattern, true) => b"psubscribe",
        (Kind::Pattern, false) => b"punsubscribe",
        (Kind::Shard, true) => b"ssubscribe",
        (Kind::Shard, false) => b"sunsubscribe",
    }
}

/// Of which subscription the frame is a message, and on which channel.
pub(super) fn message_of(frame: &[u8]) -> Option<(Name, &[u8])> {
    let mut parts = elements(frame).map_while(value::bulk);
    let kind = match parts.next()? {
        b"message" => Kind::Channel,
        b"pmessage" => Kind::Pattern,
        b"smessage" => Kind::Shard,
        _ => return None,
    };
    let text = parts.next()?;
    let channel = if kind == Kind::Pattern { parts.next()? } else { text };
    Some((Name { kind, text: text.into() }, channel))
}

/// The node has ended this subscription by itself: its slot has moved.
pub(super) fn ended_by_node(frame: &[u8]) -> Option<Name> {
    let mut parts = elements(frame).map_while(value::bulk);
    (parts.next()? == b"sunsubscribe").then_some(())?;
    Some(Name { kind: Kind::Shard, text: parts.next()?.into() })
}

impl Recipient for Listener {
    fn admit(&self, _to: ReplyTo, piece: &[u8], part: Part) -> Admitted {
        let mut answer = self.answer.borrow_mut();
        answer.extend_from_slice(piece);
        if part.last
            && let Some((name, on)) = self.asked.borrow_mut().pop_front()
            && let Some(core) = self.core()
        {
            core.subscription_answered(self.id, &name, on, &answer);
        }
        if part.last {
            answer.clear();
        }
        Admitted::default()
    }

    fn fault(&self, _owed: Owed, _fault: Fault) {
        self.lose();
    }

    fn classify(&self, head: &[u8]) -> Arrival {
        if !matches!(head.first(), Some(b'>' | b'*')) {
            return Arrival::Reply;
        }
        let mut parts = elements(head).map_while(value::bulk);
        let (first, text) = (parts.next().unwrap_or_default(), parts.next());
        let asked = self.asked.borrow();
        let is_answer =
            asked.front().is_some_and(|(name, on)| word(name.kind, *on) == first && text.is_none_or(|text| *text == *name.text));
        if is_answer { Arrival::Confirmation } else { Arrival::Message }
    }

    fn push(&self, piece: &[u8], last: bool) {
        let mut message = self.message.borrow_mut();
        if !last {
            return message.extend_from_slice(piece);
        }
        let whole = if message.is_empty() {
            None
        } else {
            message.extend_from_slice(piece);
            Some(std::mem::take(&mut *message))
        };
        if let Some(core) = self.core() {
            core.message_came(self.id, whole.as_deref().unwrap_or(piece));
        }
    }

    fn lease_lost(&self) {
        self.lose();
    }

    fn lease_refused(&self) {
        if let Some(core) = self.core() {
            core.close();
        }
    }

    fn mark(&self) -> bool {
        !self.is_touched.replace(true)
    }

    fn flush(&self) {
        self.is_touched.set(false);
        if let Some(core) = self.core() {
            core.wake();
        }
    }

    fn behind_for(&self) -> Option<Duration> {
        let core = self.core()?;
        let is_behind = core.state.try_borrow().is_ok_and(|state| state.is_behind());
        let since: Option<Instant> = is_behind.then(|| core.behind_since.get().unwrap_or_else(crate::net::clock::now));
        core.behind_since.set(since);
        since.map(|since| crate::net::clock::now().saturating_duration_since(since))
    }

    fn is_gone(&self) -> bool {
        self.core().is_none()
    }
}
