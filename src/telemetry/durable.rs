//! Violations in a file: JSON lines, rotated by size, written by a separate thread that nobody waits for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use metrics::counter;
use serde::Serialize;

use super::names;
use super::record::{Record, SCHEMA, rfc3339, unix_ms};

/// Violations on their way to the file.
const QUEUED_MAX: usize = 4096;
/// What was written is on the disk at most this much later.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How often the thread looks whether it shall end, and whether something is to be synced.
const TICK: Duration = Duration::from_millis(100);
/// Pause between two complaints about a file that cannot be written.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// Where the file is and how far it may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub file: PathBuf,
    /// A file that would grow beyond is put aside as `.1`, the one before as `.2`, and so on.
    pub bytes_max: u64,
    /// Files put aside that are kept.
    pub kept_max: usize,
}

/// The reporters' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sink {
    records: SyncSender<Arc<Record>>,
    lost: Arc<AtomicU64>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writing {
    ending: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl Sink {
    /// Never waits: a violation without room is counted, and its loss is told in the file.
    pub fn take(&self, record: &Arc<Record>) {
        if self.records.try_send(Arc::clone(record)).is_err() {
            lose(&self.lost, 1);
        }
    }
}

impl Writing {
    /// Everything that was taken is on the disk when this returns true; it waits at most for `longest`.
    pub fn finish(self, longest: Duration) -> bool {
        self.ending.store(true, Ordering::Release);
        matches!(self.ended.recv_timeout(longest), Err(RecvTimeoutError::Disconnected))
    }
}

/// Opens the file and starts the thread.
///
/// # Errors
/// The file cannot be opened for writing, or there is no thread to be had.
pub fn start(settings: Settings) -> io::Result<(Sink, Writing)> {
    let log = Log::open(settings)?;
    let (sender, receiver) = sync_channel(QUEUED_MAX);
    let (done, ended) = sync_channel(1);
    let (lost, ending) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let thread = Thread { records: receiver, lost: Arc::clone(&lost), ending: Arc::clone(&ending), log, complained: None };
    std::thread::Builder::new().name("violations".to_owned()).spawn(move || {
        thread.run();
        drop(done);
    })?;
    Ok((Sink { records: sender, lost }, Writing { ending, ended }))
}

fn lose(lost: &AtomicU64, violations: u64) {
    lost.fetch_add(violations, Ordering::Relaxed);
    counter!(names::VIOLATIONS_FILE_LOST_TOTAL).increment(violations);
}

struct Thread {
    records: Receiver<Arc<Record>>,
    lost: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    log: Log,
    complained: Option<Instant>,
}

impl Thread {
    fn run(mut self) {
        loop {
            let ending = self.ending.load(Ordering::Acquire);
            let ended = match self.records.recv_timeout(TICK) {
                Ok(record) => {
                    self.write(&record);
                    false
                }
                Err(RecvTimeoutError::Timeout) => ending,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if ended || self.log.is_sync_due() {
                let synced = self.log.sync();
                self.complain_about(synced);
            }
            if ended {
                return;
            }
        }
    }

    fn write(&mut self, record: &Record) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut lines = Vec::new();
        if lost > 0 {
            let now = SystemTime::now();
            line(&Loss { schema: SCHEMA, at: rfc3339(now), at_ms: unix_ms(now), lost }, &mut lines);
        }
        line(&record.shown(), &mut lines);
        let written = self.log.write(&lines);
        if written.is_err() {
            // What had been lost before has been counted already.
            self.lost.fetch_add(lost, Ordering::Relaxed);
            lose(&self.lost, 1);
        }
        self.complain_about(written);
    }

    fn complain_about(&mut self, done: io::Result<()>) {
        let Err(error) = done else { return };
        if self.complained.is_none_or(|since| since.elapsed() >= COMPLAINT_PAUSE) {
            self.complained = Some(Instant::now());
            let file = self.log.settings.file.display();
            tracing::warn!(%error, %file, "violations cannot be written to their file: is the disk full, or the file taken away?");
        }
    }
}

/// Stands where violations are missing.
#[derive(Serialize)]
struct Loss {
    schema: u32,
    at: String,
    at_ms: u64,
    lost: u64,
}

fn line(object: &impl Serialize, lines: &mut Vec<u8>) {
    // Writing to a vector cannot fail, and the objects are made of texts and numbers.
    let _ = serde_json::to_writer(&mut *lines, object);
    lines.push(b'\n');
}

/// The file.
struct Log {
    settings: Settings,
    /// `None` after it could not be opened anew.
    file: Option<File>,
    bytes: u64,
    /// Since when something is written that may not be on the disk.
    unsynced: Option<Instant>,
}

impl Log {
    fn open(settings: Settings) -> io::Result<Log> {
        let mut log = Log { settings, file: None, bytes: 0, unsynced: None };
        log.reopen()?;
        Ok(log)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let mut file = open(&self.settings.file)?;
        self.bytes = file.metadata()?.len();
        if self.bytes > 0 && !ends_with_line(&mut file)? {
            // A process that ended in the middle of a line leaves it behind.
            file.write_all(b"\n")?;
            self.bytes += 1;
        }
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let bytes = self.bytes + lines.len() as u64;
        if self.bytes > 0 && bytes > self.settings.bytes_max {
            let rotated = self.rotate();
            // Better a file that is too large for a while than a violation lost.
            let goes_on = self.file.is_some() && bytes <= self.settings.bytes_max.saturating_mul(2);
            if rotated.is_err() && !goes_on {
                return rotated;
            }
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = file.write_all(lines) {
            // A part of the line may be there.
            self.file = None;
            return Err(error);
        }
        self.bytes += lines.len() as u64;
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn is_sync_due(&self) -> bool {
        self.unsynced.is_some_and(|since| since.elapsed() >= SYNC_INTERVAL)
    }

    fn sync(&mut self) -> io::Result<()> {
        match (&self.file, self.unsynced.take()) {
            (Some(file), Some(_)) => file.sync_data(),
            _ => Ok(()),
        }
    }

    /// Begins a new file and puts the full one aside. A failure leaves the full one where it is, and every file that has
    /// been put aside is still there, however often this is tried.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        // First of all: where no descriptor is left, nothing is moved.
        let next = self.beside("next");
        let file = open(&next)?;
        file.set_len(0)?;
        self.make_room()?;
        if self.settings.kept_max > 0 {
            rename_if_there(&self.settings.file, &self.aside(1))?;
        }
        self.file = None;
        self.bytes = 0;
        std::fs::rename(&next, &self.settings.file)?;
        self.file = Some(file);
        Ok(())
    }

    /// Moves files put aside so that the first place is free; nothing is moved where it is.
    fn make_room(&self) -> io::Result<()> {
        let taken = (1..=self.settings.kept_max).take_while(|number| self.aside(*number).exists()).count();
        for number in (1..=taken.min(self.settings.kept_max.saturating_sub(1))).rev() {
            rename_if_there(&self.aside(number), &self.aside(number + 1))?;
        }
        Ok(())
    }

    fn aside(&self, number: usize) -> PathBuf {
        self.beside(&number.to_string())
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.settings.file.clone().into_os_string();
        name.push(format!(".{ending}"));
        name.into()
    }
}

fn open(file: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file)
}

fn ends_with_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use respguard_engine::pipeline::violation::{Kind, Violation};

    const LONG: Duration = Duration::from_secs(20);

    fn record(sequence: u64) -> Arc<Record> {
        let violation = Violation::new(Kind::Aborted);
        Arc::new(Record { sequence, at: SystemTime::now(), client: "127.0.0.1:1".into(), violation })
    }

    fn settings(folder: &tempfile::TempDir, bytes_max: u64, kept_max: usize) -> Settings {
        Settings { file: folder.path().join("violations.jsonl"), bytes_max, kept_max }
    }

    fn lines(file: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(file).expect("the file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn sequences(file: &Path) -> Vec<u64> {
        lines(file).iter().map(|line| line["sequence"].as_u64().expect("a number")).collect()
    }

    #[test]
    fn everything_taken_is_in_the_file_at_the_end_and_a_next_run_goes_on_behind_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(&folder, 1_000_000, 3);
        for run in 0..2 {
            let (sink, writing) = start(settings.clone()).expect("a writable folder");
            (1..=100).for_each(|sequence| sink.take(&record(run * 1000 + sequence)));
            assert!(writing.finish(LONG));
        }
        let wanted: Vec<u64> = (1..=100).chain(1001..=1100).collect();
        assert_eq!(sequences(&settings.file), wanted);
    }

    #[test]
    fn a_file_that_is_full_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(&folder, 1000, 2);
        let (sink, writing) = start(settings.clone()).expect("a writable folder");
        (1..=40).for_each(|sequence| sink.take(&record(sequence)));
        assert!(writing.finish(LONG));
        let mut found: Vec<_> =
            std::fs::read_dir(folder.path()).expect("the folder").flatten().map(|entry| entry.path()).collect();
        found.sort();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|file| file.metadata().is_ok_and(|file| file.len() <= 1000)));
        let [newest, middle, oldest] = [0, 1, 2].map(|place| sequences(&found[place]));
        assert_eq!(newest.last(), Some(&40));
        assert_eq!(
            [middle.last().map(|last| last + 1), oldest.last().map(|last| last + 1)],
            [newest.first().copied(), middle.first().copied()]
        );
    }

    #[test]
    fn a_new_file_that_cannot_be_had_moves_none_of_those_put_aside_and_loses_nothing_at_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(&folder, 1000, 3);
        let aside = |number: usize| folder.path().join(format!("violations.jsonl.{number}"));
        (1..=3).for_each(|number| std::fs::write(aside(number), format!("{number}")).expect("written"));
        // As where no descriptor is left.
        let in_the_way = folder.path().join("violations.jsonl.next");
        std::fs::create_dir(&in_the_way).expect("a folder");
        let mut log = Log::open(settings.clone()).expect("a writable folder");
        let line = [&[b'x'; 99][..], b"\n"].concat();
        let written: Vec<bool> = (0..50).map(|_| log.write(&line).is_ok()).collect();
        assert_eq!(written, [[true; 20].as_slice(), &[false; 30]].concat(), "up to twice the size");
        let kept = |number: usize| std::fs::read_to_string(aside(number)).expect("it is there");
        assert_eq!([kept(1), kept(2), kept(3)], ["1", "2", "3"]);

        std::fs::remove_dir(&in_the_way).expect("removed");
        assert!(log.write(&line).is_ok());
        assert_eq!([kept(2), kept(3)], ["1", "2"]);
        assert_eq!((kept(1).len(), log.bytes), (2000, 100));
        assert!(!in_the_way.exists());
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_pushes_none_out_however_often_that_is_tried() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(&folder, 1000, 3);
        let aside = |number: usize| folder.path().join(format!("violations.jsonl.{number}"));
        (2..=3).for_each(|number| std::fs::write(aside(number), format!("{number}")).expect("written"));
        let log = Log::open(settings).expect("a writable folder");
        // The first place is free, and stays so.
        (0..3).for_each(|_| log.make_room().expect("nothing to do"));
        assert!(!aside(1).exists());
        std::fs::write(aside(1), "1").expect("written");
        log.make_room().expect("moved");
        assert!(!aside(1).exists());
        assert_eq!([2, 3].map(|number| std::fs::read_to_string(aside(number)).expect("there")), ["1", "2"]);
    }

    #[test]
    fn half_a_line_of_a_process_that_died_spoils_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(&folder, 1000, 1);
        std::fs::write(&settings.file, "{\"schema\":1,\"seq").expect("written");
        let (sink, writing) = start(settings.clone()).expect("a writable folder");
        sink.take(&record(1));
        assert!(writing.finish(LONG));
        let text = std::fs::read_to_string(&settings.file).expect("the file");
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().last().is_some_and(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_before_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(&folder, 1_000_000, 1);
        let log = Log::open(settings.clone()).expect("a writable folder");
        let (sender, records) = sync_channel(2);
        let lost = Arc::<AtomicU64>::default();
        let sink = Sink { records: sender, lost: Arc::clone(&lost) };
        (1..=5).for_each(|sequence| sink.take(&record(sequence)));
        drop(sink);
        Thread { records, lost, ending: Arc::default(), log, complained: None }.run();
        let lines = lines(&settings.file);
        assert_eq!((lines.len(), lines[0]["lost"].as_u64()), (3, Some(3)), "{lines:?}");
        assert_eq!(lines[1]["sequence"], 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_refused_at_the_start() {
        let settings = Settings { file: "/nowhere/at/all/v.jsonl".into(), bytes_max: 1000, kept_max: 1 };
        assert!(start(settings).is_err());
    }
}
