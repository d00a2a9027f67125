//! How many tokens are left of a rule: the exact arithmetic of token buckets and fixed windows.
//!
//! A token bucket gains `tokens` in each `per_ms` milliseconds, so in one millisecond it gains a fraction with the
//! divisor `per_ms`. A [`Bucket`] keeps whole tokens and the numerator of that fraction. Nothing is rounded, so nothing
//! drifts, however often it is refilled.

use super::rule::Rule;
use crate::plan::RateAlgorithm;

/// A rule, or one shard's share of it, in the form that buckets compute with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BucketParams {
    pub(super) algorithm: RateAlgorithm,
    /// Tokens gained in each `per_ms`; at least 1.
    pub(super) tokens: u64,
    /// A window's length. For a token bucket up to a day times the number of shards.
    pub(super) per_ms: u64,
    /// The tokens of a full bucket or a new window. 0 only in a share of a rule that has fewer tokens than shards.
    pub(super) burst: u64,
}

impl BucketParams {
    pub(super) fn of(rule: &Rule) -> BucketParams {
        BucketParams {
            algorithm: rule.algorithm(),
            tokens: rule.tokens(),
            per_ms: rule.period().ms(),
            burst: rule.burst(),
        }
    }

    /// The share of one of `shards` shards; `index` counts them from 0. All shares together are the rule, no more.
    ///
    /// Tokens of a burst are whole: each shard gets the quotient, and the first ones get one of the remainder each.
    /// Where there are fewer tokens than shards, the last shards get none and refuse everything. A token bucket's rate
    /// is divided evenly among the shards that have a burst, by a longer time per token.
    pub(super) fn share(rule: &Rule, shards: u64, index: u64) -> BucketParams {
        let whole = BucketParams::of(rule);
        let shards = shards.max(1);
        let burst = whole.burst / shards + u64::from(index < whole.burst % shards);
        match whole.algorithm {
            RateAlgorithm::TokenBucket => {
                let per_ms = whole.per_ms.saturating_mul(shards.min(whole.burst));
                BucketParams { per_ms, burst, ..whole }
            }
            RateAlgorithm::FixedWindow => BucketParams { burst, ..whole },
        }
    }

    /// Milliseconds in which a token bucket gains this many tokens, rounded up.
    pub(super) fn ms_for(&self, count: u64) -> u64 {
        self.ms_for_rest(count, 0)
    }

    /// The same if the fraction of the first token is there already, in `per_ms`ths.
    fn ms_for_rest(&self, count: u64, fraction: u64) -> u64 {
        let missing = (u128::from(count) * u128::from(self.per_ms)).saturating_sub(u128::from(fraction));
        u64::try_from(missing.div_ceil(u128::from(self.tokens))).unwrap_or(u64::MAX)
    }

    /// Milliseconds until the window ends that `now_ms` falls into.
    fn window_ends_in(&self, now_ms: u64) -> u64 {
        self.per_ms - now_ms % self.per_ms
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
    /// The fraction of the next token, in `per_ms`ths; always 0 in a window.
    fraction: u64,
    /// The time of the last [`Bucket::advance`].
    updated_ms: u64,
}

impl Bucket {
    pub(super) fn full(params: &BucketParams, now_ms: u64) -> Bucket {
        Bucket { tokens: params.burst, fraction: 0, updated_ms: now_ms }
    }

    /// As it was at `at_ms`, with so many tokens.
    pub(super) fn holding(tokens: u64, at_ms: u64) -> Bucket {
        Bucket { tokens, fraction: 0, updated_ms: at_ms }
    }

    /// When it was last advanced.
    pub(super) fn updated_ms(&self) -> u64 {
        self.updated_ms
    }

    /// Adds the tokens gained since the last call. `leased` tokens were out on leases meanwhile: together with them the
    /// bucket stays within the burst. A new window is full, whatever of the last one was leased.
    ///
    /// A token bucket whose clock went back gains nothing, and time counts on from there. A window never begins twice.
    pub(super) fn advance(&mut self, params: &BucketParams, leased: u64, now_ms: u64) {
        match params.algorithm {
            RateAlgorithm::TokenBucket => self.refill(params, params.burst.saturating_sub(leased), now_ms),
            RateAlgorithm::FixedWindow if now_ms / params.per_ms > self.updated_ms / params.per_ms => {
                *self = Bucket::full(params, now_ms);
            }
            RateAlgorithm::FixedWindow => {}
        }
    }

    /// Fills up to `capacity`.
    ///
    /// The store's `bucket.lua` does the same in floating point, where integers are exact up to 2^53. It splits the
    /// product so that no term is larger than the square of the period, which for a day is just below that.
    fn refill(&mut self, params: &BucketParams, capacity: u64, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.updated_ms);
        self.updated_ms = now_ms;
        let gained = u128::from(elapsed_ms) * u128::from(params.tokens) + u128::from(self.fraction);
        let per_ms = u128::from(params.per_ms);
        self.fraction = u64::try_from(gained % per_ms).expect("a remainder is less than its divisor, a u64");
        let whole = u64::try_from(gained / per_ms).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(whole);
        if self.tokens >= capacity {
            self.tokens = capacity;
            self.fraction = 0;
        }
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
            RateAlgorithm::TokenBucket => params.ms_for_rest(1, self.fraction),
            RateAlgorithm::FixedWindow => params.window_ends_in(now_ms),
        }
    }

    /// Milliseconds until the bucket is full if nothing is taken, or until the window ends.
    pub(super) fn reset_ms(&self, params: &BucketParams, now_ms: u64) -> u64 {
        match params.algorithm {
            RateAlgorithm::TokenBucket => {
                params.ms_for_rest(params.burst.saturating_sub(self.tokens), self.fraction)
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

    proptest! {
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
            let due = u128::from(now_ms - start) * u128::from(params.tokens) / u128::from(params.per_ms);
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
                let per_ms = filling[0].per_ms;
                prop_assert!(filling.iter().all(|share| share.per_ms == per_ms && share.tokens == rule.tokens()));
                prop_assert_eq!(per_ms, rule.period().ms() * filling.len() as u64);
            }
        }
    }
}
