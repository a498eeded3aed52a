//! How far a run is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::telemetry::record::{rfc3339, unix_ms};

/// How far a run is.
pub(crate) struct Progress {
    id: String,
    kind: &'static str,
    started: SystemTime,
    relation: Mutex<Option<Arc<str>>>,
    /// Of the relation: keys and elements that were looked at, keys that SCAN passed over, and all that it will.
    pub(super) walked: AtomicU64,
    pub(super) visited: AtomicU64,
    pub(super) total: AtomicU64,
    pub(super) found: AtomicU64,
}

impl Progress {
    pub(super) fn new(id: String, kind: &'static str, started: SystemTime) -> Progress {
        let (walked, visited, total, found) = Default::default();
        Progress { id, kind, started, relation: Mutex::default(), walked, visited, total, found }
    }

    pub(super) fn shown(&self) -> Value {
        let relation = self.relation.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let [walked, visited, total, found] =
            [&self.walked, &self.visited, &self.total, &self.found].map(|number| number.load(Ordering::Relaxed));
        let percent = (total > 0).then(|| (visited * 100 / total).min(100));
        json!({
            "id": self.id, "kind": self.kind, "started_at": rfc3339(self.started), "started_at_ms": unix_ms(self.started),
            "relation": relation.as_deref(), "walked": walked, "percent": percent, "found": found
        })
    }

    pub(super) fn begin(&self, relation: &Arc<str>) {
        *self.relation.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(relation));
        [&self.walked, &self.visited, &self.total, &self.found].iter().for_each(|number| number.store(0, Ordering::Relaxed));
    }
}
