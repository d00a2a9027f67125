//! How many tokens are left of a rule: the exact arithmetic of buckets and windows.
//!
//! A bucket gains `tokens` in each `per_ms` milliseconds, so in one millisecond it gains a fraction with the divisor
//! `per_ms`. A level keeps whole tokens and the numerator of that fraction. Nothing is rounded, so nothing drifts,
//! whatever the times at which it is looked at.

use super::rule::{Algorithm, Rule};

/// A rule, or one shard's share of it, in the form that is counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) algorithm: Algorithm,
    /// Tokens that come in each `per_ms`; at least 1.
    pub(super) tokens: u64,
    /// A window's length. For a bucket up to a day times the number of shards.
    pub(super) per_ms: u64,
    /// What a full bucket or a fresh window holds. 0 only in a share of a rule that has fewer tokens than shards.
    pub(super) burst: u64,
}

impl Terms {
    pub(super) fn of(rule: &Rule) -> Terms {
        Terms {
            algorithm: rule.algorithm(),
            tokens: rule.tokens(),
            per_ms: rule.period().ms(),
            burst: rule.burst(),
        }
    }

    /// The share of one of `parts` shards; `index` counts them from 0. All shares together are the rule, no more.
    ///
    /// The tokens of a burst cannot be cut: each shard gets as many as the next, and the first ones one of the
    /// remainder each. Where there are fewer tokens than shards, the last shards get none and refuse everything. A
    /// bucket's rate is cut evenly between those that have a burst, by a longer time per token.
    pub(super) fn share(rule: &Rule, parts: u64, index: u64) -> Terms {
        let whole = Terms::of(rule);
        let parts = parts.max(1);
        let burst = whole.burst / parts + u64::from(index < whole.burst % parts);
        match whole.algorithm {
            Algorithm::TokenBucket => {
                Terms { per_ms: whole.per_ms.saturating_mul(parts.min(whole.burst)), burst, ..whole }
            }
            Algorithm::FixedWindow => Terms { burst, ..whole },
        }
    }

    /// Milliseconds in which so many tokens come to a bucket, rounded up.
    pub(super) fn ms_for(&self, count: u64) -> u64 {
        self.ms_for_rest(count, 0)
    }

    /// The same if `part` of `per_ms` of the first is there already.
    fn ms_for_rest(&self, count: u64, part: u64) -> u64 {
        let parts = (u128::from(count) * u128::from(self.per_ms)).saturating_sub(u128::from(part));
        u64::try_from(parts.div_ceil(u128::from(self.tokens))).unwrap_or(u64::MAX)
    }

    /// Milliseconds until the window ends that `now_ms` falls into.
    fn window_ends_in(&self, now_ms: u64) -> u64 {
        self.per_ms - now_ms % self.per_ms
    }
}

/// What a limit says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    /// Tokens left after this request, as far as is known here.
    pub remaining: u64,
    /// Milliseconds until all tokens are back if none are spent; for a window, until it ends.
    pub reset_ms: u64,
    /// Milliseconds until the next token comes; 0 if allowed.
    pub retry_after_ms: u64,
}

/// The tokens left of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Whole tokens.
    pub(super) tokens: u64,
    /// The fraction of the next one, in `per_ms`ths; always 0 in a window.
    part: u64,
    /// When this was so.
    at_ms: u64,
}

impl Level {
    pub(super) fn full(terms: &Terms, now_ms: u64) -> Level {
        Level { tokens: terms.burst, part: 0, at_ms: now_ms }
    }

    /// Adds what has come since the last call, while `lent` tokens were elsewhere: the sum stays within the burst. What
    /// was lent in a window is void in the next.
    ///
    /// A bucket's clock that went back adds nothing, and time counts on from there. A window never begins twice.
    pub(super) fn advance(&mut self, terms: &Terms, lent: u64, now_ms: u64) {
        match terms.algorithm {
            Algorithm::TokenBucket => self.refill(terms, terms.burst.saturating_sub(lent), now_ms),
            Algorithm::FixedWindow if now_ms / terms.per_ms > self.at_ms / terms.per_ms => {
                *self = Level::full(terms, now_ms);
            }
            Algorithm::FixedWindow => {}
        }
    }

