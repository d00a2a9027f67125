//! The buckets of one limit: the tokens left of each key, and the leases on them.
//!
//! For every key, at any time, `tokens + leased <= burst`. A token is in the bucket, in one lease, or spent; a bucket
//! gains tokens only as time passes, and never beyond that sum. So whatever messages are lost, repeated or late, no
//! more is spent than the rule allows.
//!
//! There is one bucket store per limit and rule (a consumer's own rate is a rule of its own). The embedded store holds
//! them; Redis holds one hash per key, and the store's Lua scripts do the same as this code to it.

use std::cmp::Ordering;

use super::bucket::{Bucket, BucketParams, Verdict};
use super::key::{Key, KeyTable, key_table};
use super::messages::{LEASE_LIFE_MS, LeaseGrant, LeaseRequest, Leaseholder};
use super::rule::Rule;
use crate::plan::RateAlgorithm;

/// All leases together hold at most this part of the bucket (one in so many tokens) beyond what requests were waiting
/// for. So at most this part is out of reach of the other shards.
pub const PREFETCH_SHARE: u64 = 4;

/// Entries that one [`BucketStore::tick`] looks at.
const MAX_FORGOTTEN_PER_TICK: usize = 256;

/// The buckets of one limit, by key.
///
/// It keeps at most `max_keys` of them, and one for [`Key::OVERFLOW`]. A bucket that is full and has no leases is
/// forgotten: it is the same as a new one. Where the table is full of others, new keys share the overflow bucket until
/// there is room. One key may then get, beside its own bucket before and after, its part of the shared one.
#[derive(Debug)]
pub struct BucketStore {
    params: BucketParams,
    max_keys: usize,
    entries: KeyTable<BucketEntry>,
}

