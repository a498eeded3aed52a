//! One client's bytes, cut into bursts: commands that it sends without a pause.

use std::time::Duration;

use super::seen::{Burst, Command, Seen};
use crate::command::{ConnectionEffect, Table, Transaction};
use respguard_resp::request::{Args, Limits, Parsed, RequestParser, Span};

/// A longer pause ends a burst: the gap for which the beginning of a group is held by default.
pub(super) const PAUSE: Duration = Duration::from_millis(2);
/// A longer request is not looked into.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Commands of one burst; what follows is another.
const BURST_COMMANDS_MAX: usize = 1024;

/// A client and its burst under way.
pub(super) struct Client {
    bytes: Vec<u8>,
    parser: RequestParser,
    spans: Vec<Span>,
    arena: Vec<u8>,
    /// The rest of a request that is too long is being passed over.
    passing: bool,
    /// What it sends cannot be told apart any more.
    lost: bool,
    in_transaction: bool,
    last_read: Duration,
    /// The request at hand begins with the first byte of a read.
    begins_read: bool,
    /// Commands since the last that did.
    without_seam: usize,
    burst: Burst,
    burst_bytes: usize,
}

impl Client {
    pub(super) fn new() -> Client {
        Client {
            bytes: Vec::new(),
            parser: RequestParser::new(Limits::default()),
            spans: Vec::new(),
            arena: Vec::new(),
            passing: false,
            lost: false,
            in_transaction: false,
            last_read: Duration::ZERO,
            begins_read: false,
            without_seam: 0,
            burst: Burst::default(),
            burst_bytes: 0,
        }
    }

    /// Bytes kept of a request that is not whole, and of the burst under way.
    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes.len() + self.burst_bytes
    }

    /// Takes what one read has brought.
    pub(super) fn read(&mut self, at: Duration, bytes: &[u8], table: &Table, seen: &mut Seen) {
        if self.lost {
            return;
        }
        if self.bytes.is_empty() && !self.passing {
            self.begins_read = true;
            // Commands that came in one piece were written at once; what follows them in a read of its own was not.
            if at.saturating_sub(self.last_read) > PAUSE || self.without_seam > 1 {
                self.end_burst(table, seen);
            }
        }
        self.last_read = at;
        self.bytes.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.bytes);
        let taken = self.requests(&input, table, seen);
        self.bytes = input;
        self.bytes.drain(..taken);
    }

    /// What has come is over; a new request begins with the next byte.
    pub(super) fn begin_anew(&mut self, table: &Table, seen: &mut Seen) {
        self.end_burst(table, seen);
        let in_transaction = self.in_transaction;
        *self = Client { in_transaction, last_read: self.last_read, ..Client::new() };
    }

    /// Nothing more of it is taken.
    pub(super) fn forget(&mut self, table: &Table, seen: &mut Seen) {
        self.end_burst(table, seen);
        *self = Client { lost: true, ..Client::new() };
    }

    pub(super) fn end_burst(&mut self, table: &Table, seen: &mut Seen) {
        self.without_seam = 0;
        self.keep_burst(table, seen);
    }

    fn keep_burst(&mut self, table: &Table, seen: &mut Seen) {
        self.burst_bytes = 0;
        seen.burst(std::mem::take(&mut self.burst), table);
    }

    /// Takes whole requests; how many bytes are done with.
    fn requests(&mut self, input: &[u8], table: &Table, seen: &mut Seen) -> usize {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            if self.passing {
                let Ok(passed) = self.parser.stream(rest) else { return self.lose(input, table, seen) };
                at += passed.bytes;
                self.passing = !passed.end;
                if self.passing {
                    return at;
                }
                continue;
            }
            match self.parser.parse(rest, &mut self.spans, &mut self.arena, REQUEST_BYTES_MAX) {
                Parsed::Request { bytes, inline } => {
                    self.request(&rest[..bytes], inline, table, seen);
                    at += bytes;
                }
                Parsed::Nothing { bytes } => at += bytes,
                Parsed::Incomplete => return at,
                Parsed::Large => {
                    at += self.parser.parsed_bytes();
                    self.passing = true;
                    seen.long += 1;
                    self.end_burst(table, seen);
                }
                Parsed::Error(_) => return self.lose(input, table, seen),
            }
            self.spans.clear();
            self.arena.clear();
        }
    }

    fn lose(&mut self, input: &[u8], table: &Table, seen: &mut Seen) -> usize {
        self.forget(table, seen);
        input.len()
    }

    fn request(&mut self, wire: &[u8], inline: bool, table: &Table, seen: &mut Seen) {
        let args = Args::new(if inline { &self.arena } else { wire }, &self.spans);
        let id = table.lookup(args);
        seen.command(id, args, table);
        let effect = table.spec(id).connection_effect(args);
        if let ConnectionEffect::Transaction(change) = effect {
            self.in_transaction = match change {
                Transaction::Multi => true,
                Transaction::Exec | Transaction::Discard => false,
                Transaction::Watch | Transaction::Unwatch => self.in_transaction,
            };
        }
        let begins_read = std::mem::take(&mut self.begins_read);
        self.without_seam = if begins_read { 1 } else { self.without_seam + 1 };
        let command = Command::new(id, args, begins_read, self.in_transaction);
        self.burst_bytes += command.kept_bytes();
        self.burst.commands.push(command);
        if self.burst.commands.len() == BURST_COMMANDS_MAX {
            self.keep_burst(table, seen);
        }
    }
}
