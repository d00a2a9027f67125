//! The view that all shards share: one thread that holds it in this process, or speaks to Redis for it.
//!
//! Shards send [`Request`]s and never wait for them. The thread takes what has gathered as one batch, answers it with
//! one exchange, and leaves [`Reply`]s in the shards' mailboxes. A store that is lost is told to the shards, and then
//! costs them nothing: what they ask for fails at once.

mod counters;
mod embedded;
mod health;
mod keys;
mod link;
mod link_thread;
mod message;
mod remote;
mod snapshot;
mod totals;

pub use counters::ShardCounters;
pub use keys::{Digest, Entry, Keys, MAX_KEYS};
pub use link::{Config, Link, Stop, Unsent};
pub use message::{CounterSums, MAX_COUNTERS, Reply, Request, Sink};
pub use remote::{Address, Failure, KeyRing, RemoteConfig};
pub use snapshot::{LATENCY_BOUNDS_US, Latency, Snapshot, State, Traffic};

#[cfg(test)]
mod tests;
