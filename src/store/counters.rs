//! A shard's side of the script counters: plain data, read and changed while a script runs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::message::{CounterSums, MAX_COUNTERS};

/// The counters as one shard sees them: the last sums, and what its own scripts have added since.
#[derive(Debug, Default)]
pub struct ShardCounters {
    /// The hash is seeded with a secret: clients may choose names through a script.
    counts: RefCell<HashMap<Arc<str>, ShardCount>>,
    /// The names that are new or have unsent deltas.
    changed: RefCell<Vec<Arc<str>>>,
    /// The names whose deltas have been sent and not acknowledged.
    in_flight: RefCell<Vec<Arc<str>>>,
    /// How many names a route's scripts have mentioned here first.
    named: RefCell<HashMap<Arc<str>, usize>>,
    full: Cell<bool>,
}

/// Names that one route's scripts may mention first on one shard. Beyond, names that clients choose would use up
/// those of other routes.
const MAX_NAMES_OF_ROUTE: usize = 250;

#[derive(Debug, Default)]
struct ShardCount {
    /// Over all shards, as the link last announced it.
    sum: i64,
    /// Sent to the link: not in `sum` until it is acknowledged.
    sent: i64,
    unsent: i64,
    /// The link has announced a sum of this name.
    known: bool,
    /// The name is in `changed`.
    listed: bool,
}

impl ShardCount {
    fn value(&self) -> i64 {
        self.sum.saturating_add(self.sent).saturating_add(self.unsent)
    }
}

impl ShardCounters {
    pub fn new() -> ShardCounters {
        ShardCounters::default()
    }

    /// Whether the scripts of this route may use a counter of this name; a new one counts as theirs.
    pub fn may_use(&self, route: &str, name: &str) -> bool {
        if self.counts.borrow().contains_key(name) {
            return true;
        }
        let mut named = self.named.borrow_mut();
        match named.get_mut(route) {
            Some(count) if *count >= MAX_NAMES_OF_ROUTE => return false,
            Some(count) => *count += 1,
            None => _ = named.insert(route.into(), 1),
        }
        true
    }

    /// Adds to a counter, or subtracts; a sum stops at the ends of `i64`. False: there is no room for one more name.
    pub fn add(&self, name: &str, n: i64) -> bool {
        self.touch(name, n).is_some()
    }

    /// The sum over all shards: this one's own additions count at once, those of others at most a tick later. 0 for a
    /// counter that nobody has added to or that there is no room for.
    pub fn value(&self, name: &str) -> i64 {
        self.touch(name, 0).unwrap_or(0)
    }

    fn touch(&self, name: &str, n: i64) -> Option<i64> {
        let mut counts = self.counts.borrow_mut();
        if let Some(count) = counts.get_mut(name) {
            count.unsent = count.unsent.saturating_add(n);
            if n != 0 && !count.listed {
                count.listed = true;
                let (name, _) = counts.get_key_value(name).expect("it was found above");
                self.changed.borrow_mut().push(name.clone());
            }
            return counts.get(name).map(ShardCount::value);
        }
        if self.full.get() || counts.len() >= MAX_COUNTERS {
            return None;
        }
        let name: Arc<str> = name.into();
        self.changed.borrow_mut().push(name.clone());
        counts.insert(name, ShardCount { unsent: n, listed: true, ..ShardCount::default() });
        Some(n)
    }

    /// The deltas to send to the link at a tick. Empty while the last ones are not acknowledged. If they cannot be
    /// sent, call [`ShardCounters::put_back`].
    pub fn take_deltas(&self) -> Vec<(Arc<str>, i64)> {
        let mut in_flight = self.in_flight.borrow_mut();
        if !in_flight.is_empty() || self.changed.borrow().is_empty() {
            return Vec::new();
        }
        *in_flight = self.changed.take();
        let mut counts = self.counts.borrow_mut();
        let mut deltas = Vec::with_capacity(in_flight.len());
        for name in &*in_flight {
            let Some(count) = counts.get_mut(name) else { continue };
            count.listed = false;
            count.sent = std::mem::take(&mut count.unsent);
            deltas.push((name.clone(), count.sent));
        }
        deltas
    }

    /// The deltas that are left at the shard's end, whether or not the last ones are acknowledged. If they cannot be sent,
    /// call [`ShardCounters::put_back`].
    pub fn take_last(&self) -> Vec<(Arc<str>, i64)> {
        self.in_flight.take();
        self.take_deltas()
    }

    /// The deltas taken last could not be sent: they go with the next.
    pub fn put_back(&self) {
        let mut counts = self.counts.borrow_mut();
        let mut changed = self.changed.borrow_mut();
        for name in self.in_flight.take() {
            let Some(count) = counts.get_mut(&name) else { continue };
            count.unsent = count.unsent.saturating_add(std::mem::take(&mut count.sent));
            if !std::mem::replace(&mut count.listed, true) {
                changed.push(name);
            }
        }
    }

