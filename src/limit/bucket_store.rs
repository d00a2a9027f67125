//! The bank of one limit: what is left of each key's bucket, and who holds leases from it.
//!
//! For every key, at any time, `level + leases <= burst`. A token is in the level, in one lease, or gone; the level
//! gains only as time passes, and then no further than that sum allows. So whatever is lost, repeated or late, no more
//! is spent than the rule allows.
//!
//! There is one bank per limit and rule (a consumer's own rate is a rule, and so a bank, of its own). The embedded
//! store keeps them; in Redis, `lease.lua` and `strict.lua` do the same to one hash per key.

use super::bucket::{Level, Terms, Verdict};
use super::key::{Key, Table, table};
use super::messages::{LEASE_LIFE_MS, LeaseGrant, LeaseRequest, Leaseholder};
use super::rule::{Algorithm, Rule};

/// All leases together hold at most this part of the bucket beyond what requests were waiting for when they asked. So
/// at most this part is out of reach of the others.
pub const AHEAD_SHARE: u64 = 4;

/// Accounts that one [`BucketStore::tick`] looks at.
const MAX_FORGOTTEN_PER_TICK: usize = 256;

/// The accounts of one limit.
///
/// It keeps at most `keys_max` of them, and one for [`Key::OVERFLOW`]. One that is full and has nothing lent is
/// forgotten: it is as good as a new one. Where the table is full of others, new keys share the overflow account
/// until there is room. Strangers then share one bucket, and a single key may get, beside its own bucket before and
/// after, its part of that one.
#[derive(Debug)]
pub struct BucketStore {
    terms: Terms,
    keys_max: usize,
    accounts: Table<Account>,
}

#[derive(Clone, Debug)]
struct Account {
    level: Level,
    /// One per holder; none is empty.
    leases: Vec<Lease>,
}

/// What a holder has. Its own `seq` guards it from asks that were overtaken.
#[derive(Clone, Copy, Debug)]
struct Lease {
    holder: Leaseholder,
    seq: u64,
    tokens: u64,
    ends_ms: u64,
}

impl BucketStore {
    pub fn new(rule: &Rule, keys_max: usize) -> BucketStore {
        BucketStore::with_terms(Terms::of(rule), keys_max)
    }

    pub(super) fn with_terms(terms: Terms, keys_max: usize) -> BucketStore {
        BucketStore { terms, keys_max, accounts: table() }
    }

    /// Accounts kept.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Books what a holder says, and lends it what there is.
    ///
    /// `now_ms` here and below is Unix time, from a clock that should not go back.
    pub fn lease(&mut self, ask: &LeaseRequest, now_ms: u64) -> LeaseGrant {
        if !self.has_room_for(&ask.key, now_ms) {
            return LeaseGrant::full(ask);
        }
        let terms = self.terms;
        let account = self.accounts.get_or_insert_mut(ask.key, || Account::new(&terms, now_ms));
        account.advance(&terms, now_ms);
        account.lease(&terms, ask, now_ms)
    }

    /// One token for one request, for `strict` and `local`. Keys of these have no leases.
    pub fn take(&mut self, key: &Key, now_ms: u64) -> Verdict {
        let key = if self.has_room_for(key, now_ms) { *key } else { Key::OVERFLOW };
        let terms = self.terms;
        let account = self.accounts.get_or_insert_mut(key, || Account::new(&terms, now_ms));
        account.advance(&terms, now_ms);
        account.level.take(&terms, now_ms)
    }

    /// Forgets accounts that are as good as new, some at a time, those not used for longest first.
    pub fn tick(&mut self, now_ms: u64) {
        for _ in 0..MAX_FORGOTTEN_PER_TICK {
            if !self.forget_oldest(now_ms) {
                return;
            }
        }
    }

    /// The level and what is lent to whom, as it stands.
    #[cfg(test)]
    pub(super) fn audit(&self, key: &Key, now_ms: u64) -> Option<(u64, Vec<(Leaseholder, u64)>)> {
        let account = self.accounts.peek(key)?;
        let live = account.leases.iter().filter(|lease| lease.ends_ms > now_ms);
        Some((account.level.tokens, live.map(|lease| (lease.holder, lease.tokens)).collect()))
    }

