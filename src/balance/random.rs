//! Weighted random choice, and the generator and table that it is made with.

use super::mix;

/// Draws before the usable endpoints are counted one by one.
const MAX_DRAWS: usize = 4;

/// Each usable endpoint with a chance in proportion to its weight.
#[derive(Clone, Debug)]
pub(super) struct Random {
    /// By endpoint: the sum of the weights up to and with its own.
    sums: Box<[u64]>,
    state: u64,
}

impl Random {
    pub(super) fn new(weights: &[u32], seed: u64) -> Random {
        let mut sum = 0;
        let mut add = |weight: &u32| {
            sum += u64::from(*weight);
            sum
        };
        Random { sums: weights.iter().map(&mut add).collect(), state: mix(seed) }
    }

    /// A draw that hits an unusable endpoint is repeated, which keeps the proportions of the others. After a few, the
    /// usable endpoints are summed up instead, so that the cost stays bounded when most are unusable.
    pub(super) fn pick(&mut self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let total = self.sums.last().copied().filter(|total| *total > 0)?;
        for _ in 0..MAX_DRAWS {
            let drawn = self.below(total);
            let index = self.sums.partition_point(|sum| *sum <= drawn);
            if usable(index) {
                return Some(index);
            }
        }
        let usable_weights =
            (0..self.sums.len()).filter(|index| usable(*index)).map(|index| self.weight(index));
        let total = usable_weights.sum();
        let mut drawn = self.below(total);
        (0..self.sums.len()).filter(|index| usable(*index)).find(|index| {
            let weight = self.weight(*index);
            let hit = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            hit
        })
    }

    fn weight(&self, index: usize) -> u64 {
        let before = index.checked_sub(1).map_or(0, |before| self.sums[before]);
        self.sums[index] - before
    }

    /// Uniform below `bound`, up to a bias of `bound` / 2^64; 0 below 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(1);
        ((u128::from(mix(self.state)) * u128::from(bound)) >> 64) as u64
    }
}
