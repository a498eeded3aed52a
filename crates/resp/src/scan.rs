//! Finds the ends of reply frames, and resumes where the bytes ran out.

mod error;
mod plain;
mod skip;

use super::frame::{Decimal, plain_frame, plain_length};

pub use super::elements::{Elements, elements, split_pushes};
pub use error::ScanError;
pub use plain::{PlainFrames, plain_frames};

/// What an upstream may declare before its stream counts as broken.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimits {
    /// Aggregates within aggregates; 1 allows an array of scalars.
    pub depth_max: u32,
    /// The most elements (of maps and attributes: pairs) that one aggregate declares.
    pub elements_max: u32,
    /// The longest bulk or line in bytes.
    pub bulk_bytes_max: u64,
}

impl ScanLimits {
    /// For frames that are there as a whole, whose own length bounds all they can declare.
    pub(super) const WHOLE: Self = Self { depth_max: u32::MAX, elements_max: u32::MAX, bulk_bytes_max: u64::MAX };
}

impl Default for ScanLimits {
    /// A script's reply nests 7,995 deep until the server's Lua gives up, and two more within EXEC; what is deeper only a
    /// module makes.
    fn default() -> Self {
        Self { depth_max: 8192, elements_max: i32::MAX as u32, bulk_bytes_max: 512 * 1024 * 1024 }
    }
}

/// The outside of a frame in progress or just ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// The frame's first byte (behind attributes), 0 as long as it has not come.
    pub kind: u8,
    /// Elements declared by an aggregate; a map's keys and values count one each.
    pub elements: u32,
    /// Whether the frame is a null: `$-1`, `*-1` or `_`.
    pub null: bool,
    /// How many of the elements are errors (`-` or `!`).
    pub errors: u32,
    /// The index of the first of them.
    pub first_error: u32,
}

/// What [`ReplyScanner::scan`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// How many of the bytes given belong to the frame.
    pub bytes: usize,
    /// Whether it ended with them.
    pub end: bool,
}

/// Where the scanner stands.
///
/// ```text
/// Type -+-> Line ----------> LineFeed -+
///   ^   +-> Number -+-> NumberLineFeed -+-> Payload -> PayloadReturn -> PayloadFeed -+
///   +-------------------------(element or frame complete)----------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Type,
    Line,
    LineFeed,
    Number,
    NumberLineFeed,
    Payload,
    PayloadReturn,
    PayloadFeed,
    Failed(ScanError),
}

/// An aggregate that is open.
#[derive(Clone, Copy, Debug)]
struct Level {
    remaining: u32,
    /// False for attributes and for pushes amid a reply: they take no place among the elements around them.
    counted: bool,
}

/// A scanner of one upstream's replies: resumable at every byte, iterative, bounded; it stores no bytes.
///
/// Takes RESP2 and RESP3. Attributes belong to the frame they precede. A push amid an aggregate (Redis 7.0
/// sends a client its own messages within the reply of `EXEC`) takes no place among the elements and
/// belongs to the one it precedes. Streamed types are errors, Redis sends none. After an error the
/// scanner only repeats it.
#[derive(Debug)]
pub struct ReplyScanner {
    limits: ScanLimits,
    state: State,
    /// Whether a frame has begun and not ended.
    within: bool,
    kind: u8,
    decimal: Decimal,
    /// Bytes of the line so far.
    line_bytes: u64,
    payload_left: u64,
    levels: Vec<Level>,
    top: Top,
}

impl ReplyScanner {
    /// A scanner that stands between two frames.
    pub fn new(limits: ScanLimits) -> Self {
        Self {
            limits,
            state: State::Type,
            within: false,
            kind: 0,
            decimal: Decimal::default(),
            line_bytes: 0,
            payload_left: 0,
            levels: Vec::new(),
            top: Top::default(),
        }
    }

