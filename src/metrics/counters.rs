//! What one shard counts of a route, a target, a script and a rate limit. Plain cells: a shard has them
//! to itself, a snapshot has copies.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use super::histogram::{Calls, Histogram, Operations, add};
use super::tally::{OTHER_STATUS, Tally};
use crate::base::error::Reason;

/// The hooks by the names they have in labels, in the order of [`ScriptMetrics::hook`].
pub const HOOKS: [&str; 5] = ["on_request", "on_request_body", "on_response", "on_response_body", "on_log"];

/// The counters of one route on one shard.
#[derive(Clone, Debug, Default)]
pub struct RouteMetrics {
    pub(super) requests: Tally<(u16, Option<Reason>)>,
    pub(super) duration: Histogram,
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
}

impl RouteMetrics {
    /// Counts what is beyond a tally's number of keys.
    const OTHER: (u16, Option<Reason>) = (OTHER_STATUS, None);

    /// Counts a request that has ended. `reason` is set where the gateway itself made the response.
    pub fn record(
        &self,
        status: u16,
        reason: Option<Reason>,
        duration: Duration,
        bytes_in: u64,
        bytes_out: u64,
    ) {
        self.requests.add((status, reason), Self::OTHER, 1);
        self.duration.record(duration);
        add(&self.bytes_in, bytes_in);
        add(&self.bytes_out, bytes_out);
    }

    /// Adds another shard's counts of the same thing.
    pub(super) fn absorb(&self, other: &RouteMetrics) {
        self.requests.absorb(&other.requests);
        self.duration.absorb(&other.duration);
        add(&self.bytes_in, other.bytes_in.get());
        add(&self.bytes_out, other.bytes_out.get());
    }
}

/// The counters of one target on one shard.
#[derive(Clone, Debug, Default)]
pub struct TargetMetrics {
    /// Requests at the target now.
    pub active: Cell<u32>,
    /// Idle connections kept to the target, as of the last scrape.
    pub idle: Cell<u32>,
    /// Endpoints of the target that are passed over, as of the last scrape.
    pub(super) passed_over: Cell<u32>,
    /// Endpoints of the target, as of the last scrape.
    pub(super) endpoints: Cell<u32>,
    pub(super) ejections: Cell<u64>,
    pub(super) statuses: Tally<u16>,
    pub(super) failures: Tally<Reason>,
    pub(super) connects: Cell<u64>,
    pub(super) reuses: Cell<u64>,
    pub(super) retries: Cell<u64>,
    pub(super) duration: Histogram,
}

impl TargetMetrics {
    /// Counts a connection that was opened.
    pub fn connected(&self) {
        add(&self.connects, 1);
    }

    /// Counts an attempt on an idle connection of the pool.
    pub fn reused(&self) {
        add(&self.reuses, 1);
    }

    /// Counts a response of the target.
    pub fn request(&self, status: u16) {
        self.statuses.add(status, OTHER_STATUS, 1);
    }

    /// Counts an attempt without a usable response.
    pub fn failure(&self, reason: Reason) {
        // There are fewer reasons than a tally has keys, so the second one is never used.
        self.failures.add(reason, reason, 1);
    }

    /// Counts an attempt that failed here and is followed by another.
    pub fn retried(&self) {
        add(&self.retries, 1);
    }

    /// Counts that the breaker of one of its endpoints has opened.
    pub fn ejected(&self) {
        add(&self.ejections, 1);
    }

    /// Sets what is counted of endpoints to 0.
    pub fn clear_endpoints(&self) {
        for count in [&self.idle, &self.passed_over, &self.endpoints] {
            count.set(0);
        }
    }

    /// Counts an endpoint of the target, with its idle connections.
    pub fn count_endpoint(&self, idle: u32, is_passed_over: bool) {
        self.idle.set(self.idle.get() + idle);
        self.passed_over.set(self.passed_over.get() + u32::from(is_passed_over));
        self.endpoints.set(self.endpoints.get() + 1);
    }

