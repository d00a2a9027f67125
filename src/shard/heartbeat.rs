//! When a shard's event loop last turned, for control to see: the one thing of a shard that another thread reads.
//!
//! The tick writes it, some fifty times a second; no request touches it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time of a shard's last tick.
#[derive(Debug)]
pub struct Heartbeat {
    since: Instant,
    /// Milliseconds from `since` to the last tick.
    last_ms: AtomicU64,
}

impl Heartbeat {
    /// A shard that has not ticked yet counts from `now`.
    pub fn new(now: Instant) -> Heartbeat {
        Heartbeat { since: now, last_ms: AtomicU64::new(0) }
    }

    /// The event loop turns.
    pub fn beat(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.since).as_millis();
        self.last_ms.store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long the event loop has not turned.
    pub fn age(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.since).saturating_sub(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_counts_from_the_last_beat() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let heartbeat = Heartbeat::new(start);
        assert_eq!(heartbeat.age(after(1500)), Duration::from_millis(1500), "it has not begun to turn");
        heartbeat.beat(after(2000));
        assert_eq!(heartbeat.age(after(2020)), Duration::from_millis(20));
        assert_eq!(heartbeat.age(after(1000)), Duration::ZERO, "an earlier look at the clock");
    }
}
