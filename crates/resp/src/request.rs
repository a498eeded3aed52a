//! Finds the ends of client requests as Redis does, and resumes where the bytes ran out.

mod error;
mod line_ends;
mod whole;

use super::inline;
use super::line::{Line, LineEnd};

pub use super::args::{Args, Span};
pub use error::ProtocolError;
pub use line_ends::odd_line_ends;
pub use whole::WholeRequests;

/// What a client may declare before it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest argument in bytes: Redis' `proto-max-bulk-len`.
    pub bulk_bytes_max: u64,
    /// The most arguments of one request.
    pub arguments_max: u32,
    /// The longest inline request, and the longest line of a length, in bytes.
    pub inline_bytes_max: usize,
    /// Whether the client still owes a password: Redis then takes ten arguments of 16 KiB and no more.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bulk_bytes_max: 512 * 1024 * 1024,
            arguments_max: i32::MAX as u32,
            inline_bytes_max: 64 * 1024,
            unauthenticated: false,
        }
    }
}

/// Arguments that Redis takes in one request of a client without its password.
const UNAUTHENTICATED_ARGUMENTS_MAX: u64 = 10;
/// Bytes that Redis takes in one argument of a client without its password.
const UNAUTHENTICATED_BULK_BYTES_MAX: u64 = 16 * 1024;
/// The shortest argument on the wire: `$0`, an empty payload and two line ends.
const ARGUMENT_BYTES_MIN: u64 = 6;
/// What follows a payload. Redis skips these two bytes unseen, and so does this parser.
const PAYLOAD_END_BYTES: u64 = 2;
/// What each line and each payload should end with.
pub const LINE_END: &[u8; 2] = b"\r\n";

/// What [`RequestParser::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// One whole request of so many bytes.
    Request {
        /// Its length on the wire.
        bytes: usize,
        /// Whether it came inline, its arguments in the arena.
        inline: bool,
    },
    /// A blank line, `*0` or `*-1`: no command, hence no reply.
    Nothing {
        /// Its length on the wire.
        bytes: usize,
    },
    /// The request goes on behind the input.
    Incomplete,
    /// The request is longer than the caller wants to hold whole.
    Large,
    /// Redis would answer so and close the connection.
    Error(ProtocolError),
}

/// What [`RequestParser::stream`] took of the request that is cut through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// How many of the bytes given belong to the request.
    pub bytes: usize,
    /// Whether it ended with them.
    pub end: bool,
}

/// Where the parser stands in the request at hand.
#[derive(Clone, Copy, Debug)]
enum State {
    Start,
    Inline,
    Count,
    Length,
    Payload,
    Failed(ProtocolError),
}

/// A resumable parser of one client's requests: payloads are never looked at, and no other byte more than twice.
///
/// An inline request is bounded by its own limit and never [`Parsed::Large`]. After an error the parser
/// only repeats it: Redis closes the connection. Redis accepts an inline request above its limit if the
/// line end happens to arrive in the same read; here the limit holds however the bytes arrive.
#[derive(Debug)]
pub struct RequestParser {
    limits: Limits,
    state: State,
    streaming: bool,
    line: Line,
    arguments_left: u32,
    /// What is left of the payload at hand, the two bytes behind it included.
    payload_left: u64,
    /// Bytes of the request already looked at (or, payloads, passed).
    position: usize,
    /// The least that the whole request measures, after all it has declared.
    known_bytes: u64,
}

