//! One sample of a running respguard: what its endpoints return at about the same time.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::time::Duration;

use serde_json::Value;

use crate::net::admin::clients::Sort;
use crate::remote::{Remote, RemoteError};
use crate::telemetry::names;

/// The longest text of metrics that is read.
const METRICS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Rows that are asked for: more find no room on a screen.
const ROWS: usize = 100;

/// A list, or why it is not to be seen.
pub(super) type Rows = Result<Vec<Value>, String>;

/// One look.
pub(super) struct Sample {
    /// When it was taken, on a clock of this process.
    at: Duration,
    pub(super) status: Value,
    pub(super) groups: Rows,
    pub(super) clients: Rows,
    pub(super) slow: Rows,
    pub(super) violations: Rows,
    /// Cumulative counts of requests by their longest time.
    buckets: Vec<(f64, u64)>,
    counters: HashMap<&'static str, f64>,
    /// By the worker's number.
    pub(super) workers: BTreeMap<u32, WorkerLoad>,
}

/// What a worker has to do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WorkerLoad {
    busy_seconds: f64,
    pub(super) clients: f64,
}

/// Counters whose rates are shown, over all their labels.
const COUNTED: [&str; 2] = [names::TIMEOUTS_TOTAL, names::VIOLATIONS_TOTAL];

impl Sample {
    /// Asks for everything. What needs a token that is not there is left out, with the reason.
    pub(super) fn take(remote: &Remote, sort: Sort) -> Result<Sample, RemoteError> {
        let status = remote.json("GET", "/status")?;
        let mut metrics = String::new();
        // A text that is cut off tells less.
        let _ = remote.stream("GET", "/metrics")?.take(METRICS_BYTES_MAX).read_to_string(&mut metrics);
        let list = |path: &str, name: &str| match remote.json("GET", path) {
            Ok(mut answer) => Ok(answer[name].take()),
            Err(failure) => Err(failure.reason()),
        };
        Ok(Sample::of(
            now(),
            status,
            &metrics,
            list("/groups", "groups"),
            list(&format!("/clients?limit={ROWS}&sort={}", sort.as_str()), "clients"),
            list(&format!("/slow?limit={ROWS}"), "slow"),
            list(&format!("/violations?limit={ROWS}"), "violations"),
        ))
    }

    pub(super) fn of(
        at: Duration,
        status: Value,
        metrics: &str,
        groups: Result<Value, String>,
        clients: Result<Value, String>,
        slow: Result<Value, String>,
        violations: Result<Value, String>,
    ) -> Sample {
        let rows = |answer: Result<Value, String>| match answer {
            Ok(Value::Array(rows)) => Ok(rows),
            Ok(_) => Ok(Vec::new()),
            Err(reason) => Err(reason),
        };
        let mut sample = Sample {
            at,
            status,
            groups: rows(groups),
            clients: rows(clients),
            slow: rows(slow),
            violations: rows(violations),
            buckets: Vec::new(),
            counters: HashMap::new(),
            workers: BTreeMap::new(),
        };
        metrics.lines().for_each(|line| sample.count(line));
        sample
    }

    /// A line of Prometheus' text format.
    fn count(&mut self, line: &str) {
        let Some((series, value)) = line.rsplit_once(' ') else { return };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let Ok(value) = value.parse::<f64>() else { return };
        if name.strip_suffix("_bucket") == Some(names::REQUEST_SECONDS) {
            let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
            if let Some(Ok(bound)) = bound.map(|bound| bound.replace("+Inf", "inf").parse()) {
                self.buckets.push((bound, value as u64));
            }
        } else if name == names::WORKER_BUSY_SECONDS_TOTAL || name == names::WORKER_CLIENTS {
            let number = labels.split('"').nth(1).and_then(|number| number.parse().ok());
            let Some(load) = number.map(|number| self.workers.entry(number).or_default()) else { return };
            if name == names::WORKER_CLIENTS { load.clients = value } else { load.busy_seconds = value }
        } else if let Some(counted) = COUNTED.into_iter().find(|counted| *counted == name) {
            *self.counters.entry(counted).or_default() += value;
        }
    }

    /// Requests a second since `before`.
    pub(super) fn requests_per_second(&self, before: &Sample) -> f64 {
        let all = |sample: &Sample| sample.buckets.last().map_or(0.0, |(_, count)| *count as f64);
        (all(self) - all(before)).max(0.0) / self.seconds_since(before)
    }

    /// How often a second something was counted since `before`.
    pub(super) fn per_second(&self, before: &Sample, counted: &str) -> f64 {
        let of = |sample: &Sample| sample.counters.get(counted).copied().unwrap_or_default();
        (of(self) - of(before)).max(0.0) / self.seconds_since(before)
    }

    /// The time in seconds that this part of the requests since `before` did not exceed; `None` without any.
    pub(super) fn quantile(&self, before: &Sample, part: f64) -> Option<f64> {
        let earlier: HashMap<u64, u64> = before.buckets.iter().map(|(bound, count)| (bound.to_bits(), *count)).collect();
        let since: Vec<(f64, u64)> = self
            .buckets
            .iter()
            .map(|(bound, count)| (*bound, count.saturating_sub(earlier.get(&bound.to_bits()).copied().unwrap_or_default())))
            .collect();
        let all = since.last().filter(|(_, all)| *all > 0)?.1 as f64;
        since.iter().find(|(_, count)| *count as f64 >= all * part).map(|(bound, _)| *bound)
    }

    /// The share of a core that the worker has used since `before`, in percent.
    pub(super) fn busy_percent(&self, before: &Sample, worker: u32) -> Option<f64> {
        let busy = |sample: &Sample| sample.workers.get(&worker).map(|load| load.busy_seconds);
        let busy = (busy(self)? - busy(before)?).max(0.0);
        Some((100.0 * busy / self.seconds_since(before)).min(100.0))
    }

    /// Requests a second of the client with this number.
    pub(super) fn client_rate(&self, before: &Sample, client: &Value) -> Option<f64> {
        let known = before.clients.as_ref().ok()?.iter().find(|known| known["id"] == client["id"])?;
        let requests = client["requests"].as_f64()? - known["requests"].as_f64()?;
        Some(requests.max(0.0) / self.seconds_since(before))
    }

    /// The primaries of a cluster; `None` before one server.
    pub(super) fn nodes(&self) -> Option<&Vec<Value>> {
        self.status["upstream"]["cluster"]["nodes"].as_array()
    }

    /// Replies a second of the node at this address; `None` where it was not there before, or counts anew.
    pub(super) fn node_rate(&self, before: &Sample, node: &Value) -> Option<f64> {
        let known = before.nodes()?.iter().find(|known| known["address"] == node["address"])?;
        let replies = node["replies"].as_f64()? - known["replies"].as_f64()?;
        (replies >= 0.0).then(|| replies / self.seconds_since(before))
    }

    fn seconds_since(&self, before: &Sample) -> f64 {
        self.at.saturating_sub(before.at).as_secs_f64().max(0.001)
    }
}

fn now() -> Duration {
    static BEGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    BEGIN.get_or_init(std::time::Instant::now).elapsed()
}
