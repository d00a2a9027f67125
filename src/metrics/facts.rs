//! The values on the metrics page that no shard counts: those of the process, the store and the fetched JWK sets. Control
//! gathers them at each scrape.

use std::sync::Arc;

/// What control knows of the process, or reads from the system. `None` is left out of the page.
#[derive(Clone, Debug, Default)]
pub struct ProcessFacts {
    pub version: String,
    /// As `/status` names it: `io_uring` or `epoll`.
    pub driver: String,
    pub generation: u64,
    pub reloads_succeeded: u64,
    pub reloads_failed: u64,
    pub shard_restarts: u64,
    /// Shards that serve, and how many seconds ago the event loop of each last turned.
    pub shard_tick_ages: Vec<(usize, f64)>,
    /// `LogSink::access_lost`; added to what the shards dropped.
    pub access_log_lost: u64,
    /// `LogSink::diagnostics_lost`.
    pub diagnostics_lost: u64,
    /// The scripts' counters, by name.
    pub counters: Vec<(Arc<str>, i64)>,
    pub store: StoreFacts,
    /// The JWK sets that are fetched.
    pub key_sets: Vec<KeySetFacts>,
    pub cpu_seconds: Option<f64>,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
    pub resident_memory_bytes: Option<u64>,
    /// Seconds since 1970.
    pub start_time_seconds: Option<f64>,
}

/// How the store is doing, as the store link counts it. All but `up` and the two about keys is 0 for the embedded store.
#[derive(Clone, Debug, Default)]
pub struct StoreFacts {
    /// It responds, fast or slowly.
    pub up: bool,
    /// Exchanges that succeeded.
    pub exchanges: u64,
    /// Exchanges, and attempts to connect, that failed.
    pub failures: u64,
    /// Requests of shards that got no response.
    pub unanswered: u64,
    /// Requests of shards that were not taken, because too many waited.
    pub refused: u64,
    /// Commands in the exchanges that succeeded.
    pub commands: u64,
    /// Requests of shards that wait now.
    pub queue: usize,
    /// Upper bounds in microseconds, and how many exchanges took at most that long; the last one has no bound.
    pub latency: Vec<(Option<u64>, u64)>,
    pub latency_sum_us: u64,
    pub keys_added: usize,
    pub keys_revoked: usize,
}

/// The state of a JWK set that is fetched.
#[derive(Clone, Debug)]
pub struct KeySetFacts {
    /// The name of the `[jwt.NAME]` that it is for.
    pub jwt: String,
    pub keys: usize,
    /// Fetches that failed since the last one that succeeded.
    pub failures: u32,
}
