//! `[upstream.NAME]`: targets, how one is chosen, and the timeouts of an exchange with it.

use std::fmt;
use std::mem::discriminant;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Keyword;

/// A named set of targets.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamPlan {
    pub name: Arc<str>,
    /// At least one.
    pub targets: Vec<TargetPlan>,
    pub balance: Balance,
    pub connect_timeout: Duration,
    /// From the last byte of the request sent to the last of the response head.
    pub response_timeout: Duration,
    /// Between two reads of a response body, and between two bytes of a tunnel.
    pub idle_timeout: Duration,
    /// Idle connections kept per shard, over all endpoints.
    pub keepalive: usize,
    /// How long one is kept.
    pub keepalive_idle: Duration,
    /// How many requests may be in flight at once, over all shards and endpoints; `None`: any number.
    pub max_inflight: Option<usize>,
    pub retry: RetryPlan,
    /// `None`: endpoints get requests however often they fail.
    pub breaker: Option<BreakerPlan>,
    /// `None`: endpoints are not checked.
    pub health: Option<HealthPlan>,
}

/// When a request whose attempt failed is sent to another endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPlan {
    /// Attempts beyond the first.
    pub attempts: usize,
    /// After a connect that was refused or timed out.
    pub on_connect: bool,
    /// After a connection that ended before a whole response head.
    pub on_reset: bool,
    /// After a response head that did not come in time.
    pub on_timeout: bool,
    /// After these statuses, in rising order.
    pub on_status: Vec<u16>,
    /// The share of requests that may be retries; `None`: any.
    pub budget: Option<f64>,
}

impl RetryPlan {
    /// The retries of an upstream without `retry`.
    pub const CONNECTS_ONLY: RetryPlan = RetryPlan {
        attempts: 1,
        on_connect: true,
        on_reset: false,
        on_timeout: false,
        on_status: Vec::new(),
        budget: None,
    };

    /// Whether a request may go to another endpoint although it was sent to one.
    pub fn repeats_sent(&self) -> bool {
        self.attempts > 0 && (self.on_reset || self.on_timeout || !self.on_status.is_empty())
    }
}

/// How the endpoints of an upstream are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPlan {
    /// What is requested with GET, with its query.
    pub path: Arc<str>,
    /// Between the beginnings of two checks of an endpoint.
    pub interval: Duration,
    /// Of one check, from connecting to the head of the response.
    pub timeout: Duration,
    /// Successes in a row that make an endpoint healthy again, at least 1.
    pub healthy: u32,
    /// Failures in a row that make it unhealthy, at least 1.
    pub unhealthy: u32,
    /// The statuses that are successes.
    pub status: Vec<RangeInclusive<u16>>,
    /// `panic`: what becomes of requests while no endpoint is healthy.
    pub none_healthy: NoneHealthy,
}

/// What becomes of requests while no endpoint is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoneHealthy {
    /// They are balanced over all endpoints: the checks may be wrong.
    TryAll,
    /// They are refused with 503 `no_target`.
    Refuse,
}

impl Keyword for NoneHealthy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("any", NoneHealthy::TryAll), ("fail", NoneHealthy::Refuse)];
}

/// When an endpoint that fails gets no more requests, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerPlan {
    /// Consecutive failures that open it, at least 1.
    pub failures: u32,
    /// What counts as a failure beside connects that were refused or timed out.
    pub counts: CountedFailures,
    /// The statuses of responses that count as failures, in rising order.
    pub failure_status: Vec<u16>,
    /// How long it stays open the first time; doubled each time a trial fails.
    pub open_for: Duration,
    /// The longest it stays open, but for a spread of a tenth.
    pub max_open_for: Duration,
    /// Trial requests at a time, at least 1.
    pub half_open: u32,
    /// The share of an upstream's endpoints that may be open while others are healthy, if it has more than two.
    pub max_ejected: f64,
    /// What becomes of a request when all endpoints are open.
    pub all_open: AllOpen,
}

/// Which failures of an attempt a breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedFailures {
    /// Connects alone.
    Connects,
    /// Also responses that are late, broken or cut.
    All,
}

/// What becomes of a request when all endpoints are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllOpen {
    /// It is tried nevertheless.
    Try,
    /// It is refused at once with 503 `circuit_open`.
    Refuse,
}

impl BreakerPlan {
    /// The breaker of an upstream without `breaker`: an endpoint that cannot be connected to is passed over for a
    /// second, doubling to 10 s, unless all are.
    pub const CONNECTS_ONLY: BreakerPlan = BreakerPlan {
        failures: 1,
        counts: CountedFailures::Connects,
        failure_status: Vec::new(),
        open_for: Duration::from_secs(1),
        max_open_for: Duration::from_secs(10),
        half_open: 1,
        max_ejected: 1.0,
        all_open: AllOpen::Try,
    };
}

/// One target as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetPlan {
    /// As written, for logs and `/status`.
    pub url: Arc<str>,
    /// 0 to 65535. With 0 it gets no requests.
    pub weight: u32,
    pub address: TargetAddress,
    /// What `host_header = "upstream"` sends: host, and the port where it is not 80.
    pub authority: Arc<str>,
}

/// Where connections to a target go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetAddress {
    Ip(SocketAddr),
    /// Resolved on the control side, never by a shard.
    Name {
        host: Arc<str>,
        port: u16,
    },
    Unix(Arc<Path>),
}

/// The algorithm that chooses a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Balance {
    /// Smooth weighted.
    RoundRobin,
    LeastConnections,
    /// The better of two at random.
    P2c,
    Random,
    Hash(HashOn),
}

impl Keyword for Balance {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("p2c", Balance::P2c),
        ("random", Balance::Random),
        ("hash", Balance::Hash(HashOn::Ip)),
    ];

    /// Of all hashes the same one, whatever they hash.
    fn word(&self) -> &'static str {
        let is_same = |(_, known): &&(&str, Balance)| discriminant(known) == discriminant(self);
        Self::WORDS.iter().find(is_same).map_or("", |(word, _)| word)
    }
}

/// What `balance = "hash"` hashes.
#[derive(Clone, Debug, PartialEq)]
pub enum HashOn {
    Ip,
    /// The consumer's name.
    Consumer,
    Path,
    /// Lower case.
    Header(Arc<str>),
    Cookie(Arc<str>),
    Query(Arc<str>),
}

/// As it is written in a configuration.
impl fmt::Display for HashOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashOn::Ip => f.write_str("ip"),
            HashOn::Consumer => f.write_str("consumer"),
            HashOn::Path => f.write_str("path"),
            HashOn::Header(name) => write!(f, "header:{name}"),
            HashOn::Cookie(name) => write!(f, "cookie:{name}"),
            HashOn::Query(name) => write!(f, "query:{name}"),
        }
    }
}