    /// `level.lua` does the same in floating point, where integers are exact up to 2^53. It cuts the
    /// product so that no term passes the square of the period, which for a day is just below that.
    fn refill(&mut self, terms: &Terms, room: u64, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.at_ms);
        self.at_ms = now_ms;
        let parts = u128::from(elapsed_ms) * u128::from(terms.tokens) + u128::from(self.part);
        let per_ms = u128::from(terms.per_ms);
        self.part = u64::try_from(parts % per_ms).expect("a remainder is less than its divisor, a u64");
        let gained = u64::try_from(parts / per_ms).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(gained);
        if self.tokens >= room {
            self.tokens = room;
            self.part = 0;
        }
    }

    /// One token for a request, if there is one. The level has been advanced to `now_ms`.
    pub(super) fn take(&mut self, terms: &Terms, now_ms: u64) -> Verdict {
        let allowed = self.tokens > 0;
        self.tokens -= u64::from(allowed);
        Verdict {
            allowed,
            remaining: self.tokens,
            reset_ms: self.reset_ms(terms, now_ms),
            retry_after_ms: if allowed { 0 } else { self.retry_after_ms(terms, now_ms) },
        }
    }

    /// Milliseconds until there is a token; 0 if there is.
    pub(super) fn retry_after_ms(&self, terms: &Terms, now_ms: u64) -> u64 {
        match terms.algorithm {
            _ if self.tokens > 0 => 0,
            Algorithm::TokenBucket => terms.ms_for_rest(1, self.part),
            Algorithm::FixedWindow => terms.window_ends_in(now_ms),
        }
    }

    /// Milliseconds until the bucket is full if nothing is taken, or until the window ends.
    pub(super) fn reset_ms(&self, terms: &Terms, now_ms: u64) -> u64 {
        match terms.algorithm {
            Algorithm::TokenBucket => terms.ms_for_rest(terms.burst.saturating_sub(self.tokens), self.part),
            Algorithm::FixedWindow => terms.window_ends_in(now_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rule::{MAX_TOKENS, Period};
    use super::*;

    const PERIODS: [Period; 4] = [Period::Second, Period::Minute, Period::Hour, Period::Day];

    fn rules() -> impl Strategy<Value = Rule> {
        let tokens = prop_oneof![1..20_u64, 1..=MAX_TOKENS];
        let burst = prop_oneof![1..20_u64, 1..=MAX_TOKENS];
        let period = prop::sample::select(&PERIODS[..]);
        (tokens, period, burst, any::<bool>()).prop_map(|(tokens, period, burst, window)| {
            if window {
                Rule::fixed_window(tokens, period)
            } else {
                Rule::token_bucket(tokens, period, burst)
            }
        })
    }

    /// Takes all there is, and says how much that was.
    fn drain(level: &mut Level, terms: &Terms, now_ms: u64) -> u64 {
        level.advance(terms, 0, now_ms);
        std::mem::take(&mut level.tokens)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let terms = Terms::of(&Rule::token_bucket(100, Period::Minute, 20));
        let mut level = Level::full(&terms, 0);
        assert_eq!(drain(&mut level, &terms, 0), 20);
        let refused = level.take(&terms, 0);
        assert_eq!((refused.allowed, refused.retry_after_ms, refused.reset_ms), (false, 600, 12_000));
        level.advance(&terms, 0, 599);
        assert!(!level.take(&terms, 599).allowed);
        level.advance(&terms, 0, 600);
        assert!(level.take(&terms, 600).allowed);
    }

    #[test]
    fn a_window_gives_its_tokens_anew_at_the_full_minute() {
        let terms = Terms::of(&Rule::fixed_window(3, Period::Minute));
        let mut level = Level::full(&terms, 59_000);
        assert_eq!(drain(&mut level, &terms, 59_999), 3);
        let refused = level.take(&terms, 59_999);
        assert_eq!((refused.allowed, refused.retry_after_ms, refused.reset_ms), (false, 1, 1));
        assert_eq!(drain(&mut level, &terms, 60_000), 3);
        assert_eq!(drain(&mut level, &terms, 119_999), 0);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let window = Terms::of(&Rule::fixed_window(3, Period::Second));
        let bucket = Terms::of(&Rule::token_bucket(1, Period::Second, 10));
        for terms in [window, bucket] {
            let mut level = Level::full(&terms, 10_000);
            drain(&mut level, &terms, 10_000);
            assert_eq!(drain(&mut level, &terms, 5_000), 0);
            assert_eq!(drain(&mut level, &terms, 5_999), 0);
        }
        let mut level = Level::full(&bucket, 10_000);
        drain(&mut level, &bucket, 10_000);
        drain(&mut level, &bucket, 5_000);
        assert_eq!(drain(&mut level, &bucket, 7_000), 2);
    }

    proptest! {
        #[test]
        fn a_bucket_looked_at_often_gives_what_it_gives_at_once(
            rule in rules(), steps in prop::collection::vec(0..100_000_000_u64, 1..20), start in 0..1_u64 << 42,
        ) {
            let terms = Terms { burst: u64::MAX, ..Terms::of(&rule) };
            prop_assume!(terms.algorithm == Algorithm::TokenBucket);
            let mut level = Level { tokens: 0, part: 0, at_ms: start };
            let (mut now_ms, mut given) = (start, 0);
            for step in steps {
                now_ms += step;
                given += u128::from(drain(&mut level, &terms, now_ms));
            }
            let due = u128::from(now_ms - start) * u128::from(terms.tokens) / u128::from(terms.per_ms);
            prop_assert_eq!(given, due);
        }

        #[test]
        fn after_retry_after_there_is_a_token_and_not_a_millisecond_before(
            rule in rules(), before in 0..100_000_u64, start in 0..1_u64 << 42,
        ) {
            let terms = Terms::of(&rule);
            let mut level = Level::full(&terms, start);
            drain(&mut level, &terms, start);
            let now_ms = start + before;
            drain(&mut level, &terms, now_ms);
            let wait_ms = level.take(&terms, now_ms).retry_after_ms;
            let mut early = level;
            early.advance(&terms, 0, now_ms + wait_ms - 1);
            prop_assert_eq!(early.tokens, 0);
            level.advance(&terms, 0, now_ms + wait_ms);
            prop_assert!(level.tokens > 0);
        }

        #[test]
        fn all_shares_together_are_the_rule(rule in rules(), shards in 1..200_u64) {
            let shares = || (0..shards).map(|index| Terms::share(&rule, shards, index));
            prop_assert_eq!(shares().map(|share| share.burst).sum::<u64>(), rule.burst());
            let most = shares().map(|share| share.burst).max();
            let least = shares().map(|share| share.burst).min();
            prop_assert!(most.unwrap() - least.unwrap() <= 1);
            if rule.algorithm() == Algorithm::TokenBucket {
                // Tokens in a time that cuts each share's rate into whole numbers.
                let able: Vec<Terms> = shares().filter(|share| share.burst > 0).collect();
                let per_ms = able[0].per_ms;
                prop_assert!(able.iter().all(|share| share.per_ms == per_ms && share.tokens == rule.tokens()));
                prop_assert_eq!(per_ms, rule.period().ms() * able.len() as u64);
            }
        }
    }
}
