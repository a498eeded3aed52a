//! The commands that have been read from one client and not yet been sent on.

use std::ops::Range;
use std::time::Instant;

use crate::engine::command::{CommandId, Table};
use crate::engine::resp::request::{Args, Parsed, ProtocolError, RequestParser, Span};

/// Decoded arguments of commands that are gone are kept up to this size while others are there.
const ARENA_BYTES_MIN: usize = 4 * 1024;

/// Most commands that are planned at once; more are taken in a next round.
const COMMANDS_MAX: usize = 4096;

/// One whole request within the input buffer.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// What it is; `UNKNOWN` when the table does not know it.
    pub id: CommandId,
    /// First byte in the buffer.
    start: u32,
    /// Behind its last byte.
    end: u32,
    /// Its arguments among the batch's spans.
    first_span: u32,
    spans: u32,
    /// Its place among all commands of the client, from 0; it wraps.
    number: u32,
    /// Its arguments lie in the arena, decoded.
    inline: bool,
}

/// A command that waits for the rest of its group while others have gone past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The place that is kept for its reply.
    pub place: u64,
    pub since: Instant,
    /// It begins the group that is waited for.
    pub begins: bool,
}

/// What the arguments of one command begin with.
#[derive(Clone, Copy)]
pub struct Openings<'b> {
    bytes: &'b [u8],
    spans: &'b [Span],
    command: &'b Command,
}

impl Openings<'_> {
    /// The first eight bytes of the argument at a place, with what stands behind it in the buffer; any number where the
    /// command has none there, `None` where it does not lie in the buffer or the buffer ends.
    #[inline]
    pub fn at(&self, place: usize) -> Option<u64> {
        let Command { inline, start, first_span, .. } = *self.command;
        if inline {
            return None;
        }
        let start = start as usize + self.spans.get(first_span as usize + place)?.start as usize;
        let first = self.bytes.get(start..start + size_of::<u64>())?.first_chunk()?;
        Some(u64::from_le_bytes(*first))
    }
}

/// What stands behind the last whole command.
#[derive(Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// A request of which a part is there: more is coming.
    Partial,
    /// A request that is longer than it may be to be held whole.
    Large,
    /// More commands than are planned at once.
    More,
    /// Bytes that are no request.
    Error(ProtocolError),
}

/// Commands in the order in which they were read.
#[derive(Debug)]
pub struct Batch {
    commands: Vec<Command>,
    /// What is known of the first commands, which were read earlier.
    held: Vec<Held>,
    spans: Vec<Span>,
    arena: Vec<u8>,
    /// Bytes of the arena that were needed when it was last looked through.
    arena_needed: usize,
    /// Spans of whole commands; what lies behind belongs to a partial one.
    whole_spans: usize,
    /// Bytes of the buffer that whole commands, blank lines included, take up.
    whole_bytes: usize,
    /// Commands read so far.
    read: u32,
    /// One command at a time: what is allowed behind it may depend on it.
    pub singly: bool,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::BLANK
    }
}

impl Batch {
    /// Nothing read yet.
    pub const BLANK: Batch = Batch {
        commands: Vec::new(),
        held: Vec::new(),
        spans: Vec::new(),
        arena: Vec::new(),
        arena_needed: 0,
        whole_spans: 0,
        whole_bytes: 0,
        read: 0,
        singly: false,
    };

    /// Finds the whole requests in `bytes`, going on behind those already found.
    ///
    /// `bytes` begins with the first byte that has not been consumed.
    pub fn parse(&mut self, parser: &mut RequestParser, table: &Table, bytes: &[u8], whole_bytes_max: usize) -> Tail {
        loop {
            let rest = &bytes[self.whole_bytes..];
            if rest.is_empty() {
                return Tail::Clean;
            }
            if self.commands.len() >= if self.singly { 1 } else { COMMANDS_MAX } {
                return Tail::More;
            }
            match parser.parse(rest, &mut self.spans, &mut self.arena, whole_bytes_max) {
                Parsed::Request { bytes: length, inline } => self.push(table, bytes, length, inline),
                Parsed::Nothing { bytes } => {
                    self.spans.truncate(self.whole_spans);
                    self.whole_bytes += bytes;
                }
                Parsed::Incomplete => return Tail::Partial,
                Parsed::Large => return Tail::Large,
                Parsed::Error(error) => return Tail::Error(error),
            }
        }
    }

