//! What is remembered of the buckets that a full table has evicted, so that no key gains by its eviction.
//!
//! A key's bucket is not kept, only a bound: two slots, which other keys may share, each with no more tokens than any of
//! its keys had left. A key that comes back begins with the larger of its two bounds, so never with more than it had,
//! and with less only if both of its slots were also hit by keys that had less. Slots gain tokens as buckets do, so they
//! forget by themselves. Their number is fixed, whatever clients send.
//!
//! Under pressure, IPv6 networks share slots by their first 56 bits and then by 48: whoever has many networks is usually
//! one site, and should not use up the slots of all others. Values of headers are no longer remembered then: whoever
//! makes up so many of them need not wait for an old one.

use std::hash::{BuildHasher, RandomState};

use super::bucket::{Bucket, BucketParams};
use super::key::Key;
use super::messages::LEASE_LIFE_MS;
use crate::plan::RateAlgorithm;

/// Pressure counts what was remembered within the time that slots remember, in sixteenths of a row.
const PRESSURE_UNIT: usize = 16;

/// From this pressure on, values of headers are not remembered.
const HEADERS_UNTIL: usize = 4;

#[derive(Debug)]
pub(super) struct EvictedBuckets {
    rows: [Row; 2],
    /// What slots gain by: no slower rule had a bucket evicted.
    slowest: BucketParams,
    /// How long slots remember: the longest time that any rule needs.
    memory_ms: u64,
    /// Buckets remembered since `count_from_ms`, which is not longer ago than slots remember.
    count: usize,
    count_from_ms: u64,
    last_ms: u64,
}

/// Slots, by a hash of its own. Apart, because zeroed memory costs nothing until it is used.
#[derive(Debug)]
struct Row {
    hash: RandomState,
    tokens: Vec<u32>,
    /// The time since when a slot has had its tokens; 0 if nothing was evicted into it.
    since_ms: Vec<u64>,
}

impl EvictedBuckets {
    /// For a table of so many keys: some 48 bytes for each.
    pub(super) fn new(max_keys: usize, params: &BucketParams, now_ms: u64) -> EvictedBuckets {
        let slots = (2 * max_keys).next_power_of_two();
        let row = || Row { hash: RandomState::new(), tokens: vec![0; slots], since_ms: vec![0; slots] };
        EvictedBuckets {
            rows: [row(), row()],
            slowest: params.slower(params),
            memory_ms: 0,
            count: 0,
            count_from_ms: now_ms,
            last_ms: now_ms,
        }
    }

    /// Remembers a bucket that was advanced to `now_ms`. Tokens that were out on leases count as spent, and the bucket
    /// gains nothing until the last of these has ended, at `leased_until_ms`.
    pub(super) fn remember(
        &mut self,
        key: &Key,
        bucket: &Bucket,
        params: &BucketParams,
        leased_until_ms: u64,
        now_ms: u64,
    ) {
        self.slowest = self.slowest.slower(params);
        self.memory_ms = self.memory_ms.max(params.memory_ms().saturating_add(LEASE_LIFE_MS));
        if now_ms.saturating_sub(self.count_from_ms) > self.memory_ms {
            (self.count, self.count_from_ms) = (0, now_ms);
        }
        let pressure = self.count * PRESSURE_UNIT / self.rows[0].tokens.len();
        if pressure >= HEADERS_UNTIL && key.is_made_up() {
            return;
        }
        self.count += 1;
        self.last_ms = now_ms;
        let since_ms = match params.algorithm {
            RateAlgorithm::TokenBucket => bucket.since_ms(params).max(leased_until_ms),
            RateAlgorithm::FixedWindow => now_ms,
        };
        let key = key.network(Key::NETWORK_BITS[pressure.min(2)]);
        for row in &mut self.rows {
            row.lower(&key, bucket.tokens, since_ms, &self.slowest, now_ms);
        }
    }

    /// What a key has left at most; `None`: it may be full.
    pub(super) fn recall(&self, key: &Key, params: &BucketParams, now_ms: u64) -> Option<Bucket> {
        let larger =
            Key::NETWORK_BITS[1..].iter().map(|bits| key.network(*bits)).filter(|network| network != key);
        let bounds = std::iter::once(*key).chain(larger).filter_map(|key| {
            let [one, other] = &self.rows;
            let (one, other) = (one.bound(&key, params, now_ms)?, other.bound(&key, params, now_ms)?);
            Some(if one.tokens > other.tokens { one } else { other })
        });
        bounds.min_by_key(|bound| bound.tokens)
    }

