//! The link's side of the script counters.
//!
//! Each delta is in one of three places: unsent, in the pending batch (sent, but not confirmed), or stored. So this
//! process shows what its scripts have counted at once, with or without a store.
//!
//! A batch has a number, by which the store adds it at most once: a batch without an answer is sent again, unchanged,
//! until the store confirms it. So no delta is lost, and none counted twice.

use std::collections::HashMap;
use std::sync::Arc;

use super::message::MAX_COUNTERS;

/// All counters of this process.
#[derive(Debug, Default)]
pub struct CounterTotals {
    counts: HashMap<Arc<str>, TotalCount>,
    /// The names that have unsent deltas, or that were never sent to the store.
    unsent: Vec<Arc<str>>,
    pending: Option<DeltaBatch>,
    /// The number of the last batch.
    batches: u64,
    /// The names whose sums have not been announced to the shards.
    changed: Vec<Arc<str>>,
    full: bool,
}

#[derive(Debug, Default)]
struct TotalCount {
    /// By all processes, as the store last reported.
    stored: i64,
    /// In the pending batch.
    pending: i64,
    unsent: i64,
    /// The name is in `CounterTotals::unsent`.
    listed: bool,
}

impl TotalCount {
    fn value(&self) -> i64 {
        self.stored.saturating_add(self.pending).saturating_add(self.unsent)
    }
}

/// Deltas that the store adds all together, at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaBatch {
    /// Counts up from 1.
    pub number: u64,
    pub deltas: Arc<[(Arc<str>, i64)]>,
}

impl CounterTotals {
    /// Adds the deltas of a shard. Names beyond the bound are dropped.
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

    /// Whether there is something to send to the store.
    pub fn has_unsent(&self) -> bool {
        self.pending.is_some() || !self.unsent.is_empty()
    }

    /// Whether a batch was sent and not confirmed.
    pub fn has_pending_batch(&self) -> bool {
        self.pending.is_some()
    }

    /// The batch to send to the store: the same one again until it is confirmed.
    pub fn next_batch(&mut self) -> Option<DeltaBatch> {
        if self.pending.is_none() && !self.unsent.is_empty() {
            self.batches += 1;
            let names = std::mem::take(&mut self.unsent);
            let deltas = names.into_iter().map(|name| {
                let count = self.counts.get_mut(&name).expect("names are never forgotten");
                count.listed = false;
                count.pending = std::mem::take(&mut count.unsent);
                (name, count.pending)
            });
            self.pending = Some(DeltaBatch { number: self.batches, deltas: deltas.collect() });
        }
        self.pending.clone()
    }

    /// The store has added the pending batch; its counters have these values now, in the batch's order.
    pub fn confirm(&mut self, values: &[i64]) {
        let Some(batch) = self.pending.take() else { return };
        for ((name, _), &value) in batch.deltas.iter().zip(values) {
            self.set(name, value, true);
        }
    }

    /// Without a remote store, this process's deltas are the sums.
    pub fn confirm_locally(&mut self) {
        for name in std::mem::take(&mut self.unsent) {
            let count = self.counts.get_mut(&name).expect("names are never forgotten");
            *count = TotalCount { stored: count.value(), ..TotalCount::default() };
        }
    }

    /// Takes values read from the store. They are ignored while a batch is pending, which they may or may not contain.
    pub fn read(&mut self, names: &[Arc<str>], values: &[i64]) {
        if self.pending.is_none() {
            names.iter().zip(values).for_each(|(name, &value)| self.set(name, value, false));
        }
    }

    fn set(&mut self, name: &Arc<str>, stored: i64, confirmed: bool) {
        let Some(count) = self.counts.get_mut(name) else { return };
        let before = count.value();
        count.stored = stored;
        if confirmed {
            count.pending = 0;
        }
        if count.value() != before {
            self.changed.push(name.clone());
        }
    }

    /// The sums that have changed since the last call.
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

    /// Whether a name was dropped because there are too many.
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

    fn value(totals: &CounterTotals, name: &str) -> i64 {
        totals.counts[name].value()
    }

    #[test]
    fn each_change_is_announced_once_with_the_newest_sum() {
        let mut totals = CounterTotals::default();
        totals.add(vec![("a".into(), 1), ("b".into(), 0)]);
        totals.add(vec![("a".into(), 2)]);
        assert_eq!(totals.take_changed()[..], [("a".into(), 3), ("b".into(), 0)]);
        totals.confirm_locally();
        assert!(totals.take_changed().is_empty());
        assert!(!totals.has_unsent());
        assert_eq!(value(&totals, "a"), 3);
    }

    #[test]
    fn names_beyond_the_bound_are_dropped_and_known_ones_go_on() {
        let mut totals = CounterTotals::default();
        totals.add(names(0..MAX_COUNTERS));
        assert!(!totals.full());
        totals.add(names(MAX_COUNTERS - 1..MAX_COUNTERS + 1));
        assert!(totals.full());
        assert_eq!(totals.all().len(), MAX_COUNTERS);
        assert_eq!(totals.all().iter().map(|(_, sum)| sum).sum::<i64>(), MAX_COUNTERS as i64 + 1);
    }

    #[test]
    fn sums_stop_at_the_ends() {
        let mut totals = CounterTotals::default();
        totals.add(vec![("a".into(), i64::MIN)]);
        totals.add(vec![("a".into(), -1)]);
        assert_eq!(totals.take_changed()[..], [("a".into(), i64::MIN)]);
    }

    #[test]
    fn a_batch_is_sent_unchanged_until_it_is_confirmed_and_later_deltas_go_with_the_next() {
        let mut totals = CounterTotals::default();
        assert_eq!(totals.next_batch(), None);
        totals.add(vec![("a".into(), 2)]);
        let first = totals.next_batch().expect("there is a delta");
        assert_eq!((first.number, &first.deltas[..]), (1, &[("a".into(), 2)][..]));
        totals.add(vec![("a".into(), 3)]);
        assert_eq!(totals.next_batch(), Some(first));
        assert_eq!(value(&totals, "a"), 5);
        totals.confirm(&[12]);
        assert_eq!(value(&totals, "a"), 15);
        let second = totals.next_batch().expect("there is another delta");
        assert_eq!((second.number, &second.deltas[..]), (2, &[("a".into(), 3)][..]));
    }

    #[test]
    fn values_that_may_contain_the_pending_batch_are_ignored() {
        let mut totals = CounterTotals::default();
        totals.add(vec![("a".into(), 2)]);
        totals.next_batch();
        totals.read(&["a".into()], &[2]);
        assert_eq!(value(&totals, "a"), 2);
        totals.confirm(&[2]);
        totals.take_changed();
        totals.read(&["a".into()], &[7]);
        assert_eq!(totals.take_changed()[..], [("a".into(), 7)]);
        totals.read(&["a".into()], &[7]);
        assert!(totals.take_changed().is_empty());
    }

    #[test]
    fn a_new_name_is_sent_so_that_its_sum_comes_back() {
        let mut totals = CounterTotals::default();
        totals.add(vec![("a".into(), 0)]);
        assert_eq!(totals.next_batch().expect("it is new").deltas[..], [("a".into(), 0)]);
        totals.confirm(&[40]);
        totals.add(vec![("a".into(), 0)]);
        assert!(!totals.has_unsent());
        assert_eq!(value(&totals, "a"), 40);
    }
}
