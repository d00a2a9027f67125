//! The buckets of one limit: the tokens left of each key, and the leases on them.
//!
//! For every key, at any time, `tokens + leased <= burst`. A token is in the bucket, in one lease, or spent; a bucket
//! gains tokens only as time passes, and never beyond that sum. So whatever messages are lost, repeated or late, no
//! more is spent than the rule allows.
//!
//! There is one bucket store per limit. The embedded store holds them; Redis holds one hash per key, and the store's Lua
//! scripts do the same as this code to it.
//!
//! A limit's rule may change while its buckets are in use, and consumers may have rules of their own: a bucket follows
//! the rule of each request. What is left stays, up to the new burst.

use std::cmp::Ordering;

use super::bucket::{Bucket, BucketParams, Verdict};
use super::evicted::EvictedBuckets;
use super::key::{Key, KeyTable, key_table};
use super::messages::{LEASE_LIFE_MS, LeaseGrant, LeaseRequest, Leaseholder};
use super::rule::Rule;
use crate::plan::RateAlgorithm;

/// All leases together hold at most this part of the bucket (one in so many tokens) beyond what requests were waiting
/// for. So at most this part is out of reach of the other shards.
pub const PREFETCH_SHARE: u64 = 4;

/// Entries that one [`BucketStore::tick`] looks at.
const MAX_SEEN_PER_TICK: usize = 256;

/// Of so many buckets, those that were not used for the longest time, the fullest is evicted.
const EVICTION_CHOICE: usize = 16;

/// The buckets of one limit, by key.
///
/// It keeps at most `max_keys` of them. A bucket that is full and has no leases is forgotten: it is the same as a new
/// one. Where the table is full of others, one of those that have not been used for long is evicted, and its key begins
/// with no more than what it had left ([`EvictedBuckets`]).
#[derive(Debug)]
pub struct BucketStore {
    /// Of the requests to come.
    params: BucketParams,
    /// The share's number and how many there are, in a [`BucketStore::local_share`].
    share: Option<(u64, u64)>,
    max_keys: usize,
    entries: KeyTable<BucketEntry>,
    evicted: Option<Box<EvictedBuckets>>,
}

/// A key's bucket and the leases on it.
#[derive(Clone, Debug)]
struct BucketEntry {
    /// Of its last request.
    params: BucketParams,
    bucket: Bucket,
    /// One per holder; none is empty.
    leases: Vec<GrantedLease>,
}

/// The tokens leased to one holder. Its own `seq` protects it from requests that were overtaken on their way.
#[derive(Clone, Copy, Debug)]
struct GrantedLease {
    holder: Leaseholder,
    seq: u64,
    tokens: u64,
    ends_ms: u64,
}

impl BucketStore {
    pub fn new(rule: &Rule, max_keys: usize) -> BucketStore {
        BucketStore::with_params(BucketParams::of(rule), None, max_keys)
    }

    /// One shard's share of a rule, for mode `local` and while the store is lost; only [`BucketStore::take`] is to be
    /// used. `index` counts the shards from 0.
    ///
    /// Over all shards no more is admitted than the rule. A shard sees its own share alone: a client whose connections
    /// all end at one shard gets that shard's share only. Where the burst is less than the number of shards, the last
    /// shards refuse everything.
    pub fn local_share(rule: &Rule, shards: u64, index: u64, max_keys: usize) -> BucketStore {
        BucketStore::with_params(BucketParams::share(rule, shards, index), Some((shards, index)), max_keys)
    }

    fn with_params(params: BucketParams, share: Option<(u64, u64)>, max_keys: usize) -> BucketStore {
        BucketStore { params, share, max_keys: max_keys.max(1), entries: key_table(), evicted: None }
    }

    /// The rule of the requests to come, of the same algorithm.
    pub fn follow(&mut self, rule: &Rule) {
        self.params = match self.share {
            None => BucketParams::of(rule),
            Some((shards, index)) => BucketParams::share(rule, shards, index),
        };
    }

