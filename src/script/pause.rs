//! When hooks that take too long are paused, so that a route's scripts do not slow down all that its shard serves.
//!
//! A shard runs one hook at a time. One that uses up its time again and again is paused for a second, then tried once; and
//! the slow calls of a route together may take a share of the shard's time.

use std::time::{Duration, Instant};

/// Calls in a row that use up their time before the hook is paused.
const OVERRUNS: u8 = 3;
/// How long a hook is paused. The next call is a trial: it pauses the hook again, or ends all this.
const PAUSE: Duration = Duration::from_secs(1);
/// A call is slow if it took more than this part of `max_time`.
const SLOW_PART: u32 = 4;
/// Slow calls of a route may take this part of the shard's time …
const SHARE: u32 = 4;
/// … beyond what they may take at once.
const ALLOWANCE: Duration = Duration::from_millis(250);

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct CallTime {
    pub ended: Instant,
    /// Time that the thread ran.
    pub used: Duration,
    /// It was ended because its time was over.
    pub is_over: bool,
}

/// The pauses of one hook of one script on one route.
#[derive(Clone, Copy, Debug, Default)]
pub struct OverrunPause {
    in_a_row: u8,
    until: Option<Instant>,
}

impl OverrunPause {
    /// Whether it could be paused: only then need the time be known.
    pub fn is_possible(&self) -> bool {
        self.until.is_some()
    }

    pub fn is_paused(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub fn note(&mut self, call: CallTime) {
        if !call.is_over {
            *self = OverrunPause::default();
            return;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row >= OVERRUNS {
            self.until = call.ended.checked_add(PAUSE);
        }
    }
}

/// The time that the slow calls of a route have taken beyond their share.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlowPause {
    debt: Duration,
    /// The moment of `debt`; `None`: there was no slow call.
    at: Option<Instant>,
}

impl SlowPause {
    /// Whether it could be paused: only then need the time be known.
    pub fn is_possible(&self) -> bool {
        self.debt > ALLOWANCE
    }

    pub fn is_paused(&self, now: Instant) -> bool {
        self.debt_at(now) > ALLOWANCE
    }

    /// Notes a call that may take `max_time`.
    pub fn note(&mut self, call: CallTime, max_time: Duration) {
        if call.used > max_time / SLOW_PART {
            self.debt = self.debt_at(call.ended).saturating_add(call.used);
            self.at = Some(call.ended);
        }
    }

    fn debt_at(&self, now: Instant) -> Duration {
        let worked_off = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at) / SHARE);
        self.debt.saturating_sub(worked_off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_hook_that_uses_up_its_time_three_times_in_a_row_is_paused_and_then_tried_once() {
        let start = Instant::now();
        // Each call that comes: when, in milliseconds, whether it uses up its time, and whether it is run at all.
        for calls in [
            &[(0, true, true), (50, true, true), (100, true, true), (101, true, false), (1099, true, false)]
                [..],
            &[(0, true, true), (50, true, true), (100, false, true), (150, true, true), (200, true, true)],
            // A trial that fails, and one that succeeds.
            &[(0, true, true), (1, true, true), (2, true, true), (1002, true, true), (1003, false, false)],
            &[
                (0, true, true),
                (1, true, true),
                (2, true, true),
                (1002, false, true),
                (1003, true, true),
                (1004, true, true),
                (1005, true, true),
                (1006, true, false),
            ],
            // However far apart.
            &[(0, true, true), (60_000, true, true), (120_000, true, true), (120_001, true, false)],
        ] {
            let mut pause = OverrunPause::default();
            for (at, is_over, is_run) in calls {
                let ended = start + ms(*at);
                assert_eq!(!pause.is_paused(ended), *is_run, "at {at} of {calls:?}");
                assert!(pause.is_possible() || *is_run, "at {at} of {calls:?}");
                if *is_run {
                    pause.note(CallTime { ended, used: ms(50), is_over: *is_over });
                }
            }
        }
    }

    /// The time that calls of `used` take of ten seconds, one after the other as often as they are run.
    fn taken(used: Duration, max_time: Duration) -> Duration {
        let start = Instant::now();
        let (mut now, mut taken, mut pause) = (start, Duration::ZERO, SlowPause::default());
        while now < start + ms(10_000) {
            if pause.is_paused(now) {
                now += ms(1);
                continue;
            }
            now += used;
            taken += used;
            pause.note(CallTime { ended: now, used, is_over: false }, max_time);
        }
        taken
    }

    #[test]
    fn the_slow_calls_of_a_route_take_a_quarter_of_the_time_and_others_all_they_need() {
        for (used, most, least) in [
            (45, 2900, 2600),
            (50, 2900, 2600),
            (13, 2900, 2600),
            (200, 3100, 2600),
            (12, 10_100, 10_000),
            (1, 10_000, 10_000),
        ] {
            let taken = taken(ms(used), ms(50));
            assert!(taken <= ms(most) && taken >= ms(least), "calls of {used} ms took {taken:?}");
        }
    }

    #[test]
    fn slow_calls_now_and_then_are_never_paused() {
        let start = Instant::now();
        let mut pause = SlowPause::default();
        for number in 0..1000 {
            let ended = start + ms(number * 200);
            assert!(!pause.is_paused(ended));
            pause.note(CallTime { ended, used: ms(45), is_over: false }, ms(50));
        }
    }
}
