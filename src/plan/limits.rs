//! Rate limits: how many requests in which time, and counted by what.

use std::fmt;
use std::sync::Arc;

use super::Keyword;

/// A number of requests in a period.
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
    /// Unique within the route, not across routes. A consumer's `limits` refer to it.
    pub name: Arc<str>,
    pub rate: Rate,
    /// The size of the bucket, where it is written; 1 to [`Rate::MAX_TOKENS`].
    pub burst: Option<u64>,
    pub algorithm: RateAlgorithm,
    pub by: LimitBy,
    pub mode: LimitMode,
    pub on_store_failure: OnStoreFailure,
    /// `None`: responses have no fields about it.
    pub headers: Option<Dialect>,
    /// It is counted and reported, and refuses nothing.
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

/// How requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateAlgorithm {
    TokenBucket,
    /// Windows are aligned to the calendar (UTC); they have no burst.
    FixedWindow,
}

impl Keyword for RateAlgorithm {
    const WORDS: &'static [(&'static str, Self)] =
        &[("token_bucket", RateAlgorithm::TokenBucket), ("fixed_window", RateAlgorithm::FixedWindow)];
}

/// What requests are counted by; a request without it is counted by its client's address.
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

/// As it is written in a configuration.
impl fmt::Display for LimitBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitBy::Consumer => f.write_str("consumer"),
            LimitBy::Ip => f.write_str("ip"),
            LimitBy::Route => f.write_str("route"),
            LimitBy::Header(name) => write!(f, "header:{name}"),
            LimitBy::Claim(claim) => write!(f, "jwt:{claim}"),
        }
    }
}

/// Where the bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitMode {
    /// In the store, leased to shards.
    Shared,
    /// In the store, taken from for every request.
    Strict,
    /// In each shard, a share of it.
    Local,
}

impl Keyword for LimitMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("shared", LimitMode::Shared), ("strict", LimitMode::Strict), ("local", LimitMode::Local)];
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

impl Keyword for OnStoreFailure {
    const WORDS: &'static [(&'static str, Self)] =
        &[("local", OnStoreFailure::Local), ("allow", OnStoreFailure::Allow), ("deny", OnStoreFailure::Deny)];
}

/// Which response fields report limits.
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

/// With the word for none.
impl Keyword for Option<Dialect> {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("x-ratelimit", Some(Dialect::XRateLimit)),
        ("ietf", Some(Dialect::Ietf)),
        ("kong", Some(Dialect::Kong)),
        ("off", None),
    ];
}
