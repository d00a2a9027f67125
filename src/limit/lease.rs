//! One key's lease, as the shard that holds it sees it: how many tokens to request, and when.

use super::bucket::{BucketParams, Verdict};
use super::messages::LeaseGrant;
use crate::plan::RateAlgorithm;

/// A shard prefetches at most this part of the bucket (one in so many tokens). Of a bucket with fewer tokens, each
/// request requests its own.
pub const LEASE_SHARE: u64 = 8;

/// Usage is counted in intervals of this length, in milliseconds.
const INTERVAL_MS: u64 = 100;

/// A lease is to cover what its shard is expected to use in this time, in milliseconds.
const HORIZON_MS: u64 = 3 * INTERVAL_MS;

/// How long, at least, a shard that found the bucket empty sends no lease request, unless the bucket would overflow
/// meanwhile, in milliseconds. What the bucket gains in that time is leased at once: under a flood one request brings
/// many tokens.
const MIN_PAUSE_MS: u64 = 20;

/// The same, at most, while other shards hold tokens that they may return.
const MAX_PAUSE_WHILE_LEASED_MS: u64 = 500;

/// The same, at most, in any case: a store that was emptied or restored meanwhile is then noticed.
const MAX_PAUSE_MS: u64 = 5_000;

/// The parameters of all leases of one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseParams {
    pub(super) bucket: BucketParams,
    /// The most tokens to prefetch.
    max_prefetch: u64,
    min_pause_ms: u64,
    /// How long the store takes to answer: a moving average.
    pub(super) answer_ms: u64,
}

/// What a shard holds of one key, and what it knows of the key's bucket in the store.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// Unspent tokens, to be spent before `ends_ms`.
    tokens: u64,
    ends_ms: u64,
    /// From here on the lease is renewed when it is used.
    renew_ms: u64,
    /// The lease request that has not been answered.
    pending: Option<PendingLease>,
    /// Client requests that wait for its answer.
    waiting: u64,
    /// The store may have tokens recorded as leased to this shard.
    recorded: bool,
    /// Tokens left in the bucket at the store's last answer.
    available: u64,
    /// The bucket has no token before this time.
    token_ms: u64,
    /// There is no use in a lease request before this time.
    request_ms: u64,
    reset_ms: u64,
    usage: UsageRate,
    pub(super) used_ms: u64,
    /// When the store last answered.
    answered_ms: Option<u64>,
    /// Client requests that were admitted without the store. They are paid with the next tokens that it grants, before
    /// any other request.
    owed: u64,
}

/// A lease request that has not been answered.
#[derive(Clone, Copy, Debug)]
struct PendingLease {
    seq: u64,
    sent_ms: u64,
    /// Tokens spent since.
    spent: u64,
}

/// The numbers of a lease request ([`LeaseRequest`](super::LeaseRequest)), which its sender completes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaseDemand {
    pub(super) kept: u64,
    pub(super) returned: u64,
    pub(super) needed: u64,
    pub(super) prefetch: u64,
}

impl LeaseParams {
    pub(super) fn new(bucket: BucketParams) -> LeaseParams {
        let max_prefetch = bucket.burst / LEASE_SHARE;
        let min_pause_ms = MIN_PAUSE_MS.min(bucket.ms_for(max_prefetch));
        LeaseParams { bucket, max_prefetch, min_pause_ms, answer_ms: 1 }
    }

    /// The store has answered a lease request after so many milliseconds.
    pub(super) fn answered_in(&mut self, ms: u64) {
        self.answer_ms = (3 * self.answer_ms + ms).div_ceil(4);
    }

    /// How long there is no use in another lease request after this grant, in milliseconds.
    fn pause_ms(&self, grant: &LeaseGrant) -> u64 {
        match grant.retry_after_ms {
            0 => 0,
            wait_ms if grant.leased_to_others > 0 => {
                wait_ms.min(MAX_PAUSE_WHILE_LEASED_MS).max(self.min_pause_ms)
            }
            wait_ms => wait_ms.min(MAX_PAUSE_MS).max(self.min_pause_ms),
        }
    }
}

impl Lease {
    pub(super) fn new(now_ms: u64) -> Lease {
        Lease {
            tokens: 0,
            ends_ms: now_ms,
            renew_ms: now_ms,
            pending: None,
            waiting: 0,
            recorded: false,
            available: 0,
            token_ms: now_ms,
            request_ms: now_ms,
            reset_ms: now_ms,
            usage: UsageRate::new(now_ms),
            used_ms: now_ms,
            answered_ms: None,
            owed: 0,
        }
    }

    /// Takes one token for one client request. Without a verdict it waits for the pending lease request; a demand is to
    /// be sent as one first.
    pub(super) fn take(
        &mut self,
        params: &LeaseParams,
        now_ms: u64,
    ) -> (Option<Verdict>, Option<LeaseDemand>) {
        self.used_ms = now_ms;
        self.usage.count(now_ms);
        self.expire(now_ms);
        if self.tokens > 0 {
            self.tokens -= 1;
            if let Some(pending) = &mut self.pending {
                pending.spent += 1;
            }
            return (Some(self.allowed(&params.bucket, now_ms)), self.renewal(params, now_ms));
        }
        if self.pending.is_some() {
            self.waiting += 1;
            return (None, None);
        }
        if self.is_known_empty(now_ms) {
            return (Some(self.denied(now_ms)), None);
        }
        self.waiting = 1;
        let (needed, prefetch) = (1 + self.owed, self.target(params));
        (None, Some(LeaseDemand { needed, prefetch, ..LeaseDemand::default() }))
    }

