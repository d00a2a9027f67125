//! Which target of an upstream gets a request: one decider a method, over nothing but numbers.
//!
//! A balancer belongs to one shard and one upstream. It does not know what makes a target usable (a breaker, a
//! health check, an attempt that already failed there) or how busy it is: both are asked of the caller.

mod hash;
mod least_connections;
mod p2c;
mod random;
mod round_robin;

use crate::plan;

use hash::Hash;
use least_connections::LeastConnections;
use p2c::P2c;
use random::Random;
use round_robin::RoundRobin;

/// Chooses targets by the upstream's method.
#[derive(Clone, Debug)]
pub struct Balancer(Method);

#[derive(Clone, Debug)]
enum Method {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    P2c(P2c),
    Random(Random),
    Hash(Hash),
}

impl Balancer {
    /// `seed` should differ from shard to shard (its number will do): it sets where a rotation begins and what is
    /// drawn at random, so that shards do not all begin with the same target. `hash` ignores it.
    pub fn build(upstream: &plan::UpstreamPlan, seed: u64) -> Balancer {
        let targets = &upstream.targets[..];
        let weights: Vec<u32> = targets.iter().map(|target| target.weight.max(1)).collect();
        Balancer(match upstream.balance {
            plan::Balance::RoundRobin => Method::RoundRobin(RoundRobin::new(&weights, seed)),
            plan::Balance::LeastConnections => {
                Method::LeastConnections(LeastConnections::new(&weights, seed))
            }
            plan::Balance::P2c => Method::P2c(P2c::new(&weights, seed)),
            plan::Balance::Random => Method::Random(Random::new(&weights, seed)),
            plan::Balance::Hash(_) => {
                let names: Vec<&str> = targets.iter().map(|target| &*target.url).collect();
                Method::Hash(Hash::new(&names, &weights))
            }
        })
    }

    /// The index of a target for which `usable` is true; `None` only if there is none.
    ///
    /// `key_hash` is [`hash_key`] of what the upstream hashes on; the other methods ignore it. `active` gives the
    /// requests in flight on a target, as this shard sees them. Both closures may be asked more than once about a
    /// target, and must not change their minds within a call.
    pub fn pick(
        &mut self,
        key_hash: u64,
        usable: impl Fn(usize) -> bool,
        active: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        match &mut self.0 {
            Method::RoundRobin(method) => method.pick(usable),
            Method::LeastConnections(method) => method.pick(usable, active),
            Method::P2c(method) => method.pick(usable, active),
            Method::Random(method) => method.pick(usable),
            Method::Hash(method) => method.pick(key_hash, usable),
        }
    }
}

/// The hash of what a request is placed by (a client address, a path, a cookie).
///
/// The same bytes give the same hash in every process, version and node, so that gateways side by side send a key
/// to the same target, also after a restart. The price: the hash has no secret, and who chooses the key (by a header,
/// a path) can choose keys that all fall on one target, as with nginx's and Envoy's consistent hashes.
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

/// Whether a target with `active` requests at `weight` is less busy than another: by requests per weight.
fn less_busy((active, weight): (u32, u32), (other_active, other_weight): (u32, u32)) -> bool {
    u64::from(active) * u64::from(other_weight) < u64::from(other_active) * u64::from(weight)
}

#[cfg(test)]
mod tests;