    /// Keys kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing would be lost with it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.evicted.is_none()
    }

    /// Records what the holder reports, and leases it what the bucket has.
    ///
    /// `now_ms` here and below is Unix time, from a clock that should not go back.
    pub fn lease(&mut self, request: &LeaseRequest, now_ms: u64) -> LeaseGrant {
        self.entry(&request.key, now_ms).lease(request, now_ms)
    }

    /// Takes one token for one request, in modes `strict` and `local`. The keys of these have no leases.
    pub fn take(&mut self, key: &Key, now_ms: u64) -> Verdict {
        let entry = self.entry(key, now_ms);
        entry.bucket.take(&entry.params, now_ms)
    }

    /// Has a key's share go on from what the store said at `at_ms`: that `available` tokens were left of a whole bucket of
    /// `burst`. Of these, it gets its part, rounded down: all shares together begin with no more than the bucket had.
    /// Without effect if the share was used since.
    pub fn continue_from(&mut self, burst: u64, key: &Key, available: u64, at_ms: u64) {
        if self.entries.len() >= self.max_keys && !self.entries.contains(key) {
            self.evict(at_ms);
        }
        let (params, evicted) = (self.params, &self.evicted);
        let part = u128::from(available) * u128::from(params.burst) / u128::from(burst.max(1));
        let part = u64::try_from(part).map_or(params.burst, |part| part.min(params.burst));
        let share = Bucket::since(part, at_ms);
        let entry = self.entries.get_or_insert_mut(*key, || {
            let recalled = evicted.as_ref().and_then(|evicted| evicted.recall(key, &params, at_ms));
            let bucket = recalled.filter(|recalled| recalled.tokens < part).unwrap_or(share);
            BucketEntry { params, bucket, leases: Vec::new() }
        });
        entry.follow(&params);
        match entry.bucket.updated_ms().cmp(&at_ms) {
            Ordering::Less => entry.bucket = share,
            // In the same millisecond either may have been first.
            Ordering::Equal => entry.bucket.tokens = entry.bucket.tokens.min(part),
            Ordering::Greater => {}
        }
    }

    /// Forgets full buckets, some at a time, least recently used first. One that is not full is looked at again when
    /// its turn comes: it must not keep those behind it.
    pub fn tick(&mut self, now_ms: u64) {
        self.evicted.take_if(|evicted| evicted.is_over(now_ms));
        for _ in 0..self.entries.len().min(MAX_SEEN_PER_TICK) {
            let Some((&key, _)) = self.entries.peek_lru() else { return };
            if self.entries.get_mut(&key).is_some_and(|entry| entry.is_full(now_ms)) {
                self.entries.pop(&key);
            }
        }
    }

    /// The tokens left, and those leased to each holder.
    #[cfg(test)]
    pub(super) fn audit(&self, key: &Key, now_ms: u64) -> Option<(u64, Vec<(Leaseholder, u64)>)> {
        let entry = self.entries.peek(key)?;
        let live = entry.leases.iter().filter(|lease| lease.ends_ms > now_ms);
        Some((entry.bucket.tokens, live.map(|lease| (lease.holder, lease.tokens)).collect()))
    }

    /// The key's bucket, up to date; a new one if it has none.
    fn entry(&mut self, key: &Key, now_ms: u64) -> &mut BucketEntry {
        if self.entries.len() >= self.max_keys && !self.entries.contains(key) {
            self.evict(now_ms);
        }
        let (params, evicted) = (self.params, &self.evicted);
        let entry = self.entries.get_or_insert_mut(*key, || {
            let recalled = evicted.as_ref().and_then(|evicted| evicted.recall(key, &params, now_ms));
            let bucket = recalled.unwrap_or_else(|| Bucket::full(&params, now_ms));
            BucketEntry { params, bucket, leases: Vec::new() }
        });
        entry.advance(now_ms);
        entry.follow(&params);
        entry
    }

    /// Makes room for one bucket: of the least recently used ones, that goes which would be full first.
    fn evict(&mut self, now_ms: u64) {
        let oldest = self.entries.iter().rev().take(EVICTION_CHOICE);
        let Some((&key, _)) = oldest.min_by_key(|(_, entry)| entry.full_at_ms()) else { return };
        let Some(mut entry) = self.entries.pop(&key) else { return };
        if entry.is_full(now_ms) {
            return;
        }
        let (max_keys, params) = (self.max_keys, &entry.params);
        let new = || Box::new(EvictedBuckets::new(max_keys, params, now_ms));
        let evicted = self.evicted.get_or_insert_with(new);
        evicted.remember(&key, &entry.bucket, params, entry.leased_until_ms(), now_ms);
    }
}

