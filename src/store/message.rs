//! The messages between shards and the store link.

use std::sync::Arc;

use super::keys::KeyList;
use crate::limit::{Key, LeaseGrant, LeaseRequest, Rule, Verdict};

/// The counter names that one process may use. They are never forgotten: once the table is full it stays full.
pub const MAX_COUNTERS: usize = 10_000;

/// Puts a reply into a shard's mailbox: true if it was taken; false if the mailbox is full or the shard gone. It must
/// not block.
pub type ReplySink = Box<dyn Fn(StoreReply) -> bool + Send>;

/// From a shard. A request with a ticket gets one reply with that ticket, unless the shard's mailbox is full then.
#[derive(Debug)]
pub enum StoreRequest {
    /// What a shard's scripts have added since its last request, and (with 0) the names that they have mentioned for
    /// the first time. The answer is a [`CounterSums`] that acknowledges it; until then the shard sends no other.
    Counters { shard: usize, deltas: Vec<(Arc<str>, i64)> },
    /// For a limit with leases. `limit` and the rule's algorithm name the bucket store, whose buckets follow the rule.
    Lease { shard: usize, ticket: u64, limit: Arc<str>, rule: Rule, request: LeaseRequest },
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
    /// The store gave no answer. It may have carried out the request all the same.
    Failed {
        ticket: u64,
    },
    /// All API keys that were added and revoked while gateways run.
    Keys(Arc<KeyList>),
    /// Whether the store answers. While it does not, requests fail, and there is no use in sending them.
    Reachable(bool),
}

/// New sums of counters.
#[derive(Clone, Debug)]
pub struct CounterSums {
    /// Those that have changed.
    pub sums: Arc<[(Arc<str>, i64)]>,
    /// Whether the sums contain what this shard has sent.
    pub acknowledges: bool,
    /// There is no room for names that have had no sum so far, and there will be none.
    pub full: bool,
}
