//! The schedule of fetches of a JWK set from its URL, and the result of a fetch.

use std::sync::Arc;

use super::keys::KeySet;

/// From a successful fetch to the next.
pub const REFRESH_MS: u64 = 5 * 60 * 1000;
/// The least time between the start of a fetch and one for an unknown key: anyone can make up unknown keys.
pub const UNKNOWN_KEY_MS: u64 = 5 * 1000;
/// The wait after the first failure; it doubles with each further one.
pub const BACK_OFF_MS: u64 = 1000;
/// The longest wait after failures.
pub const MAX_BACK_OFF_MS: u64 = 60 * 1000;

/// The fetches of one set. Times are milliseconds of a monotonic clock.
#[derive(Debug)]
pub struct Refetch {
    keys: Option<Arc<KeySet>>,
    in_flight: bool,
    /// The start of the last fetch; `None`: there was none.
    started_ms: Option<u64>,
    due_ms: u64,
    /// Fetches that failed since the last success.
    failures: u32,
}

/// The result of a fetch.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// New keys, for all shards.
    New(Arc<KeySet>),
    /// The same keys as before.
    Same,
    /// The fetch failed; the set before it, if there is one, stays in use.
    Failed(String),
}

/// What to do with a token of an unknown key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKeyAction {
    /// A fetch is in flight or due now: decide again after it.
    AwaitFetch,
    /// The set was fetched a moment ago: the token is invalid. The next fetch is due when it may be.
    Refuse,
}

/// A shard's reports of tokens with unknown keys: at most one a second for each provider, so that a flood of made-up
/// tokens for one does not fill the channel that the reports for others take.
#[derive(Debug, Default)]
pub struct UnknownKeyReports {
    /// By the provider's index: the second of the last report.
    reported_s: Vec<u64>,
}

impl UnknownKeyReports {
    /// Whether such a token for the provider of that index is reported, at `now_s` (Unix seconds).
    pub fn is_due(&mut self, provider: usize, now_s: u64) -> bool {
        if self.reported_s.len() <= provider {
            self.reported_s.resize(provider + 1, 0);
        }
        std::mem::replace(&mut self.reported_s[provider], now_s) != now_s
    }
}

impl Refetch {
    /// The first fetch is due at once.
    pub fn new(now_ms: u64) -> Refetch {
        Refetch { keys: None, in_flight: false, started_ms: None, due_ms: now_ms, failures: 0 }
    }

    /// The set of the last successful fetch.
    pub fn keys(&self) -> Option<&Arc<KeySet>> {
        self.keys.as_ref()
    }

    /// Failures in a row, for status and metrics.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next fetch is due; `None`: one is in flight.
    pub fn due_ms(&self) -> Option<u64> {
        (!self.in_flight).then_some(self.due_ms)
    }

    /// Whether a fetch starts now. If so, the caller fetches and reports the result, also a failure, to
    /// [`Refetch::finish`].
    pub fn begin(&mut self, now_ms: u64) -> bool {
        let starts = !self.in_flight && now_ms >= self.due_ms;
        if starts {
            (self.in_flight, self.started_ms) = (true, Some(now_ms));
        }
        starts
    }

    /// A shard received a token of an unknown key: the next fetch is due [`UNKNOWN_KEY_MS`] after the last one, also
    /// while fetches fail.
    pub fn unknown_key(&mut self, now_ms: u64) -> UnknownKeyAction {
        self.hasten(now_ms, UNKNOWN_KEY_MS);
        if self.in_flight || now_ms >= self.due_ms {
            UnknownKeyAction::AwaitFetch
        } else {
            UnknownKeyAction::Refuse
        }
    }

    /// Whoever runs the gateway wants the set as it is now.
    pub fn refresh(&mut self, now_ms: u64) {
        self.hasten(now_ms, BACK_OFF_MS);
    }

    /// The next fetch is due now, or so long after the start of the last one.
    fn hasten(&mut self, now_ms: u64, after_ms: u64) {
        let may_start_ms = self.started_ms.map_or(now_ms, |started| started.saturating_add(after_ms));
        if !self.in_flight {
            self.due_ms = self.due_ms.min(may_start_ms.max(now_ms));
        }
    }

