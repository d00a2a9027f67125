//! Counters: kept apart on each shard, added up at a scrape.
//!
//! A shard counts in plain cells: no lock, no atomic. At a scrape each shard sends control a [`MetricsSnapshot`], a copy
//! that may go to another thread; [`render()`] adds the copies up and writes the Prometheus text format.

mod counters;
mod facts;
mod histogram;
mod names;
mod page;
mod render;
mod shard;
mod snapshot;
mod tally;

pub use counters::{HOOKS, LimitMetrics, LimitResult, RouteMetrics, ScriptMetrics, TargetMetrics};
pub use facts::{KeySetFacts, ProcessFacts, StoreFacts};
pub use histogram::Histogram;
pub use render::{CONTENT_TYPE, render};
pub use shard::{NO_ROUTE, ShardMetrics};
pub use snapshot::{MetricsSnapshot, TargetSnapshot};
