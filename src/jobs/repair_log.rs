//! The repair log: JSON lines that are on the disk before anything is removed, and from which it can be restored.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The version of the lines.
pub const SCHEMA: u32 = 1;
/// The longest line: a DUMP of 512 MiB and what stands around it.
const LINE_BYTES_MAX: u64 = 768 * 1024 * 1024;

/// The file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RepairLog {
    file: PathBuf,
    /// Lines are written one after the other.
    writing: Arc<Mutex<()>>,
}

/// One thing that is about to be removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub schema: u32,
    pub id: String,
    pub run: String,
    pub at: String,
    pub at_ms: u64,
    pub relation: String,
    pub reason: String,
    /// `delete` or `remove`.
    pub action: String,
    /// In Base64, as all bytes of the server's are.
    pub key: String,
    /// When the key would have ended by itself, in milliseconds since 1970; `None`: never.
    pub expires_at_ms: Option<i64>,
    pub ttl_ms: Option<i64>,
    #[serde(flatten)]
    pub what: RemovedData,
}

/// What is removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum RemovedData {
    Key {
        dump: String,
    },
    Member {
        element: String,
        /// Of a sorted set.
        score: Option<String>,
    },
    Field {
        element: String,
        value: String,
        field_expires_at_ms: Option<i64>,
    },
    Item {
        element: String,
        /// Every place at which it stood, from 0.
        places: Vec<i64>,
    },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Outcome {
    schema: u32,
    id: String,
    run: String,
    at_ms: u64,
    outcome: String,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub enum Selection {
    Id(String),
    Run(String),
}

impl Selection {
    fn is_met_by(&self, id: &str, run: &str) -> bool {
        match self {
            Selection::Id(wanted) => wanted == id,
            Selection::Run(wanted) => wanted == run,
        }
    }
}

impl RepairLog {
    pub fn new(file: PathBuf) -> RepairLog {
        RepairLog { file, writing: Arc::default() }
    }

    /// Makes sure that it can be written.
    pub async fn open(&self) -> io::Result<()> {
        self.write(Vec::new()).await
    }

    /// When this has returned, the entries are on the disk.
    pub async fn append(&self, entries: &[Entry]) -> io::Result<()> {
        let lines: Result<Vec<_>, _> = entries.iter().map(serde_json::to_string).collect();
        self.write(lines.map_err(io::Error::other)?).await
    }

    /// Says what became of entries.
    pub async fn conclude(&self, ids: &[String], run: &str, at_ms: u64, outcome: &str) -> io::Result<()> {
        let lines: Result<Vec<_>, _> = ids
            .iter()
            .map(|id| {
                let (id, run, outcome) = (id.clone(), run.to_owned(), outcome.to_owned());
                serde_json::to_string(&Outcome { schema: SCHEMA, id, run, at_ms, outcome })
            })
            .collect();
        self.write(lines.map_err(io::Error::other)?).await
    }

    /// Where the last entries lie that may be put back, the newest first.
    pub async fn find(&self, which: &Selection) -> io::Result<Vec<u64>> {
        let (log, which) = (self.clone(), which.clone());
        blocking(move || log.find_now(&which)).await
    }

    /// The entry that begins there.
    pub async fn read(&self, at: u64) -> io::Result<Entry> {
        let file = self.file.clone();
        blocking(move || {
            let mut file = File::open(file)?;
            file.seek(SeekFrom::Start(at))?;
            let mut line = Vec::new();
            BufReader::new(file).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            serde_json::from_slice(&line).map_err(io::Error::other)
        })
        .await
    }

    async fn write(&self, lines: Vec<String>) -> io::Result<()> {
        let log = self.clone();
        blocking(move || {
            let _writing = log.writing.lock().unwrap_or_else(PoisonError::into_inner);
            append(&log.file, &lines)
        })
        .await
    }

    fn find_now(&self, which: &Selection) -> io::Result<Vec<u64>> {
        let mut reader = match File::open(&self.file) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut places: HashMap<String, u64> = HashMap::new();
        let (mut at, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
            if read == 0 {
                break;
            }
            // A line that a crash has cut in half is none.
            if let Ok(head) = serde_json::from_slice::<Head>(&line)
                && which.is_met_by(&head.id, &head.run)
            {
                match head.outcome.as_deref() {
                    None => drop(places.insert(head.id, at)),
                    Some(NOT_REMOVED) => drop(places.remove(&head.id)),
                    Some(_) => {}
                }
            }
            at += read;
        }
        let mut places: Vec<u64> = places.into_values().collect();
        places.sort_unstable_by(|one, other| other.cmp(one));
        Ok(places)
    }
}

/// The outcome of an entry whose removal did not happen.
pub const NOT_REMOVED: &str = "not_removed";

/// What every line has.
#[derive(Deserialize)]
struct Head {
    id: String,
    run: String,
    outcome: Option<String>,
}

fn append(path: &Path, lines: &[String]) -> io::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut text = String::new();
    let end = file.seek(SeekFrom::End(0))?;
    if end > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if is_new && let Some(folder) = path.parent() {
        // The file's name is on the disk too.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Bytes as they stand in a line.
pub fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes again.
pub fn decoded(text: &str) -> io::Result<Vec<u8>> {
    STANDARD.decode(text).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, what: RemovedData) -> Entry {
        Entry {
            schema: SCHEMA,
            id: id.to_owned(),
            run: id.split('.').next().unwrap_or_default().to_owned(),
            at: "2026-01-01T00:00:00.000Z".to_owned(),
            at_ms: 1,
            relation: "r".to_owned(),
            reason: "without b:{x}".to_owned(),
            action: "delete".to_owned(),
            key: encoded(b"a:1"),
            expires_at_ms: None,
            ttl_ms: None,
            what,
        }
    }

    #[tokio::test]
    async fn what_was_removed_is_found_by_its_id_and_by_its_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = RepairLog::new(folder.path().join("log"));
        assert!(log.find(&Selection::Id("r1.1".into())).await.expect("no file is no entry").is_empty());
        let key = |id| entry(id, RemovedData::Key { dump: encoded(b"\x00\xff") });
        let item = entry("r1.2", RemovedData::Item { element: encoded(b"x"), places: vec![0, 3] });
        log.append(&[key("r1.1"), item.clone()]).await.expect("written");
        log.append(&[key("r2.1")]).await.expect("written");
        log.conclude(&["r2.1".to_owned()], "r2", 5, NOT_REMOVED).await.expect("written");
        log.conclude(&["r1.1".to_owned()], "r1", 5, "removed").await.expect("written");
        let run = log.find(&Selection::Run("r1".into())).await.expect("read");
        assert_eq!(run.len(), 2);
        assert_eq!(log.read(run[0]).await.expect("an entry"), item, "the newest first");
        assert_eq!(log.read(run[1]).await.expect("an entry"), key("r1.1"));
        assert_eq!(log.find(&Selection::Id("r1.2".into())).await.expect("read").len(), 1);
        assert!(log.find(&Selection::Id("r2.1".into())).await.expect("read").is_empty(), "it was not removed");
    }

    #[tokio::test]
    async fn a_line_that_was_cut_is_ended_and_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("log");
        std::fs::write(&file, "{\"schema\":1,\"id\":\"r1.1\",\"ru").expect("written");
        let log = RepairLog::new(file.clone());
        log.append(&[entry("r1.2", RemovedData::Member { element: encoded(b"m"), score: Some("1.5".into()) })])
            .await
            .expect("written");
        let found = log.find(&Selection::Run("r1".into())).await.expect("read");
        assert_eq!(found.len(), 1);
        assert_eq!(log.read(found[0]).await.expect("an entry").id, "r1.2");
    }
}
