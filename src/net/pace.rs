//! Whether a peer keeps a minimum rate. A decider: it is told the time.
//!
//! Only the time in which the peer is waited for counts. Whenever that adds up to [`WINDOW_MS`], the peer must have moved
//! the bytes that the rate asks for since the last such look. So a window can span pauses in which it was not the peer's
//! turn, and several requests of a connection.

/// The waiting over which the rate is an average.
pub const WINDOW_MS: u64 = 10_000;

const NEVER: u64 = u64::MAX;

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Pace {
    /// Bytes read from the peer, or handed to the kernel for it, since the connection began.
    moved_bytes: u64,
    /// Bytes that the peer had sent or taken when the window began.
    mark_bytes: u64,
    /// Waited for the peer in this window, up to the wait that goes on.
    waited_ms: u64,
    /// When the wait that goes on has begun.
    waits_since_ms: Option<u64>,
}

impl Pace {
    /// The peer is waited for from here on. Returns when to look at it; a `min_rate` of 0 (bytes a second) asks nothing.
    pub fn begin_wait(&mut self, now_ms: u64, min_rate: u64) -> u64 {
        self.waits_since_ms = (min_rate > 0).then_some(now_ms);
        if min_rate > 0 { now_ms + WINDOW_MS.saturating_sub(self.waited_ms) } else { NEVER }
    }

    /// The wait is over, and has moved so many bytes.
    pub fn end_wait(&mut self, now_ms: u64, bytes: usize) {
        self.moved_bytes += bytes as u64;
        self.add_waited(now_ms);
        self.waits_since_ms = None;
    }

    /// Looks at a peer that is waited for. `unsent_bytes`: what the kernel still holds for it. Returns when to look next;
    /// `None`: it is too slow.
    pub fn look(&mut self, now_ms: u64, unsent_bytes: u64, min_rate: u64) -> Option<u64> {
        self.add_waited(now_ms);
        if self.waited_ms >= WINDOW_MS {
            let by_now_bytes = self.moved_bytes.saturating_sub(unsent_bytes);
            let wanted_bytes = min_rate.saturating_mul(WINDOW_MS / 1000);
            if by_now_bytes.saturating_sub(self.mark_bytes) < wanted_bytes {
                return None;
            }
            (self.mark_bytes, self.waited_ms) = (by_now_bytes, 0);
        }
        Some(now_ms + WINDOW_MS - self.waited_ms)
    }

    fn add_waited(&mut self, now_ms: u64) {
        if let Some(since_ms) = &mut self.waits_since_ms {
            self.waited_ms += now_ms.saturating_sub(*since_ms);
            *since_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 100;

    /// Waits that begin at `every_ms`, last `wait_ms` and move `bytes` each; when one of them was found too slow.
    fn cut_at_ms(every_ms: u64, wait_ms: u64, bytes: usize) -> Option<u64> {
        let mut pace = Pace::default();
        for began_ms in (0..100_000).step_by(every_ms as usize) {
            let mut look_ms = pace.begin_wait(began_ms, RATE);
            while look_ms <= began_ms + wait_ms {
                match pace.look(look_ms, 0, RATE) {
                    Some(next_ms) => look_ms = next_ms,
                    None => return Some(look_ms),
                }
            }
            pace.end_wait(began_ms + wait_ms, bytes);
        }
        None
    }

    #[test]
    fn only_a_peer_that_is_waited_for_and_slower_than_the_rate_is_too_slow() {
        for (every_ms, wait_ms, bytes, expected) in [
            // Always waited for: nothing, too little, just enough, plenty.
            (100_000, 99_000, 0, Some(10_000)),
            (1000, 1000, 99, Some(10_000)),
            (1000, 1000, 112, None),
            (1000, 1000, 10_000, None),
            // A tenth of the time waited for: 10 bytes a second are enough.
            (1000, 100, 12, None),
            (1000, 100, 9, Some(99_100)),
            // Never kept waiting.
            (1000, 0, 1, None),
        ] {
            let cut = cut_at_ms(every_ms, wait_ms, bytes);
            assert_eq!(cut, expected, "{bytes} bytes in {wait_ms} of {every_ms} ms");
        }
    }

    #[test]
    fn what_the_kernel_holds_is_not_taken_yet_and_what_it_passes_on_during_a_wait_is() {
        for (unsent_bytes, expected) in [(50_000, None), (49_001, None), (49_000, Some(20_000))] {
            let mut pace = Pace::default();
            pace.begin_wait(0, RATE);
            pace.end_wait(0, 50_000);
            assert_eq!(pace.begin_wait(0, RATE), WINDOW_MS);
            assert_eq!(pace.look(WINDOW_MS, unsent_bytes, RATE), expected, "{unsent_bytes} unsent");
        }
    }

    #[test]
    fn what_was_taken_in_one_window_does_not_count_in_the_next() {
        let mut pace = Pace::default();
        pace.begin_wait(0, RATE);
        pace.end_wait(1, 1_000_000);
        pace.begin_wait(1, RATE);
        assert_eq!(pace.look(10_000, 0, RATE), Some(20_000));
        assert_eq!(pace.look(20_000, 0, RATE), None);
    }

    #[test]
    fn no_rate_asks_nothing() {
        let mut pace = Pace::default();
        assert_eq!(pace.begin_wait(0, 0), u64::MAX);
        pace.end_wait(1_000_000, 0);
        assert_eq!(pace.begin_wait(1_000_000, RATE), 1_000_000 + WINDOW_MS);
    }
}
