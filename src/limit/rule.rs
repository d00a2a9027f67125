//! What a limit allows each key.

use crate::plan::{Period, Rate, RateAlgorithm, RateLimit};

/// `tokens` per `period`, and at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    algorithm: RateAlgorithm,
    tokens: u64,
    period: Period,
    burst: u64,
}

impl Rule {
    /// The rule of a limit at a rate: the limit's own, or the one that a consumer has instead.
    pub fn of(limit: &RateLimit, rate: Rate) -> Rule {
        match limit.algorithm {
            RateAlgorithm::TokenBucket => Rule::token_bucket(rate.tokens, rate.period, limit.burst_at(rate)),
            RateAlgorithm::FixedWindow => Rule::fixed_window(rate.tokens, rate.period),
        }
    }

    /// A token bucket that begins full. Both numbers are 1 to [`Rate::MAX_TOKENS`]; others are brought into that range.
    pub fn token_bucket(tokens: u64, period: Period, burst: u64) -> Rule {
        Rule {
            algorithm: RateAlgorithm::TokenBucket,
            tokens: tokens.clamp(1, Rate::MAX_TOKENS),
            period,
            burst: burst.clamp(1, Rate::MAX_TOKENS),
        }
    }

    /// A fixed window of `tokens`, 1 to [`Rate::MAX_TOKENS`]; it has no burst of its own.
    pub fn fixed_window(tokens: u64, period: Period) -> Rule {
        let tokens = tokens.clamp(1, Rate::MAX_TOKENS);
        Rule { algorithm: RateAlgorithm::FixedWindow, tokens, period, burst: tokens }
    }

    pub fn algorithm(&self) -> RateAlgorithm {
        self.algorithm
    }

    /// Tokens per period.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    pub fn period(&self) -> Period {
        self.period
    }

    /// The size of the bucket; for a window, its tokens.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// The time in which an empty bucket fills, or the window's length, in milliseconds: `burst` per `fill_ms` is the
    /// same rate as `tokens` per period.
    pub fn fill_ms(&self) -> u64 {
        match self.algorithm {
            RateAlgorithm::TokenBucket => (self.burst * self.period.ms()).div_ceil(self.tokens),
            RateAlgorithm::FixedWindow => self.period.ms(),
        }
    }
}