    /// Takes one token for a client request that does not wait for the store; `None`: the lease has none left.
    pub(super) fn take_held(&mut self, params: &LeaseParams, now_ms: u64) -> Option<Verdict> {
        self.used_ms = now_ms;
        self.expire(now_ms);
        self.tokens = self.tokens.checked_sub(1)?;
        if let Some(pending) = &mut self.pending {
            pending.spent += 1;
        }
        Some(self.allowed(&params.bucket, now_ms))
    }

    /// A client request was admitted without a token of the store. It is owed, up to a burst: the bucket has not gained
    /// more than that meanwhile.
    pub(super) fn owe(&mut self, params: &LeaseParams, now_ms: u64) {
        self.used_ms = now_ms;
        self.owed = (self.owed + 1).min(params.bucket.burst);
    }

    /// The tokens that were left in the bucket when the store last answered, and when that was.
    pub(super) fn last_answer(&self) -> Option<(u64, u64)> {
        self.answered_ms.map(|answered_ms| (self.available, answered_ms))
    }

    /// Takes the answer to the pending lease request. Returns what must be requested at once: tokens for client
    /// requests that still wait, if the bucket has more.
    pub(super) fn granted(
        &mut self,
        params: &LeaseParams,
        grant: &LeaseGrant,
        now_ms: u64,
    ) -> Option<LeaseDemand> {
        let pending = self.pending.take()?;
        self.recorded = grant.granted > 0;
        self.tokens = grant.granted.saturating_sub(pending.spent);
        let life_ms = usable_ms(grant.expires_in_ms);
        self.ends_ms = pending.sent_ms.saturating_add(life_ms);
        self.renew_ms = pending.sent_ms.saturating_add(life_ms / 2);
        self.available = grant.available;
        self.reset_ms = now_ms.saturating_add(grant.reset_ms);
        self.token_ms = now_ms.saturating_add(grant.retry_after_ms);
        self.request_ms = now_ms.saturating_add(params.pause_ms(grant));
        self.answered_ms = Some(now_ms);
        self.expire(now_ms);
        let paid = self.owed.min(self.tokens);
        self.tokens -= paid;
        self.owed -= paid;

        let waiting = std::mem::take(&mut self.waiting);
        let missing = (waiting + self.owed).saturating_sub(self.tokens);
        (missing > 0 && !self.is_known_empty(now_ms)).then(|| LeaseDemand {
            kept: self.tokens,
            needed: missing,
            prefetch: self.target(params),
            returned: 0,
        })
    }

    /// The pending lease request was not answered. Whatever the store made of it, the lease lasts until its end.
    pub(super) fn failed(&mut self) {
        self.pending = None;
        self.waiting = 0;
    }

    /// When the lease request of this `seq` was sent, if it is the pending one.
    pub(super) fn sent_at(&self, seq: u64) -> Option<u64> {
        self.pending.filter(|pending| pending.seq == seq).map(|pending| pending.sent_ms)
    }

    /// The number of the lease request that has not been answered.
    pub(super) fn pending_seq(&self) -> Option<u64> {
        self.pending.map(|pending| pending.seq)
    }

    /// The demand is sent as the lease request of this `seq`.
    pub(super) fn sent(&mut self, demand: &LeaseDemand, seq: u64, now_ms: u64) {
        self.tokens = demand.kept;
        self.recorded = true;
        self.pending = Some(PendingLease { seq, sent_ms: now_ms, spent: 0 });
    }

    /// Returns all unspent tokens, and with that reports the rest as spent; `None` if the store has nothing recorded.
    pub(super) fn give_back(&mut self, now_ms: u64) -> Option<LeaseDemand> {
        self.expire(now_ms);
        let demand = LeaseDemand { returned: self.tokens, ..LeaseDemand::default() };
        self.available = self.available.saturating_add(self.tokens);
        self.tokens = 0;
        std::mem::take(&mut self.recorded).then_some(demand)
    }

    /// Requests what is owed; `None` if nothing is.
    pub(super) fn payment(&mut self, now_ms: u64) -> Option<LeaseDemand> {
        self.expire(now_ms);
        let demand = LeaseDemand { kept: self.tokens, needed: self.owed, ..LeaseDemand::default() };
        (self.owed > 0).then_some(demand)
    }

    /// Whether the bucket is known to be empty.
    pub(super) fn is_known_empty(&self, now_ms: u64) -> bool {
        now_ms < self.request_ms
    }

    #[cfg(test)]
    pub(super) fn unspent(&self, now_ms: u64) -> u64 {
        if now_ms < self.ends_ms { self.tokens } else { 0 }
    }

    fn expire(&mut self, now_ms: u64) {
        if now_ms >= self.ends_ms {
            self.tokens = 0;
        }
    }

