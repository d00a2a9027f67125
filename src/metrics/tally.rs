//! Counts by a small key, in a short list: faster than a map where nearly all counts fall on one or two keys.

use std::cell::RefCell;

/// Different keys counted apart. A hostile upstream can respond with 500 different statuses, each a time series of its own
/// in Prometheus; further ones are counted together.
const MAX_KEYS: usize = 48;

/// The status that stands for all statuses beyond a tally's number of keys.
pub(super) const OTHER_STATUS: u16 = 0;

/// Counts by key, the most frequent first.
#[derive(Clone, Debug)]
pub(super) struct Tally<K> {
    counts: RefCell<Vec<(K, u64)>>,
}

// Derived, it would ask for `K: Default`.
impl<K> Default for Tally<K> {
    fn default() -> Tally<K> {
        Tally { counts: RefCell::default() }
    }
}

impl<K: Copy + Eq> Tally<K> {
    /// Counts `n` for `key`, or for `other` if there are too many keys already.
    pub fn add(&self, key: K, other: K, n: u64) {
        let counts = &mut *self.counts.borrow_mut();
        if bump(counts, key, n) {
            return;
        }
        if counts.len() < MAX_KEYS {
            counts.push((key, n));
        } else if !bump(counts, other, n) {
            counts.push((other, n));
        }
    }

    /// Adds another shard's counts. Without the bound: with it, the keys that still fit would change with the counts, and a
    /// time series must not disappear once it was scraped.
    pub fn absorb(&self, theirs: &Tally<K>) {
        let counts = &mut *self.counts.borrow_mut();
        for &(key, n) in theirs.counts.borrow().iter() {
            if !bump(counts, key, n) {
                counts.push((key, n));
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.counts.borrow().is_empty()
    }

    /// The counts by rising key, as `order` ranks them.
    pub fn sorted_by<O: Ord>(&self, order: impl Fn(K) -> O) -> Vec<(K, u64)> {
        let mut counts = self.counts.borrow().clone();
        counts.sort_by_key(|&(key, _)| order(key));
        counts
    }
}

/// Counts for a key that is listed, and moves it one place forward if it is more frequent than the one before. False: it
/// is not listed.
fn bump<K: Copy + Eq>(counts: &mut [(K, u64)], key: K, n: u64) -> bool {
    let Some(at) = counts.iter().position(|&(listed, _)| listed == key) else {
        return false;
    };
    counts[at].1 = counts[at].1.wrapping_add(n);
    if at > 0 && counts[at].1 > counts[at - 1].1 {
        counts.swap(at, at - 1);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_key_comes_to_the_front() {
        let tally = Tally::default();
        for key in [404, 200, 500, 200, 200, 500, 500, 500] {
            tally.add(key, 0, 1);
        }
        assert_eq!(*tally.counts.borrow(), [(500, 4), (200, 3), (404, 1)]);
        assert_eq!(tally.sorted_by(|key| key), [(200, 3), (404, 1), (500, 4)]);
    }

    #[test]
    fn too_many_different_keys_are_counted_as_other_and_none_is_lost() {
        let tally = Tally::default();
        for key in 1..=500 {
            tally.add(key, 0, 1);
        }
        tally.add(1, 0, 1);
        let counts = tally.sorted_by(|key| key);
        assert_eq!(counts.len(), MAX_KEYS + 1);
        assert_eq!(counts[0], (0, 500 - MAX_KEYS as u64));
        assert_eq!(counts[1], (1, 2));
    }

    #[test]
    fn a_sum_has_every_key_of_each_part() {
        let sum = Tally::default();
        for start in [0, 100, 110] {
            let part = Tally::default();
            (start..start + 40).for_each(|key| part.add(key, -1, 1));
            sum.absorb(&part);
        }
        let counts = sum.sorted_by(|key| key);
        assert_eq!(counts.len(), 90);
        assert_eq!(counts.iter().map(|&(_, n)| n).sum::<u64>(), 120);
    }
}
