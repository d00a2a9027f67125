//! The store of a single gateway: bucket stores in this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::message::{StoreReply, StoreRequest};
use crate::base::time::ForwardClock;
use crate::limit::{BucketStore, Rule};
use crate::plan::RateAlgorithm;

/// Keys of one limit that are kept at a time: some 25 MB when all are in use.
const MAX_KEYS_PER_LIMIT: usize = 100_000;
/// How often full buckets are forgotten.
const TICK: Duration = Duration::from_millis(100);

pub struct EmbeddedStore {
    stores: HashMap<BucketStoreId, BucketStore>,
    clock: ForwardClock,
    next_tick: Instant,
}

#[derive(PartialEq, Eq, Hash)]
struct BucketStoreId {
    limit: Arc<str>,
    algorithm: RateAlgorithm,
    /// Strict limits have bucket stores of their own: their keys have no leases.
    strict: bool,
}

impl EmbeddedStore {
    pub fn new(now: Instant) -> EmbeddedStore {
        EmbeddedStore { stores: HashMap::new(), clock: ForwardClock::new(now, unix_ms()), next_tick: now }
    }

    /// The shard and its reply; `None` for a request that is not about limits.
    pub fn answer(&mut self, request: StoreRequest, now: Instant) -> Option<(usize, StoreReply)> {
        let now_ms = self.clock.unix_ms(now);
        match request {
            StoreRequest::Lease { shard, ticket, limit, rule, request } => {
                let grant = self.bucket_store(limit, rule, false).lease(&request, now_ms);
                Some((shard, StoreReply::Lease { ticket, grant }))
            }
            StoreRequest::Strict { shard, ticket, limit, rule, key } => {
                let verdict = self.bucket_store(limit, rule, true).take(&key, now_ms);
                Some((shard, StoreReply::Strict { ticket, verdict }))
            }
            StoreRequest::Counters { .. } => None,
        }
    }

    fn bucket_store(&mut self, limit: Arc<str>, rule: Rule, strict: bool) -> &mut BucketStore {
        let entry = self.stores.entry(BucketStoreId { limit, algorithm: rule.algorithm(), strict });
        let store = entry.or_insert_with(|| BucketStore::new(&rule, MAX_KEYS_PER_LIMIT));
        store.follow(&rule);
        store
    }

    /// When [`EmbeddedStore::tick`] is due, if there is anything to forget.
    pub fn next_tick(&self) -> Option<Instant> {
        (!self.stores.is_empty()).then_some(self.next_tick)
    }

    /// Forgets full buckets, and bucket stores without keys, such as those of a limit that is no longer configured.
    pub fn tick(&mut self, now: Instant) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.clock.correct(now, unix_ms());
        let now_ms = self.clock.unix_ms(now);
        self.stores.retain(|_, store| {
            store.tick(now_ms);
            !store.is_empty()
        });
    }
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Key;
    use crate::plan::Period;

    fn strict(limit: &str, tokens: u64) -> StoreRequest {
        let rule = Rule::token_bucket(tokens, Period::Hour, tokens);
        StoreRequest::Strict { shard: 0, ticket: 0, limit: limit.into(), rule, key: Key::new(b"k") }
    }

    fn allowed(store: &mut EmbeddedStore, request: StoreRequest, now: Instant) -> bool {
        let Some((0, StoreReply::Strict { verdict, .. })) = store.answer(request, now) else {
            panic!("no verdict")
        };
        verdict.allowed
    }

    #[test]
    fn limits_have_bucket_stores_of_their_own_and_a_new_rule_fills_none() {
        let now = Instant::now();
        let mut store = EmbeddedStore::new(now);
        assert!(allowed(&mut store, strict("a", 1), now));
        assert!(!allowed(&mut store, strict("a", 1), now));
        assert!(allowed(&mut store, strict("b", 1), now));
        assert!(!allowed(&mut store, strict("a", 2), now));
        assert!(allowed(&mut store, strict("a", 2), now + Duration::from_secs(1800)));
    }

    #[test]
    fn bucket_stores_whose_buckets_are_full_are_forgotten() {
        let now = Instant::now();
        let mut store = EmbeddedStore::new(now);
        allowed(&mut store, strict("a", 1), now);
        store.tick(now);
        assert!(store.next_tick().is_some());
        store.tick(now + Duration::from_secs(3 * 3600));
        assert!(store.next_tick().is_none());
    }
}
