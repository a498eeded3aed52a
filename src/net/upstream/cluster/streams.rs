//! Where the single requests of one client go, and their replies until it is their turn.
//!
//! Most requests go to one node as they came. For those a client keeps, for each shard, the connection to its node, so that
//! nothing is looked up for each of them. A node answers in the order in which it was sent: what it has answered before the
//! client's turn for it is kept as it came, one reply behind the other, and whose each is follows from the order of the
//! requests. What is answered with an error, or in parts, goes the long way, and so does what is sent once more.

use std::collections::VecDeque;
use std::rc::Rc;

use super::entry::Phase;
use super::node::Used;
use super::settings::NodeName;
use super::state::State;
use crate::net::clock;
use crate::net::upstream::Recipient;
use crate::net::upstream::connection::{Link, Phase as LinkPhase};
use respguard_engine::link::owed::Seq;
use respguard_resp::scan::plain_frames;

/// In the numbers by which a node's answers are told apart: this bit, the stream, and which request of it.
const MARK: u64 = 1 << 63;
const COUNT_BITS: u32 = 48;
/// A stream that is used up keeps room for no more requests than this.
const IDLE_REQUESTS_MAX: usize = 64;
/// Nor for more bytes of replies.
const IDLE_BYTES_MAX: usize = 8 * 1024;

/// Stands for a request that will not be answered in its stream any more.
const NONE: u64 = u64::MAX;

/// The address of the request of a stream that was sent as the `count`th.
pub(super) fn address(stream: u16, count: u64) -> Seq {
    Seq::numbered(MARK | u64::from(stream) << COUNT_BITS | count)
}

/// Which request of which stream it is the address of; `None` for that of a request that stands in the queue.
pub(super) fn of_address(seq: Seq) -> Option<(u16, u64)> {
    let number = seq.number();
    let stream = (number & !MARK) >> COUNT_BITS;
    (number & MARK != 0).then_some((stream as u16, number & ((1 << COUNT_BITS) - 1)))
}

/// What one client's single requests have to do with one connection.
pub(super) struct Stream {
    pub(super) node: NodeName,
    used: Rc<Used>,
    pub(super) link: Rc<Link>,
    /// How often another connection had taken its place when the way over it was found.
    retirements: u32,
    pub(super) replies: Replies,
    /// Where it is collected what is sent there now.
    pub(super) piece: Option<usize>,
}

/// Requests that went the same way, and those of their replies whose turn has not come.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The numbers of those that are not answered, in the order in which they were sent.
    sent: VecDeque<u64>,
    /// Simple requests that are not answered: which ones is only asked when they stand in the queue.
    simple: usize,
    /// How many were sent before these.
    before: u64,
    /// Whole replies, from `at` on, and how many they are.
    bytes: Vec<u8>,
    at: usize,
    frames: usize,
    /// Requests of the queue whose replies are here, or will come.
    pub(super) readers: usize,
}

/// The streams of one client.
#[derive(Default)]
pub(super) struct Streams {
    /// Of which change of the nodes the ways are.
    changes: u64,
    /// The stream of each shard, by its number.
    ways: Vec<Option<u16>>,
    all: Vec<Stream>,
}

impl Replies {
    /// A request is sent; which one of all it is.
    pub(super) fn push(&mut self, number: u64) -> u64 {
        debug_assert_eq!(self.simple, 0, "they stand in the queue");
        self.sent.push_back(number);
        self.readers += 1;
        self.before + self.sent.len() as u64 - 1
    }

    /// The same for a simple one; `None` while others are not answered.
    #[inline]
    pub(super) fn push_simple(&mut self) -> Option<u64> {
        if !self.sent.is_empty() {
            return None;
        }
        self.simple += 1;
        self.readers += 1;
        Some(self.before + self.simple as u64 - 1)
    }

    /// The last of the simple requests stands in the queue now: told of all of them, from the last to the first.
    pub(super) fn queue_last(&mut self, number: u64) {
        // Those before them are answered.
        if self.simple > 0 {
            self.simple -= 1;
            self.sent.push_front(number);
        }
    }

    /// The number of the request that was sent as the `count`th.
    fn number(&self, count: u64) -> Option<u64> {
        let at = usize::try_from(count.checked_sub(self.before)?).ok()?;
        self.sent.get(at).copied().filter(|number| *number != NONE)
    }

    /// The request with this number is not answered yet.
    pub(super) fn owes(&self, number: u64) -> bool {
        self.sent.contains(&number)
    }

