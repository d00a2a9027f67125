//! A shard's side of a shared limit: it spends from leases, and asks the bank before they run out.
//!
//! Most requests are decided here, by a table look-up and a subtraction: a token is held, or the bank is known to be
//! empty. Otherwise the request waits for an answer of the bank, along with all others of its key that come meanwhile.
//!
//! What the caller does:
//! - [`Leases::try_take`] for each request. On [`Decision::Wait`] it keeps the request under that number.
//! - After each call here it sends the [`Leases::outbox`] to the bank, each ask once.
//! - Each ask ends in [`Leases::granted`] or [`Leases::failed`] (it could not be sent, no answer within the time). After
//!   `granted` it wakes all who wait under that number, and they call `try_take` again; after `failed` they go the way
//!   of `on_store_failure`.
//! - [`Leases::tick`] some ten times a second.

use super::bucket::{Terms, Verdict};
use super::key::{Key, Table, table};
use super::lease::{Habits, Lease, Step, Wish};
use super::messages::{LeaseGrant, LeaseRequest, Leaseholder};
use super::rule::Rule;

/// A key unused for so long gives back what it holds, and leaves unless the bank is known to be empty. Until then the
/// bank counts as lent what may have been spent, and a bucket that is nearly full fills so much later. In milliseconds.
pub const IDLE_MS: u64 = 250;

/// How long new keys share the overflow key after the bank had no room for one.
const CROWDED_MS: u64 = 1_000;

/// Idle keys that one tick looks at.
const MAX_IDLE_PER_TICK: usize = 256;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Done(Verdict),
    /// It waits for the answer to the ask of this `seq`.
    Wait(u64),
}

/// All leases of one shard on one limit.
///
/// It keeps at most `keys_max` keys, and [`Key::OVERFLOW`]. When a new one comes and there is no room, the one unused
/// for longest leaves if it is idle. If none is, new keys share the overflow key: strangers share one bucket, and a
/// single key may get, beside its own bucket before and after, its part of that one.
#[derive(Debug)]
pub struct Leases {
    habits: Habits,
    holder: Leaseholder,
    seq: u64,
    keys_max: usize,
    leases: Table<Lease>,
    /// Until then the bank has no room for new keys.
    crowded_until_ms: u64,
    /// Asks to be sent. Empty it after each call: it holds one per call, and some from a tick.
    pub outbox: Vec<LeaseRequest>,
}

impl Leases {
    /// `holder` has not been used for this limit before.
    pub fn new(rule: &Rule, holder: Leaseholder, keys_max: usize) -> Leases {
        Leases {
            habits: Habits::new(Terms::of(rule)),
            holder,
            seq: 0,
            keys_max,
            leases: table(),
            crowded_until_ms: 0,
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

    /// One token for one request, counted by `key`.
    ///
    /// `now_ms` here and below is in milliseconds of this shard's clock, which should not go back; it need not agree
    /// with the bank's. It is read afresh for each request: a time from before a long halt would spend a lease that has
    /// ended.
    pub fn try_take(&mut self, key: &Key, now_ms: u64) -> Decision {
        if let Some(lease) = self.leases.get_mut(key) {
            let step = lease.take(&self.habits, now_ms);
            return self.follow(key, step, now_ms);
        }
        let key = if self.has_room(now_ms) { *key } else { Key::OVERFLOW };
        let lease = self.leases.get_or_insert_mut(key, || Lease::new(now_ms));
        let step = lease.take(&self.habits, now_ms);
        self.follow(&key, step, now_ms)
    }

    /// The answer to an ask; one that is not awaited any more is let pass.
    pub fn granted(&mut self, grant: &LeaseGrant, now_ms: u64) {
        let Some(lease) = self.leases.peek_mut(&grant.key) else { return };
        let Some(sent_ms) = lease.sent_at(grant.seq) else { return };
        self.habits.answered_in(now_ms.saturating_sub(sent_ms));
        if grant.full {
            self.leases.pop(&grant.key);
            self.crowded_until_ms = now_ms + CROWDED_MS;
        } else if let Some(wish) = lease.granted(&self.habits, grant, now_ms) {
            self.ask(&grant.key, wish, now_ms);
        }
    }

    /// The ask of this `seq` was not sent, or not answered in time. A later answer will be let pass.
    pub fn failed(&mut self, key: &Key, seq: u64) {
        if let Some(lease) = self.leases.peek_mut(key)
            && lease.sent_at(seq).is_some()
        {
            lease.failed();
        }
    }

    /// Takes from idle keys what they hold, some at a time, and lets them go.
    pub fn tick(&mut self, now_ms: u64) {
        for _ in 0..self.leases.len().min(MAX_IDLE_PER_TICK) {
            let Some((&key, lease)) = self.leases.peek_lru() else { return };
            if !is_idle(lease, now_ms) {
                return;
            }
            if lease.is_asking() {
                // It leaves when its turn comes again.
                self.leases.promote(&key);
            } else if lease.is_known_empty(now_ms) {
                // It goes on refusing by itself.
                self.give_back(&key, now_ms);
                self.leases.promote(&key);
            } else {
                self.let_go(&key, now_ms);
            }
        }
    }

    /// Unspent tokens of a key; `None` if it is not in the table.
    #[cfg(test)]
    pub(super) fn held(&self, key: &Key, now_ms: u64) -> Option<u64> {
        self.leases.peek(key).map(|lease| lease.held(now_ms))
    }

    /// Whether there is room for a new key, or can be made.
    fn has_room(&mut self, now_ms: u64) -> bool {
        if now_ms < self.crowded_until_ms {
            return false;
        }
        if self.leases.len() < self.keys_max {
            return true;
        }
        let Some((&key, lease)) = self.leases.peek_lru() else { return false };
        let leaves = is_idle(lease, now_ms) && !lease.is_asking();
        if leaves {
            self.let_go(&key, now_ms);
        }
        leaves
    }

    fn let_go(&mut self, key: &Key, now_ms: u64) {
        self.give_back(key, now_ms);
        self.leases.pop(key);
    }

    fn give_back(&mut self, key: &Key, now_ms: u64) {
        if let Some(wish) = self.leases.peek_mut(key).and_then(|lease| lease.give_back(now_ms)) {
            self.push(key, wish);
        }
    }

    fn follow(&mut self, key: &Key, step: Step, now_ms: u64) -> Decision {
        match step {
            Step::Done(verdict, wish) => {
                if let Some(wish) = wish {
                    self.ask(key, wish, now_ms);
                }
                Decision::Done(verdict)
            }
            Step::Wait(seq) => Decision::Wait(seq),
            Step::Ask(wish) => Decision::Wait(self.ask(key, wish, now_ms)),
        }
    }

    /// Sends an ask whose answer is awaited.
    fn ask(&mut self, key: &Key, wish: Wish, now_ms: u64) -> u64 {
        let seq = self.push(key, wish);
        if let Some(lease) = self.leases.peek_mut(key) {
            lease.sent(&wish, seq, now_ms);
        }
        seq
    }

    fn push(&mut self, key: &Key, wish: Wish) -> u64 {
        self.seq += 1;
        let Wish { held, returned, need, ahead } = wish;
        self.outbox.push(LeaseRequest {
            key: *key,
            holder: self.holder,
            seq: self.seq,
            held,
            returned,
            need,
            ahead,
        });
        self.seq
    }
}

fn is_idle(lease: &Lease, now_ms: u64) -> bool {
    now_ms.saturating_sub(lease.used_ms) >= IDLE_MS
}

#[cfg(test)]
mod tests;