    /// Nothing remembered matters any more.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_ms) > self.memory_ms
    }
}

impl Row {
    fn slot(&self, key: &Key) -> usize {
        // The number of slots is a power of two.
        self.hash.hash_one(key) as usize & (self.tokens.len() - 1)
    }

    fn bound(&self, key: &Key, params: &BucketParams, now_ms: u64) -> Option<Bucket> {
        let slot = self.slot(key);
        if self.since_ms[slot] == 0 {
            return None;
        }
        let mut bucket = Bucket::since(u64::from(self.tokens[slot]), self.since_ms[slot]);
        bucket.advance(params, 0, now_ms);
        bucket.cap(params.burst);
        Some(bucket)
    }

    /// Lowers the key's slot so that it bounds this bucket too.
    fn lower(&mut self, key: &Key, tokens: u64, since_ms: u64, slowest: &BucketParams, now_ms: u64) {
        let slot = self.slot(key);
        let (mut tokens, mut since_ms) = (tokens, since_ms);
        if let Some(before) = self.bound(key, slowest, now_ms)
            && before.tokens <= tokens
        {
            tokens = before.tokens;
            since_ms = since_ms.max(before.since_ms(slowest));
        } else if self.since_ms[slot] > now_ms {
            // A lease of the other key has not ended.
            since_ms = since_ms.max(self.since_ms[slot]);
        }
        self.tokens[slot] = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.since_ms[slot] = since_ms.max(1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::limit::Rule;
    use crate::plan::Period;

    fn network(number: u128) -> Key {
        Key::of_address(Ipv6Addr::from(0x2001_0db8_u128 << 96 | number << 64).into())
    }

    fn left(evicted: &EvictedBuckets, key: &Key, params: &BucketParams) -> u64 {
        evicted.recall(key, params, 1).map_or(params.burst, |bucket| bucket.tokens)
    }

    #[test]
    fn a_bound_is_the_least_of_a_slot_and_gains_as_buckets_do() {
        let params = BucketParams::of(&Rule::token_bucket(60, Period::Minute, 10));
        let mut evicted = EvictedBuckets::new(1, &params, 0);
        evicted.remember(&network(1), &Bucket::since(0, 1), &params, 0, 1);
        for number in 2..50 {
            evicted.remember(&network(number), &Bucket::since(9, 1), &params, 0, 1);
        }
        assert_eq!(left(&evicted, &network(1), &params), 0);
        let bound = |now_ms| evicted.recall(&network(1), &params, now_ms).expect("it was evicted").tokens;
        assert_eq!([bound(1_000), bound(1_001), bound(10_001)], [0, 1, 10]);
        assert!(evicted.is_over(100_000) && !evicted.is_over(9_999));
    }

    #[test]
    fn tokens_that_are_leased_are_not_gained_before_their_lease_has_ended() {
        let params = BucketParams::of(&Rule::token_bucket(1_000, Period::Second, 100));
        let mut evicted = EvictedBuckets::new(1, &params, 0);
        evicted.remember(&network(1), &Bucket::since(0, 1), &params, 3_000, 1);
        let bound = |now_ms| evicted.recall(&network(1), &params, now_ms).expect("it was evicted").tokens;
        assert_eq!([bound(1), bound(3_000), bound(3_050), bound(3_200)], [0, 0, 50, 100]);
    }

    #[test]
    fn many_networks_of_one_site_use_up_the_slots_of_no_other() {
        let params = BucketParams::of(&Rule::token_bucket(1, Period::Hour, 1));
        let mut evicted = EvictedBuckets::new(10_000, &params, 0);
        // A /46.
        for number in 0..1 << 18 {
            evicted.remember(&network(number), &Bucket::since(0, 1), &params, 0, 1);
        }
        assert!((0..1 << 18).all(|number| left(&evicted, &network(number), &params) == 0));
        let others =
            (1 << 20..(1 << 20) + 1_000).filter(|&number| left(&evicted, &network(number), &params) == 1);
        assert!(others.count() > 950);
    }
}
