//! The JWK sets of the current generation that come from URLs: which there are, when each is due, what a fetch changes.
//! No I/O here: `now` and the results of fetches come in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;

use crate::auth::jwt::Provider;
use crate::auth::keys::KeySet;
use crate::auth::refetch::{Fetched, Refetch};
use crate::plan::{Jwt, JwtKey, Plan};

/// What is fetched. Providers that have the same URL and algorithms share one set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySetSource {
    pub url: Arc<str>,
    /// Only keys for these are kept.
    pub algorithms: Vec<Algorithm>,
}

impl KeySetSource {
    /// `None` for a provider whose keys stand in the configuration.
    pub fn of(jwt: &Jwt) -> Option<KeySetSource> {
        match &jwt.key {
            JwtKey::JwksUrl(url) => {
                Some(KeySetSource { url: url.clone(), algorithms: jwt.algorithms.clone() })
            }
            JwtKey::Secret(_) | JwtKey::PublicKey(_) | JwtKey::Jwks(_) => None,
        }
    }

    /// All sources of a plan, each once.
    pub fn all_of(plan: &Plan) -> HashSet<KeySetSource> {
        plan.jwts.iter().filter_map(|jwt| KeySetSource::of(jwt)).collect()
    }
}

/// The result of one fetch: the keys, or why there are none.
pub type KeySetFetch = Result<KeySet, String>;
pub type KeySetFetches = HashMap<KeySetSource, KeySetFetch>;

/// The sets of the current generation.
pub struct KeySets {
    sets: HashMap<KeySetSource, FetchedKeySet>,
    /// The zero of the milliseconds that [`Refetch`] counts in.
    began: Instant,
}

/// One set: its keys, if it was ever fetched, and when it is due.
pub struct FetchedKeySet {
    pub refetch: Refetch,
    /// Why the last fetch failed, if it did.
    pub error: Option<String>,
}

impl KeySets {
    pub fn new(now: Instant) -> KeySets {
        KeySets { sets: HashMap::new(), began: now }
    }

    /// Changes to the sets of another plan: removes those that it does not have, has those that it keeps fetched again,
    /// and adds the first fetches of new ones.
    pub fn follow(&mut self, plan: &Plan, first: KeySetFetches, now: Instant) {
        let (wanted, now_ms) = (KeySetSource::all_of(plan), self.ms(now));
        self.sets.retain(|source, _| wanted.contains(source));
        self.sets.values_mut().for_each(|set| set.refetch.refresh(now_ms));
        for (source, fetch) in first {
            let mut refetch = Refetch::new(now_ms);
            refetch.begin(now_ms);
            self.sets.insert(source.clone(), FetchedKeySet { refetch, error: None });
            self.finish(&source, fetch, now);
        }
    }

    /// The set of a provider whose keys are fetched.
    pub fn of(&self, jwt: &Jwt) -> Option<&FetchedKeySet> {
        self.sets.get(&KeySetSource::of(jwt)?)
    }

    /// A shard has met a token whose key the provider's set lacks.
    pub fn unknown_key(&mut self, jwt: &Jwt, now: Instant) {
        let now_ms = self.ms(now);
        if let Some(set) = KeySetSource::of(jwt).and_then(|source| self.sets.get_mut(&source)) {
            set.refetch.unknown_key(now_ms);
        }
    }

    /// The sets that are to be fetched now. The caller must report the end of each fetch to [`KeySets::finish`].
    pub fn begin(&mut self, now: Instant) -> Vec<KeySetSource> {
        let now_ms = self.ms(now);
        let due = self.sets.iter_mut().filter_map(|(source, set)| {
            let begins = set.refetch.begin(now_ms);
            begins.then(|| source.clone())
        });
        due.collect()
    }

