//! Whether a call has used up its time. What counts is the time that the thread ran: one that had to wait for its core
//! must not cost an innocent request.
//!
//! Reading the CPU clock costs more than many a call, so it is read only in calls that take long by the clock on the wall.

use std::time::{Duration, Instant};

/// The time of one call.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    limit: Duration,
    started: Instant,
    /// Elapsed time up to which the call cannot have used up its limit, or is not measured yet.
    checkpoint: Duration,
    /// Since the CPU clock was first read.
    measured: Option<Measured>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    /// What the clock said then.
    cpu: Duration,
    /// What the call is taken to have used until then.
    before: Duration,
}

impl TimeLimit {
    /// The part of the limit after which the CPU clock is read first.
    const FIRST_READING: u32 = 8;
    /// The part of the limit that a call can be charged for the time before that. It may have waited for its core by
    /// then, or it was in one long operation.
    const MOST_BEFORE: u32 = 4;

    pub fn new(limit: Duration, started: Instant) -> TimeLimit {
        TimeLimit { limit, started, checkpoint: limit / Self::FIRST_READING, measured: None }
    }

    /// Whether it is used up. `cpu` reads the thread's CPU clock.
    pub fn is_over(&mut self, now: Instant, cpu: impl FnOnce() -> Duration) -> bool {
        let elapsed = now.saturating_duration_since(self.started);
        if elapsed <= self.checkpoint {
            return false;
        }
        let cpu = cpu();
        let since = *self
            .measured
            .get_or_insert_with(|| Measured { cpu, before: elapsed.min(self.limit / Self::MOST_BEFORE) });
        let used = since.before + cpu.saturating_sub(since.cpu);
        self.checkpoint = elapsed.saturating_add(self.limit.saturating_sub(used));
        used > self.limit
    }

    /// What the call has used: measured where it took long, else what has elapsed.
    pub fn used(&self, now: Instant, cpu: impl FnOnce() -> Duration) -> Duration {
        match self.measured {
            Some(since) => since.before + cpu().saturating_sub(since.cpu),
            None => now.saturating_duration_since(self.started),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);

    /// Looks after so many milliseconds elapsed and used; says whether the last was over and how often the CPU clock was
    /// read.
    fn look(looks: &[(u64, u64)]) -> (bool, u32) {
        let started = Instant::now();
        let mut time = TimeLimit::new(LIMIT, started);
        let (mut is_over, mut readings) = (false, 0);
        for (elapsed, used) in looks {
            assert!(!is_over, "it was over before: {looks:?}");
            is_over = time.is_over(started + Duration::from_millis(*elapsed), || {
                readings += 1;
                Duration::from_millis(1000 + used)
            });
        }
        (is_over, readings)
    }

    #[test]
    fn what_the_thread_ran_counts_and_not_what_it_waited() {
        for (looks, is_over) in [
            (&[(3, 3), (6, 6), (39, 39), (41, 41)][..], true),
            (&[(6, 6), (40, 40)], false),
            // Descheduled later on.
            (&[(6, 6), (500, 30), (900, 40)], false),
            (&[(6, 6), (500, 30), (900, 41)], true),
            // Descheduled before the CPU clock was read: it is charged for a quarter.
            (&[(2, 2), (500, 3), (530, 33)], false),
            (&[(2, 2), (500, 3), (540, 34)], true),
            // One operation that took longer than all the time.
            (&[(500, 500), (531, 531)], true),
        ] {
            assert_eq!(look(looks).0, is_over, "{looks:?}");
        }
    }

    #[test]
    fn the_cpu_clock_is_read_only_where_it_could_matter() {
        for (looks, readings) in [
            (&[(1, 1), (2, 2), (5, 5)][..], 0),
            (&[(6, 6), (20, 20), (39, 39)], 1),
            // Once the time on the wall is over, again when the rest could be used up.
            (&[(6, 6), (41, 10), (42, 11), (70, 39), (72, 40)], 3),
        ] {
            assert_eq!(look(looks).1, readings, "{looks:?}");
        }
    }

    #[test]
    fn the_longest_limit_there_is_does_no_harm() {
        let started = Instant::now();
        let mut time = TimeLimit::new(Duration::MAX, started);
        assert!(!time.is_over(started + Duration::from_secs(9), || Duration::from_secs(9)));
    }

    #[test]
    fn a_call_that_took_long_is_measured() {
        let started = Instant::now();
        let mut time = TimeLimit::new(LIMIT, started);
        let at = |ms| started + Duration::from_millis(ms);
        assert_eq!(time.used(at(4), || unreachable!("it was short")), Duration::from_millis(4));
        assert!(!time.is_over(at(6), || Duration::from_millis(100)));
        assert_eq!(time.used(at(900), || Duration::from_millis(120)), Duration::from_millis(26));
    }
}
