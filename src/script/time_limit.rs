//! Whether a call has used up its time. What counts is the time that the thread ran: one that had to wait for its core
//! must not cost an innocent request.
//!
//! Reading the CPU clock costs more than many a call. So it is read for calls that take long by the clock on the wall, and
//! for others now and then: one reading serves as the beginning of all calls within a part of the limit.

use std::time::{Duration, Instant};

/// The part of the limit for which a reading of the CPU clock serves, and by which a call that had to wait may be
/// charged too much.
const READING_PART: u32 = 8;
/// Calls that took less than this part of the limit are not measured at their end.
const SHORT_PART: u32 = 4;

/// A reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    pub at: Instant,
    /// Time that the thread had run.
    pub cpu: Duration,
}

impl ClockReading {
    /// Whether it can be the beginning of a call that starts now.
    pub fn serves(&self, limit: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.at) <= limit / READING_PART
    }
}

/// The time of one call.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    limit: Duration,
    started: Instant,
    /// What the thread had run, at the start or shortly before.
    cpu_before: Duration,
    /// Elapsed time up to which the call cannot have used up its limit.
    checkpoint: Duration,
}

impl TimeLimit {
    pub fn new(limit: Duration, started: Instant, before: ClockReading) -> TimeLimit {
        TimeLimit { limit, started, cpu_before: before.cpu, checkpoint: limit }
    }

    /// Whether it is used up. `cpu` reads the thread's CPU clock.
    pub fn is_over(&mut self, now: Instant, cpu: impl FnOnce() -> Duration) -> bool {
        let elapsed = now.saturating_duration_since(self.started);
        if elapsed <= self.checkpoint {
            return false;
        }
        let used = self.measured(elapsed, cpu());
        self.checkpoint = elapsed.saturating_add(self.limit.saturating_sub(used));
        used > self.limit
    }

    /// What the call has used.
    pub fn used(&self, now: Instant, cpu: impl FnOnce() -> Duration) -> Duration {
        let elapsed = now.saturating_duration_since(self.started);
        if elapsed <= self.limit / SHORT_PART { elapsed } else { self.measured(elapsed, cpu()) }
    }

    fn measured(&self, elapsed: Duration, cpu: Duration) -> Duration {
        elapsed.min(cpu.saturating_sub(self.cpu_before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn limit(started: Instant) -> TimeLimit {
        TimeLimit::new(LIMIT, started, ClockReading { at: started, cpu: ms(1000) })
    }

    /// Looks after so many milliseconds elapsed and run; says whether the last was over and how often the CPU clock was
    /// read.
    fn look(looks: &[(u64, u64)]) -> (bool, u32) {
        let started = Instant::now();
        let mut time = limit(started);
        let (mut is_over, mut readings) = (false, 0);
        for (elapsed, ran) in looks {
            assert!(!is_over, "it was over before: {looks:?}");
            is_over = time.is_over(started + ms(*elapsed), || {
                readings += 1;
                ms(1000 + ran)
            });
        }
        (is_over, readings)
    }

    #[test]
    fn what_the_thread_ran_counts_and_not_what_it_waited() {
        for (looks, is_over) in [
            (&[(3, 3), (39, 39), (41, 41)][..], true),
            (&[(40, 40)], false),
            (&[(500, 500)], true),
            // Descheduled.
            (&[(500, 30), (900, 40)], false),
            (&[(500, 30), (900, 41)], true),
            (&[(2, 2), (500, 3), (537, 40)], false),
            // The reading was from before the call.
            (&[(39, 44), (40, 45)], false),
            (&[(41, 46)], true),
        ] {
            assert_eq!(look(looks).0, is_over, "{looks:?}");
        }
    }

    #[test]
    fn the_cpu_clock_is_read_only_where_it_could_matter() {
        for (looks, readings) in [
            (&[(1, 1), (20, 20), (40, 40)][..], 0),
            (&[(41, 41)], 1),
            // Again when the rest could be used up.
            (&[(41, 10), (42, 11), (71, 40), (72, 40)], 2),
        ] {
            assert_eq!(look(looks).1, readings, "{looks:?}");
        }
    }

    #[test]
    fn a_reading_serves_for_a_part_of_the_limit() {
        let at = Instant::now();
        let reading = ClockReading { at, cpu: ms(0) };
        assert!(reading.serves(LIMIT, at) && reading.serves(LIMIT, at + ms(5)));
        assert!(!reading.serves(LIMIT, at + ms(6)));
    }

    #[test]
    fn the_longest_limit_there_is_does_no_harm() {
        let started = Instant::now();
        let mut time = TimeLimit::new(Duration::MAX, started, ClockReading { at: started, cpu: ms(0) });
        assert!(!time.is_over(started + ms(9000), || ms(9000)));
    }

    #[test]
    fn a_call_that_took_long_is_measured_at_its_end() {
        let started = Instant::now();
        let time = limit(started);
        assert_eq!(time.used(started + ms(10), || unreachable!("it was short")), ms(10));
        assert_eq!(time.used(started + ms(900), || ms(1012)), ms(12));
    }
}