    fn has_room_for(&mut self, key: &Key, now_ms: u64) -> bool {
        self.accounts.len() < self.keys_max
            || *key == Key::OVERFLOW
            || self.accounts.contains(key)
            || self.forget_oldest(now_ms)
    }

    fn forget_oldest(&mut self, now_ms: u64) -> bool {
        let Some((&key, _)) = self.accounts.peek_lru() else { return false };
        let account = self.accounts.peek_mut(&key).expect("it was just seen");
        account.advance(&self.terms, now_ms);
        // A full level leaves no token for a lease.
        let good_as_new = account.level.tokens == self.terms.burst;
        if good_as_new {
            self.accounts.pop(&key);
        }
        good_as_new
    }
}

impl Account {
    fn new(terms: &Terms, now_ms: u64) -> Account {
        Account { level: Level::full(terms, now_ms), leases: Vec::new() }
    }

    fn lent(&self) -> u64 {
        self.leases.iter().map(|lease| lease.tokens).sum()
    }

    /// The level first, with all that was lent until now still missing: a lease that ended a moment ago may have been
    /// spent a moment before. What it held is gone, and comes back as everything does that was spent.
    fn advance(&mut self, terms: &Terms, now_ms: u64) {
        self.level.advance(terms, self.lent(), now_ms);
        self.leases.retain(|lease| lease.ends_ms > now_ms);
    }

    fn lease(&mut self, terms: &Terms, ask: &LeaseRequest, now_ms: u64) -> LeaseGrant {
        let index = self.leases.iter().position(|lease| lease.holder == ask.holder);
        let booked = index.map_or(0, |index| self.leases[index].tokens);
        if let Some(seq) = index.map(|index| self.leases[index].seq)
            && ask.seq <= seq
        {
            // A repeated ask gets its answer again. One that was overtaken gets nothing: its holder gave it up.
            let tokens = if ask.seq == seq { booked } else { 0 };
            return self.grant(terms, ask, tokens, now_ms);
        }
        let kept = ask.held.min(booked);
        self.level.tokens += ask.returned.min(booked - kept);
        let needed = ask.need.min(self.level.tokens);
        let unlent = (terms.burst / AHEAD_SHARE).saturating_sub(self.lent() - booked + kept);
        let ahead = ask.ahead.min(self.level.tokens - needed).min(unlent);
        self.level.tokens -= needed + ahead;

        let tokens = kept + needed + ahead;
        if let Some(index) = index {
            self.leases.swap_remove(index);
        }
        if tokens > 0 {
            let ends_ms = now_ms + self.life_ms(terms, now_ms);
            self.leases.push(Lease { holder: ask.holder, seq: ask.seq, tokens, ends_ms });
        }
        self.grant(terms, ask, tokens, now_ms)
    }

    /// A window's tokens die with it.
    fn life_ms(&self, terms: &Terms, now_ms: u64) -> u64 {
        match terms.algorithm {
            Algorithm::TokenBucket => LEASE_LIFE_MS,
            Algorithm::FixedWindow => LEASE_LIFE_MS.min(self.level.reset_ms(terms, now_ms)),
        }
    }

    fn grant(&self, terms: &Terms, ask: &LeaseRequest, tokens: u64, now_ms: u64) -> LeaseGrant {
        let others = self.leases.iter().filter(|lease| lease.holder != ask.holder);
        LeaseGrant {
            key: ask.key,
            seq: ask.seq,
            tokens,
            level: self.level.tokens,
            lent: others.map(|lease| lease.tokens).sum(),
            expires_in_ms: self.life_ms(terms, now_ms),
            retry_after_ms: self.level.retry_after_ms(terms, now_ms),
            reset_ms: self.level.reset_ms(terms, now_ms),
            full: false,
        }
    }
}

impl LeaseGrant {
    /// Nothing, for want of an account.
    fn full(ask: &LeaseRequest) -> LeaseGrant {
        LeaseGrant {
            key: ask.key,
            seq: ask.seq,
            tokens: 0,
            level: 0,
            lent: 0,
            expires_in_ms: 0,
            retry_after_ms: 0,
            reset_ms: 0,
            full: true,
        }
    }
}

#[cfg(test)]
mod tests;
