//! How many tokens are left of a rule: the exact arithmetic of token buckets and fixed windows.
//!
//! A token is divided into parts, so that a token bucket gains a whole number of them in each millisecond. A [`Bucket`]
//! keeps whole tokens and the parts of the next one. Nothing is rounded, so nothing drifts, however often it is refilled.

use super::messages::LEASE_LIFE_MS;
use super::rule::Rule;
use crate::plan::{Period, RateAlgorithm};

/// The parts of a token: all periods divide a day, so that every rule has them in common.
const PARTS: u64 = Period::Day.ms();

/// A rule, or one shard's share of it, in the form that buckets compute with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BucketParams {
    pub(super) algorithm: RateAlgorithm,
    /// The parts of a token: [`PARTS`], or a multiple of them in a share.
    parts: u64,
    /// Parts that a token bucket gains in each millisecond; at least 1.
    gain: u64,
    /// A window's length.
    window_ms: u64,
    /// The tokens of a full bucket or a new window. 0 only in a share of a rule that has fewer tokens than shards.
    pub(super) burst: u64,
}

impl BucketParams {
    pub(super) fn of(rule: &Rule) -> BucketParams {
        let period_ms = rule.period().ms();
        BucketParams {
            algorithm: rule.algorithm(),
            parts: PARTS,
            gain: rule.tokens() * (PARTS / period_ms),
            window_ms: period_ms,
            burst: rule.burst(),
        }
    }

    /// The share of one of `shards` shards; `index` counts them from 0. All shares together are the rule, no more.
    ///
    /// Tokens of a burst are whole: each shard gets the quotient, and the first ones get one of the remainder each.
    /// Where there are fewer tokens than shards, the last shards get none and refuse everything. A token bucket's rate
    /// is divided evenly among the shards that have a burst, by more parts per token.
    pub(super) fn share(rule: &Rule, shards: u64, index: u64) -> BucketParams {
        let whole = BucketParams::of(rule);
        let shards = shards.max(1);
        let burst = whole.burst / shards + u64::from(index < whole.burst % shards);
        let parts = PARTS.saturating_mul(shards.min(whole.burst));
        BucketParams { parts, burst, ..whole }
    }

    /// Milliseconds in which a token bucket gains this many tokens, rounded up.
    pub(super) fn ms_for(&self, count: u64) -> u64 {
        self.ms_for_rest(count, 0)
    }

    /// The same if some parts of the first token are there already.
    fn ms_for_rest(&self, count: u64, fraction: u64) -> u64 {
        let missing = (u128::from(count) * u128::from(self.parts)).saturating_sub(u128::from(fraction));
        u64::try_from(missing.div_ceil(u128::from(self.gain))).unwrap_or(u64::MAX)
    }

    /// Milliseconds until the window ends that `now_ms` falls into.
    fn window_ends_in(&self, now_ms: u64) -> u64 {
        self.window_ms - now_ms % self.window_ms
    }

    /// The time after which nothing of what has been spent counts any more, in milliseconds.
    pub(super) fn memory_ms(&self) -> u64 {
        match self.algorithm {
            RateAlgorithm::TokenBucket => self.ms_for(self.burst),
            RateAlgorithm::FixedWindow => self.window_ms,
        }
    }

    /// Bounds no rule's bucket can be above: what gains as slowly as the slower of the two, in the longer window,
    /// without an end.
    pub(super) fn slower(&self, other: &BucketParams) -> BucketParams {
        let is_slower =
            u128::from(other.gain) * u128::from(self.parts) < u128::from(self.gain) * u128::from(other.parts);
        let (parts, gain) = if is_slower { (other.parts, other.gain) } else { (self.parts, self.gain) };
        let window_ms = self.window_ms.max(other.window_ms);
        BucketParams { parts, gain, window_ms, burst: u64::MAX, ..*self }
    }
}

/// What a bucket says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The request took a token.
    pub allowed: bool,
    /// Tokens left after this request, as far as this shard knows.
    pub remaining: u64,
    /// Milliseconds until the bucket is full if nothing more is taken; for a window, until it ends.
    pub reset_ms: u64,
    /// Milliseconds until the next token; 0 if allowed.
    pub retry_after_ms: u64,
}

