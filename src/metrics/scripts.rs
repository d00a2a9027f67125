//! What one shard counts of its scripts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::histogram::{Calls, Histogram, Operations};

/// The hooks by the names they have in labels, in the order of [`ScriptMetrics::hook`].
pub const HOOKS: [&str; 5] = ["on_request", "on_request_body", "on_response", "on_response_body", "on_log"];

/// The counters of one script on one shard.
#[derive(Clone, Debug, Default)]
pub struct ScriptMetrics {
    pub(super) hooks: [HookMetrics; HOOKS.len()],
    /// Errors by route; there are no more of them than the configuration has routes.
    pub(super) errors: RefCell<BTreeMap<String, u64>>,
}

/// The counters of one hook of a script.
#[derive(Clone, Debug, Default)]
pub struct HookMetrics {
    pub(super) operations: Histogram<Operations>,
    pub(super) duration: Histogram<Calls>,
}

impl HookMetrics {
    /// A call has ended, well or not.
    pub fn ran(&self, operations: u64, duration: Duration) {
        self.operations.add(operations);
        self.duration.record(duration);
    }
}

impl ScriptMetrics {
    /// The counters of a hook, by its place in [`HOOKS`].
    pub fn hook(&self, hook: usize) -> &HookMetrics {
        &self.hooks[hook]
    }

    /// A call has ended in an error.
    pub fn failed(&self, route: &str) {
        let mut errors = self.errors.borrow_mut();
        match errors.get_mut(route) {
            Some(n) => *n = n.wrapping_add(1),
            None => _ = errors.insert(route.to_owned(), 1),
        }
    }

    pub(super) fn absorb(&self, other: &ScriptMetrics) {
        for (mine, theirs) in self.hooks.iter().zip(&other.hooks) {
            mine.operations.absorb(&theirs.operations);
            mine.duration.absorb(&theirs.duration);
        }
        let mut errors = self.errors.borrow_mut();
        for (route, n) in other.errors.borrow().iter() {
            let sum = errors.entry(route.clone()).or_default();
            *sum = sum.wrapping_add(*n);
        }
    }
}
