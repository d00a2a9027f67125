//! A shard's side of a shared limit: it spends from leases, and requests more before they run out.
//!
//! Most requests are decided here, by a table look-up and a subtraction: the shard holds a token, or the bucket is
//! known to be empty. Otherwise the request waits for the bucket store's answer, together with all others of its key.
//!
//! What the caller does:
//! - [`Leases::try_take`] for each request. On [`AwaitGrant`] it keeps the request under that number.
//! - After each call here it sends the [`Leases::outbox`] to the store, each lease request once.
//! - Each lease request ends in [`Leases::granted`] or [`Leases::failed`] (it could not be sent, or was not answered in
//!   time). After `granted` the caller wakes all that wait under that number, and they call `try_take` again; after
//!   `failed` they do as `on_store_failure` says.
//! - A request that is decided without the store calls [`Leases::take_alone`].
//! - [`Leases::tick`] some ten times a second.

use super::bucket::{BucketParams, Verdict};
use super::bucket_store::BucketStore;
use super::key::{Key, KeyTable, key_table};
use super::lease::{Lease, LeaseDemand, LeaseParams};
use super::messages::{LeaseGrant, LeaseRequest, Leaseholder};
use super::rule::Rule;

/// A key unused for so long returns its tokens, and is forgotten unless the bucket is known to be empty. Until then
/// the store counts as leased what may have been spent, and a bucket that is nearly full fills so much later. In
/// milliseconds.
pub const IDLE_MS: u64 = 250;

/// Idle keys that one tick looks at.
const MAX_IDLE_PER_TICK: usize = 256;

/// Keys that are looked at to make room for one: the table shrinks again after it was over its bound.
const MAX_FORGOTTEN_PER_KEY: usize = 4;

/// There is no verdict on a request yet: it waits for the answer to the lease request of this `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitGrant {
    pub seq: u64,
}

/// All leases of one shard on one limit.
///
/// It keeps at most `max_keys` keys. When a new one comes and there is no room, the least recently used one is forgotten
/// and returns its tokens; it loses nothing but a message, since its bucket is in the store. Only a key whose requests
/// wait for an answer stays: there are never more of these than requests that wait.
#[derive(Debug)]
pub struct Leases {
    params: LeaseParams,
    holder: Leaseholder,
    /// Of the last lease request.
    seq: u64,
    max_keys: usize,
    leases: KeyTable<Lease>,
    /// Lease requests to be sent. The caller empties it after each call, which adds a few.
    pub outbox: Vec<LeaseRequest>,
}

impl Leases {
    /// `holder` has not been used for this limit before.
    pub fn new(rule: &Rule, holder: Leaseholder, max_keys: usize) -> Leases {
        Leases {
            params: LeaseParams::new(BucketParams::of(rule)),
            holder,
            seq: 0,
            max_keys,
            leases: key_table(),
            outbox: Vec::new(),
        }
    }

    /// Keys kept.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Takes one token for one request, counted by `key`.
    ///
    /// `now_ms` here and below is in milliseconds of this shard's clock, which should not go back; it need not agree
    /// with the store's. It is read anew for each request: a time from before a long halt would spend a lease that has
    /// ended.
    ///
    /// # Errors
    /// [`AwaitGrant`]: not decided yet.
    pub fn try_take(&mut self, key: &Key, now_ms: u64) -> Result<Verdict, AwaitGrant> {
        if let Some(lease) = self.leases.get_mut(key) {
            let taken = lease.take(&self.params, now_ms);
            return self.finish_take(key, taken, now_ms);
        }
        self.make_room(now_ms);
        let lease = self.leases.get_or_insert_mut(*key, || Lease::new(now_ms));
        let taken = lease.take(&self.params, now_ms);
        self.finish_take(key, taken, now_ms)
    }

    /// Takes one token for a request that the store does not answer: one that is held already or else, of `share`, this
    /// shard's part of what the bucket had when the store last answered. The latter is owed, and paid out of the next
    /// grant.
    pub fn take_alone(&mut self, share: &mut BucketStore, key: &Key, now_ms: u64) -> Verdict {
        let lease = self.leases.get_mut(key);
        if let Some(lease) = lease {
            if let Some(verdict) = lease.take_held(&self.params, now_ms) {
                return verdict;
            }
            if let Some((available, at_ms)) = lease.last_answer() {
                share.continue_from(self.params.bucket.burst, key, available, at_ms);
            }
        }
        let verdict = share.take(key, now_ms);
        if verdict.allowed {
            self.owe(key, now_ms);
        }
        verdict
    }

