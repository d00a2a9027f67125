//! Which endpoint of an upstream gets a request: one decider a strategy, over nothing but numbers; and the breaker,
//! the health checks and the retry budget for endpoints that fail.
//!
//! A balancer belongs to one shard and one upstream. It does not know what makes an endpoint usable (a breaker, a
//! health check, an attempt that already failed there) or how busy it is: both are asked of the caller.

mod breaker;
mod hash;
mod health;
mod least_connections;
mod p2c;
mod random;
mod retry_budget;
mod round_robin;

use std::sync::Arc;

use crate::plan;

pub use breaker::{Admission, Breaker, BreakerNews, FailureEffect};
use hash::Hash;
pub use health::CheckedHealth;
use least_connections::LeastConnections;
use p2c::P2c;
use random::Random;
pub use retry_budget::RetryBudget;
use round_robin::RoundRobin;

/// What a balancer needs to know of an endpoint.
#[derive(Clone, Debug)]
pub struct WeightedEndpoint {
    /// What `hash` places it by: the same on every gateway, whatever the order of the file or of DNS.
    pub name: Arc<str>,
    /// Its share, 0 to 65535. One with weight 0 gets no requests.
    pub weight: u32,
}

/// Chooses endpoints by the upstream's strategy.
#[derive(Clone, Debug)]
pub struct Balancer(Strategy);

#[derive(Clone, Debug)]
enum Strategy {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    P2c(P2c),
    Random(Random),
    Hash(Hash),
}

impl Balancer {
    /// `seed` should differ from shard to shard (its number will do): it sets where a rotation begins and what is
    /// drawn at random, so that shards do not all begin with the same endpoint. `hash` ignores it.
    pub fn build(balance: &plan::Balance, endpoints: &[WeightedEndpoint], seed: u64) -> Balancer {
        let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        Balancer(match balance {
            plan::Balance::RoundRobin => Strategy::RoundRobin(RoundRobin::new(&weights, seed)),
            plan::Balance::LeastConnections => {
                Strategy::LeastConnections(LeastConnections::new(&weights, seed))
            }
            plan::Balance::P2c => Strategy::P2c(P2c::new(&weights, seed)),
            plan::Balance::Random => Strategy::Random(Random::new(&weights, seed)),
            plan::Balance::Hash(_) => Strategy::Hash(Hash::new(endpoints)),
        })
    }

    /// The index of an endpoint for which `usable` is true and whose weight is not 0; `None` only if there is none.
    ///
    /// `key_hash` is [`hash_key`] of what the upstream hashes on; the other strategies ignore it. `active` gives the
    /// requests in flight at an endpoint, as this shard sees them. Both closures may be asked more than once about an
    /// endpoint, and must not change their minds within a call.
    pub fn pick(
        &mut self,
        key_hash: u64,
        usable: impl Fn(usize) -> bool,
        active: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        match &mut self.0 {
            Strategy::RoundRobin(strategy) => strategy.pick(usable),
            Strategy::LeastConnections(strategy) => strategy.pick(usable, active),
            Strategy::P2c(strategy) => strategy.pick(usable, active),
            Strategy::Random(strategy) => strategy.pick(usable),
            Strategy::Hash(strategy) => strategy.pick(key_hash, usable),
        }
    }
}

/// The hash of what a request is placed by (a client address, a path, a cookie).
///
/// The same bytes give the same hash in every process, version and node, so that gateways side by side send a key
/// to the same endpoint, also after a restart. The price: the hash has no secret, and who chooses the key (by a header,
/// a path) can choose keys that all fall on one endpoint, as with nginx's and Envoy's consistent hashes.
pub fn hash_key(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

/// Spreads each bit over all of them, one to one (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Whether an endpoint with `active` requests at `weight` is less busy than another: by requests per weight.
fn less_busy((active, weight): (u32, u32), (other_active, other_weight): (u32, u32)) -> bool {
    u64::from(active) * u64::from(other_weight) < u64::from(other_active) * u64::from(weight)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
