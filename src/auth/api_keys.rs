//! Consumers by name and by API key. Of a key only the SHA-256 is kept.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time;
use foldhash::fast::RandomState;

use crate::plan::{ApiKeyHash, Consumer};

/// The configured consumers. Built once per configuration, then only read.
#[derive(Debug, Default)]
pub struct Consumers {
    by_name: HashMap<Arc<str>, Arc<Consumer>, RandomState>,
    by_key: ByHash<Arc<Consumer>>,
}

impl Consumers {
    /// Builds the index.
    ///
    /// # Errors
    /// Names two consumers that share a name or a key.
    pub fn build(consumers: &[Arc<Consumer>]) -> Result<Consumers, String> {
        let mut built = Consumers::default();
        for consumer in consumers {
            let name = &consumer.name;
            if built.by_name.insert(name.clone(), consumer.clone()).is_some() {
                return Err(format!("there are two consumers `{name}`"));
            }
            for hash in &consumer.api_keys {
                match built.by_key.get(hash) {
                    Some(other) if other.name == *name => {
                        return Err(format!("consumer `{name}` has the same API key twice"));
                    }
                    Some(other) => {
                        return Err(format!("consumers `{}` and `{name}` have the same API key", other.name));
                    }
                    None => built.by_key.insert(*hash, consumer.clone()),
                }
            }
        }
        Ok(built)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.by_name.get(name)
    }

    /// The consumer of a key, configured or added at run time, unless the key was revoked. A key added for a consumer
    /// that is no longer configured is none.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub fn by_key(&self, key: &[u8], dynamic: &DynamicKeys) -> Result<&Arc<Consumer>, &'static str> {
        let hash = ApiKeyHash::of(key).ok_or("the API key is empty or too long")?;
        match dynamic.changes.get(&hash) {
            Some(KeyChange::Revoked) => Err("the API key is revoked"),
            Some(KeyChange::Added(name)) => {
                self.by_name(name).ok_or("the API key's consumer is not configured")
            }
            None => self.by_key.get(&hash).ok_or("no consumer has this API key"),
        }
    }
}

/// Keys added and revoked at run time. They override the configuration; for each key the last change counts.
#[derive(Clone, Debug, Default)]
pub struct DynamicKeys {
    changes: ByHash<KeyChange>,
}

#[derive(Clone, Debug)]
enum KeyChange {
    /// For the consumer of that name.
    Added(Arc<str>),
    Revoked,
}

impl DynamicKeys {
    /// Adds a key of that consumer, also if it was revoked before.
    pub fn add(&mut self, hash: ApiKeyHash, consumer: Arc<str>) {
        self.changes.insert(hash, KeyChange::Added(consumer));
    }

    /// Revokes a key, also a configured one.
    pub fn revoke(&mut self, hash: ApiKeyHash) {
        self.changes.insert(hash, KeyChange::Revoked);
    }
}

/// Values by hash. The time of a look-up depends on the first bytes of a hash at most, and the rest is compared in
/// constant time, so that timing reveals nothing about a key.
#[derive(Clone, Debug)]
struct ByHash<T>(HashMap<[u8; 8], Vec<(ApiKeyHash, T)>, RandomState>);

impl<T> Default for ByHash<T> {
    fn default() -> ByHash<T> {
        ByHash(HashMap::default())
    }
}

impl<T> ByHash<T> {
    fn get(&self, hash: &ApiKeyHash) -> Option<&T> {
        let bucket = self.0.get(&prefix(hash)).map(Vec::as_slice).unwrap_or_default();
        let is_it = |known: &ApiKeyHash| constant_time::verify_slices_are_equal(&known.0, &hash.0).is_ok();
        bucket.iter().find(|(known, _)| is_it(known)).map(|(_, value)| value)
    }

    /// Replaces what the hash had.
    fn insert(&mut self, hash: ApiKeyHash, value: T) {
        let bucket = self.0.entry(prefix(&hash)).or_default();
        bucket.retain(|(known, _)| *known != hash);
        bucket.push((hash, value));
    }
}