    /// Takes the result of a fetch: a set, or why it failed.
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
    fn the_first_fetch_is_at_once_and_the_next_by_the_interval_one_at_a_time() {
        let mut refetch = fetched_at(1000);
        assert!(!refetch.begin(1000 + REFRESH_MS - 1));
        assert!(refetch.begin(1000 + REFRESH_MS));
        assert_eq!(refetch.due_ms(), None);
        assert!(!refetch.begin(u64::MAX), "one is in flight");
        assert_eq!(refetch.finish(2000 + REFRESH_MS, Ok(set(b"a"))), Fetched::Same);
        assert_eq!(refetch.due_ms(), Some(2000 + 2 * REFRESH_MS));
    }

    #[test]
    fn an_unknown_key_starts_a_fetch_at_most_once_in_its_interval() {
        let mut refetch = fetched_at(0);
        assert_eq!(refetch.unknown_key(1), UnknownKeyAction::Refuse);
        assert_eq!(refetch.due_ms(), Some(UNKNOWN_KEY_MS), "no other token is needed");
        assert_eq!(refetch.unknown_key(UNKNOWN_KEY_MS - 1), UnknownKeyAction::Refuse);
        assert!(!refetch.begin(UNKNOWN_KEY_MS - 1));
        assert_eq!(refetch.unknown_key(UNKNOWN_KEY_MS), UnknownKeyAction::AwaitFetch);
        assert!(refetch.begin(UNKNOWN_KEY_MS));
        assert_eq!(refetch.unknown_key(UNKNOWN_KEY_MS + 5), UnknownKeyAction::AwaitFetch, "in flight");
        assert!(matches!(refetch.finish(UNKNOWN_KEY_MS + 9, Ok(set(b"b"))), Fetched::New(_)));
        assert_eq!(refetch.unknown_key(UNKNOWN_KEY_MS + 10), UnknownKeyAction::Refuse);
        assert_eq!(refetch.unknown_key(2 * UNKNOWN_KEY_MS), UnknownKeyAction::AwaitFetch);
    }

    #[test]
    fn failures_back_off_and_an_unknown_key_shortens_the_wait_to_its_interval() {
        let mut refetch = fetched_at(0);
        let mut now_ms = REFRESH_MS;
        for failures in 0..10 {
            assert!(refetch.begin(now_ms));
            assert_eq!(refetch.finish(now_ms, Err("refused".into())), Fetched::Failed("refused".into()));
            let wait = (1000 << failures).min(MAX_BACK_OFF_MS);
            assert_eq!(refetch.due_ms(), Some(now_ms + wait));
            let wait = wait.min(UNKNOWN_KEY_MS);
            assert_eq!(refetch.unknown_key(now_ms + wait - 1), UnknownKeyAction::Refuse);
            assert_eq!(refetch.due_ms(), Some(now_ms + wait));
            now_ms += wait;
        }
        assert_eq!(refetch.keys().map(|keys| **keys == set(b"a")), Some(true), "the good set goes on");
        assert!(refetch.begin(now_ms));
        assert_eq!(refetch.finish(now_ms, Ok(set(b"a"))), Fetched::Same);
        assert_eq!(refetch.failures(), 0);
    }

    #[test]
    fn a_shard_reports_each_provider_once_a_second() {
        let mut reports = UnknownKeyReports::default();
        for (provider, now_s, is_due) in [
            (1, 9, true),
            (1, 9, false),
            (0, 9, true),
            (2, 9, true),
            (1, 9, false),
            (1, 10, true),
            (0, 10, true),
        ] {
            assert_eq!(reports.is_due(provider, now_s), is_due, "{provider} at {now_s}");
        }
    }

    #[test]
    fn a_refresh_is_at_once_but_no_two_fetches_start_within_a_second() {
        let mut refetch = fetched_at(0);
        refetch.refresh(10);
        assert_eq!(refetch.due_ms(), Some(BACK_OFF_MS));
        refetch.refresh(BACK_OFF_MS + 10);
        assert!(refetch.begin(BACK_OFF_MS + 10));
        refetch.refresh(BACK_OFF_MS + 20);
        assert_eq!(refetch.due_ms(), None, "one is in flight");
        let mut refetch = fetched_at(0);
        refetch.refresh(2 * BACK_OFF_MS);
        assert_eq!(refetch.due_ms(), Some(2 * BACK_OFF_MS));
    }

    proptest! {
        /// Whatever unknown keys arrive and however fetches end: a fetched set stays, fetches run one at a time, and two
        /// starts are at least the shortest wait apart.
        #[test]
        fn fetches_are_few_and_a_good_set_is_never_lost(steps in prop::collection::vec((0_u64..5000, 0..5), 1..400)) {
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
                    4 => refetch.refresh(now_ms),
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
