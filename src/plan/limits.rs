//! How much a client may ask.

use std::sync::Arc;

/// So many requests in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// 1 to [`Rate::MAX_TOKENS`].
    pub tokens: u64,
    pub period: Period,
}

impl Rate {
    /// The most requests of a rate, and the largest burst.
    pub const MAX_TOKENS: u64 = 1_000_000_000;
}

/// The period of a rate; none is longer than a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

impl Period {
    pub const fn ms(self) -> u64 {
        match self {
            Period::Second => 1_000,
            Period::Minute => 60_000,
            Period::Hour => 3_600_000,
            Period::Day => 86_400_000,
        }
    }
}

/// One limit of one route.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// No other limit of the route has it; limits of other routes may. A consumer's `limits` go by it.
    pub name: Arc<str>,
    pub rate: Rate,
    /// The size of the bucket, where it is written; 1 to [`Rate::MAX_TOKENS`].
    pub burst: Option<u64>,
    pub algorithm: RateAlgorithm,
    pub by: LimitBy,
    pub mode: LimitMode,
    pub on_store_failure: OnStoreFailure,
    /// `None`: responses say nothing of it.
    pub headers: Option<Dialect>,
    /// Counts and tells, and refuses nothing.
    pub dry_run: bool,
    /// Counts requests before it is known who sends them; never by consumer or claim.
    pub before_auth: bool,
}

impl RateLimit {
    /// The size of the bucket at a rate: the limit's own, or what replaces it for a consumer.
    pub fn burst_at(&self, rate: Rate) -> u64 {
        self.burst.unwrap_or(rate.tokens)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateAlgorithm {
    TokenBucket,
    /// Windows are aligned to the calendar (UTC); they have no burst.
    FixedWindow,
}

/// What requests are counted by. Where a request has no such thing, its client's address stands in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitBy {
    Consumer,
    Ip,
    /// All requests together.
    Route,
    /// Lower case.
    Header(Arc<str>),
    Claim(Arc<str>),
}

/// Where the bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitMode {
    /// In the store, lent to shards.
    Shared,
    /// In the store, asked for every request.
    Strict,
    /// In each shard, a share of it.
    Local,
}

/// What becomes of requests while the store is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnStoreFailure {
    /// This node goes on with its own share.
    Local,
    Allow,
    /// 503 `store_unavailable`.
    Deny,
}

/// How responses tell of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`, of the limit nearest to exhaustion.
    XRateLimit,
    /// `RateLimit-Policy`, `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), of all limits.
    Ietf,
    /// `X-RateLimit-Limit-Minute` and `X-RateLimit-Remaining-Minute` of the limits per minute (or second, hour, day), as
    /// Kong names them, and `RateLimit-Limit`, `-Remaining`, `-Reset` of the limit nearest to exhaustion.
    Kong,
}
