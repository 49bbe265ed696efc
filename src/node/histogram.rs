//! How long things took, in buckets that Prometheus can add up.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Counts of times, each up to the bound of its bucket.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BOUNDS_MICROS.len()],
    micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: [const { AtomicU64::new(0) }; BOUNDS_MICROS.len()], micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// One more. What is above all bounds stands in the last bucket.
    pub(crate) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_MICROS.partition_point(|bound| *bound < micros).min(BOUNDS_MICROS.len() - 1);
        self.counts[at].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
    }

    /// Upper bound of each bucket in microseconds with the number of times up to it; the sum of all times.
    pub(crate) fn load(&self) -> (Vec<(u64, u64)>, u64) {
        let mut sum = 0;
        let buckets = BOUNDS_MICROS.iter().zip(&self.counts).map(|(bound, count)| {
            sum += count.load(Relaxed);
            (*bound, sum)
        });
        (buckets.collect(), self.micros.load(Relaxed))
    }
}

/// Each is 1.4 to 2 times the one before: a p99 is known to within that. A sync that takes 10 s ends the node.
const BOUNDS_MICROS: [u64; 24] = [
    50, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 50_000,
    70_000, 100_000, 200_000, 500_000, 1_000_000, 10_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_that_holds_it_and_in_all_above() {
        let histogram = Histogram::default();
        for micros in [1, 50, 51, 1_000, 99_000_000] {
            histogram.add(Duration::from_micros(micros));
        }
        let (buckets, micros) = histogram.load();
        assert_eq!(micros, 99_001_102);
        let up_to = |wanted: u64| buckets.iter().find(|(bound, _)| *bound == wanted).unwrap().1;
        assert_eq!([50, 100, 700, 1_000, 1_000_000, 10_000_000].map(up_to), [2, 3, 3, 4, 4, 5]);
        assert!(BOUNDS_MICROS.is_sorted_by(|a, b| a < b));
    }
}