impl RequestParser {
    /// A parser that stands between two requests.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Start,
            streaming: false,
            line: Line::default(),
            arguments_left: 0,
            payload_left: 0,
            position: 0,
            known_bytes: 0,
        }
    }

    /// Finds the end of the request that `input` starts with.
    ///
    /// After `Incomplete` the caller comes back with the same bytes and more behind them, and with the same
    /// `spans`, to which arguments are appended as they are found. An inline request puts its decoded
    /// arguments into `arena`, and its spans are relative to the arena's start.
    ///
    /// As soon as declared lengths make the request longer than `whole_bytes_max` (or than a [`Span`] can
    /// point into) the answer is `Large`, until the limit given is larger or [`Self::stream`] takes over.
    pub fn parse(&mut self, input: &[u8], spans: &mut Vec<Span>, arena: &mut Vec<u8>, whole_bytes_max: usize) -> Parsed {
        match self.whole_requests(whole_bytes_max).and_then(|requests| requests.bound(input, spans)) {
            Some(bytes) => Parsed::Request { bytes, inline: false },
            None => self.parse_on(input, spans, arena, whole_bytes_max),
        }
    }

    /// Goes on byte by byte where a request has begun, and begins so where something about it is odd.
    fn parse_on(&mut self, input: &[u8], spans: &mut Vec<Span>, arena: &mut Vec<u8>, whole_bytes_max: usize) -> Parsed {
        if self.streaming {
            return Parsed::Large;
        }
        let parsed = match self.state {
            State::Start => match input.first() {
                None => return Parsed::Incomplete,
                Some(b'*') => self.multibulk(input, spans, whole_bytes_max),
                Some(_) => self.inline(input, spans, arena),
            },
            State::Inline => self.inline(input, spans, arena),
            State::Count | State::Length | State::Payload => self.multibulk(input, spans, whole_bytes_max),
            State::Failed(error) => Err(error),
        };
        parsed.unwrap_or_else(|error| {
            self.state = State::Failed(error);
            Parsed::Error(error)
        })
    }

    /// Passes bytes of a request reported as `Large`: those that follow the [`Self::parsed_bytes`] first
    /// ones, then all that comes, until the end. Nothing is stored; limits hold as before.
    ///
    /// # Errors
    /// The bytes are no request of Redis' protocol, or exceed a limit.
    pub fn stream(&mut self, bytes: &[u8]) -> Result<Streamed, ProtocolError> {
        debug_assert!(
            matches!(self.state, State::Length | State::Payload | State::Failed(_)),
            "only a request reported as large is streamed"
        );
        self.streaming = true;
        let mut at = 0;
        loop {
            match self.state {
                State::Length => match self.length(&bytes[at..]).inspect_err(|&error| self.state = State::Failed(error))? {
                    Step::Pending => {
                        return Ok(Streamed { bytes: bytes.len(), end: false });
                    }
                    Step::Done(used) => at += used,
                },
                State::Payload => {
                    let left = (bytes.len() - at) as u64;
                    if left < self.payload_left {
                        self.payload_left -= left;
                        return Ok(Streamed { bytes: bytes.len(), end: false });
                    }
                    at += self.payload_left as usize;
                    self.next_argument();
                }
                State::Failed(error) => return Err(error),
                State::Start | State::Inline | State::Count => {
                    self.reset();
                    return Ok(Streamed { bytes: at, end: true });
                }
            }
        }
    }

    /// What comes of the current unfinished request is passed by [`Self::stream`] from now on.
    pub fn begin_stream(&mut self) {
        self.streaming = true;
    }

    /// Bytes of the current unfinished request already passed: what a caller forwards before it streams.
    pub fn parsed_bytes(&self) -> usize {
        self.position
    }

    /// Bytes that the current unfinished request has at least, by the lengths that have come.
    pub fn known_bytes(&self) -> u64 {
        self.known_bytes
    }

    /// How many bytes the argument measures that has begun.
    pub fn declared_bytes(&self) -> Option<u64> {
        matches!(self.state, State::Payload).then(|| self.payload_left.saturating_sub(PAYLOAD_END_BYTES))
    }

    /// Bytes of the argument at hand that are still to come of a request that is passed on as it comes, without the line end behind them:
    /// nothing need be known of them.
    pub fn payload_left(&self) -> u64 {
        if self.streaming { self.declared_bytes().unwrap_or(0) } else { 0 }
    }

    /// So many of these have been passed on.
    pub fn skip_payload(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.payload_left(), "no more than is left");
        self.payload_left = self.payload_left.saturating_sub(bytes);
    }

    /// Whether the next byte begins a request.
    pub fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Start)
    }

    fn multibulk(&mut self, input: &[u8], spans: &mut Vec<Span>, whole_bytes_max: usize) -> Result<Parsed, ProtocolError> {
        // A span's ends are u32.
        let whole_bytes_max = (whole_bytes_max as u64).min(u64::from(u32::MAX));
        loop {
            if self.known_bytes > whole_bytes_max {
                return Ok(Parsed::Large);
            }
            match self.state {
                State::Payload => {
                    let end = self.position + self.payload_left as usize;
                    if input.len() < end {
                        return Ok(Parsed::Incomplete);
                    }
                    let payload_end = end - PAYLOAD_END_BYTES as usize;
                    spans.push(Span { start: self.position as u32, end: payload_end as u32 });
                    self.position = end;
                    self.next_argument();
                    if self.arguments_left == 0 {
                        self.reset();
                        return Ok(Parsed::Request { bytes: end, inline: false });
                    }
                }
                State::Length => match self.length(&input[self.position..])? {
                    Step::Pending => {
                        self.position = input.len();
                        return Ok(Parsed::Incomplete);
                    }
                    Step::Done(used) => {
                        self.position += used;
                        let others = u64::from(self.arguments_left - 1) * ARGUMENT_BYTES_MIN;
                        self.known_bytes = self.position as u64 + self.payload_left + others;
                    }
                },
                _ => match self.count(&input[self.position..])? {
                    Step::Pending => {
                        self.state = State::Count;
                        self.position = input.len();
                        return Ok(Parsed::Incomplete);
                    }
                    Step::Done(used) if self.arguments_left == 0 => {
                        let bytes = self.position + used;
                        self.reset();
                        return Ok(Parsed::Nothing { bytes });
                    }
                    Step::Done(used) => {
                        self.position += used;
                        self.known_bytes = self.position as u64 + u64::from(self.arguments_left) * ARGUMENT_BYTES_MIN;
                        self.state = State::Length;
                    }
                },
            }
        }
    }

    /// The line `*arguments`. A number below one leaves no arguments.
    #[inline]
    fn count(&mut self, bytes: &[u8]) -> Result<Step, ProtocolError> {
        let (value, used) = match self.line.quick(bytes, b'*') {
            Some((value, used)) => (Some(i64::from(value)), used),
            None => match self.line.take(bytes, self.limits.inline_bytes_max) {
                LineEnd::Pending => return Ok(Step::Pending),
                LineEnd::TooLong => return Err(ProtocolError::TooBigMultibulkCount),
                LineEnd::Done { value, used, .. } => (value, used),
            },
        };
        let count = value.ok_or(ProtocolError::InvalidMultibulkLength)?.max(0) as u64;
        if count > u64::from(self.limits.arguments_max) {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if self.limits.unauthenticated && count > UNAUTHENTICATED_ARGUMENTS_MAX {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        self.arguments_left = count as u32;
        Ok(Step::Done(used))
    }

    /// The line `$length` of the next argument.
    #[inline]
    fn length(&mut self, bytes: &[u8]) -> Result<Step, ProtocolError> {
        let (value, used) = match self.line.quick(bytes, b'$') {
            Some((value, used)) => (Some(i64::from(value)), used),
            None => match self.line.take(bytes, self.limits.inline_bytes_max) {
                LineEnd::Pending => return Ok(Step::Pending),
                LineEnd::TooLong => return Err(ProtocolError::TooBigBulkCount),
                LineEnd::Done { kind: b'$', value, used } => (value, used),
                LineEnd::Done { kind, .. } => return Err(ProtocolError::ExpectedDollar(kind)),
            },
        };
        let length = value.and_then(|value| u64::try_from(value).ok());
        let length = length.filter(|&length| length <= self.limits.bulk_bytes_max).ok_or(ProtocolError::InvalidBulkLength)?;
        if self.limits.unauthenticated && length > UNAUTHENTICATED_BULK_BYTES_MAX {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        self.payload_left = length.saturating_add(PAYLOAD_END_BYTES);
        self.state = State::Payload;
        Ok(Step::Done(used))
    }

    #[inline]
    fn next_argument(&mut self) {
        self.arguments_left -= 1;
        self.state = if self.arguments_left == 0 { State::Start } else { State::Length };
    }

    fn inline(&mut self, input: &[u8], spans: &mut Vec<Span>, arena: &mut Vec<u8>) -> Result<Parsed, ProtocolError> {
        self.state = State::Inline;
        let found = self.line.find_inline_end(&input[self.position..]).map(|offset| self.position + offset);
        let length = found.unwrap_or(input.len());
        if length > self.limits.inline_bytes_max {
            return Err(ProtocolError::TooBigInlineRequest);
        }
        if found.is_none() {
            self.position = length;
            return Ok(Parsed::Incomplete);
        }
        let spans_before = spans.len();
        let line = &input[..length];
        inline::split(line.strip_suffix(b"\r").unwrap_or(line), spans, arena).ok_or(ProtocolError::UnbalancedQuotes)?;
        self.reset();
        let bytes = length + 1;
        match spans.len() == spans_before {
            true => Ok(Parsed::Nothing { bytes }),
            false => Ok(Parsed::Request { bytes, inline: true }),
        }
    }

    #[inline]
    fn reset(&mut self) {
        self.state = State::Start;
        self.streaming = false;
        self.position = 0;
        self.known_bytes = 0;
        self.line = Line::default();
    }
}

/// Whether a head is finished, and after how many bytes.
enum Step {
    Pending,
    Done(usize),
}

#[cfg(test)]
mod tests;
