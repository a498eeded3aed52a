//! The commands that have been read from one client but not sent yet.

use std::ops::Range;
use std::time::Instant;

use crate::command::{CommandId, LastLookup, Table};
use crate::link::owed::Seq;
use crate::pipeline::packed_value::PackedValue;
use respguard_resp::request::{Args, LINE_END, Parsed, ProtocolError, RequestParser, Span, odd_line_ends};

/// Decoded arguments of commands that are gone are kept up to this size while others are there.
const ARENA_BYTES_MIN: usize = 4 * 1024;

/// Most commands that are planned at once; more are taken in a next round.
const COMMANDS_MAX: usize = 4096;

/// An input buffer is bounded far below this: longer requests are cut through.
const BYTES_MAX: usize = u32::MAX as usize;

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

impl Command {
    /// Where its bytes lie in the buffer.
    pub fn wire(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A command that waits for the rest of its group while others have gone past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The place that is kept for its reply.
    pub seq: Seq,
    /// Since when it waits.
    pub since: Instant,
    /// It begins the group that is waited for.
    pub begins: bool,
}

/// What the arguments of one command begin with.
#[derive(Clone, Copy)]
pub struct Prefixes<'b> {
    /// Nothing where some command was sent inline, whose arguments do not lie there.
    bytes: &'b [u8],
    spans: &'b [Span],
    command: &'b Command,
}

impl Prefixes<'_> {
    /// The first eight bytes of the argument at a place, with what stands behind it in the buffer, or zeros behind that; any
    /// number where the command has none there, `None` where that takes more than a look.
    #[inline]
    pub fn at(&self, place: usize) -> Option<u64> {
        let Command { start, first_span, .. } = *self.command;
        let start = start as usize + self.spans.get(first_span as usize + place)?.start as usize;
        match self.bytes.get(start..start + size_of::<u64>()).and_then(<[u8]>::first_chunk) {
            Some(first) => Some(u64::from_le_bytes(*first)),
            None => last_bytes(self.bytes, start),
        }
    }
}

/// Fewer than eight bytes, from here to the end of the buffer.
#[inline]
fn last_bytes(bytes: &[u8], start: usize) -> Option<u64> {
    let beyond = (start + size_of::<u64>()).checked_sub(bytes.len())?;
    u64::from_le_bytes(*bytes.last_chunk()?).checked_shr(u8::BITS * u32::try_from(beyond).ok()?)
}

