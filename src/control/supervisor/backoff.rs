//! How long a shard that has ended waits until it is restarted.

use std::time::Duration;

/// The pause before the next restart of one shard. A shard that had run for a while is restarted at once; one that
/// fails again and again waits twice as long each time, so that it neither fills the log nor takes its core from
/// other shards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RestartBackoff {
    last: Duration,
}

impl RestartBackoff {
    /// A shard that ran for less than this counts as a failed start.
    const STABLE_AFTER: Duration = Duration::from_secs(10);
    const MIN_PAUSE: Duration = Duration::from_millis(100);
    const MAX_PAUSE: Duration = Duration::from_secs(10);

    /// The pause after a run of `uptime`.
    pub fn pause_after(&mut self, uptime: Duration) -> Duration {
        self.last = if uptime >= Self::STABLE_AFTER {
            Duration::ZERO
        } else {
            (self.last * 2).clamp(Self::MIN_PAUSE, Self::MAX_PAUSE)
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_had_run_for_long_is_restarted_at_once() {
        assert_eq!(RestartBackoff::default().pause_after(Duration::from_secs(3600)), Duration::ZERO);
    }

    #[test]
    fn a_shard_that_fails_at_once_waits_longer_each_time_up_to_a_limit() {
        let mut backoff = RestartBackoff::default();
        let pauses: Vec<_> =
            (0..10).map(|_| backoff.pause_after(Duration::from_millis(1)).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn a_long_run_makes_the_next_pause_short_again() {
        let mut backoff = RestartBackoff::default();
        for _ in 0..5 {
            backoff.pause_after(Duration::ZERO);
        }
        backoff.pause_after(RestartBackoff::STABLE_AFTER);
        assert_eq!(backoff.pause_after(Duration::ZERO), RestartBackoff::MIN_PAUSE);
    }
}