impl BucketEntry {
    fn leased(&self) -> u64 {
        self.leases.iter().map(|lease| lease.tokens).sum()
    }

    /// When the last lease ends; 0 if there is none.
    fn leased_until_ms(&self) -> u64 {
        self.leases.iter().map(|lease| lease.ends_ms).max().unwrap_or(0)
    }

    /// When the bucket will be full, whatever of its leases is spent.
    fn full_at_ms(&self) -> u64 {
        self.bucket.full_at_ms(&self.params).max(self.leased_until_ms())
    }

    /// A full bucket leaves no token for a lease.
    fn is_full(&mut self, now_ms: u64) -> bool {
        self.advance(now_ms);
        self.bucket.tokens == self.params.burst
    }

    /// Refills the bucket before leases that have ended are dropped: such a lease may have been spent up to its last
    /// moment, so its tokens count as spent until they are gained again.
    fn advance(&mut self, now_ms: u64) {
        self.bucket.advance(&self.params, self.leased(), now_ms);
        self.leases.retain(|lease| lease.ends_ms > now_ms);
    }

    fn follow(&mut self, params: &BucketParams) {
        if self.params != *params {
            self.bucket.change_rule(&self.params, params, self.leased());
            self.params = *params;
        }
    }

    fn lease(&mut self, request: &LeaseRequest, now_ms: u64) -> LeaseGrant {
        let index = self.leases.iter().position(|lease| lease.holder == request.holder);
        let recorded = index.map_or(0, |index| self.leases[index].tokens);
        if let Some(seq) = index.map(|index| self.leases[index].seq)
            && request.seq <= seq
        {
            // A repeated request gets its grant again. An overtaken one gets nothing: its holder gave it up.
            let granted = if request.seq == seq { recorded } else { 0 };
            return self.grant(request, granted, now_ms);
        }
        // A holder cannot keep or return more than it was leased.
        let kept = request.kept.min(recorded);
        self.bucket.tokens += request.returned.min(recorded - kept);
        let needed = request.needed.min(self.bucket.tokens);
        let unleased = (self.params.burst / PREFETCH_SHARE).saturating_sub(self.leased() - recorded + kept);
        let prefetch = request.prefetch.min(self.bucket.tokens - needed).min(unleased);
        self.bucket.tokens -= needed + prefetch;

        let tokens = kept + needed + prefetch;
        if let Some(index) = index {
            self.leases.swap_remove(index);
        }
        if tokens > 0 {
            let ends_ms = now_ms + self.life_ms(now_ms);
            self.leases.push(GrantedLease { holder: request.holder, seq: request.seq, tokens, ends_ms });
        }
        self.grant(request, tokens, now_ms)
    }

    /// How long a lease lives that begins now: no longer than its window.
    fn life_ms(&self, now_ms: u64) -> u64 {
        match self.params.algorithm {
            RateAlgorithm::TokenBucket => LEASE_LIFE_MS,
            RateAlgorithm::FixedWindow => LEASE_LIFE_MS.min(self.bucket.reset_ms(&self.params, now_ms)),
        }
    }

    fn grant(&self, request: &LeaseRequest, granted: u64, now_ms: u64) -> LeaseGrant {
        let others = self.leases.iter().filter(|lease| lease.holder != request.holder);
        LeaseGrant {
            key: request.key,
            seq: request.seq,
            granted,
            available: self.bucket.tokens,
            leased_to_others: others.map(|lease| lease.tokens).sum(),
            expires_in_ms: self.life_ms(now_ms),
            retry_after_ms: self.bucket.retry_after_ms(&self.params, now_ms),
            reset_ms: self.bucket.reset_ms(&self.params, now_ms),
        }
    }
}

#[cfg(test)]
mod tests;
