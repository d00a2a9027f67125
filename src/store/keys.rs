//! API keys that are added and revoked while gateways run. Only the SHA-256 of a key is ever known here.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// The most entries that the store holds.
pub const MAX_KEYS: usize = 10_000;

/// The SHA-256 of an API key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// From 64 hexadecimal digits.
    pub fn from_hex(hex: &str) -> Option<Digest> {
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            *byte = ((value(pair[0])? << 4) | value(pair[1])?) as u8;
        }
        Some(Digest(bytes))
    }
}

/// In hexadecimal.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The API keys as shards need them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyList {
    /// Key to consumer.
    pub added: HashMap<Digest, Arc<str>>,
    /// No longer valid, even if they are in the configuration.
    pub revoked: HashSet<Digest>,
}

impl KeyList {
    pub fn of(entries: impl IntoIterator<Item = KeyEntry>) -> KeyList {
        let mut keys = KeyList::default();
        for entry in entries {
            if entry.revoked {
                keys.revoked.insert(entry.digest);
            } else {
                keys.added.insert(entry.digest, entry.consumer);
            }
        }
        keys
    }
}

/// One key as the store holds it: a field named by the digest, with the value `active 1795521600 alice` or
/// `revoked 1795521600 alice`. A key that was revoked without having been added has no consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    pub digest: Digest,
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
        Some(KeyEntry { digest: Digest::from_hex(field)?, changed_s, consumer: consumer.into(), revoked })
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
    fn a_digest_is_64_hexadecimal_digits() {
        assert_eq!(Digest::from_hex(HEX).unwrap().to_string(), HEX);
        assert_eq!(Digest::from_hex(&HEX.to_uppercase()), Digest::from_hex(HEX));
        for wrong in ["", &HEX[1..], &HEX.replace('9', "g"), &HEX.replace("9f", "é")] {
            assert_eq!(Digest::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let digest = Digest::from_hex(HEX).unwrap();
        for (consumer, revoked, value) in [
            ("al ice", false, "active 17 al ice"),
            ("bob", true, "revoked 17 bob"),
            ("", true, "revoked 17 "),
        ] {
            let entry = KeyEntry { digest, changed_s: 17, consumer: consumer.into(), revoked };
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
        let digest = |byte| Digest([byte; 32]);
        let entry = |byte, revoked| KeyEntry {
            digest: digest(byte),
            changed_s: 1,
            consumer: "alice".into(),
            revoked,
        };
        let keys = KeyList::of([entry(1, false), entry(2, true)]);
        assert_eq!(keys.added, HashMap::from([(digest(1), "alice".into())]));
        assert_eq!(keys.revoked, HashSet::from([digest(2)]));
    }
}