fn prefix(hash: &ApiKeyHash) -> [u8; 8] {
    *hash.0.first_chunk().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(name: &str, keys: &[&str]) -> Arc<Consumer> {
        let api_keys = keys.iter().map(|key| crate::auth::parse::api_key(key).unwrap()).collect();
        Arc::new(Consumer {
            name: name.into(),
            groups: vec![],
            permissions: vec![],
            api_keys,
            limits: vec![],
        })
    }

    fn owner(consumers: &Consumers, dynamic: &DynamicKeys, key: &str) -> Option<String> {
        consumers.by_key(key.as_bytes(), dynamic).ok().map(|consumer| consumer.name.to_string())
    }

    #[test]
    fn a_key_finds_its_consumer_whether_configured_in_clear_or_hashed() {
        let hashed = format!("sha256:{}", ApiKeyHash::of(b"k2").unwrap().to_hex());
        let consumers =
            Consumers::build(&[consumer("alice", &["k1", &hashed]), consumer("bob", &["k3"])]).unwrap();
        let dynamic = DynamicKeys::default();
        for (key, name) in [("k1", Some("alice")), ("k2", Some("alice")), ("k3", Some("bob")), ("k4", None)] {
            assert_eq!(owner(&consumers, &dynamic, key).as_deref(), name, "{key}");
        }
        let hash_itself = [&hashed[..], &hashed[7..], "", "K1", "k1 ", &"k".repeat(513)];
        assert!(hash_itself.iter().all(|key| owner(&consumers, &dynamic, key).is_none()));
        assert_eq!(consumers.by_name("bob").unwrap().name, Arc::<str>::from("bob"));
        assert!(consumers.by_name("carol").is_none());
    }

    #[test]
    fn keys_added_and_revoked_at_run_time_override_the_configured_ones() {
        let consumers = Consumers::build(&[consumer("alice", &["k1"]), consumer("bob", &["k2"])]).unwrap();
        let hash = |key: &str| ApiKeyHash::of(key.as_bytes()).unwrap();
        let mut dynamic = DynamicKeys::default();
        dynamic.add(hash("new"), "bob".into());
        dynamic.add(hash("lost"), "carol".into());
        dynamic.revoke(hash("k1"));
        assert_eq!(owner(&consumers, &dynamic, "new").as_deref(), Some("bob"));
        assert_eq!(owner(&consumers, &dynamic, "lost"), None, "carol is not configured");
        assert_eq!(owner(&consumers, &dynamic, "k1"), None);
        assert_eq!(owner(&consumers, &dynamic, "k2").as_deref(), Some("bob"));

        dynamic.revoke(hash("new"));
        dynamic.add(hash("k1"), "bob".into());
        assert_eq!(owner(&consumers, &dynamic, "new"), None);
        assert_eq!(owner(&consumers, &dynamic, "k1").as_deref(), Some("bob"));
    }

    #[test]
    fn shared_names_and_keys_are_errors() {
        for list in [
            [consumer("a", &["k"]), consumer("a", &[])],
            [consumer("a", &["k"]), consumer("b", &["k"])],
            [consumer("a", &["k", "k"]), consumer("b", &[])],
        ] {
            assert!(Consumers::build(&list).is_err());
        }
    }

    #[test]
    fn hashes_with_a_common_prefix_are_distinguished() {
        let (mut one, mut two) = (ApiKeyHash([7; 32]), ApiKeyHash([7; 32]));
        (one.0[31], two.0[8]) = (1, 1);
        let mut by_hash = ByHash::default();
        by_hash.insert(one, "one");
        by_hash.insert(two, "two");
        assert_eq!((by_hash.get(&one), by_hash.get(&two)), (Some(&"one"), Some(&"two")));
        assert_eq!(by_hash.get(&ApiKeyHash([7; 32])), None);
    }
}
