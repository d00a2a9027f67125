//! When a JWK set may be fetched from its URL, and what a fetch changes.

use std::sync::Arc;

use super::keys::KeySet;

/// From a fetch that went well to the next.
pub const REFRESH_MS: u64 = 5 * 60 * 1000;
/// Between the start of a fetch and one that an unknown key asks for: strangers can make up keys as they like.
pub const UNKNOWN_KEY_MS: u64 = 30 * 1000;
/// After the first failure; doubles with each one more.
pub const BACK_OFF_MS: u64 = 1000;
/// The longest wait after failures.
pub const MAX_BACK_OFF_MS: u64 = 60 * 1000;

/// The fetches of one set. Times are milliseconds of any clock that does not go back.
#[derive(Debug)]
pub struct Refetch {
    keys: Option<Arc<KeySet>>,
    in_flight: bool,
    /// When the last fetch began; `None`: none did.
    started_ms: Option<u64>,
    due_ms: u64,
    /// Fetches that failed since one went well.
    failures: u32,
}

/// What a fetch changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// These keys are new: shards get them.
    New(Arc<KeySet>),
    /// The same keys as before.
    Same,
    /// The fetch failed, and what was there, if anything, goes on serving.
    Failed(String),
}

/// What a token with an unknown key may hope for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKeyAction {
    /// A fetch is under way, or due now.
    Fetch,
    /// The set was asked for a moment ago, or fetches fail: the token is invalid.
    None,
}

impl Refetch {
    /// The first fetch is due at once.
    pub fn new(now_ms: u64) -> Refetch {
        Refetch { keys: None, in_flight: false, started_ms: None, due_ms: now_ms, failures: 0 }
    }

    /// The last good set.
    pub fn keys(&self) -> Option<&Arc<KeySet>> {
        self.keys.as_ref()
    }

    /// Failures in a row, for status and metrics.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next fetch is due; `None`: one is under way.
    pub fn due_ms(&self) -> Option<u64> {
        (!self.in_flight).then_some(self.due_ms)
    }

    /// Whether a fetch begins now. Whoever is told so fetches, and reports to [`Refetch::finish`], whatever happens.
    pub fn begin(&mut self, now_ms: u64) -> bool {
        let begins = !self.in_flight && now_ms >= self.due_ms;
        if begins {
            (self.in_flight, self.started_ms) = (true, Some(now_ms));
        }
        begins
    }

    /// A shard met a token of an unknown key.
    pub fn unknown_key(&mut self, now_ms: u64) -> UnknownKeyAction {
        let rested = self.started_ms.is_none_or(|started| now_ms >= started.saturating_add(UNKNOWN_KEY_MS));
        if !self.in_flight && rested && self.failures == 0 {
            self.due_ms = self.due_ms.min(now_ms);
        }
        if self.in_flight || now_ms >= self.due_ms { UnknownKeyAction::Fetch } else { UnknownKeyAction::None }
    }

