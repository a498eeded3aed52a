//! The bytes that a client has sent and that have not been planned yet, and their state.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use super::pooled_batch::PooledBatch;
use respguard_engine::command::Table;
use respguard_engine::link::owed::Seq;
use respguard_engine::pipeline::batch::{Held, Tail};
use respguard_engine::pipeline::plan::Plan;
use respguard_resp::request::{Args, Limits, RequestParser};

/// What becomes of the bytes of a request that is not held whole.
#[derive(Debug, Default)]
pub(super) enum Cutting {
    /// There is none.
    #[default]
    No,
    /// They go out as they come; the server has so long to answer from the end on, or as long as it likes.
    PassThrough { longest: Option<Duration> },
    /// They go nowhere; at their end the client is answered so, unless it has been.
    Discarding(Option<Vec<u8>>),
}

impl Cutting {
    /// The connection that the request went out on is gone, and with it the request: what has come of it was answered.
    pub(super) fn lose(&mut self) {
        if matches!(self, Cutting::PassThrough { .. }) {
            *self = Cutting::Discarding(None);
        }
    }
}

/// The bytes, the commands that they have been cut into, and the request whose end has not come.
pub(super) struct Input {
    pub(super) bytes: BytesMut,
    /// The whole commands at the front of the bytes.
    pub(super) batch: PooledBatch,
    pub(super) parser: RequestParser,
    /// What becomes of the request that is not held whole, if one is coming in.
    pub(super) cutting: Cutting,
    /// The client will send nothing more, or nothing more is taken from it.
    pub(super) ended: bool,
    /// The last read filled its buffer: more is there.
    pub(super) filled: bool,
    /// No room was left for what it had begun to send, and it has not been told so yet.
    pub(super) refused_room: bool,
}

impl Default for Input {
    fn default() -> Self {
        Input {
            bytes: BytesMut::new(),
            batch: PooledBatch::default(),
            parser: RequestParser::new(Limits::default()),
            cutting: Cutting::No,
            ended: false,
            filled: false,
            refused_room: false,
        }
    }
}

impl Input {
    /// Cuts what has come into commands; what stands behind the last whole one.
    pub(super) fn parse(&mut self, table: &Table, whole_bytes_max: usize) -> Tail {
        let tail = self.batch.parse(&mut self.parser, table, &self.bytes, whole_bytes_max);
        self.batch.fix_line_ends(&mut self.bytes);
        tail
    }

