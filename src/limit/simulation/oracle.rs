//! What a rule allows, computed in another way than by the code under test: with every request known.
//!
//! That a bucket begins full and is never overdrawn by the requests admitted means the same as: in no span of time are
//! more admitted than the burst and the tokens gained in that span.

use std::collections::HashMap;

use crate::limit::Rule;
use crate::plan::RateAlgorithm;

pub(super) enum Oracle {
    /// The content in `period`ths of a token.
    Bucket { parts: u128, at_ms: u64, rule: Rule },
    /// The requests admitted in each window.
    Windows { admitted: HashMap<u64, u64>, rule: Rule },
}

impl Oracle {
    pub(super) fn new(rule: &Rule, now_ms: u64) -> Oracle {
        match rule.algorithm() {
            RateAlgorithm::TokenBucket => {
                Oracle::Bucket { parts: capacity(rule), at_ms: now_ms, rule: *rule }
            }
            RateAlgorithm::FixedWindow => Oracle::Windows { admitted: HashMap::new(), rule: *rule },
        }
    }

    /// Whether the rule allows one more, which is then counted.
    pub(super) fn admit(&mut self, now_ms: u64) -> bool {
        match self {
            Oracle::Bucket { parts, at_ms, rule } => {
                let gained = u128::from(now_ms - *at_ms) * u128::from(rule.tokens());
                let token = u128::from(rule.period().ms());
                *parts = (*parts + gained).min(capacity(rule));
                *at_ms = now_ms;
                let allowed = *parts >= token;
                *parts -= if allowed { token } else { 0 };
                allowed
            }
            Oracle::Windows { admitted, rule } => {
                let count = admitted.entry(now_ms / rule.period().ms()).or_default();
                let allowed = *count < rule.tokens();
                *count += u64::from(allowed);
                allowed
            }
        }
    }
}

fn capacity(rule: &Rule) -> u128 {
    u128::from(rule.burst()) * u128::from(rule.period().ms())
}