    /// True when it holds nothing and knows nothing of its client: another may have it.
    pub fn is_blank(&self) -> bool {
        self.commands.is_empty() && self.held.is_empty() && self.spans.is_empty() && self.whole_bytes == 0 && !self.singly
    }

    /// Bytes that it keeps for what is parsed next.
    pub fn capacity_bytes(&self) -> usize {
        self.commands.capacity() * size_of::<Command>() + self.spans.capacity() * size_of::<Span>() + self.arena.capacity()
    }

    /// Number of whole commands.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// True when no whole command is there.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// What the `index`-th command is.
    pub fn id(&self, index: usize) -> CommandId {
        self.commands[index].id
    }

    /// The number of the `index`-th command among all of the client, from 0.
    pub fn number(&self, index: usize) -> u32 {
        self.commands[index].number
    }

    /// Since when the `index`-th command waits, if it does.
    pub fn held(&self, index: usize) -> Option<&Held> {
        self.held.get(index)
    }

    /// The commands that wait, which are the first ones.
    pub fn all_held(&self) -> &[Held] {
        &self.held
    }

    /// The arguments of the `index`-th command.
    pub fn args<'a>(&'a self, bytes: &'a [u8], index: usize) -> Args<'a> {
        let command = &self.commands[index];
        let first = command.first_span as usize;
        let spans = &self.spans[first..first + command.spans as usize];
        let base = if command.inline { &self.arena[..] } else { &bytes[command.start as usize..command.end as usize] };
        Args::new(base, spans)
    }

    /// One argument of the `index`-th command, empty where it has none at that place.
    #[inline]
    pub fn argument<'a>(&'a self, bytes: &'a [u8], index: usize, place: usize) -> &'a [u8] {
        let command = &self.commands[index];
        if place >= command.spans as usize {
            return &[];
        }
        let Some(span) = self.spans.get(command.first_span as usize + place) else { return &[] };
        let (base, start) = if command.inline { (&self.arena[..], 0) } else { (bytes, command.start as usize) };
        base.get(start + span.start as usize..start + span.end as usize).unwrap_or_default()
    }

