//! What shards and the store link say to each other.

use std::sync::Arc;

use super::keys::KeyList;
use crate::limit::{Key, LeaseGrant, LeaseRequest, Rule, Verdict};

/// The counter names that one process may use. They are never forgotten, so that what is full stays full.
pub const MAX_COUNTERS: usize = 1000;

/// Where a shard takes its replies: true if it was taken; false if the shard is behind or gone. It must not block.
pub type ReplySink = Box<dyn Fn(StoreReply) -> bool + Send>;

/// From a shard. Those with a ticket get one reply with that ticket, unless the shard's mailbox is full then.
#[derive(Debug)]
pub enum StoreRequest {
    /// What a shard's scripts have added up since its last request, and (with 0) the names they mention first.
    /// The answer is a [`CounterSums`] that acknowledges it; until then the shard sends no other.
    Counters { shard: usize, deltas: Vec<(Arc<str>, i64)> },
    /// For a limit with leases. `limit` and `rule` together name the bank.
    Lease { shard: usize, ticket: u64, limit: Arc<str>, rule: Rule, ask: LeaseRequest },
    /// For one request under a strict limit.
    Strict { shard: usize, ticket: u64, limit: Arc<str>, rule: Rule, key: Key },
}

/// To a shard.
#[derive(Clone, Debug)]
pub enum StoreReply {
    Counters(CounterSums),
    Lease {
        ticket: u64,
        grant: LeaseGrant,
    },
    Strict {
        ticket: u64,
        verdict: Verdict,
    },
    /// The store gave no answer. It may have done what it was asked for.
    Failed {
        ticket: u64,
    },
    /// All keys that were added and revoked while running.
    Keys(Arc<KeyList>),
    /// Whether the store answers. While it does not, requests are better not sent: they fail.
    Reachable(bool),
}

/// New sums of counters.
#[derive(Clone, Debug)]
pub struct CounterSums {
    /// Those that have changed.
    pub sums: Arc<[(Arc<str>, i64)]>,
    /// Whether what this shard has sent is in the sums.
    pub acknowledges: bool,
    /// There is no room for names that are in no sum so far. It stays so.
    pub full: bool,
}
