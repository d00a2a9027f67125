//! The shard's time: one clock that only goes forward, and what it is in Unix time.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub struct Clock {
    began: Instant,
    /// Unix time at `began`, corrected at each tick.
    began_unix: Cell<Duration>,
}

impl Clock {
    pub fn new() -> Clock {
        let clock = Clock { began: Instant::now(), began_unix: Cell::new(Duration::ZERO) };
        clock.correct();
        clock
    }

    /// Since the shard began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Unix time in milliseconds of a moment.
    pub fn unix_ms(&self, moment: Instant) -> u64 {
        let unix = self.began_unix.get() + moment.saturating_duration_since(self.began);
        u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
    }

    /// Follows the system's clock, should it have been set.
    pub fn correct(&self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.began_unix.set(unix.saturating_sub(self.began.elapsed()));
    }
}
