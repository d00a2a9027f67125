//! The state of the store and its counts, for metrics and the status page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::KeyList;

/// Upper bounds of the latency buckets, in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// Whether the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    Up,
    /// It answers, but the last exchange took more than half the timeout, or more requests came than may wait.
    Slow,
    /// It does not answer, or has not yet.
    Down {
        since: Instant,
    },
}

impl StoreState {
    /// The word for it on the status page.
    pub fn name(self) -> &'static str {
        match self {
            StoreState::Up => "up",
            StoreState::Slow => "slow",
            StoreState::Down { .. } => "down",
        }
    }
}

/// The store at one moment.
#[derive(Clone, Debug)]
pub struct StoreSnapshot {
    /// `embedded` or `redis`.
    pub backend: &'static str,
    pub state: StoreState,
    /// The last error, whether or not it is over. Contains no secret.
    pub last_error: Option<Arc<str>>,
    /// Requests that wait for the link.
    pub queue: usize,
    /// Requests that were refused because the queue was full.
    pub refused: u64,
    pub traffic: StoreTraffic,
    /// All script counters, in no order.
    pub counters: Arc<[(Arc<str>, i64)]>,
    /// A script has named more counters than there may be.
    pub counters_full: bool,
    /// The API keys added and revoked, as last read; `None` until they have been read once.
    pub keys: Option<Arc<KeyList>>,
}

/// Exchanges with Redis since the start. All 0 for the embedded store.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreTraffic {
    /// Those that succeeded.
    pub exchanges: u64,
    /// Exchanges and attempts to connect that failed.
    pub failures: u64,
    /// Requests that were answered with a failure.
    pub unanswered: u64,
    /// Commands over all exchanges that succeeded.
    pub commands: u64,
    /// Commands of the largest one.
    pub max_commands: u64,
    /// Of the exchanges that succeeded.
    pub latency: StoreLatency,
}

impl StoreTraffic {
    /// Counts an exchange that succeeded.
    pub(super) fn record(&mut self, commands: u64, took: Duration) {
        self.exchanges += 1;
        self.commands += commands;
        self.max_commands = self.max_commands.max(commands);
        self.latency.record(took);
    }
}

/// A histogram of durations.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreLatency {
    /// Not cumulative, one per bound of [`LATENCY_BOUNDS_US`] and one for what is above the last.
    pub buckets: [u64; LATENCY_BOUNDS_US.len() + 1],
    pub sum_us: u64,
}

impl StoreLatency {
    fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|&bound| bound < us);
        self.buckets[bucket] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_belongs_to_that_bucket() {
        let mut latency = StoreLatency::default();
        for us in [100, 101, 1_000_000, 1_000_001] {
            latency.record(Duration::from_micros(us));
        }
        latency.record(Duration::MAX);
        assert_eq!(latency.buckets[..2], [1, 1]);
        assert_eq!(latency.buckets[11..], [1, 2]);
        assert_eq!(latency.sum_us, u64::MAX);
    }
}
