//! What all runs share: the settings, one turn for all, and what the last of them came to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::repair_log::RepairLog;
use super::wanted::Settings;
use crate::net::health::SharedBreaker;
use crate::net::upstream;
use crate::telemetry::report::Reporter;
use respguard_engine::policy::Policy;

/// What all runs share.
pub(crate) struct Shared {
    /// `None`: audits are off.
    pub(super) on: Option<(Settings, upstream::Settings)>,
    /// The server, whether audits are on or not.
    pub(super) upstream: Option<upstream::Settings>,
    pub(super) policy: Arc<ArcSwap<Policy>>,
    pub(super) breaker: SharedBreaker,
    pub(super) reporter: Reporter,
    pub(super) log: Option<RepairLog>,
    /// One run at a time.
    pub(super) turn: Arc<Semaphore>,
    pub(super) state: Mutex<State>,
    pub(super) shutdown: CancellationToken,
}

/// What is under way, and what the last runs came to.
#[derive(Default)]
pub(super) struct State {
    pub(super) running: Option<(Arc<Progress>, CancellationToken)>,
    /// The last report of each relation that an audit came to the end of.
    pub(super) reports: BTreeMap<Arc<str>, Value>,
    /// Why the relations are unknown of which that was said.
    unknown: BTreeMap<Arc<str>, String>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self, by_relation: Vec<(Arc<str>, Value)>, turn: OwnedSemaphorePermit) {
        let mut state = self.state();
        state.running = None;
        let policy = self.policy.load();
        state.reports.extend(by_relation);
        let is_declared = |name: &Arc<str>| policy.relations().iter().any(|relation| relation.name == *name);
        state.reports.retain(|name, _| is_declared(name));
        state.unknown.retain(|name, _| is_declared(name));
        drop(turn);
    }

    /// Whether a relation is unknown for another reason than was said before; what is known is forgotten.
    pub(super) fn is_news(&self, relation: &Arc<str>, unknown: Option<&str>) -> bool {
        let mut state = self.state();
        match unknown {
            Some(reason) if state.unknown.get(relation).is_some_and(|said| said == reason) => false,
            Some(reason) => {
                state.unknown.insert(Arc::clone(relation), reason.to_owned());
                true
            }
            None => {
                state.unknown.remove(relation);
                false
            }
        }
    }
}
