//! What shards and the store link say to each other.

use std::sync::Arc;

/// The counter names that one process may use. They are never forgotten, so that what is full stays full.
pub const MOST_NAMES: usize = 1000;

/// Where a shard takes its replies: true if it was taken; false if the shard is behind or gone. It must not block.
pub type Sink = Box<dyn Fn(Reply) -> bool + Send>;

/// From a shard.
#[derive(Debug)]
pub enum Request {
    /// What a shard's scripts have added up since its last request, and (with 0) the names they mention first.
    /// The answer is a [`CounterSums`] that acknowledges it; until then the shard sends no other.
    Counters { shard: usize, deltas: Vec<(Arc<str>, i64)> },
}

/// To a shard.
#[derive(Clone, Debug)]
pub enum Reply {
    Counters(CounterSums),
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
