//! A latency histogram that workers fill without atomics and whose sum is exact.
//!
//! The recorder's own histograms keep each sample until they are drained; at a million requests a second that
//! is a megabyte and more of samples between two scrapes. Here a worker counts into plain cells, the totals take
//! whole counts, and the lines of the exposition format are written from the totals.

use std::cell::Cell;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets in nanoseconds, inclusive, from 25 us to 10 s; what is slower is in a last bucket without a bound.
pub const BOUNDS_NS: [u64; 18] = [
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Buckets of the histogram: one per bound and one above them all.
pub const BUCKETS: usize = BOUNDS_NS.len() + 1;

const NS_PER_SECOND: f64 = 1e9;

/// What one worker has seen since it last flushed.
#[derive(Debug, Default)]
pub struct Latencies {
    buckets: [Cell<u64>; BUCKETS],
    sum_ns: Cell<u64>,
}

impl Latencies {
    /// Counts `n` requests that took `elapsed` each.
    pub fn observe(&self, elapsed: Duration, n: u32) {
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let bucket = &self.buckets[bucket_of(ns)];
        bucket.set(bucket.get() + u64::from(n));
        self.sum_ns.set(self.sum_ns.get().saturating_add(ns.saturating_mul(u64::from(n))));
    }

    /// Moves what was seen into `totals`.
    pub fn flush(&self, totals: &LatencyTotals) {
        totals.lock().add(&self.take());
    }

    fn take(&self) -> Snapshot {
        Snapshot { buckets: std::array::from_fn(|bucket| self.buckets[bucket].take()), sum_ns: self.sum_ns.take().into() }
    }
}

/// What all workers have seen since the start.
#[derive(Debug, Default)]
pub struct LatencyTotals {
    kept: Mutex<Snapshot>,
}

/// The totals at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests per bucket, each counted in one bucket only.
    pub buckets: [u64; BUCKETS],
    /// Nanoseconds that all requests took together.
    pub sum_ns: u128,
}

impl LatencyTotals {
    /// The totals now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Adds what another has.
    pub fn add(&mut self, other: &Snapshot) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(total, count)| *total += count);
        self.sum_ns += other.sum_ns;
    }

    /// What was counted since an earlier moment.
    pub fn since(&self, before: &Snapshot) -> Snapshot {
        Snapshot {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].saturating_sub(before.buckets[bucket])),
            sum_ns: self.sum_ns.saturating_sub(before.sum_ns),
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The nanoseconds that this part of them did not exceed, taken to be spread evenly between two bounds; the last bound
    /// where more was needed. `None` without any.
    pub fn quantile_ns(&self, part: f64) -> Option<u64> {
        let all = self.count();
        let wanted = all as f64 * part;
        let (mut low, mut below) = (0, 0);
        for (bound, count) in BOUNDS_NS.iter().zip(self.buckets) {
            if count > 0 && (below + count) as f64 >= wanted {
                let share = (wanted - below as f64) / count as f64;
                return Some(low + ((bound - low) as f64 * share) as u64);
            }
            (low, below) = (*bound, below + count);
        }
        (all > 0).then_some(low)
    }

    /// Appends its lines, with this label.
    pub fn render(&self, name: &str, label: Option<(&str, &str)>, out: &mut String) {
        let label = label.map(|(label, value)| (label, escaped(value)));
        let label = label.as_ref();
        let first = label.map(|(label, value)| format!("{label}=\"{value}\",")).unwrap_or_default();
        let alone = label.map(|(label, value)| format!("{{{label}=\"{value}\"}}")).unwrap_or_default();
        let mut at_most = 0;
        for (bound, count) in BOUNDS_NS.iter().zip(self.buckets) {
            at_most += count;
            push_line(out, format_args!("{name}_bucket{{{first}le=\"{}\"}} {at_most}", *bound as f64 / NS_PER_SECOND));
        }
        let count: u64 = self.buckets.iter().sum();
        push_line(out, format_args!("{name}_bucket{{{first}le=\"+Inf\"}} {count}"));
        push_line(out, format_args!("{name}_sum{alone} {}", self.sum_ns as f64 / NS_PER_SECOND));
        push_line(out, format_args!("{name}_count{alone} {count}"));
    }
}

/// What one worker has seen of each group since it last flushed.
#[derive(Debug, Default)]
pub struct GroupLatencies {
    rows: Vec<(Arc<str>, Latencies)>,
}

