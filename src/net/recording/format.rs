//! The format of a recording, as docs/recording.md describes it: written by the proxy, read by `explain`.

use std::io::Write;
use std::time::Duration;

use strum::{EnumString, IntoStaticStr};

/// The first line: the name, and the version of the format.
pub const FIRST_LINE: &str = "respguard-recording 1";

/// A line without payload is shorter.
const LINE_BYTES_MAX: usize = 200;

/// Something that happened while clients were recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Since the recording began.
    pub at: Duration,
    /// The client's id, as CLIENT ID answers it.
    pub client: u64,
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The client sends something for the first time; `before` says that it was connected before the recording began.
    Client { before: bool },
    /// Bytes that one read has brought.
    Read(Vec<u8>),
    /// So many bytes of the client are missing here.
    Lost(u64),
    /// The client has gone.
    Left,
}

impl Event {
    /// Bytes that were read from the client.
    pub fn bytes(&self) -> usize {
        match self {
            Event::Read(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// The time that was asked for is over.
    Time,
    /// The recording holds as much as one can hold.
    Size,
    /// The proxy ends.
    Shutdown,
}

impl Reason {
    /// The reason's one word.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub at: Duration,
    pub reason: Reason,
    /// Bytes read from clients that are not in the recording.
    pub lost: u64,
}

/// Appends an entry.
pub fn write(entry: &Entry, out: &mut Vec<u8>) {
    let Entry { at, client, event } = entry;
    let at = at.as_micros();
    match event {
        Event::Client { before } => line(out, format_args!("client {at} {client} {}", if *before { "before" } else { "new" })),
        Event::Read(bytes) => {
            line(out, format_args!("read {at} {client} {}", bytes.len()));
            out.extend_from_slice(bytes);
            out.push(b'\n');
        }
        Event::Lost(bytes) => line(out, format_args!("lost {at} {client} {bytes}")),
        Event::Left => line(out, format_args!("left {at} {client}")),
    }
}

/// Appends a sign of life.
pub fn write_tick(at: Duration, out: &mut Vec<u8>) {
    line(out, format_args!("tick {}", at.as_micros()));
}

/// Appends the last line.
pub fn write_end(end: &End, out: &mut Vec<u8>) {
    line(out, format_args!("end {} {} lost {}", end.at.as_micros(), end.reason.as_str(), end.lost));
}

/// Bytes that an entry takes at most.
pub fn bytes_max(entry: &Entry) -> usize {
    LINE_BYTES_MAX + entry.event.bytes()
}

fn line(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = writeln!(out, "{text}");
}

/// A recording that has been read; without its end it is cut off.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recording {
    pub entries: Vec<Entry>,
    pub end: Option<End>,
}

/// What is wrong with the entry that begins at this byte.
#[derive(Debug, PartialEq, Eq)]
pub struct FormatError {
    pub offset: usize,
    pub message: &'static str,
}

/// Whether the text is a recording, of whatever version.
pub fn is_recording(bytes: &[u8]) -> bool {
    bytes.starts_with(b"respguard-recording ")
}

/// Reads a recording. An entry that is cut off at the end is left out.
pub fn read(bytes: &[u8]) -> Result<Recording, FormatError> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.line() != Some(FIRST_LINE) {
        return Err(FormatError { offset: 0, message: "the recording is of another version" });
    }
    let mut recording = Recording::default();
    loop {
        let offset = reader.at;
        let Some(line) = reader.line() else {
            let message = "the line does not end";
            return if bytes.len() - offset < LINE_BYTES_MAX { Ok(recording) } else { Err(FormatError { offset, message }) };
        };
        match reader.entry(line) {
            Some(Line::Entry(entry)) => recording.entries.push(entry),
            Some(Line::Tick) => {}
            Some(Line::End(end)) => recording.end = Some(end),
            Some(Line::Cut) => return Ok(recording),
            None => return Err(FormatError { offset, message: "this is no entry of a recording" }),
        }
    }
}

enum Line {
    Entry(Entry),
    Tick,
    End(End),
    Cut,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> Option<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = memchr::memchr(b'\n', &rest[..rest.len().min(LINE_BYTES_MAX)])?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).ok()
    }

    fn entry(&mut self, line: &str) -> Option<Line> {
        let words: Vec<&str> = line.split(' ').collect();
        let at = Duration::from_micros(words.get(1)?.parse().ok()?);
        if words[0] == "tick" {
            return (words.len() == 2).then_some(Line::Tick);
        }
        let event = match (words[0], words.get(3..)?.first().copied()) {
            ("end", Some("lost")) => {
                let reason = words[2].parse().ok()?;
                return Some(Line::End(End { at, reason, lost: words.get(4)?.parse().ok()? }));
            }
            ("client", Some("before")) => Event::Client { before: true },
            ("client", Some("new")) => Event::Client { before: false },
            ("read", Some(length)) => match self.payload(length.parse().ok()?) {
                Some(payload) => Event::Read(payload?.to_vec()),
                None => return Some(Line::Cut),
            },
            ("lost", Some(bytes)) => Event::Lost(bytes.parse().ok()?),
            ("left", None) => Event::Left,
            _ => return None,
        };
        Some(Line::Entry(Entry { at, client: words.get(2)?.parse().ok()?, event }))
    }

    /// The bytes behind a line and their line end; `Some(None)` when that is missing, `None` when the input ends before.
    fn payload(&mut self, length: usize) -> Option<Option<&'a [u8]>> {
        let end = self.at.checked_add(length)?;
        let payload = self.bytes.get(self.at..end)?;
        let line_end = self.bytes.get(end)?;
        self.at = end + 1;
        Some((*line_end == b'\n').then_some(payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |micros, client, event| Entry { at: Duration::from_micros(micros), client, event };
        vec![
            entry(0, 1, Event::Client { before: true }),
            entry(15, 1, Event::Read(b"PING\r\n\nread 1 1 1\n".to_vec())),
            entry(20, 2, Event::Client { before: false }),
            entry(20, 2, Event::Lost(77)),
            entry(25, 2, Event::Read(Vec::new())),
            entry(u64::MAX, u64::MAX, Event::Left),
        ]
    }

    fn written() -> Vec<u8> {
        let mut out = format!("{FIRST_LINE}\n").into_bytes();
        entries().iter().for_each(|entry| write(entry, &mut out));
        write_tick(Duration::from_secs(1), &mut out);
        out
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut text = written();
        let end = End { at: Duration::from_secs(2), reason: Reason::Time, lost: 77 };
        write_end(&end, &mut text);
        assert_eq!(read(&text), Ok(Recording { entries: entries(), end: Some(end) }));
    }

    #[test]
    fn a_recording_that_is_cut_off_anywhere_has_the_entries_before_the_cut() {
        let text = written();
        let first = FIRST_LINE.len() + 1;
        let mut most = 0;
        for cut in first..text.len() {
            let recording = read(&text[..cut]).expect("cut off, not wrong");
            assert!(recording.entries.len() >= most && recording.end.is_none());
            most = recording.entries.len();
            assert_eq!(recording.entries, entries()[..most]);
        }
    }

    #[test]
    fn what_is_no_entry_is_refused_at_its_place() {
        for line in ["read x 1 1", "read 1 1", "read 1 1 -1", "jump 1 1 1", "", "client 1 1 late", "end 1 boredom lost 0"] {
            let mut text = written();
            let offset = text.len();
            text.extend_from_slice(format!("{line}\nleft 1 1\n").as_bytes());
            assert_eq!(read(&text).map_err(|error| error.offset), Err(offset), "{line}");
        }
        assert!(read(b"respguard-recording 2\n").is_err());
        assert!(read(format!("{FIRST_LINE}\nread 1 1 1\nabc\n").as_bytes()).is_err(), "the line end behind the payload");
    }
}
