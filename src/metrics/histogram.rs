//! Histograms with fixed buckets, for durations and numbers.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::Duration;

/// Buckets in each histogram, the unbounded last one not counted.
const BUCKETS: usize = 16;

/// The unit of a histogram's values, and its buckets.
pub trait Scale {
    /// The buckets' inclusive upper bounds, rising: in the unit recorded, and as the `le` label shows them.
    const BOUNDS: [(u64, &'static str); BUCKETS];
    /// One recorded unit in the unit shown.
    const UNIT: f64;
}

/// Durations of HTTP exchanges: recorded in microseconds, shown in seconds.
#[derive(Clone, Debug, Default)]
pub struct Exchanges;

impl Scale for Exchanges {
    const BOUNDS: [(u64, &'static str); BUCKETS] = [
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
    const UNIT: f64 = 1e-6;
}

/// Durations of script calls: recorded in nanoseconds, shown in seconds.
#[derive(Clone, Debug, Default)]
pub struct Calls;

impl Scale for Calls {
    const BOUNDS: [(u64, &'static str); BUCKETS] = [
        (500, "0.0000005"),
        (1_000, "0.000001"),
        (2_500, "0.0000025"),
        (5_000, "0.000005"),
        (10_000, "0.00001"),
        (25_000, "0.000025"),
        (50_000, "0.00005"),
        (100_000, "0.0001"),
        (250_000, "0.00025"),
        (500_000, "0.0005"),
        (1_000_000, "0.001"),
        (2_500_000, "0.0025"),
        (5_000_000, "0.005"),
        (10_000_000, "0.01"),
        (50_000_000, "0.05"),
        (100_000_000, "0.1"),
    ];
    const UNIT: f64 = 1e-9;
}

/// Operations of script calls: a plain number.
#[derive(Clone, Debug, Default)]
pub struct Operations;

impl Scale for Operations {
    const BOUNDS: [(u64, &'static str); BUCKETS] = [
        (10, "10"),
        (20, "20"),
        (50, "50"),
        (100, "100"),
        (200, "200"),
        (500, "500"),
        (1_000, "1000"),
        (2_000, "2000"),
        (5_000, "5000"),
        (10_000, "10000"),
        (20_000, "20000"),
        (50_000, "50000"),
        (100_000, "100000"),
        (200_000, "200000"),
        (500_000, "500000"),
        (1_000_000, "1000000"),
    ];
    const UNIT: f64 = 1.0;
}

/// How many values fell into each bucket, and their sum.
#[derive(Clone, Debug, Default)]
pub struct Histogram<S = Exchanges> {
    /// Not cumulative: each counts the values above the bound before it.
    buckets: [Cell<u64>; BUCKETS],
    /// Values above the last bound.
    beyond: Cell<u64>,
    sum: Cell<u64>,
    scale: PhantomData<S>,
}

impl Histogram<Exchanges> {
    pub fn record(&self, duration: Duration) {
        self.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Histogram<Calls> {
    pub fn record(&self, duration: Duration) {
        self.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl<S: Scale> Histogram<S> {
    /// Counts a value in the unit recorded.
    pub fn add(&self, value: u64) {
        // Most values are small: the first few bounds decide.
        let place = S::BOUNDS.iter().position(|&(bound, _)| value <= bound);
        let bucket = place.and_then(|place| self.buckets.get(place)).unwrap_or(&self.beyond);
        add(bucket, 1);
        add(&self.sum, value);
    }

    /// Adds another shard's counts.
    pub(super) fn absorb(&self, other: &Histogram<S>) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            add(mine, theirs.get());
        }
        add(&self.beyond, other.beyond.get());
        add(&self.sum, other.sum.get());
    }

    /// Each bound's label, and how many values are at most the bound, in order.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.buckets.iter().scan(0u64, |sum, bucket| {
            *sum = sum.wrapping_add(bucket.get());
            Some(*sum)
        });
        S::BOUNDS.iter().map(|(_, label)| *label).zip(counts)
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(self.beyond.get(), |sum, bucket| sum.wrapping_add(bucket.get()))
    }

    /// The sum of all values, in the unit shown.
    pub fn sum(&self) -> f64 {
        self.sum.get() as f64 * S::UNIT
    }
}

/// Adds to a counter. It wraps rather than panics; Prometheus takes that for a restart.
pub(super) fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get().wrapping_add(n));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_are_the_bounds<S: Scale>() {
        for (bound, label) in S::BOUNDS {
            let shown = bound as f64 * S::UNIT;
            assert!((label.parse::<f64>().unwrap() / shown - 1.0).abs() < 1e-9, "{label} is not {shown}");
        }
        assert!(S::BOUNDS.is_sorted());
    }

    #[test]
    fn labels_are_the_bounds_in_the_unit_shown_and_rise() {
        labels_are_the_bounds::<Exchanges>();
        labels_are_the_bounds::<Calls>();
        labels_are_the_bounds::<Operations>();
    }

    #[test]
    fn a_duration_on_a_bound_belongs_to_that_bucket() {
        let histogram = Histogram::<Exchanges>::default();
        for us in [500, 501, 1_000, 60_000_000, 60_000_001] {
            histogram.record(Duration::from_micros(us));
        }
        let counts: Vec<_> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts[..3], [1, 3, 3]);
        assert_eq!(counts.last(), Some(&4));
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 120.002002).abs() < 1e-9);
    }

    #[test]
    fn absurd_durations_do_not_panic() {
        let histogram = Histogram::<Calls>::default();
        histogram.record(Duration::MAX);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.count(), 2);
    }
}
