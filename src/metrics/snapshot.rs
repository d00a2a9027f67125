//! A copy of one shard's counters, which control gathers at each scrape.

use std::sync::Arc;

use super::counters::{LimitMetrics, RouteMetrics, ScriptMetrics, TargetMetrics};
use super::names::{self, MetricFamily};

/// An upstream and its target.
pub(super) type TargetLabels = (Arc<str>, Arc<str>);
/// A route and its limit.
pub(super) type LimitLabels = (Arc<str>, Arc<str>);

/// A shard's counters at one moment: plain data that may go to another thread.
#[derive(Clone)]
pub struct MetricsSnapshot {
    pub(super) shard: usize,
    pub(super) values: Vec<(&'static MetricFamily, u64)>,
    pub(super) routes: Vec<(Arc<str>, RouteMetrics)>,
    pub(super) targets: Vec<(TargetLabels, TargetMetrics)>,
    pub(super) scripts: Vec<(Arc<str>, ScriptMetrics)>,
    pub(super) limits: Vec<(LimitLabels, LimitMetrics)>,
}

impl MetricsSnapshot {
    /// The shard's id.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Client connections open at that moment.
    pub fn connections(&self) -> u64 {
        self.value(&names::CONNECTIONS)
    }

    /// Access-log lines that the shard dropped.
    pub fn access_log_dropped(&self) -> u64 {
        self.value(&names::ACCESS_LOG_DROPPED)
    }

    fn value(&self, family: &MetricFamily) -> u64 {
        self.values.iter().find(|(of, _)| of.name == family.name).map_or(0, |(_, value)| *value)
    }

    /// Requests finished, by route; routes without any may be missing.
    pub fn route_requests(&self) -> impl Iterator<Item = (&str, u64)> {
        self.routes.iter().map(|(name, metrics)| (&**name, metrics.duration.count()))
    }

    /// What the shard has at each target.
    pub fn targets(&self) -> impl Iterator<Item = TargetSnapshot<'_>> {
        self.targets.iter().map(|((upstream, target), metrics)| TargetSnapshot {
            upstream,
            target,
            active: metrics.active.get(),
            idle: metrics.idle.get(),
            endpoints: metrics.endpoints.get(),
            passed_over: metrics.passed_over.get(),
        })
    }
}

/// What a shard has at a target.
#[derive(Clone, Copy)]
pub struct TargetSnapshot<'a> {
    pub upstream: &'a str,
    pub target: &'a str,
    /// Exchanges in flight.
    pub active: u32,
    /// Idle connections.
    pub idle: u32,
    /// Addresses in use.
    pub endpoints: u32,
    /// Those of them that get no requests because they fail.
    pub passed_over: u32,
}
