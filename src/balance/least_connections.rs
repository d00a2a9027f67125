//! The endpoint with the fewest requests in flight for its weight; equal ones take turns.

use super::less_busy;
use super::round_robin::RoundRobin;

#[derive(Clone, Debug)]
pub(super) struct LeastConnections {
    weights: Box<[u32]>,
    /// Breaks ties: idle endpoints get requests by weight, as in nginx.
    turns: RoundRobin,
}

impl LeastConnections {
    pub(super) fn new(weights: &[u32], seed: u64) -> LeastConnections {
        LeastConnections { weights: weights.into(), turns: RoundRobin::new(weights, seed) }
    }

    pub(super) fn pick(
        &mut self,
        usable: impl Fn(usize) -> bool,
        active: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        let load = |index: usize| (active(index), self.weights[index]);
        let candidates = (0..self.weights.len()).filter(|index| self.weights[*index] > 0 && usable(*index));
        let least = candidates.map(load).reduce(|a, b| if less_busy(b, a) { b } else { a })?;
        self.turns.pick(|index| usable(index) && !less_busy(least, load(index)))
    }
}
