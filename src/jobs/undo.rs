//! Restores what repairs removed, if nothing has taken its place: each thing as it was, with its TTL.

use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};
use strum::IntoStaticStr;
use tracing::info;

use super::answers::{server_ms, told};
use super::repair_log::{Entry, RemovedData, RepairLog, decoded};
use super::report::text;
use super::run::{MOVING_MAX, MOVING_PAUSE, Run};
use super::server_connection::QueryError;
use super::servers::At;
use crate::telemetry::audits;
use crate::telemetry::label::RepairAction;
use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// How often one thing is tried to whose key others write meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// What came of one thing.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum UndoResult {
    Restored,
    /// Something stands there now.
    Stands,
    /// Its lifetime has ended meanwhile.
    Expired,
    Failed(String),
}

impl UndoResult {
    fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// Puts back the entries that begin at these places of the log, in this order.
pub(super) async fn undo(run: &mut Run, log: &RepairLog, places: Vec<u64>) -> Value {
    let mut shown = Vec::new();
    let mut restored = 0;
    for place in places {
        if run.throttle(1.0).await.is_err() {
            break;
        }
        let entry = match log.read(place).await {
            Ok(entry) => entry,
            Err(error) => {
                shown.push(json!({ "outcome": "failed", "reason": error.to_string() }));
                continue;
            }
        };
        let undone = put_back(run, &entry).await.unwrap_or_else(|error| UndoResult::Failed(error.to_string()));
        if undone == UndoResult::Restored {
            restored += 1;
            audits::count_repaired(&entry.relation.as_str().into(), RepairAction::Undo, 1);
        }
        shown.push(shown_of(&entry, &undone));
    }
    let (all, id) = (shown.len(), run.id.clone());
    info!(run = id, restored, all, "removed data was restored");
    json!({ "id": id, "kind": "undo", "restored": restored, "things": shown })
}

fn shown_of(entry: &Entry, undone: &UndoResult) -> Value {
    let key = decoded(&entry.key).map(|key| text(&key)).ok();
    let element = match &entry.what {
        RemovedData::Key { .. } => None,
        RemovedData::Member { element, .. } | RemovedData::Field { element, .. } | RemovedData::Item { element, .. } => {
            decoded(element).ok()
        }
    };
    let reason = match undone {
        UndoResult::Failed(reason) => Some(reason),
        _ => None,
    };
    json!({
        "id": entry.id, "run": entry.run, "relation": entry.relation, "key": key,
        "element": element.map(|element| text(&element)), "outcome": undone.as_str(), "reason": reason
    })
}

async fn put_back(run: &mut Run, entry: &Entry) -> Result<UndoResult, QueryError> {
    let Ok(key) = decoded(&entry.key) else { return Ok(UndoResult::Failed("the key cannot be read".to_owned())) };
    let begun = Instant::now();
    let mut attempts = 0;
    while attempts < ATTEMPTS_MAX {
        let attempt = match &entry.what {
            RemovedData::Key { dump } => restore(run, &key, dump, entry.expires_at_ms).await.map(Some),
            RemovedData::Member { .. } | RemovedData::Field { .. } | RemovedData::Item { .. } => insert(run, &key, entry).await,
        };
        match attempt {
            Ok(Some(undone)) => return Ok(undone),
            Ok(None) => attempts += 1,
            Err(QueryError::Moving(_)) if begun.elapsed() < MOVING_MAX => tokio::time::sleep(MOVING_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    Ok(UndoResult::Failed("others write to the key all the time".to_owned()))
}

/// <https://redis.io/docs/latest/commands/restore/>
async fn restore(run: &mut Run, key: &[u8], dump: &str, expires_at_ms: Option<i64>) -> Result<UndoResult, QueryError> {
    let Ok(dump) = decoded(dump) else { return Ok(UndoResult::Failed("the dump cannot be read".to_owned())) };
    let now = run.servers.ask(At::Key(key), &encode::requests(&[&[b"TIME"]]), 1, REPLY_BYTES_MAX).await?;
    if has_ended(&now[0], expires_at_ms) {
        return Ok(UndoResult::Expired);
    }
    let at = expires_at_ms.unwrap_or(0).to_string();
    let mut words: Vec<&[u8]> = vec![b"RESTORE", key, at.as_bytes(), &dump];
    if expires_at_ms.is_some() {
        words.push(b"ABSTTL");
    }
    let reply = run.servers.ask(At::Key(key), &encode::requests(&[&words]), 1, REPLY_BYTES_MAX).await?;
    let error = value::error_text(&reply[0]);
    Ok(match error {
        b"" => UndoResult::Restored,
        _ if error.starts_with(b"BUSYKEY") => UndoResult::Stands,
        _ => UndoResult::Failed(told(error)),
    })
}

/// A reference goes back into its key; `None` when somebody wrote to that meanwhile.
async fn insert(run: &mut Run, key: &[u8], entry: &Entry) -> Result<Option<UndoResult>, QueryError> {
    let bytes = |text: &String| decoded(text).unwrap_or_default();
    let (question, element): (&[u8], _) = match &entry.what {
        RemovedData::Member { element, score: None } => (b"SISMEMBER", bytes(element)),
        RemovedData::Member { element, .. } => (b"ZSCORE", bytes(element)),
        RemovedData::Field { element, .. } => (b"HEXISTS", bytes(element)),
        RemovedData::Item { element, .. } => (b"LPOS", bytes(element)),
        RemovedData::Key { .. } => return Ok(None),
    };
    let asked: &[&[&[u8]]] = &[&[b"WATCH", key], &[b"TIME"], &[b"EXISTS", key], &[question, key, &element], &[b"LLEN", key]];
    let requests = encode::requests(asked);
    let replies = run.servers.ask(At::Key(key), &requests, 5, REPLY_BYTES_MAX).await?;
    let stands = match &entry.what {
        RemovedData::Item { .. } => value::integer(&replies[3]).is_some(),
        _ => value::integer(&replies[3]) == Some(1) || value::bulk(&replies[3]).is_some(),
    };
    let owner_is_there = value::integer(&replies[2]) == Some(1);
    let given_up = if value::is_error(&replies[3]) {
        Some(match value::error_text(&replies[3]) {
            error if error.starts_with(b"WRONGTYPE") => UndoResult::Stands,
            error => UndoResult::Failed(told(error)),
        })
    } else if stands {
        Some(UndoResult::Stands)
    } else if !owner_is_there && has_ended(&replies[1], entry.expires_at_ms) {
        Some(UndoResult::Expired)
    } else {
        None
    };
    if let Some(given_up) = given_up {
        run.servers.ask(At::Key(key), &encode::requests(&[&[b"UNWATCH"]]), 1, REPLY_BYTES_MAX).await?;
        return Ok(Some(given_up));
    }
    let length = value::integer(&replies[4]).unwrap_or_default();
    let mut commands: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut command = |words: &[&[u8]]| commands.push(words.iter().map(|word| word.to_vec()).collect());
    match &entry.what {
        RemovedData::Member { element, score: None } => command(&[b"SADD", key, &bytes(element)]),
        RemovedData::Member { element, score: Some(score) } => command(&[b"ZADD", key, score.as_bytes(), &bytes(element)]),
        RemovedData::Field { element, value, field_expires_at_ms } => {
            command(&[b"HSET", key, &bytes(element), &bytes(value)]);
            if let Some(at) = field_expires_at_ms {
                command(&[b"HPEXPIREAT", key, at.to_string().as_bytes(), b"FIELDS", b"1", &bytes(element)]);
            }
        }
        RemovedData::Item { element, places } => {
            let (run_id, element) = (run.id.clone(), bytes(element));
            let moved = others(run, key, places, length).await?;
            insert_items(key, &element, places, length, &moved, &run_id, &mut command);
        }
        RemovedData::Key { .. } => {}
    }
    if let Some(at) = entry.expires_at_ms.filter(|_| !owner_is_there) {
        command(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
    }
    let mut requests = encode::requests(&[&[b"MULTI"]]);
    for words in &commands {
        encode::request(&mut requests, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    encode::request(&mut requests, &[b"EXEC"]);
    let replies = run.servers.ask(At::Key(key), &requests, commands.len() + 2, REPLY_BYTES_MAX).await?;
    Ok(concluded(&replies))
}

fn concluded(replies: &[Bytes]) -> Option<UndoResult> {
    let exec = replies.last().map(|reply| &reply[..]).unwrap_or_default();
    let errors = replies.iter().map(|reply| &reply[..]).chain(elements(exec)).find(|reply| value::is_error(reply));
    match errors {
        Some(error) => Some(UndoResult::Failed(told(value::error_text(error)))),
        None if value::is_null(exec) => None,
        None => Some(UndoResult::Restored),
    }
}

/// What stands now where each item is to stand, once those before it stand again; `None` behind the end.
async fn others(run: &mut Run, key: &[u8], places: &[i64], length: i64) -> Result<Vec<Option<Vec<u8>>>, QueryError> {
    let mut requests = Vec::new();
    let wanted: Vec<i64> = places.iter().zip(0..).map(|(place, before)| place - before).collect();
    wanted.iter().for_each(|place| encode::request(&mut requests, &[b"LINDEX", key, place.to_string().as_bytes()]));
    let replies = run.servers.ask(At::Key(key), &requests, wanted.len(), 64 * REPLY_BYTES_MAX).await?;
    let is_within = |place: &i64| *place < length;
    Ok(wanted
        .iter()
        .zip(&replies)
        .map(|(place, reply)| value::bulk(reply).filter(|_| is_within(place)).map(<[u8]>::to_vec))
        .collect())
}

/// Puts an item at each of the places. A list is written to by place or beside a value, which may stand there more than
/// once: so what stands at the place is a mark of its own for a moment, in the same transaction.
fn insert_items(
    key: &[u8],
    element: &[u8],
    places: &[i64],
    length: i64,
    others: &[Option<Vec<u8>>],
    mark: &str,
    command: &mut impl FnMut(&[&[u8]]),
) {
    let mark = format!("respguard:undo:{mark}");
    for ((place, other), before) in places.iter().zip(others).zip(0..) {
        match other {
            Some(other) if *place < length + before => {
                let (own, next) = (place.to_string(), (place + 1).to_string());
                command(&[b"LSET", key, own.as_bytes(), mark.as_bytes()]);
                command(&[b"LINSERT", key, b"BEFORE", mark.as_bytes(), element]);
                command(&[b"LSET", key, next.as_bytes(), other]);
            }
            _ => command(&[b"RPUSH", key, element]),
        }
    }
}

fn has_ended(time: &[u8], expires_at_ms: Option<i64>) -> bool {
    expires_at_ms.zip(server_ms(time)).is_some_and(|(at, now)| at <= now)
}