    /// Takes bytes of the current frame, or of a new one after the last has ended.
    ///
    /// Says how many belong to it: all of them as long as it has not ended.
    ///
    /// # Errors
    /// The bytes are no reply of Redis' protocol, or nested too deeply.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scanned, ScanError> {
        if !self.within && !bytes.is_empty() {
            self.within = true;
            self.top = Top::default();
        }
        let mut at = 0;
        while at < bytes.len() {
            match self.step(&bytes[at..]) {
                Ok(used) => at += used,
                Err(error) => {
                    self.state = State::Failed(error);
                    return Err(error);
                }
            }
            at += self.plain_elements(&bytes[at..]);
            if !self.within {
                return Ok(Scanned { bytes: at, end: true });
            }
        }
        Ok(Scanned { bytes: at, end: false })
    }

    /// The frame in progress, or the one just ended.
    pub fn top(&self) -> Top {
        self.top
    }

    /// Whether the next byte begins a frame.
    pub fn is_between_frames(&self) -> bool {
        !self.within
    }

    /// Takes at least one of at least one byte.
    #[inline]
    fn step(&mut self, bytes: &[u8]) -> Result<usize, ScanError> {
        match self.state {
            State::Type => self.element(bytes),
            State::Line => self.line(bytes),
            State::Number => self.number(bytes),
            State::Payload => Ok(self.payload(bytes)),
            State::LineFeed | State::NumberLineFeed if bytes[0] != b'\n' => Err(ScanError::StrayLineBreak(self.kind)),
            State::LineFeed => self.line_ended().map(|()| 1),
            State::NumberLineFeed => self.number_ended().map(|()| 1),
            State::PayloadReturn if bytes[0] == b'\r' => {
                self.state = State::PayloadFeed;
                Ok(1)
            }
            State::PayloadFeed if bytes[0] == b'\n' => {
                self.complete();
                Ok(1)
            }
            State::PayloadReturn | State::PayloadFeed => Err(ScanError::UnterminatedPayload),
            State::Failed(error) => Err(error),
        }
    }

    /// Takes the next elements of the innermost aggregate but for its last, as far as they are whole and need no look inside.
    #[inline]
    fn plain_elements(&mut self, bytes: &[u8]) -> usize {
        let (State::Type, Some(level)) = (self.state, self.levels.last_mut()) else { return 0 };
        let mut at = 0;
        while level.remaining > 1
            && let Some(length) = plain_frame(&bytes[at..], self.limits.bulk_bytes_max)
        {
            at += length;
            level.remaining -= 1;
        }
        at
    }

    /// The first byte of a frame or element, and the rest of its head if all of that is there.
    #[inline]
    fn element(&mut self, bytes: &[u8]) -> Result<usize, ScanError> {
        self.kind = bytes[0];
        self.note_kind();
        match self.kind {
            b'$' | b'*' | b':' | b'%' | b'~' | b'>' | b'|' | b'=' | b'!' => match plain_length(&bytes[1..]) {
                Some((value, used)) if bytes[used] == b'\n' => {
                    self.number_known(i64::from(value), &bytes[1 + used..]).map(|more| 1 + used + more)
                }
                Some(_) => Err(ScanError::StrayLineBreak(self.kind)),
                None => {
                    self.decimal = Decimal::default();
                    self.line_bytes = 0;
                    self.state = State::Number;
                    Ok(1)
                }
            },
            b'+' if bytes.starts_with(b"+OK\r\n") => {
                self.complete();
                Ok(5)
            }
            b'+' if bytes.starts_with(b"+QUEUED\r\n") => {
                self.complete();
                Ok(9)
            }
            b'+' | b'-' | b',' | b'#' | b'_' | b'(' => {
                self.line_bytes = 0;
                self.state = State::Line;
                Ok(1)
            }
            unknown => Err(ScanError::UnknownType(unknown)),
        }
    }

    /// Enters the element's type into what is known about the frame.
    #[inline]
    fn note_kind(&mut self) {
        match (self.levels.len(), self.kind) {
            (0, b'|') => {}
            (0, kind) => {
                self.top.kind = kind;
                self.top.null = kind == b'_';
            }
            (1, b'-' | b'!') if self.levels[0].counted => {
                if self.top.errors == 0 {
                    self.top.first_error = self.top.elements - self.levels[0].remaining;
                }
                self.top.errors += 1;
            }
            _ => {}
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Result<usize, ScanError> {
        let end = memchr::memchr2(b'\r', b'\n', bytes);
        let text = &bytes[..end.unwrap_or(bytes.len())];
        let before = self.line_bytes;
        self.line_bytes += text.len() as u64;
        if self.line_bytes > self.limits.bulk_bytes_max {
            return Err(ScanError::TooLong(self.kind));
        }
        let fits = match self.kind {
            b'_' => self.line_bytes == 0,
            b'#' => text.is_empty() || (before == 0 && matches!(text, b"t" | b"f")),
            _ => true,
        };
        if !fits {
            return Err(ScanError::InvalidValue(self.kind));
        }
        let Some(end) = end else {
            return Ok(bytes.len());
        };
        match &bytes[end..] {
            [b'\n', ..] => return Err(ScanError::StrayLineBreak(self.kind)),
            [_, b'\n', ..] => {
                self.line_ended()?;
                return Ok(end + 2);
            }
            _ => self.state = State::LineFeed,
        }
        Ok(end + 1)
    }

    #[inline]
    fn line_ended(&mut self) -> Result<(), ScanError> {
        // A big number may be empty: a script's is whatever text the script gives.
        if self.line_bytes == 0 && matches!(self.kind, b'#' | b',') {
            return Err(ScanError::InvalidValue(self.kind));
        }
        self.complete();
        Ok(())
    }

    /// A number whose line is not all there, or not plain.
    #[cold]
    fn number(&mut self, bytes: &[u8]) -> Result<usize, ScanError> {
        for (index, &byte) in bytes.iter().enumerate() {
            match byte {
                b'\r' => {
                    self.state = State::NumberLineFeed;
                    return Ok(index + 1);
                }
                b'\n' => return Err(ScanError::StrayLineBreak(self.kind)),
                b'+' if self.kind == b':' && self.line_bytes == 0 => {}
                digit => self.decimal.push(digit),
            }
            if self.decimal.is_malformed() {
                return Err(self.not_a_number());
            }
            self.line_bytes = 1;
        }
        Ok(bytes.len())
    }

    #[cold]
    fn number_ended(&mut self) -> Result<(), ScanError> {
        match (self.decimal.value(), self.kind) {
            (Some(-1), b'$' | b'*') => {
                self.top.null |= self.levels.is_empty();
                self.complete();
                Ok(())
            }
            (Some(value), _) => self.number_known(value, &[]).map(|_| ()),
            (None, _) => Err(self.not_a_number()),
        }
    }

    fn not_a_number(&self) -> ScanError {
        match self.kind {
            b':' => ScanError::InvalidValue(b':'),
            kind => ScanError::InvalidLength(kind),
        }
    }

    /// Acts on the number of a head; returns how many of the bytes that `follow` it could be taken at once.
    #[inline]
    fn number_known(&mut self, value: i64, follow: &[u8]) -> Result<usize, ScanError> {
        if self.kind == b':' {
            self.complete();
            return Ok(0);
        }
        let value = u64::try_from(value).map_err(|_| ScanError::InvalidLength(self.kind))?;
        match self.kind {
            b'$' | b'!' | b'=' => self.open_payload(value, follow),
            kind => self.open_aggregate(kind, value).map(|()| 0),
        }
    }

    #[inline]
    fn open_payload(&mut self, length: u64, follow: &[u8]) -> Result<usize, ScanError> {
        if length > self.limits.bulk_bytes_max {
            return Err(ScanError::TooLong(self.kind));
        }
        if let Ok(length) = usize::try_from(length)
            && let Some([b'\r', b'\n']) = follow.get(length..).and_then(|rest| rest.first_chunk())
        {
            self.complete();
            return Ok(length + 2);
        }
        self.payload_left = length;
        self.state = if length == 0 { State::PayloadReturn } else { State::Payload };
        Ok(0)
    }

    #[inline]
    fn payload(&mut self, bytes: &[u8]) -> usize {
        let used = self.payload_left.min(bytes.len() as u64);
        self.payload_left -= used;
        if self.payload_left == 0 {
            self.state = State::PayloadReturn;
        }
        used as usize
    }

    #[inline]
    fn open_aggregate(&mut self, kind: u8, declared: u64) -> Result<(), ScanError> {
        if declared > u64::from(self.limits.elements_max) {
            return Err(ScanError::TooLong(kind));
        }
        let values = if matches!(kind, b'%' | b'|') { declared * 2 } else { declared };
        let remaining = u32::try_from(values).map_err(|_| ScanError::TooLong(kind))?;
        let counted = kind != b'|' && (kind != b'>' || self.levels.is_empty());
        if counted && self.levels.is_empty() {
            self.top.elements = remaining;
        }
        match (remaining, counted) {
            (0, true) => self.complete(),
            (0, false) => self.state = State::Type,
            _ if self.levels.len() >= self.limits.depth_max as usize => {
                return Err(ScanError::TooDeep);
            }
            _ => {
                self.levels.push(Level { remaining, counted });
                self.state = State::Type;
            }
        }
        Ok(())
    }

    /// One element, or the frame, is complete, and with it perhaps the aggregates around it.
    #[inline]
    fn complete(&mut self) {
        self.state = State::Type;
        while let Some(level) = self.levels.last_mut() {
            level.remaining -= 1;
            if level.remaining > 0 {
                return;
            }
            let counted = level.counted;
            self.levels.pop();
            if !counted {
                return;
            }
        }
        self.within = false;
    }
}

#[cfg(test)]
mod tests;
