//! Counters, kept apart on each shard and added up when somebody asks.
//!
//! A shard counts in plain cells: no lock, no atomic. At a scrape each shard hands out a `Snapshot`, a copy that may
//! go to another thread, and `render` adds the copies up and writes the Prometheus text format.

mod histogram;
mod limits;
mod names;
mod render;
mod scripts;
mod shard;
mod store;
mod tally;

pub use histogram::Histogram;
pub use limits::{LimitMetrics, LimitResult};
pub use render::{CONTENT_TYPE, ProcessFacts, render};
pub use scripts::{HOOKS, ScriptMetrics};
pub use shard::{MetricsSnapshot, NO_ROUTE, RouteMetrics, ShardMetrics, TargetMetrics};
pub use store::{KeySetFacts, StoreFacts};