/// A key's bucket and the leases on it.
#[derive(Clone, Debug)]
struct BucketEntry {
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
        BucketStore::with_params(BucketParams::of(rule), max_keys)
    }

    /// One shard's share of a rule, for mode `local` and while the store is lost; only [`BucketStore::take`] is to be
    /// used. `index` counts the shards from 0.
    ///
    /// Over all shards no more is admitted than the rule. A shard sees its own share alone: a client whose connections
    /// all end at one shard gets that shard's share only. Where the burst is less than the number of shards, the last
    /// shards refuse everything.
    pub fn local_share(rule: &Rule, shards: u64, index: u64, max_keys: usize) -> BucketStore {
        BucketStore::with_params(BucketParams::share(rule, shards, index), max_keys)
    }

    fn with_params(params: BucketParams, max_keys: usize) -> BucketStore {
        BucketStore { params, max_keys, entries: key_table() }
    }

    /// Keys kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Records what the holder reports, and leases it what the bucket has.
    ///
    /// `now_ms` here and below is Unix time, from a clock that should not go back.
    pub fn lease(&mut self, request: &LeaseRequest, now_ms: u64) -> LeaseGrant {
        if !self.has_room_for(&request.key, now_ms) {
            return LeaseGrant::table_full(request);
        }
        let params = self.params;
        let entry = self.entries.get_or_insert_mut(request.key, || BucketEntry::new(&params, now_ms));
        entry.advance(&params, now_ms);
        entry.lease(&params, request, now_ms)
    }

    /// Takes one token for one request, in modes `strict` and `local`. The keys of these have no leases.
    pub fn take(&mut self, key: &Key, now_ms: u64) -> Verdict {
        let key = if self.has_room_for(key, now_ms) { *key } else { Key::OVERFLOW };
        let params = self.params;
        let entry = self.entries.get_or_insert_mut(key, || BucketEntry::new(&params, now_ms));
        entry.advance(&params, now_ms);
        entry.bucket.take(&params, now_ms)
    }

    /// Has a key's share go on from what the store said at `at_ms`: that `available` tokens were left of a whole bucket of
    /// `burst`. Of these, it gets its part, rounded down: all shares together begin with no more than the bucket had. Without
    /// effect if the share was used since.
    pub fn follow(&mut self, burst: u64, key: &Key, available: u64, at_ms: u64) {
        if !self.has_room_for(key, at_ms) {
            return;
        }
        let params = self.params;
        let part = u128::from(available) * u128::from(params.burst) / u128::from(burst.max(1));
        let part = u64::try_from(part).map_or(params.burst, |part| part.min(params.burst));
        let share = Bucket::holding(part, at_ms);
        let entry =
            self.entries.get_or_insert_mut(*key, || BucketEntry { bucket: share, leases: Vec::new() });
        match entry.bucket.updated_ms().cmp(&at_ms) {
            Ordering::Less => entry.bucket = share,
            // In the same millisecond either may have been first.
            Ordering::Equal => entry.bucket.tokens = entry.bucket.tokens.min(part),
            Ordering::Greater => {}
        }
    }

    /// Forgets full buckets, some at a time, least recently used first.
    pub fn tick(&mut self, now_ms: u64) {
        for _ in 0..MAX_FORGOTTEN_PER_TICK {
            if !self.forget_oldest(now_ms) {
                return;
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

    fn has_room_for(&mut self, key: &Key, now_ms: u64) -> bool {
        self.entries.len() < self.max_keys
            || *key == Key::OVERFLOW
            || self.entries.contains(key)
            || self.forget_oldest(now_ms)
    }

    /// Forgets the least recently used bucket if it is full. True if it was.
    fn forget_oldest(&mut self, now_ms: u64) -> bool {
        let Some((&key, _)) = self.entries.peek_lru() else { return false };
        let entry = self.entries.peek_mut(&key).expect("it was just seen");
        entry.advance(&self.params, now_ms);
        // A full bucket leaves no token for a lease.
        let is_full = entry.bucket.tokens == self.params.burst;
        if is_full {
            self.entries.pop(&key);
        }
        is_full
    }
}

impl BucketEntry {
    fn new(params: &BucketParams, now_ms: u64) -> BucketEntry {
        BucketEntry { bucket: Bucket::full(params, now_ms), leases: Vec::new() }
    }

    fn leased(&self) -> u64 {
        self.leases.iter().map(|lease| lease.tokens).sum()
    }

    /// Refills the bucket before leases that have ended are dropped: such a lease may have been spent up to its last
    /// moment, so its tokens count as spent until they are gained again.
    fn advance(&mut self, params: &BucketParams, now_ms: u64) {
        self.bucket.advance(params, self.leased(), now_ms);
        self.leases.retain(|lease| lease.ends_ms > now_ms);
    }

    fn lease(&mut self, params: &BucketParams, request: &LeaseRequest, now_ms: u64) -> LeaseGrant {
        let index = self.leases.iter().position(|lease| lease.holder == request.holder);
        let recorded = index.map_or(0, |index| self.leases[index].tokens);
        if let Some(seq) = index.map(|index| self.leases[index].seq)
            && request.seq <= seq
        {
            // A repeated request gets its grant again. An overtaken one gets nothing: its holder gave it up.
            let granted = if request.seq == seq { recorded } else { 0 };
            return self.grant(params, request, granted, now_ms);
        }
        // A holder cannot keep or return more than it was leased.
        let kept = request.kept.min(recorded);
        self.bucket.tokens += request.returned.min(recorded - kept);
        let needed = request.needed.min(self.bucket.tokens);
        let unleased = (params.burst / PREFETCH_SHARE).saturating_sub(self.leased() - recorded + kept);
        let prefetch = request.prefetch.min(self.bucket.tokens - needed).min(unleased);
        self.bucket.tokens -= needed + prefetch;

        let tokens = kept + needed + prefetch;
        if let Some(index) = index {
            self.leases.swap_remove(index);
        }
        if tokens > 0 {
            let ends_ms = now_ms + self.life_ms(params, now_ms);
            self.leases.push(GrantedLease { holder: request.holder, seq: request.seq, tokens, ends_ms });
        }
        self.grant(params, request, tokens, now_ms)
    }

    /// How long a lease lives that begins now: no longer than its window.
    fn life_ms(&self, params: &BucketParams, now_ms: u64) -> u64 {
        match params.algorithm {
            RateAlgorithm::TokenBucket => LEASE_LIFE_MS,
            RateAlgorithm::FixedWindow => LEASE_LIFE_MS.min(self.bucket.reset_ms(params, now_ms)),
        }
    }

    fn grant(&self, params: &BucketParams, request: &LeaseRequest, granted: u64, now_ms: u64) -> LeaseGrant {
        let others = self.leases.iter().filter(|lease| lease.holder != request.holder);
        LeaseGrant {
            key: request.key,
            seq: request.seq,
            granted,
            available: self.bucket.tokens,
            leased_to_others: others.map(|lease| lease.tokens).sum(),
            expires_in_ms: self.life_ms(params, now_ms),
            retry_after_ms: self.bucket.retry_after_ms(params, now_ms),
            reset_ms: self.bucket.reset_ms(params, now_ms),
            table_full: false,
        }
    }
}

#[cfg(test)]
mod tests;
