//! `[upstream.NAME]`: targets, how one is chosen, and the timeouts of an exchange with it.

use std::fmt;
use std::mem::discriminant;
use std::net::SocketAddr;
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
}

/// One target as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetPlan {
    /// As written, for logs and `/status`.
    pub url: Arc<str>,
    /// 1 to 65535.
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
