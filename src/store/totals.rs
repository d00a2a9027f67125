//! The link's side of the script counters.

use std::collections::HashMap;
use std::sync::Arc;

use super::message::MOST_NAMES;

/// The sums of all counters of this process.
#[derive(Debug, Default)]
pub struct Totals {
    sums: HashMap<Arc<str>, i64>,
    /// Those that shards have not been told.
    changed: Vec<Arc<str>>,
    /// A name was refused.
    full: bool,
}

impl Totals {
    /// Adds up what a shard sent. Names over the bound are dropped.
    pub fn add(&mut self, deltas: Vec<(Arc<str>, i64)>) {
        for (name, delta) in deltas {
            if let Some(sum) = self.sums.get_mut(&name) {
                *sum = sum.saturating_add(delta);
            } else if self.sums.len() < MOST_NAMES {
                self.sums.insert(name.clone(), delta);
            } else {
                self.full = true;
                continue;
            }
            self.changed.push(name);
        }
    }

    /// The sums that changed since the last call.
    pub fn take_changed(&mut self) -> Arc<[(Arc<str>, i64)]> {
        self.changed.sort_unstable();
        self.changed.dedup();
        let sums = &self.sums;
        self.changed.drain(..).filter_map(|name| sums.get(&name).map(|&sum| (name, sum))).collect()
    }

    pub fn all(&self) -> Arc<[(Arc<str>, i64)]> {
        self.sums.iter().map(|(name, &sum)| (name.clone(), sum)).collect()
    }

    /// Whether a name was refused because there are too many.
    pub fn full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: std::ops::Range<usize>) -> Vec<(Arc<str>, i64)> {
        numbers.map(|number| (number.to_string().into(), 1)).collect()
    }

    #[test]
    fn each_change_is_told_once_with_the_newest_sum() {
        let mut totals = Totals::default();
        totals.add(vec![("a".into(), 1), ("b".into(), 0)]);
        totals.add(vec![("a".into(), 2)]);
        assert_eq!(totals.take_changed()[..], [("a".into(), 3), ("b".into(), 0)]);
        assert!(totals.take_changed().is_empty());
    }

    #[test]
    fn names_over_the_bound_are_refused_and_known_ones_go_on() {
        let mut totals = Totals::default();
        totals.add(names(0..MOST_NAMES));
        assert!(!totals.full());
        totals.add(names(MOST_NAMES - 1..MOST_NAMES + 1));
        assert!(totals.full());
        assert_eq!(totals.all().len(), MOST_NAMES);
        assert_eq!(totals.all().iter().map(|(_, sum)| sum).sum::<i64>(), MOST_NAMES as i64 + 1);
    }

    #[test]
    fn sums_stop_at_the_ends() {
        let mut totals = Totals::default();
        totals.add(vec![("a".into(), i64::MIN)]);
        totals.add(vec![("a".into(), -1)]);
        assert_eq!(totals.take_changed()[..], [("a".into(), i64::MIN)]);
    }
}
