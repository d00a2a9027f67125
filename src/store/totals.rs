//! The link's side of the script counters.
//!
//! Each delta is in one of three places: unsent, in the batch whose fate is not known yet, or stored. So this process
//! shows what its scripts have counted at once, with or without a store.
//!
//! A batch has a number, under which the store adds it at most once: one whose fate is unknown (the store fell silent)
//! is offered again, unchanged, until the store says that it has it. Nothing is lost and nothing counted twice.

use std::collections::HashMap;
use std::sync::Arc;

use super::message::MAX_COUNTERS;

/// All counters of this process.
#[derive(Debug, Default)]
pub struct Totals {
    counts: HashMap<Arc<str>, Count>,
    /// Those that have deltas, or that the store was never asked for.
    unsent: Vec<Arc<str>>,
    offered: Option<Batch>,
    offers: u64,
    /// Those that shards have not been told.
    changed: Vec<Arc<str>>,
    full: bool,
}

#[derive(Debug, Default)]
struct Count {
    /// By all processes, as the store last said.
    stored: i64,
    offered: i64,
    unsent: i64,
    /// In `Totals::unsent`.
    listed: bool,
}

impl Count {
    fn value(&self) -> i64 {
        self.stored.saturating_add(self.offered).saturating_add(self.unsent)
    }
}

/// Deltas on their way to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Counts up from 1.
    pub number: u64,
    pub deltas: Arc<[(Arc<str>, i64)]>,
}

impl Totals {
    /// Adds up what a shard sent. Names over the bound are dropped.
    pub fn add(&mut self, deltas: Vec<(Arc<str>, i64)>) {
        for (name, delta) in deltas {
            let new = !self.counts.contains_key(&name);
            if new && self.counts.len() >= MAX_COUNTERS {
                self.full = true;
                continue;
            }
            let count = self.counts.entry(name.clone()).or_default();
            count.unsent = count.unsent.saturating_add(delta);
            self.changed.push(name.clone());
            if (new || delta != 0) && !std::mem::replace(&mut count.listed, true) {
                self.unsent.push(name);
            }
        }
    }

    /// Whether the store is to be told something.
    pub fn is_unsent(&self) -> bool {
        self.offered.is_some() || !self.unsent.is_empty()
    }

    /// Whether a batch is offered that is not settled.
    pub fn is_offered(&self) -> bool {
        self.offered.is_some()
    }

    /// What to offer to the store: the same again until it is settled.
    pub fn offer(&mut self) -> Option<Batch> {
        if self.offered.is_none() && !self.unsent.is_empty() {
            self.offers += 1;
            let names = std::mem::take(&mut self.unsent);
            let deltas = names.into_iter().map(|name| {
                let count = self.counts.get_mut(&name).expect("names are never forgotten");
                count.listed = false;
                count.offered = std::mem::take(&mut count.unsent);
                (name, count.offered)
            });
            self.offered = Some(Batch { number: self.offers, deltas: deltas.collect() });
        }
        self.offered.clone()
    }

    /// The store has the offered batch, and its counters have these values now, in the batch's order.
    pub fn settle(&mut self, values: &[i64]) {
        let Some(batch) = self.offered.take() else { return };
        for ((name, _), &value) in batch.deltas.iter().zip(values) {
            self.set(name, value, true);
        }
    }

    /// Without a store, what was counted here is all there is.
    pub fn settle_here(&mut self) {
        for name in std::mem::take(&mut self.unsent) {
            let count = self.counts.get_mut(&name).expect("names are never forgotten");
            *count = Count { stored: count.value(), ..Count::default() };
        }
    }

    /// The store's counters have these values. Not to be believed while a batch is offered: it may be in them.
    pub fn read(&mut self, names: &[Arc<str>], values: &[i64]) {
        if self.offered.is_none() {
            names.iter().zip(values).for_each(|(name, &value)| self.set(name, value, false));
        }
    }

    fn set(&mut self, name: &Arc<str>, stored: i64, settled: bool) {
        let Some(count) = self.counts.get_mut(name) else { return };
        let before = count.value();
        count.stored = stored;
        if settled {
            count.offered = 0;
        }
        if count.value() != before {
            self.changed.push(name.clone());
        }
    }

