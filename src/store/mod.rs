//! The view that all shards share: one thread that holds it in this process, or speaks to Redis for it.
//!
//! Shards send [`StoreRequest`]s and never wait for them. The thread takes what has gathered as one batch, answers it with
//! one exchange, and leaves [`StoreReply`]s in the shards' mailboxes. A store that is lost is told to the shards, and then
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
pub use keys::{Entry, KeyList, MAX_KEYS};
pub use link::{Link, LinkStop, StoreConfig, Unsent};
pub use message::{CounterSums, MAX_COUNTERS, ReplySink, StoreReply, StoreRequest};
pub use remote::{Address, Failure, KeyRing, RemoteConfig};
pub use snapshot::{LATENCY_BOUNDS_US, Latency, StoreSnapshot, StoreState, Traffic};

#[cfg(test)]
mod tests;
