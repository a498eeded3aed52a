//! Recordings of what clients send: a bounded queue from the workers to the writer, which no worker waits for.

pub mod format;
pub mod learn;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;

use format::{Entry, Event};
use respguard_engine::command::redact::Redactor;

/// Entries on their way to the writer.
const ENTRIES_QUEUED_MAX: usize = 4096;
/// Bytes on their way to the writer.
const BYTES_QUEUED_MAX: usize = 8 * 1024 * 1024;

/// The workers' end of one recording. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    started: Instant,
    entries: mpsc::Sender<Entry>,
    counters: Arc<Counters>,
}

/// The writer's end of one recording.
#[derive(Debug)]
pub struct Intake {
    entries: mpsc::Receiver<Entry>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    bytes_queued: AtomicUsize,
    bytes_lost: AtomicU64,
}

/// A recording that begins now.
pub fn begin() -> (Feed, Intake) {
    let (sender, receiver) = mpsc::channel(ENTRIES_QUEUED_MAX);
    let counters = Arc::<Counters>::default();
    (Feed { started: Instant::now(), entries: sender, counters: Arc::clone(&counters) }, Intake { entries: receiver, counters })
}

impl Feed {
    /// Whether nobody takes entries any more.
    fn is_over(&self) -> bool {
        self.entries.is_closed()
    }

    /// Whether both are ends of the same recording.
    fn is_same(&self, other: &Feed) -> bool {
        self.entries.same_channel(&other.entries)
    }

    /// False when there is no room: the event is lost.
    fn send(&self, client: u64, event: Event) -> bool {
        let bytes = event.bytes();
        let queued = self.counters.bytes_queued.fetch_add(bytes, Ordering::Relaxed);
        let sent = queued + bytes <= BYTES_QUEUED_MAX
            && self.entries.try_send(Entry { at: self.started.elapsed(), client, event }).is_ok();
        if !sent {
            self.counters.bytes_queued.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }
}

impl Intake {
    /// The next entry; `None` when no worker feeds the recording any more.
    pub async fn next(&mut self) -> Option<Entry> {
        let entry = self.entries.recv().await?;
        self.counters.bytes_queued.fetch_sub(entry.event.bytes(), Ordering::Relaxed);
        Some(entry)
    }

    /// Takes nothing new; what is under way can still be had.
    pub fn close(&mut self) {
        self.entries.close();
    }

    /// Bytes that were read from clients and are not in the recording.
    pub fn bytes_lost(&self) -> u64 {
        self.counters.bytes_lost.load(Ordering::Relaxed)
    }
}

/// Whether a worker records, and where to.
#[derive(Debug, Default)]
pub struct Tap {
    on: Cell<bool>,
    feed: RefCell<Option<Feed>>,
}

impl Tap {
    /// What every read asks.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.get()
    }

    /// Records from now on; a recording before this one is over.
    pub fn open(&self, feed: Feed) {
        self.feed.replace(Some(feed));
        self.on.set(true);
    }

    /// The recording, unless it is over.
    fn feed(&self) -> Option<Feed> {
        let feed = self.feed.borrow().clone().filter(|feed| !feed.is_over());
        if feed.is_none() {
            self.on.set(false);
            self.feed.take();
        }
        feed
    }
}

/// One client's part in a recording.
#[derive(Debug)]
pub struct Track {
    feed: Feed,
    /// `None` until a request begins with the first byte of a read: only from there on can a password be recognised.
    redactor: Option<Redactor>,
    /// Bytes lost that the recording does not tell yet.
    lost: u64,
}

/// What a read means for the recording.
#[derive(Debug, Clone, Copy)]
pub struct Read<'a> {
    pub client: u64,
    pub connected_at: Instant,
    pub bytes: &'a [u8],
    /// A request begins with the first byte.
    pub begins_request: bool,
}

