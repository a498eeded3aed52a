//! A histogram per group of the gaps in its holds, which workers fill without atomics.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// Upper bounds of the buckets in microseconds, inclusive; what is longer is in a last bucket without a bound.
pub const BOUNDS_US: [u64; 10] = [50, 100, 250, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000];

/// Buckets of the histogram: one per bound and one above them all.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Gaps per bucket, each counted in one bucket only.
pub type Counts = [u64; BUCKETS];

/// What one worker has seen since it last flushed, per group.
#[derive(Debug, Default)]
pub struct Gaps {
    rows: Vec<(Arc<str>, [Cell<u64>; BUCKETS])>,
}

impl Gaps {
    /// Gives each of these groups a row, unless it has one.
    pub fn name(&mut self, groups: &[Arc<str>]) {
        for group in groups {
            if !self.rows.iter().any(|(name, _)| name == group) {
                self.rows.push((Arc::clone(group), std::array::from_fn(|_| Cell::new(0))));
            }
        }
    }

    /// Counts a gap, by the group's row. A group that was never named is not counted.
    pub fn observe(&self, row: usize, gap: Duration) {
        if let Some((_, counts)) = self.rows.get(row) {
            let count = &counts[bucket_of(gap)];
            count.set(count.get() + 1);
        }
    }

    /// Takes what was seen since this was last called.
    pub fn take(&self, mut tell: impl FnMut(&Arc<str>, Counts)) {
        for (name, counts) in &self.rows {
            if counts.iter().any(|count| count.get() > 0) {
                tell(name, std::array::from_fn(|bucket| counts[bucket].take()));
            }
        }
    }
}

/// The bound that half of the gaps do not exceed; `None` without gaps, or where that is beyond all bounds.
pub fn median_us(counts: &Counts) -> Option<u64> {
    let all: u64 = counts.iter().sum();
    let mut at_most = 0;
    let bounds = BOUNDS_US.iter().zip(counts).map(|(bound, count)| {
        at_most += count;
        (*bound, at_most)
    });
    bounds.into_iter().find(|(_, at_most)| all > 0 && at_most * 2 >= all).map(|(bound, _)| bound)
}

fn bucket_of(gap: Duration) -> usize {
    BOUNDS_US.iter().position(|bound| gap <= Duration::from_micros(*bound)).unwrap_or(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(gaps: &Gaps) -> Vec<(String, Counts)> {
        let mut counted = Vec::new();
        gaps.take(|name, counts| counted.push((name.to_string(), counts)));
        counted
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_next_nanosecond_to_the_next() {
        for (index, bound) in BOUNDS_US.into_iter().enumerate() {
            assert_eq!(bucket_of(Duration::from_micros(bound)), index);
            assert_eq!(bucket_of(Duration::from_micros(bound) + Duration::from_nanos(1)), index + 1);
        }
        assert_eq!((bucket_of(Duration::ZERO), bucket_of(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn each_group_counts_for_itself_and_taking_leaves_nothing_behind() {
        let mut gaps = Gaps::default();
        gaps.name(&["a".into(), "b".into()]);
        gaps.name(&["b".into(), "c".into()]);
        gaps.observe(1, Duration::from_micros(60));
        gaps.observe(2, Duration::from_secs(1));
        gaps.observe(3, Duration::from_secs(1));
        let (mut of_b, mut of_c) = ([0; BUCKETS], [0; BUCKETS]);
        (of_b[1], of_c[BUCKETS - 1]) = (1, 1);
        assert_eq!(counted(&gaps), [("b".to_owned(), of_b), ("c".to_owned(), of_c)]);
        assert_eq!(counted(&gaps), []);
    }

    #[test]
    fn half_of_the_gaps_are_within_the_median() {
        let mut counts = [0; BUCKETS];
        assert_eq!(median_us(&counts), None);
        (counts[0], counts[3]) = (1, 1);
        assert_eq!(median_us(&counts), Some(50));
        counts[3] = 2;
        assert_eq!(median_us(&counts), Some(500));
        counts[BUCKETS - 1] = 9;
        assert_eq!(median_us(&counts), None);
    }
}
