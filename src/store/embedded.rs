//! The store of a gateway that is alone: banks in this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::message::{StoreReply, StoreRequest};
use crate::base::time::ForwardClock;
use crate::limit::{BucketStore, Rule};

/// Keys of one limit that are kept at a time: some 20 MB when all are in use.
const MAX_KEYS_PER_BANK: usize = 100_000;
/// How often accounts that are as good as new are forgotten.
const TICK: Duration = Duration::from_millis(100);

pub struct Banks {
    banks: HashMap<BankId, BucketStore>,
    clock: ForwardClock,
    next_tick: Instant,
}

#[derive(PartialEq, Eq, Hash)]
struct BankId {
    limit: Arc<str>,
    rule: Rule,
    /// A key of a strict limit has no leases, so the two do not mix.
    strict: bool,
}

impl Banks {
    pub fn new(now: Instant) -> Banks {
        Banks { banks: HashMap::new(), clock: ForwardClock::new(now, unix_ms()), next_tick: now }
    }

    /// The shard and its reply. `None` for what is not about limits.
    pub fn answer(&mut self, request: StoreRequest, now: Instant) -> Option<(usize, StoreReply)> {
        let now_ms = self.clock.unix_ms(now);
        match request {
            StoreRequest::Lease { shard, ticket, limit, rule, ask } => {
                let grant = self.bank(limit, rule, false).lease(&ask, now_ms);
                Some((shard, StoreReply::Lease { ticket, grant }))
            }
            StoreRequest::Strict { shard, ticket, limit, rule, key } => {
                let verdict = self.bank(limit, rule, true).take(&key, now_ms);
                Some((shard, StoreReply::Strict { ticket, verdict }))
            }
            StoreRequest::Counters { .. } => None,
        }
    }

    fn bank(&mut self, limit: Arc<str>, rule: Rule, strict: bool) -> &mut BucketStore {
        let bank = self.banks.entry(BankId { limit, rule, strict });
        bank.or_insert_with(|| BucketStore::new(&rule, MAX_KEYS_PER_BANK))
    }

    /// When [`Banks::tick`] is next due, if there is anything to forget.
    pub fn next_tick(&self) -> Option<Instant> {
        (!self.banks.is_empty()).then_some(self.next_tick)
    }

    /// Forgets what is as good as new, and banks that no key is left in, such as those of a rule that is gone.
    pub fn tick(&mut self, now: Instant) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.clock.correct(now, unix_ms());
        let now_ms = self.clock.unix_ms(now);
        self.banks.retain(|_, bank| {
            bank.tick(now_ms);
            !bank.is_empty()
        });
    }
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Key, Period};

    fn strict(limit: &str, tokens: u64) -> StoreRequest {
        let rule = Rule::token_bucket(tokens, Period::Hour, tokens);
        StoreRequest::Strict { shard: 0, ticket: 0, limit: limit.into(), rule, key: Key::new(b"k") }
    }

    fn allowed(banks: &mut Banks, request: StoreRequest, now: Instant) -> bool {
        let Some((0, StoreReply::Strict { verdict, .. })) = banks.answer(request, now) else {
            panic!("no verdict")
        };
        verdict.allowed
    }

    #[test]
    fn limits_and_rules_have_banks_of_their_own() {
        let now = Instant::now();
        let mut banks = Banks::new(now);
        assert!(allowed(&mut banks, strict("a", 1), now));
        assert!(!allowed(&mut banks, strict("a", 1), now));
        assert!(allowed(&mut banks, strict("b", 1), now));
        assert!(allowed(&mut banks, strict("a", 2), now));
    }

    #[test]
    fn banks_whose_keys_are_as_good_as_new_are_forgotten() {
        let now = Instant::now();
        let mut banks = Banks::new(now);
        allowed(&mut banks, strict("a", 1), now);
        banks.tick(now);
        assert!(banks.next_tick().is_some());
        banks.tick(now + Duration::from_secs(3 * 3600));
        assert!(banks.next_tick().is_none());
    }
}
