//! What one shard counts of a rate limit.

use std::cell::Cell;

use super::histogram::add;

/// What a limit has made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitResult {
    Allowed,
    /// Refused with 429.
    Limited,
    /// It would have been refused, but for `dry_run`.
    DryRun,
    /// The store gave no answer; what became of the request was for `on_store_failure` to say.
    StoreFailed,
}

/// As the label `result` has them, in the order of [`LimitResult`].
pub(super) const RESULTS: [&str; 4] = ["allowed", "limited", "dry_run", "store_failed"];

/// The counters of one limit of one route on one shard.
#[derive(Clone, Debug, Default)]
pub struct LimitMetrics {
    pub(super) results: [Cell<u64>; RESULTS.len()],
    pub(super) waits: Cell<u64>,
}

impl LimitMetrics {
    /// A request was decided.
    pub fn count(&self, result: LimitResult) {
        add(&self.results[result as usize], 1);
    }

    /// A request waits for the store.
    pub fn waited(&self) {
        add(&self.waits, 1);
    }

    pub(super) fn absorb(&self, other: &LimitMetrics) {
        for (mine, theirs) in self.results.iter().zip(&other.results) {
            add(mine, theirs.get());
        }
        add(&self.waits, other.waits.get());
    }
}
