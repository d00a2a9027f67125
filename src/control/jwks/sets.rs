//! The JWK sets that come from URLs: which there are, and what each fetch changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;

use crate::auth::jwt::Provider;
use crate::auth::keys::KeySet;
use crate::auth::refetch::{Fetched, Refetch};
use crate::config::Plan;
use crate::config::plan::{Jwt, JwtKey};

/// What is fetched. Providers that differ in other things alone share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    pub url: Arc<str>,
    /// A set holds the keys that fit these.
    pub algorithms: Vec<Algorithm>,
}

impl Source {
    /// `None`: its keys stand in the configuration.
    pub fn of(jwt: &Jwt) -> Option<Source> {
        match &jwt.key {
            JwtKey::JwksUrl(url) => Some(Source { url: url.clone(), algorithms: jwt.algorithms.clone() }),
            JwtKey::Secret(_) | JwtKey::PublicKey(_) | JwtKey::Jwks(_) => None,
        }
    }

    /// All of a plan, each once.
    pub fn all_of(plan: &Plan) -> HashSet<Source> {
        plan.jwts.iter().filter_map(|jwt| Source::of(jwt)).collect()
    }
}

/// What one fetch gave.
pub type Answer = Result<KeySet, String>;
pub type Answers = HashMap<Source, Answer>;

/// The sets of the generation in force.
pub struct KeySets {
    sets: HashMap<Source, Set>,
    /// The beginning of their time.
    began: Instant,
}

/// One set, or the lack of it.
pub struct Set {
    pub refetch: Refetch,
    /// Why the last fetch failed, if it did.
    pub error: Option<String>,
}

impl KeySets {
    pub fn new(now: Instant) -> KeySets {
        KeySets { sets: HashMap::new(), began: now }
    }

    /// Makes them those of another plan: forgets what it has no more, and takes the first answers of what is new.
    pub fn follow(&mut self, plan: &Plan, first: Answers, now: Instant) {
        let wanted = Source::all_of(plan);
        self.sets.retain(|source, _| wanted.contains(source));
        for (source, answer) in first {
            let now_ms = self.ms(now);
            let mut refetch = Refetch::new(now_ms);
            refetch.begin(now_ms);
            self.sets.insert(source.clone(), Set { refetch, error: None });
            self.finish(&source, answer, now);
        }
    }

    pub fn of(&self, jwt: &Jwt) -> Option<&Set> {
        self.sets.get(&Source::of(jwt)?)
    }

    /// A shard has met a token of a key that the provider's set lacks.
    pub fn unknown_key(&mut self, jwt: &Jwt, now: Instant) {
        let now_ms = self.ms(now);
        if let Some(set) = Source::of(jwt).and_then(|source| self.sets.get_mut(&source)) {
            set.refetch.unknown_key(now_ms);
        }
    }

    /// The sets that are to be fetched now. Each is reported to [`KeySets::finish`], whatever happens.
    pub fn begin(&mut self, now: Instant) -> Vec<Source> {
        let now_ms = self.ms(now);
        let due = self.sets.iter_mut().filter_map(|(source, set)| {
            let begins = set.refetch.begin(now_ms);
            begins.then(|| source.clone())
        });
        due.collect()
    }

    /// The end of a fetch: says whether there are other keys now. A set that a reload has dropped is no one's.
    pub fn finish(&mut self, source: &Source, answer: Answer, now: Instant) -> bool {
        let (now_ms, url) = (self.ms(now), &source.url);
        let Some(set) = self.sets.get_mut(source) else { return false };
        let failed_before = set.error.take().is_some();
        match set.refetch.finish(now_ms, answer) {
            Fetched::New(keys) => {
                tracing::info!("there are new keys from {url}: {}", keys.len());
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

    /// All providers of a plan, in its order. Those of `known` that are to stay as they are do.
    pub fn providers(&self, plan: &Plan, known: &[Arc<Provider>]) -> Arc<[Arc<Provider>]> {
        let provider = |jwt: &Arc<Jwt>| {
            let fetched = self.of(jwt).map(|set| set.refetch.keys().cloned());
            let stays = |old: &&Arc<Provider>| {
                let same_keys = match &fetched {
                    Some(keys) => keys.as_ref().is_some_and(|keys| Arc::ptr_eq(keys, old.keys())),
                    None => true,
                };
                same_keys && *old.plan() == **jwt
            };
            known.iter().find(stays).cloned().unwrap_or_else(|| {
                let keys = fetched.flatten().unwrap_or_else(|| Arc::new(configured(jwt)));
                Arc::new(Provider::new(jwt.clone(), keys))
            })
        };
        plan.jwts.iter().map(provider).collect()
    }
}

/// The keys that stand in the configuration, which has been checked to hold good ones.
fn configured(jwt: &Jwt) -> KeySet {
    KeySet::build(jwt).unwrap_or_else(|why| {
        tracing::error!("[jwt.{}]: {why}; no token of it is accepted", jwt.name);
        KeySet::empty()
    })
}