    /// The sums that changed since the last call.
    pub fn take_changed(&mut self) -> Arc<[(Arc<str>, i64)]> {
        self.changed.sort_unstable();
        self.changed.dedup();
        let counts = &self.counts;
        self.changed
            .drain(..)
            .filter_map(|name| counts.get(&name).map(|count| (name, count.value())))
            .collect()
    }

    pub fn all(&self) -> Arc<[(Arc<str>, i64)]> {
        self.counts.iter().map(|(name, count)| (name.clone(), count.value())).collect()
    }

    pub fn names(&self) -> Vec<Arc<str>> {
        self.counts.keys().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
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

    fn value(totals: &Totals, name: &str) -> i64 {
        totals.counts[name].value()
    }

    #[test]
    fn each_change_is_told_once_with_the_newest_sum() {
        let mut totals = Totals::default();
        totals.add(vec![("a".into(), 1), ("b".into(), 0)]);
        totals.add(vec![("a".into(), 2)]);
        assert_eq!(totals.take_changed()[..], [("a".into(), 3), ("b".into(), 0)]);
        totals.settle_here();
        assert!(totals.take_changed().is_empty());
        assert!(!totals.is_unsent());
        assert_eq!(value(&totals, "a"), 3);
    }

    #[test]
    fn names_over_the_bound_are_refused_and_known_ones_go_on() {
        let mut totals = Totals::default();
        totals.add(names(0..MAX_COUNTERS));
        assert!(!totals.full());
        totals.add(names(MAX_COUNTERS - 1..MAX_COUNTERS + 1));
        assert!(totals.full());
        assert_eq!(totals.all().len(), MAX_COUNTERS);
        assert_eq!(totals.all().iter().map(|(_, sum)| sum).sum::<i64>(), MAX_COUNTERS as i64 + 1);
    }

    #[test]
    fn sums_stop_at_the_ends() {
        let mut totals = Totals::default();
        totals.add(vec![("a".into(), i64::MIN)]);
        totals.add(vec![("a".into(), -1)]);
        assert_eq!(totals.take_changed()[..], [("a".into(), i64::MIN)]);
    }

    #[test]
    fn a_batch_is_offered_unchanged_until_it_is_settled_and_later_deltas_go_in_the_next() {
        let mut totals = Totals::default();
        assert_eq!(totals.offer(), None);
        totals.add(vec![("a".into(), 2)]);
        let first = totals.offer().expect("there is a delta");
        assert_eq!((first.number, &first.deltas[..]), (1, &[("a".into(), 2)][..]));
        totals.add(vec![("a".into(), 3)]);
        assert_eq!(totals.offer(), Some(first));
        assert_eq!(value(&totals, "a"), 5);
        totals.settle(&[12]);
        assert_eq!(value(&totals, "a"), 15);
        let second = totals.offer().expect("there is another delta");
        assert_eq!((second.number, &second.deltas[..]), (2, &[("a".into(), 3)][..]));
    }

    #[test]
    fn a_reading_that_may_hold_the_offered_batch_is_not_believed() {
        let mut totals = Totals::default();
        totals.add(vec![("a".into(), 2)]);
        totals.offer();
        totals.read(&["a".into()], &[2]);
        assert_eq!(value(&totals, "a"), 2);
        totals.settle(&[2]);
        totals.take_changed();
        totals.read(&["a".into()], &[7]);
        assert_eq!(totals.take_changed()[..], [("a".into(), 7)]);
        totals.read(&["a".into()], &[7]);
        assert!(totals.take_changed().is_empty());
    }

    #[test]
    fn a_name_first_mentioned_is_offered_so_that_its_sum_comes_back() {
        let mut totals = Totals::default();
        totals.add(vec![("a".into(), 0)]);
        assert_eq!(totals.offer().expect("it is new").deltas[..], [("a".into(), 0)]);
        totals.settle(&[40]);
        totals.add(vec![("a".into(), 0)]);
        assert!(!totals.is_unsent());
        assert_eq!(value(&totals, "a"), 40);
    }
}