    /// Records the time from the start of an attempt to the response head.
    pub fn latency(&self, duration: Duration) {
        self.duration.record(duration);
    }

    /// Adds another shard's counts of the same thing.
    pub(super) fn absorb(&self, other: &TargetMetrics) {
        self.active.set(self.active.get().wrapping_add(other.active.get()));
        for (mine, theirs) in [
            (&self.idle, &other.idle),
            (&self.passed_over, &other.passed_over),
            (&self.endpoints, &other.endpoints),
        ] {
            mine.set(mine.get().wrapping_add(theirs.get()));
        }
        add(&self.ejections, other.ejections.get());
        self.statuses.absorb(&other.statuses);
        self.failures.absorb(&other.failures);
        add(&self.connects, other.connects.get());
        add(&self.reuses, other.reuses.get());
        add(&self.retries, other.retries.get());
        self.duration.absorb(&other.duration);
    }
}

/// The counters of one script on one shard.
#[derive(Clone, Debug, Default)]
pub struct ScriptMetrics {
    pub(super) hooks: [HookMetrics; HOOKS.len()],
    /// Errors by route; at most as many entries as the configuration has routes.
    pub(super) errors: RefCell<BTreeMap<String, u64>>,
    /// Calls that were not made because the hook was paused, likewise.
    pub(super) paused: RefCell<BTreeMap<String, u64>>,
}

/// The counters of one hook of a script.
#[derive(Clone, Debug, Default)]
pub struct HookMetrics {
    pub(super) operations: Histogram<Operations>,
    pub(super) duration: Histogram<Calls>,
}

impl HookMetrics {
    /// Counts a call that has ended, in an error or not.
    pub fn ran(&self, operations: u64, duration: Duration) {
        self.operations.add(operations);
        self.duration.record(duration);
    }
}

impl ScriptMetrics {
    /// The counters of a hook, by its index in [`HOOKS`].
    pub fn hook(&self, hook: usize) -> &HookMetrics {
        &self.hooks[hook]
    }

    /// Counts a call for a route that has ended in an error.
    pub fn failed(&self, route: &str) {
        count(&self.errors, route, 1);
    }

    /// Counts a call for a route that was not made because the hook was paused.
    pub fn paused(&self, route: &str) {
        count(&self.paused, route, 1);
    }

    /// Adds another shard's counts of the same script.
    pub(super) fn absorb(&self, other: &ScriptMetrics) {
        for (mine, theirs) in self.hooks.iter().zip(&other.hooks) {
            mine.operations.absorb(&theirs.operations);
            mine.duration.absorb(&theirs.duration);
        }
        other.errors.borrow().iter().for_each(|(route, n)| count(&self.errors, route, *n));
        other.paused.borrow().iter().for_each(|(route, n)| count(&self.paused, route, *n));
    }
}

fn count(of_routes: &RefCell<BTreeMap<String, u64>>, route: &str, n: u64) {
    let mut of_routes = of_routes.borrow_mut();
    match of_routes.get_mut(route) {
        Some(sum) => *sum = sum.wrapping_add(n),
        None => _ = of_routes.insert(route.to_owned(), n),
    }
}

/// What became of a request at a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitResult {
    Allowed,
    /// Refused with 429.
    Limited,
    /// It would have been refused without `dry_run`.
    DryRun,
    /// The store gave no answer: `on_store_failure` decided.
    StoreFailed,
}

/// The values of the label `result`, in the order of [`LimitResult`].
pub(super) const LIMIT_RESULTS: [&str; 4] = ["allowed", "limited", "dry_run", "store_failed"];

/// The counters of one limit of one route on one shard.
#[derive(Clone, Debug, Default)]
pub struct LimitMetrics {
    pub(super) results: [Cell<u64>; LIMIT_RESULTS.len()],
    pub(super) waits: Cell<u64>,
}

impl LimitMetrics {
    /// Counts a request that was decided.
    pub fn count(&self, result: LimitResult) {
        add(&self.results[result as usize], 1);
    }

    /// Counts a request that waits for the store.
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