    /// This request is answered, and those before it are or never will be.
    fn answered(&mut self, count: u64) {
        let through = usize::try_from((count + 1).saturating_sub(self.before)).unwrap_or(usize::MAX);
        let through = through.min(self.sent.len() + self.simple);
        if self.simple > 0 {
            self.simple -= through;
        } else {
            self.sent.drain(..through);
        }
        self.before += through as u64;
    }

    /// It will not be answered.
    fn forget(&mut self, count: u64) -> Option<u64> {
        let at = usize::try_from(count.checked_sub(self.before)?).ok()?;
        let number = std::mem::replace(self.sent.get_mut(at)?, NONE);
        while self.sent.pop_front_if(|front| *front == NONE).is_some() {
            self.before += 1;
        }
        (number != NONE).then_some(number)
    }

    /// Keeps replies until it is their turn.
    pub(super) fn keep(&mut self, replies: &[u8], frames: usize) {
        self.bytes.extend_from_slice(replies);
        self.frames += frames;
    }

    /// Moves as many replies as there are, at most `most`, to `out`; how many they are.
    pub(super) fn take(&mut self, most: usize, out: &mut Vec<u8>) -> usize {
        let frames = most.min(self.frames);
        let rest = &self.bytes[self.at..];
        let bytes = if frames == self.frames { rest.len() } else { plain_frames(rest, frames) };
        out.extend_from_slice(&rest[..bytes]);
        self.at += bytes;
        self.frames -= frames;
        self.readers -= frames;
        if self.frames == 0 {
            self.bytes.clear();
            self.at = 0;
        }
        frames
    }

    /// True while none of those that have come waits for its turn.
    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    fn is_done(&self) -> bool {
        self.readers == 0 && self.sent.is_empty() && self.simple == 0
    }

    /// The room that a burst has taken goes.
    fn shrink(&mut self) {
        if self.sent.is_empty() && self.sent.capacity() > IDLE_REQUESTS_MAX {
            self.sent = VecDeque::new();
        }
        if self.frames == 0 && self.bytes.capacity() > IDLE_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }
}

impl Stream {
    /// True while more may be sent there. Where another connection has stood in its place since, the client may be owed
    /// something on that one.
    fn is_open(&self) -> bool {
        !self.link.is_retired() && self.link.retirements() == self.retirements && self.link.phase() == LinkPhase::Ready
    }

    /// Something is sent there.
    pub(super) fn note_use(&self) {
        self.used.at.set(clock::now());
    }
}

impl Streams {
    pub(super) fn get(&mut self, stream: u16) -> Option<&mut Stream> {
        self.all.get_mut(usize::from(stream))
    }

    pub(super) fn replies(&self, stream: u16) -> Option<&Replies> {
        self.all.get(usize::from(stream)).map(|stream| &stream.replies)
    }

    /// Where its requests are sent.
    pub(super) fn node(&self, stream: u16) -> Option<&NodeName> {
        self.all.get(usize::from(stream)).map(|stream| &stream.node)
    }

    /// The ways are those of this change of the nodes from now on.
    #[inline]
    pub(super) fn note_changes(&mut self, changes: u64) {
        if self.changes != changes {
            self.changes = changes;
            self.ways.clear();
        }
    }

    /// The stream of a shard's requests, where it is known and open.
    #[inline]
    pub(super) fn way(&mut self, shard: usize) -> Option<(u16, &mut Stream)> {
        let stream = (*self.ways.get(shard)?)?;
        let known = self.all.get_mut(usize::from(stream))?;
        // What is being collected is looked at once.
        (known.piece.is_some() || known.is_open()).then_some((stream, known))
    }