impl GroupLatencies {
    /// Gives each of these groups a row, unless it has one.
    pub fn name(&mut self, groups: &[Arc<str>]) {
        for group in groups {
            if !self.rows.iter().any(|(name, _)| name == group) {
                self.rows.push((Arc::clone(group), Latencies::default()));
            }
        }
    }

    /// Counts one, by the group's row. A group that was never named is not counted.
    pub fn observe(&self, row: usize, elapsed: Duration) {
        if let Some((_, latencies)) = self.rows.get(row) {
            latencies.observe(elapsed, 1);
        }
    }

    /// Takes what was seen since this was last called.
    pub fn take(&self, mut tell: impl FnMut(&Arc<str>, &Snapshot)) {
        for (name, latencies) in &self.rows {
            let seen = latencies.take();
            if seen.sum_ns > 0 || seen.buckets.iter().any(|count| *count > 0) {
                tell(name, &seen);
            }
        }
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The lines that stand before a histogram's.
pub fn render_head(name: &str, help: &str, out: &mut String) {
    push_line(out, format_args!("# HELP {name} {help}"));
    push_line(out, format_args!("# TYPE {name} histogram"));
}

fn push_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{line}");
}

fn bucket_of(ns: u64) -> usize {
    BOUNDS_NS.iter().position(|bound| ns <= *bound).unwrap_or(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket_and_at_the_last_bound_beyond_all() {
        let mut seen = Snapshot::default();
        assert_eq!(seen.quantile_ns(0.5), None);
        seen.buckets[1] = 100;
        assert_eq!([0.0, 0.5, 1.0].map(|part| seen.quantile_ns(part)), [25_000, 37_500, 50_000].map(Some));
        seen.buckets[BUCKETS - 1] = 100;
        assert_eq!([0.5, 0.99].map(|part| seen.quantile_ns(part)), [50_000, 10_000_000_000].map(Some));
        assert_eq!((seen.count(), seen.since(&seen).count()), (200, 0));
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_next_nanosecond_to_the_next() {
        for (index, bound) in BOUNDS_NS.into_iter().enumerate() {
            assert_eq!(bucket_of(bound), index);
            assert_eq!(bucket_of(bound + 1), index + 1);
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn folding_moves_counts_and_leaves_nothing_behind() {
        let (latencies, totals) = (Latencies::default(), LatencyTotals::default());
        latencies.observe(Duration::from_micros(25), 3);
        latencies.observe(Duration::from_secs(11), 1);
        latencies.flush(&totals);
        latencies.flush(&totals);

        let snapshot = totals.snapshot();
        assert_eq!(snapshot.buckets[0], 3);
        assert_eq!(snapshot.buckets[BUCKETS - 1], 1);
        assert_eq!(snapshot.buckets.iter().sum::<u64>(), 4);
        assert_eq!(snapshot.sum_ns, 75_000 + 11_000_000_000);
    }

    #[test]
    fn two_workers_add_up() {
        let totals = LatencyTotals::default();
        for _ in 0..2 {
            let latencies = Latencies::default();
            latencies.observe(Duration::from_micros(80), 5);
            latencies.flush(&totals);
        }
        assert_eq!(totals.snapshot().buckets[2], 10);
        assert_eq!(totals.snapshot().sum_ns, 800_000);
    }

    #[test]
    fn an_absurd_duration_does_not_overflow() {
        let (latencies, totals) = (Latencies::default(), LatencyTotals::default());
        latencies.observe(Duration::MAX, u32::MAX);
        latencies.observe(Duration::MAX, u32::MAX);
        latencies.flush(&totals);
        assert_eq!(totals.snapshot().sum_ns, u128::from(u64::MAX));
    }

    #[test]
    fn rendered_buckets_are_cumulative_and_bounds_are_plain_decimals() {
        let (latencies, totals) = (Latencies::default(), LatencyTotals::default());
        latencies.observe(Duration::from_micros(10), 1);
        latencies.observe(Duration::from_micros(30), 2);
        latencies.observe(Duration::from_secs(60), 4);
        latencies.flush(&totals);
        let mut text = String::new();
        render_head("x", "about x", &mut text);
        totals.snapshot().render("x", None, &mut text);

        assert!(text.starts_with("# HELP x about x\n# TYPE x histogram\n"));
        for line in [
            "x_bucket{le=\"0.000025\"} 1\n",
            "x_bucket{le=\"0.00005\"} 3\n",
            "x_bucket{le=\"10\"} 3\n",
            "x_bucket{le=\"+Inf\"} 7\n",
            "x_sum 240.00007\n",
            "x_count 7\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
