//! How many requests are in flight at once: of a route, or at an upstream. One shard's counts; nothing is shared.

use std::cell::Cell;
use std::rc::Rc;

/// The requests in flight of one route or at one upstream, on this shard. Clones are the same count.
#[derive(Clone, Debug, Default)]
pub struct InFlightCount(Rc<Cell<usize>>);

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub struct CountedInFlight(Rc<Cell<usize>>);

impl InFlightCount {
    /// Counts one more. `most` is `max_inflight`, of which each of so many `shards` has an equal part, rounded up.
    /// `None`: that many are in flight.
    pub fn begin(&self, most: Option<usize>, shards: usize) -> Option<CountedInFlight> {
        let InFlightCount(count) = self;
        if most.is_some_and(|most| count.get() >= most.div_ceil(shards.max(1))) {
            return None;
        }
        count.set(count.get() + 1);
        Some(CountedInFlight(count.clone()))
    }
}

impl Drop for CountedInFlight {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_admits_its_part_rounded_up() {
        for (most, shards, part) in [(1, 1, 1), (10, 1, 10), (10, 2, 5), (10, 4, 3), (1, 8, 1), (9, 8, 2)] {
            let count = InFlightCount::default();
            let admitted: Vec<_> = std::iter::from_fn(|| count.begin(Some(most), shards)).collect();
            assert_eq!(admitted.len(), part, "{most} over {shards} shards");
        }
    }

    #[test]
    fn one_that_ends_makes_room_for_one_and_those_that_began_before_a_limit_count() {
        let count = InFlightCount::default();
        let mut admitted: Vec<_> = (0..3).filter_map(|_| count.begin(None, 1)).collect();
        let successor = count.clone();
        assert!(successor.begin(Some(3), 1).is_none());
        admitted.pop();
        let last = successor.begin(Some(3), 1);
        assert!(last.is_some() && successor.begin(Some(3), 1).is_none());
    }
}