/// The tokens left of one key's bucket or window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Whole tokens.
    pub(super) tokens: u64,
    /// The parts of the next token; always 0 in a window.
    fraction: u64,
    /// The time of the last [`Bucket::advance`]. Where it is to come, the bucket gains nothing until then.
    updated_ms: u64,
}

impl Bucket {
    pub(super) fn full(params: &BucketParams, now_ms: u64) -> Bucket {
        Bucket { tokens: params.burst, fraction: 0, updated_ms: now_ms }
    }

    /// When it was last advanced.
    pub(super) fn updated_ms(&self) -> u64 {
        self.updated_ms
    }

    /// So many tokens since then.
    pub(super) fn since(tokens: u64, updated_ms: u64) -> Bucket {
        Bucket { tokens, fraction: 0, updated_ms }
    }

    /// The time since which a bucket of these whole tokens, and no fraction, would be the same by now; later by less
    /// than a millisecond.
    pub(super) fn since_ms(&self, params: &BucketParams) -> u64 {
        self.updated_ms - (self.fraction / params.gain).min(self.updated_ms)
    }

    /// When a bucket that was advanced at any time will be full if nothing more is taken; a window that is full is so
    /// already.
    pub(super) fn full_at_ms(&self, params: &BucketParams) -> u64 {
        match params.algorithm {
            _ if self.tokens >= params.burst => self.updated_ms,
            RateAlgorithm::TokenBucket => {
                let missing = params.ms_for_rest(params.burst - self.tokens, self.fraction);
                self.updated_ms.saturating_add(missing)
            }
            RateAlgorithm::FixedWindow => self.updated_ms + params.window_ends_in(self.updated_ms),
        }
    }

    /// The rule has changed, with `leased` tokens out on leases: what is left is left, up to the new burst.
    pub(super) fn change_rule(&mut self, from: &BucketParams, to: &BucketParams, leased: u64) {
        let fraction = u128::from(self.fraction) * u128::from(to.parts) / u128::from(from.parts);
        self.fraction = u64::try_from(fraction).unwrap_or(u64::MAX);
        self.cap(to.burst.saturating_sub(leased));
    }

    /// Adds the tokens gained since the last call. `leased` tokens were out on leases meanwhile: together with them the
    /// bucket stays within the burst. A new window is full, whatever of the last one was leased.
    ///
    /// A token bucket whose clock went back gains nothing, and time counts on from there. A window never begins twice.
    pub(super) fn advance(&mut self, params: &BucketParams, leased: u64, now_ms: u64) {
        match params.algorithm {
            RateAlgorithm::TokenBucket => self.refill(params, params.burst.saturating_sub(leased), now_ms),
            RateAlgorithm::FixedWindow if now_ms / params.window_ms > self.updated_ms / params.window_ms => {
                *self = Bucket::full(params, now_ms);
            }
            RateAlgorithm::FixedWindow => {}
        }
    }

