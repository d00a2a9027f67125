//! A rate limit on diagnostics that a hostile client can cause at will.

use std::cell::Cell;

/// Allows a few lines a second and then reports how many more there were.
///
/// One for each call site and thread: it is a plain cell, not shared. `tick` is to be called about once a second;
/// otherwise the report waits for the next line.
#[derive(Debug)]
pub struct Quiet {
    /// What the lines are about.
    what: &'static str,
    per_second: u32,
    second: Cell<u64>,
    allowed: Cell<u32>,
    suppressed: Cell<u64>,
}

impl Quiet {
    /// `what` names the lines in "`what`: … and 1234 more like it".
    pub const fn new(what: &'static str, per_second: u32) -> Quiet {
        Quiet { what, per_second, second: Cell::new(0), allowed: Cell::new(0), suppressed: Cell::new(0) }
    }

    /// Whether this line may be written.
    pub fn allow(&self, now_unix_ms: u64) -> bool {
        self.tick(now_unix_ms);
        let allowed = self.allowed.get() < self.per_second;
        if allowed {
            self.allowed.set(self.allowed.get() + 1);
        } else {
            self.suppressed.set(self.suppressed.get() + 1);
        }
        allowed
    }

    /// Reports the suppressed lines of a second that is over.
    pub fn tick(&self, now_unix_ms: u64) {
        let suppressed = self.advance(now_unix_ms / 1000);
        if suppressed > 0 {
            tracing::warn!("{}: … and {suppressed} more like it", self.what);
        }
    }

    /// Starts a new second; returns how many lines the last one suppressed.
    fn advance(&self, second: u64) -> u64 {
        if self.second.replace(second) == second {
            return 0;
        }
        self.allowed.set(0);
        self.suppressed.replace(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_limit_each_second() {
        let quiet = Quiet::new("bad requests", 3);
        let allowed = |now| (0..1000).filter(|_| quiet.allow(now)).count();
        assert_eq!(allowed(10_000), 3);
        assert_eq!(allowed(10_999), 0);
        assert_eq!(allowed(11_000), 3);
    }

    #[test]
    fn suppressed_lines_are_reported_once_when_the_second_is_over() {
        let quiet = Quiet::new("bad requests", 1);
        (0..1235).for_each(|_| _ = quiet.allow(5_000));
        assert_eq!(quiet.advance(5), 0);
        assert_eq!(quiet.advance(6), 1234);
        assert_eq!(quiet.advance(7), 0);
    }
}
