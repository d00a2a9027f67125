//! Whether the store answers, and when to connect again: decided from the results of exchanges.

use std::time::{Duration, Instant};

use super::snapshot::StoreState;

/// The first wait before connecting again; it doubles with each failure in a row.
const MIN_BACKOFF: Duration = Duration::from_millis(25);
/// The longest wait.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// A store that has refused nothing for so long is taken for cured.
const CURED_AFTER: Duration = Duration::from_secs(10);

/// Begins as down, with the first attempt due at once.
#[derive(Debug)]
pub struct StoreHealth {
    state: StoreState,
    /// An exchange that takes longer makes the store slow.
    slow: Duration,
    next_try: Instant,
    /// In a row; a connection that never carried an exchange counts too.
    failures: u32,
    /// Answers that are errors about the store as a whole, such as a missing permission, and when the last one came. They
    /// count as a row although exchanges succeed in between, which may be of another kind.
    refusals: u32,
    refused: Instant,
    /// The state of the jitter's generator.
    random: u64,
}

impl StoreHealth {
    /// `seed` should differ between processes, so that they do not all reconnect at the same moment.
    pub fn new(now: Instant, timeout: Duration, seed: u64) -> StoreHealth {
        StoreHealth {
            state: StoreState::Down { since: now },
            slow: timeout / 2,
            next_try: now,
            failures: 0,
            refusals: 0,
            refused: now,
            random: seed,
        }
    }

    pub fn state(&self) -> StoreState {
        self.state
    }

    pub fn is_down(&self) -> bool {
        matches!(self.state, StoreState::Down { .. })
    }

    /// When to connect, if the store is down.
    pub fn next_try(&self) -> Instant {
        self.next_try
    }

    /// A new connection has passed its probe.
    pub fn connected(&mut self) {
        self.state = StoreState::Up;
    }

    /// An exchange, or an attempt to connect, has failed. Returns whether the store was up until now.
    pub fn failed(&mut self, now: Instant) -> bool {
        let was_up = !self.is_down();
        if was_up {
            self.state = StoreState::Down { since: now };
        }
        self.next_try = now + self.backoff();
        self.failures = self.failures.saturating_add(1);
        was_up
    }

    /// The same for an exchange that was answered, by an error about the store as a whole.
    pub fn refused(&mut self, now: Instant) -> bool {
        if now - self.refused > CURED_AFTER {
            self.refusals = 0;
        }
        self.refused = now;
        self.failures = self.failures.max(self.refusals);
        self.refusals = self.refusals.saturating_add(1);
        self.failed(now)
    }

    /// An exchange has succeeded. `queue_full`: meanwhile more requests came than may wait.
    pub fn exchanged(&mut self, took: Duration, queue_full: bool) {
        self.failures = 0;
        self.state = if queue_full || took > self.slow { StoreState::Slow } else { StoreState::Up };
    }

    /// A random duration between half of the wait and all of it.
    fn backoff(&mut self) -> Duration {
        let wait = MIN_BACKOFF.saturating_mul(1 << self.failures.min(16)).min(MAX_BACKOFF);
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        wait / 2 + (wait / 2).mul_f64(((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(100);

    fn waits(seed: u64, failures: usize) -> Vec<Duration> {
        let now = Instant::now();
        let mut health = StoreHealth::new(now, TIMEOUT, seed);
        let wait = |_| {
            health.failed(now);
            health.next_try() - now
        };
        (0..failures).map(wait).collect()
    }

    #[test]
    fn it_begins_down_with_an_attempt_due() {
        let now = Instant::now();
        let health = StoreHealth::new(now, TIMEOUT, 1);
        assert_eq!(health.state(), StoreState::Down { since: now });
        assert_eq!(health.next_try(), now);
    }

    #[test]
    fn waits_double_up_to_the_longest_less_up_to_half_at_random() {
        for seed in 0..100 {
            for (failure, wait) in waits(seed, 40).into_iter().enumerate() {
                let whole = Duration::from_millis(25 << failure.min(10)).min(Duration::from_secs(2));
                assert!((whole / 2..=whole).contains(&wait), "failure {failure}: {wait:?}");
            }
        }
    }

    #[test]
    fn processes_do_not_reconnect_together() {
        assert_ne!(waits(1, 5), waits(2, 5));
    }

    #[test]
    fn only_an_exchange_ends_a_row_of_failures() {
        let now = Instant::now();
        let mut health = StoreHealth::new(now, TIMEOUT, 1);
        for _ in 0..10 {
            health.failed(now);
            health.connected();
        }
        assert!(health.next_try() - now >= Duration::from_secs(1));
        health.exchanged(Duration::ZERO, false);
        health.failed(now);
        assert!(health.next_try() - now <= Duration::from_millis(25));
    }

    #[test]
    fn refusals_are_a_row_although_other_exchanges_succeed_in_between() {
        let now = Instant::now();
        let mut health = StoreHealth::new(now, TIMEOUT, 1);
        for _ in 0..10 {
            health.connected();
            health.exchanged(Duration::ZERO, false);
            health.refused(now);
        }
        assert!(health.next_try() - now >= Duration::from_secs(1));
        health.exchanged(Duration::ZERO, false);
        let later = now + 2 * CURED_AFTER;
        health.refused(later);
        assert!(health.next_try() - later <= Duration::from_millis(25));
    }

    #[test]
    fn down_lasts_from_the_first_failure() {
        let now = Instant::now();
        let mut health = StoreHealth::new(now, TIMEOUT, 1);
        health.connected();
        assert!(health.failed(now));
        assert!(!health.failed(now + TIMEOUT));
        assert_eq!(health.state(), StoreState::Down { since: now });
    }

    #[test]
    fn slow_is_more_than_half_the_timeout_or_a_full_queue() {
        let mut health = StoreHealth::new(Instant::now(), TIMEOUT, 1);
        for (took_ms, queue_full, state) in [
            (50, false, StoreState::Up),
            (51, false, StoreState::Slow),
            (1, false, StoreState::Up),
            (1, true, StoreState::Slow),
        ] {
            health.exchanged(Duration::from_millis(took_ms), queue_full);
            assert_eq!(health.state(), state);
            assert!(!health.is_down());
        }
    }
}
