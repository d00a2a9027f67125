//! What all shards share: rate-limit buckets, script counters and API keys, behind one thread that holds them in this
//! process or speaks to Redis.
//!
//! Shards send [`StoreRequest`]s and never block on them. The thread takes those that have gathered as one batch,
//! answers it with one exchange (several may be under way), and puts [`StoreReply`]s into the shards' mailboxes. The loss of the store is
//! announced to the shards and then costs them nothing: their requests fail at once.

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
pub use keys::{KeyEntry, KeyList, MAX_KEYS};
pub use link::{Link, LinkStop, NotSent, StoreConfig};
pub use message::{CounterSums, MAX_COUNTERS, ReplySink, StoreReply, StoreRequest};
pub use remote::{Address, KeyRing, NodeFailure, RemoteConfig, longest_wait};
pub use snapshot::{LATENCY_BOUNDS_US, StoreLatency, StoreSnapshot, StoreState, StoreTraffic};

#[cfg(test)]
mod tests;