    /// The end of a fetch: a set, or why there is none.
    pub fn finish(&mut self, now_ms: u64, fetched: Result<KeySet, String>) -> Fetched {
        self.in_flight = false;
        match fetched {
            Err(error) => {
                let back_off = BACK_OFF_MS << self.failures.min(16);
                self.failures = self.failures.saturating_add(1);
                self.due_ms = now_ms.saturating_add(back_off.min(MAX_BACK_OFF_MS));
                Fetched::Failed(error)
            }
            Ok(keys) => {
                self.failures = 0;
                self.due_ms = now_ms.saturating_add(REFRESH_MS);
                if self.keys.as_deref() == Some(&keys) {
                    return Fetched::Same;
                }
                let keys = Arc::new(keys);
                self.keys = Some(keys.clone());
                Fetched::New(keys)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;
    use proptest::prelude::*;

    use super::*;

    fn set(secret: &[u8]) -> KeySet {
        KeySet::from_secret(secret, &[Algorithm::HS256]).unwrap()
    }

    fn fetched_at(now_ms: u64) -> Refetch {
        let mut refetch = Refetch::new(now_ms);
        assert!(refetch.begin(now_ms));
        assert!(matches!(refetch.finish(now_ms, Ok(set(b"a"))), Fetched::New(_)));
        refetch
    }

    #[test]
    fn it_fetches_at_once_and_then_by_the_interval_one_at_a_time() {
        let mut refetch = fetched_at(1000);
        assert!(!refetch.begin(1000 + REFRESH_MS - 1));
        assert!(refetch.begin(1000 + REFRESH_MS));
        assert_eq!(refetch.due_ms(), None);
        assert!(!refetch.begin(u64::MAX), "one is under way");
        assert_eq!(refetch.finish(2000 + REFRESH_MS, Ok(set(b"a"))), Fetched::Same);
        assert_eq!(refetch.due_ms(), Some(2000 + 2 * REFRESH_MS));
    }

    #[test]
    fn an_unknown_key_fetches_once_and_then_not_for_a_while() {
        let mut refetch = fetched_at(0);
        assert_eq!(refetch.unknown_key(UNKNOWN_KEY_MS - 1), UnknownKeyAction::None);
        assert!(!refetch.begin(UNKNOWN_KEY_MS - 1));
        assert_eq!(refetch.unknown_key(UNKNOWN_KEY_MS), UnknownKeyAction::Fetch);
        assert!(refetch.begin(UNKNOWN_KEY_MS));
        assert_eq!(refetch.unknown_key(UNKNOWN_KEY_MS + 5), UnknownKeyAction::Fetch, "under way");
        assert!(matches!(refetch.finish(UNKNOWN_KEY_MS + 9, Ok(set(b"b"))), Fetched::New(_)));
        assert_eq!(refetch.unknown_key(UNKNOWN_KEY_MS + 10), UnknownKeyAction::None);
        assert_eq!(refetch.unknown_key(2 * UNKNOWN_KEY_MS), UnknownKeyAction::Fetch);
    }

    #[test]
    fn failures_back_off_and_unknown_keys_do_not_shorten_that() {
        let mut refetch = fetched_at(0);
        let mut now_ms = REFRESH_MS;
        for failures in 0..10 {
            assert!(refetch.begin(now_ms));
            assert_eq!(refetch.finish(now_ms, Err("refused".into())), Fetched::Failed("refused".into()));
            let wait = (1000 << failures).min(MAX_BACK_OFF_MS);
            assert_eq!(refetch.unknown_key(now_ms + wait - 1), UnknownKeyAction::None);
            assert_eq!(refetch.due_ms(), Some(now_ms + wait));
            now_ms += wait;
        }
        assert_eq!(refetch.keys().map(|keys| **keys == set(b"a")), Some(true), "the good set goes on");
        assert!(refetch.begin(now_ms));
        assert_eq!(refetch.finish(now_ms, Ok(set(b"a"))), Fetched::Same);
        assert_eq!(refetch.failures(), 0);
    }

    proptest! {
        /// However strangers ask and fetches end: a set once there stays, one fetch at a time, never two starts
        /// within the least of the waits.
        #[test]
        fn fetches_are_few_and_a_good_set_is_never_lost(steps in prop::collection::vec((0_u64..5000, 0..4), 1..400)) {
            let (mut refetch, mut now_ms) = (Refetch::new(0), 0);
            let (mut last_start, mut in_flight, mut had_set) = (None::<u64>, false, false);
            for (wait_ms, action) in steps {
                now_ms += wait_ms;
                match action {
                    0 => drop(refetch.unknown_key(now_ms)),
                    1 => if refetch.begin(now_ms) {
                        prop_assert!(!in_flight);
                        prop_assert!(last_start.is_none_or(|last| now_ms - last >= BACK_OFF_MS));
                        (last_start, in_flight) = (Some(now_ms), true);
                    },
                    good => if in_flight {
                        in_flight = false;
                        let result = if good == 2 { Ok(set(b"a")) } else { Err(String::new()) };
                        had_set |= result.is_ok();
                        refetch.finish(now_ms, result);
                    },
                }
                prop_assert_eq!(refetch.keys().is_some(), had_set);
            }
        }
    }
}
