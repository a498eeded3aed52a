//! The metrics recorder of this process, and its text in Prometheus' format.

use std::fmt::Write;
use std::sync::Arc;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::gap;
use super::label::{RequestClass, key};
use super::latency::render_head;
use super::totals::{Totals, WorkerLoad};
use super::{log, names, process};

/// Upper bounds of the histograms of members.
const MEMBERS_BOUNDS: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0];

/// Upper bounds of the histogram of REST requests.
const REST_BOUNDS: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0];

/// A second recorder was to be installed in one process.
#[derive(Debug, thiserror::Error)]
#[error("this process has a metrics recorder already")]
pub struct InstallError;

/// Where `/metrics` comes from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exposition {
    recorded: PrometheusHandle,
    totals: Arc<Totals>,
}

impl Exposition {
    /// Installs the recorder for this process. Whatever was counted before is lost, so this comes first.
    pub fn install() -> Result<Exposition, InstallError> {
        let (recorder, exposition) = Exposition::build();
        metrics::set_global_recorder(recorder).map_err(|_| InstallError)?;
        names::describe();
        gauge!(names::BUILD_INFO, key::VERSION => env!("RESPGUARD_VERSION")).set(1.0);
        Ok(exposition)
    }

    /// A recorder that is not installed, with its text.
    pub fn build() -> (PrometheusRecorder, Exposition) {
        let recorder = buckets(PrometheusBuilder::new()).build_recorder();
        let recorded = recorder.handle();
        (recorder, Exposition { recorded, totals: Arc::default() })
    }

    /// What each worker flushes its metrics into, the request latencies in this text among them.
    pub fn totals(&self) -> Arc<Totals> {
        Arc::clone(&self.totals)
    }

    /// Everything recorded, in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        counter!(names::LOG_LOST_TOTAL).absolute(log::lost());
        let mut text = self.recorded.render();
        self.render_latencies(&mut text);
        self.render_workers(&mut text);
        process::render(&mut text);
        text
    }

    fn render_latencies(&self, text: &mut String) {
        for metric in names::ALL {
            match metric.name {
                names::REQUEST_SECONDS => {
                    render_head(metric.name, metric.help, text);
                    self.totals.all_latencies().render(metric.name, None, text);
                }
                names::CLASS_SECONDS => {
                    render_head(metric.name, metric.help, text);
                    for (class, totals) in RequestClass::ALL.into_iter().zip(&self.totals.latencies) {
                        totals.snapshot().render(metric.name, Some((key::CLASS, class.as_str())), text);
                    }
                }
                names::GROUP_SECONDS => {
                    let groups = self.totals.groups();
                    if !groups.is_empty() {
                        render_head(metric.name, metric.help, text);
                    }
                    for (name, totals) in groups {
                        totals.latency.render(metric.name, Some((key::GROUP, &name)), text);
                    }
                }
                _ => {}
            }
        }
    }

    fn render_workers(&self, text: &mut String) {
        let workers = self.totals.workers();
        for metric in names::ALL {
            let value: &dyn Fn(&WorkerLoad) -> f64 = match metric.name {
                names::WORKER_BUSY_SECONDS_TOTAL => &|load| load.busy.as_secs_f64(),
                names::WORKER_CLIENTS => &|load| load.clients as f64,
                _ => continue,
            };
            let shape = format!("{:?}", metric.shape).to_lowercase();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} {shape}", metric.name, metric.help);
            for (number, load) in &workers {
                let _ = writeln!(text, "{}{{{}=\"{number}\"}} {}", metric.name, key::WORKER, value(load));
            }
        }
    }

    /// Publishes what the recorder gathered aside; to be called every few seconds.
    pub fn run_upkeep(&self) {
        self.recorded.run_upkeep();
    }
}
/// True histograms instead of quantiles, which cannot be added up over processes.
fn buckets(builder: PrometheusBuilder) -> PrometheusBuilder {
    let gap_bounds = gap::BOUNDS_US.map(|bound| bound as f64 / 1e6);
    [
        (names::HOLD_GAP_SECONDS, &gap_bounds[..]),
        (names::HOLD_PREFIX_MEMBERS, &MEMBERS_BOUNDS[..]),
        (names::SPLIT_MEMBERS, &MEMBERS_BOUNDS[..]),
        (names::REST_REQUEST_SECONDS, &REST_BOUNDS[..]),
    ]
    .into_iter()
    .fold(builder, |builder, (name, bounds)| {
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds).expect("the bounds are not empty")
    })
}
