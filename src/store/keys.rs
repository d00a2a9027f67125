//! API keys that are added and revoked while gateways run. Only the SHA-256 of a key is ever known here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::plan::ApiKeyHash;

/// The most entries that the store holds.
pub const MAX_KEYS: usize = 10_000;

/// The API keys as shards need them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyList {
    /// Key to consumer.
    pub added: HashMap<ApiKeyHash, Arc<str>>,
    /// No longer valid, even if they are in the configuration.
    pub revoked: HashSet<ApiKeyHash>,
}

impl KeyList {
    pub fn of(entries: impl IntoIterator<Item = KeyEntry>) -> KeyList {
        let mut keys = KeyList::default();
        for entry in entries {
            if entry.revoked {
                keys.revoked.insert(entry.hash);
            } else {
                keys.added.insert(entry.hash, entry.consumer);
            }
        }
        keys
    }
}

/// One key as the store holds it: a field named by the hash, with the value `active 1795521600 alice` or
/// `revoked 1795521600 alice`. A key that was revoked without having been added has no consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    pub hash: ApiKeyHash,
    /// Unix time of the last change, in seconds.
    pub changed_s: u64,
    pub consumer: Arc<str>,
    pub revoked: bool,
}

impl KeyEntry {
    /// From a field and its value; `None` if they are not in this format.
    pub fn parse(field: &str, value: &str) -> Option<KeyEntry> {
        let mut words = value.splitn(3, ' ');
        let revoked = match words.next()? {
            "active" => false,
            "revoked" => true,
            _ => return None,
        };
        let changed_s = words.next()?.parse().ok()?;
        let consumer = words.next()?;
        if consumer.is_empty() && !revoked {
            return None;
        }
        Some(KeyEntry { hash: ApiKeyHash::from_hex(field)?, changed_s, consumer: consumer.into(), revoked })
    }

    /// The field's value.
    pub fn value(&self) -> String {
        let word = if self.revoked { "revoked" } else { "active" };
        format!("{word} {} {}", self.changed_s, self.consumer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let hash = ApiKeyHash::from_hex(HEX).unwrap();
        for (consumer, revoked, value) in [
            ("al ice", false, "active 17 al ice"),
            ("bob", true, "revoked 17 bob"),
            ("", true, "revoked 17 "),
        ] {
            let entry = KeyEntry { hash, changed_s: 17, consumer: consumer.into(), revoked };
            assert_eq!(entry.value(), value);
            assert_eq!(KeyEntry::parse(HEX, value), Some(entry));
        }
        for wrong in ["", "active", "active 17", "active 17 ", "active x alice", "other 17 alice"] {
            assert_eq!(KeyEntry::parse(HEX, wrong), None, "{wrong}");
        }
        assert_eq!(KeyEntry::parse("12", "active 17 alice"), None);
    }

    #[test]
    fn the_list_has_consumers_of_active_keys_and_revoked_digests() {
        let hash = |byte| ApiKeyHash([byte; 32]);
        let entry =
            |byte, revoked| KeyEntry { hash: hash(byte), changed_s: 1, consumer: "alice".into(), revoked };
        let keys = KeyList::of([entry(1, false), entry(2, true)]);
        assert_eq!(keys.added, HashMap::from([(hash(1), "alice".into())]));
        assert_eq!(keys.revoked, HashSet::from([hash(2)]));
    }
}
