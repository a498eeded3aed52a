//! Starts audits at jittered intervals, so that proxies that were started together do not audit together.

use std::time::Duration;

use tracing::{info, warn};

use super::Jobs;
use super::wanted::{REMOVED_MAX, Refused, RepairRequest, RunRequest};

/// The first run comes within so large a part of the time between two.
const FIRST_SHARE: f64 = 0.1;
/// How much longer or shorter than written the time between two is at most.
const JITTER_SHARE: f64 = 0.1;
/// When what is in the way, or the server, is looked at again.
const RETRY: Duration = Duration::from_secs(60);

/// Runs until the process ends.
pub async fn keep(jobs: Jobs) {
    let Some((every, repairs)) = jobs.schedule() else { return };
    let mut told = None;
    tokio::time::sleep(every.mul_f64(FIRST_SHARE * fastrand::f64())).await;
    loop {
        let repair = repairs.then_some(RepairRequest { apply: true, max: REMOVED_MAX, force: false });
        let wanted = RunRequest { relation: None, repair, is_scheduled: true };
        let pause = match jobs.begin(wanted).await {
            Ok(begun) => {
                told = None;
                // It is told of by its end, whatever that is.
                let _ = begun.report.await;
                between(every, fastrand::f64())
            }
            Err(Refused::NoRelations | Refused::Off) => between(every, fastrand::f64()),
            Err(refused @ (Refused::Busy | Refused::Locked | Refused::Done)) => {
                info!(%refused, "a scheduled audit has to wait");
                RETRY.max(every.mul_f64(JITTER_SHARE)).min(every)
            }
            Err(refused) => {
                if told.as_ref() != Some(&refused) {
                    warn!(%refused, "a scheduled audit cannot start; it will be tried again, and logged again when the reason changes");
                    // A server that is away is told of by the breaker; nobody else tells of the file.
                    if matches!(refused, Refused::Log(_) | Refused::NoLog) {
                        jobs.count_failed();
                    }
                }
                told = Some(refused);
                RETRY.min(every)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// `random` is from 0 to 1.
fn between(every: Duration, random: f64) -> Duration {
    every.mul_f64(1.0 + JITTER_SHARE * (2.0 * random - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_two_runs_varies_by_a_tenth() {
        let day = Duration::from_secs(100);
        assert_eq!([0.0, 0.5, 1.0].map(|random| between(day, random).as_secs_f64().round()), [90.0, 100.0, 110.0]);
    }
}