    /// What to request before the lease runs out: more tokens; or, once half of its life is over, another life for as
    /// many as will be used, returning the rest.
    fn renewal(&self, params: &LeaseParams, now_ms: u64) -> Option<LeaseDemand> {
        if self.pending.is_some() || self.is_known_empty(now_ms) {
            return None;
        }
        let target = self.target(params);
        let (kept, needed) = (self.tokens, self.owed);
        if needed > 0 || (kept <= self.reserve(params) && kept < target) {
            let prefetch = target.saturating_sub(kept);
            return Some(LeaseDemand { kept, needed, prefetch, returned: 0 });
        }
        (self.tokens > 0 && now_ms >= self.renew_ms).then(|| LeaseDemand {
            kept: self.tokens.min(target),
            returned: self.tokens.saturating_sub(target),
            ..LeaseDemand::default()
        })
    }

    /// Tokens that will be used before an answer can arrive, if it takes up to twice as long as usual.
    fn reserve(&self, params: &LeaseParams) -> u64 {
        self.usage.expected_in(2 * params.answer_ms + INTERVAL_MS / 10).min(params.max_prefetch / 2)
    }

    /// Tokens worth holding.
    fn target(&self, params: &LeaseParams) -> u64 {
        (self.reserve(params) + self.usage.expected_in(HORIZON_MS)).min(params.max_prefetch)
    }

    fn allowed(&self, bucket: &BucketParams, now_ms: u64) -> Verdict {
        let remaining = self.available.saturating_add(self.tokens).min(bucket.burst.saturating_sub(1));
        let reset_ms = match bucket.algorithm {
            RateAlgorithm::TokenBucket => bucket.ms_for(bucket.burst - remaining),
            RateAlgorithm::FixedWindow => self.reset_ms.saturating_sub(now_ms),
        };
        Verdict { allowed: true, remaining, reset_ms, retry_after_ms: 0 }
    }

    fn denied(&self, now_ms: u64) -> Verdict {
        Verdict {
            allowed: false,
            remaining: 0,
            reset_ms: self.reset_ms.saturating_sub(now_ms),
            retry_after_ms: self.token_ms.saturating_sub(now_ms).max(1),
        }
    }
}

/// How much of a lease's life its holder uses, counted from before it sent the request, in milliseconds. The margin of
/// an eighth is for clocks that run at different speeds, the millisecond for their resolution.
fn usable_ms(expires_in_ms: u64) -> u64 {
    (expires_in_ms - expires_in_ms / 8).saturating_sub(1)
}

/// Fractions of a token: [`UsageRate::mean`] is kept in 16ths.
const SCALE: u64 = 16;

/// How fast one shard uses the tokens of a key: a mean of the past intervals, in which each counts half as much as the
/// one after it.
#[derive(Clone, Copy, Debug)]
struct UsageRate {
    /// The number of the current interval.
    interval: u64,
    /// Tokens used in it.
    used: u64,
    /// Tokens per interval of those before, in 16ths.
    mean: u64,
}

impl UsageRate {
    fn new(now_ms: u64) -> UsageRate {
        UsageRate { interval: now_ms / INTERVAL_MS, used: 0, mean: 0 }
    }

    /// Counts one client request, allowed or not.
    fn count(&mut self, now_ms: u64) {
        let interval = now_ms / INTERVAL_MS;
        let passed = interval.saturating_sub(self.interval);
        if passed > 0 {
            self.mean = ((self.mean + self.used * SCALE) / 2) >> (passed - 1).min(63);
            self.used = 0;
            self.interval = interval;
        }
        self.used += 1;
    }

    /// Tokens expected to be used in so many milliseconds. The current interval counts at once if it is the fastest so
    /// far, except its first use: a single request predicts no second one.
    fn expected_in(&self, ms: u64) -> u64 {
        let per_interval = self.mean.max((self.used.max(1) - 1) * SCALE);
        per_interval.saturating_mul(ms) / (SCALE * INTERVAL_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_key_is_expected_to_go_on_and_a_silent_one_is_forgotten() {
        let mut usage = UsageRate::new(0);
        for ms in 0..2_000 {
            usage.count(ms);
        }
        let steady = usage.expected_in(300);
        assert!((270..=300).contains(&steady), "{steady}");
        usage.count(2_600);
        assert!(usage.expected_in(300) < steady / 16);
        usage.count(1_000_000);
        assert_eq!(usage.expected_in(300), 0);
    }

    #[test]
    fn one_request_predicts_nothing_and_many_at_once_predict_more_at_once() {
        let mut usage = UsageRate::new(0);
        usage.count(0);
        assert_eq!(usage.expected_in(1_000), 0);
        for _ in 0..50 {
            usage.count(1);
        }
        assert_eq!(usage.expected_in(200), 100);
    }

    #[test]
    fn a_clock_that_goes_back_does_no_harm() {
        let mut usage = UsageRate::new(5_000);
        usage.count(5_000);
        usage.count(0);
        usage.count(u64::MAX);
        assert_eq!(usage.expected_in(u64::MAX), 0);
    }
}
