//! Writes the log on a separate thread: logging never blocks, and a line that finds no room is counted instead.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines on their way to the log.
const LINES_MAX: usize = 8192;
/// Bytes on their way to the log.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pause between two lines that tell of losses.
const TELLING_PAUSE: Duration = Duration::from_secs(1);
/// Pause before a log that takes nothing at the moment is tried again, where the system does not wait by itself.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Where lines are handed over. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lines {
    messages: SyncSender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Message {
    Line(Box<[u8]>),
    /// Answered when everything before it has been written or counted.
    Flush(SyncSender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    bytes_queued: AtomicUsize,
    lost: AtomicU64,
}

/// Starts the thread that writes to `out`.
///
/// # Errors
/// There is no thread to be had.
pub fn start(out: impl Write + Send + 'static) -> io::Result<Lines> {
    let (sender, messages) = sync_channel(LINES_MAX);
    let counts = Arc::<Counts>::default();
    let mut thread = Thread { out, counts: Arc::clone(&counts), torn: false, told: 0, told_at: None };
    std::thread::Builder::new().name("log".to_owned()).spawn(move || thread.run(&messages))?;
    Ok(Lines { messages: sender, counts })
}

impl Lines {
    /// Lines that found no room or could not be written, since the start.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Whether everything handed over so far was written, or counted, within `longest`.
    pub fn flush(&self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        let (done, flushed) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.messages.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => message = back,
                Err(_) => return false,
            }
            std::thread::sleep(RETRY_PAUSE);
        }
        flushed.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    fn take(&self, line: &[u8]) {
        let queued = self.counts.bytes_queued.fetch_add(line.len(), Ordering::Relaxed);
        let has_room = queued + line.len() <= BYTES_MAX;
        if !has_room || self.messages.try_send(Message::Line(line.into())).is_err() {
            self.counts.bytes_queued.fetch_sub(line.len(), Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

/// Each write is one line, for an event is written at once.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Thread<W> {
    out: W,
    counts: Arc<Counts>,
    /// A line was written in part.
    torn: bool,
    /// How many losses have been told.
    told: u64,
    told_at: Option<Instant>,
}

impl<W: Write> Thread<W> {
    fn run(&mut self, messages: &Receiver<Message>) {
        for message in messages {
            match message {
                Message::Line(line) => self.put(&line),
                Message::Flush(done) => {
                    // Whoever asked may not wait any more.
                    let _ = done.try_send(());
                }
            }
        }
    }

    fn put(&mut self, line: &[u8]) {
        self.counts.bytes_queued.fetch_sub(line.len(), Ordering::Relaxed);
        let written = if self.torn { write_whole(&mut self.out, b"\n") } else { Ok(()) };
        match written.and_then(|()| write_whole(&mut self.out, line)) {
            Ok(()) => {
                self.torn = false;
                self.report_losses();
            }
            Err(Cut { torn }) => {
                self.torn |= torn;
                self.counts.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Tells that lines are missing, in a line that takes its turn as any other.
    fn report_losses(&mut self) {
        let total = self.counts.lost.load(Ordering::Relaxed);
        if total > self.told && self.told_at.is_none_or(|since| since.elapsed() >= TELLING_PAUSE) {
            let lost = total - self.told;
            (self.told, self.told_at) = (total, Some(Instant::now()));
            tracing::warn!(lost, "log lines were dropped: they could not be written, or came faster than they are read");
        }
    }
}

/// Writing has failed; `torn` behind a part of the bytes.
struct Cut {
    torn: bool,
}

/// Writes everything, and waits where the log takes nothing at the moment.
fn write_whole(out: &mut impl Write, bytes: &[u8]) -> Result<(), Cut> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(written @ 1..) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process has made the pipe that it shares with this one non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY_PAUSE),
            Ok(0) | Err(_) => return Err(Cut { torn: rest.len() < bytes.len() }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Mutex;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// What a log does with the next writes, and what it has.
    #[derive(Clone, Default)]
    struct Scripted(Arc<Mutex<Script>>);

    type Script = (Vec<io::Result<usize>>, Vec<u8>);

    impl Scripted {
        fn new(script: Vec<io::Result<usize>>) -> Scripted {
            Scripted(Arc::new(Mutex::new((script, Vec::new()))))
        }

        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().expect("no panic").1).into_owned()
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().expect("no panic");
            let written = if state.0.is_empty() { Ok(bytes.len()) } else { state.0.remove(0) }?;
            state.1.extend_from_slice(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_in_the_log_in_order_after_a_flush() {
        let out = Scripted::default();
        let lines = start(out.clone()).expect("a thread");
        (0..1000).for_each(|number| lines.take(format!("{number}\n").as_bytes()));
        assert!(lines.flush(LONG));
        assert_eq!(out.text(), (0..1000).map(|number| format!("{number}\n")).collect::<String>());
        assert_eq!((lines.lost(), lines.counts.bytes_queued.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_log_that_fails_loses_its_lines_and_half_a_line_spoils_no_other() {
        let script = vec![Err(io::ErrorKind::BrokenPipe.into()), Ok(2), Err(io::ErrorKind::StorageFull.into()), Ok(0)];
        let out = Scripted::new(script);
        let lines = start(out.clone()).expect("a thread");
        ["gone\n", "torn\n", "gone\n", "fine\n", "fine\n"].iter().for_each(|line| lines.take(line.as_bytes()));
        assert!(lines.flush(LONG));
        assert_eq!(out.text(), "to\nfine\nfine\n");
        assert_eq!(lines.lost(), 3);
    }

    #[test]
    fn a_log_that_is_busy_or_takes_little_gets_the_rest() {
        let busy = || Err(io::ErrorKind::WouldBlock.into());
        let out = Scripted::new(vec![Ok(1), busy(), Err(io::ErrorKind::Interrupted.into()), Ok(2), busy()]);
        let lines = start(out.clone()).expect("a thread");
        lines.take(b"whole\n");
        assert!(lines.flush(LONG));
        assert_eq!((out.text().as_str(), lines.lost()), ("whole\n", 0));
    }

    #[test]
    fn a_reader_that_stands_still_bounds_lines_and_bytes_and_waits_for_nobody() {
        for (line, kept_max) in [(&[b'x'; 100][..], LINES_MAX), (&[b'x'; 100_000], BYTES_MAX / 100_000)] {
            let (mut reader, writer) = io::pipe().expect("a pipe");
            let lines = start(writer).expect("a thread");
            for _ in 0..3 * LINES_MAX {
                lines.take(line);
            }
            let lost = usize::try_from(lines.lost()).expect("a number");
            // Some more are in the pipe and in the thread's hands.
            assert!(lost > 0 && lost <= 3 * LINES_MAX - kept_max, "{lost} of lines of {} bytes", line.len());
            assert!(lines.counts.bytes_queued.load(Ordering::Relaxed) <= BYTES_MAX);
            assert!(!lines.flush(Duration::from_millis(20)));
            drop(lines);
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).expect("the thread ends with the last of those who log");
            assert_eq!(rest.len(), (3 * LINES_MAX - lost) * line.len());
        }
    }
}