    /// Takes the sums that the link announces.
    pub fn apply(&self, update: &CounterSums) {
        let mut counts = self.counts.borrow_mut();
        if update.acknowledges {
            for name in self.in_flight.take() {
                if let Some(count) = counts.get_mut(&name) {
                    count.sent = 0;
                }
            }
        }
        for (name, sum) in &*update.sums {
            let count = match counts.entry(name.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(ShardCount::default()),
            };
            count.sum = *sum;
            count.known = true;
        }
        if update.full && !self.full.replace(true) {
            // The link has announced all names that it knows, and takes no more.
            counts.retain(|_, count| count.known);
            self.changed.borrow_mut().retain(|name| counts.contains_key(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(acknowledges: bool, sums: &[(&str, i64)]) -> CounterSums {
        let sums = sums.iter().map(|&(name, sum)| (name.into(), sum)).collect();
        CounterSums { sums, acknowledges, full: false }
    }

    #[test]
    fn a_shard_reads_its_own_additions_at_every_moment_and_counts_none_twice() {
        let counters = ShardCounters::new();
        counters.add("a", 2);
        assert_eq!(counters.value("a"), 2);
        assert_eq!(counters.take_deltas(), [("a".into(), 2)]);
        assert_eq!(counters.value("a"), 2);
        counters.add("a", 3);
        assert_eq!(counters.value("a"), 5);
        counters.apply(&sums(false, &[("a", 10)]));
        assert_eq!(counters.value("a"), 15, "a sum from before the deltas arrived");
        assert!(counters.take_deltas().is_empty(), "the last are not acknowledged yet");
        counters.apply(&sums(true, &[("a", 12)]));
        assert_eq!(counters.value("a"), 15);
        assert_eq!(counters.take_deltas(), [("a".into(), 3)]);
        counters.apply(&sums(true, &[("a", 15)]));
        assert_eq!(counters.value("a"), 15);
        assert!(counters.take_deltas().is_empty());
    }

    #[test]
    fn deltas_that_could_not_be_sent_go_with_the_next() {
        let counters = ShardCounters::new();
        counters.add("a", 2);
        counters.add("b", 1);
        counters.take_deltas();
        counters.add("a", 5);
        counters.put_back();
        assert_eq!(counters.value("a"), 7);
        let mut deltas = counters.take_deltas();
        deltas.sort();
        assert_eq!(deltas, [("a".into(), 7), ("b".into(), 1)]);
    }

    #[test]
    fn the_last_deltas_do_not_wait_for_those_before() {
        let counters = ShardCounters::new();
        counters.add("a", 2);
        counters.take_deltas();
        counters.add("a", 5);
        counters.add("b", 1);
        assert!(counters.take_deltas().is_empty());
        let mut last = counters.take_last();
        last.sort();
        assert_eq!(last, [("a".into(), 5), ("b".into(), 1)]);
        counters.put_back();
        assert_eq!(counters.take_last().len(), 2, "they could not be sent");
        assert!(counters.take_last().is_empty());
    }

    #[test]
    fn a_name_that_is_only_read_is_mentioned_once() {
        let counters = ShardCounters::new();
        assert_eq!(counters.value("a"), 0);
        assert_eq!(counters.take_deltas(), [("a".into(), 0)]);
        counters.apply(&sums(true, &[("a", 9)]));
        assert_eq!(counters.value("a"), 9);
        assert!(counters.take_deltas().is_empty());
    }

    #[test]
    fn once_full_unknown_names_are_refused_and_forgotten() {
        let counters = ShardCounters::new();
        assert!(counters.add("mine", 1));
        counters.take_deltas();
        assert!(counters.add("late", 1));
        counters.apply(&CounterSums { full: true, ..sums(true, &[("theirs", 4)]) });
        assert!(!counters.add("mine", 1));
        assert!(!counters.add("late", 1));
        assert_eq!(counters.value("mine"), 0);
        assert!(counters.add("theirs", 1));
        assert_eq!(counters.value("theirs"), 5);
        assert_eq!(counters.take_deltas(), [("theirs".into(), 1)]);
    }

    #[test]
    fn a_shard_alone_keeps_to_the_bound_too() {
        let counters = ShardCounters::new();
        for number in 0..MAX_COUNTERS {
            assert!(counters.add(&number.to_string(), 1));
        }
        assert!(!counters.add("one more", 1));
    }

    #[test]
    fn a_route_has_so_many_names_and_those_that_are_known_count_for_nobody() {
        let counters = ShardCounters::new();
        counters.apply(&sums(false, &[("known", 1)]));
        let add = |route: &str, name: &str| counters.may_use(route, name) && counters.add(name, 1);
        for number in 0..MAX_NAMES_OF_ROUTE {
            assert!(add("one", &number.to_string()));
        }
        assert!(!add("one", "one more"));
        assert!(add("one", "0") && add("one", "known"));
        assert!(add("two", "one more"));
        assert!(add("one", "one more"), "it is there now");
    }

    #[test]
    fn sums_stop_at_the_ends() {
        let counters = ShardCounters::new();
        counters.add("up", i64::MAX);
        counters.add("up", 1);
        counters.apply(&sums(false, &[("up", i64::MAX), ("down", i64::MIN)]));
        counters.add("down", -1);
        assert_eq!(counters.value("up"), i64::MAX);
        assert_eq!(counters.value("down"), i64::MIN);
        counters.take_deltas();
        counters.add("up", i64::MAX);
        counters.put_back();
        assert_eq!(counters.value("up"), i64::MAX);
    }
}
