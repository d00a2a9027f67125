//! The bank of one key as atomic Redis scripts: their texts, arguments and answers, each order written down once.
//!
//! They read Redis's own clock, and let go of a key when its bucket is full with nothing lent. `KEYS[1]` is a name for
//! the limit, its rule and the key: another rule's state must not be read with this one's numbers.

use super::bucket::Verdict;
use super::bucket_store::AHEAD_SHARE;
use super::messages::{LEASE_LIFE_MS, LeaseGrant, LeaseRequest, Leaseholder};
use super::rule::{Algorithm, Rule};

/// [`Bank::lease`](super::Bank::lease); takes [`lease_args`].
pub const LEASE: &str = concat!(include_str!("level.lua"), include_str!("lease.lua"));

/// [`Bank::take`](super::Bank::take); takes [`strict_args`].
pub const STRICT: &str = concat!(include_str!("level.lua"), include_str!("strict.lua"));

/// `ARGV` of [`STRICT`].
pub fn strict_args(rule: &Rule) -> [u64; 4] {
    let window = u64::from(rule.algorithm() == Algorithm::FixedWindow);
    [rule.tokens(), rule.period().ms(), rule.burst(), window]
}

/// `ARGV` of [`LEASE`].
pub fn lease_args(rule: &Rule, ask: &LeaseRequest) -> [u64; 12] {
    let [tokens, period_ms, burst, window] = strict_args(rule);
    let LeaseRequest { holder: Leaseholder(holder), seq, held, returned, need, ahead, .. } = *ask;
    let (share, life_ms) = (AHEAD_SHARE, LEASE_LIFE_MS);
    [tokens, period_ms, burst, window, share, life_ms, holder, seq, held, returned, need, ahead]
}

/// What [`STRICT`] answered.
pub fn verdict([allowed, remaining, reset_ms, retry_after_ms]: [u64; 4]) -> Verdict {
    Verdict { allowed: allowed != 0, remaining, reset_ms, retry_after_ms }
}

/// What [`LEASE`] answered to this ask. Redis's tables have no cap of ours, so none is ever `full`.
pub fn grant(ask: &LeaseRequest, reply: [u64; 6]) -> LeaseGrant {
    let [tokens, level, lent, expires_in_ms, retry_after_ms, reset_ms] = reply;
    let (key, seq) = (ask.key, ask.seq);
    LeaseGrant { key, seq, tokens, level, lent, expires_in_ms, retry_after_ms, reset_ms, full: false }
}