    /// Requests for this shard go over this connection from now on; `None` where there are too many, and while the client is
    /// owed something on one that this has replaced.
    pub(super) fn open(&mut self, shard: usize, node: NodeName, used: Rc<Used>, who: &Rc<dyn Recipient>) -> Option<u16> {
        let link = used.lane.shared();
        if link.phase() != LinkPhase::Ready || !Rc::ptr_eq(&link, &used.lane.shared_for(who)) {
            return None;
        }
        let known = self.all.iter().position(|stream| Rc::ptr_eq(&stream.link, &link));
        let at = match known {
            Some(at) => {
                self.all[at].retirements = link.retirements();
                at
            }
            None => {
                let retirements = link.retirements();
                let stream = Stream { node, used, link, retirements, replies: Replies::default(), piece: None };
                let free = self.all.iter().position(|stream| stream.replies.is_done() && !stream.is_open());
                match free {
                    Some(at) => {
                        self.ways
                            .iter_mut()
                            .filter(|way| way.is_some_and(|way| usize::from(way) == at))
                            .for_each(|way| *way = None);
                        // What was sent before is told from what is sent now.
                        let before = self.all[at].replies.before;
                        self.all[at] = Stream { replies: Replies { before, ..Replies::default() }, ..stream };
                        at
                    }
                    None => {
                        self.all.push(stream);
                        self.all.len() - 1
                    }
                }
            }
        };
        let stream = u16::try_from(at).ok().filter(|stream| *stream < 1 << 15)?;
        if self.ways.len() <= shard {
            self.ways.resize(shard + 1, None);
        }
        self.ways[shard] = Some(stream);
        Some(stream)
    }

    /// Moves to `out` what has come of the replies in the streams that are next, as far as nothing between them is missing; how
    /// many they are.
    #[inline]
    fn take(&mut self, next: impl Iterator<Item = u16>, out: &mut Vec<u8>) -> usize {
        let (mut next, mut taken) = (next.peekable(), 0);
        while let Some(stream) = next.next()
            && let Some(Stream { replies, .. }) =
                self.all.get_mut(usize::from(stream)).filter(|stream| !stream.replies.is_empty())
        {
            let mut most = 1;
            while most < replies.frames && next.next_if_eq(&stream).is_some() {
                most += 1;
            }
            taken += replies.take(most, out);
        }
        taken
    }

    /// Nobody reads from any of them.
    pub(super) fn shrink(&mut self) {
        self.all.iter_mut().for_each(|stream| stream.replies.shrink());
    }

    /// The client is somebody else from now on.
    pub(super) fn forget_ways(&mut self) {
        self.ways.clear();
    }

    pub(super) fn clear(&mut self) {
        self.ways.clear();
        self.all.clear();
    }
}

impl State {
    /// The request that a piece of a reply in a stream belongs to leaves the stream: its reply is its own from now on. Its
    /// place in the queue.
    pub(super) fn take_from_stream(&mut self, stream: u16, count: u64, last: bool) -> Option<usize> {
        let replies = &mut self.streams.get(stream)?.replies;
        let number = replies.number(count);
        if last {
            replies.answered(count);
        }
        self.leave_stream(stream, number?)
    }

    /// The same for one whose reply will not come.
    pub(super) fn forget_in_stream(&mut self, stream: u16, count: u64) -> Option<usize> {
        let number = self.streams.get(stream)?.replies.forget(count)?;
        self.leave_stream(stream, number)
    }

