//! How many tokens of a key one shard uses, from its recent past.

/// Uses are counted in beats of this length, in milliseconds.
pub(super) const BEAT_MS: u64 = 100;

/// Fractions of a use: numbers here are kept in 16ths.
const SCALE: u64 = 16;

/// The uses per beat: a mean of the past beats in which each counts half of the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    beat: u64,
    /// In the current beat.
    uses: u64,
    /// Of the beats before, in 16ths.
    mean: u64,
}

impl Demand {
    pub(super) fn new(now_ms: u64) -> Demand {
        Demand { beat: now_ms / BEAT_MS, uses: 0, mean: 0 }
    }

    /// One request came, whatever became of it.
    pub(super) fn count(&mut self, now_ms: u64) {
        let beat = now_ms / BEAT_MS;
        let passed = beat.saturating_sub(self.beat);
        if passed > 0 {
            self.mean = ((self.mean + self.uses * SCALE) / 2) >> (passed - 1).min(63);
            self.uses = 0;
            self.beat = beat;
        }
        self.uses += 1;
    }

    /// Uses to be expected in so many milliseconds. The beat that runs counts at once if it is the fastest so far,
    /// but for its first use: a single request says nothing about the next.
    pub(super) fn within(&self, ms: u64) -> u64 {
        let per_beat = self.mean.max((self.uses.max(1) - 1) * SCALE);
        per_beat.saturating_mul(ms) / (SCALE * BEAT_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_key_is_expected_to_go_on_and_a_silent_one_is_forgotten() {
        let mut demand = Demand::new(0);
        for ms in 0..2_000 {
            demand.count(ms);
        }
        let steady = demand.within(300);
        assert!((270..=300).contains(&steady), "{steady}");
        demand.count(2_600);
        assert!(demand.within(300) < steady / 16);
        demand.count(1_000_000);
        assert_eq!(demand.within(300), 0);
    }

    #[test]
    fn one_request_promises_nothing_and_many_at_once_promise_more_at_once() {
        let mut demand = Demand::new(0);
        demand.count(0);
        assert_eq!(demand.within(1_000), 0);
        for _ in 0..50 {
            demand.count(1);
        }
        assert_eq!(demand.within(200), 100);
    }

    #[test]
    fn a_clock_that_goes_back_is_endured() {
        let mut demand = Demand::new(5_000);
        demand.count(5_000);
        demand.count(0);
        demand.count(u64::MAX);
        assert_eq!(demand.within(u64::MAX), 0);
    }
}