    fn owe(&mut self, key: &Key, now_ms: u64) {
        if !self.leases.contains(key) {
            self.make_room(now_ms);
        }
        self.leases.get_or_insert_mut(*key, || Lease::new(now_ms)).owe(&self.params, now_ms);
    }

    /// Takes the answer to a lease request. One that is no longer awaited is ignored.
    pub fn granted(&mut self, grant: &LeaseGrant, now_ms: u64) {
        let Some(lease) = self.leases.peek_mut(&grant.key) else { return };
        let Some(sent_ms) = lease.sent_at(grant.seq) else { return };
        self.params.answered_in(now_ms.saturating_sub(sent_ms));
        if let Some(demand) = lease.granted(&self.params, grant, now_ms) {
            self.request(&grant.key, demand, now_ms);
        }
    }

    /// The lease request of this `seq` was not sent, or not answered in time. A later answer is ignored.
    pub fn failed(&mut self, key: &Key, seq: u64) {
        if let Some(lease) = self.leases.peek_mut(key)
            && lease.sent_at(seq).is_some()
        {
            lease.failed();
        }
    }

    /// Returns the tokens of idle keys, some at a time, and forgets the keys.
    pub fn tick(&mut self, now_ms: u64) {
        for _ in 0..self.leases.len().min(MAX_IDLE_PER_TICK) {
            let Some((&key, lease)) = self.leases.peek_lru() else { return };
            if !is_idle(lease, now_ms) {
                return;
            }
            if lease.pending_seq().is_some() {
                // To be forgotten when its turn comes again.
                self.leases.promote(&key);
            } else if lease.is_known_empty(now_ms) {
                // Stays, so that requests are refused without a message to the store.
                self.give_back(&key, now_ms);
                self.leases.promote(&key);
            } else if let Some(payment) = self.leases.peek_mut(&key).and_then(|lease| lease.payment(now_ms)) {
                // To be forgotten when it is paid.
                self.request(&key, payment, now_ms);
                self.leases.promote(&key);
            } else {
                self.forget(&key, now_ms);
            }
        }
    }

    /// Unspent tokens of a key; `None` if it is not in the table.
    #[cfg(test)]
    pub(super) fn unspent(&self, key: &Key, now_ms: u64) -> Option<u64> {
        self.leases.peek(key).map(|lease| lease.unspent(now_ms))
    }

    /// Forgets the least recently used keys where there is no room for a new one.
    fn make_room(&mut self, now_ms: u64) {
        for _ in 0..MAX_FORGOTTEN_PER_KEY {
            if self.leases.len() < self.max_keys {
                return;
            }
            let Some((&key, lease)) = self.leases.peek_lru() else { return };
            if lease.pending_seq().is_some() {
                self.leases.promote(&key);
            } else {
                self.forget(&key, now_ms);
            }
        }
    }

    fn forget(&mut self, key: &Key, now_ms: u64) {
        self.give_back(key, now_ms);
        self.leases.pop(key);
    }

    fn give_back(&mut self, key: &Key, now_ms: u64) {
        if let Some(demand) = self.leases.peek_mut(key).and_then(|lease| lease.give_back(now_ms)) {
            self.push(key, demand);
        }
    }

    /// Sends the demand of [`Lease::take`], if there is one.
    fn finish_take(
        &mut self,
        key: &Key,
        (verdict, demand): (Option<Verdict>, Option<LeaseDemand>),
        now_ms: u64,
    ) -> Result<Verdict, AwaitGrant> {
        let requested = demand.map(|demand| self.request(key, demand, now_ms));
        verdict.ok_or_else(|| {
            let pending = || self.leases.peek(key).and_then(Lease::pending_seq);
            let seq = requested.or_else(pending).expect("without a verdict a lease request is pending");
            AwaitGrant { seq }
        })
    }

    /// Sends a lease request whose answer is awaited.
    fn request(&mut self, key: &Key, demand: LeaseDemand, now_ms: u64) -> u64 {
        let seq = self.push(key, demand);
        if let Some(lease) = self.leases.peek_mut(key) {
            lease.sent(&demand, seq, now_ms);
        }
        seq
    }

    fn push(&mut self, key: &Key, demand: LeaseDemand) -> u64 {
        self.seq += 1;
        let LeaseDemand { kept, returned, needed, prefetch } = demand;
        let (key, holder, seq) = (*key, self.holder, self.seq);
        self.outbox.push(LeaseRequest { key, holder, seq, kept, returned, needed, prefetch });
        seq
    }
}

fn is_idle(lease: &Lease, now_ms: u64) -> bool {
    now_ms.saturating_sub(lease.used_ms) >= IDLE_MS
}

#[cfg(test)]
mod tests;