    /// Its reply does not come in the stream any more.
    pub(super) fn leave_stream(&mut self, stream: u16, number: u64) -> Option<usize> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let entry = self.queue.get_mut(place)?;
        if entry.stream.take().is_some()
            && let Some(stream) = self.streams.get(stream)
        {
            stream.replies.readers -= 1;
            entry.sent_to = Some(NodeName::clone(&stream.node));
        }
        (entry.phase == Phase::Sent).then_some(place)
    }

    /// Whole replies to requests from the `count`th of a stream on: those whose turn it is leave.
    pub(super) fn take_plain(&mut self, stream: u16, count: u64, replies: &[u8], frames: usize) {
        let next = if self.fault.is_none() { self.next_of(stream, frames) } else { 0 };
        let Some(Stream { replies: kept, .. }) = self.streams.get(stream) else { return };
        kept.answered(count + frames as u64 - 1);
        if next == frames && kept.is_empty() {
            kept.readers -= frames;
            self.pass_plain(replies, frames);
            self.pop_front(frames);
        } else {
            kept.keep(replies, frames);
            self.reply_bytes += replies.len();
        }
        // Others before them have not been answered: it is nobody's turn.
        if next > 0 {
            self.advance();
        }
    }

    /// All that the client is owed are so many plain replies to requests from the `count`th of a stream on, and nothing else
    /// is to be done for it: with them it is answered.
    pub(super) fn ends_with(&mut self, stream: u16, count: u64, frames: usize) -> bool {
        let is_all = self.requests() == frames && self.out.is_empty() && self.next_of(stream, frames) == frames;
        let is_all = is_all && self.fault.is_none() && !self.is_closed && self.held.is_empty() && self.returning.is_empty();
        let Some(Stream { replies, .. }) = self.streams.get(stream).filter(|stream| is_all && stream.replies.is_empty()) else {
            return false;
        };
        replies.answered(count + frames as u64 - 1);
        replies.readers -= frames;
        self.pop_front(frames);
        self.advance();
        true
    }

    /// How many of the requests at the head, at most `most`, have their replies in this stream.
    pub(super) fn next_of(&self, stream: u16, most: usize) -> usize {
        if !self.simple.is_empty() {
            return self.simple.streams().take(most).take_while(|next| *next == stream).count();
        }
        let is_of = |entry: &&super::entry::Entry| entry.stream == Some(stream);
        self.queue.iter().take(most).take_while(is_of).count()
    }

    /// Replies at the head that have come in their streams leave; false where none has.
    pub(super) fn pass_from_streams(&mut self) -> bool {
        let from = self.out.len();
        let State { simple, queue, streams, out, .. } = self;
        let passed = if simple.is_empty() {
            streams.take(queue.iter().map_while(|entry| entry.stream), out)
        } else {
            streams.take(simple.streams(), out)
        };
        self.note_plain(from, passed);
        self.reply_bytes = self.reply_bytes.saturating_sub(self.out.len() - from);
        self.pop_front(passed);
        passed > 0
    }

    pub(super) fn pop_front(&mut self, requests: usize) {
        if !self.simple.is_empty() {
            self.first += requests as u64;
            return self.simple.pop_front(requests, self.first);
        }
        self.note_answer();
        // One after the other: most leave singly, or by twos and threes.
        for _ in 0..requests {
            self.pop_answered();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_which_request_of_which_stream() {
        for (stream, count) in [(0, 0), (3, 1 << 40), (32767, (1 << COUNT_BITS) - 1)] {
            assert_eq!(of_address(address(stream, count)), Some((stream, count)));
        }
        assert_eq!(of_address(address(1, 5).plus(2)), Some((1, 7)));
        assert_eq!(of_address(Seq::numbered(7)), None);
    }

    #[test]
    fn replies_are_taken_in_the_order_in_which_they_came() {
        let (mut replies, mut out) = (Replies::default(), Vec::new());
        assert_eq!([10, 11, 14].map(|number| replies.push(number)), [0, 1, 2]);
        replies.keep(b"$1\r\na\r\n+OK\r\n", 2);
        replies.answered(1);
        assert_eq!(replies.number(1), None);
        assert_eq!((replies.take(1, &mut out), out.len()), (1, 7));
        replies.keep(b":3\r\n", 1);
        replies.answered(2);
        assert_eq!((replies.take(9, &mut out), out.len()), (2, 16));
        assert_eq!(out, b"$1\r\na\r\n+OK\r\n:3\r\n");
        assert!(replies.is_done() && replies.is_empty());
        assert_eq!(replies.push(20), 3);
    }

    #[test]
    fn simple_requests_that_are_not_answered_are_told_by_their_numbers_once_they_wait_in_the_queue() {
        let mut replies = Replies::default();
        assert_eq!([(); 4].map(|()| replies.push_simple()), [Some(0), Some(1), Some(2), Some(3)]);
        replies.answered(1);
        replies.keep(b"+1\r\n+2\r\n", 2);
        [27, 25, 22, 20].into_iter().for_each(|number| replies.queue_last(number));
        assert_eq!([1, 2, 3].map(|count| replies.number(count)), [None, Some(25), Some(27)]);
        assert_eq!((replies.push_simple(), replies.push(30)), (None, 4), "others are not answered");
        replies.answered(4);
        assert_eq!((replies.push_simple(), replies.is_done()), (Some(5), false));
        replies.answered(5);
        assert_eq!((replies.simple, replies.before), (0, 6));
    }

    #[test]
    fn what_will_not_be_answered_leaves_a_gap() {
        let mut replies = Replies::default();
        for number in 1..=4 {
            replies.push(number);
        }
        assert_eq!((replies.forget(1), replies.forget(1), replies.forget(9)), (Some(2), None, None));
        assert_eq!((replies.number(0), replies.number(1), replies.number(2)), (Some(1), None, Some(3)));
        assert_eq!(replies.forget(0), Some(1));
        assert_eq!((replies.before, replies.sent.len()), (2, 2));
        replies.answered(3);
        assert!(replies.sent.is_empty());
        assert_eq!(replies.push(5), 4);
    }
}