impl Track {
    /// Records a read; `track` is the client's own, made at its first read in a recording.
    pub fn note(track: &mut Option<Box<Track>>, tap: &Tap, read: Read<'_>) {
        let Some(feed) = tap.feed() else {
            *track = None;
            return;
        };
        let known = track.take().filter(|track| track.feed.is_same(&feed));
        let mut current = known.unwrap_or_else(|| {
            let before = read.connected_at < feed.started;
            // Without room for this the client's reads say too that it is there.
            let _ = feed.send(read.client, Event::Client { before });
            Box::new(Track { feed, redactor: None, lost: 0 })
        });
        current.read(read);
        *track = Some(current);
    }

    fn read(&mut self, read: Read<'_>) {
        if self.redactor.is_none() && read.begins_request && self.report_lost(read.client) {
            self.redactor = Some(Redactor::default());
        }
        let Some(redactor) = &mut self.redactor else { return self.lose(read.bytes.len()) };
        let mut shown = Vec::with_capacity(read.bytes.len());
        let passed = redactor.pass(read.bytes, &mut shown).is_ok();
        let told = shown.is_empty() || self.feed.send(read.client, Event::Read(shown));
        if !passed || !told {
            self.lose(read.bytes.len());
        }
    }

    /// The client has gone.
    pub fn end(self, client: u64) {
        self.feed.send(client, Event::Left);
    }

    fn lose(&mut self, bytes: usize) {
        self.redactor = None;
        self.lost += bytes as u64;
        self.feed.counters.bytes_lost.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn report_lost(&mut self, client: u64) -> bool {
        let told = self.lost == 0 || self.feed.send(client, Event::Lost(self.lost));
        if told {
            self.lost = 0;
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], begins_request: bool) -> Read<'_> {
        Read { client: 7, connected_at: Instant::now(), bytes, begins_request }
    }

    fn recorded(intake: &mut Intake) -> Vec<Event> {
        let mut events = Vec::new();
        while let Ok(entry) = intake.entries.try_recv() {
            intake.counters.bytes_queued.fetch_sub(entry.event.bytes(), Ordering::Relaxed);
            events.push(entry.event);
        }
        events
    }

    #[test]
    fn nothing_is_recorded_before_a_request_begins_and_the_loss_is_told() {
        let (tap, mut track) = (Tap::default(), None);
        let (feed, mut intake) = begin();
        tap.open(feed);
        Track::note(&mut track, &tap, read(b"secret\r\n", false));
        Track::note(&mut track, &tap, read(b"PING\r\n", true));
        assert_eq!(recorded(&mut intake), [Event::Client { before: false }, Event::Lost(8), Event::Read(b"PING\r\n".to_vec())]);
        assert_eq!(intake.bytes_lost(), 8);
    }

    #[test]
    fn what_finds_no_room_is_lost_and_told_and_recording_goes_on_with_a_request() {
        let (tap, mut track) = (Tap::default(), None);
        let (feed, mut intake) = begin();
        tap.open(feed);
        let set = [&b"*2\r\n$4\r\nECHO\r\n$1048576\r\n"[..], &vec![b'x'; 1_048_576], b"\r\n"].concat();
        for _ in 0..8 {
            Track::note(&mut track, &tap, read(&set, true));
        }
        let before = recorded(&mut intake);
        assert_eq!(before.len(), 8, "the client and seven reads of a megabyte and more");
        Track::note(&mut track, &tap, read(b"PING\r\n", true));
        assert_eq!(recorded(&mut intake), [Event::Lost(set.len() as u64), Event::Read(b"PING\r\n".to_vec())]);
        assert_eq!(intake.bytes_lost(), set.len() as u64);
    }

    #[test]
    fn a_tap_closes_when_nobody_takes_entries_any_more() {
        let (tap, mut track) = (Tap::default(), None);
        let (feed, intake) = begin();
        tap.open(feed);
        Track::note(&mut track, &tap, read(b"PING\r\n", true));
        assert!(tap.is_on() && track.is_some());
        drop(intake);
        Track::note(&mut track, &tap, read(b"PING\r\n", true));
        assert!(!tap.is_on() && track.is_none());
    }
}