    /// The words of one command.
    pub(super) fn args(&self, at: usize) -> Args<'_> {
        self.batch.args(&self.bytes, at)
    }

    /// Some commands as the client has sent them.
    pub(super) fn wire(&self, commands: Range<usize>) -> &[u8] {
        &self.bytes[self.batch.wire(commands)]
    }

    /// The words that have come of the request whose end has not.
    pub(super) fn begun_args(&self) -> Args<'_> {
        self.batch.partial_args(&self.bytes)
    }

    /// What has come behind the whole commands.
    pub(super) fn behind_whole(&self) -> &[u8] {
        self.bytes.get(self.batch.whole_bytes()..).unwrap_or_default()
    }

    /// A request has begun whose end has not come.
    pub(super) fn has_begun_request(&self) -> bool {
        self.parser.parsed_bytes() > 0
    }

    /// A request has begun whose name has not come yet: only the name tells how it can be cut through.
    pub(super) fn is_nameless(&self) -> bool {
        self.has_begun_request() && self.begun_args().is_empty()
    }

    /// True while a request passes that is not held whole.
    pub(super) fn is_streaming(&self) -> bool {
        !matches!(self.cutting, Cutting::No)
    }

    /// Commands at the front have been dealt with; without any, what stands between them goes.
    pub(super) fn consume(&mut self, commands: usize) {
        let consumed = self.batch.consume(commands);
        self.drop_front(consumed);
    }

    /// What was planned has been dealt with, but for what waits, whose places `seq` tells.
    pub(super) fn take_out(&mut self, plan: &Plan, seq: impl Fn(usize) -> Seq, now: Instant) {
        let done_with = plan.take_out(plan.commands, (&mut self.batch, &mut self.bytes), seq, now);
        self.drop_front(done_with);
    }

    /// The first so many bytes are done with.
    fn drop_front(&mut self, bytes: usize) {
        // Its room begins anew where nothing is left.
        if bytes == self.bytes.len() { self.bytes.clear() } else { self.bytes.advance(bytes) }
    }

    /// What there is of the request whose end has not come is dealt with; the rest is cut through.
    pub(super) fn release_head(&mut self) {
        self.batch.release_partial();
        self.bytes.advance(self.parser.parsed_bytes());
        self.parser.begin_stream();
    }

    /// What has been found in the bytes does not count: they are cut anew, one by one where a password is still owed.
    pub(super) fn begin_again(&mut self, singly: bool) {
        self.batch = PooledBatch::default();
        if singly {
            self.batch.singly = true;
        }
        self.parser = RequestParser::new(Limits { unauthenticated: singly, ..Limits::default() });
    }

    /// Commands that were sent in vain stand in their places again, before those that were read after them.
    pub(super) fn put_back(&mut self, commands: &[(Seq, Vec<u8>)], since: Instant) {
        let Some(&(first, _)) = commands.first() else { return };
        // What waits may have been sent before it, or behind it.
        let before = self.batch.all_held().iter().take_while(|held| first.since(held.seq).is_some()).count();
        let place = self.batch.wire(0..before).end;
        let more: usize = commands.iter().map(|(_, request)| request.len()).sum();
        let mut bytes = BytesMut::with_capacity(self.bytes.len() + more);
        bytes.extend_from_slice(&self.bytes[..place]);
        commands.iter().for_each(|(_, request)| bytes.extend_from_slice(request));
        bytes.extend_from_slice(&self.bytes[place..]);
        self.bytes = bytes;
        self.batch.begin_again(before, commands.iter().map(|&(seq, _)| Held { seq, since, begins: false }));
        self.parser = RequestParser::new(Limits { unauthenticated: self.batch.singly, ..Limits::default() });
    }

    /// Nothing more is taken from the client, and what has come goes nowhere.
    pub(super) fn give_up(&mut self) {
        self.ended = true;
        self.bytes.clear();
        self.batch = PooledBatch::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> (Input, Tail) {
        let mut input = Input::default();
        input.bytes.extend_from_slice(bytes);
        let tail = input.parse(&Table::builtin(), usize::MAX);
        (input, tail)
    }

    #[test]
    fn what_is_dealt_with_goes_and_the_rest_stays() {
        let (mut input, tail) = input(b"GET a\r\nGET b\r\nGET");
        assert_eq!((tail, input.batch.len()), (Tail::Partial, 2));
        assert_eq!(input.args(1).get(1), Some(&b"b"[..]));
        assert_eq!(input.wire(1..2), b"GET b\r\n");
        assert_eq!(input.behind_whole(), b"GET");
        input.consume(1);
        assert_eq!((input.batch.len(), input.args(0).get(1)), (1, Some(&b"b"[..])));
        assert_eq!(&input.bytes[..], b"GET b\r\nGET");
    }

    #[test]
    fn a_request_has_a_name_only_when_it_has_come() {
        let (nothing, _) = input(b"");
        assert!(!nothing.has_begun_request() && !nothing.is_nameless());
        let (nameless, _) = input(b"*2\r\n$3\r\nGE");
        assert!(nameless.has_begun_request() && nameless.is_nameless());
        let (named, _) = input(b"*2\r\n$3\r\nGET\r\n$5\r\nab");
        assert!(named.has_begun_request() && !named.is_nameless());
        assert_eq!(named.begun_args().get(0), Some(&b"GET"[..]));
    }

    #[test]
    fn the_head_of_a_large_request_is_released_and_its_rest_is_cut_through() {
        let (mut large, _) = input(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nvvv");
        let head = large.parser.parsed_bytes();
        let rest = large.bytes[head..].to_vec();
        large.release_head();
        assert_eq!(&large.bytes[..], rest);
        assert!(!large.parser.is_between_requests());
    }

    #[test]
    fn what_was_sent_in_vain_comes_back_before_what_was_read_after_it() {
        let (mut input, _) = input(b"GET later\r\n");
        let again = [(Seq::default(), b"GET again\r\n".to_vec())];
        input.put_back(&again, Instant::now());
        assert_eq!(&input.bytes[..], b"GET again\r\nGET later\r\n");
        input.parse(&Table::builtin(), usize::MAX);
        assert_eq!(input.batch.len(), 2);
        assert_eq!(input.batch.held(0).map(|held| held.seq), Some(Seq::default()));
        assert!(input.batch.held(1).is_none());
        input.put_back(&[], Instant::now());
        assert_eq!(input.batch.len(), 2, "nothing changes where nothing comes back");
    }

    #[test]
    fn who_is_given_up_has_sent_nothing() {
        let (mut input, _) = input(b"GET a\r\n");
        input.give_up();
        assert!(input.ended && input.bytes.is_empty() && input.batch.is_empty());
    }
}
