//! The shard's time: one clock that only goes forward, and what it is in Unix time.
//!
//! Durations are measured on the monotonic clock. Unix time is derived from it, so that one reading of a clock per
//! request is enough, and is corrected once a second in case the system's clock was set.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::time::ForwardClock;

/// Two kinds of Unix time: one that follows the system's clock at once, for logs and tokens; one that never goes back,
/// because a bucket that saw time go back would fill twice.
pub struct Clock {
    began: Instant,
    /// Unix time at `began`, corrected at each tick.
    began_unix: Cell<Duration>,
    /// What rate limits count by.
    forward: Cell<ForwardClock>,
}

impl Clock {
    pub fn new() -> Clock {
        let (began, unix) = (Instant::now(), system_unix());
        let forward = Cell::new(ForwardClock::new(began, ms(unix)));
        Clock { began, began_unix: Cell::new(unix), forward }
    }

    /// Since the shard began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Unix time in milliseconds of a moment.
    /// Moments before the shard began count as its beginning.
    pub fn unix_ms(&self, moment: Instant) -> u64 {
        let unix = self.began_unix.get() + moment.saturating_duration_since(self.began);
        ms(unix)
    }

    /// Unix time in milliseconds that never goes back, now.
    pub fn forward_ms(&self) -> u64 {
        self.forward.get().unix_ms(Instant::now())
    }

    /// Follows the system's clock, should it have been set.
    /// Called by the tick once a second.
    pub fn correct(&self) {
        let (now, unix) = (Instant::now(), system_unix());
        self.began_unix.set(unix.saturating_sub(now.saturating_duration_since(self.began)));
        let mut forward = self.forward.get();
        forward.correct(now, ms(unix));
        self.forward.set(forward);
    }
}

/// A clock before 1970 reads as 1970.
fn system_unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
