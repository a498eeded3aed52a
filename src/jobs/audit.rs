//! Audits one relation, or a sample of it.

use std::sync::atomic::Ordering;

use super::checks::Audit;
use super::report::RelationReport;
use super::run::Run;
use super::stop::Stop;
use super::walk::walk_all;
use respguard_engine::policy::Relation;
use respguard_engine::policy::relation::Topology;
use respguard_resp::{encode, value};

/// So many keys a sample passes over at most for one that it wants.
const PASSED_FOR_ONE: u64 = 100;

/// Walks all that the relation says, and puts what is broken into the report.
pub(super) async fn audit(run: &mut Run, relation: &Relation, report: &mut RelationReport) -> Result<(), Stop> {
    let mut audit = Audit::new(run, relation, report);
    estimate(&mut audit).await?;
    for (number, walk) in relation.walks().iter().enumerate() {
        walk_all(&mut audit, number, walk).await?;
    }
    audit.look_again(true).await
}

/// Looks at up to so many things of each pattern, and only counts.
pub(super) async fn sample(run: &mut Run, relation: &Relation, report: &mut RelationReport, things: u64) -> Result<(), Stop> {
    let mut audit = Audit::new(run, relation, report);
    audit.is_sample = true;
    for (number, walk) in relation.walks().iter().enumerate() {
        audit.walked_max = audit.report.walked + things;
        audit.passed_max = things.saturating_mul(PASSED_FOR_ONE);
        walk_all(&mut audit, number, walk).await?;
    }
    audit.look_again(true).await
}

/// How much there is to be walked, for those who watch.
async fn estimate(audit: &mut Audit<'_>) -> Result<(), Stop> {
    let request = encode::requests(&[&[b"DBSIZE"]]);
    let mut replies = Vec::new();
    match audit.run.servers.topology() {
        Topology::OneServer => replies = audit.run.read(&request, 1).await?,
        Topology::Cluster => {
            for node in audit.run.servers.primaries() {
                replies.extend(audit.run.read_at(&node, &request, 1).await?.unwrap_or_default());
            }
        }
    }
    let keys = replies.iter().filter_map(|reply| value::integer(reply)).sum::<i64>();
    let total = u64::try_from(keys).unwrap_or_default() * audit.relation.walks().len() as u64;
    audit.run.progress.total.store(total, Ordering::Relaxed);
    Ok(())
}
