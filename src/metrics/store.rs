//! How the store is doing, as a scrape shows it. The store link counts; here is only what it came to.

/// All but `up` and the two about keys is 0 for the embedded store.
#[derive(Clone, Debug, Default)]
pub struct StoreFacts {
    /// It answers, fast or slowly.
    pub up: bool,
    pub exchanges: u64,
    pub failures: u64,
    pub unanswered: u64,
    pub refused: u64,
    pub commands: u64,
    pub queue: usize,
    /// Upper bounds in microseconds, and how many exchanges took at most that; the last one has no bound.
    pub latency: Vec<(Option<u64>, u64)>,
    pub latency_sum_us: u64,
    pub keys_added: usize,
    pub keys_revoked: usize,
}

/// What a JWK set that is fetched is doing.
#[derive(Clone, Debug)]
pub struct KeySetFacts {
    /// The name of the `[jwt.NAME]` that it is for.
    pub jwt: String,
    pub keys: usize,
    /// Fetches that failed since one went well.
    pub failures: u32,
}
