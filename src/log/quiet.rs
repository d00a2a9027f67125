//! A limit on diagnostics that a hostile client can cause at will.

use std::cell::Cell;

/// Lets a few lines a second through and then says how many more there would have been.
///
/// One for each call site and thread; it is a plain cell, not shared. Call `tick` now and then (once a second is
/// enough), or the last "… more like it" waits for the next line.
#[derive(Debug)]
pub struct Quiet {
    /// What the lines are about.
    what: &'static str,
    per_second: u32,
    second: Cell<u64>,
    let_through: Cell<u32>,
    withheld: Cell<u64>,
}

impl Quiet {
    /// `what` names the lines in "`what`: … and 1234 more like it".
    pub const fn new(what: &'static str, per_second: u32) -> Quiet {
        Quiet { what, per_second, second: Cell::new(0), let_through: Cell::new(0), withheld: Cell::new(0) }
    }

    /// Whether this line may be written.
    pub fn allow(&self, now_unix_ms: u64) -> bool {
        self.tick(now_unix_ms);
        let allowed = self.let_through.get() < self.per_second;
        if allowed {
            self.let_through.set(self.let_through.get() + 1);
        } else {
            self.withheld.set(self.withheld.get() + 1);
        }
        allowed
    }

    /// Writes what a past second still owes.
    pub fn tick(&self, now_unix_ms: u64) {
        let withheld = self.turn(now_unix_ms / 1000);
        if withheld > 0 {
            tracing::warn!("{}: … and {withheld} more like it", self.what);
        }
    }

    /// Starts a new second and answers how many lines the one before withheld.
    fn turn(&self, second: u64) -> u64 {
        if self.second.replace(second) == second {
            return 0;
        }
        self.let_through.set(0);
        self.withheld.replace(0)
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
    fn what_was_withheld_is_told_once_when_the_second_is_over() {
        let quiet = Quiet::new("bad requests", 1);
        (0..1235).for_each(|_| _ = quiet.allow(5_000));
        assert_eq!(quiet.turn(5), 0);
        assert_eq!(quiet.turn(6), 1234);
        assert_eq!(quiet.turn(7), 0);
    }
}
