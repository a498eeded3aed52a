//! What a client is subscribed to, learnt from the confirmations that Redis sends.

use std::collections::BTreeSet;

use crate::command::SubscriptionKind as Kind;
use respguard_resp::Protocol;
use respguard_resp::scan::elements;
use respguard_resp::value;

/// The names a client is subscribed to, and how many confirmations it is still owed.
#[derive(Debug, Default)]
pub struct Subscriptions {
    names: BTreeSet<(Kind, Box<[u8]>)>,
    pending: u32,
}

/// What a frame on a subscriber's connection is.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It answers a (un)subscribe command.
    Confirmation,
    /// Nobody asked for it: a message, an invalidation.
    Message,
    /// An ordinary reply.
    Reply,
}

impl Subscriptions {
    /// True while there is a subscription, or one may come from a command that is under way.
    pub fn any(&self) -> bool {
        !self.names.is_empty() || self.pending > 0
    }

    /// How many names of the kind the client is subscribed to.
    pub fn count(&self, kind: Kind) -> usize {
        self.names.iter().filter(|(of, _)| *of == kind).count()
    }

    /// True while a confirmation is under way: nobody can say which commands the server takes by then.
    pub fn is_changing(&self) -> bool {
        self.pending > 0
    }

    /// A (un)subscribe command was sent.
    pub fn sent(&mut self) {
        self.pending += 1;
    }

    /// The last confirmation of a command came in, or an error in its place.
    pub fn answered(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// How many confirmations an unsubscribe without arguments gets: one for each name, at least one.
    pub fn confirmations(&self, kind: Kind) -> u32 {
        u32::try_from(self.count(kind).max(1)).unwrap_or(u32::MAX)
    }

    /// Notes one confirmation frame.
    pub fn confirm(&mut self, frame: &[u8]) {
        let mut parts = elements(frame);
        let (Some(word), Some(name)) = (parts.next().and_then(value::bulk), parts.next().and_then(value::bulk)) else {
            return;
        };
        match word {
            b"subscribe" => self.names.insert((Kind::Channel, name.into())),
            b"psubscribe" => self.names.insert((Kind::Pattern, name.into())),
            b"ssubscribe" => self.names.insert((Kind::Shard, name.into())),
            b"unsubscribe" => self.names.remove(&(Kind::Channel, name.into())),
            b"punsubscribe" => self.names.remove(&(Kind::Pattern, name.into())),
            b"sunsubscribe" => self.names.remove(&(Kind::Shard, name.into())),
            _ => false,
        };
    }

    /// What the frame that begins with `head` is.
    ///
    /// `awaited` says that the next reply that is owed answers a (un)subscribe command. RESP3 marks
    /// messages and confirmations with `>`; in RESP2 they are arrays that are told from replies by
    /// their first word, which is safe because a RESP2 subscriber gets no other arrays than the
    /// answer to PING.
    pub fn classify(&self, head: &[u8], protocol: Protocol, awaited: bool) -> Arrival {
        let push = head.first() == Some(&b'>');
        let message = push || !self.names.is_empty();
        if !push && (protocol == Protocol::Resp3 || head.first() != Some(&b'*')) {
            return Arrival::Reply;
        }
        match first_word(head) {
            Some(b"subscribe" | b"psubscribe" | b"ssubscribe" | b"unsubscribe" | b"punsubscribe" | b"sunsubscribe") => {
                match (awaited, message) {
                    (true, _) => Arrival::Confirmation,
                    (false, true) => Arrival::Message,
                    (false, false) => Arrival::Reply,
                }
            }
            Some(b"message" | b"pmessage" | b"smessage") if message => Arrival::Message,
            _ if push => Arrival::Message,
            _ => Arrival::Reply,
        }
    }
}

/// The text of the bulk string that comes first in the aggregate beginning with `head`.
fn first_word(head: &[u8]) -> Option<&[u8]> {
    let line = memchr::memchr(b'\n', head)?;
    let bulk = &head[line + 1..];
    if bulk.first() != Some(&b'$') {
        return None;
    }
    let start = memchr::memchr(b'\n', bulk)? + 1;
    let end = start + memchr::memchr(b'\r', &bulk[start..])?;
    Some(&bulk[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIBED: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
    const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n";

    #[test]
    fn a_subscription_lasts_until_its_opposite_is_confirmed() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.sent();
        assert!(subscriptions.any(), "it may come");
        subscriptions.confirm(SUBSCRIBED);
        subscriptions.answered();
        assert!(subscriptions.any());
        subscriptions.confirm(b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n");
        assert!(!subscriptions.any());
    }

    #[test]
    fn an_array_is_a_message_only_to_a_resp2_subscriber() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.classify(MESSAGE, Protocol::Resp2, false), Arrival::Reply);
        subscriptions.confirm(SUBSCRIBED);
        assert_eq!(subscriptions.classify(MESSAGE, Protocol::Resp2, false), Arrival::Message);
        assert_eq!(subscriptions.classify(MESSAGE, Protocol::Resp3, false), Arrival::Reply);
    }

    #[test]
    fn a_confirmation_answers_only_what_was_asked() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.classify(SUBSCRIBED, Protocol::Resp2, true), Arrival::Confirmation);
        assert_eq!(subscriptions.classify(SUBSCRIBED, Protocol::Resp2, false), Arrival::Reply, "data that looks so");
        subscriptions.confirm(SUBSCRIBED);
        assert_eq!(subscriptions.classify(SUBSCRIBED, Protocol::Resp2, false), Arrival::Message);
    }

    #[test]
    fn every_other_push_is_a_message() {
        let subscriptions = Subscriptions::default();
        let push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
        assert_eq!(subscriptions.classify(push, Protocol::Resp3, false), Arrival::Message);
    }

    #[test]
    fn unsubscribing_from_all_is_confirmed_once_for_each_name_and_at_least_once() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.confirmations(Kind::Channel), 1);
        subscriptions.confirm(SUBSCRIBED);
        subscriptions.confirm(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
        assert_eq!(subscriptions.confirmations(Kind::Channel), 2);
        assert_eq!(subscriptions.confirmations(Kind::Pattern), 1);
    }
}
