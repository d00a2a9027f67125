//! What a limit allows.

/// The most tokens a rule may allow in a period, and the largest burst.
pub const TOKENS_MAX: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Tokens come back evenly, up to the burst.
    TokenBucket,
    /// All tokens come back at once, at each full second, minute, hour or day of Unix time (UTC).
    FixedWindow,
}

/// The period of a rate. None is longer than a day: `lease.lua` counts on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

impl Period {
    pub const fn ms(self) -> u64 {
        match self {
            Period::Second => 1_000,
            Period::Minute => 60_000,
            Period::Hour => 3_600_000,
            Period::Day => 86_400_000,
        }
    }
}

/// `tokens` per `period`, and at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    algorithm: Algorithm,
    tokens: u64,
    period: Period,
    burst: u64,
}

impl Rule {
    /// A token bucket that begins full. Both numbers are 1 to [`TOKENS_MAX`]; others are brought into that range.
    pub fn token_bucket(tokens: u64, period: Period, burst: u64) -> Rule {
        Rule {
            algorithm: Algorithm::TokenBucket,
            tokens: tokens.clamp(1, TOKENS_MAX),
            period,
            burst: burst.clamp(1, TOKENS_MAX),
        }
    }

    /// A fixed window of `tokens`, 1 to [`TOKENS_MAX`]; it has no burst of its own.
    pub fn fixed_window(tokens: u64, period: Period) -> Rule {
        let tokens = tokens.clamp(1, TOKENS_MAX);
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
