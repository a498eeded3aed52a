//! Counts how often undeclared relations hold, in a sample of the keyspace; reports no violations.

use std::sync::Arc;
use std::time::Duration;

use super::audit::sample;
use super::report::RelationReport;
use super::run::{Run, Stop};
use super::{Jobs, Refused, Settings};
use respguard_engine::command::Table;
use respguard_engine::policy::compile;
use respguard_engine::policy::rule::{Written, WrittenRelation};

/// Things of each pattern that are looked at, at most.
pub const SAMPLE_KEYS_MAX: u64 = 1_000_000;

/// What is true where there is no `[audit]`.
const ALONE: Settings =
    Settings { every: None, keys_per_second: 2000, grace: Duration::from_secs(2), repair: false, repair_log: None };

/// In how many cases one relation holds.
#[derive(Debug, Default)]
pub struct Sampled {
    pub all: u64,
    pub broken: u64,
    /// Why it could not be found out.
    pub failure: Option<String>,
}

impl Jobs {
    /// Looks at up to so many things of each pattern, one relation after the other; whoever drops it ends it.
    ///
    /// # Errors
    /// Something else is under way, or there is no server to be asked.
    pub async fn sample(&self, relations: &[WrittenRelation], keys: u64) -> Result<Vec<Sampled>, Refused> {
        let upstream = self.shared.upstream.clone().ok_or(Refused::Off)?;
        let settings = self.shared.on.as_ref().map_or(ALONE, |(settings, _)| settings.clone());
        let written = Written { relations: relations.to_vec(), ..Written::default() };
        let policy = compile(&written, &Table::builtin()).map_err(|_| Refused::NoSuchRelation)?;
        let _turn = self.turn()?;
        let cancel = self.shared.shutdown.child_token();
        let mut run = Run::new(Arc::clone(&self.shared), (settings, upstream), cancel, "sample");
        let mut counts = Vec::new();
        for relation in policy.relations() {
            let mut report = RelationReport::new(relation, run.servers.topology(), &run.id, 0, false);
            let failure = match sample(&mut run, relation, &mut report, keys).await {
                Ok(()) => None,
                Err(Stop::Unknown(reason) | Stop::Failed(reason)) => Some(reason),
                Err(Stop::Cancelled | Stop::LockLost) => Some("it was ended".to_owned()),
            };
            counts.push(Sampled { all: report.walked, broken: report.orphans, failure });
        }
        Ok(counts)
    }
}