/// What follows the last complete command.
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
    /// Values that were compressed before their commands are planned.
    packed: Vec<PackedValue>,
    /// Where in the buffer two bytes stand that are to become the end of a line.
    odd_line_ends: Vec<u32>,
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
        packed: Vec::new(),
        odd_line_ends: Vec::new(),
        singly: false,
    };

    /// Finds the whole requests in `bytes`, going on behind those already found.
    ///
    /// `bytes` begins with the first byte that has not been consumed.
    pub fn parse(&mut self, parser: &mut RequestParser, table: &Table, bytes: &[u8], whole_bytes_max: usize) -> Tail {
        assert!(bytes.len() <= BYTES_MAX, "an input buffer is no longer than that");
        let mut looked = LastLookup::default();
        let commands_max = if self.singly { 1 } else { COMMANDS_MAX };
        loop {
            // Most are whole, and need no more than this.
            if let Some(requests) = parser.whole_requests(whole_bytes_max) {
                while self.commands.len() < commands_max
                    && let Some(length) = requests.bound(&bytes[self.whole_bytes..], &mut self.spans)
                {
                    self.push((table, &mut looked), bytes, length, false);
                }
            }
            let rest = &bytes[self.whole_bytes..];
            if rest.is_empty() {
                return Tail::Clean;
            }
            if self.commands.len() >= commands_max {
                return Tail::More;
            }
            match parser.parse(rest, &mut self.spans, &mut self.arena, whole_bytes_max) {
                Parsed::Request { bytes: length, inline } => {
                    if !inline {
                        self.note_line_ends(&rest[..length]);
                    }
                    self.push((table, &mut looked), bytes, length, inline);
                }
                Parsed::Nothing { bytes } => {
                    if rest[0] == b'*' {
                        self.note_line_ends(&rest[..bytes]);
                    }
                    self.spans.truncate(self.whole_spans);
                    self.whole_bytes += bytes;
                }
                Parsed::Incomplete => return Tail::Partial,
                Parsed::Large => return Tail::Large,
                Parsed::Error(error) => return Tail::Error(error),
            }
        }
    }

    fn note_line_ends(&mut self, request: &[u8]) {
        let ends = odd_line_ends(request, &self.spans[self.whole_spans..]);
        self.odd_line_ends.extend(ends.map(|at| position(self.whole_bytes + at)));
    }

    /// Puts line ends into the buffer where the protocol has some and the client has sent other bytes, which Redis does not look at:
    /// a server that does would close the connection, which others may share.
    #[inline]
    pub fn fix_line_ends(&mut self, bytes: &mut [u8]) {
        if !self.odd_line_ends.is_empty() {
            for at in std::mem::take(&mut self.odd_line_ends) {
                bytes[at as usize..][..LINE_END.len()].copy_from_slice(LINE_END);
            }
        }
    }

    /// True when it is empty and has no state of its client: another client may use it.
    pub fn is_blank(&self) -> bool {
        self.commands.is_empty()
            && self.held.is_empty()
            && self.spans.is_empty()
            && self.whole_bytes == 0
            && self.packed.is_empty()
            && !self.singly
    }

    /// Bytes that it keeps for what is parsed next.
    pub fn capacity_bytes(&self) -> usize {
        self.commands.capacity() * size_of::<Command>() + self.spans.capacity() * size_of::<Span>() + self.arena.capacity()
    }

    /// Number of whole commands.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// True when there is no complete command.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// What the `index`-th command is.
    pub fn id(&self, index: usize) -> CommandId {
        self.commands[index].id
    }

    /// These commands.
    pub fn commands(&self, commands: Range<usize>) -> &[Command] {
        &self.commands[commands]
    }

    /// What these commands are.
    pub fn ids(&self, commands: Range<usize>) -> impl ExactSizeIterator<Item = CommandId> + DoubleEndedIterator + Clone {
        self.commands[commands].iter().map(|command| command.id)
    }

    /// What these commands are, those in a row that are the same together, with their number.
    pub fn rows(&self, commands: Range<usize>) -> impl DoubleEndedIterator<Item = (CommandId, usize)> + Clone {
        self.commands[commands].chunk_by(|one, next| one.id == next.id).map(|row| (row[0].id, row.len()))
    }

    /// The number of the `index`-th command among all of the client, from 0.
    pub fn number(&self, index: usize) -> u32 {
        self.commands[index].number
    }

    /// The value at a place of the command with this number, as it was compressed before.
    pub fn packed(&self, number: u32, place: usize) -> Option<&PackedValue> {
        self.packed.iter().find(|packed| packed.number == number && packed.place == place)
    }

    /// Values that were compressed; they are kept as long as their commands.
    pub fn keep_packed(&mut self, packed: Vec<PackedValue>) {
        self.packed.extend(packed);
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
        self.argument_of(&self.commands[index], bytes, place)
    }

    /// The same for a command of this batch.
    #[inline]
    pub fn argument_of<'a>(&'a self, command: &Command, bytes: &'a [u8], place: usize) -> &'a [u8] {
        if place >= command.spans as usize {
            return &[];
        }
        let Some(span) = self.spans.get(command.first_span as usize + place) else { return &[] };
        let (base, start) = if command.inline { (&self.arena[..], 0) } else { (bytes, command.start as usize) };
        base.get(start + span.start as usize..start + span.end as usize).unwrap_or_default()
    }

    /// The place of the first command from `at` on that does not pass, by what is `known` of what it is, and what its arguments
    /// begin with. A command of which nothing is known does not pass.
    #[inline]
    pub fn skim<K>(
        &self,
        bytes: &[u8],
        at: usize,
        known: impl Fn(CommandId) -> Option<K>,
        passes: impl Fn(&K, Prefixes<'_>) -> bool,
    ) -> usize {
        let bytes = if self.arena.is_empty() { bytes } else { &[] };
        // Most are what the one before them is.
        let mut last = None;
        let mut commands = self.commands.get(at..).unwrap_or_default().iter();
        let mut is_passed = |command: &Command| {
            if !matches!(&last, Some((id, _)) if *id == command.id) {
                last = known(command.id).map(|known| (command.id, known));
            }
            last.as_ref().is_some_and(|(_, known)| passes(known, Prefixes { bytes, spans: &self.spans, command }))
        };
        commands.position(|command| !is_passed(command)).map_or(self.len(), |passed| at + passed)
    }

    /// Everything is read again, from bytes in which further commands that wait have come to stand before the one at `place`.
    pub fn begin_again(&mut self, place: usize, others: impl Iterator<Item = Held>) {
        let first = self.commands.first().map_or(self.read, |command| command.number);
        let mut held = std::mem::take(&mut self.held);
        held.splice(place..place, others);
        *self = Batch { held, read: first, singly: self.singly, ..Batch::BLANK };
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
        if commands < self.commands.len() {
            return self.consume_around(commands, &[], &mut []);
        }
        self.held.drain(..commands.min(self.held.len()));
        self.consume_all()
    }

    /// Forgets the first `commands` commands but those named in `kept`, which come to stand right before the rest;
    /// returns how many bytes of the buffer go.
    ///
    /// `kept` are indexes in rising order; `bytes` is the buffer, in which the kept commands are moved.
    pub fn consume_around(&mut self, commands: usize, kept: &[(usize, Held)], bytes: &mut [u8]) -> usize {
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
        self.forget_packed();
        free
    }

    fn forget_packed(&mut self) {
        if !self.packed.is_empty() {
            let commands = &self.commands;
            self.packed.retain(|packed| commands.iter().any(|command| command.number == packed.number));
        }
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
        self.packed.clear();
        std::mem::take(&mut self.whole_bytes)
    }

    #[inline(always)]
    fn push(&mut self, (table, looked): (&Table, &mut LastLookup), bytes: &[u8], length: usize, inline: bool) {
        let start = self.whole_bytes;
        let spans = &self.spans[self.whole_spans..];
        let base = if inline { &self.arena[..] } else { &bytes[start..start + length] };
        let id = table.lookup_next(Args::new(base, spans), looked);
        // There are no more arguments than bytes, and those are fewer than `BYTES_MAX`.
        self.commands.push(Command {
            id,
            start: start as u32,
            end: (start + length) as u32,
            first_span: self.whole_spans as u32,
            spans: (self.spans.len() - self.whole_spans) as u32,
            number: self.read,
            inline,
        });
        self.read = self.read.wrapping_add(1);
        self.whole_spans = self.spans.len();
        self.whole_bytes += length;
    }
}

fn position(at: usize) -> u32 {
    u32::try_from(at).expect("an input buffer is no longer than BYTES_MAX")
}

#[cfg(test)]
mod tests;
