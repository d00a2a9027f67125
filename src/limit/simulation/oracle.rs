//! What a rule allows, worked out in another way than the code under test: with every request in hand.
//!
//! A bucket that begins full and is never overdrawn by the requests admitted is the same as: in no span of time are more
//! admitted than the burst and what came in that span.

use std::collections::HashMap;

use crate::limit::{Algorithm, Rule};

pub(super) enum Oracle {
    /// The content in `period`ths of a token.
    Bucket { parts: u128, at_ms: u64, rule: Rule },
    /// The requests admitted in each window.
    Windows { admitted: HashMap<u64, u64>, rule: Rule },
}

impl Oracle {
    pub(super) fn new(rule: &Rule, now_ms: u64) -> Oracle {
        match rule.algorithm() {
            Algorithm::TokenBucket => Oracle::Bucket { parts: capacity(rule), at_ms: now_ms, rule: *rule },
            Algorithm::FixedWindow => Oracle::Windows { admitted: HashMap::new(), rule: *rule },
        }
    }

    /// Whether the rule allows one more, which is then counted.
    pub(super) fn admit(&mut self, now_ms: u64) -> bool {
        match self {
            Oracle::Bucket { parts, at_ms, rule } => {
                let come = u128::from(now_ms - *at_ms) * u128::from(rule.tokens());
                let token = u128::from(rule.period().ms());
                *parts = (*parts + come).min(capacity(rule));
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
