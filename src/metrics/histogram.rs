//! Durations counted in fixed buckets.

use std::cell::Cell;
use std::time::Duration;

/// The buckets' upper bounds: in microseconds, and as the `le` label (seconds) has them.
pub(super) const BOUNDS: [(u64, &str); 16] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
];

/// How many durations fell into each bucket, and their sum.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Not cumulative: each counts what is above the bound before it.
    buckets: [Cell<u64>; BOUNDS.len()],
    /// Above the last bound.
    beyond: Cell<u64>,
    sum_us: Cell<u64>,
}

impl Histogram {
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Most requests are fast: the first few bounds decide.
        let place = BOUNDS.iter().position(|&(bound, _)| us <= bound);
        let bucket = place.and_then(|place| self.buckets.get(place)).unwrap_or(&self.beyond);
        add(bucket, 1);
        add(&self.sum_us, us);
    }

    pub(super) fn absorb(&self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            add(mine, theirs.get());
        }
        add(&self.beyond, other.beyond.get());
        add(&self.sum_us, other.sum_us.get());
    }

    /// How many durations are at most each bound of `BOUNDS`, in order.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().scan(0u64, |sum, bucket| {
            *sum = sum.wrapping_add(bucket.get());
            Some(*sum)
        })
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(self.beyond.get(), |sum, bucket| sum.wrapping_add(bucket.get()))
    }

    pub fn sum_seconds(&self) -> f64 {
        self.sum_us.get() as f64 / 1e6
    }
}

/// Counters wrap, as Prometheus expects of them, rather than panic.
pub(super) fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get().wrapping_add(n));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_bounds_in_seconds_and_rise() {
        for (us, label) in BOUNDS {
            assert_eq!(label.parse::<f64>().unwrap(), us as f64 / 1e6);
        }
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn a_duration_on_a_bound_belongs_to_that_bucket() {
        let histogram = Histogram::default();
        for us in [500, 501, 1_000, 60_000_000, 60_000_001] {
            histogram.record(Duration::from_micros(us));
        }
        let counts: Vec<_> = histogram.cumulative().collect();
        assert_eq!(counts[..3], [1, 3, 3]);
        assert_eq!(counts.last(), Some(&4));
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.sum_seconds(), 120.002002);
    }

    #[test]
    fn absurd_durations_do_not_panic() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.count(), 2);
    }
}
