//! The view that all shards share: one thread that holds it (embedded) or speaks to Redis.
//!
//! Shards send [`Request`]s and never wait for them; the thread takes what has gathered as one batch and leaves
//! [`Reply`]s in the shards' mailboxes.

mod counters;
mod link;
mod message;
mod snapshot;
mod totals;

pub use counters::ShardCounters;
pub use link::{Config, Link, Stop};
pub use message::{CounterSums, MOST_NAMES, Reply, Request, Sink};
pub use snapshot::{Snapshot, State};