    /// Fills up to `capacity`.
    ///
    /// The store's `bucket.lua` does the same in floating point, where integers are exact up to 2^53.
    fn refill(&mut self, params: &BucketParams, capacity: u64, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.updated_ms);
        // A bucket waits for no lease that lives longer than leases do: then the clock went back.
        if self.wait_ms(now_ms) == 0 || self.wait_ms(now_ms) > LEASE_LIFE_MS {
            self.updated_ms = now_ms;
        }
        let gained = u128::from(elapsed_ms) * u128::from(params.gain) + u128::from(self.fraction);
        let parts = u128::from(params.parts);
        self.fraction = u64::try_from(gained % parts).expect("a remainder is less than its divisor, a u64");
        let whole = u64::try_from(gained / parts).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(whole);
        self.cap(capacity);
    }

    pub(super) fn cap(&mut self, capacity: u64) {
        if self.tokens >= capacity {
            self.tokens = capacity;
            self.fraction = 0;
        }
    }

    /// Milliseconds until the bucket begins to gain.
    fn wait_ms(&self, now_ms: u64) -> u64 {
        self.updated_ms.saturating_sub(now_ms)
    }

    /// Takes one token for a request, if there is one. The bucket has been advanced to `now_ms`.
    pub(super) fn take(&mut self, params: &BucketParams, now_ms: u64) -> Verdict {
        let allowed = self.tokens > 0;
        self.tokens -= u64::from(allowed);
        Verdict {
            allowed,
            remaining: self.tokens,
            reset_ms: self.reset_ms(params, now_ms),
            retry_after_ms: if allowed { 0 } else { self.retry_after_ms(params, now_ms) },
        }
    }

    /// Milliseconds until there is a token; 0 if there is.
    pub(super) fn retry_after_ms(&self, params: &BucketParams, now_ms: u64) -> u64 {
        match params.algorithm {
            _ if self.tokens > 0 => 0,
            RateAlgorithm::TokenBucket => self.wait_ms(now_ms) + params.ms_for_rest(1, self.fraction),
            RateAlgorithm::FixedWindow => params.window_ends_in(now_ms),
        }
    }

    /// Milliseconds until the bucket is full if nothing is taken, or until the window ends.
    pub(super) fn reset_ms(&self, params: &BucketParams, now_ms: u64) -> u64 {
        match params.algorithm {
            RateAlgorithm::TokenBucket if self.tokens >= params.burst => 0,
            RateAlgorithm::TokenBucket => {
                self.wait_ms(now_ms) + params.ms_for_rest(params.burst - self.tokens, self.fraction)
            }
            RateAlgorithm::FixedWindow => params.window_ends_in(now_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Period, Rate};

    const PERIODS: [Period; 4] = [Period::Second, Period::Minute, Period::Hour, Period::Day];

    fn rules() -> impl Strategy<Value = Rule> {
        let tokens = prop_oneof![1..20_u64, 1..=Rate::MAX_TOKENS];
        let burst = prop_oneof![1..20_u64, 1..=Rate::MAX_TOKENS];
        let period = prop::sample::select(&PERIODS[..]);
        (tokens, period, burst, any::<bool>()).prop_map(|(tokens, period, burst, window)| {
            if window {
                Rule::fixed_window(tokens, period)
            } else {
                Rule::token_bucket(tokens, period, burst)
            }
        })
    }

    /// Takes all tokens, and returns how many there were.
    fn drain(bucket: &mut Bucket, params: &BucketParams, now_ms: u64) -> u64 {
        bucket.advance(params, 0, now_ms);
        std::mem::take(&mut bucket.tokens)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let params = BucketParams::of(&Rule::token_bucket(100, Period::Minute, 20));
        let mut bucket = Bucket::full(&params, 0);
        assert_eq!(drain(&mut bucket, &params, 0), 20);
        let refused = bucket.take(&params, 0);
        assert_eq!((refused.allowed, refused.retry_after_ms, refused.reset_ms), (false, 600, 12_000));
        bucket.advance(&params, 0, 599);
        assert!(!bucket.take(&params, 599).allowed);
        bucket.advance(&params, 0, 600);
        assert!(bucket.take(&params, 600).allowed);
    }

    #[test]
    fn a_window_gives_its_tokens_anew_at_the_full_minute() {
        let params = BucketParams::of(&Rule::fixed_window(3, Period::Minute));
        let mut bucket = Bucket::full(&params, 59_000);
        assert_eq!(drain(&mut bucket, &params, 59_999), 3);
        let refused = bucket.take(&params, 59_999);
        assert_eq!((refused.allowed, refused.retry_after_ms, refused.reset_ms), (false, 1, 1));
        assert_eq!(drain(&mut bucket, &params, 60_000), 3);
        assert_eq!(drain(&mut bucket, &params, 119_999), 0);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let window = BucketParams::of(&Rule::fixed_window(3, Period::Second));
        let rate = BucketParams::of(&Rule::token_bucket(1, Period::Second, 10));
        for params in [window, rate] {
            let mut bucket = Bucket::full(&params, 10_000);
            drain(&mut bucket, &params, 10_000);
            assert_eq!(drain(&mut bucket, &params, 5_000), 0);
            assert_eq!(drain(&mut bucket, &params, 5_999), 0);
        }
        let mut bucket = Bucket::full(&rate, 10_000);
        drain(&mut bucket, &rate, 10_000);
        drain(&mut bucket, &rate, 5_000);
        assert_eq!(drain(&mut bucket, &rate, 7_000), 2);
    }

    #[test]
    fn a_changed_rule_leaves_what_is_left_up_to_the_new_burst() {
        let hourly = |tokens| BucketParams::of(&Rule::token_bucket(tokens, Period::Hour, tokens));
        let (small, large) = (hourly(10), hourly(20));
        let mut bucket = Bucket::full(&small, 0);
        bucket.tokens = 0;
        bucket.advance(&small, 0, 180_000);
        assert_eq!(bucket.tokens, 0, "it has half a token");
        bucket.change_rule(&small, &large, 0);
        bucket.advance(&large, 0, 269_999);
        assert_eq!(bucket.tokens, 0);
        bucket.advance(&large, 0, 270_000);
        assert_eq!(bucket.tokens, 1, "the other half came at the new rate");
        bucket.tokens = 15;
        bucket.change_rule(&large, &small, 7);
        assert_eq!(bucket.tokens, 3);
    }

    proptest! {
        #[test]
        fn two_rules_of_one_bucket_admit_no_more_than_the_greater(
            rules in [rules(), rules()], steps in prop::collection::vec((any::<bool>(), 0..10_000_u64), 1..40),
        ) {
            prop_assume!(rules[0].algorithm() == RateAlgorithm::TokenBucket);
            prop_assume!(rules[1].algorithm() == RateAlgorithm::TokenBucket);
            let all = rules.map(|rule| BucketParams::of(&rule));
            let (burst, gain) = (all[0].burst.max(all[1].burst), all[0].gain.max(all[1].gain));
            let mut bucket = Bucket::full(&all[0], 0);
            let (mut at, mut now_ms, mut taken) = (0, 0, 0);
            for (other, step) in steps {
                now_ms += step;
                bucket.advance(&all[at], 0, now_ms);
                bucket.change_rule(&all[at], &all[usize::from(other)], 0);
                at = usize::from(other);
                taken += u128::from(std::mem::take(&mut bucket.tokens));
            }
            let due = u128::from(burst) + u128::from(now_ms) * u128::from(gain) / u128::from(PARTS);
            prop_assert!(taken <= due, "{} of {}", taken, due);
        }

        #[test]
        fn a_bucket_refilled_often_gains_what_it_gains_at_once(
            rule in rules(), steps in prop::collection::vec(0..100_000_000_u64, 1..20), start in 0..1_u64 << 42,
        ) {
            let params = BucketParams { burst: u64::MAX, ..BucketParams::of(&rule) };
            prop_assume!(params.algorithm == RateAlgorithm::TokenBucket);
            let mut bucket = Bucket { tokens: 0, fraction: 0, updated_ms: start };
            let (mut now_ms, mut given) = (start, 0);
            for step in steps {
                now_ms += step;
                given += u128::from(drain(&mut bucket, &params, now_ms));
            }
            let due = u128::from(now_ms - start) * u128::from(rule.tokens()) / u128::from(rule.period().ms());
            prop_assert_eq!(given, due);
        }

        #[test]
        fn after_retry_after_there_is_a_token_and_not_a_millisecond_before(
            rule in rules(), before in 0..100_000_u64, start in 0..1_u64 << 42,
        ) {
            let params = BucketParams::of(&rule);
            let mut bucket = Bucket::full(&params, start);
            drain(&mut bucket, &params, start);
            let now_ms = start + before;
            drain(&mut bucket, &params, now_ms);
            let wait_ms = bucket.take(&params, now_ms).retry_after_ms;
            let mut early = bucket;
            early.advance(&params, 0, now_ms + wait_ms - 1);
            prop_assert_eq!(early.tokens, 0);
            bucket.advance(&params, 0, now_ms + wait_ms);
            prop_assert!(bucket.tokens > 0);
        }

        #[test]
        fn all_shares_together_are_the_rule(rule in rules(), shards in 1..200_u64) {
            let shares = || (0..shards).map(|index| BucketParams::share(&rule, shards, index));
            prop_assert_eq!(shares().map(|share| share.burst).sum::<u64>(), rule.burst());
            let most = shares().map(|share| share.burst).max();
            let least = shares().map(|share| share.burst).min();
            prop_assert!(most.unwrap() - least.unwrap() <= 1);
            if rule.algorithm() == RateAlgorithm::TokenBucket {
                let filling: Vec<BucketParams> = shares().filter(|share| share.burst > 0).collect();
                let whole = BucketParams::of(&rule);
                let parts = PARTS * filling.len() as u64;
                prop_assert!(filling.iter().all(|share| share.parts == parts && share.gain == whole.gain));
            }
        }
    }
}
