//! Power of two choices: the less busy of two endpoints drawn at random.

use super::less_busy;
use super::random::Random;

/// Nearly as even as asking every endpoint, and without the herd that follows a single least busy one when many
/// shards and gateways see the same numbers.
#[derive(Clone, Debug)]
pub(super) struct P2c {
    random: Random,
    weights: Box<[u32]>,
}

impl P2c {
    pub(super) fn new(weights: &[u32], seed: u64) -> P2c {
        P2c { random: Random::new(weights, seed), weights: weights.into() }
    }

    /// Of two equally busy ones the first drawn.
    pub(super) fn pick(
        &mut self,
        usable: impl Fn(usize) -> bool,
        active: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        let first = self.random.pick(&usable)?;
        let second = self.random.pick(|index| index != first && usable(index));
        let load = |index: usize| (active(index), self.weights[index]);
        Some(second.filter(|second| less_busy(load(*second), load(first))).unwrap_or(first))
    }
}