    /// The place of the first command from `at` on that does not pass, by what it is and what its arguments begin with.
    #[inline]
    pub fn skim(&self, bytes: &[u8], at: usize, passes: impl Fn(CommandId, Openings<'_>) -> bool) -> usize {
        let commands = self.commands.get(at..).unwrap_or_default().iter();
        let mut openings = commands.map(|command| (command.id, Openings { bytes, spans: &self.spans, command }));
        openings.position(|(id, openings)| !passes(id, openings)).map_or(self.len(), |passed| at + passed)
    }

    /// The arguments read so far of a request whose end has not been read.
    pub fn partial_args<'a>(&'a self, bytes: &'a [u8]) -> Args<'a> {
        Args::new(&bytes[self.whole_bytes..], &self.spans[self.whole_spans..])
    }

    /// Where the bytes of consecutive commands lie in the buffer.
    pub fn wire(&self, commands: Range<usize>) -> Range<usize> {
        if commands.is_empty() {
            return 0..0;
        }
        self.commands[commands.start].start as usize..self.commands[commands.end - 1].end as usize
    }

    /// Bytes of the buffer that whole commands take up.
    pub fn whole_bytes(&self) -> usize {
        self.whole_bytes
    }

    /// The partial request is taken over by somebody else: its `bytes` are forgotten.
    pub fn release_partial(&mut self) {
        self.spans.truncate(self.whole_spans);
    }

    /// Forgets the first `commands` commands; returns how many bytes of the buffer go with them.
    pub fn consume(&mut self, commands: usize) -> usize {
        self.held.drain(..commands.min(self.held.len()));
        if commands == self.commands.len() {
            return self.consume_all();
        }
        let next = self.commands[commands];
        self.commands.drain(..commands);
        self.spans.drain(..next.first_span as usize);
        for command in &mut self.commands {
            command.start -= next.start;
            command.end -= next.start;
            command.first_span -= next.first_span;
        }
        self.whole_spans -= next.first_span as usize;
        self.whole_bytes -= next.start as usize;
        self.tidy_arena();
        next.start as usize
    }

    /// Forgets the first `commands` commands but those named in `kept`, which come to stand right before the rest;
    /// returns how many bytes of the buffer go.
    ///
    /// `kept` are indexes in rising order; `bytes` is the buffer, in which the kept commands are moved.
    pub fn consume_around(&mut self, commands: usize, kept: &[(usize, Held)], bytes: &mut [u8]) -> usize {
        if kept.is_empty() {
            return self.consume(commands);
        }
        let mut free = self.commands.get(commands).map_or(self.whole_bytes, |next| next.start as usize);
        for &(index, _) in kept.iter().rev() {
            let command = &mut self.commands[index];
            let length = (command.end - command.start) as usize;
            bytes.copy_within(command.start as usize..command.end as usize, free - length);
            (command.start, command.end) = (position(free - length), position(free));
            free -= length;
        }
        let mut spans = 0;
        for (place, &(index, _)) in kept.iter().enumerate() {
            let command = &mut self.commands[index];
            let first = command.first_span as usize;
            self.spans.copy_within(first..first + command.spans as usize, spans);
            command.first_span = position(spans);
            spans += command.spans as usize;
            self.commands.swap(place, index);
        }
        let rest_spans = self.commands.get(commands).map_or(self.whole_spans, |next| next.first_span as usize);
        self.spans.drain(spans..rest_spans);
        self.commands.drain(kept.len()..commands);
        let gone_spans = position(rest_spans - spans);
        for command in &mut self.commands[kept.len()..] {
            command.first_span -= gone_spans;
        }
        for command in &mut self.commands {
            command.start -= position(free);
            command.end -= position(free);
        }
        self.whole_spans -= rest_spans - spans;
        self.whole_bytes -= free;
        // What is not planned yet may have been waiting already: it goes on to.
        self.held.drain(..commands.min(self.held.len()));
        self.held.splice(..0, kept.iter().map(|&(_, held)| held));
        self.tidy_arena();
        free
    }

    /// Forgets the decoded arguments of commands that are gone, once they are most of what is there: while something
    /// always waits, the arena is never emptied.
    fn tidy_arena(&mut self) {
        if self.arena.len() <= 2 * self.arena_needed + ARENA_BYTES_MIN {
            return;
        }
        let mut needed = Vec::new();
        for command in self.commands.iter().filter(|command| command.inline) {
            let first = command.first_span as usize;
            for span in &mut self.spans[first..first + command.spans as usize] {
                let start = position(needed.len());
                needed.extend_from_slice(&self.arena[span.start as usize..span.end as usize]);
                *span = Span { start, end: position(needed.len()) };
            }
        }
        self.arena_needed = needed.len();
        self.arena = needed;
    }

    fn consume_all(&mut self) -> usize {
        self.commands.clear();
        self.spans.drain(..self.whole_spans);
        // An inline request is decoded when it is whole: nothing of a partial one lies here.
        self.arena.clear();
        self.arena_needed = 0;
        self.whole_spans = 0;
        std::mem::take(&mut self.whole_bytes)
    }

    fn push(&mut self, table: &Table, bytes: &[u8], length: usize, inline: bool) {
        let start = self.whole_bytes;
        let spans = &self.spans[self.whole_spans..];
        let base = if inline { &self.arena[..] } else { &bytes[start..start + length] };
        let id = table.lookup(Args::new(base, spans));
        self.commands.push(Command {
            id,
            start: position(start),
            end: position(start + length),
            first_span: position(self.whole_spans),
            spans: position(spans.len()),
            number: self.read,
            inline,
        });
        self.read = self.read.wrapping_add(1);
        self.whole_spans = self.spans.len();
        self.whole_bytes += length;
    }
}

/// Input buffers are bounded far below 4 GiB: longer requests are cut through.
fn position(at: usize) -> u32 {
    u32::try_from(at).expect("an input buffer is shorter than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::resp::request::Limits;

    fn parser() -> RequestParser {
        RequestParser::new(Limits::default())
    }

    const TWO: &[u8] = b"*1\r\n$4\r\nPING\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";

    #[test]
    fn commands_cut_at_every_byte_are_the_same_commands() {
        let table = Table::builtin();
        for cut in 0..=TWO.len() {
            let (mut batch, mut parser) = (Batch::default(), parser());
            let tail = batch.parse(&mut parser, &table, &TWO[..cut], usize::MAX);
            assert!(matches!(tail, Tail::Clean | Tail::Partial), "{cut}");
            assert_eq!(batch.parse(&mut parser, &table, TWO, usize::MAX), Tail::Clean);
            assert_eq!(batch.len(), 2, "{cut}");
            assert_eq!(batch.args(TWO, 1).get(1), Some(&b"k"[..]));
            assert_eq!(batch.wire(0..2), 0..TWO.len());
        }
    }

    #[test]
    fn consuming_the_first_command_moves_the_second_to_the_front() {
        let table = Table::builtin();
        let (mut batch, mut parser) = (Batch::default(), parser());
        batch.parse(&mut parser, &table, TWO, usize::MAX);
        let gone = batch.consume(1);
        let rest = &TWO[gone..];
        assert_eq!(batch.len(), 1);
        assert_eq!(batch.args(rest, 0).get(0), Some(&b"GET"[..]));
        assert_eq!(batch.wire(0..1), 0..rest.len());
        assert_eq!(batch.consume(1), rest.len());
    }

    #[test]
    fn decoded_arguments_are_forgotten_with_their_command_whatever_follows_it() {
        let table = Table::builtin();
        let (mut batch, mut parser) = (Batch::default(), parser());
        let bytes = b"ECHO a\r\n*2\r\n$4\r\nECHO\r\n$1";
        assert_eq!(batch.parse(&mut parser, &table, bytes, usize::MAX), Tail::Partial);
        let gone = batch.consume(1);
        assert!(batch.arena.is_empty());
        let rest = [&bytes[gone..], b"\r\nb\r\nECHO c\r\n"].concat();
        assert_eq!(batch.parse(&mut parser, &table, &rest, usize::MAX), Tail::Clean);
        assert_eq!((batch.args(&rest, 0).get(1), batch.args(&rest, 1).get(1)), (Some(&b"b"[..]), Some(&b"c"[..])));
    }

    #[test]
    fn kept_commands_stand_before_the_rest_with_their_own_arguments() {
        let table = Table::builtin();
        let held = |place| Held { place, since: Instant::now(), begins: place == 7 };
        let mut bytes =
            b"ECHO one\r\nSET a 1\r\n\r\n*2\r\n$4\r\nECHO\r\n$5\r\nthree\r\nGET b\r\nECHO five\r\n*2\r\n$4\r\nECHO\r\n$1"
                .to_vec();
        let (mut batch, mut parser) = (Batch::default(), parser());
        assert_eq!(batch.parse(&mut parser, &table, &bytes, usize::MAX), Tail::Partial);
        let gone = batch.consume_around(4, &[(0, held(7)), (2, held(9))], &mut bytes);
        bytes.drain(..gone);
        let words = |batch: &Batch, bytes: &[u8], at| batch.args(bytes, at).get(1).map(<[u8]>::to_vec);
        assert_eq!(batch.len(), 3);
        assert_eq!([batch.number(0), batch.number(1), batch.number(2)], [0, 2, 4]);
        let said: Vec<_> = (0..3).filter_map(|at| words(&batch, &bytes, at)).collect();
        assert_eq!(said, [&b"one"[..], b"three", b"five"]);
        assert_eq!([batch.held(0).map(|held| held.place), batch.held(1).map(|held| held.place)], [Some(7), Some(9)]);
        assert!(batch.held(2).is_none());

        bytes.extend_from_slice(b"\r\n6\r\n");
        assert_eq!(batch.parse(&mut parser, &table, &bytes, usize::MAX), Tail::Clean);
        assert_eq!(words(&batch, &bytes, 3), Some(b"6".to_vec()));
        assert_eq!(&bytes[batch.wire(1..2)], b"*2\r\n$4\r\nECHO\r\n$5\r\nthree\r\n");

        let gone = batch.consume_around(4, &[(1, held(9))], &mut bytes);
        bytes.drain(..gone);
        assert_eq!((batch.len(), words(&batch, &bytes, 0)), (1, Some(b"three".to_vec())));
        assert_eq!((batch.consume(1), batch.all_held().len()), (bytes.len(), 0));
    }

    #[test]
    fn decoded_arguments_do_not_pile_up_while_a_command_always_waits() {
        let table = Table::builtin();
        let held = Held { place: 0, since: Instant::now(), begins: true };
        let (mut batch, mut parser) = (Batch::default(), parser());
        let mut bytes = b"SET kept \"a b\"\r\n".to_vec();
        for round in 0..1000 {
            bytes.extend_from_slice(format!("SET key-{round} some-value-that-passes\r\n").as_bytes());
            assert_eq!(batch.parse(&mut parser, &table, &bytes, usize::MAX), Tail::Clean);
            let last = batch.len() - 1;
            assert_eq!(batch.args(&bytes, last).get(1), Some(format!("key-{round}").as_bytes()));
            let gone = batch.consume_around(batch.len(), &[(0, held)], &mut bytes);
            bytes.drain(..gone);
            assert_eq!(batch.args(&bytes, 0).get(2), Some(&b"a b"[..]), "{round}");
            assert!(batch.arena.len() <= 2 * ARENA_BYTES_MIN, "{round}: {}", batch.arena.len());
        }
    }

    #[test]
    fn what_waits_and_is_not_planned_yet_keeps_its_place() {
        let table = Table::builtin();
        let held = |place| Held { place, since: Instant::now(), begins: true };
        let mut bytes = b"GET a\r\nGET b\r\nGET c\r\n".to_vec();
        let (mut batch, mut parser) = (Batch::default(), parser());
        assert_eq!(batch.parse(&mut parser, &table, &bytes, usize::MAX), Tail::Clean);
        assert_eq!(batch.consume_around(3, &[(0, held(0)), (1, held(1)), (2, held(2))], &mut bytes), 0);
        assert_eq!(batch.consume_around(1, &[(0, held(0))], &mut bytes), 0);
        assert_eq!(batch.all_held().iter().map(|held| held.place).collect::<Vec<_>>(), [0, 1, 2]);
        let gone = batch.consume_around(2, &[(1, held(1))], &mut bytes);
        bytes.drain(..gone);
        assert_eq!(batch.all_held().iter().map(|held| held.place).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(batch.args(&bytes, 0).get(1), Some(&b"b"[..]));
    }

    #[test]
    fn what_arguments_begin_with_is_told_where_it_lies_in_the_buffer() {
        let table = Table::builtin();
        let bytes = b"GET inline\r\n*2\r\n$3\r\nGET\r\n$9\r\nuser:1000\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        let (mut batch, mut parser) = (Batch::default(), parser());
        assert_eq!(batch.parse(&mut parser, &table, bytes, usize::MAX), Tail::Clean);
        let expected = [None, Some(u64::from_le_bytes(*b"user:100")), None];
        let said = std::cell::RefCell::new(Vec::new());
        let note = |_, openings: Openings<'_>| {
            said.borrow_mut().push(openings.at(1));
            true
        };
        assert_eq!(batch.skim(bytes, 0, note), 3);
        assert_eq!(*said.borrow(), expected);
        assert_eq!(batch.skim(bytes, 1, |_, openings| openings.at(1).is_some()), 2, "the first that does not pass");
        assert_eq!(batch.skim(bytes, 3, |_, _| false), 3);
    }

    #[test]
    fn inline_and_multibulk_requests_mix() {
        let table = Table::builtin();
        let bytes = b"SET a \"b c\"\r\n*1\r\n$4\r\nPING\r\nGET a\r\n";
        let (mut batch, mut parser) = (Batch::default(), parser());
        assert_eq!(batch.parse(&mut parser, &table, bytes, usize::MAX), Tail::Clean);
        assert_eq!(batch.args(bytes, 0).get(2), Some(&b"b c"[..]));
        assert_eq!(batch.args(bytes, 2).get(1), Some(&b"a"[..]));
        assert_eq!(table.spec(batch.id(1)).name(), "ping");
    }
}
