//! Consistent placement by weighted rendezvous hashing: every key ranks all endpoints and takes the first usable one.
//!
//! An endpoint that goes takes only its own keys along, and they spread over the others by weight; one that comes gets
//! its share from each. That is exact, where a ring of points is so on average only, and needs no table. It costs
//! a few nanoseconds an endpoint and pick, which is little for the tens of endpoints that an upstream has.

use super::{WeightedEndpoint, hash_key, mix};

#[derive(Clone, Debug)]
pub(super) struct Hash {
    endpoints: Box<[HashedEndpoint]>,
    /// All weigh the same: the ranks follow from the hashes alone.
    even: bool,
}

#[derive(Clone, Debug)]
struct HashedEndpoint {
    /// By the endpoint's name and not its place, so that the order in the file means nothing.
    identity: u64,
    weight: f64,
}

impl Hash {
    pub(super) fn new(endpoints: &[WeightedEndpoint]) -> Hash {
        let mut hashed: Vec<HashedEndpoint> = Vec::with_capacity(endpoints.len());
        for WeightedEndpoint { name, weight } in endpoints {
            let mut identity = hash_key(name.as_bytes());
            // The same name twice is two endpoints with a share each.
            while hashed.iter().any(|other| other.identity == identity) {
                identity = mix(identity);
            }
            hashed.push(HashedEndpoint { identity, weight: f64::from(*weight) });
        }
        let even = endpoints.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        Hash { endpoints: hashed.into(), even }
    }

    pub(super) fn pick(&self, key_hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let drains = |endpoint: &HashedEndpoint| endpoint.weight == 0.0;
        let candidates = self.endpoints.iter().enumerate();
        let candidates = candidates.filter(|(index, endpoint)| !drains(endpoint) && usable(*index));
        let drawn = candidates.map(|(index, endpoint)| (index, endpoint, mix(key_hash ^ endpoint.identity)));
        if self.even {
            return drawn.max_by_key(|(_, _, draw)| *draw).map(|(index, ..)| index);
        }
        // -ln(u)/w is exponential with rate w, and the least of such draws falls on each with a chance of its w.
        let waited = drawn.map(|(index, endpoint, draw)| (index, -ln(draw) / endpoint.weight));
        waited.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
    }
}

/// The natural logarithm of (draw + 1) / 2^64. Written out in basic operations, which IEEE 754 fixes to the bit:
/// `f64::ln` may differ in its last digit from one platform to the next, and so might the nodes' choices.
fn ln(draw: u64) -> f64 {
    // 53 bits, at least 1: a mantissa holds them exactly.
    let value = (draw >> 11) + 1;
    let exponent = value.ilog2();
    let mantissa = value as f64 / (1_u64 << exponent) as f64;
    // ln(m) = 2 artanh(s) with s = (m - 1) / (m + 1), which is at most 1/3: ten terms leave less than 1e-11.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..10).rev().fold(0.0, |sum, term| sum * (s * s) + 1.0 / f64::from(2 * term + 1));
    (f64::from(exponent) - 53.0) * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_written_out_agrees_with_the_platforms() {
        for draw in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, u64::MAX >> bit, u64::MAX << bit]) {
            let expected = (((draw >> 11) + 1) as f64 / (1_u64 << 53) as f64).ln();
            assert!((ln(draw) - expected).abs() < 1e-10, "{draw}: {} {expected}", ln(draw));
            assert!(ln(draw) <= 0.0);
        }
    }
}
