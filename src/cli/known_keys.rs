//! The API keys of the store and of the configuration together: which of them `ringway keys revoke` means.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::{ApiKeyHash, Consumer};
use crate::store::KeyEntry;

/// The fewest hex digits of a hash that name a key.
pub const MIN_PREFIX: usize = 8;

/// What a hash stands for, as gateways see it: an entry of the store overrides the configuration.
struct KnownKey {
    /// Empty: a key that was revoked without having been known.
    consumer: Arc<str>,
    is_valid: bool,
}

/// All keys, by their hashes.
pub struct KnownKeys(BTreeMap<ApiKeyHash, KnownKey>);

/// Why the beginning of a hash names no key.
#[derive(Debug, PartialEq)]
pub enum NoSuchHash {
    Unknown,
    /// So many hashes begin with it.
    Ambiguous(usize),
}

impl KnownKeys {
    pub fn of(consumers: &[Arc<Consumer>], entries: Vec<KeyEntry>) -> KnownKeys {
        let configured = consumers.iter().flat_map(|consumer| {
            let known = || KnownKey { consumer: consumer.name.clone(), is_valid: true };
            consumer.api_keys.iter().map(move |hash| (*hash, known()))
        });
        let stored = entries.into_iter().map(|KeyEntry { hash, consumer, revoked, .. }| {
            (hash, KnownKey { consumer, is_valid: !revoked })
        });
        KnownKeys(configured.chain(stored).collect())
    }

    /// The one whose hash begins with these hex digits, of lower case.
    pub fn by_prefix(&self, hex: &str) -> Result<ApiKeyHash, NoSuchHash> {
        let mut found = self.0.keys().filter(|hash| hash.to_hex().starts_with(hex));
        match (found.next(), found.count()) {
            (Some(hash), 0) => Ok(*hash),
            (Some(_), others) => Err(NoSuchHash::Ambiguous(others + 1)),
            (None, _) => Err(NoSuchHash::Unknown),
        }
    }

    /// The valid keys of a consumer; `None`: nothing has ever been a key of one of that name.
    pub fn of_consumer(&self, name: &str) -> Option<Vec<ApiKeyHash>> {
        let mut keys = self.0.iter().filter(|(_, key)| *key.consumer == *name).peekable();
        keys.peek()?;
        Some(keys.filter(|(_, key)| key.is_valid).map(|(hash, _)| *hash).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(first: u8, last: u8) -> ApiKeyHash {
        let mut hash = ApiKeyHash([first; 32]);
        hash.0[31] = last;
        hash
    }

    fn known() -> KnownKeys {
        let consumer = |name: &str, keys: &[ApiKeyHash]| {
            Arc::new(Consumer {
                name: name.into(),
                groups: Vec::new(),
                permissions: Vec::new(),
                api_keys: keys.to_vec(),
                limits: Vec::new(),
            })
        };
        let entry = |hash, consumer: &str, revoked| KeyEntry {
            hash,
            changed_s: 1,
            consumer: consumer.into(),
            revoked,
        };
        KnownKeys::of(
            &[consumer("alice", &[hash(1, 0), hash(2, 0), hash(3, 0)]), consumer("bob", &[])],
            vec![
                entry(hash(2, 0), "", true),
                entry(hash(3, 0), "bob", false),
                entry(hash(4, 0), "alice", false),
                entry(hash(4, 1), "alice", true),
                entry(hash(5, 0), "carol", true),
            ],
        )
    }

    #[test]
    fn a_consumers_keys_are_those_that_gateways_take_for_its_own() {
        let keys = known();
        assert_eq!(keys.of_consumer("alice"), Some(vec![hash(1, 0), hash(4, 0)]));
        assert_eq!(keys.of_consumer("bob"), Some(vec![hash(3, 0)]));
        assert_eq!(keys.of_consumer("carol"), Some(vec![]), "revoked already");
        assert_eq!(keys.of_consumer("dave"), None);
    }

    #[test]
    fn the_beginning_of_a_hash_names_a_key_if_it_is_the_only_one() {
        let keys = known();
        assert_eq!(keys.by_prefix("01010101"), Ok(hash(1, 0)), "configured");
        assert_eq!(keys.by_prefix("050505050"), Ok(hash(5, 0)), "stored, of any length");
        assert_eq!(keys.by_prefix("04040404"), Err(NoSuchHash::Ambiguous(2)));
        assert_eq!(keys.by_prefix(&hash(4, 1).to_hex()), Ok(hash(4, 1)));
        assert_eq!(keys.by_prefix("06060606"), Err(NoSuchHash::Unknown));
    }
}