    /// The end of a fetch. Returns whether the set has other keys now. The fetch of a set that a reload has removed is
    /// ignored.
    pub fn finish(&mut self, source: &KeySetSource, fetch: KeySetFetch, now: Instant) -> bool {
        let (now_ms, url) = (self.ms(now), &source.url);
        let Some(set) = self.sets.get_mut(source) else { return false };
        let failed_before = set.error.take().is_some();
        match set.refetch.finish(now_ms, fetch) {
            Fetched::New(keys) => {
                tracing::info!("there are new keys from {url}: {}", keys.len());
                if !keys.refused().is_empty() {
                    tracing::warn!("keys from {url} that are not used: {}", keys.refused().join("; "));
                }
                true
            }
            Fetched::Same => {
                if failed_before {
                    tracing::info!("the keys from {url} can be fetched again, and are the same");
                }
                false
            }
            Fetched::Failed(error) => {
                if !failed_before {
                    let meanwhile = match set.refetch.keys() {
                        Some(_) => "those last fetched go on serving",
                        None => "no token of theirs is accepted until they are there",
                    };
                    tracing::error!("no keys from {url}: {error}; {meanwhile}, and it is tried again");
                }
                set.error = Some(error);
                false
            }
        }
    }

    /// When [`KeySets::begin`] has something to begin.
    pub fn deadline(&self) -> Option<Instant> {
        let due = self.sets.values().filter_map(|set| set.refetch.due_ms());
        Some(self.began + Duration::from_millis(due.min()?))
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// All providers of a plan, in its order. One of `known` with the same settings and keys is kept as it is, so that
    /// shards keep the tokens they have verified with it.
    pub fn providers(&self, plan: &Plan, known: &[Arc<Provider>]) -> Arc<[Arc<Provider>]> {
        let provider = |jwt: &Arc<Jwt>| {
            let fetched = self.of(jwt).map(|set| set.refetch.keys().cloned());
            let unchanged = |old: &&Arc<Provider>| {
                let same_keys = match &fetched {
                    Some(keys) => keys.as_ref().is_some_and(|keys| Arc::ptr_eq(keys, old.keys())),
                    None => true,
                };
                same_keys && *old.plan() == **jwt
            };
            known.iter().find(unchanged).cloned().unwrap_or_else(|| {
                let keys = fetched.flatten().unwrap_or_else(|| Arc::new(configured(jwt)));
                Arc::new(Provider::new(jwt.clone(), keys))
            })
        };
        plan.jwts.iter().map(provider).collect()
    }
}

/// The keys that stand in the configuration, which was checked when it was loaded.
fn configured(jwt: &Jwt) -> KeySet {
    KeySet::build(jwt).unwrap_or_else(|why| {
        tracing::error!("[jwt.{}]: {why}; no token of it is accepted", jwt.name);
        KeySet::empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::refetch::{BACK_OFF_MS, REFRESH_MS, UNKNOWN_KEY_MS};
    use crate::control::source::ConfigSource;

    const URL: &str = "https://id.example.com/jwks.json";

    /// A provider whose keys are fetched, and one whose key stands in the configuration.
    fn plan(lines: &str) -> Plan {
        let text = format!(
            "[jwt.far]\nalgorithms = [\"HS256\"]\njwks = {URL:?}\n{lines}\n\
             [jwt.near]\nalgorithms = [\"HS256\"]\nsecret = \"0123456789abcdef0123456789abcdef\"\n"
        );
        let source = ConfigSource::Text { name: "test.toml", text: text.into(), scripts: &[] };
        source.load().expect("a good configuration").plan
    }

    fn keys(secret: &str) -> KeySetFetch {
        KeySet::from_secret(secret.as_bytes(), &[Algorithm::HS256])
    }

    fn first(plan: &Plan, fetch: KeySetFetch, now: Instant) -> KeySets {
        let mut sets = KeySets::new(now);
        let source = KeySetSource::of(&plan.jwts[0]).expect("it has a URL");
        sets.follow(plan, HashMap::from([(source, fetch)]), now);
        sets
    }

    fn after(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    #[test]
    fn an_unknown_key_has_the_set_of_its_provider_fetched() {
        let (plan, now) = (plan(""), Instant::now());
        let mut sets = first(&plan, keys("a"), now);
        assert_eq!(sets.deadline(), Some(after(now, REFRESH_MS)));
        let later = after(now, UNKNOWN_KEY_MS);
        sets.unknown_key(&plan.jwts[1], later);
        assert!(sets.begin(later).is_empty(), "its keys are not fetched");
        sets.unknown_key(&plan.jwts[0], later);
        let [source] = &sets.begin(later)[..] else { panic!("one is fetched") };
        assert_eq!((&*source.url, sets.deadline()), (URL, None));
        assert!(sets.finish(source, keys("b"), later), "other keys");
    }

    #[test]
    fn a_key_replaced_under_the_same_kid_is_noticed_by_the_next_fetch() {
        let set = |key: &str| {
            let text = format!(r#"{{"keys":[{{"kty":"oct","kid":"same","k":"{}"}}]}}"#, key.repeat(43));
            KeySet::from_jwks(&text, &[Algorithm::HS256])
        };
        let (plan, now) = (plan(""), Instant::now());
        let mut sets = first(&plan, set("A"), now);
        let before = sets.providers(&plan, &[]);
        let later = after(now, REFRESH_MS);
        let source = sets.begin(later).pop().expect("it is due");
        assert!(sets.finish(&source, set("Q"), later));
        assert_ne!(sets.providers(&plan, &before)[0].keys(), before[0].keys());
    }

    #[test]
    fn an_error_is_remembered_and_replaces_no_keys() {
        let (plan, now) = (plan(""), Instant::now());
        let mut sets = first(&plan, keys("a"), now);
        let before = sets.providers(&plan, &[]);
        let later = after(now, REFRESH_MS);
        let source = sets.begin(later).pop().expect("it is due");
        assert!(!sets.finish(&source, Err("refused".into()), later));
        assert_eq!(sets.of(&plan.jwts[0]).and_then(|set| set.error.as_deref()), Some("refused"));
        assert_eq!(sets.providers(&plan, &before)[0].keys(), before[0].keys());
        assert_eq!(sets.deadline(), Some(after(later, BACK_OFF_MS)));
        sets.begin(after(later, BACK_OFF_MS));
        assert!(!sets.finish(&source, keys("a"), after(later, BACK_OFF_MS)), "the same keys");
        assert_eq!(sets.of(&plan.jwts[0]).and_then(|set| set.error.as_deref()), None);
    }

    #[test]
    fn without_a_set_there_are_no_keys_and_a_provider_all_the_same() {
        let (plan, now) = (plan(""), Instant::now());
        let sets = first(&plan, Err("refused".into()), now);
        let providers = sets.providers(&plan, &[]);
        assert_eq!((providers.len(), providers[0].keys().len(), providers[1].keys().len()), (2, 0, 1));
    }

    #[test]
    fn another_plan_keeps_the_sets_it_still_names_and_the_providers_that_are_as_they_were() {
        let (old, now) = (plan(""), Instant::now());
        let mut sets = first(&old, keys("a"), now);
        let before = sets.providers(&old, &[]);
        let new = plan("leeway = \"5s\"");
        sets.follow(&new, KeySetFetches::new(), now);
        let after = sets.providers(&new, &before);
        assert!(Arc::ptr_eq(before[0].keys(), after[0].keys()) && !Arc::ptr_eq(&before[0], &after[0]));
        assert!(Arc::ptr_eq(&before[1], &after[1]));
        let second = self::after(now, BACK_OFF_MS);
        assert_eq!(sets.begin(second).len(), 1, "it is fetched again");

        let source = KeySetSource::of(&new.jwts[0]).expect("it has a URL");
        let without = Plan { jwts: new.jwts[1..].to_vec(), ..new };
        sets.follow(&without, KeySetFetches::new(), now);
        assert_eq!(sets.deadline(), None);
        assert!(!sets.finish(&source, keys("b"), now), "the set was removed while it was fetched");
    }
}
