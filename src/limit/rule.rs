//! What a limit allows.

pub use crate::plan::{Period, RateAlgorithm as Algorithm};
use crate::plan::{Rate, RateLimit};

/// The most tokens a rule may allow in a period, and the largest burst.
pub const MAX_TOKENS: u64 = Rate::MAX_TOKENS;

/// `tokens` per `period`, and at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    algorithm: Algorithm,
    tokens: u64,
    period: Period,
    burst: u64,
}

impl Rule {
    /// What a limit allows at a rate: its own, or what replaces it for a consumer.
    pub fn of(limit: &RateLimit, rate: Rate) -> Rule {
        match limit.algorithm {
            Algorithm::TokenBucket => Rule::token_bucket(rate.tokens, rate.period, limit.burst_at(rate)),
            Algorithm::FixedWindow => Rule::fixed_window(rate.tokens, rate.period),
        }
    }

    /// A token bucket that begins full. Both numbers are 1 to [`MAX_TOKENS`]; others are brought into that range.
    pub fn token_bucket(tokens: u64, period: Period, burst: u64) -> Rule {
        Rule {
            algorithm: Algorithm::TokenBucket,
            tokens: tokens.clamp(1, MAX_TOKENS),
            period,
            burst: burst.clamp(1, MAX_TOKENS),
        }
    }

    /// A fixed window of `tokens`, 1 to [`MAX_TOKENS`]; it has no burst of its own.
    pub fn fixed_window(tokens: u64, period: Period) -> Rule {
        let tokens = tokens.clamp(1, MAX_TOKENS);
        Rule { algorithm: Algorithm::FixedWindow, tokens, period, burst: tokens }
    }

    pub fn algorithm(&self) -> Algorithm {
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

    /// The time in which an empty bucket fills, or the window's length, in milliseconds. `burst` per `fill_ms` says
    /// the same as `tokens` per period.
    pub fn fill_ms(&self) -> u64 {
        match self.algorithm {
            Algorithm::TokenBucket => (self.burst * self.period.ms()).div_ceil(self.tokens),
            Algorithm::FixedWindow => self.period.ms(),
        }
    }
}
